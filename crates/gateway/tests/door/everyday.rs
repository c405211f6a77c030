//! What passes without a question, and what does not pass.

use std::sync::{Arc, Mutex};

use stepgate_core::secret::{Purpose, Token};
use stepgate_core::session::Audience;

use crate::recorder::Recorder;
use crate::rig::{Door, JSON, NAVIGATE, POLICIES, browser, browser_cookie, set_cookie};

#[tokio::test]
async fn an_everyday_request_reaches_the_upstream_with_who_asks() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let lines =
        format!("{}Cookie: theme=dark\r\nStepgate_Principal: root\r\nStepgate-Assertion: forged\r\n", ada.cookie());
    let (head, body) = door.ask("GET /payments?x=1", &lines, "").await;
    assert_eq!((head.status(), body.as_str()), (200, "ok"));
    let arrived = door.recorder.last();
    assert_eq!(arrived.target(), "/payments?x=1");
    assert_eq!(arrived.head.one("host"), door.ledger);
    assert_eq!(arrived.head.one("cookie"), "theme=dark");
    assert_eq!(arrived.head.one("stepgate-email"), "ada@example.test");
    assert_eq!(arrived.head.one("stepgate-groups"), "finance,a%2Cb");
    assert_eq!(arrived.head.one("stepgate-request-id"), head.one("stepgate-request-id"));
    assert_eq!(arrived.head.one("stepgate-principal").len(), 32);
    assert!(door.store.state.lock().entries.is_empty(), "everyday requests write nothing");
}

#[tokio::test]
async fn the_assertion_is_verified_with_the_published_key() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    door.ask("GET /payments", &ada.cookie(), "").await;
    let (head, jwks) = door.ask_at(&door.gate, "GET /.well-known/jwks.json", "", "").await;
    assert_eq!(head.status(), 200);
    let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&jwks).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwks.keys[0]).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&["ledger"]);
    validation.set_issuer(&[&door.gate_origin]);
    validation.validate_exp = false;
    let arrived = door.recorder.last();
    let token = arrived.head.one("stepgate-assertion");
    let claims = jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation).unwrap().claims;
    assert_eq!(claims["sub"], arrived.head.one("stepgate-principal"));
    assert_eq!(claims["jti"], arrived.head.one("stepgate-request-id"));
    assert_eq!((claims["acr"].as_str(), claims["amr"][0].as_str()), (Some("password"), Some("pwd")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
    assert_eq!(claims["auth_time"].as_i64().unwrap(), crate::rig::NOON / 1000 - 60);
}

#[tokio::test]
async fn b26_b46_b58_what_is_no_session_is_nobody() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let token = &ada.token;
    let gate = door.sign_in_at("eve", Audience::Gate);
    for cookie in [
        "stepgate=".to_owned(),
        "stepgate=%00".to_owned(),
        format!("stepgate={}", &token[..42]),
        format!("stepgate={token}A"),
        format!("stepgate={token}; stepgate={}", "A".repeat(43)),
        format!("Stepgate={token}"),
        format!("stepgate-browser={token}"),
        format!("stepgate={}", gate.token),
    ] {
        let (head, _) = door.ask("GET /payments", &format!("Cookie: {cookie}\r\n"), "").await;
        assert_eq!(head.status(), 401, "{cookie}");
    }
    assert_eq!(door.recorder.count(), 0);
}

#[tokio::test]
async fn nobody_is_sent_to_sign_in() {
    let door = Door::open().await;
    let (head, _) = door.ask("GET /payments?a=b%20c", NAVIGATE, "").await;
    assert_eq!(head.status(), 303);
    let cookie = set_cookie(&head, "stepgate-browser").unwrap();
    let digest = Token::parse(&cookie).unwrap().digest(Purpose::Browser).to_hex();
    let expected =
        format!("{}/hand-off?service=ledger&to=%2Fpayments%3Fa%3Db%2520c&browser={digest}", door.gate_origin);
    assert_eq!(head.one("location"), expected);
    let (head, body) = door.ask("POST /payments", "Accept: application/json\r\n", "").await;
    assert_eq!(head.status(), 401);
    assert_eq!(head.one("www-authenticate"), "Bearer realm=\"ledger\"");
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["type"], "urn:stepgate:problem:sign-in");
    let (head, _) = door.ask("POST /payments", &format!("{NAVIGATE}Content-Type: text/plain\r\n"), "x=1").await;
    assert_eq!(head.status(), 401);
    assert_eq!(door.recorder.count(), 0);
}

#[tokio::test]
async fn a_hand_off_code_signs_in_once_in_its_own_browser() {
    let door = Door::open().await;
    let gate = door.sign_in_at("ada", Audience::Gate);
    let view = door.store.state.lock().sessions.values().find(|view| view.id == gate.session).unwrap().clone();
    let host = stepgate_core::catalogue::Host::parse("ledger.localhost").unwrap();
    let code = door.flows.hand_off(&view, host, browser().digest(Purpose::Browser)).await.unwrap();
    let first = format!("GET /.stepgate/hand-off?code={}&to=%2Fpayments%3Fx%3D1", code.expose());
    let (head, _) = door.ask(&first, NAVIGATE, "").await;
    assert_eq!(head.status(), 403, "without the browser's cookie");
    let other = "Cookie: stepgate-browser=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";
    let (head, _) = door.ask(&first, &format!("{NAVIGATE}{other}"), "").await;
    assert_eq!(head.status(), 403, "in another browser");
    let (head, _) = door.ask(&first, &format!("{NAVIGATE}{}", browser_cookie()), "").await;
    assert_eq!((head.status(), head.one("location")), (303, "/payments?x=1"));
    let token = set_cookie(&head, "stepgate").unwrap();
    let (head, _) = door.ask("GET /payments", &format!("Cookie: stepgate={token}\r\n"), "").await;
    assert_eq!(head.status(), 200);
    let (head, _) = door.ask(&first, &format!("{NAVIGATE}{}", browser_cookie()), "").await;
    assert_eq!(head.status(), 403, "a second time");
    assert_eq!(door.recorder.count(), 1);
}

#[tokio::test]
async fn b59_the_way_back_never_leads_elsewhere() {
    let door = Door::open().await;
    let gate = door.sign_in_at("ada", Audience::Gate);
    let view = door.store.state.lock().sessions.values().find(|view| view.id == gate.session).unwrap().clone();
    for to in ["//evil.test", "%2F%5Cevil.test", "https:%2F%2Fevil.test", "%2F%09%2Fevil.test", "%2Fa%3Fb%0d%0aX:y", ""]
    {
        let host = stepgate_core::catalogue::Host::parse("ledger.localhost").unwrap();
        let code = door.flows.hand_off(&view, host, browser().digest(Purpose::Browser)).await.unwrap();
        let first = format!("GET /.stepgate/hand-off?code={}&to={to}", code.expose());
        let (head, _) = door.ask(&first, &format!("{NAVIGATE}{}", browser_cookie()), "").await;
        assert_eq!((head.status(), head.one("location")), (303, "/"), "{to}");
    }
}

#[tokio::test]
async fn our_paths_are_never_forwarded_and_other_hosts_are_not_ours() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    for path in ["/.stepgate", "/.stepgate/", "/.stepgate/x", "/.stepgate/resume/zz", "/.stepgate/authz/forward-auth"] {
        let (head, _) = door.ask(&format!("GET {path}"), &ada.cookie(), "").await;
        assert_eq!(head.status(), 404, "{path}");
    }
    let (head, _) = door.ask("GET /.stepgate/sign-out", &ada.cookie(), "").await;
    assert_eq!((head.status(), head.one("location")), (303, format!("{}/sign-out", door.gate_origin).as_str()));
    let (head, body) = door.ask("GET /.stepgate/whoami", &ada.cookie(), "").await;
    assert_eq!(head.status(), 200);
    assert!(body.contains("\"login\":\"ada\"") && !body.contains(&ada.token), "{body}");
    let (head, script) = door.ask("GET /.stepgate/stepgate.js", "", "").await;
    assert!(head.one("content-type").starts_with("text/javascript") && script.contains("Stepgate-Challenge"));
    let port = door.address.port();
    let port_free = door.ask_at("ledger.localhost", "GET /payments", &ada.cookie(), "").await.0.status();
    assert_eq!(port_free, 200);
    for host in [
        "other.localhost".to_owned(),
        "localhost".to_owned(),
        format!("ledgerXlocalhost:{port}"),
        "ledger.localhost:1".into(),
    ] {
        let (head, _) = door.ask_at(&host, "GET /payments", &ada.cookie(), "").await;
        assert_eq!(head.status(), 421, "{host}");
    }
    assert_eq!(door.recorder.count(), 1);
}

#[tokio::test]
async fn the_gates_own_origin_has_pages_and_decided_pages() {
    let door = Door::open().await;
    let (head, body) =
        door.ask_at(&door.gate, "GET /sign-in?next=/account", "Cookie: stepgate-browser=x\r\n", "").await;
    assert_eq!(head.status(), 200);
    assert_eq!(body, "pages GET /sign-in?next=/account who= cookie=stepgate-browser=x");
    let (_, body) = door.ask_at(&door.gate, "POST /challenges/abc/answers", JSON, "{}").await;
    assert!(body.starts_with("pages POST /challenges/abc/answers"), "{body}");
    let (head, _) = door.ask_at(&door.gate, "GET /", NAVIGATE, "").await;
    assert_eq!((head.status(), head.one("location")), (303, "/account"));
    let (head, _) = door.ask_at(&door.gate, "GET /account", NAVIGATE, "").await;
    assert_eq!(head.one("location"), format!("{}/sign-in?next=%2Faccount", door.gate_origin));
    let ada = door.sign_in_at("ada", Audience::Gate);
    let (_, body) = door.ask_at(&door.gate, "GET /account", &ada.cookie(), "").await;
    assert!(body.starts_with("account GET /account who=ada cookie=stepgate="), "{body}");
    let at_ledger = door.sign_in("eve");
    let (head, _) = door.ask_at(&door.gate, "GET /account", &at_ledger.cookie(), "").await;
    assert_eq!(head.status(), 401, "a service's token is worthless at the gate");
    let large = "x".repeat(300 * 1024);
    let (head, _) = door.ask_at(&door.gate, "POST /sign-in", "", &large).await;
    assert_eq!(head.status(), 413);
}

#[tokio::test]
async fn what_is_denied_says_why_and_is_recorded() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let (head, body) = door.ask("DELETE /all", &ada.cookie(), "").await;
    assert_eq!(head.status(), 403);
    assert!(body.contains("Nothing is deleted here.") && body.contains("nobody-deletes"), "{body}");
    let (head, page) = door.ask("DELETE /all", &format!("{}{NAVIGATE}", ada.cookie()), "").await;
    assert_eq!(head.status(), 403);
    assert!(page.contains("<p>Nothing is deleted here.</p>"), "{page}");
    assert!(head.one("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(door.store.kinds(), ["operation.refused"], "the second is counted");
    assert_eq!(door.recorder.count(), 0);
}

#[tokio::test]
async fn b82_a_policy_that_errs_denies_and_leaves_an_entry_that_names_it() {
    let erring = r#"
        @id("errs") @reason("Too much.") forbid (principal, action == Action::"payments.approve", resource)
        when { context.input.amount + 9223372036854775807 < 0 };"#;
    let door = Door::deciding_by(&format!("{POLICIES}{erring}"), Recorder::start().await).await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{JSON}", ada.cookie());
    let (head, body) = door.ask("POST /payments/42/approve", &lines, r#"{"amount":1}"#).await;
    assert_eq!(head.status(), 403, "{body}");
    assert_eq!(door.recorder.count(), 0);
    assert_eq!(door.store.kinds(), ["decision.erred", "operation.refused"]);
    let entry = serde_json::to_value(&door.store.state.lock().entries[0].event).unwrap();
    assert_eq!(entry["policies"], serde_json::json!(["errs"]));
    assert_eq!(entry["asked"]["action"], "payments.approve");
    // Where the policy does not err, it stands in nobody's way.
    assert_eq!(door.ask("POST /payments/42/approve", &lines, r#"{"amount":0}"#).await.0.status(), 200);
}

#[tokio::test]
async fn b39_b41_bodies_are_read_as_declared_or_refused() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let json = format!("{}{JSON}", ada.cookie());
    let (head, _) = door.ask("POST /payments/42/approve", &json, r#"{"amount":900}"#).await;
    assert_eq!(head.status(), 200);
    assert_eq!(door.recorder.last().body, br#"{"amount":900}"#);
    let chunked = format!("{json}Transfer-Encoding: chunked\r\n");
    let mut connection = crate::raw::Connection::open(door.address).await;
    let request = format!(
        "POST /payments/42/approve HTTP/1.1\r\nHost: {}\r\n{chunked}\r\n10\r\n{{\"amount\":12000}}\r\n0\r\n\r\n",
        door.ledger
    );
    connection.send(request.as_bytes()).await;
    assert_eq!(connection.head().await.unwrap().status(), 401, "a chunked body is read too");
    for (lines, body, status) in [
        (json.as_str(), r#"{"amount":1,"amount":100000}"#, 400),
        (json.as_str(), r#"{"amount":"900"}"#, 400),
        (json.as_str(), r"{}", 400),
        (json.as_str(), "", 400),
        (&ada.cookie(), r#"{"amount":900}"#, 415),
        (&format!("{json}Content-Encoding: gzip\r\n"), r#"{"amount":900}"#, 415),
        (&format!("{json}X_Dry_Run: 1\r\n"), r#"{"amount":900}"#, 400),
        (&format!("{json}X-Dry-Run: 1\r\nX-Dry-Run: 0\r\n"), r#"{"amount":900}"#, 400),
    ] {
        let (head, answer) = door.ask("POST /payments/42/approve", lines, body).await;
        assert_eq!(head.status(), status, "{body} {answer}");
    }
    let large = format!(r#"{{"amount":900,"x":"{}"}}"#, "x".repeat(1_100_000));
    let (head, _) = door.ask("POST /payments/42/approve", &json, &large).await;
    assert_eq!(head.status(), 413);
    assert_eq!(door.recorder.count(), 1);
}

#[tokio::test]
async fn without_the_store_nobody_gets_through() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    door.store.change(|state| state.away = true);
    let (head, _) = door.ask("GET /payments", &ada.cookie(), "").await;
    assert_eq!(head.status(), 503);
    assert_eq!(door.recorder.count(), 0);
}

#[tokio::test]
async fn the_way_back_bears_the_name_of_where_it_leads() {
    let door = Door::open().await;
    for (host, expected, other) in [
        (&door.gate, "Back to the gate", "Back to the application"),
        (&door.ledger, "Back to the application", "Back to the gate"),
    ] {
        let link = format!("GET /.stepgate/resume/{}?code={}", "ab".repeat(16), "x".repeat(43));
        let (head, body) = door.ask_at(host, &link, NAVIGATE, "").await;
        assert_eq!(head.status(), 403, "{body}");
        assert!(body.contains(expected) && !body.contains(other), "{host}: {body}");
    }
}

#[tokio::test]
async fn b12_b42_another_spelling_of_an_operation_is_refused() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let json = format!("{}{JSON}", ada.cookie());
    for path in ["/Payments/42/approve", "/payments/42/APPROVE", "/payments/42/approve.json", "/payments/42/approve."] {
        let (head, body) = door.ask(&format!("POST {path}"), &json, r#"{"amount":12000}"#).await;
        assert_eq!(head.status(), 400, "{path}");
        assert!(body.contains("near_operation"), "{body}");
    }
    assert_eq!(door.recorder.count(), 0);
    for path in ["/payments/42/approved", "/payments/42", "/Other"] {
        let (head, _) = door.ask(&format!("POST {path}"), &json, r#"{"amount":12000}"#).await;
        assert_eq!(head.status(), 200, "{path}");
    }
    let (head, _) = door.ask("POST /payments/42/approve/", &json, r#"{"amount":12000}"#).await;
    assert_eq!(head.status(), 401, "a slash at the end is the same operation");
}

/// What this thread logs; the whole door runs on the test's own thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_operator_alone_is_told_which_operation_was_spelled_otherwise() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _until_the_end = tracing::subscriber::set_default(subscriber);
    let take = || String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
    let door = Door::open().await;
    let json = format!("{}{JSON}", door.sign_in("ada").cookie());
    take();

    let (head, body) = door.ask("POST /Payments/42/approve", &json, r#"{"amount":12000}"#).await;
    let lines = take();
    let told: Vec<&str> = lines.lines().filter(|line| line.contains("another spelling of a declared path")).collect();
    assert_eq!(told.len(), 1, "{lines}");
    assert!(told[0].contains("INFO") && told[0].contains("near=\"ledger POST /payments/{id}/approve\""), "{}", told[0]);
    assert_eq!(head.status(), 400, "{body}");
    assert!(!body.contains("/payments/{id}"), "the client is told what is declared: {body}");

    // What is no other spelling, and what is the operation itself, is not told.
    for path in ["/payments/42/approved", "/payments/42/approve"] {
        door.ask(&format!("POST {path}"), &json, r#"{"amount":900}"#).await;
        let lines = take();
        assert!(!lines.contains("another spelling"), "{path}: {lines}");
    }
    // Whatever else is refused of a declared operation is not called another spelling of it.
    let (head, _) = door.ask("POST /payments/42/approve", &json, "no JSON").await;
    assert_eq!(head.status(), 400);
    let lines = take();
    assert!(!lines.contains("another spelling"), "{lines}");
}

#[tokio::test]
async fn b23_b25_headers_of_strangers_open_nothing_and_lead_nowhere() {
    let door = Door::open().await;
    let lines = "User-Agent: GoogleHC/1.0\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Uri: /.stepgate/whoami\r\nX-Original-URL: /public\r\n";
    let (head, _) = door.ask("GET /payments", &format!("{NAVIGATE}{lines}"), "").await;
    assert_eq!(head.status(), 303);
    assert!(head.one("location").starts_with(&format!("{}/hand-off?", door.gate_origin)));
    let (head, body) = door.ask("GET /payments", lines, "").await;
    assert_eq!(head.status(), 401);
    assert!(!body.contains("evil"), "{body}");
    assert_eq!(door.recorder.count(), 0);
}
