//! Loading: what is refused, where, and what it says.

use super::fixture::{SAMPLE, catalogue, endpoint, load, operation, service, source};
use super::{Policies, PolicyEffect, PolicySource};
use crate::catalogue::{Catalogue, Effect, Host, InputKind};

/// The mistakes of a text, each as `line:column message`, as far as `expected` goes.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found: Vec<String> = match Policies::load(&catalogue(), &[source(text)]) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(|m| format!("{}:{} {}", m.line, m.column, m.message)).collect(),
    };
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(fits, "found\n  {}\nexpected\n  {}", found.join("\n  "), expected.join("\n  "));
}

const PERMIT: &str = "permit (principal, action, resource);";

#[test]
fn every_policy_has_a_name_and_every_forbid_a_reason() {
    check(&format!("@id(\"a\") {PERMIT}"), &[]);
    check(PERMIT, &["1:1 the policy has no @id: put @id(\"a-name\") before it"]);
    check(&format!("\n  {PERMIT}"), &["2:3 the policy has no @id"]);
    check(&format!("@id(\"a\") {PERMIT}\n@id(\"a\") {PERMIT}"), &["2:1 @id(\"a\") stands already at test.cedar:1"]);
    check(&format!("@id(\"\") {PERMIT}"), &["1:1 @id must be 1 to 100 letters"]);
    check(&format!("@id(\"a b\") {PERMIT}"), &["1:1 @id must be 1 to 100 letters"]);
    check(&format!("@id(\"no-permit\") {PERMIT}"), &["1:1 @id(\"no-permit\") is reserved"]);
    check("@id(\"a\") forbid (principal, action, resource);", &["1:1 a forbid needs a @reason"]);
    check("@id(\"a\") @reason(\" \") forbid (principal, action, resource);", &["1:1 @reason is empty"]);
    let long = "x".repeat(201);
    check(&format!("@id(\"a\") @reason(\"{long}\") {PERMIT}"), &["1:1 @reason is longer than 200 characters"]);
    check(&format!("@id(\"a\") @reason(\"a\\nb\") {PERMIT}"), &["1:1 @reason has control or invisible characters"]);
    check(&format!("@id(\"a\") @reason(\"a\u{202e}b\") {PERMIT}"), &["1:1 @reason has control or invisible"]);
}

#[test]
fn annotations_that_mean_nothing_here_are_refused() {
    check(&format!("@id(\"a\") @title(\"A\") @control(\"AC-3\") {PERMIT}"), &[]);
    check(&format!("@id(\"a\") @step_up(\"totp\") {PERMIT}"), &["1:1 @step_up is not known: only @id, @reason"]);
}

#[test]
fn templates_are_refused() {
    check(
        "@id(\"a\") permit (principal == ?principal, action, resource);",
        &["1:1 templates (?principal, ?resource) are not used"],
    );
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    check(
        "@id(\"a\") permit (principal, action, resource)\nwhen { context.age.fingerprint < duration(\"5m\") };\n\
         @id(\"b\") permit (principal, action == Action::\"payments.aprove\", resource);\n\
         permit (principal, action, resource);\n\
         @id(\"c\") permit (principal, action, resource in Service::\"ledgr\");",
        &[
            "2:8 for policy `a`, attribute `age.fingerprint` in context for Action::\"notes.add\" not found",
            "3:39 for policy `b`, unrecognized action `Action::\"payments.aprove\"`",
            "4:1 the policy has no @id",
            "5:1 there is no service \"ledgr\"; there are: ledger, wiki",
        ],
    );
    check("@id(\"a\") permit (principal, action, resource", &["1:45 unexpected end of input"]);
    check("@id(\"a\") permit (principal, action, resource) when { context.age.totp < 5 };", &["1:54"]);
}

#[test]
fn mistakes_stand_in_their_own_file() {
    let sources = [
        PolicySource { name: "b.cedar".into(), text: format!("@id(\"a\") {PERMIT}") },
        PolicySource { name: "a.cedar".into(), text: format!("\n@id(\"a\") {PERMIT}\n{PERMIT}") },
    ];
    let mistakes = Policies::load(&catalogue(), &sources).unwrap_err();
    let found: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "a.cedar:2:1: @id(\"a\") stands already at b.cedar:1: give each policy a name of its own",
            "a.cedar:3:1: the policy has no @id: put @id(\"a-name\") before it",
        ]
    );
    let text = &sources[1].text;
    assert_eq!(&text[mistakes[1].span.clone()], PERMIT);
}

#[test]
fn b81_what_could_be_missing_or_of_another_type_does_not_load() {
    // An attribute that does not exist, another type, an input that only one action has.
    for condition in [
        "context.age.passkey < 300",
        "context.input.amount > 5",
        "principal.manager == \"bob\"",
        "context.network.country == 5",
        "context.confirmed == \"passkey\"",
        "context.nothing",
    ] {
        let text = format!("@id(\"a\") permit (principal, action, resource) when {{ {condition} }};");
        assert!(Policies::load(&catalogue(), &[source(&text)]).is_err(), "{condition}");
    }
    // What is asked for by name is not in the store, and would err with each request.
    check(
        "@id(\"a\") permit (principal, action, resource) when { Person::\"bob\".email == \"b\" };",
        &["1:54 for policy `a`, entity literals cannot be dereferenced"],
    );
    check(
        "@id(\"a\") permit (principal, action, resource)
         when { context.input has amount && context.input.amount > 5 || context.device.known };",
        &[],
    );
}

#[test]
fn a_policy_that_can_never_hold_is_a_mistake() {
    check(
        "@id(\"a\") permit (principal is Group, action, resource);",
        &["1:1 for policy `a`, unable to find an applicable action"],
    );
    check(
        "@id(\"a\") @reason(\"r\") forbid (principal, action == Action::\"read\", resource) \
         when { context.input has amount };",
        &["1:1 for policy `a`, policy is impossible"],
    );
    check(
        "@id(\"a\") permit (principal, action, resource == Endpoint::\"ledger GET /nothing\");",
        &["1:1 there is no endpoint \"ledger GET /nothing\""],
    );
}

#[test]
fn no_duration_is_as_long_as_never() {
    let text = |length: &str| {
        format!(
            "@id(\"a\") permit (principal, action, resource) when {{ context.age.totp <= duration(\"{length}\") }};"
        )
    };
    check(&text("36525d"), &[]);
    check(&text("-5m"), &[]);
    for length in ["36525d1ms", "9223372036854775807ms"] {
        check(&text(length), &[&format!("1:1 duration(\"{length}\") is longer than 36525d")]);
    }
}

#[test]
fn the_context_is_used_by_its_parts() {
    for condition in ["context has age", "{c: context}.c.approvals == 0", "context == context"] {
        let text = format!("@id(\"a\") permit (principal, action, resource) when {{ {condition} }};");
        check(&text, &["1:1 context can be used by its parts only"]);
    }
}

#[test]
fn odd_but_not_wrong_is_advice() {
    let policies = load("@id(\"a\") permit (principal in Group::\"аdmin\", action, resource);");
    assert_eq!(policies.advice().len(), 1);
    assert!(policies.advice()[0].message.contains("mixed scripts"), "{}", policies.advice()[0].message);
}

#[test]
fn actions_mean_one_thing() {
    let catalogue = |endpoints| {
        Catalogue::new("https://g.test".into(), Host::parse("g.test").unwrap(), vec![service("s", endpoints)]).unwrap()
    };
    let mistakes = |endpoints| match Policies::schema_of(&catalogue(endpoints)) {
        Ok(_) => String::new(),
        Err(mistakes) => mistakes.iter().map(|mistake| mistake.message.as_str()).collect::<Vec<_>>().join("\n"),
    };
    let amount = [("amount", InputKind::Long)];
    let text = [("amount", InputKind::String)];
    assert_eq!(mistakes(vec![endpoint("s", "POST /a", "a", Effect::Write, &amount)]), "");
    assert!(
        mistakes(vec![
            endpoint("s", "POST /a", "a", Effect::Write, &amount),
            endpoint("s", "POST /b", "a", Effect::Write, &text),
        ])
        .starts_with("the action \"a\" is declared by \"s POST /a\" and by \"s POST /b\" with different inputs")
    );
    assert!(mistakes(vec![endpoint("s", "POST /a", "read", Effect::Write, &[])]).contains("is the group"));
    assert!(mistakes(vec![endpoint("s", "POST /a", "write", Effect::Write, &amount)]).contains("is the group"));
}

#[test]
fn the_version_changes_with_rules_and_services_and_with_nothing_else() {
    let version =
        |catalogue: &Catalogue, text: &str| Policies::load(catalogue, &[source(text)]).unwrap().version().to_owned();
    let same = version(&catalogue(), SAMPLE);
    assert_eq!(same.len(), 64);
    assert_eq!(same, version(&catalogue(), SAMPLE));
    assert_ne!(same, version(&catalogue(), &format!("{SAMPLE}\n// a comment")));
    let other = Catalogue::new(
        "https://g.test".into(),
        Host::parse("g.test").unwrap(),
        vec![service(
            "ledger",
            vec![
                endpoint("ledger", "POST /p", "payments.approve", Effect::Write, &[("amount", InputKind::Long)]),
                endpoint("ledger", "GET /r", "reports.export", Effect::Read, &[]),
            ],
        )],
    );
    assert_ne!(same, version(&other.unwrap(), SAMPLE));
}

#[test]
fn the_schema_has_each_action_with_its_inputs_and_nothing_optional() {
    let policies = load(SAMPLE);
    let schema = policies.schema_text();
    for line in [
        "action \"read\" appliesTo {",
        "action \"payments.approve\" in [\"write\"] appliesTo {",
        "    input: { \"id\": __cedar::String, \"amount\": __cedar::Long },",
        "action \"reports.export\" in [\"read\"] appliesTo {",
        "    input: { \"text\": __cedar::String, \"flag\": __cedar::Bool, \"price\": __cedar::decimal },",
    ] {
        assert!(schema.lines().any(|found| found == line), "{line}\nis not in\n{schema}");
    }
    assert!(!schema.contains("?:"), "nothing is optional");
}

#[test]
fn policies_are_known_by_name() {
    let policies = load(SAMPLE);
    let about = policies.about("large-payment").unwrap();
    assert_eq!((about.effect, about.line), (PolicyEffect::Forbid, 6));
    assert_eq!(about.reason, "Payments over 10,000 need your passkey, for this payment alone.");
    assert_eq!(policies.all().len(), 4);
    assert_eq!(
        policies.concerning(&operation("ledger payments.approve")),
        ["finance", "large-payment", "unfamiliar-place"]
    );
    assert_eq!(policies.concerning(&operation("wiki read")), Vec::<&str>::new());
    assert_eq!(policies.concerning(&operation("wiki reports.export")), ["exports-need-a-fresh-second-factor"]);
}

/// The fixture with the gate's own service: the sign-in, one's account, and the evidence.
fn with_the_gate() -> Catalogue {
    let mut services: Vec<_> = catalogue().services.into_values().collect();
    services.push(service(
        "stepgate",
        vec![
            endpoint("stepgate", "GET /hand-off", "sign_in", Effect::Read, &[("service", InputKind::String)]),
            endpoint("stepgate", "GET /account", "account.view", Effect::Read, &[]),
            endpoint("stepgate", "POST /evidence/export", "evidence.export", Effect::Write, &[]),
        ],
    ));
    Catalogue::new("https://gate.test".into(), Host::parse("gate.test").unwrap(), services).unwrap()
}

#[test]
fn b137_what_is_said_of_the_sign_in_concerns_everything_at_the_gate() {
    let load = |text: &str| Policies::load(&with_the_gate(), &[source(text)]);
    let forbid = |scope: &str, when: &str| {
        format!("@id(\"f\") @reason(\"No.\") forbid (principal, action {scope}, resource) when {{ {when} }};")
    };
    let concerned = |text: &str| -> Vec<String> {
        let policies = load(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let gate = with_the_gate();
        let services = gate.services.values();
        let endpoints = services.flat_map(|service| {
            service.endpoints.iter().chain([&service.read, &service.write]).map(move |endpoint| (service, endpoint))
        });
        let asked = |(service, endpoint): (
            &std::sync::Arc<crate::catalogue::Service>,
            &std::sync::Arc<crate::catalogue::Endpoint>,
        )| {
            let wiki = operation("wiki read");
            crate::operation::Operation { service: service.clone(), endpoint: endpoint.clone(), ..wiki }
        };
        let concerns = |asked: &crate::operation::Operation| policies.concerning(asked).contains(&"f");
        endpoints.map(asked).filter(concerns).map(|asked| asked.endpoint.action.to_string()).collect()
    };
    assert_eq!(
        concerned(&forbid("in Action::\"sign_in\"", "true")),
        ["sign_in", "account.view", "evidence.export"],
        "and nothing at services"
    );
    assert_eq!(concerned(&forbid("== Action::\"sign_in\"", "context.input.service == \"wiki\"")), ["sign_in"]);
    // What only the sign-in has, the others have not: it would err there.
    assert!(load(&forbid("in Action::\"sign_in\"", "context.input.service == \"wiki\"")).is_err());
    let advice = load(&forbid("== Action::\"sign_in\"", "true")).unwrap();
    assert!(advice.advice().iter().any(|one| one.message.contains("with `in`")), "{:?}", advice.advice());
    let opened = load("@id(\"p\") permit (principal, action in Action::\"sign_in\", resource);").unwrap_err();
    assert!(opened[0].message.contains("the evidence among them"), "{opened:?}");
}
