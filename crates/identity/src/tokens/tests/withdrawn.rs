//! What goes on after the request that showed a token holds as long as the issuer has the key.

use parking_lot::Mutex;
use serde_json::json;
use stepgate_testkit::{Answer, RecordingUpstream};

use super::kept::still;
use super::*;
use crate::http::{Http, Reach};
use crate::keys::{COOLDOWN, STALE_FOR, USED_WHILE_FETCHED_FOR};
use crate::provider::Issuer;

/// An issuer that publishes these keys, or is away.
struct Publishing {
    server: RecordingUpstream,
    keys: Arc<Mutex<Option<Vec<Value>>>>,
}

impl Publishing {
    async fn start(keys: Vec<Value>) -> Self {
        let keys = Arc::new(Mutex::new(Some(keys)));
        let published = Arc::clone(&keys);
        let server = RecordingUpstream::start(move |request| {
            let at = format!("http://{}", request.value("host").unwrap());
            let Some(keys) = published.lock().clone() else { return Answer::new(503, &[], "") };
            let said = match request.target().as_str() {
                "/keys" => json!({ "keys": keys }),
                _ => json!({
                    "issuer": at, "authorization_endpoint": format!("{at}/a"), "token_endpoint": format!("{at}/t"),
                    "jwks_uri": format!("{at}/keys"),
                }),
            };
            Answer::new(200, &[], said.to_string())
        });
        Self { server: server.await, keys }
    }

    /// As a configuration that was loaded just now knows it.
    fn issuer(&self) -> TokenIssuer {
        let keys = KeysOf::Issuer(Issuer::new(Http::new(Reach::DangerLoopback, None).unwrap(), &self.server.url()));
        let by = VerifiedBy::Signature { keys, algorithms: Algorithm::ALL.to_vec() };
        TokenIssuer { issuer: self.server.url(), by, ..signing(Keys::fixed(set(&[])), &[]) }
    }
}

/// So long after they were fetched, keys are fetched before they are used.
const OLD: i64 = USED_WHILE_FETCHED_FOR.as_secs() as i64 + 1;
const TOO_OLD: i64 = STALE_FOR.as_secs() as i64 + 1;
const AGAIN: i64 = COOLDOWN.as_secs() as i64;

#[tokio::test]
async fn b117_what_goes_on_ends_when_the_key_is_withdrawn_and_not_when_another_comes() {
    let (one, two) = (es256("k1"), es256("k2"));
    let issuer = Publishing::start(vec![one.jwk()]).await;
    let verifier = TokenVerifier::new(vec![issuer.issuer()], Keeps::Verified, &Chance);
    let claims = with(json!({ "iss": issuer.server.url(), "exp": NOW_S + 10 * TOO_OLD }));
    let token = bearer(&verifier, &at_jwt(&one, &claims)).await.unwrap();
    let rules = rules();
    let still = async |seconds| still(&verifier, &token, Some(&rules), seconds).await;
    assert_eq!(still(0).await, "ok");
    *issuer.keys.lock() = Some(vec![two.jwk(), one.jwk()]);
    assert_eq!(still(OLD).await, "ok", "a key that came beside it ends nothing");
    verifier.replace(vec![issuer.issuer()]);
    assert_eq!(still(OLD).await, "ok", "nor does a reload, after which nothing is held yet");
    *issuer.keys.lock() = None;
    assert_eq!(still(2 * OLD).await, "ok", "nor an issuer that is away for a while");
    assert_eq!(still(OLD + TOO_OLD).await, "token_issuer_away", "what is held is worth nothing after a day");
    *issuer.keys.lock() = Some(vec![two.jwk()]);
    assert_eq!(still(OLD + TOO_OLD + AGAIN).await, "token_key_withdrawn");
}

#[tokio::test]
async fn b117_a_key_that_now_is_for_something_else_is_another() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let token = bearer(&verifier, &at_jwt(&key, &claims())).await.unwrap();
    let said = |name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    };
    let encrypts = said("use", json!("enc"));
    for (published, expected) in [
        (vec![key.jwk()], "ok"),
        (vec![es256("k1").jwk()], "token_key_withdrawn"),
        (vec![said("kid", json!("k2"))], "token_key_withdrawn"),
        (vec![encrypts], "token_key_withdrawn"),
        (Vec::new(), "token_key_withdrawn"),
    ] {
        verifier.replace(vec![signing(Keys::fixed(set(&published)), &Algorithm::ALL)]);
        assert_eq!(still(&verifier, &token, Some(&rules()), 0).await, expected, "{published:?}");
    }
}
