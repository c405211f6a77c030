//! A provider, us as its client, and a browser between.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use stepgate_core::factor::Strength;
use stepgate_core::provider::{
    Ask, Asserted, Authorize, CameBack, IdentityProviders, Leave, NotAsserted, ProviderName,
};
use stepgate_core::time::{Clock, Timestamp};
use stepgate_evidence::login::{identity_of, verify_login};
use stepgate_identity::provider::{LevelSettings, ProviderSettings, Providers};
use stepgate_testkit::provider::{Client, Somebody};
use stepgate_testkit::{FakeClock, SeededRandomness, TestProvider};

pub(crate) const BACK: &str = "https://gate.example/login/company/back";
pub(crate) const OUT: &str = "https://gate.example/signed-out";
pub(crate) const SUBJECT: &str = "subject-1";
pub(crate) const MFA: &str = "urn:example:mfa";
pub(crate) const PHISHING_RESISTANT: &str = "phr";
const NONCE: &str = "what the login is bound to";

pub(crate) struct House {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) idp: TestProvider,
    pub(crate) providers: Providers,
    pub(crate) name: ProviderName,
    /// Whose the login was that failed last, if that was said.
    pub(crate) whose_failed: Mutex<Option<String>>,
}

pub(crate) fn level(acr: &str, strength: Strength) -> LevelSettings {
    LevelSettings { acr: acr.to_owned(), strength, amr: Vec::new() }
}

pub(crate) fn second_factor() -> Strength {
    Strength::SECOND_FACTOR.and(Strength::POSSESSION)
}

/// Us as the client of a provider on this machine, with two classes.
pub(crate) fn settings(issuer: &str) -> ProviderSettings {
    let mut settings = ProviderSettings::new("company", issuer, "stepgate", BACK);
    settings.client_secret = Some(SecretString::from("a secret: +%"));
    settings.post_logout_redirect_uri = Some(OUT.to_owned());
    settings.danger_loopback = true;
    settings.levels =
        vec![level(MFA, second_factor()), level(PHISHING_RESISTANT, second_factor().and(Strength::PHISHING_RESISTANT))];
    settings
}

/// Whatever is believed here, the offline verifier believes too, though the two share no code.
pub(crate) fn verifies_years_later(asserted: &Asserted, nonce: &str) {
    let (proof, token) = (asserted.proof(), asserted.id_token.expose_secret());
    let verified = verify_login(&proof, nonce, token, &asserted.key);
    let verified = verified.unwrap_or_else(|error| panic!("{error}: {proof:?} of {token}"));
    assert_eq!(verified.identity, identity_of(&asserted.issuer, &asserted.subject));
}

impl House {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With changed settings.
    pub(crate) async fn with(change: impl FnOnce(&mut ProviderSettings)) -> Self {
        let clock = Arc::new(FakeClock::new());
        let idp = TestProvider::start(Arc::clone(&clock) as Arc<dyn Clock>).await;
        let mut client = Client::with_secret("stepgate", "a secret: +%", BACK);
        client.post_logout_redirect_uris.push(OUT.to_owned());
        idp.register(client);
        // Logged in an hour ago, by a password.
        let hour = Timestamp::from_ms(clock.now().as_ms() - 3_600_000);
        idp.signed_in(Somebody::new(SUBJECT, hour).who_can(&[MFA, PHISHING_RESISTANT]));
        let mut settings = settings(&idp.issuer());
        change(&mut settings);
        let name = ProviderName::parse(&settings.name).unwrap();
        let random = Arc::new(SeededRandomness::new(7));
        let checked = settings.check().unwrap();
        let providers = Providers::new(vec![checked], Arc::clone(&clock) as Arc<dyn Clock>, random).unwrap();
        Self { clock, idp, providers, name, whose_failed: Mutex::default() }
    }

    pub(crate) async fn leave(&self, ask: &Ask) -> Result<Leave, NotAsserted> {
        let request = Authorize { provider: &self.name, ask, state: "a state", nonce: NONCE, hint: Some("ada") };
        self.providers.authorize(request).await
    }

    pub(crate) async fn come_back(
        &self,
        ask: &Ask,
        keep: &SecretString,
        query: &str,
        asked_at: Timestamp,
    ) -> Result<Asserted, NotAsserted> {
        let (provider, now) = (&self.name, self.clock.now());
        let came = self.providers.finish(CameBack { provider, ask, keep, nonce: NONCE, query, asked_at, now }).await;
        let came = came.inspect(|asserted| verifies_years_later(asserted, NONCE));
        came.map_err(|failed| {
            *self.whose_failed.lock().unwrap() = failed.subject;
            failed.why
        })
    }

    /// There and back, in three seconds.
    pub(crate) async fn go(&self, ask: &Ask) -> Result<Asserted, NotAsserted> {
        let asked_at = self.clock.now();
        let leave = self.leave(ask).await?;
        let query = self.idp.visit(&leave.url).await;
        self.clock.advance(Duration::from_secs(3));
        self.come_back(ask, &leave.keep, &query, asked_at).await
    }

    pub(crate) async fn sign_in(&self) -> Result<Asserted, NotAsserted> {
        self.go(&Ask::SignIn).await
    }

    /// The code of what goes wrong at a sign-in.
    pub(crate) async fn sign_in_fails(&self) -> &'static str {
        self.sign_in().await.expect_err("it is refused").code()
    }

    /// The code of what goes wrong at a step-up to [`MFA`], as fresh as that.
    pub(crate) async fn step_up_fails(&self, max_age_s: u64) -> &'static str {
        self.go(&step_up(&[MFA], max_age_s)).await.expect_err("it is refused").code()
    }
}

pub(crate) fn step_up(acr: &[&str], max_age_s: u64) -> Ask {
    Ask::StepUp { acr: acr.iter().map(|one| (*one).to_owned()).collect(), max_age_s, subject: SUBJECT.to_owned() }
}
