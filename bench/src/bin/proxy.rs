//! What an allowed request costs beside plain nginx that proxies the same
//! application without any check, in the same run.
//!
//! nginx serves 1 KiB; nginx proxies it with keep-alive; Stepgate proxies it with
//! session, decision and identity headers. One worker each, 64 keep-alive connections, in turn.
//! Beside both stands the least that a proxy made with hyper can be, which shows
//! how much of the figure is the HTTP library's.
//! Printed: CPU microseconds per request of each proxy process, and the ratio.
//! Needs nginx. Linux only (`/proc`).

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use stepgate_bench::{Error, Rig, RigOptions, cpu_ticks, service_token, session};
use stepgate_core::catalogue::Host;
use stepgate_core::factor::FactorKind;
use stepgate_core::session::Audience;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Connections at once.
const CONNECTIONS: usize = 64;
/// Requests of one round.
const REQUESTS: usize = 60_000;
/// Rounds of each.
const ROUNDS: usize = 3;
/// Microseconds of one clock tick.
const TICK_US: u64 = 10_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match arguments.as_slice() {
        [role, upstream, assertion] if role == "--gate" => runtime.block_on(gate(upstream, assertion)),
        [role, upstream] if role == "--bare" => runtime.block_on(bare(upstream)),
        _ => runtime.block_on(compare()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The gate, as a process of its own; ends when its standard input does.
async fn gate(upstream: &str, assertion: &str) -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let options = RigOptions { address, upstream: upstream.parse()?, assertion };
    let rig = Rig::open(directory.path(), options).await?;
    let host = Audience::Host(Host::parse("app.localhost")?);
    let (id, _) = session(&rig.house.flows, rig.person, (FactorKind::Password, rig.password)).await?;
    let token = service_token(&rig.house.flows, id, &host).await?;
    let gate = rig.house.serve(vec![listener]).await?;
    println!("{address} {}", token.expose());
    std::io::stdout().flush()?;
    let mut end = [0; 1];
    let _ = tokio::io::stdin().read(&mut end).await;
    gate.stop().await;
    Ok(())
}

/// The least that a proxy made with hyper can be: no session, no decision, no limits,
/// headers as they come. What Stepgate costs above it is Stepgate's own.
async fn bare(upstream: &str) -> Result<(), Error> {
    let upstream: SocketAddr = upstream.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{} none", listener.local_addr()?);
    std::io::stdout().flush()?;
    let unused: Arc<Mutex<Vec<SendRequest<Incoming>>>> = Arc::default();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let unused = Arc::clone(&unused);
            let service = service_fn(move |request| pass(request, upstream, Arc::clone(&unused)));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
        #[expect(unreachable_code, reason = "tells the type of what `?` gives back")]
        Ok::<(), std::io::Error>(())
    });
    let mut end = [0; 1];
    let _ = tokio::io::stdin().read(&mut end).await;
    Ok(())
}

async fn pass(
    request: Request<Incoming>,
    upstream: SocketAddr,
    unused: Arc<Mutex<Vec<SendRequest<Incoming>>>>,
) -> Result<Response<Incoming>, Error> {
    let ready = || unused.lock().ok()?.extract_if(.., |sender| sender.is_ready()).next();
    let mut sender = match ready() {
        Some(sender) => sender,
        None => {
            let stream = TcpStream::connect(upstream).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender
        }
    };
    let response = sender.send_request(request).await?;
    if let Ok(mut unused) = unused.lock() {
        unused.push(sender);
    }
    Ok(response)
}

/// A child that ends with us.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn compare() -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let (origin, plain) = (free_port()?, free_port()?);
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let _origin = nginx(
        directory.path(),
        "origin",
        at(origin),
        &format!(
            "server {{ listen 127.0.0.1:{origin} reuseport; location / {{ return 200 \"{}\"; }} }}",
            "x".repeat(1024)
        ),
    )?;
    let proxy = nginx(
        directory.path(),
        "proxy",
        at(plain),
        &format!(
            "upstream app {{ server 127.0.0.1:{origin}; keepalive 128; }} server {{ listen 127.0.0.1:{plain}; \
             location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}"
        ),
    )?;
    let (origin, plain) = (at(origin), at(plain));
    println!(
        "{REQUESTS} requests a round over {CONNECTIONS} connections, answers of 1 KiB; CPU of the proxy process\n"
    );
    for (name, role) in [
        ("bare hyper", &["--bare"][..]),
        ("assertion never", &["--gate", "never"][..]),
        ("assertion always", &["--gate", "always"][..]),
    ] {
        let (child, address, token) = start(origin, role)?;
        let gate_request = format!(
            "GET / HTTP/1.1\r\nHost: app.localhost:{}\r\nCookie: stepgate={token}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
            address.port()
        );
        let plain_request =
            "GET / HTTP/1.1\r\nHost: app.localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".to_owned();
        // Connections, caches and code are warm before the first counted round.
        load(address, &gate_request, REQUESTS / 10).await?;
        load(plain, &plain_request, REQUESTS / 10).await?;
        let mut ratios = Vec::new();
        for round in 1..=ROUNDS {
            let gate = measured(child.0.id(), address, &gate_request).await?;
            let nginx = measured(proxy.0.id(), plain, &plain_request).await?;
            let ratio = gate.0 / nginx.0;
            println!(
                "{name:<16} round {round}: {:5.1} us/request {:6.0}/s   nginx {:5.1} us/request {:6.0}/s   CPU ratio {ratio:.2}",
                gate.0, gate.1, nginx.0, nginx.1
            );
            ratios.push(ratio);
        }
        ratios.sort_by(f64::total_cmp);
        println!("{name:<16} median CPU ratio to nginx: {:.2}\n", ratios.get(ROUNDS / 2).copied().unwrap_or_default());
    }
    println!("The budget is 1.2, then 0.95, without a signature for each request.");
    Ok(())
}

/// Starts this program in another role: `--bare`, or `--gate` and its assertion mode.
fn start(upstream: SocketAddr, role: &[&str]) -> Result<(Ends, SocketAddr, String), Error> {
    use std::io::BufRead as _;
    let mut child = Command::new(std::env::current_exe()?)
        .args(role.first())
        .arg(upstream.to_string())
        .args(role.get(1..).unwrap_or_default())
        // One worker, as nginx has.
        .env("TOKIO_WORKER_THREADS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no output")?;
    let child = Ends(child);
    let mut line = String::new();
    std::io::BufReader::new(stdout).read_line(&mut line)?;
    let (address, token) = line.trim().split_once(' ').ok_or("the gate did not start")?;
    Ok((child, address.parse()?, token.to_owned()))
}

/// CPU microseconds per request of a process, and requests per second.
async fn measured(pid: u32, address: SocketAddr, request: &str) -> Result<(f64, f64), Error> {
    let (before, start) = (cpu_ticks(pid)?, stepgate_bench::now());
    load(address, request, REQUESTS).await?;
    let (after, end) = (cpu_ticks(pid)?, stepgate_bench::now());
    let cpu = after.saturating_sub(before).saturating_mul(TICK_US);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (cpu, count) = (cpu as f64, REQUESTS as f64);
    Ok((cpu / count, count / end.saturating_sub(start).as_secs_f64()))
}

/// Bounded load: so many requests over the connections, each answered before the next.
async fn load(address: SocketAddr, request: &str, requests: usize) -> Result<(), Error> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let request = request.to_owned();
        tasks.spawn(async move { connection(address, &request, requests / CONNECTIONS).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn connection(address: SocketAddr, request: &str, requests: usize) -> Result<(), Error> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    for _ in 0..requests {
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

/// One process, in the foreground, which is there when it is given back.
fn nginx(directory: &std::path::Path, name: &str, address: SocketAddr, servers: &str) -> Result<Ends, Error> {
    let base = directory.join(name);
    std::fs::create_dir_all(&base)?;
    let file = base.join("nginx.conf");
    let config = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log; user root; events {{ worker_connections 1024; }} \
         http {{ access_log off; keepalive_requests 10000000; client_body_temp_path {0}/b; proxy_temp_path {0}/p; \
         fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; {servers} }}",
        base.display()
    );
    std::fs::write(&file, config)?;
    let child = Command::new("nginx")
        .arg("-c")
        .arg(&file)
        .arg("-e")
        .arg(base.join("error.log"))
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("nginx cannot be started ({error}); `apt-get install nginx-light` brings it"))?;
    let ends = Ends(child);
    for _ in 0..200 {
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(ends);
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    Err("nginx did not start".into())
}
