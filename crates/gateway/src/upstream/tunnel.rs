//! WebSockets: bytes both ways until one side, or the session, ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::ForwardError;
use super::outbound::{ClientSide, Handshake};
use super::response::clean_headers;
use crate::body::Body;
use crate::server::ClientUpgrade;

/// What every handshake key is extended by (RFC 6455, section 1.3).
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The limits of a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct TunnelLimits {
    /// The longest wait for both sides to have switched.
    pub switch: Duration,
    /// How long a tunnel may be silent in both directions.
    pub idle: Duration,
}

impl Default for TunnelLimits {
    fn default() -> Self {
        Self { switch: Duration::from_secs(10), idle: Duration::from_secs(3600) }
    }
}

/// Why a tunnel ended.
#[derive(Debug)]
pub enum TunnelEnd {
    /// One side closed, or its connection broke.
    Closed,
    /// The caller ended it, as when the session that opened it is over.
    Revoked,
    /// Nothing was said for too long.
    Idle,
    /// One side never switched.
    NotSwitched,
}

/// An upstream that has switched to WebSocket, and waits for the client to.
#[derive(Debug)]
pub struct Switched {
    response: Response<Body>,
    upstream: OnUpgrade,
}

pub(super) fn switched(mut response: Response<Incoming>, handshake: &Handshake) -> Result<Switched, ForwardError> {
    let switches_to_websocket =
        response.headers().get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let accept = response.headers().get("sec-websocket-accept");
    if !switches_to_websocket || accept.map(HeaderValue::as_bytes) != Some(&accept_for(&handshake.key)[..]) {
        return Err(ForwardError::Response);
    }
    let upstream = hyper::upgrade::on(&mut response);
    let mut response = response.map(|_| Body::empty());
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    clean_headers(headers);
    match handshake.client {
        ClientSide::Http1 => {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        ClientSide::Http2 => {
            headers.remove("sec-websocket-accept");
            *response.status_mut() = StatusCode::OK;
        }
    }
    Ok(Switched { response, upstream })
}

impl Switched {
    /// The status for the client: 101, or 200 over HTTP/2.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The answer for the client, and the tunnel, which the caller runs in a task
    /// of its own. It ends when `until` is cancelled, at the latest.
    pub fn join(
        self,
        client: ClientUpgrade,
        until: CancellationToken,
        limits: TunnelLimits,
    ) -> (Response<Body>, impl Future<Output = TunnelEnd> + Send + 'static) {
        let upstream = self.upstream;
        let tunnel = async move {
            let ClientUpgrade { on_upgrade, busy } = client;
            let both = async { tokio::try_join!(on_upgrade, upstream) };
            let end = tokio::select! {
                biased;
                () = until.cancelled() => TunnelEnd::Revoked,
                both = tokio::time::timeout(limits.switch, both) => match both {
                    Ok(Ok((client, upstream))) => carry(client, upstream, &until, limits.idle).await,
                    Ok(Err(_)) | Err(_) => TunnelEnd::NotSwitched,
                },
            };
            drop(busy);
            end
        };
        (self.response, tunnel)
    }
}

async fn carry(client: Upgraded, upstream: Upgraded, until: &CancellationToken, idle: Duration) -> TunnelEnd {
    let carried = Arc::new(AtomicU64::new(0));
    let mut client = Counted { inner: TokioIo::new(client), carried: Arc::clone(&carried) };
    let mut upstream = TokioIo::new(upstream);
    let copying = tokio::io::copy_bidirectional(&mut client, &mut upstream);
    tokio::select! {
        biased;
        () = until.cancelled() => TunnelEnd::Revoked,
        _ = copying => TunnelEnd::Closed,
        () = silent(&carried, idle) => TunnelEnd::Idle,
    }
}

async fn silent(carried: &AtomicU64, idle: Duration) {
    let mut seen = carried.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(idle).await;
        let now = carried.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

fn accept_for(key: &HeaderValue) -> Vec<u8> {
    let mut extended = key.as_bytes().to_vec();
    extended.extend_from_slice(WEBSOCKET_GUID.as_bytes());
    // Not a security measure: it shows that the other side speaks WebSocket.
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, &extended);
    base64::engine::general_purpose::STANDARD.encode(digest).into_bytes()
}

/// Counts what passes, in both directions.
struct Counted<T> {
    inner: T,
    carried: Arc<AtomicU64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if polled.is_ready() {
            self.carried.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if polled.is_ready() {
            self.carried.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_of_rfc_6455_section_1_3() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept_for(&key), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
