//! The one HTTP client by which this room, and who rests on it, calls others.
//!
//! It follows no redirect, reads no proxy from the environment, waits no longer and
//! reads no more than it was told to, and connects only where [`Reach`] allows.

mod reach;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use stepgate_core::time::Timestamp;
use url::Url;

pub(crate) use reach::shown;
pub use reach::{NotAllowed, Place, Reach};
pub use webhook::{NotAWebhookKey, WebhookKey};

/// How long a connection may take to come about.
pub const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long a call may take from its beginning to the last byte of the answer.
pub const CALL_MAX: Duration = Duration::from_secs(10);
/// The most bytes that are read of an answer, unless the call says otherwise.
pub const ANSWER_LEN_MAX: usize = 256 * 1024;
/// The most connections that are kept for the next call to the same host.
const IDLE_CONNECTIONS_MAX: usize = 4;

/// The client. Cloning it shares the connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    reach: Reach,
}

/// The client cannot be made: no root certificates, or not those of the file.
#[derive(Debug, thiserror::Error)]
pub enum HttpUnusable {
    /// The file with root certificates cannot be read as PEM, or holds none.
    #[error("no certificate can be read from the file of root certificates")]
    RootCertificates,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The URL is not one that is called.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// No connection, no TLS, or a broken answer.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// Without query.
        url: String,
        /// The causes, joined.
        why: String,
    },
    /// It took too long.
    #[error("{url} did not answer in time")]
    TooSlow {
        /// Without query.
        url: String,
    },
    /// The answer is larger than is read.
    #[error("the answer of {url} is larger than {max} bytes")]
    TooLarge {
        /// Without query.
        url: String,
        /// The limit.
        max: usize,
    },
    /// It leads elsewhere; nobody follows.
    #[error("{url} answered with a redirect ({status}), which is not followed")]
    Redirect {
        /// Without query.
        url: String,
        /// The status.
        status: u16,
    },
}

impl HttpError {
    /// What kind of error it is, without the address: one that a stranger gave may be a secret by itself.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotAllowed(why) => why.kind(),
            Self::Unreachable { .. } => "it cannot be reached",
            Self::TooSlow { .. } => "it did not answer in time",
            Self::TooLarge { .. } => "its answer is too large",
            Self::Redirect { .. } => "it answered with a redirect, which is not followed",
        }
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status; never a redirect.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// The body of an answer is not one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not a JSON object, each of whose names stands once")]
pub struct NotAnObject;

impl Answer {
    /// How long the other side wants to be left alone (RFC 9110, section 10.2.3), by seconds or by a date; `None` if it
    /// does not say, or says it in no way that is known.
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(Timestamp::from_ms(date.timestamp().as_millisecond()).since(now).unwrap_or_default())
    }

    /// The body as a JSON object; a name that stands twice is refused.
    ///
    /// # Errors
    ///
    /// [`NotAnObject`]
    pub fn object(&self) -> Result<Map<String, Value>, NotAnObject> {
        crate::json::object(&self.body).ok_or(NotAnObject)
    }
}

impl Http {
    /// A client that reaches this far. With `root_certificates` (PEM), those alone are
    /// believed; otherwise the platform's.
    ///
    /// # Errors
    ///
    /// [`HttpUnusable`] says what is wrong with the certificates.
    pub fn new(reach: Reach, root_certificates: Option<&[u8]>) -> Result<Self, HttpUnusable> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_MAX)
            .timeout(CALL_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .https_only(reach != Reach::DangerLoopback)
            .dns_resolver(Arc::new(Within(reach)))
            .user_agent(concat!("stepgate/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = root_certificates {
            let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| HttpUnusable::RootCertificates)?;
            if roots.is_empty() {
                return Err(HttpUnusable::RootCertificates);
            }
            builder = builder.tls_certs_only(roots);
        }
        let client = builder.build().map_err(|error| HttpUnusable::Tls(causes(&error)))?;
        Ok(Self { client, reach })
    }

    /// How far it reaches.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// A call of `url` that reads JSON.
    pub fn get(&self, url: &Url) -> Call {
        self.call(Method::GET, url)
    }

    /// A call of `url` with a body to follow.
    pub fn post(&self, url: &Url) -> Call {
        self.call(Method::POST, url)
    }

    /// A call of `url` that changes something there, with a body to follow.
    pub fn patch(&self, url: &Url) -> Call {
        self.call(Method::PATCH, url)
    }

    fn call(&self, method: Method, url: &Url) -> Call {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Call {
            http: self.clone(),
            method,
            url: url.clone(),
            headers,
            body: Bytes::new(),
            answer_len_max: ANSWER_LEN_MAX,
            within: CALL_MAX,
        }
    }
}

/// A call that is being made ready.
#[derive(Clone)]
#[must_use = "a call that is not sent asks nobody"]
pub struct Call {
    http: Http,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    answer_len_max: usize,
    within: Duration,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({} {})", self.method, shown(&self.url))
    }
}

impl Call {
    /// With this header field, instead of one of the same name.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With this token (RFC 6750). One that no header can bear is left out, so the call will be refused.
    pub fn bearer(self, token: &SecretString) -> Self {
        self.authorization(format!("Bearer {}", token.expose_secret()))
    }

    /// With this name and secret, encoded as OAuth wants it (RFC 6749, section 2.3.1).
    pub fn basic(self, name: &str, secret: &SecretString) -> Self {
        use base64::Engine;
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = zeroize::Zeroizing::new(format!("{}:{}", encoded(name), encoded(secret.expose_secret())));
        self.authorization(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair.as_bytes())))
    }

    /// With this value of `Authorization`, as somebody gave it. One that no header can bear is left out.
    pub fn authorization_header(self, value: &SecretString) -> Self {
        self.authorization(value.expose_secret().to_owned())
    }

    fn authorization(self, value: String) -> Self {
        let Ok(mut value) = HeaderValue::from_maybe_shared(value) else { return self };
        value.set_sensitive(true);
        self.header(header::AUTHORIZATION, value)
    }

    /// With a form as body.
    pub fn form<'a>(self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body(HeaderValue::from_static("application/x-www-form-urlencoded"), body.into())
    }

    /// With this body.
    pub fn body(mut self, content_type: HeaderValue, body: Bytes) -> Self {
        self.body = body;
        self.header(header::CONTENT_TYPE, content_type)
    }

    /// Reads at most this much of the answer.
    pub fn at_most(mut self, bytes: usize) -> Self {
        self.answer_len_max = bytes;
        self
    }

    /// Waits at most this long; a call for events may be held by the other side for a while.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Calls, once, and reads the answer to its end.
    ///
    /// # Errors
    ///
    /// [`HttpError`]. An answer with any status but a redirect is no error.
    pub async fn send(self) -> Result<Answer, HttpError> {
        let url = shown(&self.url);
        self.http.reach.check(&self.url)?;
        let request = self.http.client.request(self.method, self.url).headers(self.headers).body(self.body);
        let mut response = request.timeout(self.within).send().await.map_err(|error| failed(&url, &error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(HttpError::Redirect { url, status: status.as_u16() });
        }
        let max = self.answer_len_max;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&url, &error))? {
            if body.len() + chunk.len() > max {
                return Err(HttpError::TooLarge { url, max });
            }
            body.extend_from_slice(&chunk);
        }
        let headers = std::mem::take(response.headers_mut());
        Ok(Answer { status, headers, body: body.into() })
    }
}

fn failed(url: &str, error: &reqwest::Error) -> HttpError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = cause {
        if let Some(refused) = one.downcast_ref::<NotAllowed>() {
            return refused.clone().into();
        }
        cause = one.source();
    }
    let url = url.to_owned();
    if error.is_timeout() {
        return HttpError::TooSlow { url };
    }
    HttpError::Unreachable { url, why: causes(error) }
}

/// What lies below an error of the client, whose own words repeat the URL.
fn causes(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(one) = cause {
        let said = one.to_string();
        if words.last() != Some(&said) {
            words.push(said);
        }
        cause = one.source();
    }
    if words.is_empty() { String::from("no cause was given") } else { words.join(": ") }
}

/// Looks names up, and gives back only addresses that may be called.
struct Within(Reach);

impl Resolve for Within {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let host = name.as_str();
            // Not every resolver knows that these names are this machine's (RFC 6761).
            let found: Vec<_> = if reach::is_localhost(host) {
                vec![(std::net::Ipv4Addr::LOCALHOST, 0).into(), (std::net::Ipv6Addr::LOCALHOST, 0).into()]
            } else {
                tokio::net::lookup_host((host, 0)).await?.collect()
            };
            let refused = found.iter().find(|address| !reach.covers(address.ip())).copied();
            let allowed: Vec<_> = found.into_iter().filter(|address| reach.covers(address.ip())).collect();
            match refused {
                Some(refused) if allowed.is_empty() => {
                    Err(NotAllowed::Place { host: host.to_owned(), place: Place::of(refused.ip()) }.into())
                }
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests;
