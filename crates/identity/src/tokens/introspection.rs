//! Tokens that only their issuer can read: it is asked (RFC 7662).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use secrecy::SecretString;
use serde_json::{Map, Value};
use stepgate_core::access::Scheme;
use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use crate::http::{Answer, Http};
use crate::jws::TokenClaims;

/// The most questions to one issuer at once: who comes with invented tokens makes us ask no more.
pub const QUESTIONS_AT_ONCE_MAX: usize = 32;
/// The most questions that wait for others to be answered.
pub const QUESTIONS_WAITING_MAX: usize = 128;
/// How long a token lives at least whose issuer does not say when it ends.
pub const LIFE_WITHOUT_EXP: Duration = Duration::from_secs(60);
/// How long one waits. Who waited in vain may come again, and holds nothing here meanwhile.
pub const QUESTION_WAITS_FOR: Duration = Duration::from_secs(2);

/// Where an issuer is asked, and as whom.
#[derive(Debug)]
pub struct Introspection {
    http: Http,
    url: Url,
    client_id: String,
    client_secret: SecretString,
    kept_at_most: Duration,
    token_type: TokenType,
    seats: Box<Seats>,
    open: Box<Mutex<HashMap<[u8; 32], Arc<Question>>>>,
}

/// What the issuer said to all who waited for it, or why it said nothing.
type Question = OnceCell<Result<Arc<Said>, String>>;

/// Who may ask now, and who waits for it.
#[derive(Debug)]
struct Seats {
    asking: Semaphore,
    waiting: Semaphore,
    waits_for: Duration,
}

/// Forgets a question when it is answered, or when nobody waits for its answer any more.
struct Asked<'i> {
    open: &'i Mutex<HashMap<[u8; 32], Arc<Question>>>,
    key: [u8; 32],
    question: Arc<Question>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        let is_this = open.get(&self.key).is_some_and(|question| Arc::ptr_eq(question, &self.question));
        // One is the table's, one is ours: it is shared under the lock alone.
        if is_this && (self.question.initialized() || Arc::strong_count(&self.question) <= 2) {
            open.remove(&self.key);
        }
    }
}

/// What the issuer said of a token.
#[derive(Debug)]
pub(super) enum Said {
    /// It stands as an access token of this kind, and that may be believed for so long.
    Active { kind: Scheme, claims: TokenClaims, keep_for: Duration },
    /// It stands, and is no access token, or nobody says that it is one.
    NoAccessToken { what: &'static str },
    /// It does not stand, was never issued, or is not for us to know of.
    Inactive,
}

/// Whether an issuer's answers say what kind of token they are about.
///
/// RFC 7662 answers for refresh tokens too, and `active` says no more than that it stands.
/// Only `token_type` tells an access token from a refresh token that somebody presents as
/// one, and that lives far longer and is bound to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenType {
    /// They do; one that does not is about no access token.
    #[default]
    Said,
    /// They need not: this issuer answers for access tokens alone, says the configuration.
    DangerAbsent,
}

/// What the configuration says of it.
#[derive(Clone, Debug)]
pub struct IntrospectionSettings {
    /// The endpoint.
    pub url: Url,
    /// Who we are there.
    pub client_id: String,
    /// What proves it.
    pub client_secret: SecretString,
    /// How long an answer is believed, if it allows that.
    pub kept_at_most: Duration,
    /// Whether its answers say what they are about.
    pub token_type: TokenType,
}

impl Introspection {
    /// Asks by way of this client.
    pub fn new(http: Http, settings: IntrospectionSettings) -> Self {
        let IntrospectionSettings { url, client_id, client_secret, kept_at_most, token_type } = settings;
        let seats = Box::new(Seats {
            asking: Semaphore::new(QUESTIONS_AT_ONCE_MAX),
            waiting: Semaphore::new(QUESTIONS_WAITING_MAX),
            waits_for: QUESTION_WAITS_FOR,
        });
        let open = Box::default();
        Self { http, url, client_id, client_secret, kept_at_most, token_type, seats, open }
    }

    #[cfg(test)]
    pub(super) fn open_questions(&self) -> usize {
        self.open.lock().len()
    }

    /// With so many seats, at most so many that wait for one, and so long.
    #[cfg(test)]
    pub(super) fn with_seats(mut self, asking: usize, waiting: usize, waits_for: Duration) -> Self {
        self.seats = Box::new(Seats { asking: Semaphore::new(asking), waiting: Semaphore::new(waiting), waits_for });
        self
    }

    /// What tells it from another way to ask.
    pub(super) fn parts(&self) -> [String; 3] {
        [self.url.to_string(), self.client_id.clone(), format!("{:?}", self.token_type)]
    }

    /// How long a token lives from here on whose issuer does not say when it ends. It is asked about again as
    /// often as the configuration says; this ends what was opened with it.
    pub(super) fn life_without_exp(&self) -> Duration {
        self.kept_at_most.max(LIFE_WITHOUT_EXP)
    }

    /// Asks, once for all who come with this token while its question is open. `key` is a digest of the token.
    ///
    /// Where who asked goes away before the answer is there, the next who waits for it asks.
    ///
    /// # Errors
    ///
    /// Why there is no answer, for the operator. An answer without `active` is none.
    pub(super) async fn ask(&self, key: [u8; 32], token: &str) -> Result<Arc<Said>, String> {
        let question = Arc::clone(self.open.lock().entry(key).or_default());
        let asked = Asked { open: &self.open, key, question };
        asked.question.get_or_init(|| async { self.call(token).await.map(Arc::new) }).await.clone()
    }

    async fn call(&self, token: &str) -> Result<Said, String> {
        let _seat = self.seats.take().await?;
        let call = self.http.post(&self.url).basic(&self.client_id, &self.client_secret);
        let call = call.form([("token", token), ("token_type_hint", "access_token")]);
        let answer = call.send().await.map_err(|error| error.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("its introspection endpoint answered with {}", answer.status));
        }
        self.read(&answer)
    }

    fn read(&self, answer: &Answer) -> Result<Said, String> {
        let object = answer.object().map_err(|error| error.to_string())?;
        match object.get("active") {
            Some(Value::Bool(true)) => Ok(match kind(&object, self.token_type) {
                Ok(kind) => {
                    Said::Active { kind, claims: TokenClaims::new(object), keep_for: self.keep_for(&answer.headers) }
                }
                Err(what) => Said::NoAccessToken { what },
            }),
            Some(Value::Bool(false)) => Ok(Said::Inactive),
            Some(_) => Err("its answer's `active` is neither true nor false".to_owned()),
            None => Err("its answer does not say whether the token is active".to_owned()),
        }
    }

    /// What the answer allows (RFC 9111, section 5.2.2), and never more than is configured.
    fn keep_for(&self, headers: &HeaderMap) -> Duration {
        let values = headers.get_all(CACHE_CONTROL).iter();
        let mut keep_for = self.kept_at_most;
        for value in values {
            // What cannot be read allows nothing.
            let Ok(value) = value.to_str() else { return Duration::ZERO };
            for directive in value.split(',') {
                let (name, argument) = directive.trim().split_once('=').unwrap_or((directive.trim(), ""));
                match name.to_ascii_lowercase().as_str() {
                    "no-store" | "no-cache" => return Duration::ZERO,
                    "max-age" => {
                        let seconds = argument.trim_matches('"').parse().unwrap_or(0);
                        keep_for = keep_for.min(Duration::from_secs(seconds));
                    }
                    _ => {}
                }
            }
        }
        keep_for
    }
}

impl Seats {
    /// A seat, at once or after a short while.
    async fn take(&self) -> Result<tokio::sync::SemaphorePermit<'_>, String> {
        if let Ok(seat) = self.asking.try_acquire() {
            return Ok(seat);
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Err("too many questions to it are open, and too many wait".to_owned());
        };
        match tokio::time::timeout(self.waits_for, self.asking.acquire()).await {
            Ok(Ok(seat)) => Ok(seat),
            _ => Err("too many questions to it are open, and none was answered in time".to_owned()),
        }
    }
}

/// What kind of access token an answer is about, if it is about one. The names are
/// compared without case (RFC 6749, section 5.1), and a value that is not known is none.
fn kind(answer: &Map<String, Value>, token_type: TokenType) -> Result<Scheme, &'static str> {
    /// How issuers name an access token where they name what they were asked about:
    /// `token_use` at Ory and Amazon, `typ` at Keycloak. Refresh, offline and ID tokens
    /// stand there by names of their own.
    const ACCESS: [&str; 7] = ["access_token", "access", "bearer", "dpop", "at+jwt", "application/at+jwt", "jwt"];
    const NONE: &str = "not_an_access_token";
    let said = |name: &str| match answer.get(name) {
        None => Ok(None),
        Some(Value::String(said)) => Ok(Some(said.to_ascii_lowercase())),
        Some(_) => Err(NONE),
    };
    for name in ["token_use", "typ"] {
        if said(name)?.is_some_and(|said| !ACCESS.contains(&said.as_str())) {
            return Err(NONE);
        }
    }
    match (said("token_type")?.as_deref(), token_type) {
        (Some("bearer"), _) => Ok(Scheme::Bearer),
        (Some("dpop"), _) => Ok(Scheme::Dpop),
        (Some(_), _) => Err(NONE),
        (None, TokenType::Said) => Err("token_type_missing"),
        (None, TokenType::DangerAbsent) if answer.get("cnf").is_some_and(|cnf| cnf.get("jkt").is_some()) => {
            Ok(Scheme::Dpop)
        }
        (None, TokenType::DangerAbsent) => Ok(Scheme::Bearer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Reach;

    fn introspection(token_type: TokenType) -> Introspection {
        let url = "https://idp.example/introspect".parse().unwrap();
        let http = Http::new(Reach::Public, None).unwrap();
        let (client_id, client_secret) = ("gate".into(), SecretString::from("s"));
        Introspection::new(
            http,
            IntrospectionSettings { url, client_id, client_secret, kept_at_most: Duration::from_secs(60), token_type },
        )
    }

    fn read(body: &str, cache_control: &[&str]) -> String {
        read_by(TokenType::Said, body, cache_control)
    }

    fn read_by(token_type: TokenType, body: &str, cache_control: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in cache_control {
            headers.append(CACHE_CONTROL, value.parse().unwrap());
        }
        let answer = Answer { status: StatusCode::OK, headers, body: body.to_owned().into() };
        match introspection(token_type).read(&answer) {
            Ok(Said::Active { kind, keep_for, .. }) => format!("{} {}", kind.word(), keep_for.as_secs()),
            Ok(Said::NoAccessToken { what }) => what.to_owned(),
            Ok(Said::Inactive) => "inactive".to_owned(),
            Err(_) => "fault".to_owned(),
        }
    }

    #[test]
    fn an_answer_that_does_not_say_active_is_a_fault_and_no_verdict() {
        assert_eq!(read(r#"{"active":true,"token_type":"Bearer"}"#, &[]), "Bearer 60");
        assert_eq!(read(r#"{"active":false}"#, &[]), "inactive");
        for fault in [
            "{}",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            "[]",
            "",
            "active",
            r#"{"active":false,"active":true}"#,
            r#"{"Active":true}"#,
        ] {
            assert_eq!(read(fault, &[]), "fault", "{fault}");
        }
    }

    #[test]
    fn b97_an_answer_is_about_an_access_token_only_if_it_says_so() {
        for (says, said, absent) in [
            (r#""token_type":"Bearer""#, "Bearer 60", "Bearer 60"),
            (r#""token_type":"bearer","token_use":"access_token""#, "Bearer 60", "Bearer 60"),
            (r#""token_type":"DPOP","typ":"DPoP""#, "DPoP 60", "DPoP 60"),
            (r#""token_type":"refresh_token""#, "not_an_access_token", "not_an_access_token"),
            (r#""token_type":"Refresh","typ":"Refresh""#, "not_an_access_token", "not_an_access_token"),
            (r#""token_type":"Bearer","token_use":"refresh_token""#, "not_an_access_token", "not_an_access_token"),
            (r#""token_type":"Bearer","typ":"Offline""#, "not_an_access_token", "not_an_access_token"),
            (r#""token_use":"refresh_token""#, "not_an_access_token", "not_an_access_token"),
            (r#""token_type":"N_A""#, "not_an_access_token", "not_an_access_token"),
            (r#""token_type":null"#, "not_an_access_token", "not_an_access_token"),
            (r#""token_type":["Bearer"]"#, "not_an_access_token", "not_an_access_token"),
            (r#""token_type":"Bearer","token_use":1"#, "not_an_access_token", "not_an_access_token"),
            (r#""token_type":"""#, "not_an_access_token", "not_an_access_token"),
            (r#""Token_Type":"Bearer""#, "token_type_missing", "Bearer 60"),
            (r#""sub":"alice""#, "token_type_missing", "Bearer 60"),
            (r#""cnf":{"jkt":"x"}"#, "token_type_missing", "DPoP 60"),
        ] {
            let answer = format!(r#"{{"active":true,{says}}}"#);
            assert_eq!(read_by(TokenType::Said, &answer, &[]), said, "{says}");
            assert_eq!(read_by(TokenType::DangerAbsent, &answer, &[]), absent, "{says}");
        }
    }

    #[test]
    fn it_is_believed_no_longer_than_is_allowed() {
        let active = |cache: &[&str]| read(r#"{"active":true,"token_type":"Bearer"}"#, cache);
        assert_eq!(active(&["max-age=10"]), "Bearer 10");
        assert_eq!(active(&["private, max-age=3600"]), "Bearer 60");
        assert_eq!(active(&["max-age=30", "max-age=5"]), "Bearer 5");
        for none in ["no-store", "No-Store, max-age=10", "no-cache", "max-age=0", "max-age=-1", "max-age=x"] {
            assert_eq!(active(&[none]), "Bearer 0", "{none}");
        }
    }
}
