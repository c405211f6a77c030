//! Programs with access tokens, at a service that takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use stepgate_core::access::{
    Accepted, AccessTokens, BoundTo, Configuration, Forwarded, Nonces, NotAccepted, Presented, Scheme, TokenRules,
    VerifiedToken, Whose,
};
use stepgate_core::challenge::{AskedBy, ChallengeState};
use stepgate_core::factor::{FactorKind, Strength, identity_digest};
use stepgate_core::flows::{LogoutError, SAME_CHALLENGES_MAX};
use stepgate_core::id::{AccessTokenId, PersonId};
use stepgate_core::person::{Login, Person};
use stepgate_core::ports::KnownPerson;
use stepgate_core::provider::{
    Asserted, Authorize, CameBack, IdentityProviders, Leave, Level, LogoutToken, NotAsserted, NotFinished, Provider,
    ProviderName, Renewed,
};
use stepgate_core::time::Timestamp;
use stepgate_evidence::{AgentName, Event};

use crate::recorder::Recorder;
use crate::rig::{Door, JSON, NAVIGATE};

pub const ISSUER: &str = "https://idp.example";
const APPROVE: &str = "POST /payments/42/approve";
const LARGE: &str = r#"{"amount":12000}"#;
const SMALL: &str = r#"{"amount":1}"#;

pub fn corp() -> ProviderName {
    ProviderName::parse("corp").unwrap()
}

/// What `api` takes.
pub fn rules(forwarded: Forwarded) -> Arc<TokenRules> {
    Arc::new(TokenRules::new(Accepted {
        providers: vec![corp()],
        audience: "https://api.example".into(),
        schemes: vec![Scheme::Bearer, Scheme::Dpop],
        scopes: vec!["use".into()],
        owner_claim: None,
        agents: Vec::new(),
        nonces: Nonces::NotAsked,
        certificates: vec![Arc::from("machines")],
        forwarded,
    }))
}

/// The one provider, and what it can be asked to prove.
#[derive(Debug)]
pub struct Corp(Vec<Provider>);

impl Corp {
    pub fn new() -> Self {
        let level = |acr: &str, strength| Level { acr: acr.into(), strength };
        let strong = Strength::SECOND_FACTOR.and(Strength::PHISHING_RESISTANT);
        Self(vec![Provider {
            name: corp(),
            title: "Corp".into(),
            issuer: ISSUER.into(),
            levels: vec![
                level("phr", strong),
                level("mfa", Strength::SECOND_FACTOR),
                level("pwd", Strength::KNOWLEDGE),
            ],
            adds_people: false,
            governs_groups: false,
            renews_every: None,
        }])
    }
}

#[async_trait]
impl IdentityProviders for Corp {
    fn all(&self) -> &[Provider] {
        &self.0
    }

    async fn authorize(&self, _: Authorize<'_>) -> Result<Leave, NotAsserted> {
        Err(NotAsserted::Unknown)
    }

    async fn finish(&self, _: CameBack<'_>) -> Result<Asserted, NotFinished> {
        Err(NotAsserted::Unknown.into())
    }

    async fn logout_token(&self, _: &ProviderName, token: &str, _: Timestamp) -> Result<LogoutToken, NotAsserted> {
        let subject = Some("00u1".to_owned());
        Ok(LogoutToken { issuer: ISSUER.to_owned(), id: token.to_owned(), subject, sid: None })
    }

    async fn logout_url(&self, _: &ProviderName, _: &SecretString) -> Option<String> {
        None
    }

    async fn renew(&self, _: &ProviderName, _: &str, _: &SecretString, _: Timestamp) -> Renewed {
        Renewed::Away { refresh_token: None }
    }
}

/// Takes tokens like `alice.mfa.60.use+pay.1`: whose, class, age of the login in seconds,
/// scopes, and anything that makes it another token. `robot-of-alice` is an agent's.
#[derive(Debug, Default)]
pub struct Known {
    /// Whether the issuer took back the key that signed them.
    pub is_key_withdrawn: AtomicBool,
}

#[async_trait]
impl AccessTokens for Known {
    async fn verify(
        &self,
        presented: Presented<'_>,
        rules: &TokenRules,
    ) -> Result<Option<Arc<VerifiedToken>>, NotAccepted> {
        let Some(value) = presented.headers.get("authorization") else { return Ok(None) };
        let (word, text) = value.to_str().unwrap().split_once(' ').unwrap_or_default();
        let scheme = match word {
            "Bearer" => Scheme::Bearer,
            "DPoP" => Scheme::Dpop,
            "" => return Err(NotAccepted::Malformed { what: "authorization_malformed" }),
            _ => return Err(NotAccepted::Scheme),
        };
        let parts: Vec<&str> = text.split('.').collect();
        let [whose, acr, age_s, scopes, _] = parts[..] else {
            return Err(match text {
                "away" => NotAccepted::Away("x".into()),
                "full" => NotAccepted::TooManyProofs,
                "nonce" => NotAccepted::UseNonce { nonce: "n1".into() },
                "replayed" => NotAccepted::Proof { what: "replayed" },
                _ => NotAccepted::Token { what: "signature", scheme },
            });
        };
        let (whose, client) = match whose.strip_prefix("robot-of-") {
            Some(owner) => {
                (Whose::Agent { subject: "robot".into(), owner: owner.into(), groups: vec!["robots".into()] }, "robot")
            }
            None => (Whose::Person { subject: whose.into() }, "app"),
        };
        let mut scopes: Vec<String> = scopes.split('+').map(str::to_owned).collect();
        scopes.sort();
        let strength = Corp::new().0[0].levels.iter().find(|level| level.acr == acr).map(|level| level.strength);
        let mut id = [0; 16];
        id.copy_from_slice(&<sha2::Sha256 as sha2::Digest>::digest(text)[..16]);
        let ago = |seconds: i64| Timestamp::from_ms(presented.now.as_ms() - seconds * 1_000);
        Ok(Some(Arc::new(VerifiedToken {
            id: AccessTokenId::from_bytes(id),
            provider: corp(),
            issuer: ISSUER.into(),
            whose,
            client: client.into(),
            jti: None,
            scopes,
            acr: acr.into(),
            amr: Vec::new(),
            auth_time: age_s.parse().ok().map(ago),
            strength: strength.unwrap_or_default(),
            issued_at: None,
            expires_at: presented.now.plus(Duration::from_secs(300)),
            bound_to: (scheme == Scheme::Dpop).then(|| BoundTo::Key("k".into())),
            verified_by: Configuration::of(rules, &[0; 32]),
            signed_by: Some([1; 32]),
        })))
    }

    async fn still(
        &self,
        token: &VerifiedToken,
        rules: Option<&TokenRules>,
        now: Timestamp,
    ) -> Result<(), NotAccepted> {
        if self.is_key_withdrawn.load(Ordering::Acquire) {
            return Err(NotAccepted::Token { what: "key_withdrawn", scheme: token.scheme() });
        }
        token.holds(rules, Some(&[0; 32]), now)
    }
}

impl Door {
    /// Makes somebody known by their subject at the provider.
    pub fn knows(&self, subject: &str) -> PersonId {
        let id = PersonId::random(self.flows.random.as_ref());
        let person = Person {
            id,
            login: Login::parse(subject).unwrap(),
            name: subject.to_owned(),
            email: format!("{subject}@example.test"),
            groups: vec!["finance".into()],
            active: true,
        };
        let enrolled = Arc::from([FactorKind::PASSKEY, FactorKind::Totp]);
        let known =
            Arc::new(KnownPerson { person: Arc::new(person), enrolled, risks: Arc::new([]), tokens_after: None });
        self.store.change(|state| state.known.insert(identity_digest(ISSUER, subject), known));
        id
    }

    pub fn forgets(&self, subject: &str) {
        self.store.change(|state| state.known.remove(&identity_digest(ISSUER, subject)));
    }

    fn api(&self) -> String {
        self.ledger.replace("ledger", "api")
    }

    async fn with(&self, first: &str, credentials: &str, body: &str) -> (crate::raw::Head, serde_json::Value) {
        let lines = format!("Authorization: {credentials}\r\n{}", if body.is_empty() { "" } else { JSON });
        let (head, body) = self.ask_at(&self.api(), first, &lines, body).await;
        (head, serde_json::from_str(&body).unwrap_or_default())
    }
}

async fn open() -> Door {
    let door = Door::open().await;
    door.knows("alice");
    door
}

#[tokio::test]
async fn a_token_that_suffices_goes_on_without_itself() {
    let door = open().await;
    let (head, _) = door.with(APPROVE, "Bearer alice.mfa.60.use.1", SMALL).await;
    assert_eq!(head.status(), 200);
    let arrived = door.recorder.last();
    assert_eq!(arrived.head.values("authorization"), Vec::<&str>::new());
    assert_eq!(arrived.head.values("dpop"), Vec::<&str>::new());
    assert_eq!(arrived.head.one("stepgate-groups"), "finance");
    let assertion = claims(arrived.head.one("stepgate-assertion"));
    assert_eq!(assertion["sub"], arrived.head.one("stepgate-principal"));
    assert_eq!(assertion["act"]["sub"], "corp/app", "{assertion}");
    assert_eq!((&assertion["scope"], &assertion["login"]), (&"use".into(), &"alice".into()));
    assert!(assertion.get("owner").is_none());
    assert!(door.store.kinds().is_empty(), "an everyday request leaves no entry");
}

fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn an_agent_acts_as_itself_and_its_owner_is_named() {
    let door = open().await;
    let owner = door.knows("alice");
    let (head, _) = door.with(APPROVE, "Bearer robot-of-alice.mfa.60.use.1", SMALL).await;
    assert_eq!(head.status(), 403, "{:?}", head);
    assert_eq!(door.recorder.count(), 0, "what is permitted to people is not permitted to agents");
    let door = Door::deciding_by(&format!("{}{AGENTS}", crate::rig::POLICIES), Recorder::start().await).await;
    door.store.change(|state| state.known.clear());
    let owner_again = door.knows("alice");
    assert_ne!(owner, owner_again);
    let (head, _) = door.with(APPROVE, "Bearer robot-of-alice.mfa.60.use.1", SMALL).await;
    assert_eq!(head.status(), 200);
    let arrived = door.recorder.last();
    assert_eq!(arrived.head.one("stepgate-principal"), "agent:corp/robot");
    assert_eq!(arrived.head.one("stepgate-groups"), "robots");
    assert_eq!(arrived.head.values("stepgate-email"), Vec::<&str>::new());
    let assertion = claims(arrived.head.one("stepgate-assertion"));
    assert_eq!(assertion["sub"], "agent:corp/robot");
    assert_eq!(assertion["owner"], owner_again.to_string());
    assert!(assertion.get("act").is_none(), "{assertion}");
}

const AGENTS: &str = r#"
@id("robots") permit (principal is Agent in Group::"robots", action, resource);
"#;

#[tokio::test]
async fn a_token_that_is_too_weak_or_too_old_is_told_what_to_come_back_with() {
    let door = open().await;
    let metadata = format!("{}/.well-known/oauth-protected-resource", door.ledger_origin.replace("ledger", "api"));
    let begin = |scheme: &str| {
        format!(r#"{scheme} realm="api", resource_metadata="{metadata}", error="insufficient_user_authentication""#)
    };
    for (credentials, scheme) in [
        ("Bearer alice.pwd.60.use.1", "Bearer"),
        ("Bearer alice.mfa.301.use.1", "Bearer"),
        ("Bearer alice.mfa.never.use.1", "Bearer"),
        ("Bearer alice.unheard-of.1.use.1", "Bearer"),
        ("DPoP alice.mfa.301.use.1", "DPoP"),
    ] {
        let (head, problem) = door.with("GET /export", credentials, "").await;
        assert_eq!(head.status(), 401, "{credentials}");
        let asked = head.one("www-authenticate");
        assert!(asked.starts_with(&begin(scheme)), "{asked}");
        assert!(asked.ends_with(r#", acr_values="phr mfa", max_age="300""#), "{asked}");
        assert_eq!(problem["step_up"]["acr_values"], serde_json::json!(["phr", "mfa"]));
        assert_eq!(problem["step_up"]["max_age_s"], 300);
    }
    assert!(door.store.state.lock().challenges.is_empty(), "no person is asked for what a better token proves");
    let (head, _) = door.with("GET /export", "Bearer alice.mfa.300.use.2", "").await;
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn the_same_challenge_again_and_again_ends_in_a_refusal_that_is_recorded() {
    let door = open().await;
    for count in 0..SAME_CHALLENGES_MAX {
        let (head, _) = door.with("GET /export", &format!("Bearer alice.mfa.600.use.{count}"), "").await;
        assert_eq!(head.status(), 401, "{count}");
    }
    let (head, problem) = door.with("GET /export", "Bearer alice.mfa.600.use.x", "").await;
    assert_eq!(head.status(), 403);
    assert_eq!(head.values("www-authenticate"), Vec::<&str>::new());
    assert_eq!(problem["policies"][0]["id"], "stepgate.step-up-loop");
    let recorded = door
        .store
        .state
        .lock()
        .entries
        .iter()
        .any(|entry| serde_json::to_string(&entry.event).unwrap().contains("stepgate.step-up-loop"));
    assert!(recorded);
    let (head, _) = door.with("GET /export", "Bearer alice.mfa.10.use.y", "").await;
    assert_eq!(head.status(), 200, "a better token ends the loop");
}

#[tokio::test]
async fn a_missing_scope_is_403_and_says_which() {
    let door = open().await;
    let (head, problem) = door.with(APPROVE, "Bearer alice.mfa.60.read.1", SMALL).await;
    assert_eq!(head.status(), 403);
    let asked = head.one("www-authenticate");
    assert!(asked.contains(r#"error="insufficient_scope""#) && asked.ends_with(r#", scope="use""#), "{asked}");
    assert_eq!(problem["scope"], "use");
    // Of an operation that needs one more.
    let (head, problem) = door.with("DELETE /all", "DPoP alice.mfa.60.use.1", "").await;
    assert_eq!(head.status(), 403);
    assert!(head.one("www-authenticate").starts_with("DPoP "), "{head:?}");
    assert_eq!(problem["scope"], "delete use");
    assert_eq!(door.recorder.count(), 0);
}

#[tokio::test]
async fn what_is_not_accepted_is_answered_by_its_kind_and_counted() {
    let door = open().await;
    for (credentials, status, code, asked) in [
        ("Bearer x", 401, "invalid_token", r#"error="invalid_token""#),
        ("DPoP x", 401, "invalid_token", r#"DPoP realm="#),
        ("DPoP replayed", 401, "invalid_dpop_proof", r#"error="invalid_dpop_proof""#),
        ("DPoP nonce", 401, "use_dpop_nonce", r#"error="use_dpop_nonce""#),
        ("Basic eDp5", 401, "token_scheme", r#"Bearer realm="#),
        ("x", 400, "invalid_request", r#"error="invalid_request""#),
        ("Bearer away", 503, "unavailable", ""),
        ("DPoP full", 503, "unavailable", ""),
        ("Bearer mallory.mfa.1.use.1", 401, "invalid_token", r#"error="invalid_token""#),
        ("Bearer robot-of-mallory.mfa.1.use.1", 401, "invalid_token", r#"error="invalid_token""#),
    ] {
        // A session beside it makes nothing better.
        let ada = door.sign_in_at(
            "ada",
            stepgate_core::session::Audience::Host(stepgate_core::catalogue::Host::parse("api.localhost").unwrap()),
        );
        let lines = format!("Authorization: {credentials}\r\n{}{JSON}", ada.cookie());
        let (head, body) = door.ask_at(&door.api(), APPROVE, &lines, SMALL).await;
        assert_eq!(head.status(), status, "{credentials}");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["code"], code, "{credentials}");
        let challenges = head.values("www-authenticate").join(" | ");
        assert!(challenges.contains(asked), "{credentials}: {challenges}");
        let token = credentials.split_once(' ').map_or("", |(_, token)| token);
        assert!(!token.contains('.') || !body.contains(token), "a token is never repeated: {body}");
    }
    assert_eq!(door.recorder.count(), 0);
    let (head, _) = door.with(APPROVE, "DPoP nonce", SMALL).await;
    assert_eq!(head.one("dpop-nonce"), "n1");
    let entries =
        serde_json::to_string(&door.store.state.lock().entries.iter().map(|entry| &entry.event).collect::<Vec<_>>());
    let entries = entries.unwrap();
    for code in ["token_signature", "dpop_replayed", "token_scheme", "authorization_malformed", "token_of_nobody_here"]
    {
        assert!(entries.contains(code), "{code}: {entries}");
    }
}

#[tokio::test]
async fn who_comes_with_nothing_is_told_where_tokens_are_had() {
    let door = open().await;
    let (head, _) = door.ask_at(&door.api(), APPROVE, JSON, SMALL).await;
    assert_eq!(head.status(), 401);
    let origin = door.ledger_origin.replace("ledger", "api");
    let metadata = format!(r#"realm="api", resource_metadata="{origin}/.well-known/oauth-protected-resource""#);
    assert_eq!(head.values("www-authenticate"), [format!("Bearer {metadata}"), format!("DPoP {metadata}")]);
    let (head, body) = door.ask_at(&door.api(), "GET /.well-known/oauth-protected-resource", "", "").await;
    assert_eq!(head.status(), 200);
    let said: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(said["resource"], "https://api.example");
    assert_eq!(said["authorization_servers"], serde_json::json!([ISSUER]));
    assert_eq!(said["scopes_supported"], serde_json::json!(["delete", "use"]));
    assert_eq!(said["bearer_methods_supported"], serde_json::json!(["header"]));
    // A browser is led to sign in, as ever.
    let (head, _) = door.ask_at(&door.api(), "GET /x", NAVIGATE, "").await;
    assert_eq!(head.status(), 303);
}

#[tokio::test]
async fn a_service_without_tokens_keeps_authorization_as_the_applications_own() {
    let door = open().await;
    let ada = door.sign_in("ada");
    let lines = format!("Authorization: Basic eDp5\r\nDPoP: x\r\n{}{JSON}", ada.cookie());
    let (head, _) = door.ask(APPROVE, &lines, SMALL).await;
    assert_eq!(head.status(), 200);
    assert_eq!(door.recorder.last().head.one("authorization"), "Basic eDp5");
    assert_eq!(door.recorder.last().head.one("dpop"), "x");
    let lines = format!("Authorization: Bearer alice.mfa.60.use.1\r\n{JSON}");
    let (head, _) = door.ask(APPROVE, &lines, SMALL).await;
    assert_eq!(head.status(), 401, "a token says nothing there");
    let (head, _) = door.ask("GET /.well-known/oauth-protected-resource", &ada.cookie(), "").await;
    assert_eq!((head.status(), door.recorder.count()), (200, 2), "the path is the application's too");
}

#[tokio::test]
async fn a_confirmation_is_bound_to_one_token_and_answered_by_the_person() {
    let door = open().await;
    let mine = "Bearer alice.mfa.60.use.1";
    let (head, problem) = door.with(APPROVE, mine, LARGE).await;
    assert_eq!(head.status(), 401);
    let asked = head.one("www-authenticate");
    assert!(asked.contains("insufficient_user_authentication") && !asked.contains("acr_values"), "{asked}");
    let challenge = door.only_challenge();
    assert_eq!(problem["challenge"]["id"], challenge.id.to_string());
    assert_eq!(problem["challenge"]["number"], challenge.number);
    assert!(matches!(challenge.asked_by, AskedBy::Token(_)));
    assert!(
        challenge.statement.session.starts_with("token:") && challenge.statement.asker.agent.starts_with("corp/app ")
    );
    // Another token of the same person is asked anew, and does not spend what this one was confirmed.
    door.pass(challenge.id);
    let (head, problem) = door.with(APPROVE, "Bearer alice.mfa.60.use.2", LARGE).await;
    assert_eq!(head.status(), 401);
    assert_ne!(problem["challenge"]["id"], challenge.id.to_string());
    let lines = format!("Authorization: Bearer alice.mfa.60.use.2\r\nStepgate-Challenge: {}\r\n{JSON}", challenge.id);
    let (head, _) = door.ask_at(&door.api(), APPROVE, &lines, LARGE).await;
    assert_eq!(head.status(), 409, "naming it makes it nobody else's");
    let (head, _) = door.with(APPROVE, mine, r#"{"amount":12001}"#).await;
    assert_eq!(head.status(), 401, "other bytes are another operation");
    assert_eq!(door.recorder.count(), 0);
    let (head, _) = door.with(APPROVE, mine, LARGE).await;
    assert_eq!(head.status(), 200);
    assert!(head.values("set-cookie").is_empty());
    let state = door.store.state.lock().challenges[&challenge.id].state.clone();
    assert!(matches!(state, ChallengeState::Spent { .. }));
    let (head, _) = door.with(APPROVE, mine, LARGE).await;
    assert_eq!((head.status(), door.recorder.count()), (401, 1), "it was spent");
}

/// Whom an entry names: the agent, and the person who answers.
fn named(event: &Event) -> Option<(Option<&str>, &str, u32)> {
    match event {
        Event::OperationRefused { person, agent, count, .. } => {
            Some((agent.as_ref().map(AgentName::as_str), person, *count))
        }
        Event::ChallengeOpened { person, agent, .. } => Some((agent.as_ref().map(AgentName::as_str), person, 0)),
        _ => None,
    }
}

#[tokio::test]
async fn b108_what_an_agent_asks_is_not_recorded_as_asked_by_its_owner() {
    let door = Door::deciding_by(&format!("{}{AGENTS}", crate::rig::POLICIES), Recorder::start().await).await;
    let owner = door.knows("alice").to_string();
    // The same operation, refused for the same reason.
    for whose in ["alice", "robot-of-alice", "alice", "robot-of-alice", "robot-of-alice"] {
        let (head, _) = door.with(APPROVE, &format!("Bearer {whose}.mfa.60.other.1"), SMALL).await;
        assert_eq!(head.status(), 403, "{whose}");
    }
    let (head, _) = door.with(APPROVE, "Bearer robot-of-alice.mfa.60.use.1", LARGE).await;
    assert_eq!(head.status(), 401, "{head:?}");
    let (head, _) = door.with(APPROVE, "Bearer alice.mfa.60.use.1", LARGE).await;
    assert_eq!(head.status(), 401, "{head:?}");
    door.flows.flush_refusals().await.unwrap();
    let state = door.store.state.lock();
    let found: Vec<_> = state.entries.iter().map(|entry| named(&entry.event).unwrap()).collect();
    let (owner, robot) = (owner.as_str(), Some("corp/robot"));
    let at_once = [(None, owner, 1), (robot, owner, 1), (robot, owner, 0), (None, owner, 0)];
    assert_eq!(found[..4], at_once);
    let mut counted = found[4..].to_vec();
    counted.sort_unstable();
    assert_eq!(counted, [(None, owner, 1), (robot, owner, 2)]);
    // A program that uses a person's token is no agent, and the statement names it.
    let program = state.challenges.values().map(|challenge| challenge.statement.asker.agent.as_str());
    let mut programs: Vec<_> = program.map(|agent| agent.split(' ').next().unwrap()).collect();
    programs.sort_unstable();
    assert_eq!(programs, ["corp/app", "corp/robot"]);
}

#[tokio::test]
async fn who_has_left_is_nobody_with_a_token_too() {
    let door = open().await;
    let token = "Bearer alice.mfa.60.use.1";
    assert_eq!(door.with(APPROVE, token, SMALL).await.0.status(), 200);
    door.forgets("alice");
    let (head, problem) = door.with(APPROVE, token, SMALL).await;
    assert_eq!((head.status(), &problem["what"]), (401, &"token_of_nobody_here".into()));
    // Also while something waits for its confirmation.
    door.knows("alice");
    let (_, problem) = door.with(APPROVE, token, LARGE).await;
    let challenge = problem["challenge"]["id"].as_str().unwrap().parse().unwrap();
    door.pass(challenge);
    door.forgets("alice");
    let (head, _) = door.with(APPROVE, token, LARGE).await;
    assert_eq!((head.status(), door.recorder.count()), (401, 1));
}

/// A provider's logout is tried anew when somebody came meanwhile, and not for ever: then it is to be sent again.
#[tokio::test]
async fn a_logout_at_the_provider_that_meets_new_arrivals_is_tried_five_times() {
    let rig = Door::open().await;
    for (arrivals, tried, is_done) in [(0, 1, true), (4, 5, true), (5, 5, false)] {
        rig.store.change(|state| (state.arrivals, state.log_outs) = (arrivals, 0));
        let ended = rig.flows.logged_out_at_provider(&corp(), &format!("jti-{arrivals}")).await;
        assert_eq!(ended.is_ok(), is_done, "{arrivals}: {ended:?}");
        assert!(is_done || matches!(ended, Err(LogoutError::Busy)), "{ended:?}");
        assert_eq!(rig.store.change(|state| state.log_outs), tried, "{arrivals}");
    }
}
