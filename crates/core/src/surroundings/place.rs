//! Where an address is, as far as databases of addresses tell.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use crate::behaviour::Spot;

/// The country of an address of which nobody knows it: the code is kept free for this (ISO 3166-1, user-assigned).
const UNKNOWN_COUNTRY: &str = "ZZ";

/// What hides who is behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Anonymizer {
    /// A commercial VPN.
    Vpn,
    /// An exit of Tor.
    Tor,
    /// A proxy that anybody may use.
    PublicProxy,
    /// A proxy in somebody's home.
    ResidentialProxy,
    /// A data centre: no person sits there.
    Hosting,
    /// Some other.
    Other,
    /// There is no database that says it.
    Unknown,
}

impl Anonymizer {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Vpn, Self::Tor, Self::PublicProxy, Self::ResidentialProxy, Self::Hosting, Self::Other, Self::Unknown];

    /// As policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vpn => "vpn",
            Self::Tor => "tor",
            Self::PublicProxy => "public_proxy",
            Self::ResidentialProxy => "residential_proxy",
            Self::Hosting => "hosting",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known of the place of an address. Nothing is optional: unknown is a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// ISO 3166-1 alpha-2; `ZZ` is unknown.
    pub country: String,
    /// ISO 3166-2, like `CH-ZH`; `ZZ` is unknown.
    pub region: String,
    /// In English; empty if unknown.
    pub city: String,
    /// The autonomous system that announces it (RFC 1930); 0 is unknown (RFC 7607 keeps it free).
    pub asn: u32,
    /// What hides who is there; empty if nothing does, [`Anonymizer::Unknown`] alone if nobody says.
    pub anonymizer: Vec<Anonymizer>,
    /// Where that is on the globe; `None` if nobody says. Policies see it in what travel is impossible.
    pub spot: Option<Spot>,
}

impl Default for Place {
    /// Nobody knows.
    fn default() -> Self {
        Self {
            country: UNKNOWN_COUNTRY.to_owned(),
            region: UNKNOWN_COUNTRY.to_owned(),
            city: String::new(),
            asn: 0,
            anonymizer: vec![Anonymizer::Unknown],
            spot: None,
        }
    }
}

/// Tells where addresses are. What it does not know is the default of [`Place`].
pub trait Places: Send + Sync + fmt::Debug {
    /// The place of an address. Reads memory alone.
    fn place(&self, address: IpAddr) -> Place;

    /// Takes newer databases if there are any, and says whether there were. May block. Where a new one is unusable
    /// the old one stays, and the error is told once.
    fn refresh(&self) -> Result<bool, Box<dyn std::error::Error + Send + Sync>>;
}

/// Knows nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoPlaces;

impl Places for NoPlaces {
    fn place(&self, _: IpAddr) -> Place {
        Place::default()
    }

    fn refresh(&self) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        Ok(false)
    }
}

/// A country (`KP`) or a part of one (`UA-43`), by ISO 3166.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region(String);

/// The text names no country and no region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a country is two capital letters like \"CH\" (ISO 3166-1), a region like \"CH-ZH\" (ISO 3166-2)")]
pub struct NotARegion;

impl FromStr for Region {
    type Err = NotARegion;

    fn from_str(text: &str) -> Result<Self, NotARegion> {
        let (country, part) = text.split_once('-').map_or((text, None), |(country, part)| (country, Some(part)));
        let is_country = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_part = |part: &str| {
            (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        };
        if is_country && part.is_none_or(is_part) { Ok(Self(text.to_owned())) } else { Err(NotARegion) }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a deployment knows of places.
#[derive(Debug)]
pub struct Geography {
    /// Tells where addresses are.
    pub places: Arc<dyn Places>,
    /// From where nobody is to come: `context.network.denied`.
    pub denied: Vec<Region>,
}

impl Default for Geography {
    fn default() -> Self {
        Self { places: Arc::new(NoPlaces), denied: Vec::new() }
    }
}

impl Geography {
    /// Whether nobody is to come from there.
    pub fn denies(&self, place: &Place) -> bool {
        self.denied.iter().any(|Region(denied)| *denied == place.country || *denied == place.region)
    }
}

/// The place of one address, looked up when it is first asked for.
#[derive(Clone)]
pub struct Located {
    address: IpAddr,
    geography: Arc<Geography>,
    found: OnceLock<Place>,
}

impl Located {
    pub(super) fn new(address: IpAddr, geography: &Arc<Geography>) -> Self {
        Self { address, geography: Arc::clone(geography), found: OnceLock::new() }
    }

    /// A place that is known already.
    pub fn known(address: IpAddr, place: Place, geography: &Arc<Geography>) -> Self {
        Self { address, geography: Arc::clone(geography), found: OnceLock::from(place) }
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        self.found.get_or_init(|| self.geography.places.place(self.address))
    }

    /// Whether nobody is to come from there.
    pub fn is_denied(&self) -> bool {
        !self.geography.denied.is_empty() && self.geography.denies(self.place())
    }
}

impl fmt::Debug for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Located").field("address", &self.address).field("found", &self.found.get()).finish()
    }
}

impl PartialEq for Located {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.place() == other.place()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl Places for Counted {
        fn place(&self, _: IpAddr) -> Place {
            self.0.fetch_add(1, Ordering::Relaxed);
            Place { country: "UA".into(), region: "UA-43".into(), ..Place::default() }
        }

        fn refresh(&self) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
            Ok(false)
        }
    }

    #[test]
    fn a_region_is_an_iso_code() {
        for text in ["CH", "ZZ", "CH-ZH", "UA-43", "GB-ENG", "FR-2A"] {
            assert_eq!(text.parse::<Region>().unwrap().to_string(), text);
        }
        for text in ["", "ch", "CHE", "C", "CH-", "CH-zh", "CH-ZURI", "-ZH", "CH-Z-H", "Schweiz"] {
            assert_eq!(text.parse::<Region>(), Err(NotARegion), "{text}");
        }
    }

    #[test]
    fn a_place_is_looked_up_once_and_only_when_asked_for() {
        let counted = Arc::new(Counted::default());
        let geography = |denied: &[&str]| {
            let denied = denied.iter().map(|text| text.parse().unwrap()).collect();
            Arc::new(Geography { places: Arc::clone(&counted) as _, denied })
        };
        let located = |denied: &[&str]| Located::new(IpAddr::from([192, 0, 2, 1]), &geography(denied));
        let nowhere = located(&[]);
        assert!(!nowhere.is_denied());
        assert_eq!(counted.0.load(Ordering::Relaxed), 0);
        assert_eq!(nowhere.place().country, "UA");
        assert_eq!(nowhere.place().region, "UA-43");
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);
        for (denied, is_denied) in
            [(&["UA"][..], true), (&["KP", "UA-43"], true), (&["UA-40"], false), (&["KP", "ZZ"], false)]
        {
            assert_eq!(located(denied).is_denied(), is_denied, "{denied:?}");
        }
    }

    #[test]
    fn a_place_that_nobody_knows_can_be_denied_too() {
        let geography = Arc::new(Geography { denied: vec!["ZZ".parse().unwrap()], ..Geography::default() });
        assert!(Located::new(IpAddr::from([192, 0, 2, 1]), &geography).is_denied());
    }
}
