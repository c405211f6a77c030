//! Signing in and confirming at the company's identity provider, and what ends it. The
//! provider here says what it is told to say; that answers are verified is tested with
//! the room that speaks the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::challenge::{Challenge, ChallengeState, GrantKind};
use stepgate_core::factor::{FactorKind, Strength};
use stepgate_core::flows::{DEPARTURES_OF_ONE_MAX, Live, RENEWED_BESIDE};
use stepgate_core::provider::{
    Ask, Asserted, Authorize, CameBack, Claims, IdentityProviders, Leave, Level, LogoutToken, NotAsserted, NotFinished,
    Provider, ProviderName, Renewed,
};
use stepgate_core::surroundings::Environment;
use stepgate_core::time::{Clock as _, Timestamp};
use stepgate_testkit::Page;
use tokio::sync::Semaphore;

use crate::house::{Browser, House, What};

const ISSUER: &str = "https://id.example";
const MFA: Strength = Strength::SECOND_FACTOR.and(Strength::POSSESSION);
const PHR: Strength = MFA.and(Strength::PHISHING_RESISTANT);

fn corp() -> ProviderName {
    ProviderName::parse("corp").unwrap()
}

fn other() -> ProviderName {
    ProviderName::parse("other").unwrap()
}

/// Asks each provider that is to be asked about logins; gives about how many.
async fn renewed(house: &House) -> u32 {
    let mut asked = 0;
    for provider in house.flows.renewals_due().await.unwrap() {
        asked += house.flows.renew_logins_of(&provider).await.unwrap();
    }
    asked
}

/// Waits until so many questions about logins are not answered yet.
async fn until_asking(provider: &Scripted, many: usize) {
    let so = async {
        while provider.asking.load(Ordering::SeqCst) != many {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), so).await.expect("as many are asked about");
}

type Answers = Box<dyn Fn(&CameBack<'_>) -> Result<Said, NotAsserted> + Send>;

/// What the provider says of a login.
struct Said {
    subject: &'static str,
    acr: &'static str,
    auth_time: Option<Timestamp>,
    claims: Claims,
}

/// A provider that says what it is told to say, and remembers what it was asked.
struct Scripted {
    all: Vec<Provider>,
    asked: Mutex<Vec<(Ask, String, String)>>,
    answers: Mutex<Answers>,
    renewed: Mutex<fn() -> Renewed>,
    takes_no_request: Mutex<Option<NotAsserted>>,
    /// Whose the logins are that fail, where it signs that.
    of_failed: Mutex<Option<&'static str>>,
    /// A provider that answers no question about a login before it has a permit.
    hangs: Mutex<Option<(ProviderName, Arc<Semaphore>)>>,
    /// Questions about logins that are not answered yet.
    asking: AtomicUsize,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

#[async_trait]
impl IdentityProviders for Scripted {
    fn all(&self) -> &[Provider] {
        &self.all
    }

    async fn authorize(&self, request: Authorize<'_>) -> Result<Leave, NotAsserted> {
        self.asked.lock().push((request.ask.clone(), request.state.to_owned(), request.nonce.to_owned()));
        if let Some(why) = self.takes_no_request.lock().clone() {
            return Err(why);
        }
        let url = format!("{ISSUER}/authorize?state={}", request.state);
        Ok(Leave { url, keep: SecretString::from("verifier") })
    }

    async fn finish(&self, answer: CameBack<'_>) -> Result<Asserted, NotFinished> {
        assert_eq!(answer.keep.expose_secret(), "verifier");
        let said = (self.answers.lock())(&answer)
            .map_err(|why| NotFinished { why, subject: self.of_failed.lock().map(str::to_owned) })?;
        let strength = self.all[0].levels.iter().find(|level| level.acr == said.acr).map(|level| level.strength);
        Ok(Asserted {
            issuer: ISSUER.to_owned(),
            subject: said.subject.to_owned(),
            sid: Some(format!("sid-of-{}", said.subject)),
            acr: said.acr.to_owned(),
            methods: Vec::new(),
            amr: Vec::new(),
            auth_time: said.auth_time,
            strength: strength.unwrap_or_default(),
            claims: said.claims,
            id_token: SecretString::from(format!("token with {}", answer.nonce)),
            key: serde_json::json!({ "kty": "EC" }),
            refresh_token: Some(SecretString::from("refresh")),
        })
    }

    async fn logout_token(&self, _: &ProviderName, token: &str, _: Timestamp) -> Result<LogoutToken, NotAsserted> {
        if token == "away" {
            return Err(NotAsserted::Away("its keys cannot be had".to_owned()));
        }
        let (id, subject) = token.split_once('.').ok_or_else(|| NotAsserted::Malformed("no token".to_owned()))?;
        Ok(LogoutToken { issuer: ISSUER.to_owned(), id: id.to_owned(), subject: Some(subject.to_owned()), sid: None })
    }

    async fn logout_url(&self, _: &ProviderName, _: &SecretString) -> Option<String> {
        Some(format!("{ISSUER}/logout?post_logout_redirect_uri=https%3A%2F%2Fgate.test"))
    }

    async fn renew(&self, provider: &ProviderName, _: &str, _: &SecretString, _: Timestamp) -> Renewed {
        self.asking.fetch_add(1, Ordering::SeqCst);
        let hangs = self.hangs.lock().clone().filter(|(hanging, _)| hanging == provider);
        if let Some((_, permits)) = hangs {
            permits.acquire().await.unwrap().forget();
        }
        self.asking.fetch_sub(1, Ordering::SeqCst);
        (self.renewed.lock())()
    }
}

fn claims() -> Claims {
    Claims {
        login: Some("alice".to_owned()),
        name: Some("Alice Meyer".to_owned()),
        email: Some("alice@example.com".to_owned()),
        groups: Some(vec!["finance".to_owned()]),
    }
}

fn says(subject: &'static str, acr: &'static str) -> Answers {
    Box::new(move |answer| Ok(Said { subject, acr, auth_time: Some(answer.now), claims: claims() }))
}

impl House {
    /// A house where people come from a provider.
    async fn with_provider() -> (Self, Arc<Scripted>) {
        Self::with_provider_that(|_| ()).await
    }

    /// A house where people come from two, which are one in all but name.
    async fn with_two_providers() -> (Self, Arc<Scripted>) {
        Self::with_providers(|_| (), &[other()]).await
    }

    async fn with_provider_that(is: impl FnOnce(&mut Provider)) -> (Self, Arc<Scripted>) {
        Self::with_providers(is, &[]).await
    }

    async fn with_providers(is: impl FnOnce(&mut Provider), more: &[ProviderName]) -> (Self, Arc<Scripted>) {
        let house = Self::new().await;
        let level = |acr: &str, strength| Level { acr: acr.to_owned(), strength };
        let mut provider = Provider {
            name: corp(),
            title: "Example Corp".to_owned(),
            issuer: ISSUER.to_owned(),
            levels: vec![level("mfa", MFA), level("phr", PHR)],
            adds_people: true,
            governs_groups: true,
            renews_every: Some(Duration::from_secs(900)),
        };
        is(&mut provider);
        let more: Vec<_> = more.iter().map(|name| Provider { name: name.clone(), ..provider.clone() }).collect();
        let scripted = Arc::new(Scripted {
            all: [vec![provider], more].concat(),
            asked: Mutex::default(),
            answers: Mutex::new(says("00u1", "mfa")),
            renewed: Mutex::new(|| Renewed::Away { refresh_token: None }),
            takes_no_request: Mutex::default(),
            of_failed: Mutex::default(),
            hangs: Mutex::default(),
            asking: AtomicUsize::new(0),
        });
        let live = house.flows.live.load_full();
        house.flows.live.store(Arc::new(Live {
            catalogue: stepgate_core::catalogue::Catalogue::new(
                live.catalogue.gate_origin.clone(),
                live.catalogue.gate_host.clone(),
                live.catalogue.services.values().cloned().collect(),
            )
            .unwrap(),
            policies: stepgate_core::policy::Policies::broken("the pages decide nothing"),
            environment: Environment::default(),
            challenges: live.challenges,
            tries: live.tries,
            sessions: live.sessions,
            codes: live.codes,
            providers: scripted.clone(),
        }));
        (house, scripted)
    }
}

impl Scripted {
    fn answers(&self, answers: Answers) {
        *self.answers.lock() = answers;
    }

    fn asked(&self) -> (Ask, String, String) {
        self.asked.lock().last().unwrap().clone()
    }
}

impl Browser<'_> {
    /// Leaves for the provider from the sign-in page; gives the way back.
    async fn leave(&self, sign_in: &str) -> String {
        let page = self.open(sign_in).await;
        let away = self.submit(&page.form_to("/sign-in/with/corp")).await;
        way_back(&away)
    }

    async fn sign_in_at_the_provider(&self) -> Page {
        let back = self.leave("/sign-in").await;
        self.open(&back).await
    }

    async fn leave_to_confirm(&self, challenge: &Challenge) -> String {
        let path = format!("/challenges/{}", challenge.id);
        let page = self.open(&path).await;
        assert!(page.text().contains("Confirm at Example Corp"), "{}", page.told());
        let away = self.submit(&page.form_to(&format!("{path}/login"))).await;
        way_back(&away)
    }
}

/// The page that leads away names the state; the provider brings it back.
fn way_back(away: &Page) -> String {
    assert_eq!(away.status, StatusCode::OK, "{}", away.told());
    let text = away.text();
    let (_, state) = text.split_once("authorize?state=").unwrap_or_else(|| panic!("{}", away.told()));
    let state: String = state.chars().take_while(|sign| sign.is_ascii_alphanumeric() || "-_".contains(*sign)).collect();
    format!("/sign-in/back/corp?code=abc&state={state}")
}

fn asks_for(strength: Strength) -> What {
    What { ways: vec![vec![FactorKind::Idp(strength)]], ..What::default() }
}

#[tokio::test]
async fn somebody_new_signs_in_there_and_is_added_with_an_identity() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    let page = browser.sign_in_at_the_provider().await;
    assert_eq!(page.redirect().unwrap().path(), "/account", "{}", page.told());
    let (session, _) = browser.session().await.unwrap();
    assert_eq!(
        (session.person.login.as_str(), session.person.groups.as_slice()),
        ("alice", &["finance".to_owned()][..])
    );
    assert_eq!(session.assurance.proofs()[0].kind, FactorKind::Idp(MFA));
    assert_eq!(provider.asked().0, Ask::SignIn);
    let started = &house.said("session.started").await[0];
    assert_eq!(started["proof"]["factor"], "idp");
    assert_eq!(started["proof"]["login"]["acr"], "mfa");
    assert_eq!(started["proof"]["bound_to"], provider.asked().2, "the provider signed what this login is for");
    assert_eq!(house.said("person.added").await[0]["by"], "provider:corp");
    assert_eq!(house.said("factor.enrolled").await[0]["authority"], "provider:corp");

    // The second time it is the same person.
    let again = house.browser();
    again.sign_in_at_the_provider().await;
    assert_eq!(again.session().await.unwrap().0.person.id, session.person.id);
    assert_eq!(house.said("person.added").await.len(), 1);
}

#[tokio::test]
async fn what_the_provider_says_of_somebody_holds_from_their_next_sign_in() {
    let (house, provider) = House::with_provider().await;
    house.browser().sign_in_at_the_provider().await;
    provider.answers(Box::new(|answer| {
        let claims = Claims { groups: Some(vec!["auditors".to_owned()]), ..claims() };
        Ok(Said { subject: "00u1", acr: "mfa", auth_time: Some(answer.now), claims })
    }));
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    assert_eq!(browser.session().await.unwrap().0.person.groups, ["auditors"]);
    assert_eq!(house.said("person.changed").await[0]["by"], "provider:corp");

    // The last group goes, too.
    provider.answers(Box::new(|answer| {
        let claims = Claims { groups: Some(Vec::new()), ..claims() };
        Ok(Said { subject: "00u1", acr: "mfa", auth_time: Some(answer.now), claims })
    }));
    browser.sign_in_at_the_provider().await;
    assert_eq!(browser.session().await.unwrap().0.person.groups, Vec::<String>::new());
}

#[tokio::test]
async fn b79_nobody_is_matched_by_name_or_address() {
    let (house, _) = House::with_provider().await;
    // Somebody of this name and address is here, and has nothing to do with the provider's.
    let local = house.add("alice").await;
    let browser = house.browser();
    let page = browser.sign_in_at_the_provider().await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.text().contains("Somebody else here has your name already."), "{}", page.told());
    assert!(browser.session().await.is_none());

    let provider = house.flows.live.load().providers.named(&corp()).unwrap().clone();
    house.flows.add_identity(&local, &provider, "00u1", "cli").await.unwrap();
    browser.sign_in_at_the_provider().await;
    assert_eq!(browser.session().await.unwrap().0.person.id, local.id);
}

#[tokio::test]
async fn a_stranger_is_told_so_where_nobody_is_added() {
    let (house, _) = House::with_provider_that(|provider| provider.adds_people = false).await;
    let browser = house.browser();
    let page = browser.sign_in_at_the_provider().await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.text().contains("nobody here is known by it"), "{}", page.told());
    assert_eq!(house.said("attempt.failed").await[0]["reason"], "unknown_identity");
    assert_eq!(house.said("attempt.failed").await[0]["provider"], "corp");
    assert_eq!(house.details("attempt.failed").await, [serde_json::json!({ "issuer": ISSUER, "subject": "00u1" })]);
    assert_eq!(house.said("person.added").await.len(), 0);
}

#[tokio::test]
async fn a_login_that_fails_says_where_and_whose_it_was_if_that_was_signed() {
    let (house, provider) = House::with_two_providers().await;
    let fails = async |at: &str, why: NotAsserted, whose: Option<&'static str>| {
        provider.answers(Box::new(move |_| Err(why.clone())));
        *provider.of_failed.lock() = whose;
        let browser = house.browser();
        let page = browser.open("/sign-in").await;
        let away = browser.submit(&page.form_to(&format!("/sign-in/with/{at}"))).await;
        browser.open(&way_back(&away).replace("/corp?", &format!("/{at}?"))).await;
    };
    let old = NotAsserted::Token { what: "expired" };
    fails("corp", old.clone(), Some("00u1")).await;
    fails("corp", NotAsserted::Away("x".to_owned()), None).await;
    // Each provider has its own first entry, and its second failure of a kind is only counted.
    fails("other", old.clone(), Some("00u2")).await;
    fails("other", old, Some("00u3")).await;
    let told = |entry: &serde_json::Value| format!("{} {}", entry["provider"], entry["reason"]).replace('"', "");
    let said: Vec<_> = house.said("attempt.failed").await.iter().map(told).collect();
    assert_eq!(said, ["corp expired", "corp provider_away", "other expired"]);
    let of = |subject: &str| serde_json::json!({ "issuer": ISSUER, "subject": subject });
    assert_eq!(house.details("attempt.failed").await, [of("00u1"), serde_json::Value::Null, of("00u2")]);
}

#[tokio::test]
async fn a_step_up_that_fails_says_where_and_whose_login_came_instead() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    let of = |subject: &str| serde_json::json!({ "issuer": ISSUER, "subject": subject });
    for (subject, acr, reason) in [("00u2", "phr", "other_person"), ("00u1", "mfa", "lesser_class")] {
        let challenge = browser.ask(asks_for(PHR)).await;
        provider.answers(says(subject, acr));
        let back = browser.leave_to_confirm(&challenge).await;
        browser.open(&back).await;
        let failed = house.said("attempt.failed").await.pop().unwrap();
        assert_eq!((&failed["reason"], &failed["provider"]), (&reason.into(), &"corp".into()));
        assert_eq!(house.details("attempt.failed").await.pop().unwrap(), of(subject));
    }
    let challenge = browser.ask(asks_for(PHR)).await;
    provider.answers(Box::new(|_| Err(NotAsserted::OldLogin)));
    *provider.of_failed.lock() = Some("00u1");
    let back = browser.leave_to_confirm(&challenge).await;
    browser.open(&back).await;
    assert_eq!(house.details("attempt.failed").await.pop().unwrap(), of("00u1"));
}

#[tokio::test]
async fn strangers_make_the_gate_call_a_provider_so_often_and_no_more() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    let page = browser.open("/sign-in").await;
    let form = page.form_to("/sign-in/with/corp");
    for count in 1..=DEPARTURES_OF_ONE_MAX {
        assert_eq!(browser.submit(&form).await.status, StatusCode::OK, "{count}");
    }
    let asked = provider.asked.lock().len();
    let refused = browser.submit(&form).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header("retry-after"), "60", "{}", refused.told());
    assert!(refused.text().contains("Too many sign-ins at your company’s login"), "{}", refused.told());
    assert!(refused.text().contains("Try again in 60 seconds."), "{}", refused.told());
    assert_eq!(provider.asked.lock().len(), asked, "the provider is not asked");
    assert_eq!(house.said("request.refused").await[0]["code"], "too_many_logins");

    // Who comes from elsewhere leaves as ever, whatever is counted here.
    let elsewhere = house.browser_at([198, 51, 100, 7]);
    elsewhere.sign_in_at_the_provider().await;
    assert!(elsewhere.session().await.is_some());
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(browser.submit(&form).await.status, StatusCode::OK);
}

#[tokio::test]
async fn b75_a_login_that_nobody_dates_is_as_old_as_can_be() {
    let (house, provider) = House::with_provider().await;
    provider.answers(Box::new(|_| Ok(Said { subject: "00u1", acr: "mfa", auth_time: None, claims: claims() })));
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    let (session, _) = browser.session().await.unwrap();
    assert_eq!(session.assurance.proofs()[0].at, Timestamp::from_ms(0));
}

#[tokio::test]
async fn a_login_counts_once_and_in_the_browser_that_left() {
    let (house, _) = House::with_provider().await;
    let browser = house.browser();
    let back = browser.leave("/sign-in").await;
    let thief = house.browser();
    thief.open("/sign-in").await;
    assert_eq!(thief.open(&back).await.status, StatusCode::UNAUTHORIZED);
    assert!(thief.session().await.is_none());
    let other = back.replace("/back/corp", "/back/other");
    assert_eq!(browser.open(&other).await.status, StatusCode::UNAUTHORIZED, "another provider's address");
    let doubled = format!("{back}&state=x");
    assert_eq!(browser.open(&doubled).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.open(&back).await.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.open(&back).await.status, StatusCode::UNAUTHORIZED, "a second time");
    let late = browser.leave("/sign-in").await;
    house.clock.advance(Duration::from_secs(601));
    let page = browser.open(&late).await;
    assert!(page.text().contains("This login took too long"), "{}", page.told());
}

#[tokio::test]
async fn a_challenge_is_confirmed_by_a_login_for_exactly_this() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    let challenge = browser.ask(asks_for(PHR)).await;
    provider.answers(says("00u1", "phr"));
    let back = browser.leave_to_confirm(&challenge).await;
    let (ask, _, nonce) = provider.asked();
    let expected = Ask::StepUp { acr: vec!["phr".to_owned()], max_age_s: 0, subject: "00u1".to_owned() };
    assert_eq!(ask, expected, "only what suffices is asked for, anew, of the same person");
    assert_eq!(nonce, hex::encode(challenge.statement.digest().unwrap()), "the provider signs what is confirmed");
    let page = browser.open(&back).await;
    let to = page.redirect().unwrap_or_else(|| panic!("{}", page.told()));
    assert!(to.as_str().starts_with("https://ledger.test/.stepgate/resume/"), "{to}");
    let passed = &house.said("challenge.passed").await[0];
    assert_eq!(passed["grants"], "confirmation");
    assert_eq!(
        passed["proof"]["login"]["counts_as"],
        serde_json::json!(["second_factor", "phishing_resistant", "possession"])
    );
    assert_eq!(passed["proof"]["bound_to"], nonce);
}

#[tokio::test]
async fn a_freshness_takes_a_login_as_old_as_the_policy_accepts() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    let max_age = Some(Duration::from_secs(300));
    let challenge = browser.ask(What { grant: GrantKind::Freshness, max_age, ..asks_for(MFA) }).await;
    let login = Timestamp::from_ms(house.clock.now().as_ms() - 120_000);
    provider
        .answers(Box::new(move |_| Ok(Said { subject: "00u1", acr: "phr", auth_time: Some(login), claims: claims() })));
    let back = browser.leave_to_confirm(&challenge).await;
    let Ask::StepUp { acr, max_age_s, .. } = provider.asked().0 else { panic!("no step-up") };
    assert_eq!((acr, max_age_s), (vec!["mfa".to_owned(), "phr".to_owned()], 240), "a minute is left for the way back");
    browser.open(&back).await;
    let (session, _) = browser.session().await.unwrap();
    let proof = session.assurance.proofs().last().unwrap();
    assert_eq!(
        (proof.kind, proof.at),
        (FactorKind::Idp(PHR), login),
        "its age is that of the login, not of its arrival"
    );
}

#[tokio::test]
async fn b76_b79_a_login_that_does_not_do_fails_the_challenge_and_says_so() {
    let lies: [(&str, &str, Answers); 4] = [
        ("lesser_class", "did not prove as much", says("00u1", "mfa")),
        ("other_person", "Somebody else logged in", says("00u2", "phr")),
        ("old_login", "an old sign-in", Box::new(|_| Err(NotAsserted::OldLogin))),
        ("nonce", "could not be believed", Box::new(|_| Err(NotAsserted::Token { what: "nonce" }))),
    ];
    for (reason, words, lie) in lies {
        let (house, provider) = House::with_provider().await;
        let browser = house.browser();
        browser.sign_in_at_the_provider().await;
        let challenge = browser.ask(asks_for(PHR)).await;
        let back = browser.leave_to_confirm(&challenge).await;
        provider.answers(lie);
        let page = browser.open(&back).await;
        assert_eq!(page.status, StatusCode::GONE, "{reason}: {}", page.told());
        assert!(page.text().contains(words), "{reason}: {}", page.told());
        assert_eq!(house.said("challenge.failed").await[0]["reason"], reason);
        assert_eq!(house.said("attempt.failed").await[0]["reason"], reason);
        assert!(house.said("challenge.passed").await.is_empty());
    }
}

/// A wrong secret of the client, for one: the person can do nothing about it, so the operator has to hear of it.
#[tokio::test]
async fn a_provider_that_does_not_take_our_request_is_on_record_once_in_a_while() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    *provider.takes_no_request.lock() = Some(NotAsserted::Refused { code: "invalid_client".to_owned() });
    for _ in 0..3 {
        let page = browser.open("/sign-in").await;
        let page = browser.submit(&page.form_to("/sign-in/with/corp")).await;
        assert!(page.text().contains("It said: invalid client."), "{}", page.told());
    }
    let said = house.said("attempt.failed").await;
    assert_eq!(said.len(), 1, "strangers do not fill the ledger: {said:?}");
    assert_eq!(said[0]["reason"], "provider_refused");
    // Whoever confirms something is told the same, and it goes on waiting.
    *provider.takes_no_request.lock() = None;
    browser.sign_in_at_the_provider().await;
    let challenge = browser.ask(asks_for(PHR)).await;
    let path = format!("/challenges/{}", challenge.id);
    let page = browser.open(&path).await;
    *provider.takes_no_request.lock() = Some(NotAsserted::Refused { code: "invalid_client".to_owned() });
    let page = browser.submit(&page.form_to(&format!("{path}/login"))).await;
    assert!(page.text().contains("It said: invalid client."), "{}", page.told());
    assert_eq!(house.said("attempt.failed").await.len(), 1);
    assert!(house.said("challenge.failed").await.is_empty());
}

#[tokio::test]
async fn who_turns_back_there_may_try_again_here() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    let challenge = browser.ask(asks_for(PHR)).await;
    let back = browser.leave_to_confirm(&challenge).await;
    provider.answers(Box::new(|_| Err(NotAsserted::Refused { code: "access_denied".to_owned() })));
    let page = browser.open(&back).await;
    assert!(page.text().contains("You were not signed in there."), "{}", page.told());
    assert!(page.text().contains("Confirm at Example Corp"));
    provider.answers(Box::new(|_| Err(NotAsserted::Away("no route".to_owned()))));
    let back = browser.leave_to_confirm(&challenge).await;
    let page = browser.open(&back).await;
    assert!(page.text().contains("cannot be reached"), "{}", page.told());
    provider.answers(says("00u1", "phr"));
    let back = browser.leave_to_confirm(&challenge).await;
    assert_eq!(browser.open(&back).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn only_the_session_that_left_comes_back_with_an_answer() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    let challenge = browser.ask(asks_for(PHR)).await;
    provider.answers(says("00u1", "phr"));
    let back = browser.leave_to_confirm(&challenge).await;
    // Meanwhile somebody signs in anew in the same browser.
    browser.sign_in_at_the_provider().await;
    let page = browser.open(&back).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{}", page.told());
    assert!(house.said("challenge.passed").await.is_empty());
}

#[tokio::test]
async fn another_session_types_the_number_before_it_leaves() {
    let (house, provider) = House::with_provider().await;
    let asker = house.browser();
    asker.sign_in_at_the_provider().await;
    let challenge = asker.ask(What { kind: "program", ..asks_for(PHR) }).await;
    let other = house.browser();
    other.sign_in_at_the_provider().await;
    let path = format!("/challenges/{}", challenge.id);
    let page = other.open(&path).await;
    let page = other.submit(&page.form_with("number").fill("number", &challenge.number)).await;
    let form = page.form_to(&format!("{path}/login"));
    let wrong = other.submit(&form.clone().fill("number", "000000")).await;
    assert!(wrong.text().contains("That is not the number"), "{}", wrong.told());
    provider.answers(says("00u1", "phr"));
    let back = way_back(&other.submit(&form).await);
    let page = other.open(&back).await;
    assert_eq!((page.status, house.said("challenge.passed").await.len()), (StatusCode::OK, 1), "{}", page.told());
}

#[tokio::test]
async fn a_logout_there_ends_what_rests_on_it_once() {
    let (house, _) = House::with_provider().await;
    let (phone, laptop) = (house.browser(), house.browser());
    phone.sign_in_at_the_provider().await;
    laptop.sign_in_at_the_provider().await;
    let (local, _) = house.signed_in("bob").await;
    let logout = |token: &'static str| {
        let provider = house.browser();
        async move {
            let request = http::Request::post("/sign-in/logout/corp")
                .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            provider.send("/sign-in/logout/corp", request, format!("logout_token={token}").into()).await
        }
    };
    assert_eq!(logout("nonsense").await.status, StatusCode::BAD_REQUEST);
    // What cannot be carried out now is to be sent again, and it says when.
    let later = logout("away").await;
    assert_eq!((later.status, later.header("retry-after").as_str()), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert!(phone.session().await.is_some());
    let page = logout("jti1.00u1").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.headers["cache-control"], "no-store");
    assert!(phone.session().await.is_none() && laptop.session().await.is_none());
    assert!(local.session().await.is_some(), "who came by password stays");
    let ended = house.said("session.ended").await;
    assert_eq!(ended.len(), 2);
    assert_eq!((&ended[0]["reason"], &ended[0]["by"]), (&"logged_out_at_provider".into(), &"provider:corp".into()));
    phone.sign_in_at_the_provider().await;
    assert_eq!(logout("jti1.00u1").await.status, StatusCode::OK, "the same token again");
    assert!(phone.session().await.is_some(), "and it ends nothing that began after it");
}

#[tokio::test]
async fn who_signs_out_here_is_led_to_sign_out_there() {
    let (house, _) = House::with_provider().await;
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    let page = browser.open("/sign-out").await;
    let page = browser.submit(&page.form_to("/sign-out")).await;
    assert!(page.text().contains("https://id.example/logout?post_logout_redirect_uri="), "{}", page.told());
    assert!(browser.session().await.is_none());
}

#[tokio::test]
async fn a_login_that_no_longer_stands_ends_its_session() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    assert_eq!(renewed(&house).await, 0, "not due yet");
    house.clock.advance(Duration::from_secs(900));
    assert_eq!(renewed(&house).await, 1);
    assert!(browser.session().await.is_some(), "a provider that is away ends nothing");
    *provider.renewed.lock() = || Renewed::Stands {
        claims: Some(Claims { groups: Some(vec!["auditors".to_owned()]), ..claims() }),
        refresh_token: None,
    };
    house.clock.advance(Duration::from_secs(120));
    assert_eq!(renewed(&house).await, 1);
    assert_eq!(browser.session().await.unwrap().0.person.groups, ["auditors"], "groups follow");
    *provider.renewed.lock() = || Renewed::Ended;
    house.clock.advance(Duration::from_secs(900));
    assert_eq!(renewed(&house).await, 1);
    assert!(browser.session().await.is_none());
    assert_eq!(house.said("session.ended").await[0]["reason"], "ended_at_provider");
}

#[tokio::test]
async fn a_provider_that_hangs_delays_the_renewal_of_its_own_logins_alone() {
    let (house, provider) = House::with_two_providers().await;
    let there = house.browser();
    let page = there.open("/sign-in").await;
    let away = there.submit(&page.form_to("/sign-in/with/other")).await;
    there.open(&way_back(&away).replace("/corp?", "/other?")).await;
    assert!(there.session().await.is_some());
    let here: Vec<_> = (0..RENEWED_BESIDE + 2).map(|_| house.browser()).collect();
    for browser in &here {
        browser.sign_in_at_the_provider().await;
    }
    *provider.renewed.lock() = || Renewed::Ended;
    let permits = Arc::new(Semaphore::new(0));
    *provider.hangs.lock() = Some((corp(), Arc::clone(&permits)));
    house.clock.advance(Duration::from_secs(900));
    assert_eq!(house.flows.renewals_due().await.unwrap(), [corp(), other()]);
    let flows = Arc::clone(&house.flows);
    let hanging = tokio::spawn(async move { flows.renew_logins_of(&corp()).await.unwrap() });
    until_asking(&provider, RENEWED_BESIDE).await;
    // The other is asked and answers; the one that hangs is asked no more than so many questions at a time.
    assert_eq!(house.flows.renew_logins_of(&other()).await.unwrap(), 1);
    assert!(there.session().await.is_none());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(provider.asking.load(Ordering::SeqCst), RENEWED_BESIDE);
    assert!(here[0].session().await.is_some());
    permits.add_permits(here.len());
    assert_eq!(hanging.await.unwrap() as usize, here.len());
    for browser in &here {
        assert!(browser.session().await.is_none());
    }
}

#[tokio::test]
async fn the_same_groups_in_another_order_are_no_change() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    let alice = browser.session().await.unwrap().0.person.clone();
    let groups = ["z", "a"].map(str::to_owned).to_vec();
    house.flows.change_person(&alice, &alice.name, &alice.email, groups, "cli:test").await.unwrap();
    let changes = house.said("person.changed").await.len();
    *provider.renewed.lock() = || Renewed::Stands {
        claims: Some(Claims { groups: Some(["z", "a", "z"].map(str::to_owned).to_vec()), ..claims() }),
        refresh_token: None,
    };
    house.clock.advance(Duration::from_secs(900));
    assert_eq!(renewed(&house).await, 1);
    assert_eq!(house.said("person.changed").await.len(), changes);
    *provider.renewed.lock() = || Renewed::Stands {
        claims: Some(Claims { groups: Some(vec!["z".to_owned()]), ..claims() }),
        refresh_token: None,
    };
    house.clock.advance(Duration::from_secs(900));
    assert_eq!(renewed(&house).await, 1);
    assert_eq!(house.said("person.changed").await.len(), changes + 1);
}

#[tokio::test]
async fn b75_a_request_that_waited_for_a_sign_in_rests_on_a_proof_as_old_as_the_login() {
    let (house, provider) = House::with_provider().await;
    let browser = house.browser();
    browser.sign_in_at_the_provider().await;
    let (session, _) = browser.session().await.unwrap();
    house.clock.advance(Duration::from_secs(55 * 60));
    let waiting = browser.ask(What { grant: GrantKind::Freshness, ways: Vec::new(), ..What::default() }).await;
    house.clock.advance(Duration::from_secs(6 * 60));
    assert!(browser.session().await.is_none(), "the session has lapsed");
    // The provider lets a login of two hours ago count, without asking anybody.
    let login = Timestamp::from_ms(house.clock.now().as_ms() - 7_200_000);
    provider
        .answers(Box::new(move |_| Ok(Said { subject: "00u1", acr: "mfa", auth_time: Some(login), claims: claims() })));
    let back = browser.leave(&format!("/sign-in?continue={}", waiting.id)).await;
    browser.open(&back).await;
    assert_ne!(browser.session().await.unwrap().0.id, session.id);
    let adopted = house.store().challenge(waiting.id).await.unwrap().unwrap();
    let ChallengeState::Passed { answered, .. } = adopted.state else { panic!("{:?}", adopted.state) };
    let answered: Vec<_> = answered.iter().map(|given| (given.kind, given.at)).collect();
    assert_eq!(answered, [(FactorKind::Idp(MFA), login)], "not as old as its arrival");
}

#[tokio::test]
async fn a_company_login_is_offered_to_those_who_have_one() {
    let (house, _) = House::with_provider().await;
    let (local, _) = house.signed_in("bob").await;
    let challenge =
        local.ask(What { ways: vec![vec![FactorKind::Idp(MFA)], vec![FactorKind::PASSKEY]], ..What::default() }).await;
    let page = local.open(&format!("/challenges/{}", challenge.id)).await;
    assert!(!page.text().contains("Example Corp"), "{}", page.told());
}
