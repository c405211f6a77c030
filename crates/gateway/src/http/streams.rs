//! WebSockets, event streams and long answers of our own pages: decided again while they are open.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body::Body as _;
use stepgate_core::access::{BoundTo, TokenView};
use stepgate_core::certificate::ShownCertificate;
use stepgate_core::decide::{Verdict, decide, valid_until};
use stepgate_core::factor::FactorKind;
use stepgate_core::operation::Operation;
use stepgate_core::surroundings::Surroundings;
use stepgate_core::time::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::asker::{Known, Reader, asker};
use super::{Inner, answers};
use crate::body::Body;
use crate::server::{ClientUpgrade, PresentedCertificate};
use crate::upstream::Switched;

/// The shortest pause between two decisions on one stream.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How often the certificate is looked at that a stream's token is bound to.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What an open stream rests on.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) operation: Operation,
    pub(super) known: Option<Known>,
    pub(super) surroundings: Surroundings,
    pub(super) confirmed: Vec<(FactorKind, Timestamp)>,
    /// What the connection showed that it came on.
    pub(super) certificate: Option<Arc<PresentedCertificate>>,
}

impl Inner {
    /// Joins client and upstream until one of them, the session, the permit or
    /// the process ends.
    pub(super) fn watch_tunnel(
        self: &Arc<Self>,
        switched: Switched,
        client: ClientUpgrade,
        watched: Watched,
        reader: Reader,
    ) -> Response<Body> {
        let Ok(seat) = Arc::clone(&self.tunnels).try_acquire_owned() else {
            return answers::busy(reader);
        };
        let until = self.stop.child_token();
        let (response, tunnel) = switched.join(client, until.clone(), self.limits.tunnel);
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                end = tunnel => tracing::debug!(?end, "a WebSocket ended"),
                () = inner.watch(watched, until) => {}
            }
            drop(seat);
        });
        response
    }

    /// Lets a stream of events end with what it rests on. Other bodies end by
    /// themselves.
    pub(super) fn watch_stream(
        self: &Arc<Self>,
        response: Response<Body>,
        watched: Watched,
        reader: Reader,
    ) -> Response<Body> {
        if !is_stream(&response) {
            return response;
        }
        let Ok(seat) = Arc::clone(&self.tunnels).try_acquire_owned() else {
            return answers::busy(reader);
        };
        self.cut_when_ended(response, watched, self.stop.child_token(), Some(seat))
    }

    /// Lets an answer of our own pages that is made while it is sent, as an export of the
    /// evidence is, end with what it rests on. It takes no seat, because the pages
    /// limit how many they make; and it may end by itself while the process stops.
    pub(super) fn watch_local(self: &Arc<Self>, response: Response<Body>, watched: Watched) -> Response<Body> {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        self.cut_when_ended(response, watched, CancellationToken::new(), None)
    }

    fn cut_when_ended(
        self: &Arc<Self>,
        response: Response<Body>,
        watched: Watched,
        until: CancellationToken,
        seat: Option<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let inner = Arc::clone(self);
        let cut = until.clone();
        let watcher = tokio::spawn(async move {
            inner.watch(watched, cut).await;
            drop(seat);
        });
        response.map(|body| body.until(until, watcher.abort_handle()))
    }

    /// Returns, and cancels `cut`, as soon as the stream may not go on.
    async fn watch(&self, mut watched: Watched, cut: CancellationToken) {
        let mut reloads = self.reloads.subscribe();
        loop {
            let known = watched.known.clone();
            let mut ended = pin!(self.ended(known.as_ref()));
            // Looked at once before it is judged, so that what changes meanwhile is not missed.
            let already = poll_fn(|cx| Poll::Ready(ended.as_mut().poll(cx).is_ready())).await;
            if already && matches!(known, Some(Known::Session(_))) {
                break;
            }
            let Some(wait) = self.permitted_for(&mut watched).await else { break };
            let wait = if already { PAUSE_MIN } else { wait.max(PAUSE_MIN) };
            tokio::select! {
                biased;
                () = cut.cancelled() => return,
                () = &mut ended, if !already => match known {
                    // Something about the person changed: perhaps what the token is worth.
                    Some(Known::Token(_)) => {}
                    _ => break,
                },
                changed = reloads.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(wait) => {}
            }
        }
        cut.cancel();
    }

    /// How long the stream may go on from now, or `None` if it may not.
    ///
    /// A session's is judged by the session as it was when the stream was opened: its ages
    /// grow, and what ends or changes it completes `ended`. A token's is judged by what the
    /// token, its person and the configuration are now.
    async fn permitted_for(&self, watched: &mut Watched) -> Option<Duration> {
        if let Some(Known::Token(view)) = &watched.known {
            let shown = watched.certificate.as_deref().map(|shown| shown as &dyn ShownCertificate);
            let view = match self.bearer_again(view, shown).await {
                Ok(Ok(view)) if self.has_scopes_now(&watched.operation, &view) => view,
                Ok(Ok(_)) => return None,
                Ok(Err(refused)) => {
                    self.flows.refused(&refused.code()).await;
                    return None;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a stream ends because nobody can say whose it is");
                    return None;
                }
            };
            watched.known = Some(Known::Token(view));
        }
        let now = self.flows.clock.now();
        let mut surroundings = Surroundings { now, ..watched.surroundings.clone() };
        let asker = asker(watched.known.as_ref());
        self.flows.look_at_habits(&watched.operation, asker, &mut surroundings).await;
        let live = self.flows.live.load_full();
        let confirmed = &watched.confirmed;
        let operation = &watched.operation;
        let verdict = decide(&live.policies, operation.clone(), asker, &surroundings, confirmed);
        if !matches!(verdict, Verdict::Permit(_)) {
            return None;
        }
        let until = valid_until(&live.policies, operation, asker, &surroundings, confirmed)?;
        let left = until.since(now)?;
        let ends_at = match &watched.known {
            Some(Known::Session(signed)) => signed.view.ends_at,
            Some(Known::Token(view)) => view.token.expires_at.min(now.plus(self.looked_at_within(view))),
            None => return Some(left),
        };
        ends_at.since(now).filter(|left| !left.is_zero()).map(|ends| ends.min(left))
    }

    /// Nobody tells us that a key or a certificate was taken back: it is looked at again.
    fn looked_at_within(&self, view: &TokenView) -> Duration {
        match view.token.bound_to {
            // Of a key that is proved with each request there is nothing to look at.
            None | Some(BoundTo::Key(_)) => self.limits.token_look,
            // A list may be loaded at any time.
            Some(BoundTo::Certificate(_)) => LOOK_AGAIN.min(self.limits.token_look),
        }
    }

    async fn ended(&self, known: Option<&Known>) {
        match known {
            Some(Known::Session(signed)) => self.flows.store.ended(signed.view.id).await,
            // Nobody tells us that a token is revoked; who leaves takes it with them.
            Some(Known::Token(view)) => self.flows.store.person_changed(view.person.id).await,
            None => std::future::pending().await,
        }
    }
}

/// A body without an end of its own, by its type.
fn is_stream(response: &Response<Body>) -> bool {
    const STREAMS: [&str; 5] = [
        "text/event-stream",
        "multipart/x-mixed-replace",
        "application/x-ndjson",
        "application/stream+json",
        "application/grpc",
    ];
    let headers = response.headers();
    !headers.contains_key(CONTENT_LENGTH)
        && headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|kind| {
            let kind = kind.trim_start().to_ascii_lowercase();
            STREAMS.iter().any(|stream| kind.starts_with(stream))
        })
}
