//! Which addresses may be called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// How far calls may reach. It is asked twice: of the URL, and of each address that its
/// name turns out to have, at each connection; so a name that is pointed elsewhere
/// after it was looked at (DNS rebinding) leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Only what the whole internet reaches: for URLs that a stranger may give.
    Public,
    /// Also names that stand for private addresses (RFC 1918, RFC 4193, RFC 6598): where a
    /// company's own provider is. For URLs that come from the configuration or from
    /// whom it trusts. Such an address by itself, without a name, is refused.
    Network,
    /// Also this machine, with or without TLS, and private addresses without a name.
    DangerLoopback,
}

/// Why a URL is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// It is not `https`, and not `http` to this machine where that is allowed.
    #[error("{url} is not https")]
    NotHttps {
        /// Without query.
        url: String,
    },
    /// It has a name and password, or a fragment, or no host.
    #[error("{url} has a user name or a fragment, or no host")]
    Shape {
        /// Without query.
        url: String,
    },
    /// It leads to a kind of address that is not allowed.
    #[error("{host} is {place}, where nothing is called{}", if *.place == Place::Loopback { " unless `danger_loopback` says so" } else { "" })]
    Place {
        /// The host as the URL names it.
        host: String,
        /// What kind of address it has.
        place: Place,
    },
}

impl NotAllowed {
    /// What kind of refusal it is, without the address.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotHttps { .. } => "it is not https",
            Self::Shape { .. } => "it has a user name or a fragment, or no host",
            Self::Place { .. } => "it leads where nothing is called",
        }
    }
}

/// What kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Reached by the whole internet.
    Public,
    /// Of somebody's own network.
    Private,
    /// This machine.
    Loopback,
    /// Link-local (where clouds keep their credentials), multicast, unspecified, reserved.
    Never,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Private => "a private address",
            Self::Loopback => "this machine",
            Self::Never => "a link-local or reserved address",
        })
    }
}

impl Place {
    /// What kind of address this is. An IPv4 address inside an IPv6 one counts as itself.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Place {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Place::Loopback,
        (0 | 224.., ..) | (169, 254, _) => Place::Never,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) => {
            Place::Private
        }
        _ => Place::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Place {
    if let Some(v4) = address.to_ipv4_mapped() {
        return of_v4(v4);
    }
    if address.is_loopback() {
        return Place::Loopback;
    }
    match address.segments() {
        // NAT64 (RFC 6052) and its local prefix (RFC 8215); 6to4 (RFC 3056); IPv4-compatible.
        [0x64, 0xff9b, .., high, low] => of_v4(joined(high, low)),
        [0x2002, high, low, ..] => of_v4(joined(high, low)),
        [0, 0, 0, 0, 0, 0, ..] => Place::Never,
        [first, ..] => match first {
            0xfe80..=0xfebf | 0xff00.. => Place::Never,
            0xfc00..=0xfdff | 0xfec0..=0xfeff => Place::Private,
            _ => Place::Public,
        },
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

impl Reach {
    /// Whether a name may stand for this address.
    pub fn covers(self, address: IpAddr) -> bool {
        match Place::of(address) {
            Place::Public => true,
            Place::Private => self >= Self::Network,
            Place::Loopback => self >= Self::DangerLoopback,
            Place::Never => false,
        }
    }

    /// Whether this URL may be called, as far as it can be told without a look-up.
    ///
    /// # Errors
    ///
    /// [`NotAllowed`] says why not.
    pub fn check(self, url: &Url) -> Result<(), NotAllowed> {
        let Some(host) = url.host() else { return Err(NotAllowed::Shape { url: shown(url) }) };
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(NotAllowed::Shape { url: shown(url) });
        }
        let place = match host {
            Host::Ipv4(v4) => of_v4(v4),
            Host::Ipv6(v6) => of_v6(v6),
            Host::Domain(name) if is_localhost(name) => Place::Loopback,
            Host::Domain(_) => Place::Public,
        };
        let is_allowed = match place {
            Place::Public => true,
            Place::Private | Place::Loopback => self == Self::DangerLoopback,
            Place::Never => false,
        };
        if !is_allowed {
            return Err(NotAllowed::Place { host: host.to_string(), place });
        }
        match url.scheme() {
            "https" => Ok(()),
            "http" if place == Place::Loopback => Ok(()),
            _ => Err(NotAllowed::NotHttps { url: shown(url) }),
        }
    }
}

/// `localhost` and all below it (RFC 6761, section 6.3), with or without the root's dot.
pub(super) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost")
}

/// A URL as messages show it: a query may hold what is nobody's business.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn place(address: &str, expected: Place) {
        assert_eq!(Place::of(address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn places_are_told_apart() {
        for one in ["9.9.9.9", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2620:fe::9", "::ffff:9.9.9.9"] {
            place(one, Place::Public);
        }
        for one in
            ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.1.1.1"]
        {
            place(one, Place::Private);
        }
        for one in ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"] {
            place(one, Place::Loopback);
        }
        for one in
            ["0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::", "::7f00:1", "fe80::1", "ff02::1"]
        {
            place(one, Place::Never);
        }
    }

    #[track_caller]
    fn check(reach: Reach, url: &str, expected: &str) {
        let said = match reach.check(&Url::parse(url).unwrap()) {
            Ok(()) => String::from("called"),
            Err(why) => why.to_string(),
        };
        assert!(said.contains(expected), "{url}: {said:?} instead of {expected:?}");
    }

    #[test]
    fn what_may_be_called_and_what_not() {
        use Reach::{DangerLoopback, Network, Public};
        check(Public, "https://idp.example/x?y=z", "called");
        check(Network, "https://idp.example:8443/", "called");
        check(Network, "http://idp.example/x?secret", "http://idp.example/x is not https");
        check(DangerLoopback, "http://idp.example/", "is not https");
        check(DangerLoopback, "http://10.0.0.1/", "is not https");
        check(DangerLoopback, "https://10.0.0.1/", "called");
        check(Network, "https://10.0.0.1/", "10.0.0.1 is a private address");
        for loopback in ["127.0.0.1", "[::1]", "localhost", "idp.localhost", "localhost.", "2130706433", "0x7f.1"] {
            check(Network, &format!("https://{loopback}/"), "unless `danger_loopback` says so");
            check(DangerLoopback, &format!("https://{loopback}/"), "called");
            check(DangerLoopback, &format!("http://{loopback}/"), "called");
        }
        check(DangerLoopback, "https://169.254.169.254/latest", "link-local");
        check(DangerLoopback, "https://[fe80::1]/", "link-local");
        check(Network, "https://name:word@idp.example/", "https://idp.example/ has a user name");
        check(Network, "https://idp.example/#part", "fragment");
        check(DangerLoopback, "file:///etc/passwd", "no host");
        check(DangerLoopback, "ftp://localhost/", "not https");
    }
}
