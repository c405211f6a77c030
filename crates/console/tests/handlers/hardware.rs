//! Hardware tokens: activated by whom they were handed to, and answered with.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use stepgate_core::challenge::Challenge;
use stepgate_core::factor::{FactorKind, Moves, OathHash, OathKey};
use stepgate_core::flows::{ImportedFrom, ReadToken};
use stepgate_core::person::Person;
use stepgate_testkit::Page;

use crate::house::{Browser, House, What};

/// RFC 4226, appendix D: the codes of the counters from 0 on.
const CODES: [&str; 10] =
    ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];

impl House {
    /// A token with the seed of RFC 4226, handed out to this person.
    async fn hand_out(&self, serial: &str, person: &Person) {
        let seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ".into();
        let key = OathKey { seed, hash: OathHash::Sha1, digits: 6, moves: Moves::Counts };
        let manufacturer = "Acme".to_owned();
        let read = ReadToken { serial: serial.to_owned(), manufacturer, key, next: 0, until: None };
        let from = ImportedFrom { file: "ab".repeat(32), format: "csv", by: "cli:root".to_owned() };
        self.flows.import_tokens(vec![read], from).await.unwrap();
        let token = self.flows.hardware_token(serial).await.unwrap();
        self.flows.assign_token(&token, person, "cli:root").await.unwrap();
    }
}

/// The page that activates, as the button of the account leads to it.
async fn activation(browser: &Browser<'_>) -> Page {
    let page = browser.open("/account").await;
    let form =
        page.forms().into_iter().find(|form| form.action.path() == "/account/factors" && !form.has("kind")).unwrap();
    let page = browser.submit(&form.press("kind", "hotp")).await;
    let page = browser.open(page.redirect().unwrap().path()).await;
    browser.open(page.redirect().unwrap().path()).await
}

async fn activate(browser: &Browser<'_>, code: &str) -> Page {
    let page = activation(browser).await;
    browser.submit(&page.form_with("code").fill("code", code)).await
}

/// Somebody signed in, with a token that is active since the code of counter 0.
async fn with_token(house: &House) -> (Browser<'_>, Person) {
    let (browser, alice) = house.signed_in("alice").await;
    house.hand_out("FT-001234", &alice).await;
    let page = activate(&browser, CODES[0]).await;
    assert_eq!(page.redirect().map(|to| to.path().to_owned()).as_deref(), Some("/account"), "{}", page.told());
    (browser, alice)
}

async fn ask(browser: &Browser<'_>, payment: &'static str) -> Challenge {
    let ways = vec![vec![FactorKind::Hotp], vec![FactorKind::PASSKEY]];
    browser.ask(What { ways, kind: "browser", payment, ..What::default() }).await
}

async fn answer(browser: &Browser<'_>, challenge: &Challenge, code: &str) -> Page {
    let path = format!("/challenges/{}/answers", challenge.id);
    browser.post_json(&path, &json!({ "factor": "hotp", "code": code })).await
}

#[tokio::test]
async fn a_token_is_activated_by_its_holder_and_stands_in_the_account() {
    let house = House::new().await;
    let (browser, _) = with_token(&house).await;
    let account = browser.open("/account").await;
    for part in ["Hardware token …1234", "hardware token", "…1234"] {
        assert!(account.text().contains(part), "{part}: {}", account.told());
    }
    assert!(!account.text().contains("FT-001234") && !account.text().contains("Activate your hardware token"));
    let (imported, assigned) = (house.said("tokens.imported").await, house.said("token.assigned").await);
    assert_eq!((imported[0]["tokens"].as_u64(), &imported[0]["by"]), (Some(1), &json!("cli:root")));
    assert_eq!(assigned[0]["change"], "assigned");
    let enrolled = house.said("factor.enrolled").await;
    assert_eq!(enrolled.last().unwrap()["factor"], "hotp");
    let details = house.details("factor.enrolled").await;
    assert_eq!(details.last().unwrap()["token"], assigned[0]["token"]);
}

/// Whoever imported the seed can make its codes. What they lack is the person's session, and the proof that the
/// gate's policies ask of it; and nobody gets more tries by activating.
#[tokio::test]
async fn b152_activating_counts_as_trying() {
    let house = House::new().await;
    let (browser, alice) = house.signed_in("alice").await;
    let nothing = browser.open("/account").await;
    assert!(!nothing.text().contains("Activate your hardware token"), "nobody handed one out");
    house.hand_out("FT-001234", &alice).await;
    let page = activation(&browser).await;
    assert!(page.text().contains("Hardware token …1234"), "{}", page.told());
    let mut answers = Vec::new();
    for number in 0..12 {
        answers.push(activate(&browser, &format!("{number:06}")).await);
    }
    assert!(answers.iter().all(|page| page.status == StatusCode::UNPROCESSABLE_ENTITY));
    assert!(answers.last().unwrap().text().contains("too many wrong codes"), "{}", answers.last().unwrap().told());
    let right = activate(&browser, CODES[0]).await;
    assert_eq!(right.status, StatusCode::UNPROCESSABLE_ENTITY, "it is locked: {}", right.told());
    assert!(house.said("attempt.failed").await.len() <= 10);
}

#[tokio::test]
async fn b61_one_hardware_code_from_fifty_connections_passes_once() {
    let house = House::new().await;
    let (browser, _) = with_token(&house).await;
    let mut challenges = Vec::new();
    for payment in ["42", "43", "44", "45", "46"] {
        challenges.push(ask(&browser, payment).await);
    }
    let answers = join_all((0..50).map(|at| answer(&browser, &challenges[at % 5], CODES[1]))).await;
    let passed = answers.iter().filter(|page| page.status == StatusCode::OK).count();
    assert_eq!(passed, 1, "{:?}", answers.iter().map(|page| page.status.as_u16()).collect::<Vec<_>>());
    assert_eq!(house.said("challenge.passed").await.len(), 1);
}

/// A code that is ahead of the window and one that is nothing get the same answer: nobody learns how far a token is.
#[tokio::test]
async fn b150_a_near_miss_looks_like_any_other_wrong_code() {
    let house = House::new().await;
    let (browser, _) = with_token(&house).await;
    // The next code is that of counter 1; this is that of counter 11, the first beyond the window.
    let far = answer(&browser, &ask(&browser, "42").await, "481090").await;
    let wrong = answer(&browser, &ask(&browser, "43").await, "000000").await;
    assert_eq!(far.status, StatusCode::UNPROCESSABLE_ENTITY);
    let without_count = |page: &Page| {
        let mut json = page.json();
        json.as_object_mut().unwrap().retain(|name, _| name != "tries_left" && name != "detail");
        json
    };
    assert_eq!((far.status, without_count(&far)), (wrong.status, without_count(&wrong)));
    let page = browser.open(&format!("/challenges/{}", ask(&browser, "44").await.id)).await;
    assert!(page.text().contains("type both codes here"), "the way back is offered before anything was tried");
    let both = [CODES[5], CODES[6]].join(" ");
    let back = answer(&browser, &ask(&browser, "45").await, &both).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.told());
    let used = answer(&browser, &ask(&browser, "46").await, CODES[6]).await;
    assert_eq!((used.status, used.json()["code"].clone()), (StatusCode::UNPROCESSABLE_ENTITY, json!("used_before")));
}

#[tokio::test]
async fn b67_a_locked_token_leaves_the_other_factors() {
    let house = House::new().await;
    let (browser, _) = with_token(&house).await;
    for payment in ["1", "2", "3"] {
        let challenge = ask(&browser, payment).await;
        for _ in 0..4 {
            answer(&browser, &challenge, "000000").await;
        }
    }
    let locked = answer(&browser, &ask(&browser, "42").await, CODES[1]).await;
    assert_eq!(locked.json()["code"], "factor_locked", "{}", locked.told());
    let challenge = ask(&browser, "43").await;
    let page = browser.open(&format!("/challenges/{}", challenge.id)).await;
    let page = browser.touch(&page).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "the passkey still works: {}", page.told());
}
