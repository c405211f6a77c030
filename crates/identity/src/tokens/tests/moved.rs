//! What was verified is worth what the issuer's keys of now say, also where they moved.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use stepgate_testkit::{Answer, RecordingUpstream};

use super::*;
use crate::http::{Http, Reach};
use crate::keys::{FRESH_FOR, USED_WHILE_FETCHED_FOR};
use crate::provider::Issuer;

/// An issuer whose old keys stay where they were, while its metadata name another place.
struct Moving {
    server: RecordingUpstream,
    issuer: Issuer,
    place: Arc<Mutex<&'static str>>,
    verifier: TokenVerifier,
    /// Says that the old keys are asked for, and lets them be answered.
    asked: Mutex<Receiver<()>>,
    answer: Sender<()>,
}

impl Moving {
    async fn start(old: &Signer, new: &Signer) -> Self {
        let place = Arc::new(Mutex::new("old"));
        let (named, keys) = (Arc::clone(&place), [old.jwk(), new.jwk()]);
        let (asks, asked) = channel();
        let (answer, answered) = channel();
        let answered = Mutex::new(answered);
        let server = RecordingUpstream::start(move |request| {
            let at = format!("http://{}", request.value("host").unwrap());
            let said = match request.target().as_str() {
                "/old" => {
                    let _ = asks.send(());
                    let _ = answered.lock().recv_timeout(Duration::from_secs(30));
                    json!({ "keys": [keys[0]] })
                }
                "/new" => json!({ "keys": [keys[1]] }),
                _ => json!({
                    "issuer": at, "authorization_endpoint": format!("{at}/a"), "token_endpoint": format!("{at}/t"),
                    "jwks_uri": format!("{at}/{}", named.lock()),
                }),
            };
            Answer::new(200, &[], said.to_string())
        })
        .await;
        let issuer = Issuer::new(Http::new(Reach::DangerLoopback, None).unwrap(), &server.url());
        let verifier = TokenVerifier::new(vec![by_issuer(&issuer, &server.url())], Keeps::Verified, &Chance);
        Self { server, issuer, place, verifier, asked: Mutex::new(asked), answer }
    }

    fn token(&self, key: &Signer) -> String {
        at_jwt(key, &with(json!({ "iss": self.server.url(), "exp": NOW_S + 100_000 })))
    }

    async fn says(&self, token: &str, later: Duration) -> String {
        let value = format!("Bearer {token}");
        match present(&self.verifier, &rules(), &[("authorization", &value)], now().plus(later)).await {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.code(),
        }
    }

    /// What came twice is remembered.
    async fn is_remembered(&self, token: &str) {
        for _ in 0..2 {
            assert_eq!(self.says(token, Duration::ZERO).await, "ok");
        }
        assert_eq!(self.verifier.kept.len(), 1);
    }

    /// The old keys are asked for.
    async fn asks(self: &Arc<Self>) {
        let waiting = Arc::clone(self);
        let asked = move || waiting.asked.lock().recv_timeout(Duration::from_secs(30));
        tokio::task::spawn_blocking(asked).await.unwrap().unwrap();
    }

    /// The metadata name the new place, and that is known here.
    async fn moves(&self, at: Duration) {
        *self.place.lock() = "new";
        let known = || async {
            let metadata = self.issuer.metadata(now().plus(at)).await.unwrap();
            metadata.keys.url().unwrap().path() == "/new"
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while !known().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap();
    }
}

fn by_issuer(issuer: &Issuer, identifier: &str) -> TokenIssuer {
    let by = VerifiedBy::Signature { keys: KeysOf::Issuer(issuer.clone()), algorithms: Algorithm::ALL.to_vec() };
    TokenIssuer { issuer: identifier.to_owned(), by, ..signing(Keys::fixed(set(&[])), &[]) }
}

/// So old, and nothing is asked for before it is used.
const OLD: Duration = Duration::from_secs(FRESH_FOR.as_secs() + 1);

/// So old, and it is asked for before it is used.
const TOO_OLD: Duration = Duration::from_secs(USED_WHILE_FETCHED_FOR.as_secs() + 1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b114_keys_that_moved_vouch_for_nothing_that_was_verified_by_the_old_ones() {
    let (old, new) = (es256("k1"), es256("k2"));
    let issuer = Moving::start(&old, &new).await;
    let [of_old, of_new] = [&old, &new].map(|key| issuer.token(key));
    issuer.answer.send(()).unwrap();
    issuer.is_remembered(&of_old).await;
    assert_eq!(issuer.says(&of_old, FRESH_FOR).await, "ok");
    issuer.moves(OLD).await;
    assert_eq!(issuer.says(&of_old, OLD).await, "token_key_unknown");
    assert_eq!(issuer.says(&of_new, OLD).await, "ok");
}

/// Where all that comes was verified before, nobody else asks where the keys are now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b114_what_is_remembered_makes_it_noticed_that_the_keys_moved() {
    let (old, new) = (es256("k1"), es256("k2"));
    let issuer = Moving::start(&old, &new).await;
    let of_old = issuer.token(&old);
    // At first, and when they are old.
    issuer.answer.send(()).unwrap();
    issuer.answer.send(()).unwrap();
    issuer.is_remembered(&of_old).await;
    *issuer.place.lock() = "new";
    let noticed = tokio::time::timeout(Duration::from_secs(30), async {
        while issuer.says(&of_old, OLD).await != "token_key_unknown" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    noticed.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b114_keys_that_move_and_a_reload_while_a_token_is_verified_leave_nothing_remembered() {
    for reloads in [false, true] {
        let (old, new) = (es256("k1"), es256("k2"));
        let issuer = Arc::new(Moving::start(&old, &new).await);
        let of_old = issuer.token(&old);
        issuer.answer.send(()).unwrap();
        issuer.is_remembered(&of_old).await;
        issuer.asks().await;
        let verified = tokio::spawn({
            let (issuer, of_old) = (Arc::clone(&issuer), of_old.clone());
            async move { issuer.says(&of_old, TOO_OLD).await }
        });
        // The keys of then are asked for again, and not there yet.
        issuer.asks().await;
        match reloads {
            true => issuer.verifier.replace(vec![signing(Keys::fixed(set(&[new.jwk()])), &Algorithm::ALL)]),
            false => issuer.moves(TOO_OLD + OLD).await,
        }
        issuer.answer.send(()).unwrap();
        assert_eq!(verified.await.unwrap(), "ok", "it was good when it came");
        let expected = if reloads { "token_issuer" } else { "token_key_unknown" };
        assert_eq!(issuer.says(&of_old, TOO_OLD + OLD).await, expected);
    }
}
