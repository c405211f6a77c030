//! Who is at the other end: the peer itself, or what a trusted hop says of it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use stepgate_core::surroundings::Posture;

use super::Ambiguous;

/// The longest chain of hops that is walked.
const MAX_CHAIN: usize = 32;

/// How the client speaks to the outermost trusted server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// 80 or 443.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A header that a trusted hop may be believed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HopTells {
    /// `X-Forwarded-For`: the chain of client addresses.
    ClientAddress,
    /// `X-Forwarded-Proto`: the client's scheme.
    ClientScheme,
}

/// The servers in front of the gate that are believed, and in what.
///
/// The default believes nobody. A hop is believed only in what it is configured
/// to tell: one that sets `X-Forwarded-For` but passes a client's
/// `X-Forwarded-Proto` on must not be able to change the scheme.
#[derive(Clone, Debug, Default)]
pub struct TrustedHops {
    networks: Vec<IpNet>,
    tells: Vec<HopTells>,
    posture_header: Option<HeaderName>,
}

impl TrustedHops {
    /// Believes peers from `networks` in what `tells` lists.
    #[must_use]
    pub fn new(networks: Vec<IpNet>, tells: Vec<HopTells>) -> Self {
        Self { networks, tells, posture_header: None }
    }

    /// These, who also tell in this header whether the client's device keeps the company's rules.
    #[must_use]
    pub fn telling_posture_in(self, header: Option<HeaderName>) -> Self {
        Self { posture_header: header, ..self }
    }

    /// What the hop `peer` says of the client's device. The header never goes on, whoever sent it and with
    /// whatever underscores; said by anybody else, twice, or in other words, it says nothing.
    pub(super) fn take_posture(&self, peer: SocketAddr, headers: &mut HeaderMap) -> Posture {
        let Some(header) = &self.posture_header else { return Posture::Unknown };
        let mut values = headers.get_all(header).iter();
        let told = match (values.next(), values.next()) {
            (Some(only), None) if self.trusts(peer.ip()) => only.to_str().ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        let is_it = |name: &&HeaderName| name.as_str().replace('_', "-") == header.as_str().replace('_', "-");
        let names: Vec<HeaderName> = headers.keys().filter(is_it).cloned().collect();
        for name in names {
            headers.remove(name);
        }
        told.unwrap_or_default()
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|net| net.contains(&address))
    }
}

/// The client of a request, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    address: IpAddr,
    scheme: Scheme,
}

impl Client {
    /// A client at `address` that speaks `scheme`.
    #[must_use]
    pub fn new(address: IpAddr, scheme: Scheme) -> Self {
        Self { address: address.to_canonical(), scheme }
    }

    /// The address of the client: the peer's own, or the last one that a chain
    /// of trusted hops vouches for.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The scheme the client uses.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(super) fn read(
        peer: SocketAddr,
        own_scheme: Scheme,
        hops: &TrustedHops,
        headers: &HeaderMap,
    ) -> Result<Self, Ambiguous> {
        let mut client = Self::new(peer.ip(), own_scheme);
        if hops.networks.is_empty() || !hops.trusts(client.address) {
            return Ok(client);
        }
        if hops.tells.contains(&HopTells::ClientAddress) {
            client.address = last_untrusted(client.address, hops, headers)?;
        }
        if hops.tells.contains(&HopTells::ClientScheme) {
            client.scheme = forwarded_scheme(headers)?.unwrap_or(own_scheme);
        }
        Ok(client)
    }
}

/// Walks the chain from the nearest hop outwards and stops at the first address
/// that is not a hop's: what lies beyond it, the client wrote itself.
fn last_untrusted(peer: IpAddr, hops: &TrustedHops, headers: &HeaderMap) -> Result<IpAddr, Ambiguous> {
    let mut chain = Vec::new();
    for value in headers.get_all("x-forwarded-for") {
        let value = value.to_str().map_err(|_| Ambiguous::Forwarded)?;
        chain.extend(value.split(','));
    }
    let mut nearest = peer;
    for (walked, entry) in chain.into_iter().rev().enumerate() {
        if walked == MAX_CHAIN {
            return Err(Ambiguous::Forwarded);
        }
        nearest = read_address(entry.trim())?;
        if !hops.trusts(nearest) {
            break;
        }
    }
    Ok(nearest)
}

fn read_address(entry: &str) -> Result<IpAddr, Ambiguous> {
    entry
        .parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip()))
        .map(|address| address.to_canonical())
        .map_err(|_| Ambiguous::Forwarded)
}

fn forwarded_scheme(headers: &HeaderMap) -> Result<Option<Scheme>, Ambiguous> {
    let mut values = headers.get_all("x-forwarded-proto").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Ambiguous::Forwarded);
    }
    match value.as_bytes() {
        b"http" => Ok(Some(Scheme::Http)),
        b"https" => Ok(Some(Scheme::Https)),
        _ => Err(Ambiguous::Forwarded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(peer: &str, tells: &[HopTells], lines: &[(&str, &str)]) -> Result<Client, Ambiguous> {
        let hops = TrustedHops::new(vec!["10.0.0.0/8".parse().unwrap()], tells.to_vec());
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 4711);
        Client::read(peer, Scheme::Http, &hops, &headers)
    }

    fn address(peer: &str, lines: &[(&str, &str)]) -> Result<String, Ambiguous> {
        read(peer, &[HopTells::ClientAddress], lines).map(|client| client.address().to_string())
    }

    #[test]
    fn b17_b21_a_stranger_is_not_believed() {
        let lines = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")];
        let both = [HopTells::ClientAddress, HopTells::ClientScheme];
        let stranger = read("203.0.113.9", &both, &lines).unwrap();
        assert_eq!(stranger.address().to_string(), "203.0.113.9");
        assert_eq!(stranger.scheme(), Scheme::Http);
    }

    #[test]
    fn b21_a_hop_is_believed_only_in_what_it_tells() {
        let lines = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")];
        let told = read("10.0.0.1", &[HopTells::ClientAddress], &lines).unwrap();
        assert_eq!(told.address().to_string(), "192.0.2.1");
        assert_eq!(told.scheme(), Scheme::Http);
        let told = read("10.0.0.1", &[HopTells::ClientScheme], &lines).unwrap();
        assert_eq!(told.address().to_string(), "10.0.0.1");
        assert_eq!(told.scheme(), Scheme::Https);
    }

    #[test]
    fn the_chain_is_walked_from_the_nearest_hop() {
        let spoofed = [("x-forwarded-for", "127.0.0.1, 192.0.2.1, 10.1.1.1")];
        assert_eq!(address("10.0.0.1", &spoofed), Ok("192.0.2.1".to_owned()));
        let split = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "[2001:db8::1]:99")];
        assert_eq!(address("10.0.0.1", &split), Ok("2001:db8::1".to_owned()));
        assert_eq!(address("::ffff:10.0.0.1", &split), Ok("2001:db8::1".to_owned()));
        assert_eq!(address("10.0.0.1", &[]), Ok("10.0.0.1".to_owned()));
    }

    #[test]
    fn b22_garbage_from_a_hop_is_refused() {
        for garbage in ["a", "", "192.0.2.1,", "unknown", "192.0.2.1 192.0.2.2"] {
            let lines = [("x-forwarded-for", garbage)];
            assert_eq!(address("10.0.0.1", &lines), Err(Ambiguous::Forwarded), "{garbage}");
        }
        let scheme = [HopTells::ClientScheme];
        for garbage in ["gopher", "HTTPS", "https,http"] {
            let lines = [("x-forwarded-proto", garbage)];
            assert_eq!(read("10.0.0.1", &scheme, &lines), Err(Ambiguous::Forwarded));
        }
        let twice = [("x-forwarded-proto", "https"), ("x-forwarded-proto", "https")];
        assert_eq!(read("10.0.0.1", &scheme, &twice), Err(Ambiguous::Forwarded));
    }

    #[test]
    fn b138_a_posture_is_believed_of_a_hop_alone_and_never_goes_on() {
        let header = HeaderName::from_static("x-device-posture");
        let hops = TrustedHops::new(vec!["10.0.0.0/8".parse().unwrap()], Vec::new()).telling_posture_in(Some(header));
        let check = |peer: &str, lines: &[(&'static str, &'static str)], expected: Posture| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines.iter().chain([&("x-other", "stays")]) {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let told = hops.take_posture(SocketAddr::new(peer.parse().unwrap(), 4711), &mut headers);
            assert_eq!(told, expected, "{peer} {lines:?}");
            assert_eq!(headers.len(), 1, "{peer} {lines:?}: {headers:?}");
        };
        let good = ("x-device-posture", "compliant");
        check("10.0.0.1", &[good], Posture::Compliant);
        check("10.0.0.1", &[("x-device-posture", "not_compliant")], Posture::NotCompliant);
        check("::ffff:10.0.0.1", &[good], Posture::Compliant);
        check("203.0.113.9", &[good], Posture::Unknown);
        check("10.0.0.1", &[], Posture::Unknown);
        // A hop that adds instead of setting passes the client's word on, too.
        check("10.0.0.1", &[good, good], Posture::Unknown);
        check("10.0.0.1", &[good, ("x-device-posture", "not_compliant")], Posture::Unknown);
        check("10.0.0.1", &[("x_device_posture", "compliant")], Posture::Unknown);
        check("10.0.0.1", &[("x-device-posture", "Compliant")], Posture::Unknown);
        check("10.0.0.1", &[("x-device-posture", "compliant, not_compliant")], Posture::Unknown);
    }
}
