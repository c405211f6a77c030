//! A gate in front of a recording ledger, with two people signed in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use futures_util::StreamExt as _;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use stepgate_core::access::Forwarded;
use stepgate_core::catalogue::*;
use stepgate_core::challenge::{Challenge, ChallengeLimits, ChallengeState, Given, GivenIn};
use stepgate_core::factor::FactorKind;
use stepgate_core::flows::{CodeLimits, Departures, Flows, Live, Loops, Refusals};
use stepgate_core::id::{ChallengeId, NodeId, PersonId, SessionId};
use stepgate_core::person::{Login, Person};
use stepgate_core::policy::{Policies, PolicySource};
use stepgate_core::ports::{CodeSees, NewCode, NoCourier, TryLimits};
use stepgate_core::provider::IdentityProviders;
use stepgate_core::secret::{MacKey, Purpose, Token};
use stepgate_core::session::{Assurance, Audience, Device, Proof, SessionLifetimes, SessionView};
use stepgate_core::surroundings::Environment;
use stepgate_core::time::{Clock, Randomness, Timestamp};
use stepgate_core::web::{LocalBody, LocalService, Permit, Transport};
use stepgate_gateway::canonical::TrustedHops;
use stepgate_gateway::http::{
    AssertionKey, AssertionMode, AssertionSigner, DoorLimits, HttpDoor, HttpDoorParts, InjectScript, ServiceUpstream,
};
use stepgate_gateway::server::{Binding, Plaintext, Server, ServerLimits};
use stepgate_gateway::upstream::{HostHeader, Upstream, UpstreamConfig, UpstreamLimits, UpstreamOrigin};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::raw::{Connection, Head};
use crate::recorder::Recorder;
use crate::store::Memory;

pub const NOON: i64 = 1_735_732_800_000;

pub const POLICIES: &str = r#"
@id("everybody") permit (principal is Person, action, resource);
@id("large-payment")
@reason("Payments over 10,000 need your passkey, for this payment alone.")
forbid (principal, action == Action::"payments.approve", resource)
when { context.input.amount > 10000 }
unless { context.confirmed.contains("passkey") };
@id("fresh-exports")
@reason("Exports need a second factor from the last five minutes.")
forbid (principal, action == Action::"reports.export", resource)
unless { context.age.second_factor <= duration("5m") };
@id("broken-devices-write-nothing")
@reason("Your device does not keep the rules.")
forbid (principal, action in Action::"write", resource)
when { context.device.posture == "not_compliant" };
@id("nobody-deletes")
@reason("Nothing is deleted here.")
forbid (principal, action == Action::"everything.delete", resource);
"#;

#[derive(Debug)]
pub struct FakeClock(AtomicI64);

impl FakeClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Debug, Default)]
pub struct Counting(AtomicU64);

impl Randomness for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        use sha2::Digest as _;
        let count = self.0.fetch_add(1, Ordering::SeqCst);
        let digest = sha2::Sha512::digest(count.to_be_bytes());
        buffer.copy_from_slice(&digest[..buffer.len()]);
    }
}

/// A local service that says what it was told.
#[derive(Debug)]
pub struct Local(&'static str);

#[async_trait]
impl LocalService for Local {
    async fn call(&self, request: Request<bytes::Bytes>) -> Response<LocalBody> {
        let permit = request.extensions().get::<Permit>();
        let who = permit.map(|permit| permit.session.person.login.to_string()).unwrap_or_default();
        let cookie = request.headers().get("cookie").and_then(|c| c.to_str().ok()).unwrap_or_default();
        if request.uri().path() == "/account/endless" {
            let begun = futures_util::stream::iter([Ok(http_body::Frame::data(bytes::Bytes::from("begun")))]);
            let body = http_body_util::StreamBody::new(begun.chain(futures_util::stream::pending()));
            return Response::new(body.boxed_unsync());
        }
        let text = format!("{} {} {} who={who} cookie={cookie}", self.0, request.method(), request.uri());
        let body = http_body_util::Full::from(text).map_err(|never| match never {}).boxed_unsync();
        Response::new(body)
    }
}

pub struct Door {
    pub address: SocketAddr,
    pub ledger: String,
    pub ledger_origin: String,
    pub gate: String,
    pub gate_origin: String,
    pub store: Arc<Memory>,
    pub clock: Arc<FakeClock>,
    pub flows: Arc<Flows>,
    pub tokens: Arc<crate::tokens::Known>,
    pub recorder: Recorder,
    pub door: HttpDoor,
}

pub struct Person_ {
    pub token: String,
    pub session: SessionId,
}

impl Person_ {
    pub fn cookie(&self) -> String {
        format!("Cookie: stepgate={}\r\n", self.token)
    }
}

fn endpoint(
    resource: &str,
    action: &str,
    effect: Effect,
    template: PathTemplate,
    inputs: Vec<InputSpec>,
) -> Arc<Endpoint> {
    let methods = resource.split(' ').nth(1).filter(|method| method.chars().all(char::is_uppercase));
    Arc::new(Endpoint {
        resource: resource.to_owned(),
        action: ActionName::parse(action).unwrap(),
        effect,
        kind: String::new(),
        sensitivity: "normal".into(),
        title: Title::new("Approve payment {id} of {amount}"),
        methods: methods.map(str::to_owned).into_iter().collect(),
        path: template,
        inputs,
        effect_headers: if action == "payments.approve" { vec!["x-dry-run".into()] } else { Vec::new() },
        admits: Admits::SignedIn,
        cross_site: CrossSite::Refuse,
        scopes: if resource == "api DELETE /all" { vec!["delete".into()] } else { Vec::new() },
    })
}

fn service(name: &str, host: &str, origin: &str) -> Arc<Service> {
    let path = |text: &str| PathTemplate::parse(text).unwrap();
    let input = |name: &str, source, kind| InputSpec { name: name.into(), source, kind };
    let of = |text: &str| format!("{name} {text}");
    let endpoints = if name == GATE_SERVICE {
        Vec::new()
    } else {
        vec![
            endpoint(
                &of("POST /payments/{id}/approve"),
                "payments.approve",
                Effect::Write,
                path("/payments/{id}/approve"),
                vec![
                    input("id", InputSource::Path("id".into()), InputKind::String),
                    input("amount", InputSource::Json("/amount".into()), InputKind::Long),
                ],
            ),
            endpoint(
                &of("POST /pay"),
                "payments.approve",
                Effect::Write,
                path("/pay"),
                vec![
                    input("id", InputSource::Form("id".into()), InputKind::String),
                    input("amount", InputSource::Form("amount".into()), InputKind::Long),
                ],
            ),
            endpoint(&of("GET /export"), "reports.export", Effect::Read, path("/export"), vec![]),
            endpoint(&of("DELETE /all"), "everything.delete", Effect::Write, path("/all"), vec![]),
        ]
    };
    Arc::new(Service {
        name: ServiceName::parse(name).unwrap(),
        title: name.to_owned(),
        origin: origin.to_owned(),
        host: Host::parse(host).unwrap(),
        endpoints,
        read: endpoint(&format!("{name} (read)"), "read", Effect::Read, PathTemplate::any(), vec![]),
        write: endpoint(&format!("{name} (write)"), "write", Effect::Write, PathTemplate::any(), vec![]),
        tokens: (name == "api").then(|| crate::tokens::rules(Forwarded::Never)),
    })
}

pub fn pkcs8() -> Vec<u8> {
    let random = aws_lc_rs::rand::SystemRandom::new();
    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap().as_ref().to_vec()
}

impl Door {
    pub async fn open() -> Self {
        Self::before(Recorder::start().await).await
    }

    pub async fn before(recorder: Recorder) -> Self {
        Self::deciding_by(POLICIES, recorder).await
    }

    pub async fn deciding_by(policies: &str, recorder: Recorder) -> Self {
        Self::limited(policies, recorder, DoorLimits::default()).await
    }

    pub async fn limited(policies: &str, recorder: Recorder, limits: DoorLimits) -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let (ledger, gate) =
            (format!("ledger.localhost:{}", address.port()), format!("gate.localhost:{}", address.port()));
        let (ledger_origin, gate_origin) = (format!("http://{ledger}"), format!("http://{gate}"));
        let services = vec![
            service("ledger", "ledger.localhost", &ledger_origin),
            service("api", "api.localhost", &ledger_origin.replace("ledger", "api")),
            service(GATE_SERVICE, "gate.localhost", &gate_origin),
        ];
        let catalogue = Catalogue::new(gate_origin.clone(), Host::parse("gate.localhost").unwrap(), services).unwrap();
        let source = PolicySource { name: "test.cedar".into(), text: policies.into() };
        let policies = Policies::load(&catalogue, &[source]).unwrap();
        let policies = policies.with_providers(crate::tokens::Corp::new().all());
        let store = Arc::new(Memory::default());
        let clock = Arc::new(FakeClock(AtomicI64::new(NOON)));
        let flows = Arc::new(Flows {
            live: ArcSwap::from_pointee(Live {
                catalogue,
                policies,
                environment: Environment::default(),
                challenges: ChallengeLimits::default(),
                tries: TryLimits::default(),
                sessions: SessionLifetimes::default(),
                codes: CodeLimits::default(),
                providers: Arc::new(crate::tokens::Corp::new()),
            }),
            store: store.clone(),
            factors: BTreeMap::new(),
            devices: None,
            hardware: None,
            clock: clock.clone(),
            random: Arc::new(Counting::default()),
            mac: MacKey::new(&[1; 32]),
            node: NodeId::from_bytes([9; 16]),
            refusals: Refusals::default(),
            shadow: stepgate_core::flows::Shadow::default(),
            loops: Loops::default(),
            departures: Departures::default(),
            habits: Default::default(),
            courier: Arc::new(NoCourier),
        });
        let upstream = Upstream::new(UpstreamConfig {
            origin: UpstreamOrigin::parse(&format!("http://{}", recorder.address), Plaintext::OnLoopback).unwrap(),
            certificate_authority: None,
            host_header: HostHeader::Original,
            limits: UpstreamLimits::default(),
        })
        .unwrap();
        let way = ServiceUpstream { upstream, assertion: AssertionMode::Always, inject_script: InjectScript::No };
        let way = Arc::new(way);
        let tokens = Arc::new(crate::tokens::Known::default());
        let door = HttpDoor::new(HttpDoorParts {
            flows: flows.clone(),
            transport: Transport::Plain,
            pages: Arc::new(Local("pages")),
            account: Arc::new(Local("account")),
            upstreams: ["ledger", "api"].map(|name| (ServiceName::parse(name).unwrap(), Arc::clone(&way))).into(),
            signer: AssertionSigner::new(vec![AssertionKey {
                id: "k1".to_owned(),
                pkcs8: &pkcs8(),
                signs_from: stepgate_core::time::Timestamp::from_ms(0),
            }])
            .unwrap(),
            tokens: tokens.clone(),
            limits,
            stop: CancellationToken::new(),
        });
        let binding = Binding::plain(socket, Plaintext::OnLoopback).unwrap();
        let hops = TrustedHops::new(vec!["127.0.0.1/32".parse().unwrap()], Vec::new());
        let hops = hops.telling_posture_in(Some(http::HeaderName::from_static("x-device-posture")));
        let server = Server::new(binding, hops, ServerLimits::default(), Arc::new(door.clone()));
        tokio::spawn(server.serve(CancellationToken::new()));
        Self { address, ledger, ledger_origin, gate, gate_origin, store, clock, flows, tokens, recorder, door }
    }

    /// Somebody who signed in with a password a minute ago, at the ledger's host.
    pub fn sign_in(&self, login: &str) -> Person_ {
        self.sign_in_at(login, Audience::Host(Host::parse("ledger.localhost").unwrap()))
    }

    pub fn sign_in_at(&self, login: &str, audience: Audience) -> Person_ {
        let random = self.flows.random.as_ref();
        let token = Token::random(random);
        let session = SessionId::random(random);
        let at = Timestamp::from_ms(NOON - 60_000);
        let person = Person {
            id: PersonId::random(random),
            login: Login::parse(login).unwrap(),
            name: login.to_owned(),
            email: format!("{login}@example.test"),
            groups: vec!["finance".into(), "a,b".into()],
            active: true,
        };
        let purpose = if audience == Audience::Gate { Purpose::GateSession } else { Purpose::ServiceSession };
        let view = SessionView {
            id: session,
            person: Arc::new(person),
            audience,
            generation: 1,
            newest_generation: 1,
            assurance: Assurance::new(vec![Proof { kind: FactorKind::Password, at, generation: 1 }]),
            enrolled: Arc::from([FactorKind::PASSKEY, FactorKind::Totp, FactorKind::Password]),
            providers: Arc::new([]),
            risks: Arc::new([]),
            started_at: at,
            last_used_at: at,
            ends_at: Timestamp::from_ms(NOON + 24 * 3_600_000),
            browser: Some(browser().digest(Purpose::Browser)),
            device: Device { first_seen: Some(at), seen_before: Some(at), ..Device::default() },
            address: "127.0.0.1".parse().unwrap(),
            country: "ZZ".into(),
            agent: String::new(),
            token_reused: false,
        };
        self.store.change(|state| state.sessions.insert(token.digest(purpose), view));
        Person_ { token: token.expose().to_owned(), session }
    }

    /// Sends a head and a body to the ledger's host.
    pub async fn ask(&self, first: &str, lines: &str, body: &str) -> (Head, String) {
        self.ask_at(&self.ledger, first, lines, body).await
    }

    pub async fn ask_at(&self, host: &str, first: &str, lines: &str, body: &str) -> (Head, String) {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let mut connection = Connection::open(self.address).await;
        connection.send(format!("{first} HTTP/1.1\r\nHost: {host}\r\n{lines}{length}\r\n{body}").as_bytes()).await;
        let (head, body) = connection.response().await.unwrap();
        assert_eq!(head.values("stepgate-request-id").len(), 1);
        (head, String::from_utf8_lossy(&body).into_owned())
    }

    pub fn only_challenge(&self) -> Challenge {
        let state = self.store.state.lock();
        assert_eq!(state.challenges.len(), 1);
        state.challenges.values().next().unwrap().clone()
    }

    /// As if the person had touched the passkey, at the gate.
    pub fn pass(&self, id: ChallengeId) {
        let at = self.flows.clock.now();
        self.store.change(|state| {
            let challenge = state.challenges.get_mut(&id).unwrap();
            challenge.version += 1;
            challenge.state = ChallengeState::Passed {
                answered: vec![Given { kind: FactorKind::PASSKEY, at, place: GivenIn::AskingSession }],
                at,
                spend_before: at.plus(Duration::from_secs(300)),
            };
        });
    }

    /// The code with which the gate sends the browser back.
    pub fn hand_back(&self, challenge: &Challenge) -> String {
        let token = Token::random(self.flows.random.as_ref());
        let code = NewCode {
            digest: token.digest(Purpose::HandBack),
            purpose: Purpose::HandBack,
            session: challenge.asked_by.session().unwrap(),
            audience: Audience::Host(Host::parse("ledger.localhost").unwrap()),
            browser: challenge.browser,
            challenge: Some(challenge.id),
            sees: CodeSees::Everything,
            expires_at: Timestamp::from_ms(i64::MAX),
        };
        self.store.change(|state| state.codes.insert(code.digest, code));
        token.expose().to_owned()
    }
}

/// The browser of everybody here.
pub fn browser() -> Token {
    Token::parse(&"b".repeat(42).chars().chain(['A']).collect::<String>()).unwrap()
}

pub fn browser_cookie() -> String {
    format!("Cookie: stepgate-browser={}\r\n", browser().expose())
}

/// The value of a cookie that an answer sets.
pub fn set_cookie(head: &Head, name: &str) -> Option<String> {
    let prefix = format!("{name}=");
    let cookie = head.values("set-cookie").into_iter().find(|cookie| cookie.starts_with(&prefix))?;
    assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
    Some(cookie[prefix.len()..].split(';').next().unwrap().to_owned())
}

pub const NAVIGATE: &str = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nAccept: text/html\r\n";
pub const JSON: &str = "Content-Type: application/json\r\n";
