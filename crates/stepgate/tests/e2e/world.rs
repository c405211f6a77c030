//! A gate of its own for each test: configuration and store in a temporary
//! folder, a free port, an upstream that records.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use stepgate::gate::{Gate, House};
use stepgate::system::{SystemClock, SystemRandomness};
use stepgate_core::factor::FactorKind;
use stepgate_core::id::ChallengeId;
use stepgate_core::person::Login;
use stepgate_core::ports::Store as _;
use stepgate_core::time::{Clock, Timestamp};
use stepgate_evidence::Statement;
use stepgate_store::Keyring;
use stepgate_testkit::clock::BEGINNING;
use stepgate_testkit::{Answer, FakeClock, Page, Person, RecordedRequest, RecordingUpstream, totp};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Everybody's password: long enough, and in nobody's list.
pub(crate) const PASSWORD: &str = "seven paper lanterns over a frozen canal";

/// What people enrol, if nothing else is said.
const FACTORS: [FactorKind; 3] = [FactorKind::Password, FactorKind::PASSKEY, FactorKind::Totp];

/// How long an enrolment link lives.
const LINK_LIFETIME: Duration = Duration::from_secs(3600);

/// What stands behind the gate.
pub(crate) struct Behind {
    /// Its address.
    pub(crate) url: String,
    /// TOML of its operations.
    pub(crate) operations: &'static str,
    /// Cedar beside the built-in policies.
    pub(crate) policies: &'static str,
}

/// A running gate with what is around it.
pub(crate) struct World {
    /// The gate, in this process.
    pub(crate) gate: Gate,
    /// The clock, where it is set by hand.
    pub(crate) clock: Arc<FakeClock>,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The port of all its names.
    pub(crate) port: u16,
    /// The public key of its log.
    pub(crate) verifier: String,
    /// Configuration, policies, keys, store.
    pub(crate) dir: TempDir,
    time: Arc<dyn Clock>,
}

impl World {
    /// A gate in front of `behind`, whose clock is set by hand, on SQLite.
    pub(crate) async fn start(behind: Behind) -> Self {
        let clock = Arc::new(FakeClock::at(BEGINNING));
        Self::open(behind, Arc::clone(&clock) as _, clock, "sqlite:stepgate.db", None).await
    }

    /// The same, where the gate speaks TLS with this certificate.
    pub(crate) async fn over_tls(behind: Behind, certificate: &Certificate) -> Self {
        let clock = Arc::new(FakeClock::at(BEGINNING));
        Self::open(behind, Arc::clone(&clock) as _, clock, "sqlite:stepgate.db", Some(certificate)).await
    }

    /// The same on the store with this URL.
    pub(crate) async fn on_store(behind: Behind, store: &str) -> Self {
        let clock = Arc::new(FakeClock::at(BEGINNING));
        Self::open(behind, Arc::clone(&clock) as _, clock, store, None).await
    }

    /// A gate with the clock of the machine, which browsers share.
    pub(crate) async fn in_real_time(behind: Behind) -> Self {
        Self::open(behind, Arc::new(SystemClock), Arc::default(), "sqlite:stepgate.db", None).await
    }

    /// A clock that is set by hand, for worlds and what is around them.
    pub(crate) fn clock() -> Arc<FakeClock> {
        Arc::new(FakeClock::at(BEGINNING))
    }

    /// A gate that tells the time by `time`; `clock` is set by hand, where it is the same.
    pub(crate) async fn at(behind: Behind, time: Arc<dyn Clock>, clock: Arc<FakeClock>) -> Self {
        Self::open(behind, time, clock, "sqlite:stepgate.db", None).await
    }

    /// The same over TLS with this certificate.
    pub(crate) async fn at_over_tls(behind: Behind, clock: Arc<FakeClock>, certificate: &Certificate) -> Self {
        Self::open(behind, Arc::clone(&clock) as _, clock, "sqlite:stepgate.db", Some(certificate)).await
    }

    /// Now, as the gate tells it.
    pub(crate) fn now(&self) -> Timestamp {
        self.time.now()
    }

    async fn open(
        behind: Behind,
        time: Arc<dyn Clock>,
        clock: Arc<FakeClock>,
        store: &str,
        tls: Option<&Certificate>,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let dir = tempfile::Builder::new().prefix("stepgate-world-").tempdir().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        fs::write(dir.path().join("stepgate.toml"), config(scheme, port, store, &behind)).unwrap();
        if let Some(certificate) = tls {
            fs::write(dir.path().join("certificate.pem"), &certificate.chain).unwrap();
            fs::write(dir.path().join("key.pem"), &certificate.key).unwrap();
        }
        fs::create_dir(dir.path().join("policies")).unwrap();
        fs::write(dir.path().join("policies/world.cedar"), behind.policies).unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        Keyring::generate(&SystemRandomness).create_file(&dir.path().join("keys/master.key")).unwrap();
        let (gate, verifier) = serve(&dir, Arc::clone(&time), listener).await;
        Self { gate, clock, scheme, port, verifier, dir, time }
    }

    /// Stops the gate in order, and starts another on the same store and port.
    pub(crate) async fn restart(self) -> Self {
        let Self { gate, clock, scheme, port, dir, time, .. } = self;
        gate.stop().await;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (gate, verifier) = serve(&dir, Arc::clone(&time), listener).await;
        Self { gate, clock, scheme, port, verifier, dir, time }
    }

    /// Another gate on the same store, which listens elsewhere.
    pub(crate) async fn another_node(&self) -> Gate {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        serve(&self.dir, Arc::clone(&self.time), listener).await.0
    }

    /// A URL at the gate's own origin.
    pub(crate) fn at_gate(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.port)
    }

    /// A URL at the service.
    pub(crate) fn at_service(&self, path: &str) -> String {
        format!("{}://ledger.localhost:{}{path}", self.scheme, self.port)
    }

    /// Adds somebody and gives the link with which they enrol.
    pub(crate) async fn invite(&self, login: &str, groups: &[&str], kinds: &[FactorKind]) -> String {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let login = Login::parse(login).unwrap();
        let flows = &self.gate.flows;
        let email = format!("{login}@example.test");
        let person = flows.add_person(login.clone(), login.as_str(), &email, groups, "test").await.unwrap();
        flows.make_link(&person, kinds.to_vec(), LINK_LIFETIME, "test").await.unwrap().url
    }

    /// Somebody of the group `finance` with a password, a passkey and an app, signed in nowhere.
    pub(crate) async fn ada(&self) -> Member {
        self.member("ada", &["finance"]).await
    }

    /// Somebody with a password, a passkey and an app, signed in nowhere.
    pub(crate) async fn member(&self, login: &str, groups: &[&str]) -> Member {
        self.member_with(Person::new(), login, groups, &FACTORS).await
    }

    /// The same with these factors, in this browser.
    pub(crate) async fn member_with(
        &self,
        person: Person,
        login: &str,
        groups: &[&str],
        kinds: &[FactorKind],
    ) -> Member {
        let link = self.invite(login, groups, kinds).await;
        let secret = enrol(&person, &link, |secret| totp::code_at(secret, self.time.now())).await;
        Member { person, login: login.to_owned(), secret }
    }

    /// What somebody's app shows next; the code of the enrolment is spent.
    pub(crate) fn next_code(&self, member: &Member) -> String {
        totp::code_at(&member.secret, self.time.now().plus(Duration::from_secs(30)))
    }

    /// The statement of a challenge, as the store keeps it.
    pub(crate) async fn statement(&self, id: ChallengeId) -> Statement {
        self.gate.database.challenge(id).await.unwrap().unwrap().statement
    }

    /// The number that the asker of a challenge is shown.
    pub(crate) async fn number(&self, id: ChallengeId) -> String {
        self.gate.database.challenge(id).await.unwrap().unwrap().number
    }

    /// Runs the `stepgate` program on this gate's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepgate"));
        command.current_dir(self.dir.path()).args(arguments);
        command.output().unwrap()
    }

    /// Exports the evidence with the program and verifies it with nothing but the export and
    /// the public key; gives what the verifier said.
    pub(crate) fn verified_evidence(&self) -> String {
        let export = self.dir.path().join("export");
        let exported = self.command(&["audit", "export", "--out", export.to_str().unwrap()]);
        assert!(exported.status.success(), "{}", said(&exported));
        let verified = self.verify_again(&[]);
        assert!(verified.status.success(), "{}", said(&verified));
        said(&verified)
    }

    /// Verifies what [`Self::verified_evidence`] exported, elsewhere, without configuration and store.
    pub(crate) fn verify_again(&self, more: &[&str]) -> Output {
        let mut verify = Command::new(env!("CARGO_BIN_EXE_stepgate"));
        let (elsewhere, export) = (tempfile::tempdir().unwrap(), self.dir.path().join("export"));
        verify.current_dir(elsewhere.path()).args(["audit", "verify"]).arg(&export).args(["--key", &self.verifier]);
        verify.args(more).output().unwrap()
    }
}

async fn serve(dir: &TempDir, time: Arc<dyn Clock>, listener: TcpListener) -> (Gate, String) {
    let file = dir.path().join("stepgate.toml");
    let settings = match stepgate::config::load(&file) {
        Ok(settings) => settings,
        Err(error) => panic!("{:?}", miette::Report::new(error)),
    };
    let house = House::open(settings, Some(file), time, Arc::new(SystemRandomness)).await;
    let house = house.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)));
    let verifier = house.keys.checkpoint_verifier.clone();
    (house.serve(vec![listener]).await.unwrap(), verifier)
}

/// What a program printed on both outputs.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Somebody who can sign in.
pub(crate) struct Member {
    /// With their browser and their passkey.
    pub(crate) person: Person,
    /// Their name.
    pub(crate) login: String,
    /// Of their authenticator app.
    pub(crate) secret: String,
}

impl Member {
    /// Opens a page of the service, signs in on the way, and gives the page.
    pub(crate) async fn sign_in_at(&self, url: &str) -> Page {
        let asked = self.person.open(url).await;
        let form = asked.form_with("password").fill("name", &self.login).fill("password", PASSWORD);
        self.person.submit(&asked, &form).await
    }
}

/// Goes through an enrolment link by its pages; gives the secret of the app.
pub(crate) async fn enrol(person: &Person, link: &str, code: impl Fn(&str) -> String) -> String {
    let welcome = person.open(link).await;
    let start = welcome.forms().remove(0);
    let mut chooser = person.submit(&welcome, &start).await;
    let mut app = String::new();
    for kind in ["password", "passkey", "totp"] {
        let choice = chooser.links().into_iter().find(|link| link.path().ends_with(&format!("/{kind}")));
        let Some(choice) = choice else { continue };
        let page = person.open(choice.as_str()).await;
        chooser = match kind {
            "password" => {
                let form = page.form_with("again").fill("password", PASSWORD).fill("again", PASSWORD);
                person.submit(&page, &form).await
            }
            "passkey" => person.touch(&page).await,
            _ => {
                app = secret_on(&page);
                let form = page.form_with("code").fill("code", &code(&app));
                person.submit(&page, &form).await
            }
        };
        assert!(chooser.status.is_success(), "after {kind}: {}", chooser.told());
    }
    let end = chooser.forms().into_iter().find(|form| form.action.path().ends_with("/end"));
    let end = end.unwrap_or_else(|| panic!("cannot finish: {}", chooser.told()));
    let done = person.submit(&chooser, &end).await;
    assert!(done.status.is_success(), "{}", done.told());
    app
}

/// The secret under the QR code, for typing in.
fn secret_on(page: &Page) -> String {
    let html = page.text();
    let after = html.split("<dt>Secret</dt>").nth(1).unwrap_or_else(|| panic!("no secret: {}", page.told()));
    let shown = after.split("</code>").next().unwrap().rsplit('>').next().unwrap();
    shown.chars().filter(|sign| !sign.is_whitespace()).collect()
}

/// A certificate of our own making, and who vouches for it.
pub(crate) struct Certificate {
    /// PEM.
    pub(crate) chain: String,
    /// PEM.
    pub(crate) key: String,
}

fn config(scheme: &str, port: u16, store: &str, behind: &Behind) -> String {
    let tls = match scheme {
        "https" => "[gate.tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n",
        _ => "",
    };
    let mut text = format!(
        r#"
[gate]
origin = "{scheme}://localhost:{port}"
listen = "127.0.0.1:{port}"
store = "{store}"
policies = "policies"
master_key_file = "keys/master.key"

{tls}
[[service]]
name = "ledger"
title = "Ledger"
origin = "{scheme}://ledger.localhost:{port}"
upstream = "{}"
"#,
        behind.url
    );
    writeln!(text, "{}", behind.operations).unwrap();
    text
}

/// A ledger of payments that answers everything and records it.
pub(crate) struct Payments(pub(crate) RecordingUpstream);

impl Payments {
    /// Starts it.
    pub(crate) async fn start() -> Self {
        Self(
            RecordingUpstream::start(|request| match (request.method().as_str(), request.target().as_str()) {
                ("POST", "/payments/45/approve") => Answer::new(200, &RECEIPT, "payment 45 of 48500: approved\n"),
                ("POST", _) => Answer::page("<h1>Approved</h1>"),
                (_, "/payments.csv") => Answer::new(200, &DOWNLOAD, "id,amount\n42,12000\n"),
                (_, "/app") => Answer::page(APPLICATION),
                _ => Answer::page(PAGE),
            })
            .await,
        )
    }

    /// What a gate in front of it is told.
    pub(crate) fn behind(&self) -> Behind {
        Behind { url: self.0.url(), operations: OPERATIONS, policies: POLICIES }
    }

    /// The same, where an authenticator code confirms as well as a passkey.
    pub(crate) fn behind_with_codes(&self) -> Behind {
        Behind { policies: CODES, ..self.behind() }
    }

    /// The same with the demo's policies, which name a group that sees the evidence.
    pub(crate) fn behind_with_auditors(&self) -> Behind {
        Behind { policies: include_str!("../../../../policies/demo.cedar"), ..self.behind() }
    }

    /// The same, with the script that goes on for calls of pages.
    pub(crate) fn behind_with_script(&self) -> Behind {
        Behind { operations: WITH_SCRIPT, ..self.behind_with_codes() }
    }

    /// The bodies of the approvals that reached it, in their order.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.approvals().iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
    }

    /// The approvals that reached it.
    pub(crate) fn approvals(&self) -> Vec<RecordedRequest> {
        self.0.requests().into_iter().filter(|request| request.method() == "POST").collect()
    }
}

const DOWNLOAD: [(&str, &str); 2] =
    [("Content-Type", "text/csv"), ("Content-Disposition", "attachment; filename=\"payments.csv\"")];

/// The answer to an approval is a file, and no page.
const RECEIPT: [(&str, &str); 2] =
    [("Content-Type", "text/plain"), ("Content-Disposition", "attachment; filename=\"receipt.txt\"")];

pub(crate) const PAGE: &str = r#"<!doctype html><title>Payments</title><h1>Payments</h1>
<form id="small" method="post" action="/payments/41/approve"><input type="hidden" name="small" value="1"><input name="amount" value="900"><button>Approve</button></form>
<form id="large" method="post" action="/payments/42/approve"><input type="hidden" name="large" value="1"><input name="amount" value="12000"><button>Approve</button></form>
<form id="other" method="post" action="/payments/44/approve"><input type="hidden" name="other" value="1"><input name="amount" value="48500"><button>Approve</button></form>
<form id="receipt" method="post" action="/payments/45/approve"><input type="hidden" name="receipt" value="1"><input name="amount" value="48500"><button>Approve, with a receipt</button></form>
<a id="export" href="/payments.csv">Export</a>"#;

/// A page whose script knows nothing of step-up.
const APPLICATION: &str = r#"<!doctype html><title>Application</title><head></head><button id="call">Approve</button><p id="said"></p>
<script>
document.getElementById("call").addEventListener("click", async () => {
  const answer = await fetch("/api/payments/42/approve", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ amount: 12000 }),
  });
  document.getElementById("said").textContent = "the answer is " + answer.status;
});
</script>"#;

macro_rules! operations {
    ($first:literal) => {
        concat!(
            $first,
            r#"
[[service.operation]]
on = "POST /payments/{id}/approve"
action = "payments.approve"
title = "Approve payment {id} of {amount}"
sensitivity = "high"
kind = "payment"
inputs = { id = "path id as string", amount = "form amount as long" }

[[service.operation]]
on = "POST /api/payments/{id}/approve"
action = "payments.approve"
title = "Approve payment {id} of {amount}"
sensitivity = "high"
kind = "payment"
inputs = { id = "path id as string", amount = "json /amount as long" }

[[service.operation]]
on = "GET /payments.csv"
action = "payments.export"
title = "Export all payments"
sensitivity = "high"
kind = "payment"
"#
        )
    };
}

const OPERATIONS: &str = operations!("");
const WITH_SCRIPT: &str = operations!("inject_script = true\n");

const POLICIES: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("large-payment")
@reason("Payments over 10,000 need your passkey, for this payment alone.")
forbid (principal, action == Action::"payments.approve", resource in Service::"ledger")
when   { context.input.amount > 10000 }
unless { context.confirmed.contains("passkey") };

@id("exports-need-a-fresh-second-factor")
@reason("Exports need a second factor from the last five minutes.")
forbid (principal, action == Action::"payments.export", resource in Service::"ledger")
unless { context.age.second_factor <= duration("5m") };
"#;

const CODES: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("large-payment")
@reason("Payments over 10,000 need a proof for this payment alone.")
forbid (principal, action == Action::"payments.approve", resource in Service::"ledger")
when   { context.input.amount > 10000 }
unless { context.confirmed.contains("passkey") || context.confirmed.contains("totp") };
"#;
