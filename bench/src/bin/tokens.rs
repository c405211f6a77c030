//! What a check of an access token costs.
//!
//! First the check by itself, in this process: JWTs (ES256, RS256) of 1,000 tokens in turn, with what
//! was verified kept and without.
//! Then whole allowed requests, beside HAProxy that checks the same token (algorithm, signature, issuer,
//! audience, expiry) in the same run: one worker each, 64 keep-alive connections, answers of 1 KiB from
//! nginx. Warm: one token. Cold: each token comes once, so nothing that was verified helps.
//! Needs nginx and HAProxy. Linux only (`/proc`). Machines are noisy: compare ratios within one run.

use std::fmt::Write as _;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use stepgate::commands::{NewDeployment, write_deployment};
use stepgate::gate::House;
use stepgate::system::{SystemClock, SystemRandomness};
use stepgate_bench::{Error, cpu_ticks};
use stepgate_core::access::{Accepted, AccessTokens as _, Forwarded, Nonces, Presented, Scheme, TokenRules};
use stepgate_core::person::Login;
use stepgate_core::provider::ProviderName;
use stepgate_core::time::Clock as _;
use stepgate_identity::keys::{Algorithm, KeySet, Keys};
use stepgate_identity::tokens::{Keeps, KeysOf, TokenIssuer, TokenVerifier, VerifiedBy};
use stepgate_testkit::provider::TestProvider;
use stepgate_testkit::signer::Signer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const AUDIENCE: &str = "https://api.example";
const SUBJECT: &str = "00u1";
/// Connections at once.
const CONNECTIONS: usize = 64;
/// Rounds of each.
const ROUNDS: usize = 3;
/// Microseconds of one clock tick.
const TICK_US: u64 = 10_000;
/// Tokens that are checked in turn.
const TOKENS: usize = 1_000;

/// How much is measured: a debug build only shows that it works.
struct Amount {
    warm: usize,
    cold: usize,
    checks: usize,
}

const fn amount() -> Amount {
    if cfg!(debug_assertions) {
        Amount { warm: 1_920, cold: 192, checks: 2_000 }
    } else {
        Amount { warm: 60_032, cold: 6_016, checks: 200_000 }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = tokio::runtime::Runtime::new().map_err(Error::from).and_then(|runtime| match arguments.as_slice() {
        [role, upstream, issuer] if role == "--gate" => runtime.block_on(gate(upstream, issuer)),
        _ => runtime.block_on(compare()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The gate, as a process of its own; ends when its standard input does.
async fn gate(upstream: &str, issuer: &str) -> Result<(), Error> {
    const POLICY: &str = r#"@id("staff") permit (principal in Group::"staff", action, resource in Service::"app");"#;
    let directory = tempfile::tempdir()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let port = address.port();
    let config = format!(
        "[gate]\norigin = \"http://localhost:{port}\"\nlisten = \"{address}\"\nmaster_key_file = \"keys/master.key\"\n\
         [[provider]]\nname = \"corp\"\nissuer = \"{issuer}\"\nclient_id = \"gate\"\nclient_secret_env = \"PATH\"\ndanger_loopback = true\n\
         [[service]]\nname = \"app\"\norigin = \"http://app.localhost:{port}\"\nupstream = \"http://{upstream}\"\nassertion = \"never\"\n\
         [service.tokens]\nproviders = [\"corp\"]\naudience = \"{AUDIENCE}\"\n"
    );
    let new = NewDeployment { dir: directory.path(), config: &config, policies: &[("app.cedar", POLICY)] };
    let file = write_deployment(&new).map_err(|failure| failure.report.to_string())?;
    let settings = stepgate::config::load(&file)?;
    let house = House::open(settings, Some(file), Arc::new(SystemClock), Arc::new(SystemRandomness)).await?;
    let flows = &house.flows;
    let groups = vec!["staff".to_owned()];
    let person = flows.add_person(Login::parse("bench")?, "Bench", "bench@example.com", groups, "bench").await?;
    let live = flows.live.load_full();
    let provider = live.providers.named(&ProviderName::parse("corp")?).ok_or("no provider")?;
    flows.add_identity(&person, provider, SUBJECT, "bench").await?;
    let gate = house.serve(vec![listener]).await?;
    println!("{address}");
    std::io::stdout().flush()?;
    let mut end = [0; 1];
    let _ = tokio::io::stdin().read(&mut end).await;
    gate.stop().await;
    Ok(())
}

/// Mints tokens that differ in nothing but `jti`.
struct Mint {
    key: Arc<Signer>,
    issuer: String,
    made: usize,
}

impl Mint {
    fn next(&mut self) -> String {
        self.made += 1;
        let now = SystemClock.now().as_ms() / 1_000;
        let claims = json!({
            "iss": self.issuer, "aud": AUDIENCE, "sub": SUBJECT, "client_id": "app", "jti": self.made.to_string(),
            "iat": now, "exp": now + 3_600, "scope": "ledger read write", "acr": "mfa", "auth_time": now,
        });
        self.key.sign_with(&json!({ "typ": "at+jwt", "alg": self.key.algorithm(), "kid": self.key.id() }), &claims)
    }
}

async fn compare() -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    for algorithm in ["ES256", "RS256"] {
        checks(algorithm).await?;
    }
    println!();
    let origin = nginx(directory.path())?;
    for algorithm in ["ES256", "RS256"] {
        beside(algorithm, origin.1, directory.path()).await?;
    }
    println!("The aim is at most 1.0 cold, and less warm.");
    Ok(())
}

/// The check alone, on one thread.
async fn checks(algorithm: &'static str) -> Result<(), Error> {
    let key = Arc::new(Signer::new(algorithm, "k1"));
    let issuer = "https://id.example";
    let mut mint = Mint { key: Arc::clone(&key), issuer: issuer.to_owned(), made: 0 };
    let tokens: Vec<String> = (0..TOKENS).map(|_| format!("Bearer {}", mint.next())).collect();
    let rules = TokenRules::new(Accepted {
        providers: vec![ProviderName::parse("corp")?],
        audience: AUDIENCE.to_owned(),
        schemes: vec![Scheme::Bearer],
        scopes: Vec::new(),
        owner_claim: None,
        agents: Vec::new(),
        nonces: Nonces::NotAsked,
        certificates: Vec::new(),
        forwarded: Forwarded::Never,
    });
    for (name, keeps) in [("kept", Keeps::Verified), ("not kept", Keeps::Nothing)] {
        let set = KeySet::read(json!({ "keys": [key.jwk()] }).to_string().as_bytes())?;
        let by = VerifiedBy::Signature { keys: KeysOf::These(Keys::fixed(set)), algorithms: Algorithm::ALL.to_vec() };
        let issuer =
            TokenIssuer { name: ProviderName::parse("corp")?, issuer: issuer.to_owned(), levels: Vec::new(), by };
        let verifier = TokenVerifier::new(vec![issuer], keeps, &SystemRandomness);
        let now = SystemClock.now();
        let check = async |token: &String| -> Result<(), Error> {
            let mut headers = hyper::HeaderMap::new();
            headers.insert(hyper::header::AUTHORIZATION, token.parse()?);
            let presented =
                Presented { headers: &headers, method: "GET", url: "http://app.localhost/", certificate: None, now };
            verifier.verify(presented, &rules).await?.ok_or("no token")?;
            Ok(())
        };
        for token in &tokens {
            check(token).await?;
        }
        let count = if keeps == Keeps::Verified { amount().checks * 10 } else { amount().checks };
        let before = cpu_ticks(std::process::id())?;
        for token in tokens.iter().cycle().take(count) {
            check(token).await?;
        }
        let ticks = cpu_ticks(std::process::id())?.saturating_sub(before).max(1);
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let seconds = (ticks * TICK_US) as f64 / 1e6;
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let count = count as f64;
        println!("{algorithm} {name:<9} {:>10.0} checks per CPU-second", count / seconds);
    }
    Ok(())
}

/// Whole requests, through the gate and through HAProxy.
async fn beside(algorithm: &'static str, origin: SocketAddr, directory: &Path) -> Result<(), Error> {
    let provider = TestProvider::start(Arc::new(SystemClock)).await;
    provider.rotate(Signer::new(algorithm, "bench"));
    let mut mint = Mint { key: provider.key(), issuer: provider.issuer(), made: 0 };
    let (gate, gate_at) = start_gate(origin, &mint.issuer)?;
    let (haproxy, haproxy_at) = start_haproxy(&mint, origin, directory)?;
    for (name, each_once) in [("warm", false), ("cold", true)] {
        let requests = if each_once { amount().cold } else { amount().warm };
        let one = mint.next();
        let mut ratios = Vec::new();
        for round in 0..=ROUNDS {
            let tokens: Vec<String> = match each_once {
                true => (0..requests).map(|_| mint.next()).collect(),
                false => vec![one.clone()],
            };
            let ours = measured(gate.0.id(), gate_at, &tokens, requests).await?;
            let theirs = measured(haproxy.0.id(), haproxy_at, &tokens, requests).await?;
            // Connections and code are warm after the first round.
            if round > 0 {
                println!(
                    "{algorithm} {name} round {round}: gate {ours:6.1} us/request   HAProxy {theirs:6.1} us/request   CPU ratio {:.2}",
                    ours / theirs
                );
                ratios.push(ours / theirs);
            }
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "{algorithm} {name} median CPU ratio to HAProxy: {:.2}\n",
            ratios.get(ROUNDS / 2).copied().unwrap_or_default()
        );
    }
    Ok(())
}

/// A child that ends with us.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_gate(upstream: SocketAddr, issuer: &str) -> Result<(Ends, SocketAddr), Error> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--gate", &upstream.to_string(), issuer])
        // One worker, as HAProxy has.
        .env("TOKIO_WORKER_THREADS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no output")?;
    let child = Ends(child);
    let mut line = String::new();
    std::io::BufReader::new(stdout).read_line(&mut line)?;
    Ok((child, line.trim().parse().map_err(|_| "the gate did not start")?))
}

fn start_haproxy(mint: &Mint, origin: SocketAddr, directory: &Path) -> Result<(Ends, SocketAddr), Error> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let algorithm = mint.key.algorithm();
    let key = directory.join(format!("{algorithm}.pem"));
    std::fs::write(&key, public_pem(&mint.key.jwk())?)?;
    let file = directory.join(format!("{algorithm}.cfg"));
    let config = format!(
        "global\n  nbthread 1\n  maxconn 1024\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\n\
         frontend tokens\n  bind {address}\n\
         \x20 http-request set-var(txn.token) http_auth_bearer\n\
         \x20 http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')\n\
         \x20 http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')\n\
         \x20 http-request set-var(txn.now) date()\n\
         \x20 http-request deny unless {{ var(txn.alg) -m str {algorithm} }}\n\
         \x20 http-request deny unless {{ var(txn.token),jwt_payload_query('$.iss') -m str {} }}\n\
         \x20 http-request deny unless {{ var(txn.token),jwt_payload_query('$.aud') -m str {AUDIENCE} }}\n\
         \x20 http-request deny if {{ var(txn.exp),sub(txn.now) -m int lt 1 }}\n\
         \x20 http-request deny unless {{ var(txn.token),jwt_verify(txn.alg,\"{}\") -m int 1 }}\n\
         \x20 default_backend app\nbackend app\n  server one {origin}\n",
        mint.issuer,
        key.display()
    );
    std::fs::write(&file, config)?;
    let child = Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(&file)
        .spawn()
        .map_err(|error| format!("HAProxy cannot be started ({error}); `apt-get install haproxy` brings it"))?;
    wait_for(Ends(child), address, "HAProxy")
}

/// CPU microseconds per request of a process.
async fn measured(pid: u32, address: SocketAddr, tokens: &[String], requests: usize) -> Result<f64, Error> {
    let before = cpu_ticks(pid)?;
    let mut tasks = tokio::task::JoinSet::new();
    let each = requests / CONNECTIONS;
    for connection in 0..CONNECTIONS {
        let requests: Vec<String> = tokens.iter().cycle().skip(connection * each).take(each.min(tokens.len())).map(|token| {
            format!("GET / HTTP/1.1\r\nHost: app.localhost:{}\r\nAuthorization: Bearer {token}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", address.port())
        }).collect();
        tasks.spawn(async move { load(address, &requests, each).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let cpu = cpu_ticks(pid)?.saturating_sub(before).saturating_mul(TICK_US);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok((cpu as f64 / requests as f64).max(f64::MIN_POSITIVE))
}

/// So many requests over one connection, each answered before the next.
async fn load(address: SocketAddr, requests: &[String], count: usize) -> Result<(), Error> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    for request in requests.iter().cycle().take(count) {
        stream.write_all(request.as_bytes()).await?;
        buffer.clear();
        while !is_whole(&buffer)? {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err("the connection ended".into());
            }
        }
    }
    Ok(())
}

/// Whether a whole answer with status 200 and a content length is there.
fn is_whole(buffer: &[u8]) -> Result<bool, Error> {
    let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    let text = String::from_utf8_lossy(buffer.get(..head).unwrap_or_default()).to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(format!("not 200 but {}", text.lines().next().unwrap_or_default()).into());
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).ok_or("no content length")?;
    let length: usize = length.trim().parse()?;
    Ok(buffer.len() >= head.saturating_add(4).saturating_add(length))
}

fn free_port() -> Result<u16, Error> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn nginx(directory: &Path) -> Result<(Ends, SocketAddr), Error> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let file = directory.join("nginx.conf");
    let config = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log; user root; events {{ worker_connections 1024; }} \
         http {{ access_log off; keepalive_requests 10000000; client_body_temp_path {0}/b; proxy_temp_path {0}/p; \
         fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; \
         server {{ listen {address}; location / {{ return 200 \"{1}\"; }} }} }}",
        directory.display(),
        "x".repeat(1024)
    );
    std::fs::write(&file, config)?;
    let child = Command::new("nginx")
        .arg("-c")
        .arg(&file)
        .arg("-e")
        .arg(directory.join("error.log"))
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("nginx cannot be started ({error}); `apt-get install nginx-light` brings it"))?;
    wait_for(Ends(child), address, "nginx")
}

fn wait_for(child: Ends, address: SocketAddr, name: &str) -> Result<(Ends, SocketAddr), Error> {
    for _ in 0..200 {
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok((child, address));
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    Err(format!("{name} did not start").into())
}

/// A public key as other programs read it (RFC 5280, section 4.1; RFC 8017, RFC 5480).
fn public_pem(jwk: &Value) -> Result<String, Error> {
    const EC: &[u8] = &[
        0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
        0x03, 0x01, 0x07,
    ];
    const RSA: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let part = |name: &str| -> Result<Vec<u8>, Error> {
        Ok(URL_SAFE_NO_PAD.decode(jwk.get(name).and_then(Value::as_str).ok_or("a part of the key is missing")?)?)
    };
    let (algorithm, key) = match jwk.get("kty").and_then(Value::as_str) {
        Some("EC") => (EC, [vec![4], part("x")?, part("y")?].concat()),
        _ => {
            // A leading zero keeps a number positive.
            let number = |bytes: Vec<u8>| der(0x02, &[vec![0], bytes].concat());
            (RSA, der(0x30, &[number(part("n")?), number(part("e")?)].concat()))
        }
    };
    let bits = der(0x03, &[vec![0], key].concat());
    let encoded = STANDARD.encode(der(0x30, &[algorithm.to_vec(), bits].concat()));
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for line in encoded.as_bytes().chunks(64) {
        writeln!(pem, "{}", String::from_utf8_lossy(line))?;
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    Ok(pem)
}

/// A DER value (ITU-T X.690, section 8.1).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 128 => out.push(short),
        _ => {
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
            out.extend(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}
