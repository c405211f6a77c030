//! Between the socket and the HTTP library: no head of HTTP/1 reaches the library
//! that it would repair, read differently than others do, or answer by itself.
//!
//! A head that is refused is replaced by a harmless one, and the request that the
//! library makes of that is told apart by its number on the connection. So every
//! refusal is answered, counted and numbered at one place, by the handler. Bytes
//! are looked at where the library reads them; only a head that has not all come
//! is kept here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

use super::wire::{Rest, Wire};
use crate::canonical::Ambiguous;

/// What the library gets instead of a head that is refused. It names no host, so
/// it would be refused even if nobody knew what it stands for.
const REPLACEMENT: &[u8] = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
/// Bytes are read straight into the library's buffer where it has this much room.
const DIRECT_READ_BYTES: usize = 4096;
/// How long what a refused client still sends is taken and thrown away: closing on
/// it would take back the answer that is on its way (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// The limits of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// The most bytes.
    pub(super) bytes: usize,
    /// The longest time from its first byte to its last.
    pub(super) patience: Duration,
}

/// The requests of one HTTP/1 connection: what the guard knows of them and the
/// library does not, and the other way around.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    begun: u64,
    answered: u64,
    /// The last answer switched protocols.
    switched: bool,
    refused: Option<Refused>,
    waiting: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    number: u64,
    why: Ambiguous,
}

/// What became of an offered upgrade.
enum Offer {
    Declined,
    Taken,
}

impl Requests {
    /// Counts the next request that the library made of a head, and gives why it
    /// stands for one that is refused.
    pub(super) fn begin(&self) -> Option<Ambiguous> {
        let mut known = self.0.lock();
        known.begun += 1;
        let number = known.begun;
        known.refused.filter(|refused| refused.number == number).map(|refused| refused.why)
    }

    /// The request that began last is answered.
    pub(super) fn answered(&self, status: StatusCode) {
        let waiting = {
            let mut known = self.0.lock();
            known.answered += 1;
            known.switched = status == StatusCode::SWITCHING_PROTOCOLS;
            known.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    fn refuse(&self, number: u64, why: Ambiguous) {
        self.0.lock().refused = Some(Refused { number, why });
    }

    fn poll_offer(&self, number: u64, cx: &Context<'_>) -> Poll<Offer> {
        let mut known = self.0.lock();
        if known.answered < number {
            known.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(if known.switched { Offer::Taken } else { Offer::Declined })
    }
}

/// A connection whose HTTP/1 heads are looked at.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    wire: Wire,
    requests: Arc<Requests>,
    limits: HeadLimits,
    /// What the library has not got: what may go on, and behind it what may not yet.
    held: BytesMut,
    cleared: usize,
    /// Whether what is held was looked at.
    followed: bool,
    state: State,
    /// When a head that began must be there; when lingering ends.
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Passing,
    /// A body breaks off.
    Broken,
    /// A head was refused; its answer is the last.
    Refused,
    /// The sending side is closed after a refusal.
    Lingering,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, requests: Arc<Requests>, limits: HeadLimits) -> Self {
        Self {
            inner,
            wire: Wire::new(limits.bytes),
            requests,
            limits,
            held: BytesMut::new(),
            cleared: 0,
            followed: true,
            state: State::Passing,
            deadline: None,
        }
    }

    fn refuse(&mut self, why: Ambiguous) {
        self.requests.refuse(self.wire.heads() + 1, why);
        self.wire.end();
        self.state = State::Refused;
        self.deadline = None;
        // What was cleared before it goes first.
        self.held.truncate(self.cleared);
        self.held.extend_from_slice(REPLACEMENT);
        self.cleared = self.held.len();
    }

    fn judge(&mut self, rest: Rest) {
        match rest {
            Rest::Wait => {}
            Rest::Refuse(why) => self.refuse(why),
            Rest::Break => {
                self.state = State::Broken;
                self.held.truncate(self.cleared);
            }
        }
    }

    fn follow_held(&mut self) {
        let followed = self.wire.follow(&self.held);
        self.followed = true;
        self.cleared = followed.pass;
        if followed.pass > 0 {
            self.deadline = None;
        }
        self.judge(followed.rest);
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let given = self.cleared.min(buf.remaining());
        buf.put_slice(self.held.get(..given).unwrap_or_default());
        self.held.advance(given);
        self.cleared -= given;
        if self.held.is_empty() {
            // An idle connection keeps no buffer here.
            self.held = BytesMut::new();
        }
    }

    /// Whether the deadline has passed; it is set where it is not.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, after: Duration) -> Poll<()> {
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        deadline.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Reads into the library's buffer, and takes back what may not go on.
    fn poll_direct(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Came>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            return Poll::Ready(Ok(Came::End));
        }
        let followed = self.wire.follow(fresh);
        let (pass, rest) = fresh.split_at_checked(followed.pass).unwrap_or((fresh, &[]));
        self.held.extend_from_slice(rest);
        let passed = pass.len();
        buf.set_filled(before + passed);
        self.judge(followed.rest);
        Poll::Ready(Ok(if passed > 0 { Came::Passed } else { Came::Nothing }))
    }

    /// Reads more of a head that is held.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Came>> {
        self.held.reserve(DIRECT_READ_BYTES);
        match poll_read_buf(Pin::new(&mut self.inner), cx, &mut self.held) {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(Came::End)),
            Poll::Ready(Ok(_)) => {
                self.followed = false;
                Poll::Ready(Ok(Came::Nothing))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if self.held.is_empty() {
                    self.held = BytesMut::new();
                } else if self.wire.is_in_head() && self.poll_deadline(cx, self.limits.patience).is_ready() {
                    self.refuse(Ambiguous::HeadTimeout);
                    return Poll::Ready(Ok(Came::Nothing));
                }
                Poll::Pending
            }
        }
    }

    /// Throws away what comes. Ready when nothing comes any more.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut thrown = [0; 1024];
        loop {
            let mut thrown = ReadBuf::new(&mut thrown);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut thrown)) {
                Ok(()) if !thrown.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

enum Came {
    /// The library's buffer has more.
    Passed,
    /// Nothing for the library, yet.
    Nothing,
    /// The client sends no more.
    End,
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                this.give(buf);
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Passing => {}
                State::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                State::Refused | State::Lingering => {
                    // Not its end: the library would give up the answer.
                    let _ = this.poll_discard(cx);
                    return Poll::Pending;
                }
            }
            if this.wire.is_offered() {
                match this.requests.poll_offer(this.wire.heads(), cx) {
                    Poll::Ready(Offer::Declined) => this.wire.stay(),
                    Poll::Ready(Offer::Taken) => this.wire.switch(),
                    Poll::Pending if this.held.len() >= this.limits.bytes => return Poll::Pending,
                    Poll::Pending => {}
                }
                this.followed = this.wire.is_offered();
            }
            if !this.followed {
                this.follow_held();
                continue;
            }
            let came = if this.held.is_empty() && this.wire.is_other() {
                return Pin::new(&mut this.inner).poll_read(cx, buf);
            } else if this.held.is_empty() && buf.remaining() >= DIRECT_READ_BYTES && !this.wire.is_offered() {
                ready!(this.poll_direct(cx, buf))?
            } else {
                ready!(this.poll_more(cx))?
            };
            match came {
                Came::Passed | Came::End => return Poll::Ready(Ok(())),
                Came::Nothing => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state != State::Lingering {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            if this.state != State::Refused {
                return Poll::Ready(Ok(()));
            }
            this.state = State::Lingering;
        }
        if this.poll_discard(cx).is_ready() || this.poll_deadline(cx, LINGER).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}
