use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stepgate_testkit::clock::BEGINNING;
use stepgate_testkit::{Answer, RecordingUpstream, Signer};

use super::*;
use crate::http::Reach;

fn set(jwks: &[Value]) -> KeySet {
    KeySet::read(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

#[test]
fn each_algorithm_verifies_what_its_key_signed_and_nothing_else() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm.as_str(), "one");
        // Also where nothing but the type of the key says what it is for.
        for jwk in [signer.jwk(), with(signer.bare_jwk(), "kid", json!("one"))] {
            let keys = set(std::slice::from_ref(&jwk));
            let key = keys.find(Some("one"), algorithm).unwrap();
            let token = signer.sign(&json!({}));
            let (message, signature) = token.rsplit_once('.').unwrap();
            key.verify(algorithm, message.as_bytes(), signature).unwrap();
            assert_eq!(key.verify(algorithm, b"other", signature), Err(BadSignature));
            for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                assert_eq!(
                    key.verify(other, message.as_bytes(), signature),
                    Err(BadSignature),
                    "{algorithm} as {other}"
                );
                let is_rsa = |one| matches!(one, Algorithm::Rs256 | Algorithm::Ps256);
                // An RSA key of which nothing more is said is for both.
                if jwk.get("alg").is_some() || !(is_rsa(algorithm) && is_rsa(other)) {
                    assert_eq!(keys.find(Some("one"), other).unwrap_err(), KeyError::NotForThis { algorithm: other });
                }
            }
        }
    }
}

#[test]
fn a_key_that_nobody_careful_uses_is_refused_with_the_reason() {
    let ec = Signer::new("ES256", "k").jwk();
    let rsa = |n: usize| json!({ "kty": "RSA", "kid": "k", "n": base64_of(&vec![0xC1; n]), "e": "AQAB" });
    let cases = [
        (rsa(128), "fewer than 2048"),
        (rsa(255), "fewer than 2048"),
        (rsa(1025), "more than 8192"),
        (with(rsa(256), "e", json!("AQ")), "exponent"),
        (with(rsa(256), "e", json!("AAAA")), "exponent"),
        (with(rsa(256), "n", json!("!")), "base64url"),
        (json!({ "kty": "oct", "kid": "k", "k": "AAAA" }), "shared secret"),
        (json!({ "kty": "oct", "kid": "k" }), "type"),
        (with(ec.clone(), "d", json!("AAAA")), "private part"),
        (with(ec.clone(), "use", json!("enc")), "`use`"),
        (with(ec.clone(), "use", json!(1)), "wrong type"),
        (with(ec.clone(), "key_ops", json!(["sign"])), "key_ops"),
        (with(ec.clone(), "key_ops", json!("verify")), "key_ops"),
        (with(ec.clone(), "alg", json!("ES384")), "does not fit"),
        (with(ec.clone(), "alg", json!("RS512")), "none that is accepted"),
        (with(ec.clone(), "alg", json!("none")), "none that is accepted"),
        (with(ec.clone(), "crv", json!("P-384")), "wrong length"),
        (with(ec.clone(), "crv", json!("secp256k1")), "curve"),
        (with(ec.clone(), "x", json!("AAAA")), "wrong length"),
        (json!({ "kty": "OKP", "crv": "X25519", "kid": "k", "x": "AAAA" }), "curve"),
    ];
    for (jwk, expected) in cases {
        match set(std::slice::from_ref(&jwk)).find(Some("k"), Algorithm::Es256) {
            Err(KeyError::Refused { why }) => assert!(why.contains(expected), "{jwk}: {why}"),
            other => panic!("{jwk}: {other:?}"),
        }
    }
    assert!(set(&[with(ec, "key_ops", json!(["verify"]))]).find(Some("k"), Algorithm::Es256).is_ok());
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn a_token_without_a_name_means_the_only_key() {
    let (one, two) = (Signer::new("ES256", "one"), Signer::new("ES256", "two"));
    let alone = set(&[one.jwk(), Signer::new("EdDSA", "ed").jwk()]);
    assert_eq!(alone.find(None, Algorithm::Es256).unwrap().id(), Some("one"));
    assert_eq!(alone.find(None, Algorithm::Rs256).unwrap_err(), KeyError::Unknown { id: None });
    let both = set(&[one.jwk(), two.jwk()]);
    assert_eq!(both.find(None, Algorithm::Es256).unwrap_err(), KeyError::Ambiguous);
    assert_eq!(both.find(Some("two"), Algorithm::Es256).unwrap().id(), Some("two"));
    let twins = set(&[one.jwk(), with(two.jwk(), "kid", json!("one"))]);
    assert_eq!(twins.find(Some("one"), Algorithm::Es256).unwrap_err(), KeyError::Ambiguous);
}

#[test]
fn what_is_kept_of_a_key_is_its_public_part() {
    let signer = Signer::new("ES256", "one");
    let keys = set(&[with(with(signer.jwk(), "x5u", json!("https://x")), "junk", json!({ "a": 1 }))]);
    assert_eq!(keys.find(None, Algorithm::Es256).unwrap().jwk(), signer.jwk());
}

#[test]
fn what_is_no_set_is_refused() {
    let too_many = json!({ "keys": vec![json!({ "kty": "EC" }); KEYS_MAX + 1] }).to_string();
    assert_eq!(KeySet::read(too_many.as_bytes()).unwrap_err(), NotAKeySet::TooMany);
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"{"keys":[],"keys":[]}"#] {
        assert_eq!(KeySet::read(bad.as_bytes()).unwrap_err(), NotAKeySet::Malformed, "{bad}");
    }
}

/// An issuer whose keys a test changes, and the times that it was asked.
struct Issuer {
    server: RecordingUpstream,
    published: Arc<Mutex<Option<Vec<Value>>>>,
    keys: Keys,
}

impl Issuer {
    async fn with(signers: &[&Signer]) -> Self {
        let published = Arc::new(Mutex::new(Some(signers.iter().map(|one| one.jwk()).collect::<Vec<_>>())));
        let answered = Arc::clone(&published);
        let server = RecordingUpstream::start(move |_| match &*answered.lock().unwrap() {
            Some(keys) => Answer::new(200, &[], json!({ "keys": keys }).to_string()),
            None => Answer::new(503, &[], ""),
        })
        .await;
        let url = Url::parse(&format!("{}/jwks", server.url())).unwrap();
        let keys = Keys::at(Http::new(Reach::DangerLoopback, None).unwrap(), url);
        Self { server, published, keys }
    }

    fn publish(&self, signers: Option<&[&Signer]>) {
        *self.published.lock().unwrap() = signers.map(|signers| signers.iter().map(|one| one.jwk()).collect());
    }

    async fn find(&self, id: &str, after: Duration) -> Result<(), &'static str> {
        let found = self.keys.key_for(Some(id), Algorithm::Es256, BEGINNING.plus(after)).await;
        found.map(|_| ()).map_err(|error| error.code())
    }

    fn calls(&self) -> usize {
        self.server.requests().len()
    }
}

const S: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_rotated_key_is_fetched_once_and_the_old_one_is_gone() {
    let (old, new) = (Signer::new("ES256", "old"), Signer::new("ES256", "new"));
    let issuer = Issuer::with(&[&old]).await;
    assert_eq!(issuer.calls(), 0);
    assert_eq!(issuer.find("old", Duration::ZERO).await, Ok(()));
    assert_eq!(issuer.find("old", S).await, Ok(()));
    assert_eq!(issuer.calls(), 1);
    issuer.publish(Some(&[&new]));
    assert_eq!(issuer.find("new", COOLDOWN - S).await, Err("key_unknown"), "the issuer was asked a moment ago");
    assert_eq!(issuer.calls(), 1);
    assert_eq!(issuer.find("new", COOLDOWN).await, Ok(()));
    assert_eq!(issuer.find("old", COOLDOWN + S).await, Err("key_unknown"));
    assert_eq!(issuer.calls(), 2);
}

#[tokio::test]
async fn names_of_no_key_do_not_make_calls() {
    let issuer = Issuer::with(&[&Signer::new("ES256", "one")]).await;
    for index in 0..50 {
        assert_eq!(issuer.find(&format!("made-up-{index}"), S).await, Err("key_unknown"));
    }
    assert_eq!(issuer.calls(), 1);
}

#[tokio::test]
async fn many_at_once_make_one_call() {
    let issuer = Arc::new(Issuer::with(&[&Signer::new("ES256", "one")]).await);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let issuer = Arc::clone(&issuer);
        all.spawn(async move { issuer.find("one", S).await });
    }
    assert_eq!(all.join_all().await, vec![Ok(()); 20]);
    assert_eq!(issuer.calls(), 1);
}

/// Whoever hangs up while the keys are fetched takes nothing from the others.
#[tokio::test]
async fn a_caller_that_goes_away_breaks_nothing_off() {
    let issuer = Issuer::with(&[&Signer::new("ES256", "one")]).await;
    for _ in 0..3 {
        let mut gone = Box::pin(issuer.find("one", Duration::ZERO));
        // Polled once, so that the call is under way, and dropped.
        std::future::poll_fn(|context| std::task::Poll::Ready(gone.as_mut().poll(context).is_ready())).await;
    }
    assert_eq!(issuer.find("one", Duration::ZERO).await, Ok(()));
    assert_eq!(issuer.calls(), 1);
}

#[tokio::test]
async fn keys_grow_old_and_are_not_used_for_ever() {
    let one = Signer::new("ES256", "one");
    let issuer = Issuer::with(&[&one]).await;
    assert_eq!(issuer.find("one", Duration::ZERO).await, Ok(()));
    assert_eq!(issuer.find("one", FRESH_FOR).await, Ok(()));
    assert_eq!(issuer.calls(), 1);
    // Old enough to be fetched beside.
    assert_eq!(issuer.find("one", FRESH_FOR + S).await, Ok(()));
    issuer.server.wait_for(2).await;
    // The issuer goes away: what is held goes on, for a day.
    let later = FRESH_FOR + S;
    issuer.publish(None);
    assert_eq!(issuer.find("one", later + USED_WHILE_FETCHED_FOR + S).await, Ok(()));
    assert_eq!(issuer.find("one", later + USED_WHILE_FETCHED_FOR + S * 2).await, Ok(()));
    assert_eq!(issuer.calls(), 3, "one attempt, then the cooldown");
    assert_eq!(issuer.find("one", later + STALE_FOR + S).await, Err("keys_away"));
    assert_eq!(issuer.find("one", later + STALE_FOR + S * 2).await, Err("keys_away"));
    // It heals by itself.
    issuer.publish(Some(&[&one]));
    assert_eq!(issuer.find("one", later + STALE_FOR + S + COOLDOWN).await, Ok(()));
}

#[tokio::test]
async fn an_issuer_that_is_away_at_first_heals() {
    let one = Signer::new("ES256", "one");
    let issuer = Issuer::with(&[]).await;
    issuer.publish(None);
    assert_eq!(issuer.find("one", Duration::ZERO).await, Err("keys_away"));
    issuer.publish(Some(&[&one]));
    assert_eq!(issuer.find("one", S).await, Err("keys_away"));
    assert_eq!(issuer.find("one", COOLDOWN).await, Ok(()));
}

#[tokio::test]
async fn fixed_keys_are_asked_of_nobody() {
    let one = Signer::new("ES256", "one");
    let keys = Keys::fixed(set(&[one.jwk()]));
    assert!(keys.url().is_none());
    assert!(keys.key_for(Some("one"), Algorithm::Es256, BEGINNING).await.is_ok());
    assert_eq!(keys.key_for(Some("two"), Algorithm::Es256, BEGINNING).await.unwrap_err().code(), "key_unknown");
}
