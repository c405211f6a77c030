//! What holds for every policy set.

use proptest::prelude::*;
use proptest::sample::select;

use crate::challenge::GrantKind;
use crate::decide::search::{case, prepare};
use crate::decide::{Asker, VALID_FOR_MAX, Verdict, decide, evaluate_whole, explain, valid_until};
use crate::factor::{FactorKind, Strength};
use crate::operation::Operation;
use crate::policy::fixture::{self, NOON, catalogue, known_device, load, operation, person, session, source};
use crate::policy::{NO_PERMIT, Policies, Proven};
use crate::session::{Assurance, Device, Proof, SessionView};
use crate::surroundings::{Anonymizer, Place, Surroundings};
use crate::time::Timestamp;

const PRINCIPALS: [&str; 14] = [
    "principal",
    "principal",
    "principal == Person::\"alice\"",
    "principal in Group::\"red\"",
    "principal in Group::\"blue\"",
    "principal in Person::\"bob\"",
    "principal is Person",
    "principal is Person in Group::\"red\"",
    "principal is Anonymous",
    "principal == Anonymous::\"nobody\"",
    "principal is Agent",
    "principal == Agent::\"corp/robot\"",
    "principal in Agent::\"corp/robot\"",
    "principal is Agent in Group::\"red\"",
];
const ACTIONS: [&str; 7] = [
    "action",
    "action",
    "action == Action::\"payments.approve\"",
    "action == Action::\"read\"",
    "action in Action::\"write\"",
    "action in Action::\"read\"",
    "action in [Action::\"pages.read\", Action::\"reports.export\", Action::\"write\"]",
];
const RESOURCES: [&str; 7] = [
    "resource",
    "resource",
    "resource in Service::\"ledger\"",
    "resource is Endpoint in Service::\"wiki\"",
    "resource == Endpoint::\"wiki GET /public\"",
    "resource in Endpoint::\"ledger POST /payments/{id}/approve\"",
    "resource is Endpoint",
];
/// What is verified in these deployments.
const OFFERED: [FactorKind; 6] = [
    FactorKind::PASSKEY,
    FactorKind::Totp,
    FactorKind::Password,
    FactorKind::PhoneCode(Strength::POSSESSION),
    FactorKind::EmailCode,
    FactorKind::RecoveryCode,
];
/// What may stand in a condition. The second errs from eight o'clock on.
const ATOMS: [&str; 44] = [
    "context.time.hour < 20",
    "context.time.hour + 9223372036854775799 > 0",
    "context.age.password <= duration(\"1h\")",
    "context.age.totp <= duration(\"5m\")",
    "context.age.passkey < duration(\"10m\")",
    "context.age.recovery_code > duration(\"1d\")",
    "context.age.email_code <= duration(\"5m\") || context.age.hotp < context.age.email_code",
    "context.age.phone_code < duration(\"1h\") && context.confirmed.contains(\"phone_code\")",
    "context.age.second_factor <= duration(\"15m\")",
    "context.age.phishing_resistant <= duration(\"2m\")",
    "context.age.knowledge <= duration(\"2h\")",
    "context.age.possession <= duration(\"30s\")",
    "context.age.any_factor <= duration(\"8h\")",
    "context.age.password < context.age.totp",
    "duration(\"10m\") > context.session.idle",
    "context.age.any_factor.toMinutes() < 100 || context.age.any_factor == duration(\"1m\")",
    "context.age has totp",
    "context.confirmed.contains(\"passkey\")",
    "context.confirmed.containsAny([\"totp\", \"password\"])",
    "context.confirmed.containsAll([\"totp\", \"passkey\"])",
    "!context.passkey.backed_up && context.age.passkey < duration(\"1h\")",
    "context.passkey.backup_eligible || context.passkey.attested",
    "context.passkey has aaguid && context.passkey.aaguid != \"2fc0579f-8113-47ea-b116-bb5a8db9202a\"",
    "context.approvals > 0",
    "context.device.known",
    "context.device.age >= duration(\"7d\") && context.device.unseen < duration(\"90d\")",
    "context.device.name == \"laptop\" || context.device.posture == \"compliant\"",
    "context.age.second_factor <= context.session.age",
    "context.session.address_changed || context.session.agent_changed || context.session.country_changed",
    "context.session.token_reuse",
    "context.network.address.isInRange(ip(\"192.0.2.0/24\"))",
    "context.network == {address: ip(\"192.0.2.1\"), name: \"office\", country: \"ZZ\", region: \"ZZ\", city: \"\", asn: 0, anonymizer: [\"unknown\"], denied: false}",
    "context.network.country == \"CH\" || context.network.asn > 100",
    "[\"CH-ZH\", \"ZZ\"].contains(context.network.region)",
    "context.network.anonymizer.contains(\"tor\") && context.network.city != \"Bern\"",
    "context.network.denied",
    "context.time.minute < 30",
    "context.time.open.contains(\"trading\") && context.time.holidays.isEmpty()",
    "context.session.age <= duration(\"12h\")",
    "context.session.idle <= duration(\"5m\")",
    "context.time.now > datetime(\"2025-01-01T11:00:00Z\")",
    "[\"low\", \"unknown\"].contains(context.risk.level)",
    "principal.email like \"alice@*\" || resource.sensitivity == \"high\"",
    "(context.device.known || (context.input has amount && context.input.amount > 100))",
];
const OPERATIONS: [&str; 8] = [
    "ledger payments.approve amount=900",
    "ledger payments.approve amount=12000",
    "ledger reports.export",
    "ledger write",
    "wiki read",
    "wiki pages.read",
    "wiki pages.write",
    "wiki reports.export",
];

fn atom() -> impl Strategy<Value = String> {
    let errs_seldom: Vec<&str> = ATOMS.iter().cycle().take(ATOMS.len() * 4).copied().collect();
    (select(errs_seldom), 0..4u8).prop_map(|(atom, form)| match (form, atom) {
        (0, atom) => format!("!({atom})"),
        // Most sets should not err, or nothing else would be seen.
        (1 | 2, "context.time.hour + 9223372036854775799 > 0") => "context.time.hour > 0".to_owned(),
        (_, atom) => format!("({atom})"),
    })
}

fn condition() -> impl Strategy<Value = String> {
    (atom(), atom(), 0..4u8).prop_map(|(a, b, form)| match form {
        0 => a,
        1 => format!("{a} && {b}"),
        2 => format!("{a} || {b}"),
        _ => format!("if {a} then {b} else {a} || {b}"),
    })
}

fn policy() -> impl Strategy<Value = String> {
    let scope = (select(&PRINCIPALS[..]), select(&ACTIONS[..]), select(&RESOURCES[..]));
    (any::<bool>(), scope, proptest::option::of(condition()), proptest::option::of(condition())).prop_map(
        |(permit, (principal, action, resource), when, unless)| {
            let effect = if permit { "permit" } else { "@reason(\"So it is.\") forbid" };
            let when = when.map(|condition| format!(" when {{ {condition} }}")).unwrap_or_default();
            let unless = unless.map(|condition| format!(" unless {{ {condition} }}")).unwrap_or_default();
            format!("{effect} ({principal}, {action}, {resource}){when}{unless};\n")
        },
    )
}

/// A set that loads: Cedar finds some random policies impossible, and those go.
pub(crate) fn policies() -> impl Strategy<Value = Policies> {
    proptest::collection::vec(policy(), 1..10).prop_map(|texts| {
        let numbered: Vec<String> =
            texts.iter().enumerate().map(|(at, text)| format!("@id(\"p{at}\") {text}")).collect();
        let open = "@id(\"open\") permit (principal is Person, action, resource);\n".to_owned();
        let all: Vec<String> = std::iter::once(open).chain(numbered).collect();
        let loaded = match Policies::load_in(&catalogue(), &[source(&all.concat())], &fixture::environment()) {
            Ok(policies) => policies,
            Err(mistakes) => {
                let wrong = |at: usize| mistakes.iter().any(|mistake| mistake.line == at + 1);
                let kept: String =
                    all.iter().enumerate().filter(|(at, _)| !wrong(*at)).map(|(_, text)| text.as_str()).collect();
                load(&kept)
            }
        };
        loaded.with_factors(OFFERED)
    })
}

pub(crate) fn who() -> impl Strategy<Value = Option<SessionView>> {
    let groups = select(vec![&[][..], &["red"][..], &["red", "blue"][..], &["blue"][..]]);
    let proved = select(vec![
        "",
        "password 1m",
        "password 3h",
        "totp 4m, password 9h",
        "passkey 1m",
        "passkey:backed_up 2m, passkey:device_bound 2h",
        "recovery_code 1h, email_code 1m",
    ]);
    let enrolled = select(vec![
        "",
        "password",
        "password totp",
        "password totp passkey recovery_code",
        "password passkey:backed_up passkey:device_bound/attested/2fc0579f-8113-47ea-b116-bb5a8db9202a",
        "email_code phone_code",
    ]);
    let person = (select(vec!["alice", "bob", "carol"]), groups).prop_map(|(login, groups)| person(login, groups));
    let known = (person, proved, enrolled, any::<bool>()).prop_map(|(person, proved, enrolled, known)| {
        let device = if known { known_device() } else { Device::default() };
        SessionView { device, token_reused: !known, ..session(&person, proved, enrolled) }
    });
    proptest::option::weighted(0.7, known)
}

pub(crate) fn around() -> impl Strategy<Value = Surroundings> {
    let levels = select(vec!["unknown", "low", "high"]);
    let signals = proptest::sample::subsequence(vec!["new_country", "tor"], 0..=2);
    let place = prop_oneof![
        Just(Place::default()),
        Just(Place {
            country: "CH".into(),
            region: "CH-ZH".into(),
            city: "Zürich".into(),
            asn: 3303,
            anonymizer: vec![Anonymizer::Tor, Anonymizer::Hosting],
            spot: None,
        }),
    ];
    let place = (place, select(vec![&[][..], &["CH"][..]])).prop_map(|(place, denied)| fixture::at(place, denied));
    (any::<bool>(), levels, signals, -12..12i64, place).prop_map(|(office, level, signals, hours, at)| Surroundings {
        address: if office { "192.0.2.1" } else { "2001:db8::1" }.parse().unwrap(),
        network: if office { "office" } else { "" }.to_owned(),
        risk_level: level.to_owned().into(),
        risk_signals: signals.into_iter().map(str::to_owned).collect(),
        now: Timestamp::from_ms(NOON.as_ms() + hours.max(0) * 3_600_000 / 4),
        ..at
    })
}

pub(crate) fn confirmed() -> impl Strategy<Value = Vec<FactorKind>> {
    prop_oneof![
        3 => Just(Vec::new()),
        1 => proptest::sample::subsequence(FactorKind::ALL.to_vec(), 1..=2),
    ]
}

pub(crate) fn asker(session: &Option<SessionView>) -> Asker<'_> {
    session.as_ref().map_or(Asker::Anonymous, Asker::SignedIn)
}

fn with_proofs(session: &SessionView, kinds: &[FactorKind], at: Timestamp) -> SessionView {
    let older: Vec<Proof> =
        session.assurance.proofs().iter().filter(|old| !kinds.contains(&old.kind)).copied().collect();
    let proofs = kinds.iter().map(|kind| Proof { kind: *kind, at, generation: 1 });
    SessionView { assurance: Assurance::new(older.into_iter().chain(proofs).collect()), ..session.clone() }
}

pub(crate) fn operations() -> impl Iterator<Item = Operation> {
    OPERATIONS.into_iter().map(operation)
}

pub(crate) fn sets(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(sets(48))]

    /// The index, the scopes taken off and the parts of the context left out change no answer.
    #[test]
    fn a_slice_decides_as_the_whole_set(
        policies in policies(),
        who in who(),
        around in around(),
        confirmed in confirmed(),
    ) {
        let confirmed: Vec<_> = confirmed.into_iter().map(|kind| (kind, around.now)).collect();
        for operation in operations() {
            let (_, prepared) = prepare(&policies, &operation, asker(&who)).unwrap().unwrap();
            let case = case(&policies, &operation, asker(&who), &around, &prepared);
            let now = Proven::now(asker(&who), &confirmed, &around);
            for proven in [now, now.confirmed_with(&FactorKind::ALL), now.confirmed_with(&[FactorKind::Totp])] {
                prop_assert_eq!(case.ask(&proven), case.ask_whole(&policies, &proven), "{}", operation.endpoint.resource);
            }
        }
    }

    /// A challenge that was passed, with surroundings unchanged, is permitted; and
    /// so is a proof of the greatest age that it names, now and when the session has grown older with it.
    #[test]
    fn a_passed_challenge_is_permitted(policies in policies(), who in who(), around in around()) {
        for operation in operations() {
            let Verdict::Challenge(challenged) = decide(&policies, operation.clone(), asker(&who), &around, &[]) else {
                continue;
            };
            let session = who.as_ref().expect("nobody is challenged who is not signed in");
            prop_assert!(!challenged.policies.is_empty());
            prop_assert!(!challenged.ask.ways.is_empty() || !challenged.ask.not_enrolled.is_empty());
            for way in &challenged.ask.ways {
                prop_assert!(way.iter().all(|kind| session.enrolled.contains(kind)), "{:?}", way);
                let (session, confirmed): (_, Vec<_>) = match challenged.ask.grant {
                    GrantKind::Freshness => (with_proofs(session, way, around.now), Vec::new()),
                    GrantKind::Confirmation => (session.clone(), way.iter().map(|kind| (*kind, around.now)).collect()),
                };
                let passed = decide(&policies, operation.clone(), Asker::SignedIn(&session), &around, &confirmed);
                prop_assert!(matches!(passed, Verdict::Permit(_)), "{:?}", passed);
                for (age, grows) in [(challenged.proved_within, false), (challenged.max_age, true)] {
                    let Some(age) = age else { continue };
                    let before = |at: Timestamp| Timestamp::from_ms(at.as_ms() - i64::try_from(age.as_millis()).unwrap());
                    let mut session = with_proofs(&session, way, before(around.now));
                    if grows {
                        session.started_at = before(session.started_at);
                        session.device.first_seen = session.device.first_seen.map(before);
                        session.device.seen_before = session.device.seen_before.map(before);
                    }
                    let passed = decide(&policies, operation.clone(), Asker::SignedIn(&session), &around, &[]);
                    prop_assert!(matches!(passed, Verdict::Permit(_)), "{:?} old: {:?}", age, passed);
                }
            }
        }
    }

    /// B55: asking beforehand and enforcing are one evaluation.
    #[test]
    fn b55_what_is_explained_is_what_is_enforced(
        policies in policies(),
        who in who(),
        around in around(),
        confirmed in confirmed(),
    ) {
        let confirmed: Vec<_> = confirmed.into_iter().map(|kind| (kind, around.now)).collect();
        for operation in operations() {
            let explained = explain(&policies, &operation, asker(&who), &around, &confirmed);
            let verdict = decide(&policies, operation.clone(), asker(&who), &around, &confirmed);
            prop_assert_eq!(&explained.verdict, &verdict.summary());
            let permitted = matches!(verdict, Verdict::Permit(_));
            prop_assert_eq!(permitted, valid_until(&policies, &operation, asker(&who), &around, &confirmed).is_some());
        }
    }

    /// B81: where any policy errs, nothing is permitted, whatever else permits.
    #[test]
    fn b81_an_error_anywhere_is_a_deny(policies in policies(), who in who(), around in around()) {
        for operation in operations() {
            let whole = evaluate_whole(&policies, &operation, asker(&who), &around, &[]);
            let verdict = decide(&policies, operation, asker(&who), &around, &[]);
            match &verdict {
                Verdict::Permit(permitted) => prop_assert_eq!(whole, (true, permitted.policies().to_vec(), vec![])),
                Verdict::Challenge(_) => prop_assert!(!whole.0 && whole.2.is_empty()),
                Verdict::Deny(denied) => prop_assert!(!whole.0 && whole.2 == denied.erred),
                Verdict::SignIn(_) => prop_assert!(who.is_none()),
            }
        }
    }

    /// Who is denied is told of the forbids of now that no proof would turn; and where
    /// nothing forbids once everything is proved, that a permit is missing.
    #[test]
    fn a_denial_says_what_stands_in_the_way(policies in policies(), who in who(), around in around()) {
        for operation in operations() {
            let Verdict::Deny(denied) = decide(&policies, operation.clone(), asker(&who), &around, &[]) else { continue };
            if !denied.erred.is_empty() {
                continue;
            }
            let named: Vec<String> = denied.policies.into_iter().map(|policy| policy.id).collect();
            let whole = |kinds: &[FactorKind]| {
                let confirmed: Vec<_> = kinds.iter().map(|kind| (*kind, around.now)).collect();
                evaluate_whole(&policies, &operation, asker(&who), &around, &confirmed)
            };
            let but_recovery = OFFERED.into_iter().filter(|kind| *kind != FactorKind::RecoveryCode);
            let then = [whole(&OFFERED), whole(&but_recovery.collect::<Vec<_>>())];
            let (_, now, _) = whole(&[]);
            let still: Vec<String> =
                now.iter().filter(|id| then.iter().all(|(_, forbids, _)| forbids.contains(id))).cloned().collect();
            if who.is_none() || then.iter().any(|(_, forbids, erred)| forbids.is_empty() && erred.is_empty()) {
                prop_assert_eq!(named, [NO_PERMIT]);
            } else if !still.is_empty() && then.iter().all(|(allowed, ..)| !allowed) {
                prop_assert_eq!(named, still);
            } else {
                prop_assert!(named == [NO_PERMIT] || named == now, "{:?} of {:?}", named, now);
            }
        }
    }

    /// A permission stands until the moment that it names, and at that moment it does not.
    #[test]
    fn a_permission_stands_until_it_runs_out(policies in policies(), who in who(), around in around()) {
        for operation in operations() {
            let verdict = decide(&policies, operation.clone(), asker(&who), &around, &[]);
            let until = valid_until(&policies, &operation, asker(&who), &around, &[]);
            prop_assert_eq!(matches!(verdict, Verdict::Permit(_)), until.is_some());
            let Some(until) = until else { continue };
            let at = |now: Timestamp| {
                let later = Surroundings { now, ..around.clone() };
                matches!(decide(&policies, operation.clone(), asker(&who), &later, &[]), Verdict::Permit(_))
            };
            prop_assert!(until > around.now && until <= around.now.plus(VALID_FOR_MAX));
            prop_assert!(at(Timestamp::from_ms(until.as_ms() - 1)));
            prop_assert!(!at(until) || until == around.now.plus(VALID_FOR_MAX));
        }
    }
}
