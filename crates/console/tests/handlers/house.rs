//! A gate without doors: its pages, and browsers that keep cookies.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, ORIGIN, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use secrecy::ExposeSecret as _;
use stepgate_console::{Account, Pages};
use stepgate_core::catalogue::{
    ActionName, Admits, Catalogue, CrossSite, Effect, Endpoint, Host, PathTemplate, Service, ServiceName, Title,
};
use stepgate_core::challenge::{Ask, AskedFrom, Challenge, ChallengeLimits, GrantKind, HeldRequest};
use stepgate_core::decide::Challenged;
use stepgate_core::factor::{Factor, FactorKind, Strength};
use stepgate_core::flows::{Asking, AskingBy, CodeLimits, Departures, Flows, Live, Loops, Refusals, Step};
use stepgate_core::id::{Id, PersonId};
use stepgate_core::operation::{InputValue, Inputs, Operation};
use stepgate_core::person::{Login, Person};
use stepgate_core::policy::Policies;
use stepgate_core::ports::{Courier, CourierFull, EntryQuery, Message, Store, ToHold, TryLimits};
use stepgate_core::provider::NoProviders;
use stepgate_core::secret::{MacKey, Purpose, Token, TokenDigest};
use stepgate_core::session::{Audience, SessionLifetimes, SessionView};
use stepgate_core::surroundings::Environment;
use stepgate_core::surroundings::Posture;
use stepgate_core::time::Clock as _;
use stepgate_core::web::{Client, LocalService, Permit, Transport};
use stepgate_evidence::Entry;
use stepgate_evidence::PolicyRef;
use stepgate_factors::{FactorOptions, FactorSet, LookAhead, SentCodes};
use stepgate_ledger::Origin;
use stepgate_store::{Database, Keyring, Options, StoreUrl};
use stepgate_testkit::{FakeClock, Page, SeededRandomness, SoftwareAuthenticator};

pub(crate) const GATE: &str = "https://gate.test";
pub(crate) const LEDGER: &str = "https://ledger.test";
pub(crate) const PASSWORD: &str = "seven cold lanterns at dusk";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

/// A courier that keeps what it takes.
#[derive(Debug, Default)]
pub(crate) struct KeptPost {
    pub(crate) messages: Mutex<Vec<Message>>,
    pub(crate) is_full: AtomicBool,
}

impl Courier for KeptPost {
    fn take(&self, _: PersonId, message: Message) -> Result<(), CourierFull> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(CourierFull);
        }
        self.messages.lock().unwrap().push(message);
        Ok(())
    }
}

impl KeptPost {
    /// The code of the newest message.
    pub(crate) fn code(&self) -> String {
        self.messages.lock().unwrap().last().expect("something was sent").code.expose_secret().to_owned()
    }

    pub(crate) fn count(&self) -> usize {
        self.messages.lock().unwrap().len()
    }
}

type Factors = BTreeMap<FactorKind, Arc<dyn Factor>>;

pub(crate) struct House {
    pub(crate) flows: Arc<Flows>,
    pub(crate) clock: Arc<FakeClock>,
    /// What was handed to the courier.
    pub(crate) post: Arc<KeptPost>,
    pages: Pages,
    account: Account,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with_factors(|factors| factors).await
    }

    /// A house whose factors were changed.
    pub(crate) async fn with_factors(change: impl FnOnce(Factors) -> Factors) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let random = Arc::new(SeededRandomness::new(7));
        let clock = Arc::new(FakeClock::new());
        let store = Database::open(
            StoreUrl::sqlite(&folder.path().join("store.db")),
            Keyring::generate(random.as_ref()),
            clock.clone(),
            random.clone(),
            Options::new(Origin::parse("gate.test").unwrap()),
        )
        .await
        .unwrap();
        let store = Arc::new(store);
        let host = |text: &str| Host::parse(text).unwrap();
        let factors = FactorOptions {
            sent: vec![SentCodes::by_email(), SentCodes::to_phones(Strength::NONE)],
            hardware: Some(LookAhead::default()),
            ..FactorOptions::default()
        };
        let catalogue = Catalogue::new(GATE.to_owned(), host("gate.test"), vec![ledger()]).unwrap();
        let post = Arc::new(KeptPost::default());
        let flows = Arc::new(Flows {
            live: ArcSwap::from_pointee(Live {
                catalogue,
                policies: Policies::broken("the pages decide nothing"),
                environment: Environment::default(),
                challenges: ChallengeLimits::default(),
                tries: TryLimits::default(),
                sessions: SessionLifetimes::default(),
                codes: CodeLimits::default(),
                providers: Arc::new(NoProviders),
            }),
            hardware: Some(Arc::clone(&store) as _),
            store,
            factors: change(FactorSet::new("gate.test", GATE, "Stepgate", factors).unwrap().into_map()),
            devices: None,
            clock: clock.clone(),
            random: random.clone(),
            mac: MacKey::new(&[9; 32]),
            node: Id::from_bytes([1; 16]),
            refusals: Refusals::default(),
            shadow: stepgate_core::flows::Shadow::default(),
            loops: Loops::default(),
            departures: Departures::default(),
            habits: Default::default(),
            courier: Arc::clone(&post) as _,
        });
        let pages = Pages::new(flows.clone(), Transport::Tls, "Stepgate");
        let account = Account::new(flows.clone(), Transport::Tls, "Stepgate");
        Self { flows, clock, post, pages, account, _folder: folder }
    }

    /// The decided pages, for requests that are made by hand.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.flows.store.as_ref()
    }

    pub(crate) fn browser(&self) -> Browser<'_> {
        self.browser_at([192, 0, 2, 7])
    }

    /// A browser somewhere else.
    pub(crate) fn browser_at(&self, address: [u8; 4]) -> Browser<'_> {
        Browser {
            house: self,
            cookies: Mutex::default(),
            key: Mutex::new(SoftwareAuthenticator::new()),
            address: IpAddr::from(address),
        }
    }

    pub(crate) async fn add(&self, login: &str) -> Person {
        let login = Login::parse(login).unwrap();
        self.flows.add_person(login, "Alice Meyer", "alice@example.com", Vec::new(), "cli").await.unwrap()
    }

    /// A new enrolment link for these kinds, as a path.
    pub(crate) async fn link(&self, person: &Person, kinds: &[FactorKind]) -> String {
        let link = self.flows.make_link(person, kinds.to_vec(), Duration::from_secs(3600), "cli").await.unwrap();
        link.url.strip_prefix(GATE).unwrap().to_owned()
    }

    /// Somebody with a password and a passkey, signed in with the password.
    pub(crate) async fn signed_in(&self, login: &str) -> (Browser<'_>, Person) {
        let person = self.add(login).await;
        let browser = self.browser();
        browser.enrol(&self.link(&person, &[FactorKind::Password, FactorKind::PASSKEY]).await).await;
        let page = browser.sign_in(login, PASSWORD).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.told());
        (browser, person)
    }

    /// What the ledger says of these kinds, oldest first.
    pub(crate) async fn said(&self, kind: &str) -> Vec<serde_json::Value> {
        self.recorded(kind).await.iter().map(|entry| serde_json::to_value(&entry.event).unwrap()).collect()
    }

    /// What lies beside the entries of this kind, and may be erased.
    pub(crate) async fn details(&self, kind: &str) -> Vec<serde_json::Value> {
        let body = |entry: Entry| entry.details.map_or(serde_json::Value::Null, |details| details.body);
        self.recorded(kind).await.into_iter().map(body).collect()
    }

    async fn recorded(&self, kind: &str) -> Vec<Entry> {
        let query = EntryQuery { from: Some(0), kinds: vec![kind.to_owned()], limit: 1000, ..EntryQuery::default() };
        self.store().entries(query).await.unwrap().into_iter().map(|recorded| recorded.entry).collect()
    }
}

fn ledger() -> Arc<Service> {
    let endpoint = |on: &str, action: &str, effect, title: &str| {
        Arc::new(Endpoint {
            resource: format!("ledger {on}"),
            action: ActionName::parse(action).unwrap(),
            effect,
            kind: "payment".to_owned(),
            sensitivity: "high".to_owned(),
            title: Title::new(title),
            methods: Vec::new(),
            path: PathTemplate::any(),
            inputs: Vec::new(),
            effect_headers: Vec::new(),
            admits: Admits::SignedIn,
            cross_site: CrossSite::Refuse,
            scopes: Vec::new(),
        })
    };
    let approve = "POST /payments/{id}/approve";
    Arc::new(Service {
        name: ServiceName::parse("ledger").unwrap(),
        title: "The ledger".to_owned(),
        origin: LEDGER.to_owned(),
        host: Host::parse("ledger.test").unwrap(),
        endpoints: vec![endpoint(approve, "payments.approve", Effect::Write, "Approve payment {id} of {amount}")],
        read: endpoint("read", "read", Effect::Read, "Read"),
        write: endpoint("write", "write", Effect::Write, "Change"),
        tokens: None,
    })
}

/// A browser with its cookies and a software authenticator.
pub(crate) struct Browser<'h> {
    pub(crate) house: &'h House,
    pub(crate) cookies: Mutex<BTreeMap<String, String>>,
    pub(crate) key: Mutex<SoftwareAuthenticator>,
    address: IpAddr,
}

impl Browser<'_> {
    pub(crate) async fn open(&self, path: &str) -> Page {
        let request = Request::get(path).header(ACCEPT, "text/html");
        self.send(path, request, Bytes::new()).await
    }

    pub(crate) async fn json(&self, path: &str) -> Page {
        let request = Request::get(path).header(ACCEPT, "application/json");
        self.send(path, request, Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, fields: &[(String, String)]) -> Page {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let request = Request::post(path)
            .header(ACCEPT, "text/html")
            .header(ORIGIN, GATE)
            .header("sec-fetch-site", "same-origin")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(path, request, body.finish().into()).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &serde_json::Value) -> Page {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.send(path, request, body.to_string().into()).await
    }

    pub(crate) async fn submit(&self, form: &stepgate_testkit::Form) -> Page {
        self.post(form.action.path(), &form.fields).await
    }

    /// Answers the page's passkey form and sends it.
    pub(crate) async fn touch(&self, page: &Page) -> Page {
        let form = page.passkey_form();
        let (kind, options) = form.passkey.clone().unwrap();
        let credential = {
            let mut key = self.key.lock().unwrap();
            match kind.as_str() {
                "create" => key.answer_creation(GATE, &options),
                _ => key.answer_request(GATE, &options),
            }
        };
        self.submit(&form.fill("credential", &credential.to_string())).await
    }

    pub(crate) async fn send(&self, path: &str, request: http::request::Builder, body: Bytes) -> Page {
        let request_id = "0123456789abcdef0123456789abcdef".to_owned();
        let client = Client { address: self.address, request_id, posture: Posture::Unknown };
        let cookies: Vec<String> =
            self.cookies.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = request.header(USER_AGENT, FIREFOX).extension(client);
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        let is_account =
            ["/account", "/evidence", "/hand-off", "/go-on"].iter().any(|decided| path.starts_with(decided));
        let shown = request.headers_ref().and_then(session_cookie);
        if is_account && let Some((session, token)) = self.session_of(shown).await {
            request = request.extension(Permit { session, token, challenge: None });
        }
        let request = request.body(body).unwrap();
        let service: &dyn LocalService = if is_account { &self.house.account } else { &self.house.pages };
        let response = service.call(request).await;
        let (parts, body) = response.into_parts();
        self.keep_cookies(&parts.headers);
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        let url = format!("{GATE}{path}").parse().unwrap();
        Page { url, status: parts.status, headers: parts.headers, body }
    }

    fn keep_cookies(&self, headers: &HeaderMap) {
        let mut cookies = self.cookies.lock().unwrap();
        for line in headers.get_all(SET_COOKIE) {
            let line = line.to_str().unwrap();
            assert!(line.starts_with("__Host-") && line.contains("; HttpOnly; SameSite=Lax; Secure"), "{line}");
            let (pair, attributes) = line.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    /// The session of the gate's cookie.
    pub(crate) async fn session(&self) -> Option<(Arc<SessionView>, TokenDigest)> {
        self.session_of(self.cookie("__Host-stepgate")).await
    }

    async fn session_of(&self, cookie: Option<String>) -> Option<(Arc<SessionView>, TokenDigest)> {
        let token = Token::parse(&cookie?)?.digest(Purpose::GateSession);
        let now = self.house.clock.now();
        let session = self.house.store().session(token, &Audience::Gate, now).await.unwrap();
        session.map(|session| (session, token))
    }

    /// Enrols everything that a link allows: the password, the passkey.
    pub(crate) async fn enrol(&self, link: &str) {
        let page = self.open(link).await;
        let page = self.submit(&page.form_to(link)).await;
        let base = page.redirect().unwrap_or_else(|| panic!("{}", page.told())).path().to_owned();
        let chooser = self.open(&base).await;
        for kind in ["password", "passkey"] {
            let path = format!("{base}/{kind}");
            if !chooser.text().contains(&path) {
                continue;
            }
            let page = self.open(&path).await;
            let page = match kind {
                "passkey" => self.touch(&page).await,
                _ => {
                    let form = page.form_to(&path).fill("password", PASSWORD).fill("again", PASSWORD);
                    self.submit(&form).await
                }
            };
            assert_eq!(page.redirect().map(|to| to.path().to_owned()), Some(base.clone()), "{}", page.told());
        }
        let page = self.open(&base).await;
        let page = self.submit(&page.form_to(&format!("{base}/end"))).await;
        assert!(page.text().contains("You are set up"), "{}", page.told());
    }

    pub(crate) async fn sign_in(&self, login: &str, password: &str) -> Page {
        let page = self.open("/sign-in").await;
        self.submit(&page.form_with("password").fill("name", login).fill("password", password)).await
    }

    /// The session at the service's host, as the door there gets it: by a hand-off
    /// that is redeemed in the same browser.
    pub(crate) async fn at_the_service(&self) -> (Arc<SessionView>, TokenDigest) {
        let browser = TokenDigest([3; 32]);
        let (session, _) = self.session().await.expect("somebody is signed in");
        let host = Host::parse("ledger.test").unwrap();
        let flows = &self.house.flows;
        let code = flows.hand_off(&session, host.clone(), browser).await.unwrap();
        let audience = Audience::Host(host);
        let redeemed = flows.redeem(&code, Purpose::HandOff, &audience, Some(browser)).await.unwrap().unwrap();
        let token = redeemed.token.digest(Purpose::ServiceSession);
        let session = self.house.store().session(token, &audience, self.house.clock.now()).await.unwrap().unwrap();
        (session, token)
    }

    /// Asks for the approval of a payment at the service's host, and is asked back.
    pub(crate) async fn ask(&self, asking: What) -> Challenge {
        let (session, token) = self.at_the_service().await;
        let body = b"amount=12000";
        let live = self.house.flows.live.load_full();
        let service = live.catalogue.by_name("ledger").unwrap().clone();
        let endpoint = service.endpoints[0].clone();
        let inputs = Inputs::from([
            ("id".to_owned(), InputValue::String(asking.payment.to_owned())),
            ("amount".to_owned(), InputValue::Long(12_000)),
        ]);
        let operation = Operation {
            url: format!("{LEDGER}/payments/42/approve"),
            service,
            endpoint,
            inputs,
            method: "POST".to_owned(),
            content_type: "application/x-www-form-urlencoded".to_owned(),
            effect_headers: BTreeMap::new(),
        };
        let hold = match asking.kind {
            "browser" => ToHold::Request(HeldRequest {
                method: "POST".to_owned(),
                target: "/payments/42/approve".to_owned(),
                headers: Vec::new(),
                body: body.to_vec(),
            }),
            _ => ToHold::Nothing,
        };
        let reason = "Payments over 10,000 need your passkey, for this payment alone.".to_owned();
        let challenged = Challenged {
            operation,
            ask: Ask { grant: asking.grant, ways: asking.ways, not_enrolled: asking.not_enrolled },
            policies: vec![PolicyRef { id: "large-payment".to_owned(), reason }],
            max_age: asking.max_age,
            proved_within: asking.max_age,
            seen: std::collections::BTreeMap::new(),
            recorded: None,
        };
        let surroundings = self.house.flows.surroundings(self.address, FIREFOX);
        let asking = Asking {
            by: AskingBy::Session { view: &session, token },
            surroundings: &surroundings,
            hold,
            named: None,
            kind: asking.kind,
            from: AskedFrom::Here,
        };
        match self.house.flows.ask(challenged, body, asking).await.unwrap() {
            Step::Ask(challenge) => *challenge,
            other => panic!("not asked: {other:?}"),
        }
    }
}

/// What is asked for, and what suffices.
pub(crate) struct What {
    pub(crate) kind: &'static str,
    pub(crate) grant: GrantKind,
    pub(crate) max_age: Option<Duration>,
    pub(crate) ways: Vec<Vec<FactorKind>>,
    pub(crate) not_enrolled: Vec<FactorKind>,
    pub(crate) payment: &'static str,
}

impl Default for What {
    fn default() -> Self {
        Self {
            kind: "browser",
            grant: GrantKind::Confirmation,
            max_age: None,
            ways: vec![vec![FactorKind::PASSKEY], vec![FactorKind::Password]],
            not_enrolled: Vec::new(),
            payment: "42",
        }
    }
}

/// The session's cookie, as a request shows it.
fn session_cookie(headers: &HeaderMap) -> Option<String> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.to_str().unwrap().split("; "));
    pairs.filter_map(|pair| pair.strip_prefix("__Host-stepgate=")).next().map(str::to_owned)
}
