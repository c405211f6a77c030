//! The host that a request is for.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::HeaderValue;

use super::Ambiguous;

/// The longest host name (RFC 1035, section 2.3.4, without the root's dot).
const MAX_NAME_BYTES: usize = 253;
/// The longest label of a host name (RFC 1035, section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;

/// A host in its one form: lower case, no trailing dot, IPv6 in brackets and as
/// RFC 5952 writes it, and the port apart.
///
/// Hosts are compared whole, never by pattern, so a dot is a dot.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Host {
    name: String,
    port: Option<u16>,
    /// Both together, as a header says it.
    value: HeaderValue,
}

impl Host {
    /// Reads `name`, `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
    ///
    /// # Errors
    ///
    /// [`Ambiguous::UserInfo`], [`Ambiguous::TrailingDot`], and
    /// [`Ambiguous::Host`] for all else.
    pub fn parse(raw: &str) -> Result<Self, Ambiguous> {
        if raw.contains('@') {
            return Err(Ambiguous::UserInfo);
        }
        let (name, port) = split_port(raw)?;
        let name = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
            Some(address) => {
                let address: Ipv6Addr = address.parse().map_err(|_| Ambiguous::Host)?;
                format!("[{address}]")
            }
            None => read_name(name)?,
        };
        let text = match port {
            Some(port) => Cow::Owned(format!("{name}:{port}")),
            None => Cow::Borrowed(&name),
        };
        let value = HeaderValue::from_str(&text).map_err(|_| Ambiguous::Host)?;
        Ok(Self { name, port, value })
    }

    /// Name and port in their one form, as the Host header that goes on.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// The name or address without the port.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, where one was given.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({self})")
    }
}

fn split_port(raw: &str) -> Result<(&str, Option<u16>), Ambiguous> {
    let after_address = raw.rfind(']').map_or(0, |end| end + 1);
    let tail = raw.get(after_address..).unwrap_or_default();
    let Some(colon) = tail.find(':') else {
        return if after_address > 0 && !tail.is_empty() { Err(Ambiguous::Host) } else { Ok((raw, None)) };
    };
    if after_address > 0 && colon != 0 {
        return Err(Ambiguous::Host);
    }
    let (name, port) = raw.split_at(after_address + colon);
    let digits = port.strip_prefix(':').unwrap_or_default();
    // `parse` alone would take "+80"; leading zeros are another spelling of one port.
    let canonical = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if !canonical {
        return Err(Ambiguous::Host);
    }
    let port = digits.parse().map_err(|_| Ambiguous::Host)?;
    Ok((name, Some(port)))
}

fn read_name(name: &str) -> Result<String, Ambiguous> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES + 1 {
        return Err(Ambiguous::Host);
    }
    if name.ends_with('.') {
        return Err(Ambiguous::TrailingDot);
    }
    let well_formed = name.len() <= MAX_NAME_BYTES
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= MAX_LABEL_BYTES
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    if !well_formed {
        return Err(Ambiguous::Host);
    }
    // "127.1" and "0x7f.0.0.1" are addresses to some resolvers: a last label of
    // digits is an address in full or nothing (WHATWG URL, "ends in a number").
    let last = name.rsplit('.').next().unwrap_or_default();
    let ends_in_number = last.bytes().all(|b| b.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or(last.strip_prefix("0X"))
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if ends_in_number && name.parse::<Ipv4Addr>().is_err() {
        return Err(Ambiguous::Host);
    }
    Ok(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Result<&str, Ambiguous>) {
        assert_eq!(Host::parse(raw).map(|host| host.to_string()), expected.map(str::to_owned), "{raw}");
    }

    #[test]
    fn a_host_has_one_form() {
        check("app.test", Ok("app.test"));
        check("app.test:8443", Ok("app.test:8443"));
        check("192.0.2.7:80", Ok("192.0.2.7:80"));
        check("[2001:DB8:0:0::1]:443", Ok("[2001:db8::1]:443"));
        check("[::1]", Ok("[::1]"));
        check("my_app.localhost", Ok("my_app.localhost"));
    }

    #[test]
    fn b12_b14_case_is_folded() {
        check("APP.TEST", Ok("app.test"));
        check("a.B.example.com", Ok("a.b.example.com"));
    }

    #[test]
    fn b15_a_trailing_dot_is_refused() {
        check("app.test.", Err(Ambiguous::TrailingDot));
        check("app.test.:80", Err(Ambiguous::TrailingDot));
    }

    #[test]
    fn b16_a_dot_is_a_dot() {
        assert_ne!(Host::parse("appXtest"), Host::parse("app.test"));
    }

    #[test]
    fn odd_hosts_are_refused() {
        for raw in [
            "",
            ":80",
            "h/x?y",
            "h:",
            "h:+80",
            "h:080",
            "h:65536",
            "h:80:80",
            "a b",
            "a..b",
            ".a",
            "-a",
            "a-",
            "h\\x",
            "a%41",
            "é",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]x:80",
            "[h]",
            "[fe80::1%25eth0]",
            "127.1",
            "0x7f.0.0.1",
            "0x7f",
            "1",
            "app.test,other.test",
            "*",
        ] {
            let refused = Host::parse(raw);
            if raw == "0x7f.0.0.1" || raw == "127.1" || raw == "1" || raw == "0x7f" {
                assert_eq!(refused, Err(Ambiguous::Host), "{raw}");
            }
            assert!(refused.is_err(), "{raw}");
        }
        check("u:p@other", Err(Ambiguous::UserInfo));
    }
}
