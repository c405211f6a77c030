//! One connection's other end, and what its requests have in common.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use parking_lot::Mutex;

use super::{Ambiguous, Host};

/// The other end of a connection.
///
/// Its requests mostly name the same host in the same words, which are then read
/// once, and its address is written once.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    written: HeaderValue,
    last_host: Mutex<Option<(HeaderValue, Arc<Host>)>>,
}

impl Peer {
    /// The peer at `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let written = write(address.ip().to_canonical());
        Self { address, written, last_host: Mutex::new(None) }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The client's address as a header says it: nearly always this peer's.
    pub(super) fn write(&self, client: std::net::IpAddr) -> HeaderValue {
        match client == self.address.ip().to_canonical() {
            true => self.written.clone(),
            false => write(client),
        }
    }

    /// Reads a Host header. The same bytes were read in the same way before.
    pub(super) fn host(&self, raw: HeaderValue) -> Result<Arc<Host>, Ambiguous> {
        if let Some((last, host)) = &*self.last_host.lock()
            && last == raw
        {
            return Ok(Arc::clone(host));
        }
        let host = Arc::new(Host::parse(raw.to_str().map_err(|_| Ambiguous::Host)?)?);
        // A copy, because the value shares the memory of the whole head.
        if let Ok(own) = HeaderValue::from_bytes(raw.as_bytes()) {
            *self.last_host.lock() = Some((own, Arc::clone(&host)));
        }
        Ok(host)
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::new(address)
    }
}

/// Addresses are visible ASCII; anything else would not be forwarded as what it is not.
fn write(address: std::net::IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(peer: &Peer, raw: &str) -> Result<String, Ambiguous> {
        peer.host(HeaderValue::from_str(raw).unwrap()).map(|host| host.to_string())
    }

    #[test]
    fn another_host_on_the_same_connection_is_another_host() {
        let peer = Peer::new(SocketAddr::from(([127, 0, 0, 1], 1)));
        for _ in 0..2 {
            assert_eq!(host(&peer, "a.test").as_deref(), Ok("a.test"));
            assert_eq!(host(&peer, "a.test").as_deref(), Ok("a.test"));
            assert_eq!(host(&peer, "A.test:80").as_deref(), Ok("a.test:80"));
            assert_eq!(host(&peer, "a.test:81").as_deref(), Ok("a.test:81"));
            assert_eq!(host(&peer, "a.test."), Err(Ambiguous::TrailingDot));
            assert_eq!(host(&peer, "u@a.test"), Err(Ambiguous::UserInfo));
        }
    }

    #[test]
    fn the_client_behind_a_hop_is_not_the_hop() {
        let peer = Peer::new("[::ffff:10.0.0.1]:1".parse().unwrap());
        assert_eq!(peer.write("10.0.0.1".parse().unwrap()), "10.0.0.1");
        assert_eq!(peer.write("192.0.2.1".parse().unwrap()), "192.0.2.1");
    }
}
