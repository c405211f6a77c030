//! Decisions as sentences.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::{Asker, Verdict, decide, explain};
use crate::factor::{FactorKind, ModelFacts, Models, Strength};
use crate::policy::fixture::{NOON, SAMPLE, at, load, operation, person, session, surroundings};
use crate::policy::{BROKEN, NO_PERMIT, Policies};
use crate::session::{Device, SessionView};
use crate::surroundings::{Place, Surroundings};
use crate::time::Timestamp;

/// A verdict in one line, with the policies that decided it.
fn said(verdict: &Verdict) -> String {
    let because = |policies: &[stepgate_evidence::PolicyRef]| {
        let ids: Vec<&str> = policies.iter().map(|policy| policy.id.as_str()).collect();
        if ids.is_empty() { String::new() } else { format!(", because {}", ids.join(" and ")) }
    };
    match verdict {
        Verdict::Permit(permitted) => format!("permit, because {}", permitted.policies().join(" and ")),
        Verdict::Challenge(challenged) => format!("{}{}", challenged.ask.summary(), because(&challenged.policies)),
        Verdict::SignIn(_) => "sign in".to_owned(),
        Verdict::Deny(denied) if denied.erred.is_empty() => format!("deny{}", because(&denied.policies)),
        Verdict::Deny(denied) => format!("deny{}, erred: {}", because(&denied.policies), denied.erred.join(" and ")),
    }
}

fn decided(
    policies: &Policies,
    asked: &str,
    asker: Asker<'_>,
    surroundings: &Surroundings,
    confirmed: &[(FactorKind, Timestamp)],
) -> String {
    let verdict = decide(policies, operation(asked), asker, surroundings, confirmed);
    let explained = explain(policies, &operation(asked), asker, surroundings, confirmed);
    // b55: what is explained beforehand is what is enforced.
    assert_eq!(explained.verdict, verdict.summary(), "{asked}");
    if let Verdict::Deny(denied) = &verdict {
        assert_eq!(explained.decided, denied.policies, "{asked}");
    }
    said(&verdict)
}

#[track_caller]
fn check(policies: &Policies, asked: &str, who: &SessionView, expected: &str) {
    assert_eq!(decided(policies, asked, Asker::SignedIn(who), &surroundings(), &[]), expected, "{asked}");
}

#[track_caller]
fn check_nobody(policies: &Policies, asked: &str, expected: &str) {
    assert_eq!(decided(policies, asked, Asker::Anonymous, &surroundings(), &[]), expected, "{asked}");
}

const ALL: &str = "password totp passkey";

#[test]
fn the_design_s_policies_decide_as_written() {
    let policies = load(SAMPLE);
    let finance = person("alice", &["finance"]);
    let alice = session(&finance, "password 1m", ALL);
    check(&policies, "ledger read", &alice, "permit, because finance");
    check(&policies, "ledger payments.approve amount=900", &alice, "permit, because finance");
    check(&policies, "ledger payments.approve amount=10000", &alice, "permit, because finance");
    check(&policies, "ledger payments.approve amount=12000", &alice, "confirm: passkey, because large-payment");
    check(
        &policies,
        "ledger reports.export",
        &alice,
        "fresh: passkey | totp, because exports-need-a-fresh-second-factor",
    );
    check(&policies, "wiki read", &alice, "deny, because no-permit");
    let abroad = SessionView { device: Device::default(), ..alice.clone() };
    check(&policies, "ledger read", &abroad, "permit, because finance");
    check(&policies, "ledger write", &abroad, "fresh: passkey, because unfamiliar-place");
    check(
        &policies,
        "ledger payments.approve amount=12000",
        &abroad,
        "confirm: passkey, because large-payment and unfamiliar-place",
    );
    let other = session(&person("bob", &["sales"]), "password 1m", ALL);
    check(&policies, "ledger read", &other, "deny, because no-permit");
    check(&policies, "ledger payments.approve amount=12000", &other, "deny, because no-permit");
    check_nobody(&policies, "ledger read", "sign in");
    check_nobody(&policies, "wiki read", "deny, because no-permit");
}

#[test]
fn a_challenge_says_how_old_a_proof_may_be_and_why_it_is_asked() {
    let policies = load(SAMPLE);
    let alice = session(&person("alice", &["finance"]), "password 1m", ALL);
    let ask = |asked| match decide(&policies, operation(asked), Asker::SignedIn(&alice), &surroundings(), &[]) {
        Verdict::Challenge(challenged) => challenged,
        other => panic!("{other:?}"),
    };
    let export = ask("ledger reports.export");
    assert_eq!(export.max_age, Some(Duration::from_secs(300)));
    assert_eq!(export.policies[0].reason, "Exports need a second factor from the last five minutes.");
    assert_eq!(ask("ledger payments.approve amount=12000").max_age, None);
}

#[test]
fn a_passed_challenge_counts_for_this_operation() {
    let policies = load(SAMPLE);
    let alice = session(&person("alice", &["finance"]), "password 1m", ALL);
    let abroad = SessionView { device: Device::default(), ..alice };
    let with = |confirmed: &[(FactorKind, Timestamp)]| {
        let asked = "ledger payments.approve amount=12000";
        decided(&policies, asked, Asker::SignedIn(&abroad), &surroundings(), confirmed)
    };
    // Its proof is also fresh: `unfamiliar-place` is content without a second touch.
    assert_eq!(with(&[(FactorKind::PASSKEY, NOON)]), "permit, because finance");
    assert_eq!(
        with(&[(FactorKind::Totp, NOON)]),
        "confirm: passkey, because large-payment and unfamiliar-place",
        "another factor's confirmation is another"
    );
}

#[test]
fn what_is_not_enrolled_is_named_and_not_offered() {
    let policies = load(SAMPLE);
    let alice = session(&person("alice", &["finance"]), "password 1m", "password totp");
    check(
        &policies,
        "ledger payments.approve amount=12000",
        &alice,
        "confirm: passkey (not enrolled), because large-payment",
    );
    check(
        &policies,
        "ledger reports.export",
        &alice,
        "fresh: totp | passkey (not enrolled), because exports-need-a-fresh-second-factor",
    );
    let spare = session(&person("alice", &["finance"]), "password 1m", "password recovery_code");
    check(
        &policies,
        "ledger reports.export",
        &spare,
        "fresh: recovery_code | passkey (not enrolled) | totp (not enrolled), \
         because exports-need-a-fresh-second-factor",
    );
}

#[test]
fn the_least_trouble_comes_first() {
    let rule = |condition: &str| {
        load(&format!(
            "@id(\"all\") permit (principal, action, resource);
             @id(\"rule\") @reason(\"So it is.\") forbid (principal, action, resource) unless {{ {condition} }};"
        ))
    };
    let ask = |condition: &str, proved: &str, enrolled: &str, expected: &str| {
        let alice = session(&person("alice", &[]), proved, enrolled);
        check(&rule(condition), "wiki read", &alice, expected);
    };
    let two = "context.age.totp <= duration(\"5m\") && context.age.password <= duration(\"5m\")";
    ask(two, "", ALL, "fresh: totp + password, because rule");
    ask(two, "password 1m", ALL, "fresh: totp, because rule");
    ask(two, "password 1m, totp 1m", ALL, "permit, because all");
    ask(two, "password 1m", "password", "fresh: totp (not enrolled), because rule");
    let either = format!("context.age.passkey <= duration(\"5m\") || ({two})");
    ask(&either, "", ALL, "fresh: passkey, because rule");
    ask(&either, "", "totp password", "fresh: totp + password, because rule");
    ask("context.confirmed.contains(\"totp\")", "totp 0s", ALL, "confirm: totp, because rule");
    let both = "context.confirmed.contains(\"totp\") && context.confirmed.contains(\"passkey\")";
    ask(both, "", ALL, "confirm: passkey + totp, because rule");
    let mixed = "context.confirmed.contains(\"totp\") || context.age.passkey <= duration(\"1m\")";
    ask(mixed, "", ALL, "fresh: passkey, because rule");
    ask(mixed, "", "totp password", "confirm: totp | passkey (not enrolled), because rule");
    ask("context.approvals > 0", "", ALL, "deny, because rule");
    ask("context.network.name == \"office\"", "", "", "permit, because all");
    ask("context.network.name == \"lab\"", "", ALL, "deny, because rule");
    // A proof that is held against the person does not hide what would help.
    let wary = "context.age.recovery_code > duration(\"1d\") && context.age.passkey <= duration(\"5m\")";
    ask(wary, "", ALL, "fresh: passkey, because rule");
}

#[test]
fn a_permit_that_wants_proof_is_asked_for_like_a_forbid_that_does() {
    let policies = load(
        "@id(\"with-totp\") permit (principal, action, resource)
         when { context.age.totp <= duration(\"5m\") };",
    );
    let alice = session(&person("alice", &[]), "password 1m", ALL);
    check(&policies, "wiki read", &alice, &format!("fresh: totp, because {NO_PERMIT}"));
}

#[test]
fn a_denial_names_what_no_proof_would_turn() {
    let denied = |text: &str, because: &str| {
        let alice = session(&person("alice", &[]), "password 1m", ALL);
        check(&load(text), "wiki read", &alice, &format!("deny, because {because}"));
    };
    let permit = "@id(\"all\") permit (principal, action, resource);";
    let no_permit = "@id(\"others\") permit (principal in Group::\"others\", action, resource);";
    let confirm = "@id(\"confirm\") @reason(\"Confirm it.\") forbid (principal, action, resource)
                   unless { context.confirmed.contains(\"passkey\") };";
    let closed = "@id(\"closed\") @reason(\"Closed.\") forbid (principal, action, resource);";
    let wary = "@id(\"wary\") @reason(\"Not after that.\") forbid (principal, action, resource)
                when { context.age.passkey < duration(\"1h\") };";
    denied(&format!("{no_permit}{confirm}"), NO_PERMIT);
    denied(&format!("{no_permit}{closed}{confirm}"), "closed");
    denied(&format!("{permit}{closed}{confirm}"), "closed");
    // What is forbidden for want of a proof would be forbidden because of it.
    denied(&format!("{permit}{confirm}{wary}"), "confirm");
    denied(no_permit, NO_PERMIT);
}

#[test]
fn b47_b48_one_factor_is_not_another() {
    let policies = |age: &str| {
        load(&format!(
            "@id(\"p\") permit (principal, action, resource) when {{ context.age.{age} <= duration(\"3650d\") }};"
        ))
    };
    let counts = |age: &str, proved: &str| {
        let alice = session(&person("alice", &[]), proved, "");
        decided(&policies(age), "wiki read", Asker::SignedIn(&alice), &surroundings(), &[]) == "permit, because p"
    };
    for (proved, ages) in [
        ("password 1m", "password knowledge any_factor"),
        ("totp 1m", "totp second_factor possession any_factor"),
        ("passkey 1m", "passkey second_factor phishing_resistant possession any_factor"),
        ("recovery_code 1m", "recovery_code second_factor possession any_factor"),
        ("", ""),
    ] {
        let ages: Vec<&str> = ages.split_whitespace().collect();
        for age in [
            "password",
            "totp",
            "passkey",
            "recovery_code",
            "second_factor",
            "phishing_resistant",
            "knowledge",
            "possession",
            "any_factor",
        ] {
            assert_eq!(counts(age, proved), ages.contains(&age), "{age} after {proved:?}");
        }
    }
}

#[test]
fn negative_ages_are_never() {
    let policies = load(
        "@id(\"p\") permit (principal, action, resource)
         when { context.age.password <= duration(\"3650d\") || context.confirmed.contains(\"password\") };
         @id(\"q\") permit (principal, action, resource)
         when { context.session.age < duration(\"1s\") || context.session.idle < duration(\"1s\") };",
    );
    let alice = session(&person("alice", &[]), "password 1m", "");
    let early = |seconds: u64| Timestamp::from_ms(NOON.as_ms() - i64::try_from(seconds).unwrap() * 1000);
    let at = |now: Timestamp, confirmed: &[(FactorKind, Timestamp)]| {
        let around = Surroundings { now, ..surroundings() };
        decided(&policies, "wiki read", Asker::SignedIn(&alice), &around, confirmed)
    };
    assert_eq!(at(NOON, &[]), "permit, because p");
    assert_eq!(at(early(60), &[]), "permit, because p and q");
    let before_anything = early(3 * 3600);
    assert_eq!(
        at(before_anything, &[]),
        format!("fresh: password (not enrolled), because {NO_PERMIT}"),
        "the clock stands before the proof"
    );
    assert_eq!(
        at(before_anything, &[(FactorKind::Password, NOON)]),
        format!("fresh: password (not enrolled), because {NO_PERMIT}"),
        "a confirmation from the future"
    );
}

#[test]
fn b81_a_policy_that_errs_denies_though_a_permit_stands() {
    let policies = load(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"limit\") @reason(\"Too much.\")
         forbid (principal, action == Action::\"payments.approve\", resource)
         when { context.input.amount + 9223372036854775807 > 9223372036854775807 };
         @id(\"late\") @reason(\"Late.\")
         forbid (principal, action == Action::\"notes.add\", resource)
         when { context.time.now.offset(context.age.totp) < datetime(\"2024-01-01\") };",
    );
    let alice = session(&person("alice", &[]), "password 1m", ALL);
    check(&policies, "ledger payments.approve amount=0", &alice, "permit, because all");
    check(&policies, "ledger payments.approve amount=1", &alice, "deny, erred: limit");
    check(&policies, "ledger notes.add", &alice, "deny, erred: late");
    check(&policies, "ledger write", &alice, "permit, because all");
}

#[test]
fn b81_an_operation_that_does_not_fit_its_schema_denies() {
    let policies = load(SAMPLE);
    let alice = session(&person("alice", &["finance"]), "passkey 0s", ALL);
    for change in [
        |inputs: &mut crate::operation::Inputs| {
            inputs.remove("amount");
        },
        |inputs: &mut crate::operation::Inputs| {
            inputs.insert("amount".into(), crate::operation::InputValue::String("12000".into()));
        },
    ] {
        let mut asked = operation("ledger payments.approve amount=12000");
        change(&mut asked.inputs);
        let verdict = decide(&policies, asked, Asker::SignedIn(&alice), &surroundings(), &[]);
        assert_eq!(said(&verdict), "deny, erred: large-payment");
    }
}

#[test]
fn nobody_is_let_in_only_by_name() {
    let policies = load(
        "@id(\"everybody\") permit (principal, action, resource in Service::\"wiki\");
         @id(\"public\") permit (principal is Anonymous, action == Action::\"pages.read\", resource);
         @id(\"street\") permit (principal == Anonymous::\"nobody\", action in Action::\"read\", resource);
         @id(\"closed\") @reason(\"Closed from abroad.\")
         forbid (principal, action, resource) when { context.network.country == \"XX\" };",
    );
    check_nobody(&policies, "wiki pages.read", "permit, because public and street");
    // An unconstrained permit opens no door to the street, though the endpoint is public.
    check_nobody(&policies, "wiki pages.write", "sign in");
    // A permit for Anonymous opens nothing that the configuration does not call public.
    check_nobody(&policies, "wiki read", "sign in");
    check_nobody(&policies, "wiki reports.export", "sign in");
    check_nobody(&policies, "ledger read", "deny, because no-permit");
    let abroad = at(Place { country: "XX".into(), ..Place::default() }, &[]);
    assert_eq!(decided(&policies, "wiki pages.read", Asker::Anonymous, &abroad, &[]), "sign in");
    let alice = session(&person("alice", &[]), "", "");
    check(&policies, "wiki pages.read", &alice, "permit, because everybody");
    check(&policies, "ledger read", &alice, "deny, because no-permit");
}

#[test]
fn principals_are_told_apart_by_login_and_group() {
    let policies = load(
        "@id(\"alice\") permit (principal == Person::\"alice\", action, resource);
         @id(\"staff\") permit (principal in Group::\"staff\", action in Action::\"read\", resource);
         @id(\"people\") permit (principal is Person, action == Action::\"notes.add\", resource);
         @id(\"agents\") permit (principal is Agent, action, resource);
         @id(\"staff-mail\") permit (principal is Person in Group::\"staff\", action == Action::\"write\", resource)
         when { principal.email like \"*@example.com\" && principal.login != \"carol\" };",
    );
    let who = |login, groups: &[&str]| session(&person(login, groups), "", "");
    check(&policies, "wiki read", &who("alice", &[]), "permit, because alice");
    check(&policies, "wiki read", &who("alice", &["staff"]), "permit, because alice and staff");
    check(&policies, "wiki read", &who("bob", &["staff"]), "permit, because staff");
    check(&policies, "wiki read", &who("bob", &["Staff"]), "deny, because no-permit");
    check(&policies, "wiki read", &who("alice2", &[]), "deny, because no-permit");
    check(&policies, "ledger notes.add", &who("bob", &[]), "permit, because people");
    check(&policies, "wiki write", &who("bob", &["staff"]), "permit, because staff-mail");
    check(&policies, "wiki write", &who("carol", &["staff"]), "deny, because no-permit");
}

#[test]
fn a_person_who_changed_is_decided_as_they_are_now() {
    let policies = load("@id(\"staff\") permit (principal in Group::\"staff\", action, resource);");
    for (groups, expected) in [
        (&["staff"][..], "permit, because staff"),
        (&[][..], "deny, because no-permit"),
        (&["staff"][..], "permit, because staff"),
    ] {
        check(&policies, "wiki read", &session(&person("alice", groups), "", ""), expected);
    }
}

#[test]
fn b56_what_one_route_allowed_is_not_used_on_another() {
    let policies = load("@id(\"wiki\") permit (principal, action, resource in Service::\"wiki\");");
    let alice = session(&person("alice", &[]), "", "");
    check(&policies, "wiki reports.export", &alice, "permit, because wiki");
    check(&policies, "ledger reports.export", &alice, "deny, because no-permit");
    let changed = load("@id(\"wiki\") permit (principal, action, resource in Service::\"ledger\");");
    check(&changed, "wiki reports.export", &alice, "deny, because no-permit");
}

#[test]
fn a_broken_set_denies_everything_and_says_why() {
    let policies = Policies::broken("policies/a.cedar:3:1: unexpected end of input");
    let alice = session(&person("alice", &["finance"]), "passkey 0s", ALL);
    let expected = format!("deny, because {BROKEN}, erred: policies/a.cedar:3:1: unexpected end of input");
    check(&policies, "ledger read", &alice, &expected);
    check_nobody(&policies, "wiki pages.read", &expected);
}

#[test]
fn an_operation_of_another_configuration_is_denied() {
    let policies = load("@id(\"all\") permit (principal, action, resource);");
    let alice = session(&person("alice", &[]), "", "");
    let mut asked = operation("ledger read");
    asked.endpoint = std::sync::Arc::new(crate::policy::fixture::endpoint(
        "ledger",
        "DELETE /everything",
        "everything.delete",
        crate::catalogue::Effect::Write,
        &[],
    ));
    let verdict = decide(&policies, asked, Asker::SignedIn(&alice), &surroundings(), &[]);
    assert_eq!(said(&verdict), "deny, erred: no policies were loaded for \"ledger DELETE /everything\"");
}

#[test]
fn an_explanation_names_policies_context_and_steps() {
    let policies = load(SAMPLE);
    let alice = session(&person("alice", &["finance"]), "password 1m", ALL);
    let asked = operation("ledger reports.export");
    let explained = explain(&policies, &asked, Asker::SignedIn(&alice), &surroundings(), &[]);
    assert_eq!(explained.verdict, "fresh: passkey | totp");
    let now: Vec<String> =
        explained.policies.iter().map(|policy| format!("{} {:?}", policy.id, policy.state)).collect();
    assert_eq!(now, ["exports-need-a-fresh-second-factor Holds", "finance Holds"]);
    assert_eq!(explained.context["age"]["password"]["__extn"]["arg"], "60000ms");
    assert_eq!(explained.context["time"]["hour"], 12);
    assert_eq!(explained.context["time"]["weekday"], "wednesday");
    let steps: Vec<String> = explained.steps.iter().map(|step| format!("{}: {}", step.tried, step.allowed)).collect();
    assert_eq!(
        steps,
        [
            "what is proved now: false",
            "everything that could be proved: true",
            "fresh passkey: true",
            "fresh totp: true",
            "fresh password: false",
            "fresh recovery_code: true",
        ]
    );
}

#[test]
fn what_the_refusing_rules_saw_of_the_surroundings_is_named_and_nothing_else() {
    let policies = load(
        "@id(\"staff\") permit (principal in Group::\"staff\", action, resource);
         @id(\"abroad\") @reason(\"You are abroad.\") forbid (principal, action, resource in Service::\"ledger\")
         when { context.network.country != \"CH\" && !context.network.anonymizer.contains(\"vpn\") }
         unless { context.age.passkey <= duration(\"5m\") };
         @id(\"sundays\") @reason(\"Not on Sundays.\") forbid (principal, action, resource)
         when { context.time.weekday == \"sunday\" };
         @id(\"closed\") @reason(\"Closed there.\") forbid (principal, action, resource in Service::\"wiki\")
         when { context.network.denied && context.session.idle < duration(\"1h\") };",
    );
    let alice = session(&person("alice", &["staff"]), "password 1m", "password passkey");
    let oslo = Place { country: "NO".into(), ..Place::default() };
    let ask = |what: &str, denied: &[&str]| {
        decide(&policies, operation(what), Asker::SignedIn(&alice), &at(oslo.clone(), denied), &[])
    };
    let Verdict::Challenge(challenged) = ask("ledger read", &[]) else { panic!("it asks") };
    let seen: Vec<_> = challenged.seen.iter().map(|(part, value)| format!("{part}: {value}")).collect();
    assert_eq!(seen, ["network.anonymizer: [\"unknown\"]", "network.country: NO"]);
    let Verdict::Deny(denied) = ask("wiki read", &["NO"]) else { panic!("it denies") };
    let seen: Vec<_> = denied.seen.iter().map(|(part, value)| format!("{part}: {value}")).collect();
    assert_eq!(seen, ["network.denied: true", "session.idle: 60 s"]);
    assert!(matches!(ask("wiki read", &["SE"]), Verdict::Permit(_)));
}

const CODES: &str = "@id(\"staff\") permit (principal in Group::\"staff\", action, resource);
     @id(\"second\") @reason(\"Needs a second factor.\") forbid (principal, action == Action::\"read\", resource)
     unless { context.age.second_factor <= duration(\"5m\") };
     @id(\"any\") @reason(\"Needs any factor.\") forbid (principal, action == Action::\"notes.add\", resource)
     unless { context.age.any_factor <= duration(\"5m\") };
     @id(\"address\") @reason(\"Needs the address.\") forbid (principal, action == Action::\"write\", resource)
     unless { context.age.email_code <= duration(\"5m\") || context.age.phone_code <= duration(\"5m\") };";

/// `policies`, where these kinds are verified beside the built-in ones.
fn offering(policies: &str, more: &[FactorKind]) -> Policies {
    load(policies).with_factors(FactorKind::BUILT_IN.into_iter().chain(more.iter().copied()))
}

#[test]
fn b144_a_code_that_was_sent_is_asked_for_where_it_is_named_and_nowhere_else() {
    let alice = |proved: &str| session(&person("alice", &["staff"]), proved, "password email_code phone_code");
    let has = Strength::SECOND_FACTOR.and(Strength::POSSESSION);
    let weak = offering(CODES, &[FactorKind::EmailCode, FactorKind::PhoneCode(Strength::NONE)]);
    let strong = offering(CODES, &[FactorKind::EmailCode, FactorKind::PhoneCode(has)]);
    let just_now = alice("password 1h, email_code 1m, phone_code 1m");
    let missing = "passkey (not enrolled) | totp (not enrolled)";
    check(&weak, "ledger read", &just_now, &format!("fresh: {missing}, because second"));
    check(&weak, "ledger notes.add", &just_now, &format!("fresh: password | {missing}, because any"));
    check(&weak, "ledger write", &just_now, "permit, because staff");
    check(&weak, "ledger write", &alice("password 1m"), "fresh: phone_code | email_code, because address");
    // The configuration says that its gateway's codes count; an e-mail code never does.
    check(
        &strong,
        "ledger read",
        &alice("password 1m"),
        &format!("fresh: phone_code:second_factor+possession | {missing}, because second"),
    );
    let by_phone = alice("password 1h, phone_code:second_factor+possession 1m");
    check(&strong, "ledger read", &by_phone, "permit, because staff");
    check(&strong, "ledger notes.add", &by_phone, "permit, because staff");
}

#[test]
fn kinds_that_nobody_here_can_have_are_not_looked_for() {
    let alice = session(&person("alice", &["staff"]), "password 1h", "password email_code");
    let tried = |policies: &Policies| {
        let steps = explain(policies, &operation("ledger write"), Asker::SignedIn(&alice), &surroundings(), &[]).steps;
        (steps.len(), steps.iter().any(|step| step.tried.contains("email_code")))
    };
    assert_eq!(tried(&load(CODES)), (3, false), "enrolled once, and not verified any more");
    assert!(tried(&offering(CODES, &[FactorKind::EmailCode])).1);
    check(&load(CODES), "ledger write", &alice, "deny, because address");
}

#[test]
fn what_is_verified_here_is_part_of_the_version() {
    let version = |more: &[FactorKind]| offering(CODES, more).version().to_owned();
    let none = version(&[]);
    assert_eq!(none, load(CODES).version());
    let phone = |counts_as| version(&[FactorKind::PhoneCode(counts_as)]);
    assert!(none != version(&[FactorKind::EmailCode]) && none != phone(Strength::NONE));
    assert_ne!(phone(Strength::NONE), phone(Strength::POSSESSION));
}

/// What is different from the sign-in, and what an old token that was seen again does.
#[test]
fn what_changed_since_the_sign_in_is_decided_by() {
    let rule = |condition: &str| {
        load(&format!(
            "@id(\"all\") permit (principal, action, resource);
             @id(\"moved\") @reason(\"Moved.\") forbid (principal, action, resource)
             when {{ context.session.{condition} }} unless {{ context.age.passkey <= duration(\"15m\") }};"
        ))
    };
    let alice = session(&person("alice", &[]), "password 2h", "passkey password");
    let swiss = |address: &str| Surroundings {
        address: address.parse().unwrap(),
        ..at(Place { country: "CH".into(), ..Place::default() }, &[])
    };
    let at_home = SessionView { country: "CH".into(), ..alice.clone() };
    let check = |condition: &str, session: &SessionView, around: &Surroundings, asked: bool| {
        let verdict = decide(&rule(condition), operation("wiki read"), Asker::SignedIn(session), around, &[]);
        assert_eq!(matches!(verdict, Verdict::Challenge(_)), asked, "{condition}: {verdict:?}");
    };
    check("address_changed", &at_home, &swiss("192.0.2.1"), false);
    check("address_changed", &at_home, &swiss("192.0.2.2"), true);
    let v6 = SessionView { address: "2001:db8::1".parse().unwrap(), ..at_home.clone() };
    check("address_changed", &v6, &swiss("2001:db8::ffff:1"), false);
    check("address_changed", &v6, &swiss("2001:db8:0:1::1"), true);
    check("country_changed", &at_home, &swiss("192.0.2.2"), false);
    let unknown = SessionView { country: "ZZ".into(), ..alice.clone() };
    check("country_changed", &unknown, &swiss("192.0.2.2"), true);
    // A newer database says otherwise of the same address: nobody moved.
    check("country_changed", &unknown, &swiss("192.0.2.1"), false);
    check("agent_changed", &at_home, &swiss("192.0.2.2"), false);
    check("agent_changed", &SessionView { agent: "other".into(), ..at_home.clone() }, &swiss("192.0.2.1"), true);
    check("token_reuse", &at_home, &swiss("192.0.2.1"), false);
    check("token_reuse", &SessionView { token_reused: true, ..at_home }, &swiss("192.0.2.1"), true);
}

/// What has to be proved in this session is not proved before it, nor by who is in none; and it counts for
/// as long as the session lasts.
#[test]
fn b135_prove_it_in_this_session() {
    let policies = load(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"here\") @reason(\"Here.\") forbid (principal, action, resource)
         unless { context.age.second_factor <= context.session.age };",
    );
    // Signed in two hours ago.
    let ask = |proved: &str| {
        let alice = session(&person("alice", &[]), proved, "passkey totp password");
        decide(&policies, operation("wiki read"), Asker::SignedIn(&alice), &surroundings(), &[])
    };
    for (proved, suffices) in [("totp 2h", true), ("passkey 1h", true), ("totp 3h", false), ("password 1m", false)] {
        assert_eq!(matches!(ask(proved), Verdict::Permit(_)), suffices, "{proved}");
    }
    let Verdict::Challenge(challenged) = ask("password 2h") else { panic!("not asked") };
    assert_eq!(challenged.ask.summary(), "fresh: passkey | totp");
    // A login that is older than the session does not do; one of now does until it ends.
    assert_eq!(challenged.proved_within, Some(Duration::from_secs(2 * 3600)));
    assert_eq!(challenged.max_age, Some(crate::decide::MAX_AGE_MAX));
    let policies = load(
        "@id(\"anyone\") permit (principal is Anonymous, action, resource);
         @id(\"here\") @reason(\"Here.\") forbid (principal, action, resource)
         unless { context.age.second_factor <= context.session.age };",
    );
    let verdict = decide(&policies, operation("wiki pages.read"), Asker::Anonymous, &surroundings(), &[]);
    assert!(!matches!(verdict, Verdict::Permit(_)), "never is not as young as never: {verdict:?}");
}

/// A device that nobody remembers is new, however a rule asks.
#[test]
fn b136_a_device_that_is_not_remembered_is_new_by_every_measure() {
    let forgotten = Device { first_seen: None, ..crate::policy::fixture::known_device() };
    let again = Device { first_seen: Some(NOON), ..crate::policy::fixture::known_device() };
    for trusts in
        ["context.device.known", "context.device.age >= duration(\"7d\")", "context.device.unseen <= duration(\"90d\")"]
    {
        let policies = load(&format!("@id(\"all\") permit (principal, action, resource) when {{ {trusts} }};"));
        let permits = |device: &Device| {
            let alice = session(&person("alice", &[]), "password 1m", "");
            let alice = SessionView { device: device.clone(), ..alice };
            let verdict = decide(&policies, operation("wiki read"), Asker::SignedIn(&alice), &surroundings(), &[]);
            matches!(verdict, Verdict::Permit(_))
        };
        assert!(permits(&crate::policy::fixture::known_device()), "{trusts}");
        for device in [&forgotten, &again, &Device::default()] {
            assert!(!permits(device), "{trusts}: {device:?}");
        }
    }
}

const BOUND: &str = "@id(\"staff\") permit (principal in Group::\"staff\", action, resource);
     @id(\"bound\") @reason(\"Needs a passkey that is not synced.\")
     forbid (principal, action == Action::\"payments.approve\", resource)
     unless { context.confirmed.contains(\"passkey\") && !context.passkey.backed_up };
     @id(\"key\") @reason(\"Needs a security key of the company.\")
     forbid (principal, action == Action::\"reports.export\", resource)
     unless { context.age.passkey <= duration(\"5m\") && context.passkey.attested && !context.passkey.backup_eligible };
     @id(\"recalled\") @reason(\"This model was recalled.\")
     forbid (principal, action == Action::\"write\", resource)
     when { context.passkey.aaguid == \"2fc0579f-8113-47ea-b116-bb5a8db9202a\" };
     @id(\"any\") @reason(\"Needs a passkey.\") forbid (principal, action == Action::\"notes.add\", resource)
     unless { context.age.passkey <= duration(\"5m\") };";

#[test]
fn b155_a_passkey_that_cannot_satisfy_a_rule_is_not_asked_for_and_what_is_missing_is_said() {
    let policies = load(BOUND);
    let alice = |enrolled: &str| session(&person("alice", &["staff"]), "password 1m", enrolled);
    let (pay, export) = ("ledger payments.approve amount=1", "ledger reports.export");
    let synced = alice("password passkey:backed_up");
    check(&policies, pay, &synced, "confirm: passkey:backup_eligible (not enrolled), because bound");
    check(&policies, export, &synced, "fresh: passkey:device_bound/attested (not enrolled), because key");
    let both = alice("password passkey:backed_up passkey:device_bound");
    check(&policies, pay, &both, "confirm: passkey:device_bound, because bound");
    check(&policies, export, &both, "fresh: passkey:device_bound/attested (not enrolled), because key");
    let several = alice("password passkey:backup_eligible passkey:device_bound passkey:device_bound/attested");
    let all = "confirm: passkey:backup_eligible | passkey:device_bound | passkey:device_bound/attested, because bound";
    check(&policies, pay, &several, all);
    check(&policies, export, &several, "fresh: passkey:device_bound/attested, because key");
    // Where no rule tells passkeys apart, any is asked for, by its plain name.
    check(&policies, "ledger notes.add", &synced, "fresh: passkey, because any");
    check(&policies, "ledger notes.add", &several, "fresh: passkey, because any");
}

#[test]
fn b155_an_old_passkey_says_nothing_of_what_confirmed_instead_of_it() {
    let rule = "@id(\"staff\") permit (principal in Group::\"staff\", action, resource);
        @id(\"strong\") @reason(\"Needs something strong that is not synced.\")
        forbid (principal, action == Action::\"payments.approve\", resource)
        unless { context.confirmed.contains(\"second_factor\") && !context.passkey.backup_eligible };";
    let policies = load(rule);
    let enrolled = "password totp passkey:device_bound";
    let alice = session(&person("alice", &["staff"]), "passkey:device_bound 8h", enrolled);
    let pay = "ledger payments.approve amount=1";
    check(&policies, pay, &alice, "confirm: passkey:device_bound, because strong");
    let with = |kind: &str| {
        let confirmed = [(kind.parse().unwrap(), NOON)];
        decided(&policies, pay, Asker::SignedIn(&alice), &surroundings(), &confirmed)
    };
    assert_eq!(with("passkey:device_bound"), "permit, because staff");
    assert_eq!(with("totp"), "confirm: passkey:device_bound, because strong");
}

#[test]
fn b155_a_rule_is_about_the_passkey_of_the_confirmation_or_else_the_one_that_was_proved_last() {
    let policies = load(BOUND);
    let alice = |proved: &str| session(&person("alice", &["staff"]), proved, "password passkey:device_bound/attested");
    let (pay, export) = ("ledger payments.approve amount=1", "ledger reports.export");
    let key: FactorKind = "passkey:device_bound/attested".parse().unwrap();
    check(&policies, export, &alice("passkey:device_bound/attested 2m"), "permit, because staff");
    check(&policies, export, &alice("passkey:device_bound/attested 1m, passkey:backed_up 2m"), "permit, because staff");
    // The other way round nobody can say that the key was there a minute ago.
    let later = alice("passkey:device_bound/attested 2m, passkey:backed_up 1m");
    check(&policies, export, &later, "fresh: passkey:device_bound/attested, because key");
    for (confirmed, expected) in [
        (key, "permit, because staff"),
        ("passkey:backed_up".parse().unwrap(), "confirm: passkey:device_bound/attested, because bound"),
        // Nothing is known of it, so it may have been synced anywhere.
        (FactorKind::PASSKEY, "confirm: passkey:device_bound/attested, because bound"),
    ] {
        let confirmed = [(confirmed, NOON)];
        assert_eq!(decided(&policies, pay, Asker::SignedIn(&later), &surroundings(), &confirmed), expected);
    }
}

#[test]
fn a_rule_against_one_model_is_met_with_another_passkey() {
    let policies = load(BOUND);
    let recalled = "passkey:device_bound/2fc0579f-8113-47ea-b116-bb5a8db9202a";
    let alice = |enrolled: &str| session(&person("alice", &["staff"]), &format!("{recalled} 1m"), enrolled);
    check(
        &policies,
        "ledger write",
        &alice(&format!("password passkey:device_bound {recalled}")),
        "fresh: passkey:device_bound, because recalled",
    );
    check(
        &policies,
        "ledger write",
        &alice(&format!("password {recalled}")),
        "fresh: passkey (not enrolled), because recalled",
    );
}

#[test]
fn b159_a_passkey_of_a_model_that_is_recalled_counts_nowhere() {
    let policies = load(BOUND);
    let model = "2fc0579f-8113-47ea-b116-bb5a8db9202a";
    let key = format!("passkey:device_bound/attested/{model}");
    let alice = |enrolled: &str| session(&person("alice", &["staff"]), &format!("{key} 1m"), enrolled);
    let facts = |status: &str, is_refused: bool| {
        let facts = ModelFacts { name: "A key".into(), certified: 2, status: status.into(), is_refused };
        let models = Arc::new(Models::new([(model.parse().unwrap(), facts)].into()));
        Surroundings { models, ..surroundings() }
    };
    let said = |around: &Surroundings, asked: &str, enrolled: &str, confirmed: &[(FactorKind, Timestamp)]| {
        decided(&policies, asked, Asker::SignedIn(&alice(enrolled)), around, confirmed)
    };
    let (fine, recalled) = (facts("FIDO_CERTIFIED_L2", false), facts("REVOKED", true));
    let (notes, pay) = ("ledger notes.add", "ledger payments.approve amount=1");
    assert_eq!(said(&fine, notes, &key, &[]), "permit, because staff");
    // What it proved is worth nothing, it is not asked for, and another one is.
    assert_eq!(said(&recalled, notes, &key, &[]), "fresh: passkey (not enrolled), because any");
    let another = format!("{key} passkey:device_bound");
    assert_eq!(said(&recalled, notes, &another, &[]), "fresh: passkey, because any");
    assert_eq!(said(&recalled, pay, &another, &[]), "confirm: passkey:device_bound, because bound");
    let confirmed = [(key.parse().unwrap(), NOON)];
    assert_eq!(said(&fine, pay, &key, &confirmed), "permit, because staff");
    assert_eq!(said(&recalled, pay, &another, &confirmed), "confirm: passkey:device_bound, because bound");
}

#[test]
fn what_is_published_of_a_model_counts_for_passkeys_that_attest_it() {
    let policies = load(
        "@id(\"staff\") permit (principal in Group::\"staff\", action, resource);
         @id(\"level\") @reason(\"Needs a certified key.\") forbid (principal, action == Action::\"write\", resource)
         unless { context.passkey.certification >= 2 && context.passkey.status != \"UPDATE_AVAILABLE\" };",
    );
    let model = "2fc0579f-8113-47ea-b116-bb5a8db9202a";
    for (sort, certified, status, expected) in [
        ("device_bound/attested", 2, "FIDO_CERTIFIED_L2", "permit, because staff"),
        ("device_bound/attested", 1, "FIDO_CERTIFIED_L1", "deny, because level"),
        ("device_bound/attested", 3, "UPDATE_AVAILABLE", "deny, because level"),
        (
            "device_bound",
            2,
            "FIDO_CERTIFIED_L2",
            "fresh: passkey:device_bound/attested/2fc0579f-8113-47ea-b116-bb5a8db9202a (not enrolled), because level",
        ),
    ] {
        let facts = ModelFacts { name: "A key".into(), certified, status: status.into(), is_refused: false };
        let models = Arc::new(Models::new([(model.parse().unwrap(), facts)].into()));
        let around = Surroundings { models, ..surroundings() };
        let alice = session(&person("alice", &["staff"]), &format!("passkey:{sort}/{model} 1m"), "password");
        let said = decided(&policies, "ledger write", Asker::SignedIn(&alice), &around, &[]);
        assert_eq!(said, expected, "{sort} {certified} {status}");
    }
}
