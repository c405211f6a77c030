//! The surroundings of a request: network, place, time, risk signals of the moment.

mod calendar;
mod environment;
mod place;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

pub use calendar::{Calendar, DayMinute, NotADayMinute};
pub use environment::Environment;
pub use place::{Anonymizer, Geography, Located, NoPlaces, NotARegion, Place, Places, Region};

use crate::behaviour::Unusual;
use crate::factor::Models;
use crate::time::Timestamp;

/// A network that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedNetwork {
    /// Its name in policy: `context.network.name`.
    pub name: String,
    /// Its ranges.
    pub ranges: Vec<IpNet>,
}

/// What is known of a request beyond who and what.
///
/// No attribute is optional: unknown is a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    /// The address of the asker, as far as trusted hops tell.
    pub address: IpAddr,
    /// The name of the configured network that it belongs to; empty if none.
    pub network: String,
    /// Where that address is; looked up when a policy asks for it.
    pub located: Located,
    /// What is known of models of authenticators.
    pub models: Arc<Models>,
    /// The moment.
    pub now: Timestamp,
    /// Risk level: `unknown`, `low`, `medium`, `high`.
    pub risk_level: Cow<'static, str>,
    /// Names of the risk signals of the moment.
    pub risk_signals: Vec<String>,
    /// The asker's user agent, shortened, control characters removed.
    pub agent: String,
    /// What a trusted hop says of the asker's device.
    pub posture: Posture,
    /// What is unusual about the operation for who asks; found out where a policy of its endpoint looks at it.
    pub unusual: Unusual,
}

/// An address as it is counted and compared: an IPv6 address by its /64, because whoever has one of these has
/// them all, and devices change the rest by themselves (RFC 8981).
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// What is known of the state of the device that asks: whether it keeps the company's rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Posture {
    /// Nobody says.
    #[default]
    Unknown,
    /// It keeps them.
    Compliant,
    /// It does not.
    NotCompliant,
}

impl Posture {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Compliant, Self::NotCompliant];

    /// As policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Compliant => "compliant",
            Self::NotCompliant => "not_compliant",
        }
    }
}

impl std::str::FromStr for Posture {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|posture| posture.name() == text).ok_or(())
    }
}

/// Longest user agent that is kept, in characters.
pub const AGENT_LEN_MAX: usize = 200;

impl Surroundings {
    /// The surroundings of a request from `address` at `now`, with every signal unknown.
    pub fn new(address: IpAddr, agent: &str, now: Timestamp, environment: &Environment) -> Self {
        let address = address.to_canonical();
        let network = environment
            .networks
            .iter()
            .find(|network| network.ranges.iter().any(|range| range.contains(&address)))
            .map(|network| network.name.clone())
            .unwrap_or_default();
        Self {
            address,
            network,
            located: Located::new(address, &environment.geography),
            models: environment.models.now(),
            now,
            risk_level: Cow::Borrowed("unknown"),
            risk_signals: Vec::new(),
            agent: shown(agent, AGENT_LEN_MAX),
            posture: Posture::Unknown,
            unusual: Unusual::default(),
        }
    }
}

/// Unicode's `Default_Ignorable_Code_Point` (UCD 16.0.0, `DerivedCoreProperties.txt`): what is
/// drawn as nothing, or (the bidirectional controls) turns around what stands beside it.
const DEFAULT_IGNORABLE: [(char, char); 17] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a person cannot see this character, or it changes how they see others: controls (C1
/// too), line and paragraph separators, `Default_Ignorable_Code_Point`, and the blank braille
/// pattern U+2800. Paths with one are refused, and texts are [`shown`] with a mark in its place.
pub fn is_unseen(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{2800}')
        || DEFAULT_IGNORABLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// Text from outside as it may be shown and recorded: what [`is_unseen`] becomes `·`,
/// and it is cut at `max` characters.
pub fn shown(text: &str, max: usize) -> String {
    // Most texts, the agents of all requests among them, are plain and short.
    if text.len() <= max && text.bytes().fold(true, |plain, b| plain & matches!(b, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max).map(|c| if is_unseen(c) { '·' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b86_control_characters_cannot_forge_a_line() {
        assert_eq!(shown("a\r\nb\u{1b}[31m\u{202e}c", 99), "a··b·[31m·c");
        assert_eq!(shown("abcdef", 3), "abc…");
    }

    #[test]
    fn b86_what_nobody_sees_is_marked() {
        let seen = ['a', ' ', '\u{a0}', 'é', '–', '‑', '…', '·', '中', '한', 'ﷺ', '\u{301}', '⠁', '💩', '\u{fffd}'];
        for c in seen {
            assert_eq!(shown(&format!("a{c}b"), 99), format!("a{c}b"), "{:x}", u32::from(c));
        }
        // First and last of each range as the attack catalogue and the UCD name them, and what stands beside them.
        let ranges = "0-1f 7f-9f ad-ad 34f-34f 61c-61c 115f-1160 17b4-17b5 180b-180f 200b-200f 2028-202e 2060-206f \
                      2800-2800 3164-3164 fe00-fe0f feff-feff ffa0-ffa0 fff0-fff8 1bca0-1bca3 1d173-1d17a e0000-e0fff";
        let ranges: Vec<_> = ranges
            .split_whitespace()
            .map(|range| {
                let (first, last) = range.split_once('-').unwrap();
                u32::from_str_radix(first, 16).unwrap()..=u32::from_str_radix(last, 16).unwrap()
            })
            .collect();
        for c in '\0'..=char::MAX {
            let unseen = ranges.iter().any(|range| range.contains(&u32::from(c)));
            assert_eq!(is_unseen(c), unseen, "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn an_address_finds_its_network_in_either_family() {
        let office = NamedNetwork { name: "office".into(), ranges: vec!["10.0.0.0/8".parse().unwrap()] };
        let environment = Environment { networks: vec![office], ..Environment::default() };
        let name =
            |text: &str| Surroundings::new(text.parse().unwrap(), "", Timestamp::from_ms(0), &environment).network;
        assert_eq!(name("10.1.2.3"), "office");
        assert_eq!(name("::ffff:10.1.2.3"), "office");
        assert_eq!(name("192.0.2.1"), "");
    }
}
