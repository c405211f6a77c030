//! A gate with nothing but people, and a machine that provisions them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use secrecy::SecretString;
use serde_json::Value;
use stepgate_core::catalogue::{Catalogue, Host};
use stepgate_core::challenge::ChallengeLimits;
use stepgate_core::flows::{CodeLimits, Departures, Flows, LinkedBy, Live, Loops, Provisioning, Refusals, SubjectIs};
use stepgate_core::id::Id;
use stepgate_core::machine::{MachineName, Scope};
use stepgate_core::policy::Policies;
use stepgate_core::ports::{EntryQuery, NoCourier, RecordedEntry, TryLimits};
use stepgate_core::provider::{
    Asserted, Authorize, CameBack, IdentityProviders, Leave, LogoutToken, NotAsserted, NotFinished, Provider,
    ProviderName, Renewed,
};
use stepgate_core::secret::MacKey;
use stepgate_core::session::SessionLifetimes;
use stepgate_core::surroundings::Environment;
use stepgate_core::time::Timestamp;
use stepgate_ledger::Origin;
use stepgate_machines::{Machines, MachinesParts};
use stepgate_store::{Database, Keyring, Options, StoreUrl};
use stepgate_testkit::{FakeClock, SeededRandomness};

pub(crate) const ORIGIN: &str = "https://machines.test";

pub(crate) struct House {
    pub(crate) provisioning: Provisioning,
    pub(crate) clock: Arc<FakeClock>,
    machines: Machines,
    /// The token of a machine that may provision.
    pub(crate) token: String,
    _folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Got {
    /// The body, if the status is this.
    #[track_caller]
    pub(crate) fn with(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:?}", self.body);
        self.body
    }

    /// It is this error of SCIM.
    #[track_caller]
    pub(crate) fn error(self, status: u16, kind: &str) {
        let body = self.with(status);
        assert_eq!(body["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error");
        assert_eq!(body["status"], status.to_string());
        assert_eq!(body["scimType"].as_str().unwrap_or_default(), kind, "{body}");
        assert!(!body["detail"].as_str().unwrap_or_default().is_empty());
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(None).await
    }

    /// One that links people to `corp` by this attribute.
    pub(crate) async fn linked_by(subject: SubjectIs) -> Self {
        Self::with(Some(LinkedBy { provider: corp(), subject })).await
    }

    async fn with(links: Option<LinkedBy>) -> Self {
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
                environment: Environment::default(),
                challenges: ChallengeLimits::default(),
                tries: TryLimits::default(),
                sessions: SessionLifetimes::default(),
                codes: CodeLimits::default(),
                providers: Arc::new(Corp::default()),
            }),
            store: Arc::clone(&store) as _,
            factors: Default::default(),
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
        let provisioning = Provisioning { flows, accounts: store, links };
        let parts = MachinesParts {
            provisioning: provisioning.clone(),
            origin: ORIGIN.to_owned(),
            scim: true,
            signals: None,
            transmitter: None,
        };
        let machines = Machines::new(parts);
        let mut house = Self { provisioning, clock, machines, token: String::new(), _folder: folder };
        house.token = house.machine("hr", &[Scope::Scim]).await;
        house
    }

    /// Somebody configured it meanwhile.
    pub(crate) fn link_by(&mut self, subject: SubjectIs) {
        self.provisioning.links = Some(LinkedBy { provider: corp(), subject });
        let parts = MachinesParts {
            provisioning: self.provisioning.clone(),
            origin: ORIGIN.to_owned(),
            scim: true,
            signals: None,
            transmitter: None,
        };
        self.machines = Machines::new(parts);
    }

    pub(crate) async fn machine(&self, name: &str, scopes: &[Scope]) -> String {
        let name = MachineName::parse(name).unwrap();
        let added = self.provisioning.add_machine(name, scopes.to_vec(), String::new(), None, "test").await;
        added.unwrap().expose().to_owned()
    }

    pub(crate) async fn call(&self, request: Request<Bytes>) -> Got {
        let (head, body) = request.into_parts();
        let response = match self.machines.hear(head).await {
            Ok(heard) => heard.call(body).await,
            Err(response) => response,
        };
        let (head, body): (_, _) = Response::into_parts(response);
        let body = body.collect().await.unwrap().to_bytes();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        Got { status: head.status, headers: head.headers, body }
    }

    /// How much of a body is read for this token at this path; the status where it is refused unread.
    pub(crate) async fn reads(&self, method: &str, path: &str, token: &str) -> Result<usize, u16> {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let (head, ()) = request.body(()).unwrap().into_parts();
        self.machines.hear(head).await.map(|heard| heard.body_max()).map_err(|refused| refused.status().as_u16())
    }

    /// A request of the machine that provisions.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let uri =
            format!("/scim/v2{}", path.replace(' ', "%20").replace('"', "%22").replace('[', "%5B").replace(']', "%5D"));
        Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {}", self.token))
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.call(self.request("GET", path).body(Bytes::new()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Got {
        self.call(self.request("DELETE", path).body(Bytes::new()).unwrap()).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> Got {
        let request = self.request(method, path).header("content-type", "application/scim+json");
        self.call(request.body(body.to_string().into()).unwrap()).await
    }

    /// Adds somebody and gives their id.
    pub(crate) async fn user(&self, login: &str) -> String {
        let body = serde_json::json!({ "schemas": [USER], "userName": login });
        self.send("POST", "/Users", &body).await.with(201)["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn patch(&self, path: &str, operations: Value) -> Got {
        let body = serde_json::json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations
        });
        self.send("PATCH", path, &body).await
    }

    pub(crate) async fn entries(&self) -> Vec<RecordedEntry> {
        let query = EntryQuery { from: Some(0), limit: 1_000, ..EntryQuery::default() };
        self.provisioning.flows.store.entries(query).await.unwrap()
    }

    pub(crate) async fn count_kind(&self, kind: &str) -> usize {
        let query = EntryQuery { kinds: vec![kind.to_owned()], from: Some(0), limit: 1_000, ..EntryQuery::default() };
        self.provisioning.flows.store.entries(query).await.unwrap().len()
    }
}

pub(crate) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(crate) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

pub(crate) const ISSUER: &str = "https://idp.example";

pub(crate) fn corp() -> ProviderName {
    ProviderName::parse("corp").unwrap()
}

/// A provider that is configured and never asked.
#[derive(Debug)]
struct Corp([Provider; 1]);

impl Default for Corp {
    fn default() -> Self {
        Self([Provider {
            name: corp(),
            title: "Example Corp".to_owned(),
            issuer: ISSUER.to_owned(),
            levels: Vec::new(),
            adds_people: false,
            governs_groups: false,
            renews_every: None,
        }])
    }
}

#[async_trait::async_trait]
impl IdentityProviders for Corp {
    fn all(&self) -> &[Provider] {
        &self.0
    }

    async fn authorize(&self, _: Authorize<'_>) -> Result<Leave, NotAsserted> {
        Err(NotAsserted::Unknown)
    }

    async fn finish(&self, _: CameBack<'_>) -> Result<Asserted, NotFinished> {
        Err(NotAsserted::Unknown.into())
    }

    async fn logout_token(&self, _: &ProviderName, _: &str, _: Timestamp) -> Result<LogoutToken, NotAsserted> {
        Err(NotAsserted::Unknown)
    }

    async fn logout_url(&self, _: &ProviderName, _: &SecretString) -> Option<String> {
        None
    }

    async fn renew(&self, _: &ProviderName, _: &str, _: &SecretString, _: Timestamp) -> Renewed {
        Renewed::Away { refresh_token: None }
    }
}
