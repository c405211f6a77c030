//! What outlives the request that showed a token: streams, waits, bodies that come slowly.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stepgate_core::access::{Accepted, AgentRule, TokenRules};
use stepgate_core::catalogue::{Catalogue, Service};
use stepgate_core::factor::identity_digest;
use stepgate_core::flows::Live;
use stepgate_core::person::Person;
use stepgate_core::policy::{Policies, PolicySource};
use stepgate_core::ports::KnownPerson;
use stepgate_gateway::http::DoorLimits;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::raw::Connection;
use crate::recorder::Recorder;
use crate::rig::{Door, JSON};
use crate::streams::{ACCEPT, EVENTS, KEY, echo, echo_behind};
use crate::tokens::{ISSUER, corp};

const ALICE: &str = "Bearer alice.mfa.60.use.1";
const LARGE: &str = r#"{"amount":12000}"#;
const POLICIES: &str = r#"
@id("finance") permit (principal is Person in Group::"finance", action, resource);
@id("robots") permit (principal is Agent in Group::"robots", action, resource);
@id("large-payment") @reason("Confirm.")
forbid (principal, action == Action::"payments.approve", resource)
when { context.input.amount > 10000 } unless { context.confirmed.contains("passkey") };
"#;

async fn open(recorder: Recorder) -> Door {
    let door = Door::deciding_by(POLICIES, recorder).await;
    door.knows("alice");
    door
}

async fn websocket(door: &Door, credentials: &str) -> Connection<TcpStream> {
    let api = door.ledger.replace("ledger", "api");
    let mut connection = Connection::open(door.address).await;
    connection.send(handshake(&api, credentials).as_bytes()).await;
    let head = connection.head().await.unwrap();
    assert_eq!((head.status(), head.one("sec-websocket-accept")), (101, ACCEPT));
    echoes(&mut connection).await;
    connection
}

fn handshake(api: &str, credentials: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {api}\r\nAuthorization: {credentials}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

async fn echoes(connection: &mut Connection<TcpStream>) {
    connection.send(b"hello").await;
    assert_eq!(connection.exactly(5).await.unwrap(), b"hello");
}

async fn ends(connection: &mut Connection<TcpStream>, why: &str) {
    let rest = tokio::time::timeout(Duration::from_secs(10), connection.rest()).await;
    assert_eq!(rest.unwrap_or_else(|_| panic!("it goes on: {why}")), b"", "{why}");
}

/// Long enough that a stream that were to end had ended.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

impl Door {
    /// A reload after which `api` takes these tokens, if any.
    fn reload(&self, change: impl FnOnce(Accepted) -> Option<Accepted>) {
        let live = self.flows.live.load_full();
        let mut change = Some(change);
        let services = live.catalogue.services.values().map(|service| {
            let Service { name, title, origin, host, endpoints, read, write, tokens } = service.as_ref();
            let tokens = match tokens {
                Some(rules) => change.take().unwrap()(rules.accepted().clone()).map(TokenRules::new).map(Arc::new),
                None => None,
            };
            Arc::new(Service {
                name: name.clone(),
                title: title.clone(),
                origin: origin.clone(),
                host: host.clone(),
                endpoints: endpoints.clone(),
                read: read.clone(),
                write: write.clone(),
                tokens,
            })
        });
        let (origin, host) = (live.catalogue.gate_origin.clone(), live.catalogue.gate_host.clone());
        let catalogue = Catalogue::new(origin, host, services.collect()).unwrap();
        let source = PolicySource { name: "test.cedar".into(), text: POLICIES.into() };
        let policies = Policies::load(&catalogue, &[source]).unwrap().with_providers(live.providers.all());
        self.flows.live.store(Arc::new(Live {
            catalogue,
            policies,
            environment: stepgate_core::surroundings::Environment::default(),
            challenges: live.challenges,
            tries: live.tries,
            sessions: live.sessions,
            codes: live.codes,
            providers: Arc::clone(&live.providers),
        }));
        self.door.reloaded();
    }

    /// Puts somebody who is known into these groups.
    fn groups(&self, subject: &str, groups: &[&str]) {
        self.store.change(|state| {
            let known = state.known.get_mut(&identity_digest(ISSUER, subject)).unwrap();
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            let person = Person { groups, ..known.person.as_ref().clone() };
            let (enrolled, risks) = (Arc::clone(&known.enrolled), Arc::clone(&known.risks));
            let tokens_after = known.tokens_after;
            *known = Arc::new(KnownPerson { person: Arc::new(person), enrolled, risks, tokens_after });
        });
    }
}

fn agents(groups: &[&str]) -> Vec<AgentRule> {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    vec![AgentRule { provider: corp(), client: "robot".into(), groups }]
}

#[tokio::test]
async fn b106_a_reload_that_takes_a_token_away_ends_what_it_opened() {
    for (what, agent) in [
        ("groups", true),
        ("entry", true),
        ("provider", false),
        ("scheme", false),
        ("authority", false),
        ("all", false),
    ] {
        let door = open(echo().await).await;
        door.reload(|accepted| Some(Accepted { agents: agents(&["robots"]), ..accepted }));
        let credentials = if agent { "Bearer robot-of-alice.mfa.60.use.1" } else { ALICE };
        let mut connection = websocket(&door, credentials).await;
        door.reload(Some);
        a_while().await;
        echoes(&mut connection).await;
        door.reload(|accepted| match what {
            "groups" => Some(Accepted { agents: agents(&[]), ..accepted }),
            "entry" => Some(Accepted { agents: Vec::new(), ..accepted }),
            "provider" => Some(Accepted {
                providers: vec![stepgate_core::provider::ProviderName::parse("other").unwrap()],
                ..accepted
            }),
            "scheme" => Some(Accepted { schemes: vec![stepgate_core::access::Scheme::Dpop], ..accepted }),
            "authority" => Some(Accepted { certificates: Vec::new(), ..accepted }),
            _ => None,
        });
        ends(&mut connection, what).await;
    }
}

#[tokio::test]
async fn b106_a_scope_that_a_reload_demands_ends_what_has_it_not() {
    let door = open(echo().await).await;
    let mut connection = websocket(&door, ALICE).await;
    door.reload(|accepted| Some(Accepted { scopes: vec!["more".into()], ..accepted }));
    ends(&mut connection, "scope").await;
}

#[tokio::test]
async fn b106_who_leaves_or_loses_a_group_loses_the_stream_and_who_gains_one_keeps_it() {
    let door = open(echo().await).await;
    let mut connection = websocket(&door, ALICE).await;
    door.groups("alice", &["finance", "more"]);
    a_while().await;
    echoes(&mut connection).await;
    door.groups("alice", &["more"]);
    ends(&mut connection, "group").await;
    let door = open(echo().await).await;
    let mut connection = websocket(&door, ALICE).await;
    door.forgets("alice");
    ends(&mut connection, "left").await;
}

#[tokio::test]
async fn b106_a_change_while_the_upstream_answers_is_noticed() {
    let gate = Arc::new(Semaphore::new(0));
    let door = open(echo_behind(Arc::clone(&gate)).await).await;
    let changing = async {
        a_while().await;
        // Decided already, and nobody watches yet.
        door.groups("alice", &[]);
        gate.add_permits(1);
    };
    let api = door.ledger.replace("ledger", "api");
    let mut connection = Connection::open(door.address).await;
    connection.send(handshake(&api, ALICE).as_bytes()).await;
    let (head, ()) = tokio::join!(connection.head(), changing);
    assert_eq!(head.unwrap().status(), 101);
    ends(&mut connection, "group before the stream").await;
}

#[tokio::test]
async fn a_stream_ends_when_its_token_runs_out() {
    let door = open(echo().await).await;
    let mut connection = websocket(&door, ALICE).await;
    door.clock.advance(Duration::from_secs(299));
    door.door.reloaded();
    a_while().await;
    echoes(&mut connection).await;
    door.clock.advance(Duration::from_secs(1));
    // The timer runs by the clock of the wall; what wakes it is any of its reasons.
    door.door.reloaded();
    ends(&mut connection, "exp").await;
}

#[tokio::test]
async fn an_event_stream_ends_when_its_token_runs_out() {
    let door = open(Recorder::answering(EVENTS).await).await;
    let mut connection = events(&door).await;
    door.clock.advance(Duration::from_secs(300));
    door.door.reloaded();
    ends(&mut connection, "exp").await;
}

/// Nothing but the clock makes it look: no reload, and no change of the person.
#[tokio::test]
async fn b117_open_streams_end_when_the_key_of_their_token_is_taken_back() {
    let looks_often = || DoorLimits { token_look: Duration::from_millis(100), ..DoorLimits::default() };
    for is_websocket in [true, false] {
        let recorder = if is_websocket { echo().await } else { Recorder::answering(EVENTS).await };
        let door = Door::limited(POLICIES, recorder, looks_often()).await;
        door.knows("alice");
        let mut connection = if is_websocket { websocket(&door, ALICE).await } else { events(&door).await };
        a_while().await;
        if is_websocket {
            echoes(&mut connection).await;
        }
        door.tokens.is_key_withdrawn.store(true, Ordering::Release);
        ends(&mut connection, "key").await;
    }
}

/// An event stream whose first event came.
async fn events(door: &Door) -> Connection<TcpStream> {
    let api = door.ledger.replace("ledger", "api");
    let mut connection = Connection::open(door.address).await;
    let request = format!("GET /events HTTP/1.1\r\nHost: {api}\r\nAuthorization: {ALICE}\r\n\r\n");
    connection.send(request.as_bytes()).await;
    assert_eq!(connection.head().await.unwrap().status(), 200);
    assert_eq!(connection.line().await.unwrap(), "8");
    assert_eq!(connection.exactly(10).await.unwrap(), b"data: 1\n\r\n");
    connection
}

/// Waits on a challenge, during which something happens, and then it is passed.
async fn waits(door: &Door, credentials: &str, meanwhile: impl FnOnce()) -> (u16, serde_json::Value) {
    let api = door.ledger.replace("ledger", "api");
    let lines = format!("Authorization: {credentials}\r\nPrefer: wait=60\r\n{JSON}");
    let waiting = door.ask_at(&api, "POST /payments/42/approve", &lines, LARGE);
    let answering = async {
        while door.store.state.lock().challenges.is_empty() {
            tokio::task::yield_now().await;
        }
        meanwhile();
        door.pass(door.only_challenge().id);
    };
    let ((head, body), ()) = tokio::join!(waiting, answering);
    (head.status(), serde_json::from_str(&body).unwrap_or_default())
}

#[tokio::test]
async fn b106_a_wait_ends_as_the_token_it_began_with_is_worth_now() {
    let door = open(Recorder::start().await).await;
    assert_eq!(waits(&door, ALICE, || {}).await.0, 200);
    assert_eq!(door.recorder.count(), 1);
    let door = open(Recorder::start().await).await;
    let (status, problem) = waits(&door, ALICE, || door.clock.advance(Duration::from_secs(300))).await;
    assert_eq!((status, &problem["what"]), (401, &"token_expired".into()));
    let other = open(Recorder::start().await).await;
    let (status, problem) = waits(&other, ALICE, || other.forgets("alice")).await;
    assert_eq!((status, &problem["what"]), (401, &"token_of_nobody_here".into()));
    let third = open(Recorder::start().await).await;
    let (status, problem) = waits(&third, ALICE, || third.reload(|_| None)).await;
    assert_eq!((status, &problem["what"]), (401, &"token_configuration".into()));
    let fourth = open(Recorder::start().await).await;
    assert_eq!(waits(&fourth, ALICE, || fourth.groups("alice", &[])).await.0, 403);
    for door in [door, other, third, fourth] {
        assert_eq!(door.recorder.count(), 0);
    }
}

/// A request whose body's second half comes after something happened.
async fn slowly(door: &Door, host: &str, first: &str, lines: &str, body: &str, meanwhile: impl FnOnce()) -> u16 {
    let mut connection = Connection::open(door.address).await;
    let (early, late) = body.split_at(body.len() / 2);
    let length = body.len();
    let head = format!("{first} HTTP/1.1\r\nHost: {host}\r\n{lines}Content-Length: {length}\r\n\r\n{early}");
    connection.send(head.as_bytes()).await;
    a_while().await;
    meanwhile();
    connection.send(late.as_bytes()).await;
    connection.response().await.unwrap().0.status()
}

#[tokio::test]
async fn b107_a_body_that_comes_slowly_outlives_no_token() {
    let door = open(Recorder::start().await).await;
    let api = door.ledger.replace("ledger", "api");
    let lines = format!("Authorization: {ALICE}\r\n{JSON}");
    for (meanwhile, expected) in [("nothing", 200), ("exp", 401), ("group", 403)] {
        let happens = || match meanwhile {
            "exp" => door.clock.advance(Duration::from_secs(300)),
            "group" => door.groups("alice", &[]),
            _ => {}
        };
        let status = slowly(&door, &api, "POST /payments/42/approve", &lines, r#"{"amount":1}"#, happens).await;
        assert_eq!(status, expected, "{meanwhile}");
    }
    assert_eq!(door.recorder.count(), 1);
}

#[tokio::test]
async fn b107_a_body_that_comes_slowly_outlives_no_confirmation_and_no_session() {
    let door = open(Recorder::start().await).await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{JSON}", ada.cookie());
    let first = "POST /payments/42/approve";
    assert_eq!(door.ask(first, &lines, LARGE).await.0.status(), 401);
    door.pass(door.only_challenge().id);
    let late = || door.clock.advance(Duration::from_secs(300));
    assert_ne!(slowly(&door, &door.ledger, first, &lines, LARGE, late).await, 200);
    let ended = || door.store.change(|state| state.ended.push(ada.session));
    assert_eq!(slowly(&door, &door.ledger, first, &lines, r#"{"amount":1}"#, ended).await, 401);
    assert_eq!(door.recorder.count(), 0);
}

#[tokio::test]
async fn b107_a_request_that_is_asked_about_is_asked_by_who_is_there_when_its_body_is() {
    let policies = format!("{POLICIES}{CONFIRM_WRITES}");
    let door = Door::deciding_by(&policies, Recorder::start().await).await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{JSON}", ada.cookie());
    let first = "POST /anything";
    // A challenge is opened when its body is there, and by the clock of then.
    let begun = door.flows.clock.now();
    assert_eq!(
        slowly(&door, &door.ledger, first, &lines, LARGE, || door.clock.advance(Duration::from_secs(9))).await,
        401
    );
    assert_eq!(door.only_challenge().opened_at, begun.plus(Duration::from_secs(9)));
    door.store.change(|state| state.challenges.clear());
    let ended = || door.store.change(|state| state.ended.push(ada.session));
    assert_eq!(slowly(&door, &door.ledger, first, &lines, LARGE, ended).await, 401);
    assert!(door.store.state.lock().challenges.is_empty(), "nobody is asked who is gone");
}

const CONFIRM_WRITES: &str = r#"
@id("writes") @reason("Confirm.")
forbid (principal, action == Action::"write", resource) unless { context.confirmed.contains("passkey") };
"#;
