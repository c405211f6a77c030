//! How long a decision takes, over 10, 1,000 and 10,000 policies of which (at
//! most) 20 concern the operation. What does not concern it must not cost it.
//!
//! Prints medians of the thread's own CPU time in microseconds, and ratios to the
//! set of 20. Compare ratios; microseconds belong to the machine.
//!
//! `permit`: every policy's scope covers who asks. `stranger`: one group in eight
//! does. `challenge`: refused, searched, `max_age` found. `whole set`: the same
//! question without index, for comparison. Other sizes may be given as arguments.
//! Linux only (`/proc`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use stepgate_core::catalogue::{
    ActionName, Admits, Catalogue, CrossSite, Effect, Endpoint, Host, InputKind, InputSource, InputSpec, PathTemplate,
    Service, ServiceName, Title,
};
use stepgate_core::decide::{Asker, Verdict, decide, evaluate_whole};
use stepgate_core::factor::FactorKind;
use stepgate_core::id::{PersonId, SessionId};
use stepgate_core::operation::{InputValue, Inputs, Operation};
use stepgate_core::person::{Login, Person};
use stepgate_core::policy::{Policies, PolicySource};
use stepgate_core::session::{Assurance, Audience, Device, Proof, SessionView};
use stepgate_core::surroundings::{Environment, Surroundings};
use stepgate_core::time::Timestamp;

/// Policies that concern one service and action.
const EACH: usize = 20;
/// Decisions in one sample.
///
/// The kernel counts a thread's time by ticks of some milliseconds, so a sample has to be long.
const BATCH: u32 = 5_000;
/// Samples; the median is printed.
const SAMPLES: usize = 9;
/// Wednesday, 2025-01-01 12:00:00 UTC.
const NOON: Timestamp = Timestamp::from_ms(1_735_732_800_000);

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Box<dyn std::error::Error>> {
    let mut report = String::new();
    writeln!(
        report,
        "{:>9} {:>10} {:>9} {:>11} {:>11} {:>11} {:>11} {:>9}",
        "policies", "concerning", "load ms", "permit us", "stranger us", "challenge us", "whole set us", "ratio"
    )?;
    let mut smallest = None;
    let mut counts: Vec<usize> = std::env::args().skip(1).map(|count| count.parse()).collect::<Result<_, _>>()?;
    if counts.is_empty() {
        counts = vec![20, 10, 1_000, 10_000];
    }
    for count in counts {
        let row = measure(count)?;
        let first = *smallest.get_or_insert(row.permit_us);
        writeln!(
            report,
            "{count:>9} {:>10} {:>9.0} {:>11.2} {:>11.2} {:>11.1} {:>11.1} {:>9.2}",
            row.concerning,
            row.load_ms,
            row.permit_us,
            row.stranger_us,
            row.challenge_us,
            row.whole_us,
            row.permit_us / first
        )?;
    }
    Ok(report)
}

struct Row {
    concerning: usize,
    load_ms: f64,
    permit_us: f64,
    stranger_us: f64,
    challenge_us: f64,
    whole_us: f64,
}

fn measure(count: usize) -> Result<Row, Box<dyn std::error::Error>> {
    let catalogue = catalogue(count.div_ceil(EACH))?;
    let source = PolicySource { name: "bench.cedar".to_owned(), text: policies(count) };
    let start = cpu_us()?;
    let policies = Policies::load(&catalogue, &[source]).map_err(|mistakes| format!("{:?}", mistakes.first()))?;
    let load_ms = (cpu_us()? - start) / 1e3;
    let around = Surroundings::new("192.0.2.1".parse()?, "bench", NOON, &Environment::default());
    // Every policy's scope covers her.
    let groups: Vec<String> = (0..GROUPS).map(|group| format!("g{group}")).collect();
    let alice = session("alice", groups)?;
    // Few policies' scopes cover him.
    let bob = session("bob", vec!["g0".to_owned()])?;
    let small = operation(&catalogue, 900)?;
    let large = operation(&catalogue, 20_000)?;
    let median = |mut asked: Operation,
                  session: &SessionView,
                  batch: u32,
                  samples: usize|
     -> Result<f64, Box<dyn std::error::Error>> {
        let mut times = Vec::with_capacity(samples);
        for _ in 0..samples {
            let start = cpu_us()?;
            for _ in 0..batch {
                asked = match black_box(decide(&policies, asked, Asker::SignedIn(session), &around, &[])) {
                    Verdict::Permit(permitted) => permitted.into_operation(),
                    Verdict::Challenge(challenged) => challenged.operation,
                    Verdict::SignIn(operation) => operation,
                    Verdict::Deny(denied) => denied.operation,
                };
            }
            times.push((cpu_us()? - start) / f64::from(batch));
        }
        Ok(middle(times))
    };
    let expect = |asked: &Operation, expected: &str| {
        let verdict = decide(&policies, asked.clone(), Asker::SignedIn(&alice), &around, &[]).summary();
        if verdict == expected { Ok(()) } else { Err(format!("{verdict} where {expected} was expected")) }
    };
    expect(&small, "permit")?;
    if count >= EACH {
        expect(&large, "confirm: passkey")?;
    }
    let concerning = policies.concerning(&small).len();
    let rounds = (50_000 / u32::try_from(count)?).clamp(5, 500);
    let start = cpu_us()?;
    for _ in 0..rounds {
        black_box(evaluate_whole(&policies, &small, Asker::SignedIn(&alice), &around, &[]));
    }
    let whole_us = (cpu_us()? - start) / f64::from(rounds);
    Ok(Row {
        concerning,
        load_ms,
        permit_us: median(small.clone(), &alice, BATCH, SAMPLES)?,
        stranger_us: median(small, &bob, BATCH, SAMPLES)?,
        challenge_us: median(large, &alice, BATCH / 50, SAMPLES)?,
        whole_us,
    })
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The time that this thread has been running, in microseconds: what other work on
/// the machine takes does not count.
fn cpu_us() -> Result<f64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns: u64 = text.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
    Ok(Duration::from_nanos(ns).as_secs_f64() * 1e6)
}

/// Groups that policies name.
const GROUPS: usize = 8;
/// Action names, shared by the services.
const ACTIONS: usize = 10;

/// As they stand in real sets: who may, then what else must hold.
fn policies(count: usize) -> String {
    let mut text = String::new();
    for at in 0..count {
        let (service, which) = (at / EACH, at % EACH);
        let scope = format!("action == Action::\"act-{}\", resource in Service::\"svc-{service}\"", service % ACTIONS);
        let group = which % GROUPS;
        let policy = match which {
            0..=3 => format!("permit (principal in Group::\"g{group}\", {scope});"),
            4..=6 => format!(
                "@reason(\"r\") forbid (principal, {scope}) when {{ context.input.amount > {} }} \
                 unless {{ context.confirmed.contains(\"passkey\") }};",
                10_000 + which
            ),
            7..=9 => format!(
                "@reason(\"r\") forbid (principal, {scope}) \
                 unless {{ context.age.any_factor <= duration(\"{which}h\") }};"
            ),
            10..=12 => format!(
                "@reason(\"r\") forbid (principal in Group::\"g{group}\", {scope}) \
                 when {{ !context.device.known || context.risk.signals.contains(\"new_country\") }} \
                 unless {{ context.age.phishing_resistant <= duration(\"15m\") }};"
            ),
            13..=15 => format!(
                "@reason(\"r\") forbid (principal in Group::\"g{group}\", {scope}) \
                 when {{ context.risk.level == \"high\" && resource.sensitivity == \"critical\" }};"
            ),
            16 => format!(
                "@reason(\"r\") forbid (principal, {scope}) \
                 when {{ context.network.address.isInRange(ip(\"203.0.113.0/24\")) }};"
            ),
            17 => format!("@reason(\"r\") forbid (principal, {scope}) when {{ context.time.hour < 6 }};"),
            _ => format!(
                "@reason(\"r\") forbid (principal in Group::\"g{group}\", {scope}) \
                 when {{ context.network.country == \"X{which}\" }};"
            ),
        };
        text.push_str(&format!("@id(\"p{at}\")\n{policy}\n"));
    }
    text
}

fn catalogue(services: usize) -> Result<Catalogue, Box<dyn std::error::Error>> {
    let all = (0..services.max(1)).map(service).collect::<Result<_, _>>()?;
    Catalogue::new("https://gate.test".to_owned(), Host::parse("gate.test")?, all)
        .map_err(|(a, b)| format!("{a} and {b} have one host").into())
}

fn service(at: usize) -> Result<Arc<Service>, Box<dyn std::error::Error>> {
    let name = format!("svc-{at}");
    let endpoint = |on: &str, action: &str, effect: Effect, inputs: Vec<InputSpec>| {
        Ok::<_, Box<dyn std::error::Error>>(Arc::new(Endpoint {
            resource: format!("{name} {on}"),
            action: ActionName::parse(action)?,
            effect,
            kind: "payment".to_owned(),
            sensitivity: "high".to_owned(),
            title: Title::new("Approve"),
            methods: Vec::new(),
            path: PathTemplate::any(),
            inputs,
            effect_headers: Vec::new(),
            admits: Admits::SignedIn,
            cross_site: CrossSite::Refuse,
            scopes: Vec::new(),
        }))
    };
    let amount =
        InputSpec { name: "amount".into(), source: InputSource::Json("/amount".into()), kind: InputKind::Long };
    Ok(Arc::new(Service {
        title: name.clone(),
        origin: format!("https://{name}.test"),
        host: Host::parse(&format!("{name}.test"))?,
        endpoints: vec![endpoint("POST /approve", &format!("act-{}", at % ACTIONS), Effect::Write, vec![amount])?],
        read: endpoint("read", "read", Effect::Read, Vec::new())?,
        write: endpoint("write", "write", Effect::Write, Vec::new())?,
        tokens: None,
        name: ServiceName::parse(&name)?,
    }))
}

fn operation(catalogue: &Catalogue, amount: i64) -> Result<Operation, Box<dyn std::error::Error>> {
    let service = catalogue.by_name("svc-0").ok_or("no service")?;
    Ok(Operation {
        service: Arc::clone(service),
        endpoint: Arc::clone(service.endpoints.first().ok_or("no endpoint")?),
        inputs: Inputs::from([("amount".to_owned(), InputValue::Long(amount))]),
        method: "POST".to_owned(),
        url: "https://svc-0.test/approve".to_owned(),
        content_type: "application/json".to_owned(),
        effect_headers: BTreeMap::new(),
    })
}

fn session(login: &str, groups: Vec<String>) -> Result<SessionView, Box<dyn std::error::Error>> {
    let id = u8::try_from(login.len())?;
    let ago = |s: i64| Timestamp::from_ms(NOON.as_ms() - s * 1000 - 321);
    let person = Person {
        id: PersonId::from_bytes([id; 16]),
        login: Login::parse(login)?,
        name: login.to_owned(),
        email: format!("{login}@example.com"),
        groups,
        active: true,
    };
    let proof = |kind, s| Proof { kind, at: ago(s), generation: 1 };
    Ok(SessionView {
        id: SessionId::from_bytes([id; 16]),
        person: Arc::new(person),
        audience: Audience::Gate,
        generation: 1,
        newest_generation: 1,
        assurance: Assurance::new(vec![proof(FactorKind::Password, 3600), proof(FactorKind::Totp, 3500)]),
        enrolled: Arc::from([FactorKind::PASSKEY, FactorKind::Totp, FactorKind::Password]),
        providers: Arc::new([]),
        risks: Arc::new([]),
        started_at: ago(3600),
        last_used_at: ago(10),
        ends_at: NOON.plus(Duration::from_secs(80_000)),
        browser: None,
        device: Device { first_seen: Some(ago(90_000)), seen_before: Some(ago(90_000)), ..Device::default() },
        address: [192, 0, 2, 1].into(),
        country: "CH".to_owned(),
        agent: "bench".to_owned(),
        token_reused: false,
    })
}
