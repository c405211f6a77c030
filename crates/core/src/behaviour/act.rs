//! What is looked at, and remembered, of one operation.

use std::net::IpAddr;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::catalogue::InputSource;
use crate::operation::{InputValue, Operation};
use crate::surroundings::{Anonymizer, Surroundings, network_of};
use crate::time::Timestamp;

/// Most numbers of one operation that are looked at.
const SIZES_OF_ONE_MAX: usize = 4;

/// One operation, as habits see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// The same by the gate's clock on the wall.
    pub hourly: Hourly,
    /// Which action, as `key` of its name.
    pub action: u64,
    /// ISO 3166-1; `ZZ` where nobody knows it, which is a country like any other.
    pub country: [u8; 2],
    /// From which network.
    pub network: NetworkKey,
    /// Where; `None` where nobody knows, or something stands between.
    pub spot: Option<Spot>,
    /// The numbers in it that say how much.
    pub sizes: Vec<Size>,
}

/// Day and hour by the gate's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hourly {
    /// Days since 1970.
    pub day: i32,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// Saturday or Sunday.
    pub is_weekend: bool,
}

/// A network as it is remembered: the configuration's by its name, else the autonomous system, else the prefix
/// (/16 of IPv4, /32 of IPv6: about what one provider has).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkKey(pub u64);

/// A place on the globe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// Degrees, north is positive.
    pub latitude: f32,
    /// Degrees, east is positive.
    pub longitude: f32,
    /// How far off it may be, in km.
    pub radius_km: u16,
}

/// A number that says how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// `key` of the input's name.
    pub input: u64,
    /// The natural logarithm of 1 and the amount, sign left out.
    pub log: f32,
}

impl Act {
    /// What habits see of this operation here and now. `zone` is that of the gate.
    pub fn of(operation: &Operation, around: &Surroundings, zone: &TimeZone) -> Self {
        let place = around.located.place();
        let hides = place.anonymizer.iter().any(|by| *by != Anonymizer::Unknown);
        // A network of the company's own is where its exit stands, not where the person is.
        let is_shown = !hides && around.network.is_empty();
        let country = place.country.as_bytes();
        Self {
            at: around.now,
            hourly: Hourly::of(around.now, zone),
            action: key(operation.endpoint.action.as_str()),
            country: [country.first().copied().unwrap_or(b'Z'), country.get(1).copied().unwrap_or(b'Z')],
            network: NetworkKey::of(around),
            spot: place.spot.filter(|_| is_shown),
            sizes: sizes(operation),
        }
    }
}

impl Hourly {
    /// By the clock of this zone.
    pub fn of(at: Timestamp, zone: &TimeZone) -> Self {
        // A time that no calendar has is that of 1970.
        let instant = jiff::Timestamp::from_millisecond(at.as_ms()).unwrap_or_default();
        let here = zone.to_datetime(instant);
        let days = here.date().since(jiff::civil::date(1970, 1, 1)).map_or(0, |span| span.get_days());
        Self {
            day: days,
            hour: u8::try_from(here.hour()).unwrap_or_default(),
            minute: u8::try_from(here.minute()).unwrap_or_default(),
            is_weekend: matches!(here.weekday(), Weekday::Saturday | Weekday::Sunday),
        }
    }
}

impl NetworkKey {
    fn of(around: &Surroundings) -> Self {
        const NAMED: u64 = 1 << 62;
        const SYSTEM: u64 = 2 << 62;
        const PREFIX: u64 = 3 << 62;
        let asn = around.located.place().asn;
        Self(if !around.network.is_empty() {
            NAMED | key(&around.network) >> 2
        } else if asn != 0 {
            SYSTEM | u64::from(asn)
        } else {
            PREFIX
                | match network_of(around.address) {
                    IpAddr::V4(address) => u64::from(address.to_bits() >> 16),
                    IpAddr::V6(address) => 1 << 40 | u64::try_from(address.to_bits() >> 96).unwrap_or_default(),
                }
        })
    }
}

/// The numbers that say how much: not those of the path, which say which.
fn sizes(operation: &Operation) -> Vec<Size> {
    let declared = operation.endpoint.inputs.iter().filter(|spec| !matches!(spec.source, InputSource::Path(_)));
    let size = |name: &str| {
        let amount = match operation.inputs.get(name)? {
            InputValue::Long(value) => value.unsigned_abs() as f64,
            InputValue::Decimal(value) => value.unsigned_abs() as f64 / 10_000.0,
            InputValue::String(_) | InputValue::Bool(_) => return None,
        };
        Some(Size { input: key(name), log: amount.ln_1p() as f32 })
    };
    declared.filter_map(|spec| size(&spec.name)).take(SIZES_OF_ONE_MAX).collect()
}

/// FNV-1a, 64 bits: names of the configuration, which nobody else chooses, so it need not withstand anybody. The
/// same in every version, because profiles are kept by it.
pub(super) fn key(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
