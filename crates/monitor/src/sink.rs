//! Where documents go.

mod elasticsearch;
mod file;
mod otlp;
mod splunk;
mod stdout;
mod syslog;
mod webhook;

use std::time::Duration;

use async_trait::async_trait;
use http::{StatusCode, header};
use stepgate_identity::http::{Answer, Call, HttpError};

use crate::format::Document;

pub use elasticsearch::Elasticsearch;
pub(crate) use file::append;
pub use file::{File, Rotation};
pub use otlp::Otlp;
pub use splunk::Splunk;
pub use stdout::Stdout;
pub use syslog::{NoTls, Syslog, SyslogTransport};
pub use webhook::Webhook;

/// The most bytes that are read of a receiver's answer.
const ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;
/// The longest pause that a receiver may ask for.
const AFTER_MAX: Duration = Duration::from_secs(300);

/// Why documents were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Another try may succeed.
    #[error("{why}")]
    Passing {
        /// What kind of failure it is: for the evidence, where nothing stands that a receiver says.
        reason: Reason,
        /// What happened, for people who run the gate.
        why: String,
        /// When the receiver wants to be tried again.
        after: Option<Duration>,
    },
    /// The receiver answers with a failure. If it does so again and again, the documents may be at fault.
    #[error("the receiver answered {status}")]
    Failing {
        /// HTTP status.
        status: u16,
    },
    /// The receiver took all but these, which it will never take: each with its place in the batch, and why.
    #[error("{} documents were refused", .0.len())]
    Refused(Vec<(usize, String)>),
    /// The receiver will never take the batch as it is, and does not say which document is at fault.
    #[error("{0}")]
    Rejected(String),
}

/// Why a sink takes nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no connection, or no certificate that is believed.
    Unreachable,
    /// It did not answer in time.
    TooSlow,
    /// It wants to be asked less often.
    Busy,
    /// It answered with a failure.
    Failing,
    /// It answered what nobody understands.
    Unintelligible,
    /// It received documents and does not say that it has them.
    Unacknowledged,
    /// It refuses every document.
    RefusesEverything,
    /// What is configured cannot be sent.
    Configuration,
    /// A file cannot be written.
    Disk,
}

impl Reason {
    /// Its name in the evidence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TooSlow => "too_slow",
            Self::Busy => "busy",
            Self::Failing => "failing",
            Self::Unintelligible => "unintelligible",
            Self::Unacknowledged => "unacknowledged",
            Self::RefusesEverything => "refuses_everything",
            Self::Configuration => "configuration",
            Self::Disk => "disk",
        }
    }
}

impl Undelivered {
    /// Another try may succeed.
    pub(crate) fn passing(reason: Reason, why: impl Into<String>) -> Self {
        Self::Passing { reason, why: why.into(), after: None }
    }
}

/// Where documents go.
#[async_trait]
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// Hands over documents in their order. `Ok`: the receiver has all of them, as far as its protocol can say so.
    ///
    /// # Errors
    ///
    /// [`Undelivered`] says whether another try may succeed. What was taken of a batch that failed is handed over again.
    async fn deliver(&mut self, batch: &[Document]) -> Result<(), Undelivered>;
}

/// Makes a call whose answer is a receiver's.
async fn call(call: Call) -> Result<Answer, Undelivered> {
    let answer = match call.at_most(ANSWER_LEN_MAX).send().await {
        Ok(answer) => answer,
        Err(error @ HttpError::TooLarge { .. }) => return Err(Undelivered::Rejected(error.to_string())),
        Err(error @ HttpError::TooSlow { .. }) => return Err(Undelivered::passing(Reason::TooSlow, error.to_string())),
        Err(error) => return Err(Undelivered::passing(Reason::Unreachable, error.to_string())),
    };
    if answer.status.is_success() {
        return Ok(answer);
    }
    let why = format!("the receiver answered {}", answer.status.as_u16());
    match answer.status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Err(Undelivered::Rejected(why))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Err(Undelivered::Passing { reason: Reason::Busy, why, after: retry_after(&answer) })
        }
        status => Err(Undelivered::Failing { status: status.as_u16() }),
    }
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); dates are not looked at.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let seconds: u64 = answer.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(AFTER_MAX))
}

/// A value of a header field that is kept from logs.
fn secret_header(text: &str) -> Result<http::HeaderValue, Undelivered> {
    let mut value = http::HeaderValue::from_str(text).map_err(|_| {
        Undelivered::passing(Reason::Configuration, "the token has signs that a header field cannot have")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
