//! A small deployment for tests: two services, people with proofs, a quiet network.

use std::sync::Arc;
use std::time::Duration;

use super::{Policies, PolicySource};
use crate::catalogue::{
    ActionName, Admits, Catalogue, CrossSite, Effect, Endpoint, Host, InputKind, InputSource, InputSpec, PathTemplate,
    Service, ServiceName, Title,
};
use crate::factor::FactorKind;
use crate::id::{PersonId, SessionId};
use crate::operation::{InputValue, Inputs, Operation};
use crate::person::{Login, Person};
use crate::session::{Assurance, Audience, Device, Proof, SessionView};
use crate::surroundings::{Calendar, Environment, Geography, Located, NamedNetwork, Place, Surroundings};
use crate::time::Timestamp;

/// Wednesday, 2025-01-01 12:00:00 UTC.
pub(crate) const NOON: Timestamp = Timestamp::from_ms(1_735_732_800_000);

/// The four policies of the design, and one more permit for the wiki.
pub(crate) const SAMPLE: &str = r#"
// Finance may use the ledger.
@id("finance")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("large-payment")
@reason("Payments over 10,000 need your passkey, for this payment alone.")
forbid (principal, action == Action::"payments.approve", resource)
when   { context.input.amount > 10000 }
unless { context.confirmed.contains("passkey") };

@id("exports-need-a-fresh-second-factor")
@reason("Exports need a second factor from the last five minutes.")
forbid (principal, action == Action::"reports.export", resource)
unless { context.age.second_factor <= duration("5m") };

@id("unfamiliar-place")
@reason("You are on a device we have not seen before.")
forbid (principal, action in Action::"write", resource in Service::"ledger")
when   { !context.device.known || context.risk.signals.contains("new_country") }
unless { context.age.phishing_resistant <= duration("15m") };
"#;

pub(crate) fn endpoint(
    service: &str,
    on: &str,
    action: &str,
    effect: Effect,
    inputs: &[(&str, InputKind)],
) -> Endpoint {
    Endpoint {
        resource: format!("{service} {on}"),
        action: ActionName::parse(action).unwrap(),
        effect,
        kind: action.split('.').next().unwrap().to_owned(),
        sensitivity: if inputs.is_empty() { "normal" } else { "high" }.to_owned(),
        title: Title::new(action),
        methods: Vec::new(),
        path: PathTemplate::any(),
        inputs: inputs
            .iter()
            .map(|(name, kind)| InputSpec {
                name: (*name).to_owned(),
                source: InputSource::Json(format!("/{name}")),
                kind: *kind,
            })
            .collect(),
        effect_headers: Vec::new(),
        admits: if on.contains("public") { Admits::Anyone } else { Admits::SignedIn },
        cross_site: CrossSite::Refuse,
        scopes: Vec::new(),
    }
}

pub(crate) fn service(name: &str, endpoints: Vec<Endpoint>) -> Arc<Service> {
    Arc::new(Service {
        name: ServiceName::parse(name).unwrap(),
        title: name.to_owned(),
        origin: format!("https://{name}.test"),
        host: Host::parse(&format!("{name}.test")).unwrap(),
        read: Arc::new(endpoint(name, "read", "read", Effect::Read, &[])),
        write: Arc::new(endpoint(name, "write", "write", Effect::Write, &[])),
        tokens: None,
        endpoints: endpoints.into_iter().map(Arc::new).collect(),
    })
}

pub(crate) fn catalogue() -> Catalogue {
    let payment = [("id", InputKind::String), ("amount", InputKind::Long)];
    let every = [("text", InputKind::String), ("flag", InputKind::Bool), ("price", InputKind::Decimal)];
    let services = vec![
        service(
            "ledger",
            vec![
                endpoint("ledger", "POST /payments/{id}/approve", "payments.approve", Effect::Write, &payment),
                endpoint("ledger", "GET /reports", "reports.export", Effect::Read, &[]),
                endpoint("ledger", "POST /notes", "notes.add", Effect::Write, &every),
            ],
        ),
        service(
            "wiki",
            vec![
                endpoint("wiki", "GET /public", "pages.read", Effect::Read, &[]),
                endpoint("wiki", "POST /public", "pages.write", Effect::Write, &[]),
                endpoint("wiki", "GET /export", "reports.export", Effect::Read, &[]),
            ],
        ),
    ];
    Catalogue::new("https://gate.test".into(), Host::parse("gate.test").unwrap(), services).unwrap()
}

pub(crate) fn source(text: &str) -> PolicySource {
    PolicySource { name: "test.cedar".into(), text: text.into() }
}

pub(crate) fn load(text: &str) -> Policies {
    match Policies::load(&catalogue(), &[source(text)]) {
        Ok(policies) => policies,
        Err(mistakes) => panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// `ledger payments.approve amount=12000`: service, action, inputs; what is not given is empty.
pub(crate) fn operation(text: &str) -> Operation {
    let mut words = text.split(' ');
    let catalogue = catalogue();
    let service = Arc::clone(catalogue.by_name(words.next().unwrap()).unwrap());
    let action = words.next().unwrap();
    let given: Vec<(&str, &str)> = words.map(|word| word.split_once('=').unwrap()).collect();
    let endpoint = service.endpoints.iter().chain([&service.read, &service.write]);
    let endpoint = Arc::clone(endpoint.into_iter().find(|endpoint| endpoint.action.as_str() == action).unwrap());
    let value = |spec: &InputSpec| {
        let text = given.iter().find(|(name, _)| *name == spec.name).map_or("", |(_, value)| value);
        match spec.kind {
            InputKind::Long => InputValue::Long(text.parse().unwrap_or(0)),
            InputKind::String => InputValue::String(text.to_owned()),
            InputKind::Bool => InputValue::Bool(text == "true"),
            InputKind::Decimal => InputValue::Decimal(text.parse().unwrap_or(0)),
        }
    };
    let inputs: Inputs = endpoint.inputs.iter().map(|spec| (spec.name.clone(), value(spec))).collect();
    Operation {
        service,
        endpoint,
        inputs,
        method: "POST".into(),
        url: "https://ledger.test/".into(),
        content_type: String::new(),
        effect_headers: std::collections::BTreeMap::new(),
    }
}

pub(crate) fn person(login: &str, groups: &[&str]) -> Arc<Person> {
    let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    groups.sort_unstable();
    let mut id = [0; 16];
    for (slot, byte) in id.iter_mut().zip(login.bytes()) {
        *slot = byte;
    }
    Arc::new(Person {
        id: PersonId::from_bytes(id),
        login: Login::parse(login).unwrap(),
        name: login.to_owned(),
        email: format!("{login}@example.com"),
        groups,
        active: true,
    })
}

/// `password 1m, totp 30s` proved before [`NOON`], `passkey totp` enrolled, on a known device.
pub(crate) fn session(person: &Arc<Person>, proved: &str, enrolled: &str) -> SessionView {
    let proofs = proved.split(", ").filter(|text| !text.is_empty()).map(|text| {
        let (kind, age) = text.split_once(' ').unwrap();
        Proof { kind: kind.parse().unwrap(), at: before_noon(age), generation: 1 }
    });
    SessionView {
        id: SessionId::from_bytes([7; 16]),
        person: Arc::clone(person),
        audience: Audience::Gate,
        generation: 1,
        newest_generation: 1,
        assurance: Assurance::new(proofs.collect()),
        enrolled: enrolled.split_whitespace().map(|kind| kind.parse::<FactorKind>().unwrap()).collect(),
        providers: Arc::new([]),
        risks: Arc::new([]),
        started_at: before_noon("2h"),
        last_used_at: before_noon("1m"),
        ends_at: NOON.plus(Duration::from_secs(24 * 3600)),
        browser: None,
        device: known_device(),
        address: "192.0.2.1".parse().unwrap(),
        country: "ZZ".into(),
        agent: "test".into(),
        token_reused: false,
    }
}

/// First used thirty days ago, and yesterday before this sign-in.
pub(crate) fn known_device() -> Device {
    Device {
        first_seen: Some(before_noon("30d")),
        seen_before: Some(before_noon("1d")),
        name: "laptop".into(),
        cookie: None,
    }
}

pub(crate) fn before_noon(age: &str) -> Timestamp {
    let (number, unit) = age.split_at(age.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        other => panic!("{other}"),
    };
    Timestamp::from_ms(NOON.as_ms() - number.parse::<i64>().unwrap() * unit * 1000)
}

pub(crate) fn surroundings() -> Surroundings {
    Surroundings::new("192.0.2.1".parse().unwrap(), "test", NOON, &environment())
}

/// A network, and a calendar that is open from noon to one.
pub(crate) fn environment() -> Environment {
    use jiff::civil::Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    let office = NamedNetwork { name: "office".into(), ranges: vec!["192.0.2.0/24".parse().unwrap()] };
    let trading = Calendar {
        name: "trading".into(),
        zone: jiff::tz::TimeZone::UTC,
        days: vec![Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday],
        from: "12:00".parse().unwrap(),
        to: "13:00".parse().unwrap(),
        holidays: Default::default(),
    };
    Environment { networks: vec![office], calendars: vec![trading], ..Environment::default() }
}

/// The surroundings of somebody at that place.
pub(crate) fn at(place: Place, denied: &[&str]) -> Surroundings {
    let around = surroundings();
    let denied = denied.iter().map(|region| region.parse().unwrap()).collect();
    let geography = Arc::new(Geography { denied, ..Geography::default() });
    Surroundings { located: Located::known(around.address, place, &geography), ..around }
}
