//! What is so of a session, its device and the moment, as a test or somebody at the command line says.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use stepgate_core::behaviour::{About, BehaviourSettings, FailureCounts, Raised, Signal, Unusual};
use stepgate_core::risk::RiskLevel;
use stepgate_core::session::{Device, SessionView};
use stepgate_core::surroundings::{Anonymizer, NotARegion, Place, Posture, Region, Surroundings};
use stepgate_core::time::Timestamp;

use crate::cli::{PlaceFacts, SessionFacts};
use crate::commands::{Failure, wrong_input};
use crate::config::parse_duration;

/// Of a device that was used before, and nothing else is said of it.
const DEVICE_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
const DEVICE_UNSEEN: Duration = Duration::from_secs(24 * 3600);
/// Where a session began whose address changed since: from there nobody asks.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A country or region that nobody knows.
const UNKNOWN: &str = "ZZ";

/// What is different from the sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Address,
    Agent,
    Country,
}

/// What was said, read.
#[derive(Debug)]
pub(super) struct Facts {
    device: Option<DeviceFacts>,
    posture: Posture,
    session_age: Option<Duration>,
    idle: Option<Duration>,
    changed: Vec<Change>,
    token_reused: bool,
    risk: Option<RiskLevel>,
    signals: Vec<String>,
    failures: FailureCounts,
}

/// A device that was used before.
#[derive(Debug)]
struct DeviceFacts {
    name: String,
    age: Duration,
    unseen: Duration,
}

impl Facts {
    pub(super) fn read(said: &SessionFacts) -> Result<Self, Failure> {
        let known = DeviceFacts {
            name: said.device_name.clone().unwrap_or_default(),
            age: duration("device_age", said.device_age.as_ref())?.unwrap_or(DEVICE_AGE),
            unseen: duration("device_unseen", said.device_unseen.as_ref())?.unwrap_or(DEVICE_UNSEEN),
        };
        let of_known = [&said.device_name, &said.device_age, &said.device_unseen].iter().any(|text| text.is_some());
        let device = match said.device.as_deref() {
            None | Some("known") => Some(known),
            Some("new") if of_known => return Err(wrong_input("a new device has no name, no age and no last use")),
            Some("new") => None,
            Some(other) => return Err(wrong_input(format!("a device is known or new, not {other:?}"))),
        };
        let posture = match &said.posture {
            None => Posture::Unknown,
            Some(text) => text.parse().map_err(|()| {
                let known = Posture::ALL.map(Posture::name).join(", ");
                wrong_input(format!("a posture is one of {known}, not {text:?}"))
            })?,
        };
        let change = |text: &String| match text.as_str() {
            "address" => Ok(Change::Address),
            "agent" => Ok(Change::Agent),
            "country" => Ok(Change::Country),
            other => Err(wrong_input(format!("what changed is address, agent or country, not {other:?}"))),
        };
        let wrong_risk = |text: &str| wrong_input(format!("a risk is unknown, low, medium or high, not {text:?}"));
        let risk = said.risk.as_deref().filter(|text| *text != "unknown");
        let risk = risk.map(|text| text.parse().map_err(|()| wrong_risk(text)));
        Ok(Self {
            device,
            posture,
            session_age: duration("session_age", said.session_age.as_ref())?,
            idle: duration("idle", said.idle.as_ref())?,
            changed: said.changed.iter().map(change).collect::<Result<_, _>>()?,
            token_reused: said.token_reused,
            risk: risk.transpose()?,
            signals: said.signals.clone(),
            failures: failures(&said.failures)?,
        })
    }

    /// The surroundings where this is so.
    pub(super) fn around(&self, around: Surroundings, settings: &BehaviourSettings) -> Surroundings {
        let risk_level = self.risk.map_or(around.risk_level, |level| level.name().into());
        let (own, told): (Vec<_>, Vec<_>) =
            self.signals.iter().cloned().partition(|name| Signal::named(name).is_some());
        let raised = |signal| Raised { signal, weight: settings.weights.of(signal), about: About::Described };
        let mut own: Vec<Signal> = own.iter().filter_map(|name| Signal::named(name)).collect();
        own.sort_unstable();
        own.dedup();
        let unusual = Unusual { raised: own.into_iter().map(raised).collect(), failures: self.failures };
        Surroundings { posture: self.posture, risk_level, risk_signals: told, unusual, ..around }
    }

    /// The session of which this is so.
    pub(super) fn of(&self, view: SessionView, at: Timestamp) -> SessionView {
        let ago = |age: Duration| Timestamp::from_ms(at.as_ms().saturating_sub(ms(age)));
        let started_at = self.session_age.map_or(view.started_at, ago);
        let device = self.device.as_ref().map(|known| {
            let seen_before = Timestamp::from_ms(started_at.as_ms().saturating_sub(ms(known.unseen)));
            let first_seen = ago(known.age).min(seen_before);
            let (first_seen, seen_before) = (Some(first_seen), Some(seen_before));
            Device { first_seen, seen_before, name: known.name.clone(), cookie: None }
        });
        let country = self.changed.contains(&Change::Country);
        let address = country || self.changed.contains(&Change::Address);
        SessionView {
            started_at,
            last_used_at: self.idle.map_or(view.last_used_at, ago),
            // A new device is remembered from its first sign-in on.
            device: device.unwrap_or(Device { first_seen: Some(started_at), ..Device::default() }),
            address: if address { ELSEWHERE } else { view.address },
            country: if country { "elsewhere".to_owned() } else { view.country },
            agent: if self.changed.contains(&Change::Agent) { "another".to_owned() } else { view.agent },
            token_reused: self.token_reused,
            ..view
        }
    }
}

/// Where an address is said to be; `None` if nothing is said.
pub(super) fn place(said: &PlaceFacts) -> Result<Option<Place>, Failure> {
    if *said == PlaceFacts::default() {
        return Ok(None);
    }
    let code = |text: &Option<String>, has_part: bool| match text.as_deref() {
        None | Some(UNKNOWN) => Ok(UNKNOWN.to_owned()),
        Some(text) if text.parse::<Region>().is_ok() && text.contains('-') == has_part => Ok(text.to_owned()),
        Some(text) => Err(wrong_input(format!("{text:?}: {NotARegion}"))),
    };
    let anonymizer = |name: &String| {
        Anonymizer::ALL.into_iter().find(|one| one.name() == name).ok_or_else(|| {
            let known = Anonymizer::ALL.map(Anonymizer::name).join(", ");
            wrong_input(format!("an anonymizer is none, or one of {known}, not {name:?}"))
        })
    };
    Ok(Some(Place {
        country: code(&said.country, false)?,
        region: code(&said.region, true)?,
        city: said.city.clone().unwrap_or_default(),
        asn: said.asn.unwrap_or(0),
        anonymizer: match &said.anonymizers {
            None => vec![Anonymizer::Unknown],
            Some(names) => names.iter().filter(|name| *name != "none").map(anonymizer).collect::<Result<_, _>>()?,
        },
        spot: None,
    }))
}

/// What is said to have failed; what is not is unknown.
fn failures(said: &[String]) -> Result<FailureCounts, Failure> {
    let mut counts = FailureCounts::default();
    for text in said {
        let wrong = || {
            let of = "person, device, address, network, service or people";
            wrong_input(format!("what failed is one of {of} with a number, like person=6, not {text:?}"))
        };
        let (of, number) = text.split_once('=').ok_or_else(wrong)?;
        let count = match of {
            "person" => &mut counts.person,
            "device" => &mut counts.device,
            "address" => &mut counts.address,
            "network" => &mut counts.network,
            "service" => &mut counts.service,
            "people" => &mut counts.people,
            _ => return Err(wrong()),
        };
        *count = number.parse::<u32>().map_err(|_| wrong())?.into();
    }
    Ok(counts)
}

fn duration(name: &str, text: Option<&String>) -> Result<Option<Duration>, Failure> {
    let read = |text: &String| {
        parse_duration(text).ok_or_else(|| wrong_input(format!("{name}: {text:?} is no duration like \"5m\"")))
    };
    text.map(read).transpose()
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
