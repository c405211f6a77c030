//! A deployment that lives through many gates: one folder, one port, one application,
//! a few people, and the audit that goes on from life to life.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use stepgate::gate::House;
use stepgate::system::SystemRandomness;
use stepgate_core::factor::{EnrolmentAnswer, EnrolmentOffer, FactorKind};
use stepgate_core::flows::Flows;
use stepgate_core::person::Login;
use stepgate_core::ports::Store as _;
use stepgate_core::secret::Token;
use stepgate_evidence::verify::{self, Report};
use stepgate_ledger::export::{Reader, Writer};
use stepgate_ledger::verify::Trust;
use stepgate_ledger::{CheckpointVerifier, SignedCheckpoint};
use stepgate_store::{Keyring, LeafDetails};
use stepgate_testkit::SoftwareAuthenticator;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::audit::{Audit, Known, Violation, violated};
use crate::boundary::{AtCommit, Boundary, Plan};
use crate::client::Browser;
use crate::dying::Without;
use crate::gate;
use crate::life::{Killer, Life, Orders};
use crate::payments::{Payer, Stopped};
use crate::upstream::Application;

/// People who pay at the same time.
const PAYERS: usize = 2;
/// Every life begins so long after the last one: its lease is over by then.
const BETWEEN_LIVES_MS: i64 = 21_000;
/// Steps of each person in one life. A boundary that was not met by then is not met.
const STEPS: usize = 24;
/// A gate that says nothing for so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// Leaves that are read at once.
const PAGE: u32 = 1000;

/// The deployment.
#[derive(Debug)]
pub(crate) struct World {
    folder: TempDir,
    listener: TcpListener,
    application: Application,
    payers: Vec<Payer>,
    /// What must be true.
    pub(crate) audit: Audit,
    /// Heard in lives whose entries are not read yet.
    pending: Vec<Known>,
    arrivals: Vec<crate::upstream::Arrival>,
    verifier: String,
    life: u32,
    without: Option<Without>,
}

impl World {
    /// A deployment with its people; all that they do follows from the seed.
    pub(crate) async fn new(seed: u64, without: Option<Without>) -> Self {
        let folder = tempfile::Builder::new().prefix("stepgate-crash-").tempdir().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let application = Application::start().await;
        let at = |path: &str| folder.path().join(path);
        std::fs::write(at("stepgate.toml"), config(port, &application)).unwrap();
        std::fs::create_dir(at("policies")).unwrap();
        std::fs::write(at("policies/payments.cedar"), POLICIES).unwrap();
        std::fs::create_dir(at("keys")).unwrap();
        Keyring::generate(&SystemRandomness).create_file(&at("keys/master.key")).unwrap();
        let house = gate::open(folder.path(), 0).await;
        let verifier = house.keys.checkpoint_verifier.to_string();
        let mut payers = Vec::new();
        for number in 0..PAYERS {
            let name = format!("payer{number}");
            let origin = format!("http://localhost:{port}");
            let authenticator = enrol(&house.flows, &name, &origin).await;
            let seed = seed.wrapping_mul(31).wrapping_add(u64::try_from(number).unwrap());
            payers.push(Payer::new(name, Browser::new(port, authenticator), seed));
        }
        close(house).await;
        let audit = Audit::new(CheckpointVerifier::parse(&verifier).unwrap());
        let (pending, arrivals, life) = (Vec::new(), Vec::new(), 0);
        Self { folder, listener, application, payers, audit, pending, arrivals, verifier, life, without }
    }

    /// One life, from its start to its kill. Says at which boundary it ended, or `None` where
    /// that was at any moment.
    pub(crate) async fn live(&mut self, plan: Plan) -> Result<Option<Boundary>, Violation> {
        self.life += 1;
        let (commit, send) = match plan {
            Plan::At(Boundary::Commit { method, side }, call) => (Some(AtCommit { method, side, call }), None),
            Plan::At(Boundary::Send(send), times) => (None, Some((send, times))),
            Plan::SinceStart(_) | Plan::SinceServing(_) => (None, None),
        };
        let orders = Orders { ahead_ms: self.ahead_ms(), from: self.audit.size(), at: commit, without: self.without };
        let mut life = Life::begin(self.folder.path(), &self.listener, orders);
        self.application.set_trap(self.life, send, life.killer.clone());
        let killer = life.killer.clone();
        let timer = async {
            match plan {
                Plan::SinceStart(micros) => sleep(Duration::from_micros(micros)).await,
                Plan::SinceServing(_) | Plan::At(..) => std::future::pending().await,
            }
        };
        let lived = async {
            self.listen(&mut life).await?;
            match plan {
                Plan::SinceServing(micros) => {
                    let moment = sleep(Duration::from_micros(micros));
                    tokio::select! { paid = self.pay(&killer) => paid, () = moment => Ok(()) }
                }
                Plan::SinceStart(_) | Plan::At(..) => self.pay(&killer).await,
            }
        };
        let paid = tokio::select! {
            lived = lived => lived.err(),
            () = timer => None,
        };
        let was_alive = killer.kill();
        killer.gone().await;
        // What it told before it died, and nobody had time to hear.
        let heard = self.listen(&mut life).await;
        for payer in &mut self.payers {
            self.pending.append(&mut payer.known);
        }
        self.audit.signed(&self.pending);
        self.arrivals.extend(self.application.take_arrivals().await);
        if let Some(violation) = paid.or(heard.err()) {
            return Err(violation);
        }
        let by_itself = *life.asked.borrow() || self.application.has_sprung();
        if !was_alive && !by_itself {
            let stderr = std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
            return violated(format!("the gate ended by itself:\n{stderr}"));
        }
        Ok(match plan {
            Plan::At(boundary, _) if by_itself => Some(boundary),
            _ => None,
        })
    }

    fn ahead_ms(&self) -> i64 {
        i64::from(self.life) * BETWEEN_LIVES_MS
    }

    /// Reads what the ledger holds that was not read yet, and holds everything against it.
    async fn listen(&mut self, life: &mut Life) -> Result<(), Violation> {
        loop {
            let line = match timeout(HANGS_AFTER, life.told.recv()).await {
                Ok(Some(line)) => line,
                // It told everything, or died before: then the next one tells the rest.
                Ok(None) => return Ok(()),
                Err(_) => return violated("the gate hangs while it starts".to_owned()),
            };
            if let Some(node) = line.strip_prefix(gate::NODE) {
                self.audit.node(node, self.life);
            } else if let Some(text) = line.strip_prefix(gate::CHECKPOINT) {
                self.audit.head(&serde_json::from_str::<String>(text).unwrap())?;
            } else if let Some(leaf) = line.strip_prefix(gate::LEAF) {
                self.audit.leaf(leaf.as_bytes())?;
            } else if let Some(body) = line.strip_prefix(gate::DETAILS) {
                self.audit.details(serde_json::from_str(body).unwrap())?;
            } else if line == gate::TOLD {
                return self.judge();
            }
        }
    }

    /// All entries of earlier lives were read.
    fn judge(&mut self) -> Result<(), Violation> {
        self.audit.heads()?;
        self.audit.arrivals(std::mem::take(&mut self.arrivals))?;
        self.audit.known(&std::mem::take(&mut self.pending))
    }

    /// Everybody pays until the gate is dead, or nothing was left to do.
    async fn pay(&mut self, killer: &Killer) -> Result<(), Violation> {
        let everybody = futures_util::future::try_join_all(self.payers.iter_mut().map(|payer| async {
            for _ in 0..STEPS {
                match timeout(HANGS_AFTER, payer.step()).await {
                    Ok(Ok(())) => {}
                    // The others find out by themselves.
                    Ok(Err(Stopped::Gone)) => return Ok(()),
                    Ok(Err(Stopped::Violation(violation))) => return Err(violation),
                    Err(_) => return violated("the gate hangs".to_owned()),
                }
            }
            Ok(())
        }));
        tokio::select! {
            paid = everybody => paid.map(drop),
            () = killer.gone() => Ok(()),
        }
    }

    /// The end: nobody dies any more. What was being sent gets its outcome, the evidence is
    /// exported and verified with nothing but the export, the public key, and every head that
    /// was told between the kills.
    pub(crate) async fn end(mut self) -> Result<(Audit, Report, usize), Violation> {
        self.life += 1;
        let house = gate::open(self.folder.path(), self.ahead_ms()).await;
        self.audit.node(&house.flows.node.to_string(), self.life);
        if self.without != Some(Without::LookingBack) {
            house.flows.sweep().await.map_err(|error| error.to_string())?;
        }
        let export = self.folder.path().join("export");
        let checkpoint = SignedCheckpoint::parse(&self.signed_head(&house).await).unwrap();
        let size = checkpoint.unverified().size;
        let mut writer = Writer::create(&export).unwrap();
        while writer.size() < size {
            let limit = u32::try_from(size - writer.size()).unwrap_or(PAGE).min(PAGE);
            for leaf in house.database.leaves(writer.size(), limit).await.unwrap() {
                let details = match &leaf.details {
                    LeafDetails::Kept(details) => Some(details),
                    LeafDetails::None | LeafDetails::Erased => None,
                };
                writer.append(&leaf.bytes, details.map(verify::exported).as_ref()).unwrap();
                // The sweep writes into this life without beginning it: outcomes of earlier ones.
                if leaf.index >= self.audit.size() {
                    self.audit.leaf(&leaf.bytes)?;
                    if let Some(details) = details {
                        self.audit.details(details.body.clone())?;
                    }
                }
            }
        }
        writer.finish(&checkpoint).unwrap();
        close(house).await;
        self.judge()?;
        self.audit.is_complete()?;
        let keys = [CheckpointVerifier::parse(&self.verifier).unwrap()];
        let trust = Trust { keys: &keys, remembered: &self.audit.remembered };
        let report = verify::verify(&Reader::open(&export).unwrap(), trust, &mut |_| {}).unwrap();
        if !report.is_sound() {
            return violated(format!("the evidence is not sound:\n{report}"));
        }
        let done = self.payers.iter().map(|payer| payer.done).sum();
        Ok((self.audit, report, done))
    }

    /// The newest head, signed: the writer signs after it has committed.
    async fn signed_head(&self, house: &House) -> String {
        let size = house.database.ledger_size().await.unwrap();
        loop {
            let head = house.database.checkpoint().await.unwrap();
            if SignedCheckpoint::parse(&head).unwrap().unverified().size >= size {
                return head;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Somebody of the group that pays, with a passkey and nothing else.
async fn enrol(flows: &Flows, name: &str, origin: &str) -> SoftwareAuthenticator {
    let login = Login::parse(name).unwrap();
    let groups = vec!["finance".to_owned()];
    let person = flows.add_person(login, name, "payer@example.test", groups, "test").await.unwrap();
    let hour = Duration::from_secs(3600);
    let link = flows.make_link(&person, vec![FactorKind::Passkey], hour, "test").await.unwrap();
    let link = link.url.rsplit('/').next().and_then(Token::parse).unwrap();
    let browser = Token::random(flows.random.as_ref());
    let ticket = flows.use_link(&link, &browser).await.unwrap();
    let view = flows.enrolment(&ticket, &browser).await.unwrap();
    let offer = flows.begin_enrolment(&view, FactorKind::Passkey).await.unwrap();
    let EnrolmentOffer::Passkey { options } = offer else { panic!("no passkey was offered") };
    let mut authenticator = SoftwareAuthenticator::new();
    let answer = EnrolmentAnswer::Passkey(authenticator.answer_creation(origin, &options));
    let view = flows.enrolment(&ticket, &browser).await.unwrap();
    flows.finish_enrolment(&view, FactorKind::Passkey, "", &answer).await.unwrap();
    flows.end_enrolment(&ticket).await.unwrap();
    authenticator
}

/// In order, so that nothing of it is left when the next one opens.
async fn close(house: House) {
    let House { database, flows, .. } = house;
    drop(flows);
    Arc::try_unwrap(database).unwrap().close().await;
}

fn config(port: u16, application: &Application) -> String {
    format!(
        r#"
[gate]
origin = "http://localhost:{port}"
listen = "127.0.0.1:{port}"
store = "sqlite:stepgate.db"
policies = "policies"
master_key_file = "keys/master.key"

[[service]]
name = "ledger"
title = "Ledger"
origin = "http://ledger.localhost:{port}"
upstream = "http://{}"

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
"#,
        application.address
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
"#;
