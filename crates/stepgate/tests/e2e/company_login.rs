//! People who come from their company's identity provider: sign-in, confirmation there for
//! exactly one payment, and what ends it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stepgate_core::time::Clock;
use stepgate_testkit::provider::{Client, Somebody, TestProvider};
use stepgate_testkit::{Answer, Browser, CertifiedProvider, Page, Person, RecordingUpstream, Signer};
use tokio::io::AsyncReadExt as _;

use crate::in_chromium::{click, type_into, wait_for_text};
use crate::main_job::challenge_of;
use crate::streams::{HANDSHAKE, open, streaming};
use crate::world::{Behind, Member, PAGE, Payments, World, said};

/// The tests' environment has this variable, so no secret needs a file.
pub(crate) const SECRET: &str = env!("CARGO_PKG_NAME");

pub(crate) const POLICIES: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("large-payment")
@reason("Payments over 10,000 need a passkey, here or at your company's login, for this payment alone.")
forbid (principal, action == Action::"payments.approve", resource in Service::"ledger")
when   { context.input.amount > 10000 }
unless { context.confirmed.contains("phishing_resistant") };

@id("exports-need-a-fresh-second-factor")
@reason("Exports need a second factor from the last five minutes.")
forbid (principal, action == Action::"payments.export", resource in Service::"ledger")
unless { context.age.second_factor <= duration("5m") };
"#;

/// What a provider says of itself.
pub(crate) const METADATA: &str = "/.well-known/openid-configuration";

/// The same, where people come from this provider; `more` is what follows in the configuration.
fn with_provider(behind: Behind, issuer: &str, more: &str) -> Behind {
    let table = format!(
        r#"
[[provider]]
name = "corp"
title = "Example Corp"
issuer = "{issuer}"
client_id = "gate"
client_secret_env = "CARGO_PKG_NAME"
groups_claim = "groups"
groups = {{ "Finance Team" = "finance" }}
adds_people = true
governs_groups = true
renews_every = "10m"
danger_loopback = true
[[provider.level]]
acr = "mfa"
counts_as = ["second_factor", "possession"]
[[provider.level]]
acr = "phr"
counts_as = ["second_factor", "possession", "phishing_resistant"]
"#
    );
    let operations = format!("{}\n{table}\n{more}", behind.operations);
    // Each test leaks one small text and ends.
    Behind { operations: Box::leak(operations.into_boxed_str()), policies: POLICIES, ..behind }
}

/// A gate before payments, where people come from a provider.
pub(crate) struct Company {
    pub(crate) world: World,
    pub(crate) provider: TestProvider,
    payments: Payments,
}

impl Company {
    async fn start() -> Self {
        Self::before(Payments::start().await, false, "").await
    }

    /// `more` is configuration at its end.
    pub(crate) async fn before(payments: Payments, in_real_time: bool, more: &str) -> Self {
        let clock = World::clock();
        let time: Arc<dyn Clock> =
            if in_real_time { Arc::new(stepgate::system::SystemClock) } else { Arc::clone(&clock) as _ };
        let provider = TestProvider::start(Arc::clone(&time)).await;
        let behind = payments.behind();
        let world = World::at(with_provider(behind, &provider.issuer(), more), time, clock).await;
        provider.register(Client::with_secret("gate", SECRET, &world.at_gate("/sign-in/back/corp")));
        let company = Self { world, provider, payments };
        company.is_signed_in("00u1", &["mfa", "phr"]);
        company
    }

    /// Who is signed in at the provider, with a password until more is asked.
    pub(crate) fn is_signed_in(&self, subject: &str, can: &[&str]) {
        let now = self.world.now();
        let somebody = Somebody::new(subject, now).who_can(can).with("groups", json!(["Finance Team", "Staff"]));
        self.provider.signed_in(somebody);
    }

    /// Opens a page of the service as somebody who comes from the provider.
    pub(crate) async fn arrive(&self, person: &Person, path: &str) -> Page {
        let asked = person.open(&self.world.at_service(path)).await;
        let away = person.submit(&asked, &asked.form_to("/sign-in/with/corp")).await;
        follow(person, &away).await
    }

    async fn confirm(&self, person: &Person, asked: &Page) -> Page {
        let action = format!("{}/login", asked.url.path());
        let away = person.submit(asked, &asked.form_to(&action)).await;
        follow(person, &away).await
    }
}

/// Goes where a page leads that has but one way on.
pub(crate) async fn follow(person: &Person, away: &Page) -> Page {
    let on = away.links().into_iter().find(|link| link.path().ends_with("/authorize"));
    let on = on.unwrap_or_else(|| panic!("it leads nowhere: {}", away.told()));
    person.open(on.as_str()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_confirmed_at_the_provider_for_exactly_this_payment() {
    let company = Company::start().await;
    let (world, ada) = (&company.world, Person::new());
    let list = company.arrive(&ada, "/payments").await;
    assert_eq!(list.url.as_str(), world.at_service("/payments"), "{}", list.told());
    let approved = ada.submit(&list, &list.form_with("small")).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());

    let asked = ada.submit(&list, &list.form_with("large")).await;
    assert!(asked.text().contains("Confirm at Example Corp"), "{}", asked.told());
    let approved = company.confirm(&ada, &asked).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    assert_eq!(approved.url.as_str(), world.at_service("/payments/42/approve"), "where the person was");
    assert_eq!(company.payments.bodies(), ["small=1&amount=900", "large=1&amount=12000"]);

    let statement = world.statement(challenge_of(&asked)).await;
    let request = company.provider.asked().pop().unwrap();
    assert_eq!(request["nonce"], hex::encode(statement.digest().unwrap()), "the provider signed this payment");
    assert_eq!((request["acr_values"].as_str(), request["max_age"].as_str()), ("phr", "0"));
    assert_eq!(request["code_challenge_method"], "S256");

    // Another one is asked for anew.
    let list = ada.open(&world.at_service("/payments")).await;
    let asked = ada.submit(&list, &list.form_with("other")).await;
    assert!(asked.text().contains("Confirm at Example Corp"), "{}", asked.told());
    let told = world.verified_evidence();
    assert!(told.contains("2 company logins, 1 challenge passed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_verifies_company_logins_by_the_keys_that_the_provider_published() {
    let company = Company::start().await;
    let (world, ada) = (&company.world, Person::new());
    let list = company.arrive(&ada, "/payments").await;
    let asked = ada.submit(&list, &list.form_with("large")).await;
    company.confirm(&ada, &asked).await;

    let told = world.verified_evidence();
    let (issuer, key) = (company.provider.issuer(), company.provider.key());
    let line = format!("Logins       {issuer}: key ");
    assert!(told.contains("2 company logins") && told.contains(&line), "{told}");
    assert!(told.contains(" signed 2 logins for the client gate\n"), "{told}");
    assert!(told.contains("Not checked  whether the keys that signed company logins are their providers'"), "{told}");
    assert!(!told.contains("proofs by idp"), "{told}");

    let saved = |name: &str, keys: serde_json::Value| {
        let file = world.dir.path().join(name);
        std::fs::write(&file, keys.to_string()).unwrap();
        format!("{issuer}={}", file.display())
    };
    let published = saved("published.json", json!({ "keys": [Signer::new("RS256", "older").jwk(), key.jwk()] }));
    let by_them = world.verify_again(&["--provider-keys", &published]);
    assert!(by_them.status.success(), "{}", said(&by_them));
    assert!(said(&by_them).contains("it is one of the keys that you gave"), "{}", said(&by_them));
    assert!(!said(&by_them).contains("whether the keys"), "{}", said(&by_them));

    // Keys of the same provider at another time do not contradict these.
    let older = saved("older.json", json!({ "keys": [Signer::new("RS256", "older").jwk()] }));
    let both = world.verify_again(&["--provider-keys", &older, "--provider-keys", &published]);
    assert!(both.status.success(), "{}", said(&both));
    let foreign = world.verify_again(&["--provider-keys", &older]);
    assert_eq!(foreign.status.code(), Some(3), "{}", said(&foreign));
    assert!(said(&foreign).contains("which is none of the keys that were given of"), "{}", said(&foreign));
    assert!(said(&foreign).contains("signed in with company login at"), "{}", said(&foreign));

    for (given, says) in [
        ("published.json".to_owned(), "is not ISSUER=FILE"),
        (saved("none.json", json!({ "keys": [] })), "without a key that could have signed a login"),
        (saved("text.json", json!("keys")), "is no JWK set"),
        (format!("{issuer}=nowhere.json"), "nowhere.json"),
    ] {
        let wrong = world.verify_again(&["--provider-keys", &given]);
        assert_eq!(wrong.status.code(), Some(2), "{given}: {}", said(&wrong));
        assert!(said(&wrong).contains(says), "{given}: {}", said(&wrong));
    }

    // Without what lies beside the tree nothing of a login is left but its digest.
    std::fs::remove_file(world.dir.path().join("export/details.jsonl")).unwrap();
    let bare = world.verify_again(&["--json"]);
    let bare: serde_json::Value = serde_json::from_slice(&bare.stdout).unwrap();
    assert_eq!((&bare["sound"], &bare["checked"]["logins"]), (&json!(true), &json!(0)));
    let absent = json!({ "what": "login_absent", "count": 2 });
    assert!(bare["not_checked"].as_array().unwrap().contains(&absent), "{bare}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_takes_a_login_of_the_last_five_minutes() {
    let company = Company::start().await;
    let (world, ada) = (&company.world, Person::new());
    company.arrive(&ada, "/payments").await;
    let asked = ada.open(&world.at_service("/payments.csv")).await;
    let file = company.confirm(&ada, &asked).await;
    assert_eq!(file.text(), "id,amount\n42,12000\n", "{}", file.told());
    let request = company.provider.asked().pop().unwrap();
    assert_eq!((request["acr_values"].as_str(), request["max_age"].as_str()), ("mfa phr", "240"));
    world.clock.advance(Duration::from_secs(301));
    let asked = ada.open(&world.at_service("/payments.csv")).await;
    assert!(asked.text().contains("from the last five minutes"), "{}", asked.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b76_b79_nobody_elses_login_and_no_lesser_one_sends_the_payment() {
    for (subject, can, says) in
        [("00u2", &["phr"][..], "Somebody else"), ("00u1", &["mfa"][..], "cannot prove for you what this needs")]
    {
        let company = Company::start().await;
        let ada = Person::new();
        let list = company.arrive(&ada, "/payments").await;
        let asked = ada.submit(&list, &list.form_with("large")).await;
        company.is_signed_in(subject, can);
        let refused = company.confirm(&ada, &asked).await;
        assert!(refused.text().contains(says), "{subject}: {}", refused.told());
        assert!(company.payments.bodies().is_empty());
        company.world.verified_evidence();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_there_closes_what_is_open_here() {
    let company = Company::before(streaming().await, false, "").await;
    let (world, person) = (&company.world, Person::new());
    company.arrive(&person, "/payments").await;
    let ada = Member { person, login: "ada".to_owned(), secret: String::new() };
    let mut socket = open(world, &ada, "/socket", HANDSHAKE, "\r\n\r\n").await;

    let forged = company.provider.logout_token("somebody-else", Some("00u1"), None);
    let to = world.at_gate("/sign-in/logout/corp");
    assert_eq!(company.provider.post_logout_token(&to, &forged).await, 400);
    assert!(ada.person.open_once(&world.at_service("/payments")).await.status.is_success());

    let token = company.provider.logout_token("gate", Some("00u1"), None);
    assert_eq!(company.provider.post_logout_token(&to, &token).await, 200);
    let mut rest = Vec::new();
    // An abortive end is an end too.
    let _ = socket.read_to_end(&mut rest).await;
    let again = ada.person.open_once(&world.at_service("/payments")).await;
    assert!(again.status.is_redirection(), "{}", again.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_logged_out_there_on_its_way_is_none() {
    let company = Company::start().await;
    let (world, ada) = (&company.world, Person::new());
    let to = world.at_gate("/sign-in/logout/corp");
    for by_sid in [true, false] {
        let asked = ada.open(&world.at_service("/payments")).await;
        let away = ada.submit(&asked, &asked.form_to("/sign-in/with/corp")).await;
        let on = away.links().into_iter().find(|link| link.path().ends_with("/authorize")).unwrap();
        let answer = company.provider.visit(on.as_str()).await;
        world.clock.advance(Duration::from_secs(1));
        let sid = company.provider.somebody().sid;
        let (subject, sid) = if by_sid { (None, Some(sid.as_str())) } else { (Some("00u1"), None) };
        let token = company.provider.logout_token("gate", subject, sid);
        assert_eq!(company.provider.post_logout_token(&to, &token).await, 200);
        let back = ada.open(&world.at_gate(&format!("/sign-in/back/corp?{answer}"))).await;
        assert!(back.status.is_client_error(), "{}", back.told());
        let again = ada.open_once(&world.at_service("/payments")).await;
        assert!(again.status.is_redirection(), "{}", again.told());
    }
    // What begins after the logout is a login of its own.
    let list = company.arrive(&ada, "/payments").await;
    assert_eq!(list.url.as_str(), world.at_service("/payments"), "{}", list.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_was_away_is_used_when_it_is_back() {
    let company = Company::start().await;
    let ada = Person::new();
    company.provider.answer_instead(METADATA, |_| Answer::new(503, &[], "later"));
    let Company { world, provider, payments } = company;
    let company = Company { world: world.restart().await, provider, payments };
    let world = &company.world;
    let asked = ada.open(&world.at_service("/payments")).await;
    let away = ada.submit(&asked, &asked.form_to("/sign-in/with/corp")).await;
    assert!(away.text().contains("Your company’s login cannot be reached."), "{}", away.told());
    company.provider.be_honest();
    world.clock.advance(Duration::from_secs(120));
    let list = company.arrive(&ada, "/payments").await;
    assert_eq!(list.url.as_str(), world.at_service("/payments"), "{}", list.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_says_it_is_another_is_refused_at_load() {
    let company = Company::start().await;
    company.provider.change_metadata(|metadata| metadata["issuer"] = json!("https://evil.example"));
    let refused = company.world.gate.reload().await.unwrap_err().to_string();
    assert!(refused.contains("corp cannot be used") && refused.contains("https://evil.example"), "{refused}");
    company.provider.be_honest();
    company.world.gate.reload().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_passkey_needs_no_administrator_where_that_is_allowed() {
    let company = Company::start().await;
    let (world, ada) = (&company.world, Person::new());
    company.arrive(&ada, "/payments").await;
    let add = |account: &Page| {
        let mut form = account.form_to("/account/factors");
        form.fields.push(("kind".to_owned(), "passkey".to_owned()));
        form
    };
    let account = ada.open(&world.at_gate("/account")).await;
    let refused = ada.submit(&account, &add(&account)).await;
    assert!(!refused.text().contains("Confirm at Example Corp"), "{}", refused.told());

    let file = world.dir.path().join("stepgate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[gate]\n", "[gate]\ncompany_login_enrols = true\n")).unwrap();
    world.gate.reload().await.unwrap();
    let account = ada.open(&world.at_gate("/account")).await;
    let asked = ada.submit(&account, &add(&account)).await;
    assert!(asked.text().contains("Confirm at Example Corp"), "{}", asked.told());
    let enrolment = company.confirm(&ada, &asked).await;
    let account = ada.touch(&enrolment).await;
    assert!(account.text().contains("<span class=\"tag\">passkey</span>"), "{}", account.told());

    // From now on she confirms with it.
    let list = ada.open(&world.at_service("/payments")).await;
    let asked = ada.submit(&list, &list.form_with("large")).await;
    let approved = ada.touch(&asked).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_says_who_somebody_is_there() {
    let company = Company::start().await;
    let (world, person) = (&company.world, Person::new());
    let ada = world.ada().await;
    let refused = company.arrive(&person, "/payments").await;
    assert!(refused.text().contains("Somebody else here has your name already."), "{}", refused.told());
    let identify = |provider, subject| {
        world.command(&["user", "identify", &ada.login, "--provider", provider, "--subject", subject])
    };
    let wrong = identify("crop", "00u1");
    assert!(said(&wrong).contains("no provider \"crop\"; known are corp"), "{}", said(&wrong));
    assert!(identify("corp", "00u1").status.success());
    assert!(said(&identify("corp", "00u1")).contains("already"));
    let list = company.arrive(&person, "/payments").await;
    assert_eq!(list.url.as_str(), world.at_service("/payments"), "{}", list.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_chromium_the_payment_goes_on_after_the_provider() {
    let company = Company::before(Payments::start().await, true, "").await;
    let world = &company.world;
    let browser = Browser::start().await;
    browser.goto(world.at_service("/payments")).await.unwrap();
    click(&browser, "form.company button").await;
    wait_for_text(&browser, "Payments").await;
    click(&browser, "#large button").await;
    wait_for_text(&browser, "Payments over 10,000 need a passkey, here or at your company's login").await;
    click(&browser, "form.company button").await;
    wait_for_text(&browser, "Approved").await;
    assert_eq!(browser.current_url().await.unwrap().as_str(), world.at_service("/payments/42/approve"));
    assert_eq!(company.payments.bodies(), ["large=1&amount=12000"]);
    // Signing out here leads to signing out there.
    browser.goto(world.at_gate("/sign-out")).await.unwrap();
    click(&browser, "form button.primary").await;
    wait_for_text(&browser, "Sign out at your company’s login, too").await;
    browser.quit().await;
    world.verified_evidence();
}

/// A page that says what becomes of its socket.
const LIVE: &str = r#"<!doctype html><title>Live</title><p id="said">opening</p>
<script>
const said = document.getElementById("said");
const socket = new WebSocket("ws://" + location.host + "/socket");
socket.onmessage = (message) => { said.textContent = "the socket says " + message.data; };
socket.onclose = () => { said.textContent = "the socket is closed"; };
</script>"#;

/// The certified provider, its own pages, and a browser that goes through them.
struct Certified {
    world: World,
    idp: CertifiedProvider,
    payments: Payments,
    browser: Browser,
}

impl Certified {
    async fn start() -> Self {
        let idp = CertifiedProvider::start(&[]);
        let payments = Payments(
            RecordingUpstream::start(|request| match (request.method().as_str(), request.target().as_str()) {
                ("POST", _) => Answer::page("<h1>Approved</h1>"),
                (_, "/live") => Answer::page(LIVE),
                (_, "/socket") => Answer::web_socket(request, "hello"),
                _ => Answer::page(PAGE),
            })
            .await,
        );
        let world = World::in_real_time(with_provider(payments.behind(), idp.issuer(), "")).await;
        idp.register(&json!({
            "client_id": "gate",
            "client_secret": SECRET,
            "redirect_uris": [world.at_gate("/sign-in/back/corp")],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "id_token_signed_response_alg": "ES256",
            "require_auth_time": true,
            "backchannel_logout_uri": world.at_gate("/sign-in/logout/corp"),
            "backchannel_logout_session_required": true,
        }))
        .await;
        let claims = json!({ "name": "Ada Lovelace", "preferred_username": "ada", "groups": ["Finance Team"] });
        idp.script(&json!({ "subject": "00u1", "claims": claims, "can": ["phr"], "pages": true })).await;
        Self { world, idp, payments, browser: Browser::start().await }
    }

    /// Goes through the provider's page of login, and of consent, if it has not been given.
    async fn log_in(&self, consents: Consents) {
        wait_for_text(&self.browser, "Certified: login").await;
        assert!(self.browser.current_url().await.unwrap().as_str().starts_with(self.idp.issuer()));
        type_into(&self.browser, "input[name=login]", "ada").await;
        click(&self.browser, "button[value=login]").await;
        if consents == Consents::AreAsked {
            wait_for_text(&self.browser, "Certified: consent").await;
            click(&self.browser, "button[value=allow]").await;
        }
    }

    async fn arrive(&self, path: &str, text: &str) {
        self.browser.goto(self.world.at_service(path)).await.unwrap();
        wait_for_text(&self.browser, "Sign in with Example Corp").await;
        self.browser.pictures("company-sign-in").await;
        click(&self.browser, "form.company button").await;
        self.log_in(Consents::AreAsked).await;
        wait_for_text(&self.browser, text).await;
        assert_eq!(self.browser.current_url().await.unwrap().as_str(), self.world.at_service(path));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Consents {
    AreAsked,
    WereGiven,
}

#[tokio::test(flavor = "multi_thread")]
async fn in_chromium_a_held_payment_goes_on_after_a_step_up_at_the_certified_provider() {
    let certified = Certified::start().await;
    let Certified { world, idp, payments, browser } = &certified;
    certified.arrive("/payments", "Payments").await;

    // The same form, sent by the same browser where nothing is asked, shows what was to arrive.
    click(browser, "#small button").await;
    wait_for_text(browser, "Approved").await;
    browser.goto(world.at_service("/payments")).await.unwrap();
    click(browser, "#large button").await;
    wait_for_text(browser, "Payments over 10,000 need a passkey, here or at your company's login").await;
    assert_eq!(payments.approvals().len(), 1, "nothing is sent before it is confirmed");
    browser.pictures("company-challenge").await;
    let asked = browser.current_url().await.unwrap();
    click(browser, "form.company button").await;
    // The browser's session there would do for a sign-in, not for this.
    certified.log_in(Consents::WereGiven).await;
    wait_for_text(browser, "Approved").await;
    assert_eq!(browser.current_url().await.unwrap().as_str(), world.at_service("/payments/42/approve"));

    let [small, large] = <[_; 2]>::try_from(payments.approvals()).unwrap();
    assert_eq!(large.body, b"large=1&amount=12000", "the bytes of the form, as they were held");
    assert_eq!((large.method().as_str(), large.target().as_str()), ("POST", "/payments/42/approve"));
    for name in ["content-type", "content-length", "origin", "user-agent", "accept", "accept-language"] {
        let length = (name == "content-length").then(|| "20".to_owned());
        assert_eq!(large.value(name), length.or(small.value(name)), "{name}");
    }

    let id = asked.path_segments().and_then(Iterator::last).unwrap();
    let statement = world.statement(id.parse().unwrap()).await;
    let granted = idp.granted().await;
    assert_eq!(granted.len(), 2, "{granted:?}");
    assert_eq!(granted[1]["nonce"], hex::encode(statement.digest().unwrap()), "the provider signed this payment");
    // It reads an age of zero as a demand for a new login.
    assert_eq!((&granted[1]["acr_values"], &granted[1]["prompt"]), (&json!("phr"), &json!("login")));

    // A reload sends nothing again.
    browser.refresh().await.unwrap();
    wait_for_text(browser, "200").await;
    assert_eq!(payments.bodies(), ["small=1&amount=900", "large=1&amount=12000"]);
    let told = world.verified_evidence();
    assert!(told.contains("2 company logins, 1 challenge passed"), "{told}");
    certified.browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_chromium_who_does_not_reach_the_class_there_sends_nothing_and_is_told() {
    let certified = Certified::start().await;
    let Certified { world, idp, payments, browser } = &certified;
    certified.arrive("/payments", "Payments").await;
    click(browser, "#large button").await;
    wait_for_text(browser, "Confirm at Example Corp").await;
    wait_for_text(browser, "Confirm that it is you").await;
    browser.be_a_phone().await;
    idp.script(&json!({ "can": [] })).await;
    click(browser, "form.company button").await;
    certified.log_in(Consents::WereGiven).await;
    wait_for_text(browser, "Your company’s login cannot prove for you what this needs.").await;
    let bounds = "const is = document.getElementById('said').getBoundingClientRect();
        return [is.top, window.innerHeight - is.bottom];";
    let bounds = browser.execute(bounds, vec![]).await.unwrap();
    let (above, below) = (bounds.json()[0].as_f64().unwrap(), bounds.json()[1].as_f64().unwrap());
    assert!(above >= 0.0 && below >= 0.0, "it is said where nobody looks: {above}, {below}");
    browser.pictures("company-refused").await;
    assert!(payments.approvals().is_empty());
    // The question stands, and is answered where the person reaches it.
    idp.script(&json!({ "can": ["phr"] })).await;
    click(browser, "form.company button").await;
    certified.log_in(Consents::WereGiven).await;
    wait_for_text(browser, "Approved").await;
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
    world.verified_evidence();
    certified.browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_chromium_signing_out_at_the_certified_provider_closes_the_socket_of_a_page() {
    let certified = Certified::start().await;
    let Certified { world, idp, browser, .. } = &certified;
    certified.arrive("/live", "the socket says hello").await;
    let here = browser.window().await.unwrap();
    let there = browser.new_tab().await.unwrap();
    browser.switch_to_window(there).await.unwrap();
    browser.goto(idp.sign_out_page()).await.unwrap();
    click(browser, "button[name=logout]").await;
    wait_for_text(browser, "Signed out").await;
    browser.switch_to_window(here).await.unwrap();
    // Said by the page itself: nothing was loaded again.
    wait_for_text(browser, "the socket is closed").await;
    browser.goto(world.at_service("/live")).await.unwrap();
    wait_for_text(browser, "Sign in with Example Corp").await;
    world.verified_evidence();
    certified.browser.quit().await;
}
