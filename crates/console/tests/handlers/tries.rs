//! Who can use up whose tries, and what counts as one.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use stepgate_core::challenge::{Challenge, GrantKind};
use stepgate_core::factor::{
    Answer, BegunEnrolment, Binding, Enrolled, EnrolledFactor, EnrolmentAnswer, EnrolmentOffer, Factor, FactorKind,
    NotEnrolled, NotProved, Prompt, Proved,
};
use stepgate_core::flows::{AnswerError, Answered, NotAnswerable};
use stepgate_core::person::Person;
use stepgate_core::ports::{EntryQuery, Trier, Try, TryLimits};
use stepgate_core::secret::{Purpose, Token};
use stepgate_core::time::{Clock as _, Randomness, Timestamp};
use stepgate_evidence::Event;
use stepgate_testkit::Page;
use stepgate_testkit::totp::code_at;

use crate::house::{Browser, House, PASSWORD, What};

/// Enrols an authenticator app; gives its secret.
pub(crate) async fn enrol_app(house: &House, person: &Person) -> String {
    let link = house.link(person, &[FactorKind::Totp]).await;
    let (flows, browser) = (&house.flows, Token::random(house.flows.random.as_ref()));
    let ticket = flows.use_link(&Token::parse(link.rsplit('/').next().unwrap()).unwrap(), &browser).await.unwrap();
    let view = flows.enrolment(&ticket, &browser).await.unwrap();
    let Ok(EnrolmentOffer::Totp { secret_base32, .. }) = flows.begin_enrolment(&view, FactorKind::Totp).await else {
        panic!("no app was offered");
    };
    let secret = secret_base32.expose_secret().to_owned();
    let view = flows.enrolment(&ticket, &browser).await.unwrap();
    let code = EnrolmentAnswer::Text(code_at(&secret, house.clock.now()).into());
    flows.finish_enrolment(&view, FactorKind::Totp, "App", &code).await.unwrap();
    // What finished the enrolment is used up.
    house.clock.advance(std::time::Duration::from_secs(60));
    secret
}

fn by_code(payment: &'static str) -> What {
    What { ways: vec![vec![FactorKind::Totp]], kind: "program", payment, ..What::default() }
}

async fn answer(browser: &Browser<'_>, challenge: &Challenge, code: &str) -> Page {
    let path = format!("/challenges/{}/answers", challenge.id);
    browser.post_json(&path, &json!({ "factor": "totp", "code": code })).await
}

fn here(browser: &Browser<'_>) -> Trier {
    let device = Token::parse(&browser.cookie("__Host-stepgate-device").unwrap()).unwrap();
    Trier { device: Some(device.digest(Purpose::Device)), address: [192, 0, 2, 7].into() }
}

/// How many codes may still be tried from this browser, which tries none by it.
async fn left(browser: &Browser<'_>, person: &Person) -> Try {
    let from = here(browser);
    let (store, now) = (browser.house.store(), browser.house.clock.now());
    let event = Event::RequestRefused { code: "locked".to_owned(), count: 1, window_s: 0 };
    let entry = browser.house.flows.entry(now, event);
    let tried = store.begin_try(person.id, FactorKind::Totp, from, TryLimits::default(), now, entry).await.unwrap();
    store.take_back_try(person.id, FactorKind::Totp, from).await.unwrap();
    tried
}

#[tokio::test]
async fn b67_a_stranger_cannot_lock_a_password_for_its_owners_browser() {
    let house = House::new().await;
    let (owner, _) = house.signed_in("alice").await;
    // From as many addresses as they like.
    for number in 0..60 {
        let page = house.browser_at([198, 51, 100, number]).sign_in("alice", "not her password at all").await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    }
    let page = house.browser().sign_in("alice", PASSWORD).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "strangers are locked out: {}", page.told());
    let page = owner.sign_in("alice", PASSWORD).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "her own browser is not: {}", page.told());
    // Nor is another factor.
    let elsewhere = house.browser();
    std::mem::swap(&mut *elsewhere.key.lock().unwrap(), &mut *owner.key.lock().unwrap());
    let page = elsewhere.open("/sign-in").await;
    let page = elsewhere.touch(&page).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.told());
}

#[tokio::test]
async fn b67_one_address_does_not_lock_out_the_others() {
    let house = House::new().await;
    house.signed_in("alice").await;
    let attacker = house.browser_at([198, 51, 100, 1]);
    for _ in 0..30 {
        attacker.sign_in("alice", "not her password at all").await;
    }
    let page = house.browser().sign_in("alice", PASSWORD).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.told());
    let locked = house.said("factor.locked").await;
    assert_eq!(locked.len(), 1);
    assert_eq!(locked[0]["whom"], "address");
}

#[tokio::test]
async fn b61_the_same_right_code_sent_twice_to_one_challenge_is_no_wrong_try() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let app = enrol_app(&house, &person).await;
    for payment in ["42", "43", "44", "45", "46"] {
        house.clock.advance(std::time::Duration::from_secs(60));
        let challenge = browser.ask(by_code(payment)).await;
        let code = code_at(&app, house.clock.now());
        let answers = join_all((0..4).map(|_| answer(&browser, &challenge, &code))).await;
        let passed = answers.iter().filter(|page| page.status == StatusCode::OK).count();
        assert_eq!(passed, 1);
        for page in answers.iter().filter(|page| page.status != StatusCode::OK) {
            assert_eq!(page.status, StatusCode::CONFLICT, "{}", page.told());
            assert_eq!(page.json()["state"], "passed", "{}", page.told());
        }
        assert_eq!(left(&browser, &person).await, Try::Allowed { left: 10 }, "no try was used up");
    }
    assert!(house.said("attempt.failed").await.is_empty());
    assert_eq!(house.said("challenge.passed").await.len(), 5);
}

#[tokio::test]
async fn b61_a_used_code_for_another_challenge_is_refused_and_counted() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let app = enrol_app(&house, &person).await;
    let challenges = [browser.ask(by_code("42")).await, browser.ask(by_code("43")).await];
    let code = code_at(&app, house.clock.now());
    let answers = join_all(challenges.iter().map(|challenge| answer(&browser, challenge, &code))).await;
    let mut statuses: Vec<_> = answers.iter().map(|page| page.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 422]);
    let again = answer(&browser, &browser.ask(by_code("44")).await, &code).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", again.told());
    let reasons: Vec<_> = house.said("attempt.failed").await.iter().map(|entry| entry["reason"].to_string()).collect();
    assert_eq!(reasons, [r#""used_before""#, r#""used_before""#]);
}

#[tokio::test]
async fn an_answer_that_was_given_already_gets_what_is_still_asked() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let app = enrol_app(&house, &person).await;
    let both = vec![vec![FactorKind::Totp, FactorKind::Password]];
    let challenge = browser.ask(What { ways: both, grant: GrantKind::Confirmation, ..by_code("42") }).await;
    let code = code_at(&app, house.clock.now());
    for _ in 0..2 {
        let page = answer(&browser, &challenge, &code).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.told());
        assert_eq!(page.json()["factors"], json!([{ "factor": "password" }]));
    }
    assert!(house.said("attempt.failed").await.is_empty());
}

/// Passwords of a gate that has too many to check at once.
#[derive(Debug)]
struct Overrun(Arc<dyn Factor>);

#[async_trait]
impl Factor for Overrun {
    fn kind(&self) -> FactorKind {
        self.0.kind()
    }

    fn prompt(&self, enrolled: &[EnrolledFactor], binding: Binding) -> Prompt {
        self.0.prompt(enrolled, binding)
    }

    async fn verify(&self, _: &[EnrolledFactor], _: &Answer, _: Binding, _: Timestamp) -> Result<Proved, NotProved> {
        Err(NotProved::Fault("too many".to_owned()))
    }

    async fn verify_nobody(&self, _: &Answer) -> Result<(), NotProved> {
        Err(NotProved::Fault("too many".to_owned()))
    }

    fn begin_enrolment(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        random: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        self.0.begin_enrolment(person, existing, random)
    }

    async fn finish_enrolment(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        state: &SecretString,
        answer: &EnrolmentAnswer,
        now: Timestamp,
    ) -> Result<Enrolled, NotEnrolled> {
        self.0.finish_enrolment(person, existing, state, answer, now).await
    }
}

#[tokio::test]
async fn a_gate_that_is_overrun_says_nothing_of_who_has_an_account() {
    let house = House::with_factors(|mut factors| {
        let password = factors.remove(&FactorKind::Password).unwrap();
        factors.insert(FactorKind::Password, Arc::new(Overrun(password)));
        factors
    })
    .await;
    let person = house.add("alice").await;
    let browser = house.browser();
    browser.enrol(&house.link(&person, &[FactorKind::Password, FactorKind::PASSKEY]).await).await;
    let before =
        house.store().entries(EntryQuery { from: Some(0), limit: 1000, ..EntryQuery::default() }).await.unwrap();
    for _ in 0..7 {
        let answers = [
            browser.post_json("/sign-in", &json!({ "login": "alice", "password": PASSWORD })).await,
            browser.post_json("/sign-in", &json!({ "login": "nobody", "password": PASSWORD })).await,
        ];
        for page in &answers {
            assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{}", page.told());
            assert_eq!(page.text(), answers[0].text());
            assert_eq!(page.header("retry-after"), answers[0].header("retry-after"));
        }
    }
    // What was not verified is no try: neither counted nor told.
    let after =
        house.store().entries(EntryQuery { from: Some(0), limit: 1000, ..EntryQuery::default() }).await.unwrap();
    assert_eq!(after.len(), before.len());
}

/// Begins to answer, and is held up after it has looked at the challenge.
macro_rules! held_up {
    ($answering:expr) => {{
        let mut answering = Box::pin($answering);
        assert!(futures_util::poll!(&mut answering).is_pending());
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        answering
    }};
}

fn code(app: &str, house: &House) -> Answer {
    Answer::Text { kind: FactorKind::Totp, text: code_at(app, house.clock.now()).into() }
}

#[tokio::test]
async fn b61_a_repeat_that_comes_late_is_no_wrong_try() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let app = enrol_app(&house, &person).await;
    let challenge = browser.ask(by_code("42")).await;
    let (session, token) = browser.session().await.unwrap();
    let (flows, from, code) = (&house.flows, here(&browser), code(&app, &house));
    let late = held_up!(flows.answer(challenge.id, &session, token, &code, None, from));
    let first = flows.answer(challenge.id, &session, token, &code, None, from).await;
    assert!(matches!(first, Ok(Answered::Passed { .. })), "{first:?}");
    let late = late.await;
    assert!(matches!(&late, Err(AnswerError::NotAnswerable(NotAnswerable::Over(_)))), "it gives no token: {late:?}");
    assert_eq!(left(&browser, &person).await, Try::Allowed { left: 10 });
    assert!(house.said("attempt.failed").await.is_empty());
}

#[tokio::test]
async fn a_right_answer_that_met_another_change_is_no_wrong_try() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let app = enrol_app(&house, &person).await;
    let (session, token) = browser.session().await.unwrap();
    let (flows, from) = (&house.flows, here(&browser));
    let known = browser.ask(by_code("41")).await;
    flows.answer(known.id, &session, token, &code(&app, &house), None, from).await.unwrap();
    house.clock.advance(std::time::Duration::from_secs(30));
    let challenge = browser.ask(by_code("42")).await;
    let right = code(&app, &house);
    let late = held_up!(flows.answer(challenge.id, &session, token, &right, None, from));
    let wrong = Answer::Text { kind: FactorKind::Totp, text: "no code".to_owned().into() };
    let refused = flows.answer(challenge.id, &session, token, &wrong, None, from).await;
    assert!(matches!(refused, Err(AnswerError::Wrong { .. })), "{refused:?}");
    let late = late.await;
    assert!(matches!(late, Err(AnswerError::Changed)), "{late:?}");
    assert_eq!(left(&browser, &person).await, Try::Allowed { left: 9 }, "the wrong one counts alone");
}
