//! Tokens that only their issuer can read: it is asked (RFC 7662).

use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use crate::http::{Answer, Http};
use crate::jws::TokenClaims;

/// The most questions to one issuer at once: who comes with invented tokens makes us ask no more.
pub const QUESTIONS_AT_ONCE_MAX: usize = 32;

/// Where an issuer is asked, and as whom.
#[derive(Debug)]
pub struct Introspection {
    http: Http,
    url: Url,
    client_id: String,
    client_secret: SecretString,
    kept_at_most: Duration,
    seats: Semaphore,
}

/// What the issuer said of a token.
#[derive(Debug)]
pub(super) enum Said {
    /// It stands, and that may be believed for so long.
    Active { claims: TokenClaims, keep_for: Duration },
    /// It does not stand, was never issued, or is not for us to know of.
    Inactive,
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
}

impl Introspection {
    /// Asks by way of this client.
    pub fn new(http: Http, settings: IntrospectionSettings) -> Self {
        let IntrospectionSettings { url, client_id, client_secret, kept_at_most } = settings;
        Self { http, url, client_id, client_secret, kept_at_most, seats: Semaphore::new(QUESTIONS_AT_ONCE_MAX) }
    }

    /// For how long an answer is believed that does not say for how long it holds.
    pub(super) fn kept_at_most(&self) -> Duration {
        self.kept_at_most
    }

    /// Asks.
    ///
    /// # Errors
    ///
    /// Why there is no answer, for the operator. An answer without `active` is none.
    pub(super) async fn ask(&self, token: &str) -> Result<Said, String> {
        let Ok(_seat) = self.seats.try_acquire() else {
            return Err(format!("{QUESTIONS_AT_ONCE_MAX} questions to it are open already"));
        };
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
            Some(Value::Bool(true)) => {
                Ok(Said::Active { claims: TokenClaims::new(object), keep_for: self.keep_for(&answer.headers) })
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Reach;

    fn introspection() -> Introspection {
        let url = "https://idp.example/introspect".parse().unwrap();
        let http = Http::new(Reach::Public, None).unwrap();
        let (client_id, client_secret) = ("gate".into(), SecretString::from("s"));
        Introspection::new(
            http,
            IntrospectionSettings { url, client_id, client_secret, kept_at_most: Duration::from_secs(60) },
        )
    }

    fn read(body: &str, cache_control: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in cache_control {
            headers.append(CACHE_CONTROL, value.parse().unwrap());
        }
        let answer = Answer { status: StatusCode::OK, headers, body: body.to_owned().into() };
        match introspection().read(&answer) {
            Ok(Said::Active { keep_for, .. }) => format!("active {}", keep_for.as_secs()),
            Ok(Said::Inactive) => "inactive".to_owned(),
            Err(_) => "fault".to_owned(),
        }
    }

    #[test]
    fn an_answer_that_does_not_say_active_is_a_fault_and_no_verdict() {
        assert_eq!(read(r#"{"active":true}"#, &[]), "active 60");
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
    fn it_is_believed_no_longer_than_is_allowed() {
        let active = |cache: &[&str]| read(r#"{"active":true}"#, cache);
        assert_eq!(active(&["max-age=10"]), "active 10");
        assert_eq!(active(&["private, max-age=3600"]), "active 60");
        assert_eq!(active(&["max-age=30", "max-age=5"]), "active 5");
        for none in ["no-store", "No-Store, max-age=10", "no-cache", "max-age=0", "max-age=-1", "max-age=x"] {
            assert_eq!(active(&[none]), "active 0", "{none}");
        }
    }
}
