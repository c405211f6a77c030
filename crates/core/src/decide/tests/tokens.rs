//! Askers with access tokens: the index holds for them too, and what is asked for suffices.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::properties::{around, operations, policies, sets};
use crate::access::{Accepted, Configuration, Forwarded, Nonces, Scheme, TokenRules, TokenView, VerifiedToken, Whose};
use crate::catalogue::Host;
use crate::challenge::GrantKind;
use crate::decide::search::{case, prepare};
use crate::decide::{Asker, NO_LOGIN, Verdict, decide, explain};
use crate::factor::{FactorKind, Strength};
use crate::id::AccessTokenId;
use crate::person::Agent;
use crate::policy::Proven;
use crate::policy::fixture::{NOON, load, operation, person, surroundings};
use crate::provider::{Level, Provider, ProviderName};
use crate::time::Timestamp;

pub(super) fn corp() -> Provider {
    let level = |acr: &str, strength| Level { acr: acr.to_owned(), strength };
    let strong = Strength::SECOND_FACTOR.and(Strength::PHISHING_RESISTANT).and(Strength::POSSESSION);
    Provider {
        name: ProviderName::parse("corp").unwrap(),
        title: String::new(),
        issuer: "https://id.example".to_owned(),
        levels: vec![level("phr", strong), level("pwd", Strength::KNOWLEDGE)],
        adds_people: false,
        governs_groups: false,
        renews_every: None,
    }
}

fn rules() -> TokenRules {
    TokenRules::new(Accepted {
        providers: vec![corp().name],
        audience: "https://api.example".to_owned(),
        schemes: vec![Scheme::Bearer],
        scopes: Vec::new(),
        owner_claim: None,
        agents: Vec::new(),
        nonces: Nonces::NotAsked,
        forwarded: Forwarded::Never,
        certificates: Vec::new(),
    })
}

/// Whose: a person's, an agent's for whom a person logs in, or an agent's own.
fn of_person() -> Whose {
    Whose::Person { subject: "00u1".to_owned() }
}

fn of_agent(subject: &str) -> Whose {
    Whose::Agent { subject: subject.to_owned(), owner: "00u1".to_owned(), groups: Vec::new() }
}

fn token(whose: Whose, strength: Strength, auth_time: Option<Timestamp>) -> Arc<VerifiedToken> {
    Arc::new(VerifiedToken {
        id: AccessTokenId::from_bytes([1; 16]),
        provider: corp().name,
        issuer: corp().issuer,
        whose,
        client: "robot".to_owned(),
        jti: None,
        scopes: Vec::new(),
        acr: String::new(),
        amr: Vec::new(),
        auth_time,
        strength,
        issued_at: None,
        expires_at: Timestamp::from_ms(i64::MAX),
        bound_to: None,
        verified_by: Configuration::of(&rules(), &[0; 32]),
        signed_by: None,
    })
}

/// A person's token or an agent's, with what it proves and how many minutes ago.
fn who() -> impl Strategy<Value = (TokenView, Option<u64>)> {
    let groups = select(vec![&[][..], &["red"][..], &["red", "blue"][..]]);
    let strengths = [Strength::NONE, corp().levels[0].strength, corp().levels[1].strength];
    let enrolled = select(vec![vec![], vec![FactorKind::PASSKEY], vec![FactorKind::PASSKEY, FactorKind::Totp]]);
    let age = proptest::option::of(select(vec![1, 4, 200]));
    let whose = select(vec![of_person(), of_agent("00u1"), of_agent("robot")]);
    (groups, whose, select(strengths.to_vec()), age, enrolled).prop_map(|(groups, whose, strength, age, enrolled)| {
        let acts = whose != of_person();
        let agent = acts.then(|| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            Arc::new(Agent { name: "corp/robot".into(), groups })
        });
        let view = TokenView {
            token: token(whose, strength, None),
            agent,
            person: person("alice", if acts { &[] } else { groups }),
            enrolled: enrolled.into(),
            risks: Arc::new([]),
            host: Host::parse("ledger.example").unwrap(),
        };
        (view, age)
    })
}

fn at(view: &TokenView, strength: Strength, age: Option<Duration>, now: Timestamp) -> TokenView {
    let ago = |age: Duration| Timestamp::from_ms(now.as_ms() - i64::try_from(age.as_millis()).unwrap());
    TokenView { token: token(view.token.whose.clone(), strength, age.map(ago)), ..view.clone() }
}

/// The same, as they come at noon.
pub(super) fn token_askers() -> impl Strategy<Value = TokenView> {
    let minutes = |age: Option<u64>| age.map(|age| Duration::from_secs(age * 60));
    who().prop_map(move |(view, age)| at(&view, view.token.strength, minutes(age), NOON))
}

fn robot(subject: &str) -> TokenView {
    TokenView {
        token: token(of_agent(subject), Strength::NONE, None),
        agent: Some(Arc::new(Agent { name: "corp/robot".into(), groups: Vec::new() })),
        person: person("alice", &[]),
        enrolled: [FactorKind::PASSKEY].into(),
        risks: Arc::new([]),
        host: Host::parse("ledger.example").unwrap(),
    }
}

/// What is said to a robot that reads reports, under a rule for them.
fn told(view: &TokenView, rule: &str) -> (String, Vec<String>) {
    let policies = load(&format!(
        "@id(\"all\")\npermit (principal, action, resource);\n\n@id(\"rule\")\n@reason(\"A rule.\")\n\
         forbid (principal, action == Action::\"reports.export\", resource) {rule};"
    ));
    let policies = policies.with_providers(&[corp()]);
    let asked = operation("ledger reports.export");
    let verdict = decide(&policies, asked.clone(), Asker::Token(view), &surroundings(), &[]);
    let explained = explain(&policies, &asked, Asker::Token(view), &surroundings(), &[]);
    assert_eq!(explained.verdict, verdict.summary(), "b55: what is explained is what is enforced");
    (verdict.summary(), explained.decided.into_iter().map(|policy| policy.id).collect())
}

#[test]
fn nobody_is_sent_for_a_login_that_nobody_can_make() {
    let fresh = "unless { context.age.second_factor <= duration(\"5m\") }";
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    // Somebody logs in for this one.
    let (verdict, because) = told(&robot("00u1"), fresh);
    assert!(verdict.starts_with("fresh: idp"), "{verdict}");
    assert_eq!(because, ids(&["rule"]));
    // For client credentials nobody does: who answers for the agent can confirm.
    let (verdict, because) = told(&robot("robot"), fresh);
    assert!(verdict.starts_with("confirm: passkey"), "{verdict}");
    assert_eq!(because, ids(&["rule"]));
    // And where a confirmation turns nothing, the denial says why.
    let alone = "unless { context.age.second_factor <= duration(\"5m\") && context.confirmed.isEmpty() }";
    assert_eq!(told(&robot("robot"), alone), ("deny".to_owned(), ids(&["rule", NO_LOGIN])));
    assert_eq!(told(&robot("robot"), ""), ("deny".to_owned(), ids(&["rule"])), "no login would have turned it");
}

proptest! {
    #![proptest_config(sets(12))]

    #[test]
    fn a_slice_decides_for_tokens_as_the_whole_set(policies in policies(), (view, age) in who(), around in around()) {
        let view = at(&view, view.token.strength, age.map(|minutes| Duration::from_secs(minutes * 60)), around.now);
        let asker = Asker::Token(&view);
        for operation in operations() {
            let (_, prepared) = prepare(&policies, &operation, asker).unwrap().unwrap();
            let case = case(&policies, &operation, asker, &around, &prepared);
            let now = Proven::now(asker, &[], &around);
            for proven in [now, now.confirmed_with(&FactorKind::BUILT_IN)] {
                prop_assert_eq!(case.ask(&proven), case.ask_whole(&policies, &proven), "{}", operation.endpoint.resource);
            }
        }
    }

    /// RFC 9470: the token that the challenge asks for goes through, as old as it may be; and what
    /// no better token turns is a confirmation, which goes through when it is given.
    #[test]
    fn the_token_that_is_asked_for_suffices(policies in policies(), (view, age) in who(), around in around()) {
        let policies = policies.with_providers(&[corp()]);
        let view = at(&view, view.token.strength, age.map(|minutes| Duration::from_secs(minutes * 60)), around.now);
        for operation in operations() {
            let Verdict::Challenge(challenged) = decide(&policies, operation.clone(), Asker::Token(&view), &around, &[]) else { continue };
            // Nobody is sent for a login that nobody can make.
            prop_assert!(view.token.comes_of_a_login() || challenged.ask.grant == GrantKind::Confirmation);
            for way in &challenged.ask.ways {
                let (better, confirmed) = match challenged.ask.grant {
                    GrantKind::Freshness => {
                        let [FactorKind::Idp(strength)] = way[..] else { panic!("no token proves {way:?}") };
                        (at(&view, strength, challenged.max_age, around.now), Vec::new())
                    }
                    GrantKind::Confirmation => (view.clone(), way.iter().map(|kind| (*kind, around.now)).collect()),
                };
                let then = decide(&policies, operation.clone(), Asker::Token(&better), &around, &confirmed);
                let restores = challenged.ask.grant == GrantKind::Freshness && better.token.auth_time < view.token.auth_time;
                prop_assert!(matches!(then, Verdict::Permit(_)) || restores, "{}: {}", operation.endpoint.resource, challenged.ask.summary());
            }
        }
    }
}
