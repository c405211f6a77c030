//! The demo: a gate, a small ledger behind it, a person who works with it, and one
//! who may see the evidence.

mod app;
mod people;
mod tour;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use stepgate_store::StoreUrl;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::DemoArgs;
use crate::commands::{Done, Failure, NewDeployment, because, print, write_deployment};
use crate::config;
use crate::gate::{Gate, House, OnlyGate};
use crate::system::{SystemClock, SystemRandomness};

use people::DemoPerson;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// Ports that are tried after the one that was asked for.
const PORTS_TRIED: u16 = 50;

/// A running demo.
struct Demo {
    gate: Gate,
    gate_origin: String,
    ledger_origin: String,
    address: SocketAddr,
    verifier: String,
    alice: DemoPerson,
    audrey: DemoPerson,
    directory: PathBuf,
    app: CancellationToken,
    _only: OnlyGate,
}

/// Starts the demo, and either tells what to try or walks the tour.
pub(crate) async fn run(args: DemoArgs) -> Done {
    let kept = args.dir.is_some();
    let temporary;
    let directory = match args.dir {
        Some(directory) => directory,
        None => {
            temporary = Temporary::new()?;
            temporary.0.clone()
        }
    };
    let demo = start(&directory, args.port).await?;
    if args.tour {
        return tour::walk(demo, kept).await;
    }
    tell(&demo, kept);
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => if let Err(error) = stopped {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot wait for Ctrl-C");
        },
        () = show_codes([&demo.alice, &demo.audrey]) => {}
    }
    println!("\nStopping.");
    demo.app.cancel();
    demo.gate.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// A directory that goes with the process.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self, Failure> {
        use stepgate_core::time::Randomness as _;
        let mut name = [0; 8];
        SystemRandomness.fill(&mut name);
        let path = std::env::temp_dir().join(format!("stepgate-demo-{}", hex::encode(name)));
        std::fs::create_dir(&path).map_err(because)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is left behind is the operating system's to clean: its directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn start(directory: &Path, port: u16) -> Result<Demo, Failure> {
    let app = CancellationToken::new();
    let upstream = app::start(app.clone()).await.map_err(because)?;
    let listener = free_port(port).await?;
    let address = listener.local_addr().map_err(because)?;
    let gate_origin = format!("http://localhost:{}", address.port());
    let ledger_origin = format!("http://ledger.localhost:{}", address.port());
    let file = deployment(directory, &gate_origin, &ledger_origin, address, upstream)?;
    let settings = config::load(&file)?;
    let only = OnlyGate::on(&StoreUrl::parse(&settings.store).map_err(because)?)?;
    let house = House::open(settings, Some(file), Arc::new(SystemClock), Arc::new(SystemRandomness)).await?;
    let verifier = house.keys.checkpoint_verifier.clone();
    let alice = people::alice(&house.flows).await?;
    let audrey = people::audrey(&house.flows).await?;
    let gate = house.serve(vec![listener]).await?;
    let directory = directory.to_owned();
    Ok(Demo { gate, gate_origin, ledger_origin, address, verifier, alice, audrey, directory, app, _only: only })
}

async fn free_port(first: u16) -> Result<TcpListener, Failure> {
    let mut last = None;
    for port in first..=first.saturating_add(PORTS_TRIED) {
        match TcpListener::bind((LOOPBACK, port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    let last = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(because(last))
}

/// Writes the demo's configuration. Ports change from run to run, so in a directory
/// that exists already only the configuration is written anew.
fn deployment(
    directory: &Path,
    gate: &str,
    ledger: &str,
    address: SocketAddr,
    upstream: SocketAddr,
) -> Result<PathBuf, Failure> {
    let config = CONFIG
        .replace("{gate}", gate)
        .replace("{ledger}", ledger)
        .replace("{address}", &address.to_string())
        .replace("{upstream}", &upstream.to_string());
    let file = directory.join("stepgate.toml");
    if file.exists() {
        std::fs::write(&file, config).map_err(because)?;
        return Ok(file);
    }
    let policies = [("ledger.cedar", POLICY), ("ledger.test.toml", TESTS)];
    write_deployment(&NewDeployment { dir: directory, config: &config, policies: &policies })
}

fn tell(demo: &Demo, kept: bool) {
    let Demo { gate_origin, ledger_origin, address, alice, audrey, .. } = demo;
    let port = address.port();
    println!("\nStepgate stands in front of a small ledger.\n");
    println!("  The ledger       {ledger_origin}");
    println!("  Your account     {gate_origin}/account");
    println!("  Sign in as       {}", alice.login);
    println!("  Password         {}", alice.password);
    println!("  Authenticator    add this to an app, or type the code of the moment: {}", alice.code_now());
    if let Ok(code) = QrCode::new(alice.uri.as_bytes()) {
        println!("\n{}\n", code.render::<Dense1x2>().quiet_zone(true).build());
    }
    println!("What to try");
    println!("  1. Open the ledger and sign in. Reading it asks for nothing more.");
    println!("  2. Approve payment 41 of 900: it passes.");
    println!("  3. Approve payment 42 of 12,000: you are asked for a proof for this payment alone,");
    println!("     and come back to the page where you were. Your passkey, or the code above.");
    println!("  4. Export all payments: that needs a second factor from the last five minutes.");
    println!("  5. In another browser or a private window, look at {gate_origin}/evidence as the auditor:");
    println!("       Sign in as       {}, {}", audrey.login, audrey.name);
    println!("       Password         {}", audrey.password);
    println!("       Authenticator    the code of the moment, below");
    println!("     Searching is recorded; exporting asks for a proof and gives one file to verify.");
    println!("\nTo use a passkey, add one at {gate_origin}/account first (it asks for the code).");
    println!("No security key at hand? In Chrome: F12, the three dots, More tools, WebAuthn,");
    println!("\"Enable virtual authenticator environment\", then add one with ctap2, internal,");
    println!("resident keys and user verification.");
    println!("\nOver SSH, on your own machine:   ssh -L {port}:127.0.0.1:{port} <this machine>");
    println!("For programs, where *.localhost does not resolve:");
    println!("  curl --resolve ledger.localhost:{port}:127.0.0.1 {ledger_origin}/api/payments");
    println!("  curl -H 'Host: ledger.localhost:{port}' http://127.0.0.1:{port}/api/payments");
    let program = print::program();
    if kept {
        let directory = demo.directory.display();
        println!("\nThe evidence, while the demo runs or later:");
        println!("  {program} audit tail --config {directory}/stepgate.toml");
        println!("  {program} audit export --config {directory}/stepgate.toml --out {directory}/evidence");
        println!("  {program} audit verify {directory}/evidence --key '{}'", demo.verifier);
    } else {
        println!("\nWith --dir DIR the evidence is kept, and these commands show and verify it:");
        println!("  {program} audit tail | export | verify");
    }
    println!("\nA new code comes every 30 seconds; the line below is kept up to date. Ctrl-C ends the demo.");
}

/// Keeps the authenticators' codes on the terminal's last line. Where standard output
/// is no terminal, new codes are a line of their own.
async fn show_codes(people: [&DemoPerson; 2]) {
    use std::io::{IsTerminal as _, Write as _};
    let mut shown = String::new();
    loop {
        let codes = people.map(|person| format!("{} {}", person.login, person.code_now())).join(", ");
        if std::io::stdout().is_terminal() {
            let left = people.map(DemoPerson::seconds_left).into_iter().min().unwrap_or_default();
            print!("\r  Codes of the moment: {codes}  (others in {left:>2} s) ");
            // A terminal that is gone shows nothing; the demo goes on without it.
            let _ = std::io::stdout().flush();
        } else if codes != shown {
            println!("  Codes of the moment: {codes}");
        }
        shown = codes;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

const CONFIG: &str = r#"# The demo's configuration; written anew at each start, because ports change.
[gate]
origin = "{gate}"
listen = "{address}"
store = "sqlite:stepgate.db"
policies = "policies"
master_key_file = "keys/master.key"

[[service]]
name = "ledger"
title = "Ledger"
origin = "{ledger}"
upstream = "http://{upstream}"

[[service.operation]]
on = "POST /payments/{id}/approve"
action = "payments.approve"
title = "Approve payment {id} of {amount}"
kind = "payment"
sensitivity = "high"
inputs = { id = "path id as string", amount = "form amount as long" }

[[service.operation]]
on = "POST /api/payments/{id}/approve"
action = "payments.approve"
title = "Approve payment {id} of {amount}"
kind = "payment"
sensitivity = "high"
inputs = { id = "path id as string", amount = "json /amount as long" }

[[service.operation]]
on = "GET /payments.csv"
action = "payments.export"
title = "Export all payments"
kind = "export"
sensitivity = "high"
"#;

const POLICY: &str = include_str!("../../../../policies/demo.cedar");
const TESTS: &str = include_str!("../../../../policies/demo.test.toml");
