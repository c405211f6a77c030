//! A gate with people who come from a provider, a transmitter whose events need no signature, and a store
//! that fails when it is told to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use secrecy::SecretString;
use serde_json::Value;
use stepgate_core::catalogue::{Catalogue, Host};
use stepgate_core::challenge::ChallengeLimits;
use stepgate_core::factor::{EnrolledFactor, FactorKind, FactorSecret, FactorUse, Identity, Strength, identity_digest};
use stepgate_core::flows::{
    CodeLimits, Departures, Flows, Live, Loops, NotTaken, Provisioning, Refusals, Signals, Taken, Transmitting, Wanted,
};
use stepgate_core::id::{Id, PersonId, SessionId};
use stepgate_core::machine::{MachineName, Scope};
use stepgate_core::person::{Login, Person};
use stepgate_core::policy::Policies;
use stepgate_core::ports::{
    Accounts as _, EntryQuery, NewSession, NoCourier, ProviderLogin, Provisioned, SignalFate, SignalStore, Store as _,
    StoreError, TakenSignal, TryLimits,
};
use stepgate_core::provider::{NoProviders, ProviderName};
use stepgate_core::risk::Risk;
use stepgate_core::secret::{MacKey, TokenDigest};
use stepgate_core::session::{Audience, Proof, SessionLifetimes};
use stepgate_core::signals::{
    Delivered, EventSubject, Foreign, Happened, Identifier, NotASet, Receivers, SecurityEvent, SetSigner, Transmitter,
    Transmitters,
};
use stepgate_core::time::{Clock as _, Timestamp};
use stepgate_evidence::{Entry, Event};
use stepgate_ledger::Origin;
use stepgate_machines::{Machines, MachinesParts};
use stepgate_store::{Database, Keyring, Options, StoreUrl};
use stepgate_testkit::{FakeClock, SeededRandomness};

pub(crate) const ORIGIN: &str = "https://machines.test";
/// Who people sign in at, and who tells of them.
pub(crate) const ISSUER: &str = "https://idp.test";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Events by the text that stands for their token.
#[derive(Debug)]
struct Told {
    transmitter: Transmitter,
    events: Mutex<HashMap<String, SecurityEvent>>,
}

#[async_trait]
impl Transmitters for Told {
    fn named(&self, name: &str) -> Option<&Transmitter> {
        (name == self.transmitter.name).then_some(&self.transmitter)
    }

    async fn verify(&self, _: &str, set: &str, _: Timestamp) -> Result<SecurityEvent, NotASet> {
        self.events.lock().get(set).cloned().ok_or_else(|| NotASet::NotAuthentic("nobody signed it".to_owned()))
    }
}

/// A store that does nothing as often as it is told to.
#[derive(Debug)]
pub(crate) struct Faulty {
    store: Arc<Database>,
    /// How often it still fails.
    pub(crate) fails: AtomicU32,
    /// How often whoever is concerned still turns out to be gone.
    pub(crate) gone: AtomicU32,
}

fn once_less(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl SignalStore for Faulty {
    async fn take_signal(&self, signal: TakenSignal, entries: Vec<Entry>) -> Result<SignalFate, StoreError> {
        if once_less(&self.fails) {
            return Err(StoreError::Unavailable("it is away".into()));
        }
        if once_less(&self.gone) {
            return Ok(SignalFate::Gone);
        }
        self.store.take_signal(signal, entries).await
    }

    async fn people_by_email(&self, email: &str) -> Result<Vec<PersonId>, StoreError> {
        self.store.people_by_email(email).await
    }

    async fn sessions_of_provider(
        &self,
        provider: &ProviderName,
        sid: &str,
        now: Timestamp,
    ) -> Result<Vec<(PersonId, SessionId)>, StoreError> {
        self.store.sessions_of_provider(provider, sid, now).await
    }
}

pub(crate) struct House {
    pub(crate) store: Arc<Database>,
    pub(crate) faulty: Arc<Faulty>,
    pub(crate) flows: Arc<Flows>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) signals: Signals,
    told: Arc<Told>,
    pub(crate) provisioning: Provisioning,
    pub(crate) transmitter: stepgate_machines::Transmitter,
    pub(crate) receivers: Arc<Receiving>,
    machines: Arc<Machines>,
    _folder: tempfile::TempDir,
}

/// Tokens that are their claims.
#[derive(Debug)]
struct Plain;

impl SetSigner for Plain {
    fn sign(&self, claims: &str) -> Result<String, String> {
        Ok(claims.to_owned())
    }

    fn jwks(&self) -> Value {
        Value::Null
    }
}

/// Receivers that take everything, but for those that say nothing until they are let.
#[derive(Debug, Default)]
pub(crate) struct Receiving {
    /// What came where, in order.
    pub(crate) came: Mutex<Vec<(String, Value)>>,
    /// Where nothing is answered yet.
    pub(crate) slow: Mutex<HashMap<String, Arc<tokio::sync::Semaphore>>>,
}

impl Receiving {
    /// Nothing is answered here until somebody says so, once for each event.
    pub(crate) fn slow(&self, endpoint: &str) -> Arc<tokio::sync::Semaphore> {
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        self.slow.lock().insert(endpoint.to_owned(), Arc::clone(&gate));
        gate
    }

    pub(crate) fn came(&self, endpoint: &str) -> Vec<String> {
        let came = self.came.lock();
        let here = came.iter().filter(|(to, _)| to == endpoint);
        here.map(|(_, claims)| claims["jti"].as_str().unwrap().to_owned()).collect()
    }
}

#[async_trait]
impl Receivers for Receiving {
    fn allowed(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn origin(&self, endpoint: &str) -> String {
        endpoint.split('/').take(3).collect::<Vec<_>>().join("/")
    }

    async fn push(&self, endpoint: &str, _: Option<&SecretString>, set: &str) -> Result<Delivered, String> {
        self.came.lock().push((endpoint.to_owned(), serde_json::from_str(set).unwrap()));
        let slow = self.slow.lock().get(endpoint).cloned();
        if let Some(gate) = slow {
            gate.acquire().await.unwrap().forget();
        }
        match endpoint.ends_with("/refuses") {
            true => Ok(Delivered::Refused("invalid_key no such key".to_owned())),
            false => Ok(Delivered::Taken),
        }
    }
}

/// Somebody who signed in at the provider, in its session of this name.
pub(crate) struct SignedIn {
    pub(crate) person: PersonId,
    pub(crate) session: SessionId,
    token: TokenDigest,
}

pub(crate) fn corp() -> ProviderName {
    ProviderName::parse("corp").unwrap()
}

/// Somebody by their identity at the provider.
pub(crate) fn user(login: &str) -> EventSubject {
    let user = Identifier::Identity { issuer: ISSUER.to_owned(), subject: login.to_owned() };
    EventSubject { user: Some(user), ..EventSubject::default() }
}

pub(crate) fn opaque(id: &str) -> Option<Identifier> {
    Some(Identifier::Opaque(id.to_owned()))
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Where the transmitter may do what this says.
    pub(crate) async fn with(may: impl FnOnce(&mut Transmitter)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let random = Arc::new(SeededRandomness::new(7));
        let clock = Arc::new(FakeClock::new());
        let store = Database::open(
            StoreUrl::sqlite(&folder.path().join("store.db")),
            Keyring::generate(random.as_ref()),
            clock.clone(),
            random.clone(),
            Options::new(Origin::parse("gate.test").unwrap()),
        );
        let store = Arc::new(store.await.unwrap());
        let host = Host::parse("gate.test").unwrap();
        let flows = Arc::new(Flows {
            live: ArcSwap::from_pointee(Live {
                catalogue: Catalogue::empty("https://gate.test".to_owned(), host),
                policies: Policies::broken("nothing is decided here"),
                environment: stepgate_core::surroundings::Environment::default(),
                challenges: ChallengeLimits::default(),
                tries: TryLimits::default(),
                sessions: SessionLifetimes::default(),
                codes: CodeLimits::default(),
                providers: Arc::new(NoProviders),
            }),
            store: Arc::clone(&store) as _,
            factors: HashMap::new().into_iter().collect(),
            devices: None,
            hardware: None,
            clock: Arc::clone(&clock) as _,
            random,
            mac: MacKey::new(&[9; 32]),
            node: Id::from_bytes([1; 16]),
            refusals: Refusals::default(),
            shadow: stepgate_core::flows::Shadow::default(),
            loops: Loops::default(),
            departures: Departures::default(),
            habits: Default::default(),
            courier: Arc::new(NoCourier),
        });
        let provisioning = Provisioning { flows: Arc::clone(&flows), accounts: Arc::clone(&store) as _, links: None };
        let mut transmitter = Transmitter {
            name: "corp".to_owned(),
            subject_issuers: vec![ISSUER.to_owned()],
            provider: Some(corp()),
            by_email: false,
            by_external_id: false,
            foreign: Foreign::Ignore,
            keep: HOUR,
        };
        may(&mut transmitter);
        let told = Arc::new(Told { transmitter, events: Mutex::new(HashMap::new()) });
        let faulty = Arc::new(Faulty { store: Arc::clone(&store), fails: 0.into(), gone: 0.into() });
        let signals = Signals {
            flows: Arc::clone(&flows),
            store: Arc::clone(&faulty) as _,
            accounts: Arc::clone(&store) as _,
            transmitters: Arc::clone(&told) as _,
            arrivals: Arc::default(),
        };
        let receivers = Arc::new(Receiving::default());
        let transmitting = Transmitting {
            flows: Arc::clone(&flows),
            streams: Arc::clone(&store) as _,
            signer: Arc::new(Plain),
            issuer: ORIGIN.to_owned(),
        };
        let transmitter = stepgate_machines::Transmitter { transmitting, receivers: Arc::clone(&receivers) as _ };
        let machines = Arc::new(Machines::new(MachinesParts {
            provisioning: provisioning.clone(),
            origin: ORIGIN.to_owned(),
            scim: false,
            signals: Some(signals.clone()),
            transmitter: Some(transmitter.clone()),
        }));
        Self {
            store,
            faulty,
            flows,
            clock,
            signals,
            told,
            provisioning,
            transmitter,
            receivers,
            machines,
            _folder: folder,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn id<T>(&self) -> Id<T> {
        Id::random(self.flows.random.as_ref())
    }

    /// The token of a machine that may do this.
    pub(crate) async fn machine(&self, name: &str, scopes: &[Scope], transmitter: &str) -> String {
        let name = MachineName::parse(name).unwrap();
        let added = self.provisioning.add_machine(name, scopes.to_vec(), transmitter.to_owned(), None, "test").await;
        added.unwrap().expose().to_owned()
    }

    /// Somebody who is known by their identity at the provider.
    pub(crate) async fn person(&self, login: &str) -> (Person, EnrolledFactor) {
        let person = Person {
            id: self.id(),
            login: Login::parse(login).unwrap(),
            name: login.to_owned(),
            email: format!("{login}@example.com"),
            groups: Vec::new(),
            active: true,
        };
        let identity = Identity { provider: corp(), issuer: ISSUER.to_owned(), subject: login.to_owned() };
        let factor = EnrolledFactor {
            id: self.id(),
            name: "corp".to_owned(),
            enrolled_at: self.now(),
            last_used_at: None,
            last_used_from: None,
            secret: FactorSecret::Idp(identity),
        };
        self.store.add_person_known_by(&person, &factor, self.now(), vec![self.said("added")]).await.unwrap();
        (person, factor)
    }

    /// Somebody with another's address.
    pub(crate) async fn with_address(&self, login: &str, email: &str) -> (Person, EnrolledFactor) {
        let (person, factor) = self.person(login).await;
        let person = Person { email: email.to_owned(), ..person };
        self.store.change_person(&person, self.said("changed")).await.unwrap();
        (person, factor)
    }

    /// Somebody whom the directory governs, under its own number.
    pub(crate) async fn account(&self, login: &str, number: &str) -> (Person, EnrolledFactor) {
        let (person, factor) = self.person(login).await;
        self.provisioning.govern(person.id, true, "test").await.unwrap();
        let account = self.store.account(person.id).await.unwrap().unwrap();
        let wanted = Wanted {
            login: person.login.clone(),
            name: person.name.clone(),
            email: person.email.clone(),
            provisioned: Provisioned { external_id: Some(number.to_owned()), ..account.provisioned.clone() },
        };
        self.provisioning.change(&account, wanted, "test").await.unwrap();
        (person, factor)
    }

    /// Signs somebody in, in the provider's session `sid`.
    pub(crate) async fn sign_in(&self, who: &(Person, EnrolledFactor), sid: &str) -> SignedIn {
        let (person, factor) = who;
        let now = self.now();
        let digest = || {
            TokenDigest({
                let mut bytes = [0; 32];
                self.flows.random.fill(&mut bytes);
                bytes
            })
        };
        let login = ProviderLogin {
            provider: corp(),
            issuer: ISSUER.to_owned(),
            identity: identity_digest(ISSUER, person.login.as_str()),
            subject: person.login.as_str().to_owned(),
            left_at: self.clock.now(),
            sid: Some(sid.to_owned()),
            id_token: "id-token".into(),
            refresh_token: None,
            renew_at: None,
        };
        let session = NewSession {
            id: self.id(),
            person: person.id,
            proof: Proof { kind: FactorKind::Idp(Strength::POSSESSION), at: now, generation: 1 },
            used: (factor.id, FactorUse::Nothing),
            prompt: None,
            gate_token: digest(),
            browser: digest(),
            device: digest(),
            started_at: now,
            ends_at: now.plus(HOUR.saturating_mul(24)),
            idle: HOUR,
            address: [127, 0, 0, 1].into(),
            country: "ZZ".to_owned(),
            agent: "a browser".to_owned(),
            replaces: None,
            login: Some(login),
        };
        let signed_in = SignedIn { person: person.id, session: session.id, token: session.gate_token };
        self.store.start_session(session, vec![self.said("signed in")]).await.unwrap();
        signed_in
    }

    pub(crate) async fn lives(&self, who: &SignedIn) -> bool {
        self.store.session(who.token, &Audience::Gate, self.now()).await.unwrap().is_some()
    }

    pub(crate) async fn risks(&self, who: &SignedIn) -> Vec<Risk> {
        self.store.session(who.token, &Audience::Gate, self.now()).await.unwrap().unwrap().risks.to_vec()
    }

    /// Makes an event that the transmitter signed, just now; gives its token.
    pub(crate) fn event(&self, id: &str, subject: EventSubject, happened: Happened) -> String {
        self.event_at(self.now(), id, subject, happened)
    }

    pub(crate) fn event_at(&self, at: Timestamp, id: &str, subject: EventSubject, happened: Happened) -> String {
        let event = SecurityEvent {
            issuer: ISSUER.to_owned(),
            id: id.to_owned(),
            at,
            subject,
            name: "test".to_owned(),
            happened,
        };
        self.told.events.lock().insert(id.to_owned(), event);
        id.to_owned()
    }

    pub(crate) async fn receive(&self, set: &str) -> Result<Taken, NotTaken> {
        self.signals.receive("corp", set).await
    }

    /// It is taken, and does something.
    pub(crate) async fn tell(&self, subject: EventSubject, happened: Happened) {
        let number = self.told.events.lock().len();
        let set = self.event(&format!("told-{number}"), subject, happened);
        assert!(!self.receive(&set).await.unwrap().again);
    }

    pub(crate) fn said(&self, what: &str) -> Entry {
        self.flows.entry(self.now(), Event::Fault { node: "test".to_owned(), what: what.to_owned() })
    }

    /// The events of this kind, in order.
    pub(crate) async fn recorded(&self, kind: &str) -> Vec<Event> {
        let query = EntryQuery { kinds: vec![kind.to_owned()], from: Some(0), limit: 1_000, ..EntryQuery::default() };
        self.store.entries(query).await.unwrap().into_iter().map(|entry| entry.entry.event).collect()
    }

    /// The stream that this machine sets up, as it is told.
    pub(crate) async fn stream(&self, token: &str, body: &Value) -> Value {
        let (status, stream) = self.call(token, "POST", "/ssf/streams", body).await;
        assert_eq!(status, 201, "{stream}");
        stream
    }

    /// As many entries that streams tell of, about this person.
    pub(crate) async fn ended(&self, person: PersonId, many: usize) {
        let ended = |_| {
            self.flows.entry(
                self.now(),
                Event::SessionEnded {
                    session: self.id::<stepgate_core::id::kind::Session>().to_string(),
                    person: person.to_string(),
                    reason: "revoked".to_owned(),
                    by: person.to_string(),
                },
            )
        };
        self.store.record((0..many).map(ended).collect()).await.unwrap();
    }

    /// Reads all of the ledger into the streams.
    pub(crate) async fn filled(&self) -> Option<u64> {
        let end = self.transmitter.transmitting.end().await.unwrap();
        loop {
            match self.transmitter.transmitting.fill_all().await.unwrap() {
                Some(next) if next < end => {}
                reached => return reached,
            }
        }
    }

    pub(crate) async fn revoke(&self, machine: &str) {
        let name = MachineName::parse(machine).unwrap();
        self.provisioning.remove_machine(&name, "test").await.unwrap();
    }

    pub(crate) async fn call(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.send(Request::builder().method(method).uri(path), token, body).await
    }

    pub(crate) async fn push(&self, token: &str, set: &str) -> (u16, Value) {
        let request = Request::builder().method("POST").uri("/signals/events");
        let request = request.header("content-type", "application/secevent+jwt");
        self.send(request, token, set.to_owned().into()).await
    }

    /// How much of a body is read for this token at this path.
    pub(crate) async fn reads(&self, token: &str, method: &str, path: &str) -> usize {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let (head, ()) = request.body(()).unwrap().into_parts();
        self.machines.hear(head).await.unwrap().body_max()
    }

    async fn send(&self, request: http::request::Builder, token: &str, body: Bytes) -> (u16, Value) {
        let request = request.header("authorization", format!("Bearer {token}")).body(body).unwrap();
        let (head, body) = request.into_parts();
        let response = match self.machines.hear(head).await {
            Ok(heard) => heard.call(body).await,
            Err(response) => response,
        };
        let (head, body) = Response::into_parts(response);
        let body = body.collect().await.unwrap().to_bytes();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        (head.status.as_u16(), body)
    }
}
