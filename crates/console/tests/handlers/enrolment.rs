//! Enrolling, by a link and from one's own account.

use http::StatusCode;
use stepgate_core::factor::FactorKind;
use stepgate_core::time::Clock as _;
use stepgate_testkit::totp::code_at;

use crate::house::{House, PASSWORD};

#[tokio::test]
async fn b71_a_link_works_once_and_looking_at_it_spoils_nothing() {
    let house = House::new().await;
    let person = house.add("alice").await;
    let link = house.link(&person, &[FactorKind::Password]).await;
    let scanner = house.browser();
    for _ in 0..3 {
        assert_eq!(scanner.open(&link).await.status, StatusCode::OK);
    }
    let browser = house.browser();
    let page = browser.open(&link).await;
    assert!(page.text().contains("Welcome, Alice Meyer"), "{}", page.told());
    let form = page.form_to(&link);
    let opened = browser.submit(&form).await;
    assert_eq!(opened.status, StatusCode::SEE_OTHER, "{}", opened.told());
    let again = browser.submit(&form).await;
    assert_eq!(again.status, StatusCode::GONE, "{}", again.told());
    assert_eq!(scanner.open(&link).await.status, StatusCode::GONE);

    // What came of it belongs to that browser alone.
    let base = opened.redirect().unwrap().path().to_owned();
    assert_eq!(scanner.open(&base).await.status, StatusCode::GONE);
    assert_ne!(browser.open(&base).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn b72_only_what_the_link_allows_is_enrolled() {
    let house = House::new().await;
    let person = house.add("alice").await;
    let link = house.link(&person, &[FactorKind::Password]).await;
    let browser = house.browser();
    let page = browser.open(&link).await;
    let page = browser.submit(&page.form_to(&link)).await;
    let base = page.redirect().unwrap().path().to_owned();
    for kind in ["passkey", "totp", "recovery_code", "other"] {
        assert_eq!(browser.open(&format!("{base}/{kind}")).await.status, StatusCode::NOT_FOUND, "{kind}");
    }
}

#[tokio::test]
async fn b52_the_way_back_removes_no_factor_and_no_step_of_it_is_skipped() {
    let house = House::new().await;
    let (_, person) = house.signed_in("alice").await;
    let before = house.store().factors(person.id).await.unwrap();
    let link = house.link(&person, &[FactorKind::Password]).await;
    let new = [("password", "another cold lantern at dawn"), ("again", "another cold lantern at dawn")];
    let new = new.map(|(name, value)| (name.to_owned(), value.to_owned()));

    // Only the link opens the way: not its address without opening it, not an address
    // that is guessed, not its end.
    let stranger = house.browser();
    let page = stranger.open(&link).await;
    let csrf = page.form_to(&link).fields.into_iter().find(|(name, _)| name == "csrf").unwrap();
    let fields: Vec<_> = new.iter().cloned().chain([csrf]).collect();
    let guessed = "/enrol/00000000000000000000000000000000";
    for path in [format!("{link}/password"), format!("{link}/end"), format!("{guessed}/password"), guessed.to_owned()] {
        let answer = stranger.post(&path, &fields).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.told());
    }
    assert!(stranger.session().await.is_none());

    // Opened, it belongs to one browser, and ending it signs nobody in.
    let browser = house.browser();
    let page = browser.open(&link).await;
    let page = browser.submit(&page.form_to(&link)).await;
    let base = page.redirect().unwrap().path().to_owned();
    for path in [format!("{base}/password"), format!("{base}/end")] {
        assert!(stranger.post(&path, &fields).await.status.is_client_error(), "{path}");
    }
    let page = browser.open(&format!("{base}/password")).await;
    let form = page.form_to(&format!("{base}/password"));
    let page = browser.submit(&new.iter().fold(form, |form, (name, value)| form.fill(name, value))).await;
    assert!(page.text().contains("You are set up"), "{}", page.told());
    assert!(browser.session().await.is_none());

    // The passkey is where it was.
    let after = house.store().factors(person.id).await.unwrap();
    let kept = |id| after.iter().any(|factor| factor.id == id);
    let passkeys = before.iter().filter(|factor| factor.kind().is_same_factor(FactorKind::PASSKEY));
    assert!(passkeys.clone().count() == 1 && passkeys.into_iter().all(|factor| kept(factor.id)), "{after:?}");
}

#[tokio::test]
async fn passwords_that_are_short_or_differ_are_refused_with_words() {
    let house = House::new().await;
    let person = house.add("alice").await;
    let link = house.link(&person, &[FactorKind::Password]).await;
    let browser = house.browser();
    let page = browser.open(&link).await;
    let page = browser.submit(&page.form_to(&link)).await;
    let path = format!("{}/password", page.redirect().unwrap().path());
    let mut page = browser.open(&path).await;
    for (password, again, said) in
        [("short", "short", "at least 15"), (PASSWORD, "another one altogether", "not the same"), ("", "", "not empty")]
    {
        page = browser.submit(&page.form_to(&path).fill("password", password).fill("again", again)).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.text().contains(said), "{said}: {}", page.told());
    }
    let page = browser.submit(&page.form_to(&path).fill("password", PASSWORD).fill("again", PASSWORD)).await;
    assert!(page.text().contains("You are set up"), "{}", page.told());
}

#[tokio::test]
async fn an_authenticator_app_is_added_from_the_account_and_a_typo_costs_nothing() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let page = browser.open("/account").await;
    let mut form =
        page.forms().into_iter().find(|form| form.action.path() == "/account/factors" && !form.has("kind")).unwrap();
    form.fields.push(("kind".to_owned(), "totp".to_owned()));
    let page = browser.submit(&form).await;
    let base = page.redirect().unwrap_or_else(|| panic!("{}", page.told())).path().to_owned();
    assert!(base.starts_with("/account/enrolments/"), "{base}");
    let page = browser.open(&base).await;
    let path = page.redirect().unwrap_or_else(|| panic!("{}", page.told())).path().to_owned();
    let page = browser.open(&path).await;
    let secret = secret_on(&page.text());
    assert!(page.text().contains("src=\"data:image/svg+xml;base64,"));

    let right = code_at(&secret, house.clock.now());
    let wrong = if right == "000000" { "000001" } else { "000000" };
    let page = browser.submit(&page.form_with("code").fill("code", wrong)).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(secret_on(&page.text()), secret, "what was scanned stays as it is");
    let spaced = format!("{} {}", &right[..3], &right[3..]);
    let page = browser.submit(&page.form_with("code").fill("code", &spaced)).await;
    assert_eq!(page.header("location"), "/account", "{}", page.told());
    let factors = house.store().factors(person.id).await.unwrap();
    assert!(factors.iter().any(|factor| factor.kind() == FactorKind::Totp));
    // The ticket is used up.
    assert_eq!(browser.open(&path).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn b98_what_an_account_was_given_enrols_nothing_without_its_session() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let given = async || {
        let page = browser.open("/account").await;
        let forms = page.forms().into_iter();
        let mut form = forms.filter(|form| form.action.path() == "/account/factors").find(|form| !form.has("kind"));
        let form = form.as_mut().unwrap();
        form.fields.push(("kind".to_owned(), "totp".to_owned()));
        browser.submit(form).await.redirect().unwrap().path().to_owned()
    };
    let begin = async |base: &str| browser.open(&format!("{base}/totp")).await;
    // Not at the address that asks for no session, while that lives.
    let base = given().await;
    let elsewhere = base.replace("/account/enrolments/", "/enrol/with/");
    assert_eq!(begin(&elsewhere).await.status, StatusCode::GONE);

    // Not after the session ended, with what was begun in it.
    let page = begin(&base).await;
    let secret = secret_on(&page.text());
    let form = page.form_with("code").fill("code", &code_at(&secret, house.clock.now()));
    let (session, _) = browser.session().await.unwrap();
    house.flows.end_session(session.id, &session, "revoked").await.unwrap();
    let mut elsewhere_form = form.clone();
    elsewhere_form.action.set_path(&format!("{elsewhere}/totp"));
    for form in [form, elsewhere_form] {
        let answer = browser.submit(&form).await;
        assert!(!answer.status.is_success() && answer.header("location") != "/account", "{}", answer.told());
    }
    let factors = house.store().factors(person.id).await.unwrap();
    assert!(factors.iter().all(|factor| factor.kind() != FactorKind::Totp), "{factors:?}");
}

#[tokio::test]
async fn b98_what_a_session_was_given_is_worthless_in_the_next() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let link = house.link(&person, &[FactorKind::Totp]).await;
    let page = browser.open(&link).await;
    let base = browser.submit(&page.form_to(&link)).await.redirect().unwrap().path().to_owned();
    assert_ne!(browser.open(&base).await.status, StatusCode::GONE);
    let in_account = base.replace("/enrol/with/", "/account/enrolments/");
    assert_eq!(browser.open(&in_account).await.status, StatusCode::GONE, "a link's ticket is no account's");

    let page = browser.open("/account").await;
    let forms = page.forms().into_iter();
    let mut form =
        forms.filter(|form| form.action.path() == "/account/factors").find(|form| !form.has("kind")).unwrap();
    form.fields.push(("kind".to_owned(), "totp".to_owned()));
    let base = browser.submit(&form).await.redirect().unwrap().path().to_owned();
    assert_ne!(browser.open(&base).await.status, StatusCode::GONE);
    browser.sign_in("alice", PASSWORD).await;
    assert_eq!(browser.open(&base).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn nobody_finishes_without_something_to_sign_in_with() {
    let house = House::new().await;
    let person = house.add("alice").await;
    let link = house.link(&person, &[FactorKind::Password, FactorKind::Totp]).await;
    let browser = house.browser();
    let page = browser.open(&link).await;
    let page = browser.submit(&page.form_to(&link)).await;
    let base = page.redirect().unwrap().path().to_owned();
    let page = browser.open(&format!("{base}/totp")).await;
    let code = code_at(&secret_on(&page.text()), house.clock.now());
    browser.submit(&page.form_with("code").fill("code", &code)).await;
    let page = browser.open(&base).await;
    assert!(page.text().contains("Add a passkey or a password before you finish"), "{}", page.told());
    assert!(!page.text().contains("Finish</button>"), "{}", page.told());

    let path = format!("{base}/password");
    let page = browser.open(&path).await;
    browser.submit(&page.form_to(&path).fill("password", PASSWORD).fill("again", PASSWORD)).await;
    let page = browser.open(&base).await;
    assert!(page.text().contains("Finish</button>"), "{}", page.told());
    let factors = house.store().factors(person.id).await.unwrap();
    assert!(factors.iter().any(|factor| factor.name == "Password"), "{factors:?}");
}

fn secret_on(text: &str) -> String {
    let after = text.split("<dt>Secret</dt><dd><code class=\"digest\">").nth(1).unwrap_or_else(|| panic!("{text}"));
    after.split('<').next().unwrap().to_owned()
}

#[tokio::test]
async fn recovery_codes_are_shown_once_and_count_when_they_are_kept() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let page = browser.open("/account").await;
    let mut form =
        page.forms().into_iter().find(|form| form.action.path() == "/account/factors" && !form.has("kind")).unwrap();
    form.fields.push(("kind".to_owned(), "recovery_code".to_owned()));
    let base = browser.submit(&form).await.redirect().unwrap().path().to_owned();
    let path = browser.open(&base).await.redirect().unwrap().path().to_owned();
    let page = browser.open(&path).await;
    assert!(page.text().contains("shown now and never again"), "{}", page.told());
    let has = |factors: Vec<stepgate_core::factor::EnrolledFactor>| {
        factors.iter().any(|factor| factor.kind() == FactorKind::RecoveryCode)
    };
    assert!(!has(house.store().factors(person.id).await.unwrap()));
    let page = browser.submit(&page.form_to(&path)).await;
    assert_eq!(page.header("location"), "/account", "{}", page.told());
    assert!(has(house.store().factors(person.id).await.unwrap()));
}
