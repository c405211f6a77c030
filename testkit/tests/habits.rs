//! Habits, held against weeks of what people do: how much of what is wrong is asked for, and how often somebody is
//! asked who did nothing wrong.
//!
//! The defaults were settled with the seeds 1 to 3 and 7001. What counts here are seeds that nobody has tuned with; who
//! changes a default tunes with others, and takes new ones here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use stepgate_core::behaviour::{Act, BehaviourSettings, Profile, Signal, Spot, Sure, judge, teach};
use stepgate_core::catalogue::{
    ActionName, Admits, CrossSite, Effect, Endpoint, Host, InputKind, InputSource, InputSpec, PathTemplate, Service,
    ServiceName, Title,
};
use stepgate_core::operation::{InputValue, Inputs, Operation};
use stepgate_core::surroundings::{Environment, Geography, Located, Place, Surroundings};
use stepgate_core::time::Timestamp;
use stepgate_testkit::habits::{CALM_WEEKS, Deed, FIRST_DAY_MS, Incident, Request, WEEKS, weeks};

const UNSEEN_SEEDS: [u64; 3] = [9101, 9102, 9103];
const OF_EACH: usize = 20;
/// A proof counts for so long.
const PROVED_FOR_MS: i64 = 300_000;

/// On which signals a sensitive operation is asked for: those of the packs.
const ASKS: [Signal; 7] = [
    Signal::NewCountry,
    Signal::NewNetwork,
    Signal::UnusualHour,
    Signal::UnusualRate,
    Signal::Burst,
    Signal::UnusualAmount,
    Signal::ImpossibleTravel,
];
/// Exports also on these.
const EXPORT_ASKS: [Signal; 2] = [Signal::FirstUse, Signal::NoHistory];

#[derive(Debug, Default)]
struct Outcome {
    caught: BTreeMap<Incident, usize>,
    all: BTreeMap<Incident, usize>,
    needless: usize,
    needless_by: BTreeMap<(&'static str, &'static str), usize>,
    months: f64,
}

impl Outcome {
    fn recall(&self) -> f64 {
        self.caught.values().sum::<usize>() as f64 / self.all.values().sum::<usize>() as f64
    }

    fn recall_of(&self, incident: Incident) -> f64 {
        self.caught.get(&incident).copied().unwrap_or_default() as f64 / self.all[&incident] as f64
    }

    fn needless_a_month(&self) -> f64 {
        self.needless as f64 / self.months
    }
}

struct Company {
    service: Arc<Service>,
    endpoints: BTreeMap<Deed, Arc<Endpoint>>,
    geography: Arc<Geography>,
}

impl Company {
    fn new() -> Self {
        let endpoint = |on: &str, inputs: Vec<InputSpec>| {
            Arc::new(Endpoint {
                resource: format!("ledger {on}"),
                action: ActionName::parse(on).unwrap(),
                effect: Effect::Write,
                kind: String::new(),
                sensitivity: "high".to_owned(),
                title: Title::new(on),
                methods: Vec::new(),
                path: PathTemplate::any(),
                inputs,
                effect_headers: Vec::new(),
                admits: Admits::SignedIn,
                cross_site: CrossSite::Refuse,
                scopes: Vec::new(),
            })
        };
        let amount =
            InputSpec { name: "amount".into(), source: InputSource::Json("/amount".into()), kind: InputKind::Long };
        let deeds = [
            (Deed::View, "view", vec![]),
            (Deed::Read, "records.read", vec![]),
            (Deed::Pay, "payments.approve", vec![amount]),
            (Deed::Export, "reports.export", vec![]),
            (Deed::Configure, "settings.change", vec![]),
        ];
        let service = Service {
            name: ServiceName::parse("ledger").unwrap(),
            title: "Ledger".into(),
            origin: "https://ledger.test".into(),
            host: Host::parse("ledger.test").unwrap(),
            endpoints: Vec::new(),
            read: endpoint("read", vec![]),
            write: endpoint("write", vec![]),
            tokens: None,
        };
        let endpoints = deeds.into_iter().map(|(deed, name, inputs)| (deed, endpoint(name, inputs))).collect();
        Self { service: Arc::new(service), endpoints, geography: Arc::default() }
    }

    fn asked(&self, request: &Request) -> (Operation, Surroundings) {
        let inputs = match request.deed {
            Deed::Pay => Inputs::from([("amount".to_owned(), InputValue::Long(request.amount))]),
            _ => Inputs::new(),
        };
        let operation = Operation {
            service: Arc::clone(&self.service),
            endpoint: Arc::clone(&self.endpoints[&request.deed]),
            inputs,
            method: "POST".into(),
            url: "https://ledger.test/".into(),
            content_type: String::new(),
            effect_headers: BTreeMap::new(),
        };
        let from = request.from;
        let place = Place {
            country: from.country.to_owned(),
            asn: from.asn,
            anonymizer: Vec::new(),
            spot: Some(Spot { latitude: from.latitude, longitude: from.longitude, radius_km: 20 }),
            ..Place::default()
        };
        let address = [203, 0, 113, 7].into();
        let at = Timestamp::from_ms(request.at_ms);
        let around = Surroundings::new(address, "", at, &Environment::default());
        (operation, Surroundings { located: Located::known(address, place, &self.geography), ..around })
    }
}

fn run(seed: u64, without: &[Signal]) -> Outcome {
    let (company, settings) = (Company::new(), BehaviourSettings::default());
    let mut outcome = Outcome::default();
    for person in weeks(seed, OF_EACH) {
        let mut profile = Profile::default();
        let (mut proved_at, mut caught, mut harm) = (i64::MIN / 2, BTreeSet::new(), BTreeMap::<usize, usize>::new());
        let incidents: BTreeSet<_> = person.requests.iter().filter_map(|request| request.incident).collect();
        for request in &person.requests {
            // Whoever was asked and could not answer is gone.
            if request.incident.is_some_and(|incident| caught.contains(&incident)) {
                continue;
            }
            let (operation, around) = company.asked(request);
            let act = Act::of(&operation, &around, &TimeZone::UTC);
            let raised = judge(&profile, &act, &operation, &around, &settings);
            let asks = |signal: &Signal| {
                !without.contains(signal)
                    && (ASKS.contains(signal) || request.deed == Deed::Export && EXPORT_ASKS.contains(signal))
            };
            let why: Vec<Signal> = raised.iter().map(|raised| raised.signal).filter(asks).collect();
            let is_sensitive = matches!(request.deed, Deed::Pay | Deed::Export | Deed::Configure);
            let has_proved = request.incident.is_none() && request.at_ms - proved_at <= PROVED_FOR_MS;
            let is_asked = is_sensitive && !why.is_empty() && !has_proved;
            let mut sure = Sure::Everyday;
            match request.incident {
                Some(incident) if is_asked => {
                    if harm.get(&incident.1).copied().unwrap_or_default() <= bearable(incident.0) {
                        *outcome.caught.entry(incident.0).or_default() += 1;
                    }
                    caught.insert(incident);
                    continue;
                }
                Some((_, number)) if is_sensitive => *harm.entry(number).or_default() += 1,
                Some(_) => {}
                None if is_asked => {
                    (proved_at, sure) = (request.at_ms, Sure::Confirmed);
                    if request.at_ms >= FIRST_DAY_MS + CALM_WEEKS * 7 * 86_400_000 {
                        outcome.needless += 1;
                        for signal in why {
                            *outcome.needless_by.entry((person.kind, signal.name())).or_default() += 1;
                        }
                    }
                }
                None => {}
            }
            teach(&mut profile, &act, sure, &settings);
        }
        for (incident, _) in incidents {
            *outcome.all.entry(incident).or_default() += 1;
        }
        outcome.months += (WEEKS - CALM_WEEKS) as f64 * 7.0 / 30.4;
    }
    outcome
}

/// So many sensitive operations may have gone through before it is noticed.
fn bearable(incident: Incident) -> usize {
    match incident {
        Incident::Burst => 20,
        // One and a half days of five.
        Incident::SlowDrip => 27,
        _ => 0,
    }
}

fn tell(seed: u64, outcome: &Outcome) {
    println!(
        "seed {seed}: recall {:.3}, needless prompts per person and month {:.2}",
        outcome.recall(),
        outcome.needless_a_month()
    );
    for incident in Incident::ALL {
        println!("  {incident:?}: {:.3} of {}", outcome.recall_of(incident), outcome.all[&incident]);
    }
    println!("  needless: {:?}", outcome.needless_by);
}

#[test]
fn what_is_wrong_is_asked_for_and_who_does_nothing_wrong_is_seldom_asked() {
    for seed in UNSEEN_SEEDS {
        let outcome = run(seed, &[]);
        tell(seed, &outcome);
        assert!(outcome.recall() >= 0.9, "{outcome:?}");
        assert!(outcome.needless_a_month() <= 1.0, "{outcome:?}");
    }
}

#[test]
fn without_a_signal_what_it_is_for_goes_unnoticed() {
    let whole = run(UNSEEN_SEEDS[0], &[]);
    for (without, incident) in [
        (&[Signal::UnusualHour][..], Incident::AtNight),
        (&[Signal::UnusualAmount], Incident::BigPayment),
        (&[Signal::Burst, Signal::UnusualRate], Incident::Burst),
        (&[Signal::UnusualRate, Signal::Burst], Incident::SlowDrip),
        (&[Signal::NewCountry, Signal::NewNetwork, Signal::ImpossibleTravel], Incident::FromAbroad),
    ] {
        let less = run(UNSEEN_SEEDS[0], without);
        let (before, after) = (whole.recall_of(incident), less.recall_of(incident));
        println!("without {without:?}: {incident:?} {before:.3} to {after:.3}, in all {:.3}", less.recall());
        assert!(after < before - 0.25, "{without:?}: {before} to {after}");
        assert!(less.recall() < whole.recall(), "{without:?}");
    }
}
