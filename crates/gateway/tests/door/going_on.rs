//! Programs and scripts: asked, and going on by repeating the call.

use std::time::Duration;

use stepgate_core::challenge::{ChallengeState, SendOutcome};
use stepgate_core::secret::{Purpose, Token};
use stepgate_core::session::SessionView;

use crate::recorder::Recorder;
use crate::rig::{Door, JSON, NAVIGATE, set_cookie};

const APPROVE: &str = "POST /payments/42/approve";
const LARGE: &str = r#"{"amount":12000}"#;

#[tokio::test]
async fn a_program_is_asked_and_goes_on_once() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{JSON}", ada.cookie());
    let (head, body) = door.ask(APPROVE, &lines, LARGE).await;
    assert_eq!(head.status(), 401);
    let asked = head.one("www-authenticate");
    assert!(asked.starts_with(r#"Bearer error="insufficient_user_authentication""#), "{asked}");
    assert!(asked.contains(r#"acr_values="phr""#) && !asked.contains("max_age"), "{asked}");
    assert_eq!(head.one("content-type"), "application/problem+json");
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    let challenge = door.only_challenge();
    assert_eq!(problem["challenge"]["id"], challenge.id.to_string());
    assert_eq!(problem["challenge"]["url"], format!("{}/challenges/{}", door.gate_origin, challenge.id));
    assert_eq!(problem["challenge"]["factors"][0][0], "passkey");
    assert_eq!(problem["detail"], "Payments over 10,000 need your passkey, for this payment alone.");

    let (head, _) = door.ask(APPROVE, &lines, LARGE).await;
    assert_eq!(head.status(), 401);
    assert_eq!(door.only_challenge().id, challenge.id, "the same question is not asked twice");
    door.pass(challenge.id);

    let (head, _) = door.ask(APPROVE, &lines, r#"{"amount":12001}"#).await;
    assert_eq!(head.status(), 401, "other bytes are another operation");
    assert_eq!(door.recorder.count(), 0);
    let (head, _) = door.ask(APPROVE, &lines, LARGE).await;
    assert_eq!(head.status(), 200);
    assert!(set_cookie(&head, "stepgate").is_some(), "the token is rotated");
    let arrived = door.recorder.last();
    assert_eq!(arrived.body, LARGE.as_bytes());
    assert_eq!(arrived.head.one("stepgate-request-id"), head.one("stepgate-request-id"));
    let (head, _) = door.ask(APPROVE, &lines, LARGE).await;
    assert_eq!(head.status(), 401, "it was spent");
    assert_eq!(door.recorder.count(), 1);
    let kinds = door.store.kinds();
    assert!(
        kinds.contains(&"operation.sent".to_owned()) && kinds.contains(&"operation.finished".to_owned()),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn each_401_for_one_challenge_says_how_old_a_proof_may_be() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    for _ in 0..3 {
        let (head, body) = door.ask("GET /export", &ada.cookie(), "").await;
        assert_eq!(head.status(), 401);
        let asked = head.one("www-authenticate");
        assert!(asked.ends_with(r#", max_age="300""#), "{asked}");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        let challenge = door.only_challenge();
        assert_eq!(problem["challenge"]["id"], challenge.id.to_string());
        assert_eq!(problem["challenge"]["max_age_s"], 300);
        assert_eq!(serde_json::to_value(&challenge.statement.grant).unwrap()["max_age_s"], "300");
    }
}

#[tokio::test]
async fn what_a_sibling_hosts_page_asks_is_told_from_what_the_service_asks() {
    use stepgate_core::challenge::AskedFrom::{Elsewhere, Here};
    for (lines, from) in [
        ("", Here),
        ("Sec-Fetch-Site: same-origin\r\n", Here),
        ("Sec-Fetch-Site: same-site\r\nOrigin: http://evil.localhost\r\n", Elsewhere),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html\r\n", Elsewhere),
        ("Origin: http://evil.localhost\r\n", Elsewhere),
    ] {
        let door = Door::open().await;
        let ada = door.sign_in("ada");
        door.ask("GET /export", &format!("{}{lines}", ada.cookie()), "").await;
        assert_eq!(door.only_challenge().asked_from, from, "{lines}");
    }
}

#[tokio::test]
async fn b53_a_challenge_is_of_no_use_to_another_session_or_request() {
    let door = Door::open().await;
    let (ada, eve) = (door.sign_in("ada"), door.sign_in("eve"));
    door.ask(APPROVE, &format!("{}{JSON}", ada.cookie()), LARGE).await;
    let id = door.only_challenge().id;
    door.pass(id);
    let named = format!("Stepgate-Challenge: {id}\r\n");
    let (head, _) = door.ask(APPROVE, &format!("{}{JSON}{named}", eve.cookie()), LARGE).await;
    assert_eq!(head.status(), 409);
    let (head, _) = door.ask("POST /payments/43/approve", &format!("{}{JSON}{named}", ada.cookie()), LARGE).await;
    assert_eq!(head.status(), 409);
    let (head, _) = door.ask(APPROVE, &format!("{}{JSON}X-Dry-Run: 1\r\n{named}", ada.cookie()), LARGE).await;
    assert_eq!(head.status(), 409);
    let (head, _) = door.ask(APPROVE, &format!("{}{JSON}Stepgate-Challenge: x\r\n", ada.cookie()), LARGE).await;
    assert_eq!(head.status(), 409);
    assert_eq!(door.recorder.count(), 0);
    let (head, _) = door.ask(APPROVE, &format!("{}{JSON}{named}", ada.cookie()), LARGE).await;
    assert_eq!(head.status(), 200);
    assert!(door.recorder.last().head.values("stepgate-challenge").is_empty());
}

#[tokio::test]
async fn b43_a_confirmation_is_for_every_byte_of_a_batch() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{JSON}", ada.cookie());
    let batch = r#"{"amount":12000,"requests":[{"method":"GET","path":"/payments"}]}"#;
    let other = r#"{"amount":12000,"requests":[{"method":"POST","path":"/admin"}]}"#;
    door.ask(APPROVE, &lines, batch).await;
    let id = door.only_challenge().id;
    door.pass(id);
    let named = format!("{lines}Stepgate-Challenge: {id}\r\n");
    for changed in [other, &batch.replace(",\"req", ", \"req")] {
        let (head, _) = door.ask(APPROVE, &named, changed).await;
        assert_eq!(head.status(), 409, "{changed}");
    }
    assert_eq!(door.recorder.count(), 0);
    assert_eq!(door.ask(APPROVE, &named, batch).await.0.status(), 200);
    assert_eq!(door.recorder.last().body, batch.as_bytes());
}

#[tokio::test]
async fn b58_a_copy_of_an_older_token_does_not_spend_what_a_newer_one_asked() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    // Her token is a newer one by now; the copy of the one before lives through its grace.
    let copy = Token::random(door.flows.random.as_ref());
    door.store.change(|state| {
        let view = state.sessions.values().next().unwrap().clone();
        state.sessions.insert(copy.digest(Purpose::ServiceSession), view);
        let newer = Token::parse(&ada.token).unwrap().digest(Purpose::ServiceSession);
        let view = state.sessions.get_mut(&newer).unwrap();
        (view.generation, view.newest_generation) = (2, 2);
    });
    let hers = format!("{}{JSON}", ada.cookie());
    let copied = format!("Cookie: stepgate={}\r\n{JSON}", copy.expose());
    door.ask(APPROVE, &hers, LARGE).await;
    let id = door.only_challenge().id;
    door.pass(id);
    let (head, _) = door.ask(APPROVE, &format!("{copied}Stepgate-Challenge: {id}\r\n"), LARGE).await;
    assert_eq!(head.status(), 409);
    let (head, _) = door.ask(APPROVE, &copied, LARGE).await;
    assert_eq!((head.status(), door.recorder.count()), (401, 0));
    let (head, _) = door.ask(APPROVE, &hers, LARGE).await;
    assert_eq!((head.status(), door.recorder.count()), (200, 1), "and hers goes on");
}

#[tokio::test]
async fn b58_a_token_that_another_browser_was_handed_does_not_spend_what_hers_asked() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    // By a hand-off with a copy of the gate's cookie: same session, same generation, another browser.
    let handed = |browser| {
        let token = Token::random(door.flows.random.as_ref());
        door.store.change(|state| {
            let view = state.sessions.values().next().unwrap().clone();
            state.sessions.insert(token.digest(Purpose::ServiceSession), SessionView { browser, ..view });
        });
        format!("Cookie: stepgate={}\r\n{JSON}", token.expose())
    };
    let other = Token::random(door.flows.random.as_ref()).digest(Purpose::Browser);
    let hers = format!("{}{JSON}", ada.cookie());
    door.ask(APPROVE, &hers, LARGE).await;
    let id = door.only_challenge().id;
    // While it waits for her, whoever names it from another browser is told nothing of it.
    for thief in [handed(Some(other)), handed(None)] {
        let (head, body) = door.ask(APPROVE, &format!("{thief}Stepgate-Challenge: {id}\r\n"), LARGE).await;
        assert_eq!(head.status(), 409, "{body}");
        assert!(!body.contains(&door.only_challenge().number), "{body}");
    }
    door.pass(id);
    for thief in [handed(Some(other)), handed(None)] {
        let (head, _) = door.ask(APPROVE, &format!("{thief}Stepgate-Challenge: {id}\r\n"), LARGE).await;
        assert_eq!(head.status(), 409);
        let (head, _) = door.ask(APPROVE, &thief, LARGE).await;
        assert_eq!((head.status(), door.recorder.count()), (401, 0));
    }
    let (head, _) = door.ask(APPROVE, &hers, LARGE).await;
    assert_eq!((head.status(), door.recorder.count()), (200, 1), "and hers goes on");
}

#[tokio::test]
async fn b58_what_a_store_finds_for_another_browser_is_not_spent_either() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let handed = Token::random(door.flows.random.as_ref());
    let other = Token::random(door.flows.random.as_ref()).digest(Purpose::Browser);
    door.store.change(|state| {
        let view = state.sessions.values().next().unwrap().clone();
        let view = SessionView { browser: Some(other), ..view };
        state.sessions.insert(handed.digest(Purpose::ServiceSession), view);
        state.forgets_browser = true;
    });
    let hers = format!("{}{JSON}", ada.cookie());
    door.ask(APPROVE, &hers, LARGE).await;
    door.pass(door.only_challenge().id);
    let (head, _) = door.ask(APPROVE, &format!("Cookie: stepgate={}\r\n{JSON}", handed.expose()), LARGE).await;
    assert_eq!((head.status(), door.recorder.count()), (409, 0));
    let (head, _) = door.ask(APPROVE, &hers, LARGE).await;
    assert_eq!((head.status(), door.recorder.count()), (200, 1), "and hers goes on");
}

#[tokio::test]
async fn many_repeats_at_once_are_sent_once() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{JSON}", ada.cookie());
    door.ask(APPROVE, &lines, LARGE).await;
    door.pass(door.only_challenge().id);
    let asks = (0..20).map(|_| door.ask(APPROVE, &lines, LARGE));
    let answers = futures_util::future::join_all(asks).await;
    let through = answers.iter().filter(|(head, _)| head.status() == 200).count();
    assert_eq!((through, door.recorder.count()), (1, 1));
}

#[tokio::test]
async fn a_program_that_waits_goes_on_when_the_person_has_answered() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{JSON}Prefer: wait=60, return=minimal\r\n", ada.cookie());
    let waiting = door.ask(APPROVE, &lines, LARGE);
    let answering = async {
        while door.store.state.lock().challenges.is_empty() {
            tokio::task::yield_now().await;
        }
        door.pass(door.only_challenge().id);
    };
    let ((head, _), ()) = tokio::join!(waiting, answering);
    assert_eq!((head.status(), head.one("preference-applied")), (200, "wait=60"));
    assert_eq!(door.recorder.count(), 1);
    let arrived = door.recorder.last();
    assert_eq!(arrived.head.one("prefer"), "return=minimal", "what was applied here is not applied once more");
    let (head, _) = door.ask(APPROVE, &format!("{}{JSON}Prefer: respond-async, wait=1\r\n", ada.cookie()), LARGE).await;
    assert_eq!((head.status(), head.one("preference-applied")), (401, "wait=1"));
}

#[tokio::test]
async fn a_browser_goes_to_the_challenge_and_repeats_a_safe_request() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{NAVIGATE}", ada.cookie());
    let (head, _) = door.ask("GET /export", &lines, "").await;
    let challenge = door.only_challenge();
    assert_eq!(head.status(), 303);
    assert_eq!(head.one("location"), format!("{}/challenges/{}", door.gate_origin, challenge.id));
    door.pass(challenge.id);
    let code = door.hand_back(&challenge);
    let back = format!("GET /.stepgate/resume/{}?code={code}", challenge.id);
    let cookies = format!("{NAVIGATE}{}", crate::rig::browser_cookie());
    let (head, _) = door.ask(&back, &cookies, "").await;
    assert_eq!((head.status(), head.one("location")), (303, format!("{}/export", door.ledger_origin).as_str()));
    let token = set_cookie(&head, "stepgate").unwrap();
    let (head, _) = door.ask("GET /export", &format!("Cookie: stepgate={token}\r\n{NAVIGATE}"), "").await;
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn an_older_token_first_fetches_what_its_session_proved_elsewhere() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    door.store.change(|state| state.sessions.values_mut().for_each(|view| view.newest_generation = 2));
    let (head, _) = door.ask("GET /export", &format!("{}{NAVIGATE}", ada.cookie()), "").await;
    assert!(head.one("location").starts_with(&format!("{}/hand-off?service=ledger&to=%2Fexport", door.gate_origin)));
    assert!(door.store.state.lock().challenges.is_empty());
}

#[tokio::test]
async fn an_outcome_that_is_not_known_is_said_and_recorded() {
    let door = Door::before(Recorder::answering("").await).await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{JSON}", ada.cookie());
    door.ask(APPROVE, &lines, LARGE).await;
    let id = door.only_challenge().id;
    door.pass(id);
    let (head, body) = door.ask(APPROVE, &lines, LARGE).await;
    assert_eq!(head.status(), 502);
    assert!(body.contains("outcome_unknown") && body.contains("not sent again"), "{body}");
    let state = door.store.state.lock().challenges[&id].state.clone();
    assert!(matches!(state, ChallengeState::Spent { outcome: SendOutcome::Unknown, .. }), "{state:?}");
    assert_eq!(door.recorder.count(), 1);
}

#[tokio::test]
async fn too_many_open_questions_are_refused() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{JSON}", ada.cookie());
    for amount in 20_000..20_008 {
        assert_eq!(door.ask(APPROVE, &lines, &format!(r#"{{"amount":{amount}}}"#)).await.0.status(), 401);
    }
    assert_eq!(door.ask(APPROVE, &lines, LARGE).await.0.status(), 429);
    door.clock.advance(Duration::from_secs(1));
}
