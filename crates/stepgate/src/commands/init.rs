//! `stepgate init`: a commented configuration, a policy, keys, the first administrator.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use stepgate_core::factor::FactorKind;
use stepgate_core::person::Login;
use stepgate_store::Keyring;

use super::{Done, Failure, because, failed, open, print, wrong_input};
use crate::cli::{Format, InitArgs};
use crate::config::parse_origin;
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

/// Writes configuration, policies and a new master key: all of it, or nothing. An existing file is never
/// replaced.
pub fn write_deployment(new: &NewDeployment<'_>) -> Result<PathBuf, Failure> {
    let mut made = Made::default();
    let file = write(new, &mut made)?;
    made.keep();
    Ok(file)
}

fn write(new: &NewDeployment<'_>, made: &mut Made) -> Result<PathBuf, Failure> {
    let policies = new.dir.join("policies");
    let keys = new.dir.join("keys");
    for directory in [new.dir, &policies, &keys] {
        made.directory(directory)?;
    }
    let file = new.dir.join("stepgate.toml");
    made.file(&file, new.config)?;
    for (name, text) in new.policies {
        made.file(&policies.join(name), text)?;
    }
    let key = keys.join("master.key");
    if key.exists() {
        return Err(failed(format!("{} exists. Nothing that exists is replaced.", key.display())));
    }
    made.paths.push(key.clone());
    Keyring::generate(&SystemRandomness).create_file(&key).map_err(because)?;
    Ok(file)
}

/// Files and directories that were made. Dropped before they are kept, they are taken away again: half a
/// deployment would be in the way of the next try.
#[derive(Default)]
struct Made {
    paths: Vec<PathBuf>,
}

impl Made {
    fn directory(&mut self, path: &Path) -> Result<(), Failure> {
        let missing: Vec<_> = path.ancestors().take_while(|path| !path.exists() && *path != Path::new("")).collect();
        for path in missing.into_iter().rev() {
            std::fs::create_dir(path)
                .map_err(|error| failed(format!("the directory {} cannot be made: {error}", path.display())))?;
            self.paths.push(path.to_owned());
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, text: &str) -> Result<(), Failure> {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
            failed(format!("{} is not written: {error}. Nothing that exists is replaced.", path.display()))
        })?;
        self.paths.push(path.to_owned());
        file.write_all(text.as_bytes()).map_err(because)
    }

    fn keep(mut self) {
        self.paths.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            // A directory in which somebody else put something meanwhile stays.
            let _ = if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) };
        }
    }
}

/// What `init` was asked for, checked before anything is written.
struct Wanted {
    login: Login,
    config: String,
    scheme: String,
}

fn wanted(args: &InitArgs) -> Result<Wanted, Failure> {
    let login = Login::parse(&args.admin).map_err(|error| wrong_input(format!("--admin: {error}")))?;
    let refused = |why: &str| {
        let text = &args.origin;
        wrong_input(format!(
            "--origin: {text:?} is no origin that a gate can have: {why}. Write scheme, host and, if need be, port, \
             like https://gate.example, or http://localhost:4180 to try it on this machine"
        ))
    };
    let origin = parse_origin(&args.origin, false).map_err(|why| refused(&why))?;
    let host = origin.host_str().ok_or_else(|| refused("a host is missing"))?;
    if host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
        return Err(refused("passkeys belong to a name, not to an address"));
    }
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
    // Whatever else the configuration would refuse is refused here, and not once it is written.
    let checked = crate::config::parse(&config, "stepgate.toml", args.dir.clone());
    checked.map_err(|error| refused(&error.lines().join("; ")))?;
    Ok(Wanted { login, config, scheme: origin.scheme().to_owned() })
}

pub(super) async fn run(args: &InitArgs) -> Done {
    let Wanted { login, config, scheme } = wanted(args)?;
    let store = args.dir.join("stepgate.db");
    if store.exists() {
        return Err(failed(format!(
            "{} exists, and a new master key could not open it. Nothing that exists is replaced: give another --dir",
            store.display()
        )));
    }
    let mut made = Made::default();
    let policies = [("app.cedar", POLICY), ("app.test.toml", TESTS), ("evidence.cedar", EVIDENCE)];
    let file = write(&NewDeployment { dir: &args.dir, config: &config, policies: &policies }, &mut made)?;
    if !file_is_ready(&args.dir, &scheme) {
        made.keep();
        if args.output.format() == Format::Json {
            print::json(&serde_json::json!({ "config": file.display().to_string(), "missing": "tls/certificate.pem" }));
            return Ok(ExitCode::SUCCESS);
        }
        wrote(&file);
        println!("Put a certificate and its key in tls/, then:");
        println!("  {} check --config {}", print::program(), file.display());
        println!("  {} user add {login} --group admins --group staff --config {}", print::program(), file.display());
        return Ok(ExitCode::SUCCESS);
    }
    made.paths.extend(["", "-wal", "-shm"].map(|part| args.dir.join(format!("stepgate.db{part}"))));
    let house = open(&file).await?;
    let person = house
        .flows
        .add_person(login, &args.admin, "", vec!["admins".to_owned(), "staff".to_owned()], "init")
        .await
        .map_err(because)?;
    let link =
        house.flows.make_link(&person, FactorKind::BUILT_IN.to_vec(), LINK_LIFETIME, "init").await.map_err(because)?;
    made.keep();
    if args.output.format() == Format::Json {
        print::json(&serde_json::json!({
            "config": file.display().to_string(),
            "person": person.id.to_string(),
            "login": person.login.as_str(),
            "url": link.url,
            "expires_at": link.expires_at.to_string(),
            "key": house.keys.checkpoint_verifier.to_string(),
        }));
        return Ok(ExitCode::SUCCESS);
    }
    wrote(&file);
    println!("The first administrator enrols here, once, within 24 hours, while the gate runs:");
    println!("  {}\n", link.url);
    println!("Keep this key apart from this machine; whoever has it can verify the evidence alone:");
    println!("  {}\n", house.keys.checkpoint_verifier);
    println!("Now change the [[service]] in {} to yours, and:", file.display());
    println!(
        "  {1} check --config {0}\n  {1} policy test --config {0}\n  {1} run --config {0}",
        file.display(),
        print::program()
    );
    Ok(ExitCode::SUCCESS)
}

fn wrote(file: &Path) {
    println!("Wrote {}, a policy with its tests, and a master key.", file.display());
    println!("Keep a copy of keys/master.key somewhere safe: without it the store cannot be read.\n");
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

# [[provider]]                             # the company's login: docs/identity/company-login.md
# name = "corp"
# issuer = "https://id.example/realms/corp"
# client_id = "stepgate"
# client_secret_file = "keys/corp.secret"

# [machines]                               # provisioning and shared signals: docs/machines/
# listen = "127.0.0.1:4182"
# origin = "https://machines.gate.example"

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

const EVIDENCE: &str = r#"// Who may see the evidence. Without this policy nobody may, administrators included;
// exporting it needs a confirmation besides (stepgate.export-needs-a-confirmation).
// Nobody is in this group until you say so: stepgate user add NAME --group auditors

@id("auditors-see-the-evidence")
permit (
  principal in Group::"auditors",
  action in [Action::"evidence.search", Action::"evidence.export"],
  resource in Service::"stepgate"
);
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
name = "auditors export the evidence with a proof for that export"
request = "POST /evidence/export"
service = "stepgate"
groups = ["auditors"]
proved = { password = "1m" }
enrolled = ["passkey", "totp", "password"]
expect = "confirm: passkey | totp"

[[case]]
name = "who is no auditor sees no evidence"
request = "GET /evidence"
service = "stepgate"
groups = ["admins", "staff"]
proved = { passkey = "1m" }
expect = "deny"

[[case]]
name = "strangers are refused"
request = "GET /payments"
service = "app"
groups = []
proved = { passkey = "1m" }
expect = "deny"
"#;
