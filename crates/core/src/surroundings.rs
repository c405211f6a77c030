//! The surroundings of a request: network, time, risk signals of the moment.

use std::net::IpAddr;

use ipnet::IpNet;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The address of the asker, as far as trusted hops tell.
    pub address: IpAddr,
    /// The name of the configured network that it belongs to; empty if none.
    pub network: String,
    /// ISO 3166-1 code; `ZZ` is unknown.
    pub country: String,
    /// The moment.
    pub now: Timestamp,
    /// Risk level: `unknown`, `low`, `medium`, `high`.
    pub risk_level: String,
    /// Names of the risk signals of the moment.
    pub risk_signals: Vec<String>,
    /// The asker's user agent, shortened, control characters removed.
    pub agent: String,
}

/// Longest user agent that is kept, in characters.
pub const AGENT_LEN_MAX: usize = 200;

impl Surroundings {
    /// The surroundings of a request from `address` at `now`, with every signal unknown.
    pub fn new(address: IpAddr, agent: &str, now: Timestamp, networks: &[NamedNetwork]) -> Self {
        let address = address.to_canonical();
        let network = networks
            .iter()
            .find(|network| network.ranges.iter().any(|range| range.contains(&address)))
            .map(|network| network.name.clone())
            .unwrap_or_default();
        Self {
            address,
            network,
            country: "ZZ".to_owned(),
            now,
            risk_level: "unknown".to_owned(),
            risk_signals: Vec::new(),
            agent: shown(agent, AGENT_LEN_MAX),
        }
    }
}

/// Text from outside as it may be shown and recorded: control characters (also
/// the bidirectional ones, which reorder what a person reads) become `·`, and it
/// is cut at `max` characters.
pub fn shown(text: &str, max: usize) -> String {
    let bidi =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}');
    let hidden = |c: char| {
        c.is_control() || bidi(c) || matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}' | '\u{2028}' | '\u{2029}')
    };
    let mut out: String = text.chars().take(max).map(|c| if hidden(c) { '·' } else { c }).collect();
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
    fn an_address_finds_its_network_in_either_family() {
        let office = NamedNetwork { name: "office".into(), ranges: vec!["10.0.0.0/8".parse().unwrap()] };
        let name = |text: &str| {
            Surroundings::new(text.parse().unwrap(), "", Timestamp::from_ms(0), std::slice::from_ref(&office)).network
        };
        assert_eq!(name("10.1.2.3"), "office");
        assert_eq!(name("::ffff:10.1.2.3"), "office");
        assert_eq!(name("192.0.2.1"), "");
    }
}
