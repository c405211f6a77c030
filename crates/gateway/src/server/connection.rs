//! One connection: handshake, requests, end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Interval;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Look};
use super::client_certificates::{Channel, ClientCertificates, Tls};
use super::guard::{Guarded, HeadLimits, Requests};
use super::seldom::Seldom;
use super::stall::Unstalled;
use super::{Arrived, ClientUpgrade, Handler, RequestBody, ServerLimits};
use crate::body::Body;
use crate::canonical::{AfterHead, Ambiguous, CanonicalRequest, Listener, MAX_HEADER_BYTES, MAX_HEADERS, Peer};

pub(super) struct Context<H> {
    pub(super) handler: Arc<H>,
    pub(super) listener: Arc<Listener>,
    pub(super) limits: ServerLimits,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) client: ClientCertificates,
    /// No new requests.
    pub(super) stop: CancellationToken,
    /// Nothing at all any more.
    pub(super) cut: CancellationToken,
}

pub(super) async fn serve<H: Handler>(context: &Arc<Context<H>>, stream: TcpStream, peer: SocketAddr) {
    let Some(tls) = &context.tls else {
        return serve_stream(context, stream, peer, Channel::Any).await;
    };
    let handshake = tokio::time::timeout(context.limits.handshake, accept(tls, stream));
    let accepted = tokio::select! {
        () = context.stop.cancelled() => return,
        accepted = handshake => accepted,
    };
    match accepted {
        Ok(Ok((stream, channel))) => Box::pin(serve_stream(context, stream, peer, channel)).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// A handshake with what the host of its hello is configured for.
async fn accept(tls: &Tls, stream: TcpStream) -> std::io::Result<(TlsStream<TcpStream>, Channel)> {
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let chosen = tls.choose(hello.client_hello().server_name()).map_err(std::io::Error::other)?;
    let stream = hello.into_stream(Arc::clone(&chosen.config)).await?;
    let channel = chosen.channel(stream.get_ref().1.peer_certificates());
    Ok((stream, channel))
}

async fn serve_stream<H, S>(context: &Arc<Context<H>>, stream: S, peer: SocketAddr, channel: Channel)
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let requests = Arc::new(Requests::default());
    let service = {
        let here = Arc::new(Here {
            context: Arc::clone(context),
            peer: Peer::new(peer),
            channel,
            activity: Arc::clone(&activity),
            requests: Arc::clone(&requests),
        });
        service_fn(move |request| {
            let here = Arc::clone(&here);
            async move {
                let busy = Activity::begin(&here.activity);
                let response = answer(&here, request).await;
                // A stream that is still being sent keeps its connection busy.
                Ok::<_, Infallible>(response.map(|body| body.keeping_busy(busy)))
            }
        })
    };
    let stream = Unstalled::new(stream, context.limits.write_stall);
    let heads = HeadLimits { bytes: head_bytes(&context.limits), patience: context.limits.head };
    let stream = Guarded::new(stream, requests, heads);
    let builder = builder(&context.limits);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut idle = tokio::time::interval(context.limits.idle);
    idle.reset();
    let mut seen = 0;
    let mut stopping = Stopping::No;
    loop {
        let mut event = Seldom::new(Box::pin(next_event(context, &mut idle, stopping)));
        let event = tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection ended early");
                }
                return;
            }
            event = &mut event => event,
        };
        let ends = match event {
            Event::Cut => return,
            Event::Stop => true,
            Event::Tick => match activity.look(&mut seen) {
                Look::Busy => false,
                Look::Idle if stopping == Stopping::No => true,
                // It was asked to end, is idle, and still there.
                Look::Idle => return,
            },
        };
        if ends {
            stopping = Stopping::Yes;
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// What a connection has to heed beside its requests.
enum Event {
    /// Nothing at all any more.
    Cut,
    /// No new requests.
    Stop,
    /// Time to look whether it is idle.
    Tick,
}

async fn next_event<H>(context: &Context<H>, idle: &mut Interval, stopping: Stopping) -> Event {
    tokio::select! {
        biased;
        () = context.cut.cancelled() => Event::Cut,
        () = context.stop.cancelled(), if stopping == Stopping::No => Event::Stop,
        _ = idle.tick() => Event::Tick,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Yes,
}

/// What the requests of one connection share.
struct Here<H> {
    context: Arc<Context<H>>,
    peer: Peer,
    channel: Channel,
    activity: Arc<Activity>,
    requests: Arc<Requests>,
}

async fn answer<H: Handler>(here: &Here<H>, request: Request<Incoming>) -> Response<Body> {
    // The guard looks at HTTP/1 alone; in HTTP/2 the frames are the framing.
    let guarded = request.version() != Version::HTTP_2;
    let refused = if guarded { here.requests.begin() } else { None };
    let arrived = arrive(here, request, refused);
    let response = here.context.handler.handle(arrived).await;
    if guarded {
        here.requests.answered(response.status());
    }
    response
}

fn arrive<H>(here: &Here<H>, request: Request<Incoming>, refused: Option<Ambiguous>) -> Arrived {
    let (mut parts, body) = request.into_parts();
    let after_head = match body.is_end_stream() {
        true => AfterHead::Nothing,
        false => AfterHead::Body,
    };
    let upgrade = parts
        .extensions
        .remove::<OnUpgrade>()
        .map(|on_upgrade| ClientUpgrade { on_upgrade, busy: Activity::begin(&here.activity) });
    let request = match refused {
        Some(why) => Err(why),
        None => CanonicalRequest::read(parts, after_head, &here.peer, &here.context.listener)
            .and_then(|request| here.context.client.on_channel(&here.channel, request))
            .map(Box::new),
    };
    Arrived { request, body: RequestBody(body), upgrade }
}

fn head_bytes(limits: &ServerLimits) -> usize {
    limits.head_buffer.max(8 * 1024)
}

fn builder(limits: &ServerLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The guard times a head from its first byte; waiting for one is being idle.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        // So that a head which the guard lets pass fits, and the empty lines before it.
        .max_buf_size(head_bytes(limits) + 64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(limits.pending_resets)
        .max_local_error_reset_streams(limits.pending_resets)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES * 2).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.idle)
        .keep_alive_timeout(limits.head);
    builder
}
