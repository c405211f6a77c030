//! Bodies: streamed with limits, or read whole for an operation that needs them.

mod read;
mod stream;

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pub use read::{BodyLimits, ReadBodyError, read_whole, refuse_encoded};
pub(crate) use stream::Progress;
pub use stream::{Metered, StreamLimits};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer broke off or broke its own framing.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
    /// Nothing came for as long as may be waited.
    #[error("the body stalled")]
    Stalled,
    /// More came than may.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// What the stream rests on has ended.
    #[error("the stream may not go on")]
    Revoked,
    /// A body made in this process failed.
    #[error("the body could not be produced")]
    Local(#[source] Box<dyn StdError + Send + Sync>),
}

/// The one type of body that is sent, to clients and to upstreams.
#[derive(Debug)]
pub struct Body {
    inner: Inner,
    until: Option<Until>,
    _busy: Option<crate::server::Busy>,
}

/// Ends a body early, and its watcher with the body.
#[derive(Debug)]
struct Until {
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    watcher: AbortHandle,
}

impl Drop for Until {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

#[derive(Debug)]
enum Inner {
    Empty,
    Whole(Option<Bytes>),
    Metered(Metered),
    Local(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body {
    fn new(inner: Inner) -> Self {
        Self { inner, until: None, _busy: None }
    }

    pub(crate) fn keeping_busy(self, busy: crate::server::Busy) -> Self {
        Self { _busy: Some(busy), ..self }
    }

    /// This body, until `cut` is cancelled: then it breaks off. `watcher` is
    /// aborted when the body is done.
    pub(crate) fn until(self, cut: CancellationToken, watcher: AbortHandle) -> Self {
        Self { until: Some(Until { cut: Box::pin(cut.cancelled_owned()), watcher }), ..self }
    }

    /// When it last moved, for a body that passes through. Others, and those that are
    /// empty as most are, are there already.
    pub(crate) fn progress(&mut self) -> Option<Arc<Progress>> {
        match &mut self.inner {
            Inner::Metered(metered) if !metered.is_end_stream() => Some(metered.watched()),
            Inner::Metered(_) | Inner::Empty | Inner::Whole(_) | Inner::Local(_) => None,
        }
    }

    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Inner::Empty)
    }

    /// A body that is already in memory.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Self::empty();
        }
        Self::new(Inner::Whole(Some(bytes)))
    }

    /// A body that passes through under limits.
    #[must_use]
    pub fn metered(metered: Metered) -> Self {
        Self::new(Inner::Metered(metered))
    }

    /// A body made in this process, as by the pages.
    #[must_use]
    pub fn local<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let body = body.map_err(|error| BodyError::Local(error.into()));
        Self::new(Inner::Local(body.boxed_unsync()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(until) = &mut self.until
            && until.cut.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(BodyError::Revoked)));
        }
        match &mut self.inner {
            Inner::Empty => Poll::Ready(None),
            Inner::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Metered(metered) => Pin::new(metered).poll_frame(cx),
            Inner::Local(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Whole(bytes) => bytes.is_none(),
            Inner::Metered(metered) => metered.is_end_stream(),
            Inner::Local(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Inner::Metered(metered) => metered.size_hint(),
            Inner::Local(body) => body.size_hint(),
        }
    }
}
