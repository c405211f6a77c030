//! Programs that come with access tokens: from the 401 to a better token, and an agent whose
//! owner confirms what it asks.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use stepgate_core::person::Login;
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_core::provider::ProviderName;
use stepgate_core::time::Clock;
use stepgate_testkit::provider::TestProvider;
use stepgate_testkit::signer::{self, Signer};
use stepgate_testkit::{Answer, Person};

use crate::main_job::challenge_of;
use crate::world::{Behind, Member, Payments, World};

const POLICIES: &str = r#"
@id("finance-uses-the-ledger")
permit (principal is Person in Group::"finance", action, resource in Service::"ledger");

@id("robots-pay")
permit (principal is Agent in Group::"robots", action, resource in Service::"ledger");

@id("large-payment")
@reason("Payments over 10,000 need a passkey, for this payment alone.")
forbid (principal, action == Action::"payments.approve", resource in Service::"ledger")
when   { context.input.amount > 10000 }
unless { context.confirmed.contains("passkey") };

@id("exports-need-a-fresh-second-factor")
@reason("Exports need a second factor from the last five minutes.")
forbid (principal, action == Action::"payments.export", resource in Service::"ledger")
unless { context.age.second_factor <= duration("5m") };
"#;

/// A gate before payments, whose programs come with tokens of a provider.
pub(crate) struct Api {
    pub(crate) world: World,
    pub(crate) provider: TestProvider,
    pub(crate) payments: Payments,
    audience: String,
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// `more` are further lines of the provider.
    pub(crate) async fn with(more: &str) -> Self {
        Self::taking("", more).await
    }

    /// `taken` are further lines of `[service.tokens]`, `more` of the provider.
    pub(crate) async fn taking(taken: &str, more: &str) -> Self {
        let clock = World::clock();
        let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let provider = TestProvider::start(Arc::clone(&time)).await;
        let payments = Payments::start().await;
        let behind = payments.behind();
        let issuer = provider.issuer();
        let tokens = r#"
[service.tokens]
providers = ["corp"]
audience = "https://api.example"
scopes = ["ledger"]
owner_claim = "owner"
TAKEN
[[service.tokens.agent]]
client = "robot"
groups = ["robots"]
"#
        .replace("TAKEN", taken);
        let table = format!(
            r#"
[[provider]]
name = "corp"
issuer = "{issuer}"
client_id = "gate"
client_secret_env = "CARGO_PKG_NAME"
danger_loopback = true
[[provider.level]]
acr = "phr"
counts_as = ["second_factor", "possession", "phishing_resistant"]
[[provider.level]]
acr = "mfa"
counts_as = ["second_factor", "possession"]
{}
"#,
            more.replace("ISSUER", &issuer)
        );
        // The service's table of tokens stands before its operations.
        let operations = format!("{tokens}\n{}\n{table}", behind.operations);
        // Each test leaks one small text and ends.
        let behind = Behind { operations: Box::leak(operations.into_boxed_str()), policies: POLICIES, ..behind };
        let world = World::at(behind, time, clock).await;
        Self { world, provider, payments, audience: "https://api.example".to_owned() }
    }

    /// Somebody with a passkey here, who is `subject` at the provider.
    pub(crate) async fn member(&self, subject: &str) -> Member {
        let ada = self.world.ada().await;
        let flows = &self.world.gate.flows;
        let person = flows.store.person_by_login(&Login::parse("ada").unwrap()).await.unwrap().unwrap();
        let live = flows.live.load_full();
        let provider = live.providers.named(&ProviderName::parse("corp").unwrap()).unwrap();
        flows.add_identity(&person, provider, subject, "test").await.unwrap();
        ada
    }

    pub(crate) fn claims(&self, changes: &Value) -> Value {
        let now = self.world.now().as_ms() / 1_000;
        let mut claims = json!({
            "iss": self.provider.issuer(), "aud": self.audience, "sub": "00u1", "client_id": "app",
            "jti": "1", "iat": now, "exp": now + 3_600, "scope": "ledger", "acr": "mfa", "auth_time": now,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            }
        }
        claims
    }

    pub(crate) fn token(&self, changes: &Value) -> String {
        let key = self.provider.key();
        key.sign_with(&json!({ "typ": "at+jwt", "alg": key.algorithm(), "kid": key.id() }), &self.claims(changes))
    }

    pub(crate) async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
        let url = self.world.at_service(path);
        let address = format!("127.0.0.1:{}", self.world.port).parse().unwrap();
        let client = reqwest::Client::builder().resolve("ledger.localhost", address).no_proxy();
        let mut request = client.build().unwrap().request(method, url).body(body.to_owned());
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let header = |name: &str| {
            let values = answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap());
            values.collect::<Vec<_>>().join(" | ")
        };
        let (status, asked, nonce) = (answer.status().as_u16(), header("www-authenticate"), header("dpop-nonce"));
        let text = answer.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Said { status, asked, nonce, json }
    }

    pub(crate) async fn export(&self, token: &str) -> Said {
        self.call(Method::GET, "/payments.csv", &[("authorization", &format!("Bearer {token}"))], "").await
    }

    async fn pay(&self, token: &str, amount: i64, more: &[(&str, &str)]) -> Said {
        let bearer = format!("Bearer {token}");
        let headers: Vec<(&str, &str)> =
            [("authorization", bearer.as_str())].into_iter().chain(more.iter().copied()).collect();
        self.call(Method::POST, "/api/payments/42/approve", &headers, &json!({ "amount": amount }).to_string()).await
    }
}

#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) asked: String,
    pub(crate) nonce: String,
    pub(crate) json: Value,
}

impl Said {
    /// A parameter of the challenge.
    pub(crate) fn asked_for(&self, name: &str) -> Option<&str> {
        let rest = self.asked.split(&format!(", {name}=\"")).nth(1)?;
        rest.split('"').next()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_comes_back_with_the_token_that_it_was_told_to_get() {
    let api = Api::start().await;
    let _ada = api.member("00u1").await;
    let old = api.world.now().as_ms() / 1_000 - 3_000;
    let said = api.export(&api.token(&json!({ "acr": "pwd", "auth_time": old }))).await;
    assert_eq!(said.status, 401, "{said:?}");
    assert_eq!(said.asked_for("error"), Some("insufficient_user_authentication"), "{said:?}");
    // What the client puts into its next authorization request (RFC 9470, section 4).
    let (classes, max_age) = (said.asked_for("acr_values").unwrap(), said.asked_for("max_age").unwrap());
    assert_eq!((classes, max_age), ("phr mfa", "300"));
    let preferred = classes.split(' ').next().unwrap();
    let too_old = api.world.now().as_ms() / 1_000 - max_age.parse::<i64>().unwrap() - 1;
    assert_eq!(api.export(&api.token(&json!({ "acr": preferred, "auth_time": too_old }))).await.status, 401);
    assert_eq!(api.export(&api.token(&json!({ "acr": preferred }))).await.status, 200);
    let arrived = api.payments.0.requests().pop().unwrap();
    assert!(arrived.value("authorization").is_none(), "the token was for the gate");
    // It grows old like any proof.
    let token = api.token(&json!({ "acr": preferred }));
    assert_eq!(api.export(&token).await.status, 200);
    api.world.clock.advance(Duration::from_secs(301));
    assert_eq!(api.export(&token).await.status, 401);
    api.world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b77_b78_each_lie_of_a_token_is_refused_and_is_an_entry() {
    let api = Api::start().await;
    let _ada = api.member("00u1").await;
    let key = api.provider.key();
    let stranger = Signer::new("ES256", key.id());
    let header = |typ: &str| json!({ "typ": typ, "alg": key.algorithm(), "kid": key.id() });
    let good = api.claims(&json!({}));
    let lies = [
        ("token_audience", api.token(&json!({ "aud": "https://other.example" }))),
        ("token_issuer", api.token(&json!({ "iss": "https://evil.example" }))),
        ("token_exp_type", api.token(&json!({ "exp": "never" }))),
        ("token_expired", api.token(&json!({ "exp": 1 }))),
        ("token_nbf_type", api.token(&json!({ "nbf": "9999999999" }))),
        ("token_type", key.sign_with(&header("JWT"), &good)),
        ("token_algorithm", signer::unsigned(&good)),
        ("token_algorithm", signer::hs256(key.jwk().to_string().as_bytes(), key.id(), &good)),
        (
            "token_key_unknown",
            Signer::new("ES256", "k-unknown")
                .sign_with(&json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k-unknown" }), &good),
        ),
        ("token_of_nobody_here", api.token(&json!({ "sub": "00u9" }))),
        ("token_of_an_agent_of_nobody_here", api.token(&json!({ "client_id": "robot", "owner": "00u9" }))),
        ("token_owner_missing", api.token(&json!({ "client_id": "job", "sub": "job" }))),
        ("token_cnf", api.token(&json!({ "cnf": { "x5t#S256": "x" } }))),
        (
            "token_certificate_missing",
            api.token(&json!({ "cnf": { "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0" } })),
        ),
        (
            "token_bound_to_a_key",
            api.token(&json!({ "cnf": { "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } })),
        ),
        ("token_malformed", "opaque".to_owned()),
    ];
    for (code, token) in &lies {
        let said = api.pay(token, 900, &[]).await;
        assert_eq!((said.status, said.json["what"].as_str()), (401, Some(*code)), "{said:?}");
        assert_eq!(said.asked_for("error"), Some("invalid_token"), "{said:?}");
    }
    let forged = stranger.sign_with(&json!({ "typ": "at+jwt", "alg": "ES256", "kid": key.id() }), &good);
    let said = api.pay(&forged, 900, &[]).await;
    assert_eq!(said.status, 401, "{said:?}");
    let query = format!("/payments.csv?access_token={}", api.token(&json!({})));
    assert_eq!(api.call(Method::GET, &query, &[], "").await.status, 401, "a token in the query is no token");
    for bad in ["Bearer", "Bearer a b", "Bearer a,Bearer b"] {
        let said = api.call(Method::GET, "/payments.csv", &[("authorization", bad)], "").await;
        assert_eq!((said.status, said.json["code"].as_str()), (400, Some("invalid_request")), "{bad}: {said:?}");
    }
    assert!(api.payments.approvals().is_empty());
    let query = EntryQuery { limit: 1_000, ..EntryQuery::default() };
    let entries = api.world.gate.database.entries(query).await.unwrap();
    let entries: String = entries.iter().map(|entry| serde_json::to_string(&entry.entry.event).unwrap()).collect();
    for (code, token) in &lies {
        assert!(entries.contains(code), "{code} is no entry: {entries}");
        assert!(!entries.contains(token.as_str()), "a token is in an entry");
    }
    let scope = api.pay(&api.token(&json!({ "scope": "read" })), 900, &[]).await;
    assert_eq!((scope.status, scope.asked_for("scope")), (403, Some("ledger")), "{scope:?}");
    assert_eq!(scope.asked_for("error"), Some("insufficient_scope"));
    assert_eq!(api.pay(&api.token(&json!({})), 900, &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_owner_confirms_what_it_asks_after_typing_its_number() {
    let api = Api::start().await;
    let ada = api.member("00u1").await;
    let robot = api.token(&json!({ "client_id": "robot", "sub": "robot", "owner": "00u1" }));
    assert_eq!(api.pay(&robot, 900, &[]).await.status, 200);
    let arrived = api.payments.0.requests().pop().unwrap();
    assert_eq!(arrived.value("stepgate-principal").as_deref(), Some("agent:corp/robot"));
    assert_eq!(arrived.value("stepgate-groups").as_deref(), Some("robots"));

    let said = api.pay(&robot, 12_000, &[]).await;
    assert_eq!(said.status, 401, "{said:?}");
    let challenge = &said.json["challenge"];
    let url = challenge["url"].as_str().unwrap();
    let number = challenge["number"].as_str().unwrap();
    // Somebody else sees nothing of it.
    let bob = api.world.member("bob", &["finance"]).await;
    bob.sign_in_at(&api.world.at_service("/payments")).await;
    let foreign = bob.person.open(url).await;
    assert_eq!(foreign.status, 403, "{}", foreign.told());

    ada.sign_in_at(&api.world.at_service("/payments")).await;
    let page = ada.person.open(url).await;
    assert!(page.text().contains("corp/robot"), "{}", page.told());
    let waiting = {
        let (robot, wait) = (robot.clone(), [("prefer", "wait=60")]);
        let api = &api;
        async move { api.pay(&robot, 12_000, &wait).await }
    };
    let answering = async {
        let wrong = if number == "000000" { "000001" } else { "000000" };
        let asks = ada.person.submit(&page, &page.form_with("number").fill("number", wrong)).await;
        let refused = ada.person.touch(&asks).await;
        assert!(refused.text().contains("not the number"), "{}", refused.told());
        let asks = ada.person.submit(&page, &page.form_with("number").fill("number", number)).await;
        let passed = ada.person.touch(&asks).await;
        assert!(passed.text().contains("goes on where it was asked"), "{}", passed.told());
    };
    let (said, ()) = tokio::join!(waiting, answering);
    assert_eq!(said.status, 200, "{said:?}");
    assert_eq!(api.pay(&robot, 12_000, &[]).await.status, 401, "it is spent once");
    assert_eq!(api.payments.approvals().len(), 2);
    let id = challenge_of(&page);
    let statement = api.world.statement(id).await;
    assert!(statement.session.starts_with("token:") && statement.asker.agent.starts_with("corp/robot "));
    api.world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_token_is_not_asked_for_a_login_that_nobody_makes() {
    let api = Api::start().await;
    let _ada = api.member("00u1").await;
    let own = json!({ "client_id": "robot", "sub": "robot", "owner": "00u1", "acr": null, "auth_time": null });
    let said = api.export(&api.token(&own)).await;
    assert_eq!((said.status, said.asked_for("acr_values"), said.asked_for("max_age")), (401, None, None), "{said:?}");
    assert!(said.json["challenge"]["url"].is_string(), "its owner confirms: {said:?}");
    // Where a person logs in for it, that is what is asked for.
    let for_ada = json!({ "client_id": "robot", "sub": "00u1", "acr": "pwd" });
    let said = api.export(&api.token(&for_ada)).await;
    assert_eq!(
        (said.status, said.asked_for("acr_values"), said.asked_for("max_age")),
        (401, Some("phr mfa"), Some("300"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_their_agents_along() {
    let api = Api::start().await;
    let _ada = api.member("00u1").await;
    let (own, robot) =
        (api.token(&json!({})), api.token(&json!({ "client_id": "robot", "sub": "robot", "owner": "00u1" })));
    for token in [&own, &robot] {
        assert_eq!(api.pay(token, 900, &[]).await.status, 200);
    }
    let removed = api.world.command(&["user", "remove", "ada"]);
    assert!(removed.status.success(), "{}", crate::world::said(&removed));
    // Another process removed them; this one hears of it within a second.
    let mut left = Vec::new();
    for _ in 0..200 {
        left = vec![api.pay(&own, 900, &[]).await.status, api.pay(&robot, 900, &[]).await.status];
        if left == [401, 401] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(left, [401, 401]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_token_is_asked_about_and_only_believed_as_long_as_allowed() {
    let more = "[provider.introspection]\nurl = \"ISSUER/introspect\"\nclient_id = \"gate\"\nclient_secret_env = \"CARGO_PKG_NAME\"\nkeep_at_most = \"30s\"";
    let api = Api::with(more).await;
    let _ada = api.member("00u1").await;
    let mut says = api.claims(&json!({ "active": true, "token_type": "Bearer" }));
    says.as_object_mut().unwrap().remove("jti");
    let json = |value: Value| Answer::new(200, &[("content-type", "application/json")], value.to_string());
    let good = says.clone();
    api.provider.answer_instead("/introspect", move |_| json(good.clone()));
    assert_eq!(api.pay("opaque", 900, &[]).await.status, 200);
    assert_eq!(api.pay("opaque", 900, &[]).await.status, 200);
    assert_eq!(api.provider.calls("/introspect"), 1);
    api.provider.answer_instead("/introspect", move |_| json(json!({ "active": false })));
    api.world.clock.advance(Duration::from_secs(30));
    let said = api.pay("opaque", 900, &[]).await;
    assert_eq!((said.status, said.json["what"].as_str()), (401, Some("token_inactive")), "{said:?}");
    // An answer that does not say is no verdict: neither yes nor no.
    api.provider.answer_instead("/introspect", move |_| json(json!({ "sub": "00u1" })));
    assert_eq!(api.pay("other", 900, &[]).await.status, 503);
    assert_eq!(api.payments.approvals().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_with_nothing_finds_out_where_tokens_are_had() {
    let api = Api::start().await;
    let said = api.call(Method::GET, "/payments.csv", &[("accept", "application/json")], "").await;
    assert_eq!(said.status, 401);
    let metadata = said.asked_for("resource_metadata").unwrap().split('?').next().unwrap().to_owned();
    assert!(!said.asked.contains("error="), "{said:?}");
    let path =
        metadata.split("localhost").nth(1).and_then(|rest| rest.find('/').map(|at| rest[at..].to_owned())).unwrap();
    let said = api.call(Method::GET, &path, &[], "").await;
    assert_eq!(said.json["authorization_servers"], json!([api.provider.issuer()]));
    assert_eq!(said.json["resource"], api.audience.as_str());
    // People are led to sign in as ever.
    let page = Person::new().open(&api.world.at_service("/payments")).await;
    assert_eq!(page.url.path(), "/sign-in", "{}", page.told());
}
