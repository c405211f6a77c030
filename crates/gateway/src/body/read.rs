//! Reading a body whole, for an operation whose inputs are in it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_ENCODING, HeaderMap};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;

/// The limits of a body that is read whole.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// The most bytes.
    pub bytes: usize,
    /// The longest time for all of them.
    pub deadline: Duration,
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBodyError {
    /// The body is compressed: what it says depends on who unpacks it, and how
    /// large it is too.
    #[error("the body has a content encoding")]
    Encoded,
    /// There are more bytes than allowed.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// It did not come in time.
    #[error("the body did not arrive in time")]
    TimedOut,
    /// Its framing is broken or it ends early.
    #[error("the body is truncated or malformed")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Trailers follow it, and would be merged into the headers by some servers.
    #[error("the body is followed by trailers")]
    Trailers,
}

impl ReadBodyError {
    /// The stable, machine-readable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Encoded => "body_encoded",
            Self::TooLarge => "body_too_large",
            Self::TimedOut => "body_timeout",
            Self::Broken(_) => "body_broken",
            Self::Trailers => "body_trailers",
        }
    }

    /// The status of the answer (RFC 9110, section 15.5).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) | Self::Trailers => StatusCode::BAD_REQUEST,
        }
    }
}

/// Refuses a body whose inputs would have to be unpacked first.
///
/// # Errors
///
/// [`ReadBodyError::Encoded`] for any content encoding other than `identity`.
pub fn refuse_encoded(headers: &HeaderMap) -> Result<(), ReadBodyError> {
    let plain = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    match headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        true => Ok(()),
        false => Err(ReadBodyError::Encoded),
    }
}

/// Reads all of a body, so that the bytes that are decided on are the bytes that
/// are forwarded.
///
/// # Errors
///
/// [`ReadBodyError`]; nothing of the body may then be decided on or forwarded.
pub async fn read_whole<B>(body: B, limits: BodyLimits) -> Result<Bytes, ReadBodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(ReadBodyError::TooLarge);
    }
    tokio::time::timeout(limits.deadline, gather(body, limits.bytes)).await.unwrap_or(Err(ReadBodyError::TimedOut))
}

async fn gather<B>(mut body: B, limit: usize) -> Result<Bytes, ReadBodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut only: Option<Bytes> = None;
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ReadBodyError::Broken(error.into()))?;
        let data = frame.into_data().map_err(|_| ReadBodyError::Trailers)?;
        let so_far = gathered.len() + only.as_ref().map_or(0, Bytes::len);
        if so_far.saturating_add(data.len()) > limit {
            return Err(ReadBodyError::TooLarge);
        }
        match only.take() {
            None if gathered.is_empty() => only = Some(data),
            None => gathered.extend_from_slice(&data),
            Some(first) => {
                gathered.extend_from_slice(&first);
                gathered.extend_from_slice(&data);
            }
        }
    }
    Ok(only.unwrap_or_else(|| gathered.freeze()))
}
