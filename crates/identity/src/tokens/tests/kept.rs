//! What was verified is kept no longer, and for nothing else, than it holds.

use serde_json::json;

use super::*;

async fn at_time(verifier: &TokenVerifier, rules: &TokenRules, token: &str, seconds: i64) -> String {
    let value = format!("Bearer {token}");
    match present(verifier, rules, &[("authorization", &value)], at(seconds)).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code(),
    }
}

#[tokio::test]
async fn never_beyond_exp() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let token = at_jwt(&key, &claims());
    for (seconds, expected) in [(0, "ok"), (1, "ok"), (299, "ok"), (300, "token_expired"), (299, "ok")] {
        assert_eq!(at_time(&verifier, &rules(), &token, NOW_S + seconds).await, expected, "{seconds}");
    }
    assert_eq!(verifier.kept.len(), 1);
}

#[tokio::test]
async fn b56_for_one_service_alone() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let token = at_jwt(&key, &claims());
    for _ in 0..2 {
        assert_eq!(at_time(&verifier, &rules(), &token, NOW_S).await, "ok");
    }
    assert_eq!(verifier.kept.len(), 1);
    let other_audience = TokenRules::new(Accepted { audience: "https://other.example".into(), ..accepted() });
    assert_eq!(at_time(&verifier, &other_audience, &token, NOW_S).await, "token_audience");
    let other_provider = TokenRules::new(Accepted { providers: vec![name("guest")], ..accepted() });
    assert_eq!(at_time(&verifier, &other_provider, &token, NOW_S).await, "token_issuer");
    assert_eq!(at_time(&verifier, &rules(), &token, NOW_S).await, "ok");
}

#[tokio::test]
async fn what_decides_whose_a_token_is_makes_another_fingerprint() {
    use stepgate_core::access::AgentRule;
    let agent = |client: &str, groups: &[&str]| AgentRule {
        provider: name("corp"),
        client: client.into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    };
    let all = [
        accepted(),
        Accepted { audience: "x".into(), ..accepted() },
        Accepted { providers: vec![name("corp"), name("guest")], ..accepted() },
        Accepted { owner_claim: Some("owner".into()), ..accepted() },
        Accepted { agents: vec![agent("a", &[])], ..accepted() },
        Accepted { agents: vec![agent("a", &["b"])], ..accepted() },
        Accepted { certificates: Vec::new(), ..accepted() },
        Accepted { certificates: vec![Arc::from("others")], ..accepted() },
        Accepted { certificates: vec![Arc::from("machines"), Arc::from("others")], ..accepted() },
        Accepted { agents: vec![agent("a", &[]), agent("b", &[])], ..accepted() },
    ]
    .map(|accepted| *TokenRules::new(accepted).fingerprint());
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}

#[tokio::test]
async fn a_new_configuration_forgets_what_was_verified() {
    let (old, new) = (es256("k1"), es256("k1"));
    let verifier = verifier(&[old.jwk()]);
    let token = at_jwt(&old, &claims());
    for _ in 0..3 {
        assert_eq!(code(&verifier, &token).await, "ok");
    }
    assert_eq!(verifier.kept.len(), 1);
    verifier.replace(vec![signing(Keys::fixed(set(&[new.jwk()])), &Algorithm::ALL)]);
    assert_eq!(code(&verifier, &token).await, "token_signature");
    verifier.replace(Vec::new());
    assert_eq!(code(&verifier, &token).await, "token_issuer");
}

#[tokio::test]
async fn b106_a_token_holds_under_the_configuration_that_it_was_verified_by() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let token = bearer(&verifier, &at_jwt(&key, &claims())).await.unwrap();
    let still = async |rules: Option<&TokenRules>, seconds: i64| still(&verifier, &token, rules, seconds).await;
    let issuer = || signing(Keys::fixed(set(&[key.jwk()])), &Algorithm::ALL);
    assert_eq!(still(Some(&rules()), 299).await, "ok");
    assert_eq!(still(Some(&rules()), 300).await, "token_expired");
    assert_eq!(still(None, 0).await, "token_configuration");
    let dpop = TokenRules::new(Accepted { schemes: vec![Scheme::Dpop], ..accepted() });
    assert_eq!(still(Some(&dpop), 0).await, "token_configuration");
    let others = TokenRules::new(Accepted { owner_claim: Some("owner".into()), ..accepted() });
    assert_eq!(still(Some(&others), 0).await, "token_configuration");
    for authorities in [&[] as &[&str], &["others"], &["machines", "others"]] {
        let certificates = authorities.iter().map(|name| Arc::from(*name)).collect();
        let asks = TokenRules::new(Accepted { certificates, ..accepted() });
        assert_eq!(still(Some(&asks), 0).await, "token_configuration", "{authorities:?}");
    }
    verifier.replace(vec![issuer()]);
    assert_eq!(still(Some(&rules()), 0).await, "ok", "a reload that changed nothing of it ends nothing");
    for changed in [
        TokenIssuer { issuer: "https://other.example".into(), ..issuer() },
        TokenIssuer { levels: Vec::new(), ..issuer() },
        signing(Keys::fixed(set(&[key.jwk()])), &[Algorithm::Es256]),
        TokenIssuer { name: name("guest"), ..issuer() },
    ] {
        verifier.replace(vec![changed]);
        assert_eq!(still(Some(&rules()), 0).await, "token_configuration");
    }
}

/// What is said of a token that was shown a while ago.
pub(super) async fn still(
    verifier: &TokenVerifier,
    token: &VerifiedToken,
    rules: Option<&TokenRules>,
    seconds: i64,
) -> String {
    match verifier.still(token, rules, at(NOW_S + seconds)).await {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.code(),
    }
}

#[tokio::test]
async fn what_is_kept_nothing_is_the_same() {
    let key = es256("k1");
    let issuer = signing(Keys::fixed(set(&[key.jwk()])), &Algorithm::ALL);
    let verifier = TokenVerifier::new(vec![issuer], Keeps::Nothing, &Chance);
    let token = at_jwt(&key, &claims());
    for _ in 0..3 {
        assert_eq!(code(&verifier, &token).await, "ok");
    }
    assert_eq!(verifier.kept.len(), 0);
}

#[tokio::test]
async fn no_two_tokens_have_one_id_and_one_token_has_one() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let [first, second] = ["1", "2"].map(|id| at_jwt(&key, &with(json!({ "jti": id }))));
    let (a, b) = (bearer(&verifier, &first).await.unwrap(), bearer(&verifier, &second).await.unwrap());
    assert_ne!(a.id, b.id);
    assert_eq!(bearer(&verifier, &first).await.unwrap().id, a.id);
    assert!(!format!("{a:?}").contains("alice"));
}
