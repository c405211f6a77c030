//! `stepgate init`: a commented configuration, a policy, keys, the first administrator.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use stepgate_core::factor::FactorKind;
use stepgate_core::person::Login;
use stepgate_store::Keyring;

use super::{Done, Failure, because, failed, open, wrong_input};
use crate::cli::InitArgs;
use crate::system::SystemRandomness;

/// How long the first administrator's link can be used.
const LINK_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What a new deployment is made of.
#[derive(Debug)]
pub struct NewDeployment<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// `stepgate.toml`.
    pub config: &'a str,
    /// Files of policies and their tests: name and text.
    pub policies: &'a [(&'a str, &'a str)],
}

/// Writes configuration, policies and a new master key. An existing file is never replaced.
pub fn write_deployment(new: &NewDeployment<'_>) -> Result<PathBuf, Failure> {
    let policies = new.dir.join("policies");
    let keys = new.dir.join("keys");
    for directory in [new.dir, &policies, &keys] {
        std::fs::create_dir_all(directory).map_err(because)?;
    }
    let file = new.dir.join("stepgate.toml");
    write_new(&file, new.config)?;
    for (name, text) in new.policies {
        write_new(&policies.join(name), text)?;
    }
    Keyring::generate(&SystemRandomness).create_file(&keys.join("master.key")).map_err(because)?;
    Ok(file)
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
        failed(format!("{} is not written: {error}. Nothing that exists is replaced.", path.display()))
    })?;
    file.write_all(text.as_bytes()).map_err(because)
}

pub(super) async fn run(args: &InitArgs) -> Done {
    let login = Login::parse(&args.admin).map_err(|error| wrong_input(format!("--admin: {error}")))?;
    let origin = url::Url::parse(&args.origin).map_err(|error| wrong_input(format!("--origin: {error}")))?;
    let host = origin.host_str().ok_or_else(|| wrong_input("--origin: a host is missing"))?;
    let port = origin.port().map(|port| format!(":{port}")).unwrap_or_default();
    let example = match host {
        "localhost" => format!("{}://app.localhost{port}", origin.scheme()),
        host => format!("{}://app.{host}{port}", origin.scheme()),
    };
    let tls = if origin.scheme() == "https" {
        "[gate.tls]\ncertificate = \"tls/certificate.pem\"\nkey = \"tls/key.pem\"\n"
    } else {
        "# [gate.tls]\n# certificate = \"tls/certificate.pem\"   # reloaded when it changes\n# key = \"tls/key.pem\"\n"
    };
    let listen = if origin.scheme() == "https" {
        format!("0.0.0.0:{}", origin.port().unwrap_or(443))
    } else {
        format!("127.0.0.1:{}", origin.port().unwrap_or(80))
    };
    let config = CONFIG
        .replace("{origin}", args.origin.trim_end_matches('/'))
        .replace("{listen}", &listen)
        .replace("{tls}", tls)
        .replace("{example}", &example);
    let file = write_deployment(&NewDeployment {
        dir: &args.dir,
        config: &config,
        policies: &[("app.cedar", POLICY), ("app.test.toml", TESTS)],
    })?;
    println!("Wrote {}, a policy with its tests, and a master key.", file.display());
    println!("Keep a copy of keys/master.key somewhere safe: without it the store cannot be read.\n");
    if !file_is_ready(&args.dir, origin.scheme()) {
        println!("Put a certificate and its key in tls/, then:");
        println!("  stepgate user add {login} --group admins --group staff --config {}", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let house = open(&file).await?;
    let person = house
        .flows
        .add_person(login, &args.admin, "", vec!["admins".to_owned(), "staff".to_owned()], "init")
        .await
        .map_err(because)?;
    let link =
        house.flows.make_link(&person, FactorKind::ALL.to_vec(), LINK_LIFETIME, "init").await.map_err(because)?;
    println!("The first administrator enrols here, once, within 24 hours, while the gate runs:");
    println!("  {}\n", link.url);
    println!("Keep this key apart from this machine; whoever has it can verify the evidence alone:");
    println!("  {}\n", house.keys.checkpoint_verifier);
    println!("Now change the [[service]] in {} to yours, and:", file.display());
    println!(
        "  stepgate check --config {0}\n  stepgate policy test --config {0}\n  stepgate run --config {0}",
        file.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// A TLS gate opens its store only once its certificate is there.
fn file_is_ready(dir: &Path, scheme: &str) -> bool {
    scheme != "https" || dir.join("tls/certificate.pem").exists()
}

const CONFIG: &str = r#"# Stepgate. `stepgate check` explains this file; docs/configuration.md is the reference.

[gate]
origin = "{origin}"        # people's pages and passkeys live here; its host is the relying party
listen = "{listen}"
store = "sqlite:stepgate.db"               # or postgres://user@host/name
policies = "policies"                      # *.cedar files
master_key_file = "keys/master.key"        # seals every secret in the store; keep a copy elsewhere
# operators = "127.0.0.1:4181"             # /healthz and /readyz
# trusted_hops = ["10.0.0.0/8"]            # proxies whose X-Forwarded-For is believed

{tls}
# [sessions]                               # defaults: SP 800-63B-4, AAL2
# idle = "1h"
# absolute = "24h"

# [challenges]
# answer_within = "10m"
# spend_within = "5m"

# [[network]]                              # context.network.name in policy
# name = "office"
# ranges = ["10.0.0.0/8"]

[[service]]
name = "app"
title = "The application"
origin = "{example}"       # its host selects the service
upstream = "http://127.0.0.1:8080"         # must be reachable only through the gate

# What matters is named; everything else is `read` or `write` by its method.
[[service.operation]]
on = "POST /payments/{id}/approve"
action = "payments.approve"
title = "Approve payment {id} of {amount}"
kind = "payment"
sensitivity = "high"
inputs = { id = "path id as string", amount = "json /amount as long" }
"#;

const POLICY: &str = r#"// Who may use the application, and what has to be proved for what.
// `stepgate policy schema` prints every attribute; `stepgate policy test` runs app.test.toml.

@id("staff-use-the-application")
permit (principal in Group::"staff", action, resource in Service::"app");

@id("large-payment")
@reason("Payments over 10,000 need your passkey, for this payment alone.")
forbid (principal, action == Action::"payments.approve", resource in Service::"app")
when   { context.input.amount > 10000 }
unless { context.confirmed.contains("passkey") };

@id("changes-need-a-recent-second-factor")
@reason("Changes need a second factor from the last eight hours.")
forbid (principal, action in Action::"write", resource in Service::"app")
unless {
  context.age.second_factor <= duration("8h") ||
  context.confirmed.contains("passkey")
};
"#;

const TESTS: &str = r#"# Requests with their expected verdicts. `stepgate policy test` runs them.

[[case]]
name = "reading is everyday"
request = "GET /payments"
service = "app"
groups = ["staff"]
proved = { password = "1m" }
expect = "permit"

[[case]]
name = "a large payment is confirmed with a passkey"
request = "POST /payments/42/approve"
service = "app"
json = '{"amount": 12000}'
groups = ["staff"]
proved = { password = "1m" }
enrolled = ["passkey", "totp", "password"]
expect = "confirm: passkey"
because = ["large-payment"]

[[case]]
name = "strangers are refused"
request = "GET /payments"
service = "app"
groups = []
proved = { passkey = "1m" }
expect = "deny"
"#;
