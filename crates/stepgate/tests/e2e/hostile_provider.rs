//! A provider that lies: each lie is refused, and is an entry, with every preset.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepgate::config;
use stepgate::gate::House;
use stepgate::system::SystemRandomness;
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_core::time::Clock as _;
use stepgate_evidence::Event;
use stepgate_identity::provider::{AskFor, Preset};
use stepgate_testkit::provider::{Client, Forged, Somebody, TestProvider};
use stepgate_testkit::{Answer, Page, Person, Signer};

use crate::company_login::{METADATA, POLICIES, SECRET, follow};
use crate::world::{Behind, PASSWORD, Payments, World};

/// What a token says, and the reason for which it is refused.
type Lie = (&'static str, &'static str, fn(&mut Forged));

fn issued(token: &Forged) -> i64 {
    token.claims["iat"].as_i64().unwrap()
}

/// Lies about what every login says.
const OF_A_LOGIN: [Lie; 29] = [
    ("exp never", "exp_not_a_number", |token| token.say("exp", "never")),
    ("exp as text", "exp_not_a_number", |token| token.say("exp", "9999999999")),
    ("exp null", "exp_not_a_number", |token| token.say("exp", Value::Null)),
    ("no exp", "expired", |token| token.omit("exp")),
    ("expired", "expired", |token| token.say("exp", issued(token) - 31)),
    ("nbf as text", "nbf_not_a_number", |token| token.say("nbf", "9999999999")),
    ("not yet", "not_yet", |token| token.say("nbf", issued(token) + 60)),
    ("iat as text", "iat_not_a_number", |token| token.say("iat", "1")),
    ("no iat", "issued", |token| token.omit("iat")),
    ("a time of the login as text", "auth_time_not_a_number", |token| token.say("auth_time", "1")),
    ("another client's", "audience", |token| token.say("aud", "other")),
    ("ours as an object", "audience", |token| token.say("aud", json!({ "gate": true }))),
    ("nobody's", "audience", |token| token.omit("aud")),
    ("ours among others", "authorized_party", |token| token.say("aud", json!(["gate", "other"]))),
    ("another party's", "authorized_party", |token| token.say("azp", "other")),
    ("another issuer's", "issuer", |token| token.say("iss", "https://evil.example")),
    ("no issuer's", "issuer", |token| token.omit("iss")),
    ("signed by nobody", "algorithm", Forged::unsigned),
    ("the public key as a secret", "algorithm", Forged::under_public_key),
    ("another algorithm's name", "key_not_for_this", |token| token.header["alg"] = json!("RS256")),
    ("a key that it brings", "key", |token| {
        token.signer = Arc::new(Signer::new("ES256", "mine"));
        token.header = json!({ "alg": "ES256", "kid": "mine", "jwk": token.signer.bare_jwk() });
    }),
    ("another key of the same name", "signature", |token| token.signer = Arc::new(Signer::new("ES256", "key-1"))),
    ("what nobody understands", "critical", |token| token.header["crit"] = json!(["x"])),
    ("a logout token", "typ", |token| token.header["typ"] = json!("logout+jwt")),
    ("of another login", "nonce", |token| token.say("nonce", "what another login is bound to")),
    ("of no login", "nonce", |token| token.omit("nonce")),
    ("with another access token", "at_hash", |token| token.say("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")),
    ("2,000 characters", "subject", |token| token.say("sub", "x".repeat(2000))),
    ("no token", "malformed", |token| token.instead = Some("not a token".into())),
];

/// Lies about what a step-up asked for.
const OF_A_STEP_UP: [Lie; 8] = [
    ("an old login under a fresh iat", "old_login", |token| token.say("auth_time", issued(token) - 301)),
    ("no time of the login", "old_login", |token| token.omit("auth_time")),
    ("a time as text", "auth_time_not_a_number", |token| token.say("auth_time", issued(token).to_string())),
    ("a login in the future", "auth_time", |token| token.say("auth_time", issued(token) + 3600)),
    ("a lesser class", "lesser_class", |token| {
        token.say("acr", "pwd");
        token.say("acrs", json!(["c9"]));
        token.say("amr", json!(["pwd"]));
    }),
    ("no class", "lesser_class", |token| {
        token.omit("acr");
        token.omit("acrs");
        token.omit("amr");
    }),
    ("somebody else", "other_person", |token| token.say("sub", "mallory")),
    ("what another payment is bound to", "nonce", |token| token.say("nonce", "0".repeat(64))),
];

type AnswerLie = (&'static str, &'static str, fn(&mut Vec<(String, String)>));

/// Lies of the answer with which the browser comes back.
const OF_AN_ANSWER: [AnswerLie; 3] = [
    ("nobody's", "mix_up", |back| back.retain(|(name, _)| name != "iss")),
    ("another issuer's", "mix_up", |back| {
        back.retain(|(name, _)| name != "iss");
        back.push(("iss".into(), "https://evil.example".into()));
    }),
    ("another's code", "provider_refused", |back| {
        back.iter_mut().filter(|(name, _)| name == "code").for_each(|(_, code)| "not-ours".clone_into(code));
    }),
];

type Instead = (&'static str, &'static str, fn() -> Answer);

/// What the token endpoint says that is no token.
const INSTEAD_OF_TOKENS: [Instead; 5] = [
    ("too much", "provider_away", || Answer::new(200, &[], vec![b' '; 300 * 1024])),
    ("elsewhere", "provider_unusable", || Answer::new(307, &[("Location", "https://evil.example/")], "")),
    ("two of one", "provider_away", || Answer::new(200, &[], r#"{"id_token":"a","id_token":"b"}"#)),
    ("none", "missing", || Answer::new(200, &[], r#"{"access_token":"a"}"#)),
    ("stumbling", "provider_away", || Answer::new(500, &[], r#"{"error":"server_error"}"#)),
];

/// A gate whose people come from one provider of each preset.
struct Companies {
    world: World,
    payments: Payments,
    all: Vec<(Preset, TestProvider)>,
}

/// What the provider of a preset calls its strongest class.
const fn class(preset: Preset) -> &'static str {
    match preset {
        Preset::Entra => "c1",
        _ => "phr",
    }
}

/// Whether its class comes back as the methods of the login.
const fn by_methods(preset: Preset) -> bool {
    matches!(preset, Preset::Auth0 | Preset::Authentik | Preset::Zitadel)
}

impl Companies {
    async fn start() -> Self {
        let (payments, clock) = (Payments::start().await, World::clock());
        let behind = payments.behind();
        let (mut all, mut tables) = (Vec::new(), behind.operations.to_owned());
        for preset in Preset::ALL {
            let provider = TestProvider::start(Arc::clone(&clock) as _).await;
            let name = preset.ways().name;
            let _ = write!(
                tables,
                "\n[[provider]]\nname = \"{name}\"\npreset = \"{name}\"\nissuer = \"{}\"\nclient_id = \"gate\"\n\
                 client_secret_env = \"CARGO_PKG_NAME\"\nlogin_claim = \"preferred_username\"\n\
                 groups_claim = \"groups\"\ngroups = {{ \"Finance Team\" = \"finance\" }}\nadds_people = true\ngoverns_groups = true\n\
                 danger_loopback = true\n",
                provider.issuer()
            );
            if preset.ways().steps_up {
                let by_methods = if by_methods(preset) { "amr = [\"mfa\"]\n" } else { "" };
                let _ = write!(
                    tables,
                    "[[provider.level]]\nacr = \"{}\"\n{by_methods}counts_as = [\"second_factor\", \"possession\", \
                     \"phishing_resistant\"]\n",
                    class(preset)
                );
            }
            all.push((preset, provider));
        }
        // Each test leaks one small text and ends.
        let behind = Behind { operations: Box::leak(tables.into_boxed_str()), policies: POLICIES, ..behind };
        let world = World::at(behind, Arc::clone(&clock) as _, clock).await;
        for (preset, provider) in &all {
            let back = world.at_gate(&format!("/sign-in/back/{}", preset.ways().name));
            provider.register(Client::with_secret("gate", SECRET, &back));
        }
        Self { world, payments, all }
    }

    /// Ada is signed in at each of them now, with whatever it asks for.
    fn signed_in(&self) {
        for (preset, provider) in &self.all {
            let name = format!("ada.{}", preset.ways().name);
            let mut ada = Somebody::new("00u1", self.world.now()).who_can(&[class(*preset)]);
            ada = ada.with("groups", json!(["Finance Team"])).with("preferred_username", json!(name));
            if preset.ways().ask_for == AskFor::Login {
                ada.amr.push("mfa".to_owned());
            }
            provider.signed_in(ada);
        }
    }

    async fn arrive(&self, preset: Preset, person: &Person) -> Page {
        let asked = person.open(&self.world.at_service("/payments")).await;
        let way = format!("/sign-in/with/{}", preset.ways().name);
        let away = person.submit(&asked, &asked.form_to(&way)).await;
        follow(person, &away).await
    }

    /// Whether a failed login for this purpose at this provider is an entry with this reason.
    async fn has_entry(&self, preset: Preset, of: &str, code: &str) -> bool {
        let kinds = vec!["attempt.failed".to_owned()];
        let query = EntryQuery { kinds, limit: 1_000, ..EntryQuery::default() };
        let entries = self.world.gate.database.entries(query).await.unwrap();
        entries.iter().any(|recorded| {
            matches!(&recorded.entry.event, Event::AttemptFailed { provider, purpose, reason, .. }
                if provider.as_deref() == Some(preset.ways().name) && purpose == of && reason == code)
        })
    }

    async fn is_refused_at_sign_in(&self, preset: Preset, what: &str, code: &str) {
        let (name, person) = (preset.ways().name, Person::new());
        let refused = self.arrive(preset, &person).await;
        assert!(!refused.status.is_success(), "{name}, {what}: {}", refused.told());
        let again = person.open_once(&self.world.at_service("/payments")).await;
        assert!(again.status.is_redirection(), "{name}, {what}: {}", again.told());
        assert!(self.has_entry(preset, "sign_in", code).await, "{name}, {what}: no entry says {code}");
    }

    async fn is_refused_at_step_up(&self, preset: Preset, ada: &Person, list: &Page, (what, code): (&str, &str)) {
        let name = preset.ways().name;
        let asked = ada.submit(list, &list.form_with("large")).await;
        let away = ada.submit(&asked, &asked.form_to(&format!("{}/login", asked.url.path()))).await;
        let refused = follow(ada, &away).await;
        // What was asked of a liar is over; who merely could not may try again.
        let expected = if code == "provider_refused" { 422 } else { 410 };
        assert_eq!(refused.status, expected, "{name}, {what}: {}", refused.told());
        let says = if code == "provider_refused" { "Nothing was done." } else { "Nothing was sent to the service." };
        assert!(refused.text().contains(says), "{name}, {what}: {}", refused.told());
        assert!(self.has_entry(preset, "challenge", code).await, "{name}, {what}: no entry says {code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b77_b78_each_lie_of_a_provider_is_refused_and_is_an_entry_with_every_preset() {
    let companies = Companies::start().await;
    for (preset, provider) in &companies.all {
        let preset = *preset;
        // Nobody is sent away more often than strangers may be.
        companies.world.clock.advance(Duration::from_secs(61));
        companies.signed_in();
        for (what, code, lie) in OF_A_LOGIN {
            provider.change_token(lie);
            companies.is_refused_at_sign_in(preset, what, code).await;
        }
        provider.be_honest();
        for (what, code, lie) in OF_AN_ANSWER {
            provider.change_answer(lie);
            companies.is_refused_at_sign_in(preset, what, code).await;
        }
        for (what, code, answer) in INSTEAD_OF_TOKENS {
            provider.be_honest();
            provider.answer_instead("/token", move |_| answer());
            companies.is_refused_at_sign_in(preset, what, code).await;
        }
        provider.be_honest();
        let list = companies.arrive(preset, &Person::new()).await;
        assert!(list.status.is_success(), "{}: {}", preset.ways().name, list.told());
    }
    companies.world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b75_b76_b79_each_lie_about_a_step_up_sends_nothing_and_is_an_entry_with_every_preset() {
    let companies = Companies::start().await;
    companies.signed_in();
    let step_up = companies.all.iter().filter(|(preset, _)| preset.ways().steps_up);
    for (sent, (preset, provider)) in step_up.enumerate() {
        let ada = Person::new();
        let list = companies.arrive(*preset, &ada).await;
        assert!(list.status.is_success(), "{}: {}", preset.ways().name, list.told());
        for (what, code, lie) in OF_A_STEP_UP {
            provider.change_token(lie);
            companies.is_refused_at_step_up(*preset, &ada, &list, (what, code)).await;
        }
        provider.be_honest();
        provider.refuse("unmet_authentication_requirements");
        companies.is_refused_at_step_up(*preset, &ada, &list, ("it cannot", "provider_refused")).await;
        assert_eq!(companies.payments.bodies().len(), sent, "{}", preset.ways().name);
        // It is the lie that is refused.
        provider.be_honest();
        let asked = ada.submit(&list, &list.form_with("large")).await;
        let away = ada.submit(&asked, &asked.form_to(&format!("{}/login", asked.url.path()))).await;
        let approved = follow(&ada, &away).await;
        assert!(approved.text().contains("Approved"), "{}: {}", preset.ways().name, approved.told());
    }
    assert_eq!(companies.payments.bodies().len(), 7);
    companies.world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_metadata_cannot_be_used_is_refused_at_start_and_at_load_and_by_a_running_gate() {
    type Case = (&'static str, fn(&mut Value));
    let cases: [Case; 4] = [
        ("is not https", |said| said["token_endpoint"] = json!("http://idp.example/token")),
        ("is not https", |said| said["jwks_uri"] = json!("http://idp.example/jwks")),
        ("a link-local or reserved address", |said| said["token_endpoint"] = json!("https://169.254.169.254/token")),
        ("PKCE with S256", |said| said["code_challenge_methods_supported"] = json!(["plain"])),
    ];
    let companies = Companies::start().await;
    let (world, (_, provider)) = (&companies.world, &companies.all[0]);
    for (why, change) in cases {
        provider.change_metadata(change);
        let refused = world.gate.reload().await.unwrap_err().to_string();
        assert!(refused.contains("generic cannot be used") && refused.contains(why), "{refused}");
        // A gate that starts says the same.
        let file = world.dir.path().join("stepgate.toml");
        let settings = config::load(&file).unwrap();
        let house = House::open(settings, Some(file), Arc::clone(&world.clock) as _, Arc::new(SystemRandomness)).await;
        let refused = house.unwrap().serve(Vec::new()).await.expect_err("it does not start").to_string();
        assert!(refused.contains("generic cannot be used") && refused.contains(why), "{refused}");
    }
    // One that runs, and learns of it later, sends nobody there and says so.
    companies.signed_in();
    world.clock.advance(Duration::from_secs(25 * 3600));
    companies.signed_in();
    let person = Person::new();
    let asked = person.open(&world.at_service("/payments")).await;
    let told = person.submit(&asked, &asked.form_to("/sign-in/with/generic")).await;
    assert!(told.text().contains("Your company’s login cannot be used as it is set up."), "{}", told.told());
    assert!(companies.has_entry(Preset::Generic, "sign_in", "provider_unusable").await);
    provider.be_honest();
    world.gate.reload().await.unwrap();
    let list = companies.arrive(Preset::Generic, &person).await;
    assert!(list.status.is_success(), "{}", list.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_is_away_who_has_a_password_here_signs_in_and_that_is_an_entry() {
    let companies = Companies::start().await;
    let world = &companies.world;
    let bob = world.member("bob", &["finance"]).await;
    for (_, provider) in &companies.all {
        provider.answer_instead(METADATA, |_| Answer::new(503, &[], "later"));
        provider.answer_instead("/token", |_| Answer::new(503, &[], "later"));
    }
    world.clock.advance(Duration::from_secs(25 * 3600));
    let asked = bob.person.open(&world.at_service("/payments")).await;
    let away = bob.person.submit(&asked, &asked.form_to("/sign-in/with/okta")).await;
    assert!(away.text().contains("Your company’s login cannot be reached."), "{}", away.told());
    assert!(companies.has_entry(Preset::Okta, "sign_in", "provider_away").await);
    let form = away.form_with("password").fill("name", "bob").fill("password", PASSWORD);
    let list = bob.person.submit(&away, &form).await;
    assert!(list.status.is_success(), "{}", list.told());
    let approved = bob.person.submit(&list, &list.form_with("small")).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    let kinds = vec!["session.started".to_owned()];
    let started = world.gate.database.entries(EntryQuery { kinds, limit: 9, ..EntryQuery::default() }).await.unwrap();
    let [started] = &started[..] else { panic!("{started:?}") };
    let Event::SessionStarted { proof, .. } = &started.entry.event else { panic!("{started:?}") };
    assert_eq!(proof.factor, "password", "what an alert looks for");
    assert_eq!(started.entry.at_ms, world.clock.now().as_ms());
    world.verified_evidence();
}
