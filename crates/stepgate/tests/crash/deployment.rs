//! What a hunt is held in: a folder with configuration, policies and keys, a database,
//! one node or two, and people with all that they prove themselves with.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use stepgate::gate::House;
use stepgate::system::SystemRandomness;
use stepgate_core::factor::{EnrolmentAnswer, EnrolmentOffer, FactorKind};
use stepgate_core::flows::Flows;
use stepgate_core::person::Login;
use stepgate_core::secret::Token;
use stepgate_store::Keyring;
use stepgate_testkit::{Postgres, SoftwareAuthenticator, totp};
use tempfile::TempDir;

use crate::person::Proofs;
use crate::upstream::Application;
use crate::world_clock::Time;

/// How often another port is looked for that is free at all addresses.
const PORT_TRIES: usize = 20;

/// Where everything is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A file, and one node.
    Sqlite,
    /// A server, and two nodes.
    Postgres,
}

impl Backend {
    /// How many gates there are.
    pub(crate) const fn nodes(self) -> usize {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => 2,
        }
    }
}

/// The folder, and where the nodes listen.
#[derive(Debug)]
pub(crate) struct Deployment {
    folder: TempDir,
    /// All at one port, each at an address of its own.
    pub(crate) listeners: Vec<TcpListener>,
    /// The time.
    pub(crate) time: Time,
    /// Behind all nodes.
    pub(crate) application: Application,
}

impl Deployment {
    /// An empty one.
    pub(crate) async fn begin(backend: Backend) -> Self {
        let folder = tempfile::Builder::new().prefix("stepgate-crash-").tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let time = Time::begin(folder.path());
        let listeners = listeners(backend.nodes());
        let port = listeners[0].local_addr().unwrap().port();
        let application = Application::start(backend.nodes(), time.clone()).await;
        let store = match backend {
            Backend::Sqlite => "sqlite:stepgate.db".to_owned(),
            Backend::Postgres => tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap(),
        };
        for (node, upstream) in application.addresses.iter().enumerate() {
            std::fs::write(file(folder.path(), node), config(port, &store, *upstream)).unwrap();
        }
        std::fs::create_dir(at("policies")).unwrap();
        std::fs::create_dir(at("keys")).unwrap();
        Keyring::generate(&SystemRandomness).create_file(&at("keys/master.key")).unwrap();
        let deployment = Self { folder, listeners, time, application };
        deployment.write_policies(false);
        deployment
    }

    /// A node's configuration.
    pub(crate) fn file(&self, node: usize) -> PathBuf {
        file(self.folder.path(), node)
    }

    /// Where the nodes are.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
    }

    /// Puts other policies in place of those there are, at once: whoever reads them reads one or the other.
    pub(crate) fn write_policies(&self, is_strict: bool) {
        let policies = self.folder.path().join("policies");
        let new = policies.join("payments.new");
        std::fs::write(&new, format!("{POLICIES}{}", if is_strict { STRICT } else { "" })).unwrap();
        std::fs::rename(new, policies.join("payments.cedar")).unwrap();
    }

    /// Somebody of the group that pays.
    pub(crate) async fn enrol(&self, flows: &Flows, name: &str) -> Proofs {
        let login = Login::parse(name).unwrap();
        let groups = vec!["finance".to_owned()];
        let person = flows.add_person(login, name, "payer@example.test", groups, "test").await.unwrap();
        let kinds = vec![FactorKind::PASSKEY, FactorKind::Totp, FactorKind::RecoveryCode];
        let link = flows.make_link(&person, kinds.clone(), Duration::from_secs(3600), "test").await.unwrap();
        let link = link.url.rsplit('/').next().and_then(Token::parse).unwrap();
        let browser = Token::random(flows.random.as_ref());
        let ticket = flows.use_link(&link, &browser).await.unwrap();
        let origin = format!("http://localhost:{}", self.addresses()[0].port());
        let mut proofs =
            Proofs { authenticator: SoftwareAuthenticator::new(), app: String::new(), recovery_codes: Vec::new() };
        for kind in kinds {
            let view = flows.enrolment(&ticket, &browser).await.unwrap();
            let answer = match flows.begin_enrolment(&view, kind).await.unwrap() {
                EnrolmentOffer::Passkey { options } => {
                    EnrolmentAnswer::Passkey(proofs.authenticator.answer_creation(&origin, &options))
                }
                EnrolmentOffer::Totp { secret_base32, .. } => {
                    proofs.app = secret_base32.expose_secret().to_owned();
                    EnrolmentAnswer::Text(totp::code_at(&proofs.app, self.time.now()).into())
                }
                EnrolmentOffer::RecoveryCodes { codes } => {
                    proofs.recovery_codes = codes.iter().map(|code| code.expose_secret().to_owned()).collect();
                    EnrolmentAnswer::Text(SecretString::default())
                }
                EnrolmentOffer::Password
                | EnrolmentOffer::Address { .. }
                | EnrolmentOffer::SentCode { .. }
                | EnrolmentOffer::Device { .. } => {
                    panic!("nobody asked for {kind}")
                }
            };
            let view = flows.enrolment(&ticket, &browser).await.unwrap();
            flows.finish_enrolment(&view, kind, "", &answer).await.unwrap();
        }
        flows.end_enrolment(&ticket).await.unwrap();
        proofs
    }
}

/// In order, so that nothing of it is left when the next one opens.
pub(crate) async fn close(house: House) {
    let database = Arc::clone(&house.database);
    drop(house);
    Arc::try_unwrap(database).unwrap().close().await;
}

fn file(folder: &Path, node: usize) -> PathBuf {
    folder.join(format!("node{node}.toml"))
}

/// One port that is free at as many addresses of this machine.
fn listeners(count: usize) -> Vec<TcpListener> {
    for _ in 0..PORT_TRIES {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = (1..count).map(|node| TcpListener::bind((format!("127.0.0.{}", node + 1), port)));
        if let Ok(others) = others.collect::<Result<Vec<_>, _>>() {
            return std::iter::once(first).chain(others).collect();
        }
    }
    panic!("no port is free at {count} addresses of loopback")
}

fn config(port: u16, store: &str, upstream: SocketAddr) -> String {
    format!(
        r#"
[gate]
origin = "http://localhost:{port}"
listen = "127.0.0.1:{port}"
store = "{store}"
policies = "policies"
master_key_file = "keys/master.key"

[sessions]
idle = "5m"

[[service]]
name = "ledger"
title = "Ledger"
origin = "http://ledger.localhost:{port}"
upstream = "http://{upstream}"

[[service.operation]]
on = "POST /payments/{{id}}/approve"
action = "payments.approve"
title = "Approve payment {{id}} of {{amount}}"
sensitivity = "high"
kind = "payment"
inputs = {{ id = "path id as string", amount = "form amount as long" }}

[[service.operation]]
on = "POST /api/payments/{{id}}/approve"
action = "payments.approve"
title = "Approve payment {{id}} of {{amount}}"
sensitivity = "high"
kind = "payment"
inputs = {{ id = "path id as string", amount = "json /amount as long" }}

[[service.operation]]
on = "POST /api/transfers/{{id}}/approve"
action = "transfers.approve"
title = "Approve transfer {{id}}"
sensitivity = "high"
kind = "transfer"
inputs = {{ id = "path id as string" }}

[[service.operation]]
on = "POST /api/vaults/{{id}}/approve"
action = "vaults.approve"
title = "Open vault {{id}}"
sensitivity = "high"
kind = "vault"
inputs = {{ id = "path id as string" }}

[[service.operation]]
on = "GET /reports/{{id}}"
action = "reports.read"
title = "Read report {{id}}"
sensitivity = "high"
kind = "report"
inputs = {{ id = "path id as string" }}
"#
    )
}

const POLICIES: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("large-payment")
@reason("Payments over 10,000 need your passkey, for this payment alone.")
forbid (principal, action == Action::"payments.approve", resource in Service::"ledger")
when   { context.input.amount > 10000 }
unless { context.confirmed.contains("passkey") };

@id("transfers-need-a-code")
@reason("Transfers need a code of your app.")
forbid (principal, action == Action::"transfers.approve", resource in Service::"ledger")
unless { context.confirmed.contains("totp") };

@id("vaults-need-a-recovery-code")
@reason("Vaults need one of your recovery codes.")
forbid (principal, action == Action::"vaults.approve", resource in Service::"ledger")
unless { context.confirmed.contains("recovery_code") };

@id("reports-need-a-fresh-second-factor")
@reason("Reports need a second factor from the last minute.")
forbid (principal, action == Action::"reports.read", resource in Service::"ledger")
unless { context.age.second_factor <= duration("1m") };
"#;

/// Beside the others at times.
const STRICT: &str = r#"
@id("medium-payment")
@reason("Payments over 5,000 need your passkey at the moment.")
forbid (principal, action == Action::"payments.approve", resource in Service::"ledger")
when   { context.input.amount > 5000 }
unless { context.confirmed.contains("passkey") };
"#;
