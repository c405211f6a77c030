//! A browser's request with an effect: held, and put in its place.

use stepgate_core::challenge::Challenge;

use crate::raw::Head;
use crate::recorder::Recorder;
use crate::rig::{Door, NAVIGATE, Person_, browser, set_cookie};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const BODY: &str = "id=42&amount=12000";

fn lines(person: &Person_) -> String {
    let cookies = format!("Cookie: stepgate={}; theme=dark; stepgate-browser={}\r\n", person.token, browser().expose());
    let origin = "X-Own: kept\r\nUser-Agent: Original/1\r\n";
    format!("{NAVIGATE}{FORM}{cookies}{origin}")
}

async fn hold(door: &Door, person: &Person_) -> Challenge {
    let (head, _) = door.ask("POST /pay?q=1", &lines(person), BODY).await;
    let challenge = door.only_challenge();
    assert_eq!(head.status(), 303);
    assert_eq!(head.one("location"), format!("{}/challenges/{}", door.gate_origin, challenge.id));
    assert_eq!(challenge.statement.url, format!("{}/pay?q=1", door.ledger_origin));
    assert_eq!(door.recorder.count(), 0);
    challenge
}

/// What the browser has when it is back: its new session token and the resume token.
async fn come_back(door: &Door, challenge: &Challenge) -> (String, String) {
    let code = door.hand_back(challenge);
    let cookies = format!("{NAVIGATE}Cookie: stepgate-browser={}\r\n", browser().expose());
    let (head, page) = door.ask(&format!("GET /.stepgate/resume/{}?code={code}", challenge.id), &cookies, "").await;
    assert_eq!(head.status(), 200, "{page}");
    assert_eq!(set_cookie(&head, "stepgate-resume").unwrap(), challenge.id.to_string());
    assert!(page.contains(&format!(r#"action="{}/pay?q=1""#, door.ledger_origin)), "{page}");
    assert_eq!(head.one("referrer-policy"), "no-referrer");
    let token = page.split("value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (set_cookie(&head, "stepgate").unwrap(), token)
}

async fn resume(door: &Door, target: &str, session: &str, challenge: &Challenge, token: &str) -> (Head, String) {
    let cookies = format!("Cookie: stepgate={session}; stepgate-resume={}; theme=light\r\n", challenge.id);
    let lines = format!("{NAVIGATE}{FORM}{cookies}X-Own: the resumer's\r\nUser-Agent: Resumer/1\r\n");
    door.ask(&format!("POST {target}"), &lines, &format!("stepgate-resume={token}")).await
}

#[tokio::test]
async fn a_form_is_held_and_its_answer_is_the_page() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let challenge = hold(&door, &ada).await;
    door.pass(challenge.id);
    let (session, token) = come_back(&door, &challenge).await;
    let (head, body) = resume(&door, "/pay?q=1", &session, &challenge, &token).await;
    assert_eq!((head.status(), body.as_str()), (200, "ok"));
    let arrived = door.recorder.last();
    assert_eq!((arrived.method(), arrived.target()), ("POST", "/pay?q=1"));
    assert_eq!(arrived.body, BODY.as_bytes());
    assert_eq!(arrived.head.one("x-own"), "kept");
    assert_eq!(arrived.head.one("user-agent"), "Original/1");
    assert_eq!(arrived.head.one("cookie"), "theme=dark");
    assert_eq!(arrived.head.one("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(arrived.head.one("stepgate-request-id"), head.one("stepgate-request-id"));

    // Reload and double click: what became of it is shown, and nothing is sent.
    let (head, page) = resume(&door, "/pay?q=1", &session, &challenge, &token).await;
    assert_eq!(head.status(), 200);
    assert!(page.contains("answered with status 200") && page.contains("not sent again"), "{page}");
    assert_eq!(door.recorder.count(), 1);
}

#[tokio::test]
async fn whoever_is_still_there_is_led_back_to_where_they_were() {
    for (referer, back) in [
        ("{origin}/payments?page=2", "{origin}/payments?page=2"),
        ("", "{origin}/"),
        ("{origin}.evil.test/x", "{origin}/"),
        ("{origin}@evil.test/", "{origin}/"),
        ("javascript:alert(1)", "{origin}/"),
    ] {
        let door = Door::open().await;
        let ada = door.sign_in("ada");
        let [referer, back] = [referer, back].map(|text| text.replace("{origin}", &door.ledger_origin));
        let lines = format!("{}Referer: {referer}\r\n", lines(&ada));
        door.ask("POST /pay", &lines, BODY).await;
        let challenge = door.only_challenge();
        door.pass(challenge.id);
        let code = door.hand_back(&challenge);
        let cookies = format!("{NAVIGATE}Cookie: stepgate-browser={}\r\n", browser().expose());
        let (_, page) = door.ask(&format!("GET /.stepgate/resume/{}?code={code}", challenge.id), &cookies, "").await;
        assert!(page.contains(&format!(r#"href="{back}">Back to ledger<"#)), "{page}");
    }
}

#[tokio::test]
async fn many_clicks_send_once() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let challenge = hold(&door, &ada).await;
    door.pass(challenge.id);
    let (session, token) = come_back(&door, &challenge).await;
    let clicks = (0..10).map(|_| resume(&door, "/pay?q=1", &session, &challenge, &token));
    let answers = futures_util::future::join_all(clicks).await;
    assert_eq!(answers.iter().filter(|(_, body)| body == "ok").count(), 1);
    assert_eq!(door.recorder.count(), 1);
}

#[tokio::test]
async fn b45_a_held_request_runs_for_nobody_else_and_nowhere_else() {
    let door = Door::open().await;
    let (ada, eve) = (door.sign_in("ada"), door.sign_in("eve"));
    let challenge = hold(&door, &ada).await;
    // Not passed yet: the cookie and a made-up token are worth nothing.
    let made_up = "A".repeat(43);
    let (head, _) = resume(&door, "/pay?q=1", &ada.token, &challenge, &made_up).await;
    assert_eq!(head.status(), 409);
    door.pass(challenge.id);
    let (session, token) = come_back(&door, &challenge).await;
    let (head, _) = resume(&door, "/pay?q=1", &eve.token, &challenge, &token).await;
    assert_eq!(head.status(), 409, "another person's session");
    let (head, _) = resume(&door, "/pay?q=2", &session, &challenge, &token).await;
    assert_eq!(head.status(), 409, "another target");
    let (head, _) = resume(&door, "/pay?q=1", &session, &challenge, &made_up).await;
    assert_ne!(head.status(), 200, "another token");
    let body = format!("stepgate-resume={token}");
    let (head, _) = door.ask("POST /pay?q=1", &format!("{FORM}Cookie: stepgate={session}\r\n"), &body).await;
    assert_eq!(head.status(), 403, "without the cookie it is not forwarded either");
    let cross = format!(
        "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: cross-site\r\n{FORM}Cookie: stepgate={session}; stepgate-resume={}\r\n",
        challenge.id
    );
    let (head, _) = door.ask("POST /pay?q=1", &cross, &body).await;
    assert_eq!(head.status(), 403, "from another site");
    assert_eq!(door.recorder.count(), 0);
    let (head, _) = resume(&door, "/pay?q=1", &session, &challenge, &token).await;
    assert_eq!((head.status(), door.recorder.count()), (200, 1));
}

#[tokio::test]
async fn a_request_from_another_site_is_not_held() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    for from in [
        "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-site\r\n",
        "Accept: text/html\r\nOrigin: https://evil.test\r\n",
        "Accept: text/html\r\nOrigin: null\r\n",
    ] {
        let (head, _) = door.ask("POST /pay", &format!("{from}{FORM}{}", ada.cookie()), BODY).await;
        assert_eq!(head.status(), 403, "{from}");
    }
    assert!(door.store.state.lock().challenges.is_empty());
    assert_eq!(door.recorder.count(), 0);
}

#[tokio::test]
async fn back_and_reload_of_the_way_back_lead_on() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let challenge = hold(&door, &ada).await;
    door.pass(challenge.id);
    let code = door.hand_back(&challenge);
    let way = format!("GET /.stepgate/resume/{}?code={code}", challenge.id);
    let first = format!("{NAVIGATE}Cookie: stepgate-browser={}\r\n", browser().expose());
    let (head, _) = door.ask(&way, &first, "").await;
    let session = set_cookie(&head, "stepgate").unwrap();
    // Before it was sent, a reload makes the way back anew.
    let second = format!("{NAVIGATE}Cookie: stepgate={session}; stepgate-browser={}\r\n", browser().expose());
    let (head, _) = door.ask(&way, &second, "").await;
    assert_eq!(head.status(), 303);
    let again = head.one("location").strip_prefix(&door.ledger_origin).unwrap().to_owned();
    let (head, page) = door.ask(&format!("GET {again}"), &second, "").await;
    assert_eq!(head.status(), 200);
    let token = page.split("value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let session = set_cookie(&head, "stepgate").unwrap();
    let (head, _) = resume(&door, "/pay?q=1", &session, &challenge, &token).await;
    assert_eq!(head.status(), 200);
    // Afterwards it says what became of it.
    let third = format!("{NAVIGATE}Cookie: stepgate={session}; stepgate-browser={}\r\n", browser().expose());
    let (_, page) = door.ask(&way, &third, "").await;
    assert!(page.contains("answered with status 200"), "{page}");
    assert_eq!(door.recorder.count(), 1);
}

#[tokio::test]
async fn a_form_of_a_session_that_just_ended_is_kept_for_its_person() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let (digest, view) = door.store.state.lock().sessions.iter().next().map(|(d, v)| (*d, v.clone())).unwrap();
    door.store.change(|state| {
        state.sessions.clear();
        state.lapsed.insert(digest, (view.id, view.person.id));
    });
    let (head, _) = door.ask("POST /pay", &lines(&ada), BODY).await;
    let challenge = door.only_challenge();
    assert_eq!(head.status(), 303);
    assert_eq!(head.one("location"), format!("{}/sign-in?continue={}", door.gate_origin, challenge.id));
    assert_eq!(door.store.state.lock().held[&challenge.id].body, BODY.as_bytes());
    let cross = lines(&ada).replace("same-origin", "cross-site");
    let (head, _) = door.ask("POST /pay", &cross, BODY).await;
    assert_eq!(head.status(), 401);
    assert_eq!(door.recorder.count(), 0);
}

#[tokio::test]
async fn a_held_request_that_cannot_be_sent_says_so() {
    let recorder = Recorder::start().await;
    let door = Door::before(Recorder { address: ([127, 0, 0, 1], 1).into(), ..recorder }).await;
    let ada = door.sign_in("ada");
    let challenge = hold(&door, &ada).await;
    door.pass(challenge.id);
    let (session, token) = come_back(&door, &challenge).await;
    let (head, page) = resume(&door, "/pay?q=1", &session, &challenge, &token).await;
    assert_eq!(head.status(), 502);
    assert!(page.contains("nothing was sent"), "{page}");
    let (_, page) = resume(&door, "/pay?q=1", &session, &challenge, &token).await;
    assert!(page.contains("nothing was sent"), "{page}");
}
