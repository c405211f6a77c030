//! Connections to one upstream, kept for the next request.
//!
//! A connection goes back when the answer on it was read to its end, and only
//! then. Unused ones are counted out by a sweep, so that the everyday path reads
//! no clock; and they lie by thread, so that cores do not wait for one another.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use parking_lot::Mutex;
use tower::{Service as _, ServiceExt as _};

use super::UpstreamLimits;
use super::connector::{BoxError, Connector};
use crate::body::Body;

/// Sweeps in the time that an unused connection is kept.
const SWEEPS: u32 = 2;

/// Why a request got no response from its connection.
pub(super) enum PoolError {
    /// Nothing of the request was sent.
    NotSent(BoxError),
    /// Something may have been sent.
    Broken(hyper::Error),
}

/// The connections to one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connector: Connector,
    address: Uri,
    builder: Builder,
    keep_alive: Duration,
    /// The most unused connections in one shelf.
    kept: usize,
    /// One for each thread that serves, more or less.
    shelves: Vec<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// The newest last, with the sweep before which it came.
    unused: Vec<(SendRequest<Body>, u64)>,
    sweep: u64,
    swept: bool,
}

/// A connection in use. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: SendRequest<Body>,
    pool: Pool,
    /// It serves no other request.
    once: bool,
}

impl Pool {
    /// `address` is connected to when the first request needs it.
    pub(super) fn new(connector: Connector, address: Uri, limits: &UpstreamLimits) -> Self {
        let mut builder = Builder::new();
        builder.max_headers(limits.response_headers).max_buf_size(limits.response_head_bytes.max(8 * 1024));
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Shared {
            connector,
            address,
            builder,
            keep_alive: limits.keep_alive,
            kept: limits.idle_connections.div_ceil(threads),
            shelves: std::iter::repeat_with(Mutex::default).take(threads).collect(),
        }))
    }

    /// Sends a request, once. Only what was certainly not begun, because an unused
    /// connection had been closed meanwhile, is tried on another.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<(Response<Incoming>, Lease), PoolError> {
        // Some applications answer HEAD with a body, a moment after the head. It must not
        // be taken for the answer to somebody else's request.
        let once = request.method() == Method::HEAD;
        loop {
            let (mut sender, is_new) = match self.take() {
                Some(sender) => (sender, false),
                None => (self.connect().await.map_err(PoolError::NotSent)?, true),
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease { sender, pool: self.clone(), once })),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_new => request = unsent,
                    Some(_) => return Err(PoolError::NotSent(error.into_error().into())),
                    None => return Err(PoolError::Broken(error.into_error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Body>, BoxError> {
        let mut connector = self.0.connector.clone();
        let io = connector.ready().await?.call(self.0.address.clone()).await?;
        let (sender, connection) = self.0.builder.handshake(io).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection to an upstream broke");
            }
        });
        Ok(sender)
    }

    /// An unused connection, the thread's own first.
    fn take(&self) -> Option<SendRequest<Body>> {
        let own = shelf_number();
        let shelves = &self.0.shelves;
        (0..shelves.len()).find_map(|step| {
            let mut shelf = shelves.get(own.wrapping_add(step) % shelves.len())?.lock();
            std::iter::from_fn(|| shelf.unused.pop()).map(|(sender, _)| sender).find(SendRequest::is_ready)
        })
    }

    fn put(&self, sender: SendRequest<Body>) {
        let shelves = &self.0.shelves;
        let number = shelf_number() % shelves.len().max(1);
        let Some(shelf) = shelves.get(number) else { return };
        let mut shelf = shelf.lock();
        if shelf.unused.len() >= self.0.kept {
            return;
        }
        let sweep = shelf.sweep;
        shelf.unused.push((sender, sweep));
        if !std::mem::replace(&mut shelf.swept, true) {
            let pause = self.0.keep_alive / SWEEPS;
            tokio::spawn(sweep_shelf(Arc::downgrade(&self.0), number, pause));
        }
    }
}

/// Closes what was not used, until nothing is left.
async fn sweep_shelf(shared: Weak<Shared>, number: usize, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(shared) = shared.upgrade() else { return };
        let Some(shelf) = shared.shelves.get(number) else { return };
        let mut shelf = shelf.lock();
        shelf.sweep = shelf.sweep.wrapping_add(1);
        let now = shelf.sweep;
        shelf.unused.retain(|(sender, since)| now.wrapping_sub(*since) < u64::from(SWEEPS) && !sender.is_closed());
        if shelf.unused.is_empty() {
            shelf.swept = false;
            return;
        }
    }
}

impl Lease {
    /// The answer was read to its end: the connection serves the next request.
    pub(crate) fn give_back(mut self) {
        if self.once {
            return;
        }
        if self.sender.is_ready() {
            let Self { sender, pool, .. } = self;
            pool.put(sender);
        } else if !self.sender.is_closed() {
            // The connection's own task has yet to see that this exchange is over.
            tokio::spawn(async move {
                if self.sender.ready().await.is_ok() {
                    let Self { sender, pool, .. } = self;
                    pool.put(sender);
                }
            });
        }
    }
}

/// A number for each thread, in the order in which they come.
fn shelf_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.with(|number| match number.get() {
        Some(number) => number,
        None => {
            let new = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(Some(new));
            new
        }
    })
}
