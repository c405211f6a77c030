//! Other systems: the directory that adds people and takes them out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use stepgate::system::SystemClock;
use stepgate_core::factor::FactorKind;
use stepgate_core::person::Login;
use stepgate_core::ports::{EntryQuery, Streams as _};
use stepgate_core::time::Clock as _;
use stepgate_testkit::{Answer, Person, Postgres, RecordingUpstream, Signer, totp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::company_login::Company;
use crate::streams::{HANDSHAKE, open, streaming};
use crate::world::{Behind, Member, Payments, World, enrol, said};

pub(crate) const MACHINES: &str =
    "[machines]\nlisten = \"127.0.0.1:0\"\norigin = \"http://localhost:4182\"\n[machines.scim]\n";

const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

/// A system with a token for the machines' listener.
pub(crate) struct System {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl System {
    /// One that may do this, with a token that the program made.
    pub(crate) fn new(world: &World, name: &str, scopes: &[&str], more: &[&str]) -> Self {
        let mut arguments = vec!["machines", "add", name, "--json"];
        scopes.iter().for_each(|scope| arguments.extend(["--scope", *scope]));
        arguments.extend(more);
        let added = world.command(&arguments);
        assert!(added.status.success(), "{}", said(&added));
        let told: Value = serde_json::from_slice(&added.stdout).unwrap();
        let address = world.gate.machines.expect("the machines' listener is open");
        let token = told["token"].as_str().unwrap().to_owned();
        Self { client: reqwest::Client::new(), base: format!("http://{address}"), token }
    }

    /// Its token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut call = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if !body.is_null() {
            call = call.header("content-type", "application/json").body(body.to_string());
        }
        let answer = call.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }
}

/// Payments behind a gate that machines may call.
pub(crate) fn with_machines(payments: &Payments, machines: &str) -> Behind {
    let behind = payments.behind();
    let operations = format!("{}\n{machines}", behind.operations);
    // Each test leaks one small text and ends.
    Behind { operations: Box::leak(operations.into_boxed_str()), ..behind }
}

#[tokio::test]
async fn b99_who_is_unknown_is_answered_before_the_body() {
    let payments = Payments::start().await;
    let world = World::start(with_machines(&payments, MACHINES)).await;
    let directory = System::new(&world, "entra", &["scim"], &[]);
    let address = world.gate.machines.expect("the machines' listener is open");
    // The head of a large request, whose body does not come: what is said before?
    let said = async |token: &str| {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /scim/v2/Users HTTP/1.1\r\nHost: localhost:4182\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: 2000000\r\n\r\n{{"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut line)).await;
        read.ok().map(|read| read.map(|_| String::from_utf8_lossy(&line).into_owned()).unwrap())
    };
    assert_eq!(said("nonsense").await.as_deref(), Some("HTTP/1.1 401"));
    assert_eq!(said(&directory.token).await, None, "who is known is waited for");
}

/// Connects, sends this, and gives the connection.
async fn sent(world: &World, text: &str) -> tokio::net::TcpStream {
    let address = world.gate.machines.expect("the machines' listener is open");
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    socket
}

/// The head of an answer that has no body.
async fn head_of(mut socket: tokio::net::TcpStream) -> (String, tokio::net::TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).await.unwrap();
        head.push(byte[0]);
    }
    (String::from_utf8(head).unwrap().to_lowercase(), socket)
}

#[tokio::test]
async fn b99_b129_bodies_have_a_room_with_a_share_for_each_caller() {
    let payments = Payments::start().await;
    let world = World::start(with_machines(&payments, MACHINES)).await;
    let directory = System::new(&world, "entra", &["scim"], &[]);
    let others = ["a", "b", "c", "d"].map(|name| System::new(&world, name, &["scim"], &[]));
    let framed = |by: &System, framing: &str| {
        format!(
            "POST /scim/v2/Users HTTP/1.1\r\nHost: localhost:4182\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n{framing}\r\n\r\n",
            by.token
        )
    };
    let post = |by: &System, bytes: usize| framed(by, &format!("Content-Length: {bytes}"));
    let (beyond, _) = head_of(sent(&world, &post(&directory, (2 << 20) + 1)).await).await;
    assert!(beyond.starts_with("http/1.1 413"), "{beyond}");
    // Who says that little comes takes little.
    let mut small = Vec::new();
    for _ in 0..40 {
        small.push(sent(&world, &post(&directory, 1_024)).await);
    }
    added(&directory, "ada", "1").await;
    drop(small);
    // More bodies of one caller than its quarter has room for, and none of them comes: just what is above is answered.
    // Who does not say how much comes may send the most.
    let mut waiting = tokio::task::JoinSet::new();
    let fill = async |waiting: &mut tokio::task::JoinSet<_>, by: &System, bodies: usize| {
        for number in 0..bodies {
            let text = if number % 2 == 0 { post(by, 2 << 20) } else { framed(by, "Transfer-Encoding: chunked") };
            waiting.spawn(head_of(sent(&world, &text).await));
        }
    };
    fill(&mut waiting, &directory, 5).await;
    let (refused, _) = waiting.join_next().await.unwrap().unwrap();
    assert!(refused.starts_with("http/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: 10\r\n"), "{refused}");
    assert_eq!(waiting.len(), 4, "whoever found room keeps it");
    // Another caller finds room meanwhile.
    added(&others[0], "eve", "3").await;
    // All together have no more than the room.
    for other in &others[..3] {
        fill(&mut waiting, other, 4).await;
    }
    fill(&mut waiting, &others[3], 1).await;
    let (refused, _) = waiting.join_next().await.unwrap().unwrap();
    assert!(refused.starts_with("http/1.1 503"), "{refused}");
    assert_eq!(waiting.len(), 16, "whoever found room keeps it");
    // Whoever goes leaves their room to others.
    waiting.shutdown().await;
    added(&directory, "bob", "2").await;
}

#[tokio::test]
async fn b99_so_many_connections_and_no_more_are_served_at_once() {
    let payments = Payments::start().await;
    let world = World::start(with_machines(&payments, MACHINES)).await;
    let ask = "GET /scim/v2/Users HTTP/1.1\r\nHost: localhost:4182\r\n\r\n";
    let mut seated = Vec::new();
    for _ in 0..1_000 {
        let (head, socket) = head_of(sent(&world, ask).await).await;
        assert!(head.starts_with("http/1.1 401"), "{head}");
        seated.push(socket);
    }
    let mut next = tokio::spawn(head_of(sent(&world, ask).await));
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut next).await.is_err(), "there is no seat");
    seated.pop();
    let (head, _) = tokio::time::timeout(Duration::from_secs(60), next).await.unwrap().unwrap();
    assert!(head.starts_with("http/1.1 401"), "{head}");
}

/// Somebody whom the directory added to the group `finance`, enrolled and signed in at the service.
async fn provisioned(world: &World, directory: &System, login: &str) -> (Member, String) {
    let user = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": login });
    let (status, user) = directory.call("POST", "/scim/v2/Users", &user).await;
    assert_eq!(status, 201, "{user}");
    let id = user["id"].as_str().unwrap().to_owned();
    let group = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "finance",
        "members": [{ "value": id }] });
    let (status, group) = directory.call("POST", "/scim/v2/Groups", &group).await;
    assert_eq!(status, 201, "{group}");
    let flows = &world.gate.flows;
    let person = flows.store.person(id.parse().unwrap()).await.unwrap().unwrap();
    let kinds = vec![FactorKind::Password, FactorKind::PASSKEY, FactorKind::Totp];
    let link = flows.make_link(&person, kinds, Duration::from_secs(600), "test").await.unwrap().url;
    let browser = Person::new();
    let secret = enrol(&browser, &link, |secret| totp::code_at(secret, world.clock.now())).await;
    let member = Member { person: browser, login: login.to_owned(), secret };
    let page = member.sign_in_at(&world.at_service("/payments")).await;
    assert!(page.status.is_success(), "{}", page.told());
    (member, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_in_the_directory_is_out_of_everything() {
    let payments = streaming().await;
    let world = World::start(with_machines(&payments, MACHINES)).await;
    let directory = System::new(&world, "hr", &["scim"], &[]);
    let (ada, id) = provisioned(&world, &directory, "ada").await;
    let mut socket = open(&world, &ada, "/socket", HANDSHAKE, "\r\n\r\n").await;
    // A large payment is held, waiting for her passkey.
    let list = ada.person.open(&world.at_service("/payments")).await;
    assert!(list.status.is_success());
    let url = world.at_service("/payments/42/approve");
    let held = ada.person.fetch(list.url.as_str(), reqwest::Method::POST, &url, &FORM, "amount=12000").await;
    assert_eq!(held.status, 401, "{}", held.told());

    let off = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{ "op": "Replace", "path": "active", "value": "False" }] });
    let (status, user) = directory.call("PATCH", &format!("/scim/v2/Users/{id}"), &off).await;
    assert_eq!((status, &user["active"]), (200, &json!(false)), "{user}");

    let mut rest = Vec::new();
    // An abortive end is an end too.
    let _ = socket.read_to_end(&mut rest).await;
    let again = ada.person.open_once(&world.at_service("/payments")).await;
    assert!(again.status.is_redirection(), "{}", again.told());
    let person = id.parse().unwrap();
    let store = &world.gate.flows.store;
    assert!(store.factors(person).await.unwrap().is_empty());
    assert!(store.sessions(person, world.clock.now()).await.unwrap().is_empty());
    let refused = ada.sign_in_at(&world.at_service("/payments")).await;
    assert_ne!(refused.url.path(), "/payments", "{}", refused.told());
    let nobody = world.gate.flows.store.person_by_login(&Login::parse("ada").unwrap()).await.unwrap().unwrap();
    assert!(!nobody.active);
    assert!(payments.approvals().is_empty());
    // The same token says nothing once it is revoked.
    let revoked = world.command(&["machines", "remove", "hr"]);
    assert!(revoked.status.success(), "{}", said(&revoked));
    assert_eq!(directory.call("GET", "/scim/v2/Users", &Value::Null).await.0, 401);
    world.verified_evidence();
}

/// Adds somebody by SCIM and gives their id.
pub(crate) async fn added(directory: &System, login: &str, external_id: &str) -> String {
    let user = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": login,
        "externalId": external_id });
    let (status, user) = directory.call("POST", "/scim/v2/Users", &user).await;
    assert_eq!(status, 201, "{user}");
    user["id"].as_str().unwrap().to_owned()
}

/// Replaces one attribute of somebody.
pub(crate) async fn replace(directory: &System, id: &str, path: &str, value: Value) {
    let patch = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{ "op": "replace", "path": path, "value": value }] });
    let (status, user) = directory.call("PATCH", &format!("/scim/v2/Users/{id}"), &patch).await;
    assert_eq!(status, 200, "{user}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_provisioned_signs_in_at_the_company_at_once_as_long_as_they_are_that_subject() {
    let linked = format!("{MACHINES}provider = \"corp\"\n");
    let company = Company::before(Payments::start().await, false, &linked).await;
    let world = &company.world;
    let directory = System::new(world, "hr", &["scim"], &[]);
    // Whom nobody provisioned would be added by signing in; who was is that person, whatever they are called there.
    let id = added(&directory, "lovelace", "00u1").await;
    let ada = Person::new();
    let list = company.arrive(&ada, "/payments").await;
    assert_eq!(list.url.as_str(), world.at_service("/payments"), "{}", list.told());
    let store = &world.gate.flows.store;
    assert_eq!(store.people(None, 10).await.unwrap().len(), 1, "nobody is added beside them");
    assert_eq!(store.sessions(id.parse().unwrap(), world.now()).await.unwrap().len(), 1);
    replace(&directory, &id, "externalId", json!("00u8")).await;
    assert!(ada.open_once(&world.at_service("/payments")).await.status.is_redirection());
    assert!(store.sessions(id.parse().unwrap(), world.now()).await.unwrap().is_empty());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_listener_serves_nothing_else_and_its_tokens_are_good_nowhere_else() {
    let payments = Payments::start().await;
    let world = World::start(with_machines(&payments, MACHINES)).await;
    let directory = System::new(&world, "hr", &["scim"], &[]);
    for path in ["/", "/sign-in", "/account", "/payments", "/scim/v1/Users", "/scim/v2x"] {
        assert_eq!(directory.call("GET", path, &Value::Null).await.0, 404, "{path}");
    }
    let host = format!("ledger.localhost:{}", world.port);
    let service = format!("http://127.0.0.1:{}/payments", world.port);
    let call = reqwest::Client::new().get(&service).header("host", host).bearer_auth(&directory.token);
    assert_eq!(call.send().await.unwrap().status(), 401);
    assert!(payments.0.requests().is_empty());
}

/// A transmitter of security events, its keys at an address on this machine.
pub(crate) struct Corp {
    signer: Signer,
    _keys: RecordingUpstream,
    url: String,
}

const CORP: &str = "https://idp.example/tenant";

impl Corp {
    pub(crate) async fn start() -> Self {
        let signer = Signer::new("RS256", "one");
        let jwks = json!({ "keys": [signer.jwk()] }).to_string();
        let keys = RecordingUpstream::start(move |_| Answer::new(200, &[("Content-Type", "application/json")], &jwks));
        let keys = keys.await;
        let url = keys.url();
        Self { signer, _keys: keys, url }
    }

    pub(crate) fn configured(&self) -> String {
        format!(
            "{MACHINES}[[machines.transmitter]]\nname = \"corp\"\nissuer = \"{CORP}\"\naudience = \"gate\"\n\
             jwks_uri = \"{}/jwks\"\nemails = true\ndanger_loopback = true\n",
            self.url
        )
    }

    /// An event about somebody, by their subject at a provider.
    pub(crate) fn told_of(&self, world: &World, id: &str, (issuer, subject): (&str, &str), kind: &str) -> String {
        let claims = json!({
            "iss": CORP, "aud": "gate", "jti": id, "iat": world.clock.now().as_ms() / 1000,
            "sub_id": { "format": "iss_sub", "iss": issuer, "sub": subject },
            "events": { format!("https://schemas.openid.net/secevent/caep/event-type/{kind}"): {
                "change_type": "revoke", "credential_type": "password", "namespace": "RFC8176", "current_level": "pwd",
                "change_direction": "decrease" } }
        });
        self.signer.sign_with(&json!({ "typ": "secevent+jwt", "alg": "RS256", "kid": "one" }), &claims)
    }

    /// An event about somebody, by address.
    fn event(&self, world: &World, id: &str, login: &str, kind: &str, body: &Value) -> String {
        let claims = json!({
            "iss": CORP, "aud": "gate", "jti": id, "iat": world.clock.now().as_ms() / 1000,
            "sub_id": { "format": "email", "email": format!("{login}@example.test") },
            "events": { format!("https://schemas.openid.net/secevent/caep/event-type/{kind}"): body }
        });
        self.signer.sign_with(&json!({ "typ": "secevent+jwt", "alg": "RS256", "kid": "one" }), &claims)
    }
}

impl System {
    pub(crate) async fn push(&self, set: &str) -> (u16, Value) {
        let call = self.client.post(format!("{}/signals/events", self.base)).bearer_auth(&self.token);
        let answer = call.header("content-type", "application/secevent+jwt").body(set.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }
}

const RISKY: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("risk-needs-a-passkey")
@reason("Something is unusual: your passkey is needed.")
forbid (principal, action, resource in Service::"ledger")
when   { context.risk.level == "high" || context.risk.signals.contains("device_not_compliant") }
unless { context.age.passkey <= duration("5m") };
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_risk_that_another_system_tells_asks_for_a_passkey_at_once() {
    let payments = streaming().await;
    let corp = Corp::start().await;
    let behind = with_machines(&payments, &corp.configured());
    let world = World::start(Behind { policies: RISKY, ..behind }).await;
    let pusher = System::new(&world, "idp", &["signals.push"], &["--transmitter", "corp"]);
    let ada = world.ada().await;
    world.clock.advance(Duration::from_secs(600));
    ada.sign_in_at(&world.at_service("/payments")).await;
    let mut socket = open(&world, &ada, "/socket", HANDSHAKE, "\r\n\r\n").await;
    assert!(ada.person.open_once(&world.at_service("/payments")).await.status.is_success());

    let high = json!({ "principal": "USER", "current_level": "HIGH" });
    let set = corp.event(&world, "1", "ada", "risk-level-change", &high);
    assert_eq!(pusher.push(&set).await, (202, Value::Null));
    // What is open ends and is decided anew when it is opened again.
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    let asked = ada.person.open(&world.at_service("/payments")).await;
    assert!(asked.url.path().starts_with("/challenges/"), "{}", asked.told());
    let gone_on = ada.person.touch(&asked).await;
    assert!(gone_on.status.is_success(), "{}", gone_on.told());
    assert!(ada.person.open_once(&world.at_service("/payments")).await.status.is_success());

    // The same event again is taken again and does nothing; its answer is the same.
    assert_eq!(pusher.push(&set).await.0, 202);
    let low =
        corp.event(&world, "2", "ada", "risk-level-change", &json!({ "principal": "USER", "current_level": "LOW" }));
    assert_eq!(pusher.push(&low).await.0, 202);
    world.clock.advance(Duration::from_secs(600));
    assert!(ada.person.open_once(&world.at_service("/payments")).await.status.is_success());
    world.verified_evidence();
}

const COOL_OFF: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("cool-off")
@reason("A way to prove who you are was changed a moment ago: approvals wait for a day.")
forbid (principal, action == Action::"payments.approve", resource in Service::"ledger")
when   { context.risk.signals.contains("credential_change") };
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_was_changed_elsewhere_is_a_signal_that_rules_see_until_it_is_over() {
    let payments = Payments::start().await;
    let corp = Corp::start().await;
    let behind = with_machines(&payments, &corp.configured());
    let world = World::start(Behind { policies: COOL_OFF, ..behind }).await;
    let pusher = System::new(&world, "idp", &["signals.push"], &["--transmitter", "corp"]);
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let approve = async || ada.person.submit(&list, &list.form_with("small")).await;
    assert!(approve().await.text().contains("Approved"));
    // Made or changed, it is a signal; the session goes on.
    for (number, change) in [("1", "create"), ("2", "update")] {
        let body = json!({ "credential_type": "fido2-roaming", "change_type": change });
        let set = corp.event(&world, number, "ada", "credential-change", &body);
        assert_eq!(pusher.push(&set).await, (202, Value::Null));
        let waits = approve().await;
        assert_eq!(waits.status, 403, "{}", waits.told());
        assert!(waits.text().contains("approvals wait for a day"), "{}", waits.told());
        assert!(ada.person.open_once(&world.at_service("/payments")).await.status.is_success());
    }
    // Taken away, it ends what was signed in, too.
    let body = json!({ "credential_type": "fido2-roaming", "change_type": "delete" });
    assert_eq!(pusher.push(&corp.event(&world, "3", "ada", "credential-change", &body)).await.0, 202);
    assert!(ada.person.open_once(&world.at_service("/payments")).await.status.is_redirection());
    world.clock.advance(Duration::from_secs(600));
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    assert_eq!(ada.person.submit(&list, &list.form_with("small")).await.status, 403, "it counts for a day");
    world.clock.advance(Duration::from_secs(86_400));
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let approved = ada.person.submit(&list, &list.form_with("small")).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    assert_eq!(payments.bodies().len(), 2);
    world.verified_evidence();
}

/// What is promised is a second; a loaded machine gets ten.
const A_SECOND_TENFOLD: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_at_one_node_ends_at_another_within_a_second() {
    let payments = Payments::start().await;
    let corp = Corp::start().await;
    let store = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let world = World::on_store(with_machines(&payments, &corp.configured()), &store).await;
    let other = world.another_node().await;
    let directory = System::new(&world, "hr", &["scim"], &[]);
    let pusher = System::new(&world, "idp", &["signals.push"], &["--transmitter", "corp"]);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let cookie = |member: &Member| member.person.cookie("ledger.localhost", "stepgate").unwrap();
    // The same session at the other node, where it is known by now.
    let there = async |token: &str| {
        let call = client.get(format!("http://{}/payments", other.addresses[0]));
        let call = call.header("host", format!("ledger.localhost:{}", world.port)).header("accept", "text/html");
        call.header("cookie", format!("stepgate={token}")).send().await.unwrap().status()
    };
    let ends_there = async |what: &str, token: &str| {
        let since = SystemClock.now();
        let ends = async {
            while there(token).await.is_success() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(A_SECOND_TENFOLD, ends).await.unwrap_or_else(|_| panic!("{what} was not known there"));
        let late = SystemClock.now().since(since).unwrap_or_default();
        println!("{what}: known at the other node {} ms after its answer", late.as_millis());
    };

    let (zoe, id) = provisioned(&world, &directory, "zoe").await;
    assert!(there(&cookie(&zoe)).await.is_success());
    replace(&directory, &id, "active", json!(false)).await;
    ends_there("a leaver in the directory", &cookie(&zoe)).await;

    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;
    assert!(there(&cookie(&ada)).await.is_success());
    assert_eq!(pusher.push(&corp.event(&world, "1", "ada", "session-revoked", &json!({}))).await.0, 202);
    ends_there("a signal that a session was revoked", &cookie(&ada)).await;
    other.stop().await;
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_another_system_revokes_is_over_and_what_is_no_event_is_told_so() {
    let payments = Payments::start().await;
    let corp = Corp::start().await;
    let world = World::start(with_machines(&payments, &corp.configured())).await;
    let pusher = System::new(&world, "idp", &["signals.push"], &["--transmitter", "corp"]);
    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;

    let mut set = corp.event(&world, "1", "ada", "session-revoked", &json!({}));
    let good = set.clone();
    set.truncate(set.len() - 4);
    let (status, said) = pusher.push(&set).await;
    assert_eq!((status, &said["err"]), (400, &json!("authentication_failed")), "{said}");
    let directory = System::new(&world, "hr", &["scim"], &[]);
    assert_eq!(directory.push(&good).await.0, 403);
    // Of somebody who is not known it is taken, and does nothing.
    let nobody = corp.event(&world, "2", "nobody", "session-revoked", &json!({}));
    assert_eq!(pusher.push(&nobody).await.0, 202);
    assert!(ada.person.open_once(&world.at_service("/payments")).await.status.is_success());

    assert_eq!(pusher.push(&good).await.0, 202);
    assert!(ada.person.open_once(&world.at_service("/payments")).await.status.is_redirection());
    world.verified_evidence();
}

const TELLS: &str = "[machines]\nlisten = \"127.0.0.1:0\"\norigin = \"http://localhost:4182\"\n\
    [machines.streams]\ndanger_loopback = true\n";
const SELF: &str = "http://localhost:4182";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";

/// The claims of a token that this transmitter signed, verified by its published keys.
async fn verified(system: &System, token: &str) -> Value {
    use stepgate_identity::jws::Jws;
    use stepgate_identity::keys::{Algorithm, KeySet, Keys};
    let (status, jwks) = system.call("GET", "/ssf/jwks.json", &Value::Null).await;
    assert_eq!(status, 200);
    let keys = Keys::fixed(KeySet::read(jwks.to_string().as_bytes()).unwrap());
    let read = Jws::read(token, 10_000).unwrap();
    assert_eq!(read.kind().as_deref(), Some("secevent+jwt"));
    let now = stepgate_testkit::clock::BEGINNING;
    let verified = read.verify(&keys, &[Algorithm::Rs256], now).await.unwrap();
    Value::Object(verified.claims.object().clone())
}

impl System {
    /// Fetches until there is something.
    async fn fetch(&self, endpoint: &str, question: &Value) -> Vec<(String, String)> {
        let path = endpoint.strip_prefix(SELF).unwrap();
        for _ in 0..40 {
            let (status, answer) = self.call("POST", path, question).await;
            assert_eq!(status, 200, "{answer}");
            let sets = answer["sets"].as_object().unwrap();
            if !sets.is_empty() {
                return sets.iter().map(|(id, set)| (id.clone(), set.as_str().unwrap().to_owned())).collect();
            }
        }
        panic!("nothing came");
    }
}

/// SSF 1.0, section 8.1, as its conformance tests go through it: created, doubled, read, changed, replaced, paused, verified, deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_set_up_verified_and_tells_of_a_session_that_ended() {
    let payments = Payments::start().await;
    let world = World::start(with_machines(&payments, TELLS)).await;
    let sp = System::new(&world, "sp", &["ssf.manage"], &[]);
    let (status, told) = sp.call("GET", "/.well-known/ssf-configuration", &Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!((&told["spec_version"], &told["issuer"]), (&json!("1_0"), &json!(SELF)));
    assert_eq!(told["delivery_methods_supported"], json!(["urn:ietf:rfc:8935", "urn:ietf:rfc:8936"]));
    assert_eq!(told["authorization_schemes"][0]["spec_urn"], "urn:ietf:rfc:6749");

    let wanted =
        json!({ "events_requested": [format!("{CAEP}session-revoked"), "urn:unknown"], "description": "ours" });
    let (status, stream) = sp.call("POST", "/ssf/streams", &wanted).await;
    assert_eq!(status, 201, "{stream}");
    // Without a delivery it is fetched.
    assert_eq!(stream["delivery"]["method"], "urn:ietf:rfc:8936");
    assert_eq!(stream["events_delivered"], json!([format!("{CAEP}session-revoked")]));
    let id = stream["stream_id"].as_str().unwrap().to_owned();
    assert_eq!(sp.call("POST", "/ssf/streams", &json!({})).await.0, 409);
    let named = format!("/ssf/streams?stream_id={id}");
    assert_eq!(sp.call("GET", &named, &Value::Null).await, (200, stream.clone()));
    assert_eq!(sp.call("GET", "/ssf/streams", &Value::Null).await.1, json!([stream]));
    let other = System::new(&world, "other", &["ssf.manage"], &[]);
    assert_eq!(other.call("GET", &named, &Value::Null).await.0, 404);
    let reader = System::new(&world, "reader", &["ssf.read"], &[]);
    assert_eq!(reader.call("POST", "/ssf/streams", &json!({})).await.0, 403);

    let changed = json!({ "stream_id": id, "description": "changed" });
    let (status, told) = sp.call("PATCH", "/ssf/streams", &changed).await;
    assert_eq!(
        (status, &told["description"], &told["events_requested"]),
        (200, &json!("changed"), &stream["events_requested"])
    );
    let (status, told) = sp.call("PUT", "/ssf/streams", &json!({ "stream_id": id })).await;
    assert_eq!((status, told["events_delivered"].as_array().unwrap().len()), (200, 3));
    for bad in ["ftp://x", "https://u:p@sp.example", "http://10.0.0.1/events"] {
        let push = json!({ "stream_id": id, "delivery": { "method": "urn:ietf:rfc:8935", "endpoint_url": bad } });
        assert_eq!(sp.call("PATCH", "/ssf/streams", &push).await.0, 400, "{bad}");
    }

    let endpoint = stream["delivery"]["endpoint_url"].as_str().unwrap();
    let verify = json!({ "stream_id": id, "state": "VGhpcyBpcyBhbiBleGFtcGxl" });
    assert_eq!(sp.call("POST", "/ssf/verify", &verify).await.0, 204);
    let now = json!({ "returnImmediately": true });
    let sets = sp.fetch(endpoint, &now).await;
    let claims = verified(&sp, &sets[0].1).await;
    assert_eq!(claims["sub_id"], json!({ "format": "opaque", "id": id }));
    let body = &claims["events"]["https://schemas.openid.net/secevent/ssf/event-type/verification"];
    assert_eq!(body["state"], "VGhpcyBpcyBhbiBleGFtcGxl");

    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;
    let person = world.gate.flows.store.person_by_login(&Login::parse("ada").unwrap()).await.unwrap().unwrap();
    deactivate(&world, "ada").await;
    let acked = json!({ "ack": [sets[0].0], "maxEvents": 10 });
    let mut kinds = Vec::new();
    let mut question = acked;
    while !kinds.iter().any(|kind: &String| kind.ends_with("session-revoked")) {
        let sets = sp.fetch(endpoint, &question).await;
        for (_, set) in &sets {
            let claims = verified(&sp, set).await;
            for absent in ["exp", "sub"] {
                assert!(claims.get(absent).is_none(), "{claims}");
            }
            assert_eq!((&claims["iss"], &claims["aud"]), (&json!(SELF), &json!("sp")));
            assert!(claims["txn"].is_string() && claims["jti"].is_string() && claims["iat"].is_number());
            let events = claims["events"].as_object().unwrap();
            assert_eq!(events.len(), 1);
            let subject = claims["sub_id"].get("user").unwrap_or(&claims["sub_id"]);
            assert_eq!(subject["sub"], person.id.to_string());
            kinds.extend(events.keys().cloned());
        }
        question = json!({ "ack": sets.iter().map(|(id, _)| id).collect::<Vec<_>>() });
    }
    assert!(kinds.iter().any(|kind| kind.ends_with("credential-change")), "{kinds:?}");

    let status = json!({ "stream_id": id, "status": "paused", "reason": "maintenance" });
    let (code, told) = sp.call("POST", "/ssf/status", &status).await;
    assert_eq!((code, &told["status"]), (200, &json!("paused")));
    assert_eq!(sp.call("GET", &format!("/ssf/status?stream_id={id}"), &Value::Null).await.1, told);
    assert_eq!(sp.call("POST", "/ssf/status", &json!({ "stream_id": id, "status": "off" })).await.0, 400);
    let subject =
        json!({ "stream_id": id, "subject": { "format": "iss_sub", "iss": SELF, "sub": person.id.to_string() } });
    assert_eq!(sp.call("POST", "/ssf/subjects:remove", &subject).await.0, 204);
    assert_eq!(sp.call("POST", "/ssf/subjects:add", &subject).await.0, 200);
    assert_eq!(sp.call("DELETE", &named, &Value::Null).await.0, 204);
    assert_eq!(sp.call("GET", &named, &Value::Null).await.0, 404);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_is_told_that_somebodys_level_rose_and_fell() {
    let payments = Payments::start().await;
    let corp = Corp::start().await;
    let tells = format!("{}[machines.streams]\ndanger_loopback = true\n", corp.configured());
    let world = World::start(with_machines(&payments, &tells)).await;
    let sp = System::new(&world, "sp", &["ssf.manage"], &[]);
    let pusher = System::new(&world, "idp", &["signals.push"], &["--transmitter", "corp"]);
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let wanted = json!({ "events_requested": [format!("{CAEP}assurance-level-change")] });
    let (status, stream) = sp.call("POST", "/ssf/streams", &wanted).await;
    assert_eq!(status, 201, "{stream}");

    // She confirms with her passkey, for this payment alone; then the company says that her session is worth less.
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    let approved = ada.person.touch(&asked).await;
    assert!(approved.status.is_success(), "{}", approved.told());
    let less = json!({ "namespace": "RFC8176", "current_level": "pwd", "change_direction": "decrease" });
    let set = corp.event(&world, "1", "ada", "assurance-level-change", &less);
    assert_eq!(pusher.push(&set).await.0, 202);

    let endpoint = stream["delivery"]["endpoint_url"].as_str().unwrap();
    let (mut told, mut question) = (Vec::new(), json!({}));
    while told.len() < 2 {
        let sets = sp.fetch(endpoint, &question).await;
        for (_, set) in &sets {
            let claims = verified(&sp, set).await;
            assert_eq!(claims["sub_id"]["format"], "complex", "of one session: {claims}");
            told.push(claims["events"][format!("{CAEP}assurance-level-change")].clone());
        }
        question = json!({ "ack": sets.iter().map(|(id, _)| id).collect::<Vec<_>>() });
    }
    let levels: Vec<_> = told
        .iter()
        .map(|body| {
            ["change_direction", "previous_level", "current_level", "initiating_entity"].map(|name| body[name].clone())
        })
        .collect();
    let rose = [json!("increase"), Value::Null, json!("swk"), json!("user")];
    let fell = [json!("decrease"), json!("pwd"), json!("none"), json!("policy")];
    assert_eq!(levels, [rose, fell], "{told:?}");
    assert_eq!(told[1]["namespace"], format!("{}/ssf/levels", SELF));
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_key_of_signals_is_published_beside_the_former_and_is_in_the_evidence() {
    let payments = Payments::start().await;
    let world = World::start(with_machines(&payments, TELLS)).await;
    let sp = System::new(&world, "sp", &["ssf.manage"], &[]);
    let kids = || async {
        let jwks = sp.call("GET", "/ssf/jwks.json", &Value::Null).await.1;
        jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = kids().await;
    let rotated = world.command(&["keys", "rotate", "signals", "--publish-for", "2m", "--json"]);
    assert!(rotated.status.success(), "{}", said(&rotated));
    let next: Value = serde_json::from_slice(&rotated.stdout).unwrap();
    let listed = said(&world.command(&["keys", "show"]));
    assert!(listed.contains("signs security events") && listed.contains(next["key"].as_str().unwrap()), "{listed}");
    world.gate.reload().await.unwrap();
    assert_eq!(kids().await, [next["key"].as_str().unwrap(), &first[0]]);
    let tail = said(&world.command(&["audit", "tail", "-n", "5"]));
    assert!(tail.contains("signals key"), "{tail}");
    world.verified_evidence();
}

/// Somebody leaves, by the clock of their gate.
pub(crate) async fn deactivate(world: &World, login: &str) {
    let flows = std::sync::Arc::clone(&world.gate.flows);
    let person = flows.store.person_by_login(&Login::parse(login).unwrap()).await.unwrap().unwrap();
    let accounts = std::sync::Arc::clone(&world.gate.database) as _;
    let provisioning = stepgate_core::flows::Provisioning { flows, accounts, links: None };
    provisioning.set_blocked(person.id, true, "cli:test").await.unwrap();
}

/// Somebody who signs in at one gate with an identity that another gate gave them.
pub(crate) async fn known_elsewhere(here: &World, there: &World, login: &str, issuer: &str) {
    use stepgate_core::factor::{EnrolledFactor, FactorSecret, Identity};
    use stepgate_core::provider::ProviderName;
    let login = Login::parse(login).unwrap();
    let elsewhere = there.gate.flows.store.person_by_login(&login).await.unwrap().unwrap();
    let own = here.gate.flows.store.person_by_login(&login).await.unwrap().unwrap();
    let identity = Identity {
        provider: ProviderName::parse("other").unwrap(),
        issuer: issuer.to_owned(),
        subject: elsewhere.id.to_string(),
    };
    let factor = EnrolledFactor {
        id: stepgate_core::id::Id::from_bytes([9; 16]),
        name: "elsewhere".to_owned(),
        enrolled_at: here.clock.now(),
        last_used_at: None,
        last_used_from: None,
        secret: FactorSecret::Idp(identity),
    };
    let event = stepgate_evidence::Event::Fault { node: "test".to_owned(), what: "an identity".to_owned() };
    let flows = &here.gate.flows;
    flows.store.add_identity(own.id, &factor, flows.entry(here.clock.now(), event)).await.unwrap();
}

/// Two gates: what ends at one ends at the other.
async fn one_gate_tells_another(by_push: bool) {
    let (payments, others) = (Payments::start().await, Payments::start().await);
    let there = World::start(with_machines(&others, TELLS)).await;
    let sp = System::new(&there, "sp", &["ssf.manage"], &[]);
    let at = there.gate.machines.unwrap();
    let mut configured = format!(
        "{MACHINES}[[machines.transmitter]]\nname = \"other\"\nissuer = \"{SELF}\"\naudience = \"sp\"\n\
         jwks_uri = \"http://{at}/ssf/jwks.json\"\ndanger_loopback = true\n"
    );
    let token = tempfile::NamedTempFile::new().unwrap();
    if !by_push {
        let (status, stream) = sp.call("POST", "/ssf/streams", &json!({})).await;
        assert_eq!(status, 201, "{stream}");
        std::fs::write(token.path(), format!("{}\n", sp.token)).unwrap();
        let id = stream["stream_id"].as_str().unwrap();
        configured +=
            &format!("poll = \"http://{at}/ssf/poll/{id}\"\npoll_token_file = \"{}\"\n", token.path().display());
    }
    let here = World::start(with_machines(&payments, &configured)).await;
    if by_push {
        let pusher = System::new(&here, "other", &["signals.push"], &["--transmitter", "other"]);
        let delivery = json!({ "delivery": {
            "method": "urn:ietf:rfc:8935", "endpoint_url": format!("{}/signals/events", pusher.base),
            "authorization_header": format!("Bearer {}", pusher.token)
        } });
        let (status, stream) = sp.call("POST", "/ssf/streams", &delivery).await;
        assert_eq!(status, 201, "{stream}");
        assert!(!stream.to_string().contains(&pusher.token), "what is presented at the receiver is not told back");
    }
    let (ada, twin) = (here.ada().await, there.ada().await);
    known_elsewhere(&here, &there, "ada", SELF).await;
    ada.sign_in_at(&here.at_service("/payments")).await;
    twin.sign_in_at(&there.at_service("/payments")).await;
    assert!(ada.person.open_once(&here.at_service("/payments")).await.status.is_success());

    deactivate(&there, "ada").await;
    let ends = async {
        while !ada.person.open_once(&here.at_service("/payments")).await.status.is_redirection() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ends).await.expect("the session ends here too");
    here.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_at_one_gate_ends_at_another_by_push() {
    one_gate_tells_another(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_at_one_gate_ends_at_another_by_poll() {
    one_gate_tells_another(false).await;
}

/// `jti` of a token, unverified.
fn jti(token: &[u8]) -> String {
    use base64::Engine as _;
    let claims = std::str::from_utf8(token).unwrap().split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

/// The receiver is away and returns, and the gate stops in between: once after an event was put into the stream and
/// before it was delivered, once right after something happened.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_a_receiver_is_away_and_the_gate_stops_and_starts() {
    let is_there = Arc::new(AtomicBool::new(false));
    let looks = Arc::clone(&is_there);
    // Each answer says which it was: what was taken is told from what was not.
    let (tried, taken) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (tries, takes) = (Arc::clone(&tried), Arc::clone(&taken));
    let receiver = RecordingUpstream::start(move |request| {
        let is_there = looks.load(Ordering::SeqCst);
        (if is_there { &takes } else { &tries }).lock().push(jti(&request.body));
        Answer::new(if is_there { 202 } else { 503 }, &[], "")
    });
    let receiver = receiver.await;
    let payments = Payments::start().await;
    let world = World::start(with_machines(&payments, TELLS)).await;
    let sp = System::new(&world, "sp", &["ssf.manage"], &[]);
    let delivery = json!({ "delivery": {
        "method": "urn:ietf:rfc:8935", "endpoint_url": format!("{}/events", receiver.url())
    } });
    let (status, stream) = sp.call("POST", "/ssf/streams", &delivery).await;
    assert_eq!(status, 201, "{stream}");
    let waiting = async |world: &World| {
        let stream = world.gate.database.streams().await.unwrap().remove(0);
        let sets = world.gate.database.waiting(stream.id, 100).await.unwrap();
        sets.into_iter().map(|set| set.id.to_string()).collect::<Vec<_>>()
    };
    let in_time = Duration::from_secs(60);

    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;
    tokio::time::timeout(in_time, async {
        while tried.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the receiver is tried");
    let before = waiting(&world).await;
    assert!(!before.is_empty(), "her factors were enrolled");
    assert_eq!(tried.lock()[0], before[0], "the first is tried first");
    // Something happens, and the gate stops at once.
    deactivate(&world, "ada").await;
    let world = world.restart().await;
    is_there.store(true, Ordering::SeqCst);
    let whole = tokio::time::timeout(in_time, async {
        loop {
            let kept = taken.lock().clone();
            let newest = EntryQuery { before: Some(i64::MAX.unsigned_abs()), limit: 1, ..EntryQuery::default() };
            let newest = world.gate.flows.store.entries(newest).await.unwrap().remove(0);
            let stream = world.gate.database.streams().await.unwrap().remove(0);
            if stream.waiting == 0 && stream.cursor > newest.index && kept.len() > before.len() {
                return kept;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let whole = whole.await.expect("all is delivered");
    assert_eq!(whole[..before.len()], before, "in order, by the names that they had before the gate stopped");
    // What happened just before it stopped: one session ended, three factors went. At least once, so each is counted once.
    let after = whole.iter().collect::<BTreeSet<_>>().len() - before.len();
    assert!(after >= 4, "{after}");
    world.verified_evidence();
}
