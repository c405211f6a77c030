//! A body on its way through, with limits and without trailers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::BodyError;
use crate::upstream::Lease;

/// The limits of a body that passes through.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// The most bytes, or `None` for no limit.
    pub bytes: Option<u64>,
    /// The longest wait for the next bytes.
    pub stall: Duration,
}

/// A body that passes through.
///
/// Frames go on as they come, nothing is gathered, so chunked streams and
/// server-sent events arrive unbuffered. Trailers do not go on: servers merge
/// them into the headers, after the decision.
///
/// The timer is made only when the body keeps us waiting, so bodies that are
/// there already cost none.
#[derive(Debug)]
pub struct Metered {
    incoming: Incoming,
    limits: StreamLimits,
    received: u64,
    waiting: Option<Pin<Box<Sleep>>>,
    lease: Option<Lease>,
    progress: Option<Arc<Progress>>,
}

/// When a body last moved.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
    /// Milliseconds after that.
    moved_ms: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self { begun: now(), moved_ms: AtomicU64::new(0) }
    }

    fn note(&self) {
        let since = now().saturating_duration_since(self.begun);
        self.moved_ms.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago.
    pub(crate) fn still_for(&self) -> Duration {
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        now().saturating_duration_since(self.begun).saturating_sub(moved)
    }
}

#[expect(clippy::disallowed_methods, reason = "the runtime's clock, which its timers go by; nothing is decided by it")]
fn now() -> Instant {
    Instant::now()
}

impl Metered {
    /// Passes `incoming` on within `limits`.
    #[must_use]
    pub fn new(incoming: Incoming, limits: StreamLimits) -> Self {
        Self { incoming, limits, received: 0, waiting: None, lease: None, progress: None }
    }

    /// Holds the connection that the body comes by, and gives it back at the body's end.
    pub(crate) fn leased(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Tells from now on when it last moved.
    pub(super) fn watched(&mut self) -> Arc<Progress> {
        Arc::clone(self.progress.get_or_insert_with(|| Arc::new(Progress::new())))
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let stall = self.limits.stall;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(BodyError::Stalled)
    }

    fn count(&mut self, length: usize) -> Result<(), BodyError> {
        self.received = self.received.saturating_add(length as u64);
        match self.limits.bytes {
            Some(limit) if self.received > limit => Err(BodyError::TooLarge),
            _ => Ok(()),
        }
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let polled = Pin::new(&mut self.incoming).poll_frame(cx);
            let Poll::Ready(frame) = polled else {
                let stalled = ready!(self.poll_stalled(cx));
                return Poll::Ready(Some(Err(stalled)));
            };
            self.waiting = None;
            if let Some(progress) = &self.progress {
                progress.note();
            }
            return Poll::Ready(match frame {
                None => {
                    if let Some(lease) = self.lease.take() {
                        lease.give_back();
                    }
                    None
                }
                Some(Err(error)) => Some(Err(BodyError::Broken(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(self.count(data.len()).map(|()| Frame::data(data))),
                    // Trailers: dropped, and the end comes next.
                    Err(_) => continue,
                },
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        // A server does not ask for more than it announced, so the end may not have been polled.
        if let Some(lease) = self.lease.take()
            && self.incoming.is_end_stream()
        {
            lease.give_back();
        }
    }
}
