//! Small ledgers with numbers that were counted by hand, and what holds for every one.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use stepgate_evidence::{Details, Event, FactorProof, Salt};

use super::*;
use crate::decide::tests::properties::{operations, policies, sets};
use crate::decide::{Asker, RECORDED, Verdict, decide};
use crate::flows::asked;
use crate::operation::Operation;
use crate::policy::fixture::{NOON, SAMPLE, catalogue, environment, load, operation, person, session, surroundings};
use crate::prompts::tests::statement;
use crate::prompts::{Count, Delta};
use crate::session::{Proof, SessionView};
use crate::surroundings::Surroundings;

/// A gate that decides by some policies and writes what a gate writes.
struct Gate<'p> {
    policies: &'p Policies,
    session: SessionView,
    entries: Vec<Entry>,
}

/// Whether a prompt is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Proves,
    LeavesIt,
}

impl<'p> Gate<'p> {
    fn new(policies: &'p Policies) -> Self {
        let session = session(&person("ada", &["finance", "red"]), "password 1h", "password totp passkey");
        Self { policies, session, entries: Vec::new() }
    }

    fn write(&mut self, at: Timestamp, event: Event, body: Option<serde_json::Value>) {
        let details = body.map(|body| Details { salt: Salt([0; 16]), body });
        let id = format!("e{}", self.entries.len());
        self.entries.push(Entry { id, at_ms: at.as_ms(), event, details });
    }

    /// The person asks for this so many minutes after noon.
    fn asks(&mut self, minute: u64, operation: &Operation, then: Then) {
        let at = NOON.plus(Duration::from_secs(60 * minute));
        let around = Surroundings { now: at, ..surroundings() };
        let ada = self.session.person.id.to_string();
        let view = self.session.clone();
        match decide(self.policies, operation.clone(), Asker::SignedIn(&view), &around, &[]) {
            Verdict::Permit(_) | Verdict::SignIn(_) => {}
            Verdict::Deny(denied) => {
                let refused = |count, window_s| Event::OperationRefused {
                    person: ada.clone(),
                    agent: None,
                    asked: asked(operation),
                    policies: denied.policies.iter().map(|policy| policy.id.clone()).collect(),
                    policy: String::new(),
                    count,
                    window_s,
                };
                let recorded = denied.recorded.as_ref().unwrap().to_json();
                self.write(at, refused(1, 0), Some(json!({ RECORDED: recorded })));
                // And four more in the same minute.
                self.write(at, refused(4, 60), None);
            }
            Verdict::Challenge(challenged) => {
                let id = format!("c{}", self.entries.len());
                let opened = Event::ChallengeOpened {
                    challenge: id.clone(),
                    session: view.id.to_string(),
                    person: ada.clone(),
                    agent: None,
                    asked: asked(operation),
                    policies: challenged.policies.iter().map(|policy| policy.id.clone()).collect(),
                    policy: String::new(),
                    offered: challenged.ask.summary(),
                    statement: String::new(),
                    held: false,
                    succeeds: String::new(),
                };
                let mut body = json!({ RECORDED: challenged.recorded.as_ref().unwrap().to_json() });
                if let Some(max_age) = challenged.max_age {
                    body["statement"] = serde_json::to_value(statement(max_age.as_secs())).unwrap();
                }
                self.write(at, opened, Some(body));
                self.then(&id, at, &challenged, then);
            }
        }
    }

    fn then(&mut self, id: &str, at: Timestamp, challenged: &crate::decide::Challenged, then: Then) {
        let (challenge, session) = (id.to_owned(), self.session.id.to_string());
        let person = self.session.person.id.to_string();
        let Some(way) = challenged.ask.ways.first().filter(|_| then == Then::Proves) else {
            self.write(at, Event::ChallengeExpired { challenge, session, person }, None);
            return;
        };
        let at = at.plus(Duration::from_secs(10));
        let passed = Event::ChallengePassed {
            challenge,
            session,
            person,
            asked: asked(&challenged.operation),
            grants: challenged.ask.grant.name().to_owned(),
            proof: FactorProof {
                factor: way.last().unwrap().name().to_owned(),
                factor_id: String::new(),
                assertion: None,
                user_verified: None,
                login: None,
                bound_to: String::new(),
            },
        };
        self.write(at, passed, None);
        if challenged.ask.grant == GrantKind::Freshness {
            for kind in way {
                let proof = Proof { kind: *kind, at, generation: 1 };
                self.session.assurance = self.session.assurance.with(proof);
            }
        }
    }

    fn replayed(&self, other: &Policies) -> Replayed {
        let (catalogue, environment) = (catalogue(), environment());
        let mut replay = Replay::new(other, &catalogue, &environment);
        self.entries.iter().for_each(|entry| replay.add(entry));
        replay.finish(&[], &["exports-need-a-fresh-second-factor", "never"])
    }
}

fn export() -> Operation {
    operation("ledger reports.export")
}

/// The sample with another limit for exports.
fn exports_within(limit: &str) -> Policies {
    load(&SAMPLE.replace("duration(\"5m\")", &format!("duration(\"{limit}\")")))
}

const EXPORTS: &str = "exports-need-a-fresh-second-factor";

#[test]
fn who_would_be_asked_how_often_was_counted_by_hand() {
    let live = load(SAMPLE);
    let mut gate = Gate::new(&live);
    // Asked at 0, 10 and 20; fresh for five minutes each, so 3 and 12 pass unasked.
    for minute in [0, 3, 10, 12, 20] {
        gate.asks(minute, &export(), Then::Proves);
    }
    gate.asks(40, &export(), Then::LeavesIt);
    let replayed = gate.replayed(&exports_within("15m"));
    // 0 asks; 10 rests on it; 20 asks again, since what was proved at 10 would not have been asked; 40 asks.
    assert_eq!(replayed.live.total, Count { asked: 4, unused: 1, repeated: 0, denied: 0 });
    assert_eq!(replayed.other.total, Count { asked: 3, unused: 1, repeated: 0, denied: 0 });
    assert_eq!(replayed.differences.total, Delta { no_longer_asked: 1, ..Delta::default() });
    let rules = replayed.differences.rules();
    assert_eq!(rules, [(EXPORTS, Delta { no_longer_asked: 1, ..Delta::default() })]);
    let ada = person("ada", &[]).id.to_string();
    assert_eq!(replayed.differences.people(), [(ada.as_str(), Delta { no_longer_asked: 1, ..Delta::default() })]);
    assert_eq!((replayed.decided, replayed.undecided.len()), (4, 0));
    assert_eq!(replayed.other.silent, ["never"]);
}

#[test]
fn what_would_be_asked_otherwise_or_refused_was_counted_by_hand() {
    let live = load(SAMPLE);
    let mut gate = Gate::new(&live);
    gate.asks(0, &export(), Then::Proves);
    gate.asks(1, &operation("wiki read"), Then::Proves);
    // Nothing permits the wiki: five refusals. Now exports are closed, and the wiki asks for a passkey.
    let other = load(
        "@id(\"all\") permit (principal is Person, action, resource);\n\
         @id(\"closed\") @reason(\"No.\") forbid (principal, action == Action::\"reports.export\", resource);\n\
         @id(\"wiki\") @reason(\"Passkey.\") forbid (principal, action, resource in Service::\"wiki\")\n\
         unless { context.age.passkey <= duration(\"5m\") };",
    );
    let replayed = gate.replayed(&other);
    assert_eq!(replayed.live.total, Count { asked: 1, unused: 0, repeated: 0, denied: 5 });
    let expected =
        Delta { newly_refused: 1, no_longer_asked: 1, newly_asked: 5, no_longer_refused: 5, asked_otherwise: 0 };
    assert_eq!(replayed.differences.total, expected);
    assert_eq!((replayed.other.total.asked, replayed.other.total.denied, replayed.decided), (5, 1, 6));
    assert_eq!(replayed.differences.answers[&(Answer::Refuse, Answer::Ask)], 5);
}

#[test]
fn what_was_erased_is_counted_and_taken_as_it_was() {
    let live = load(SAMPLE);
    let mut gate = Gate::new(&live);
    gate.asks(0, &export(), Then::Proves);
    gate.asks(20, &operation("wiki read"), Then::Proves);
    gate.entries.iter_mut().for_each(|entry| entry.details = None);
    let replayed = gate.replayed(&load("@id(\"all\") permit (principal, action, resource);"));
    assert_eq!(replayed.undecided, BTreeMap::from([(CannotDecide::NotKept, 6)]));
    assert!(replayed.differences.is_empty() && replayed.decided == 0);
    assert_eq!(replayed.other.total, replayed.live.total);
}

#[test]
fn a_sensitive_operation_that_the_others_let_through_unasked_stands_beside_its_peers() {
    let live = load(
        "@id(\"all\") permit (principal is Person, action, resource);\n\
         @id(\"writes\") @reason(\"Passkey.\") forbid (principal, action in Action::\"write\", resource)\n\
         unless { context.confirmed.contains(\"passkey\") };",
    );
    let mut gate = Gate::new(&live);
    gate.asks(0, &operation("ledger payments.approve amount=1"), Then::Proves);
    gate.asks(1, &operation("ledger notes.add"), Then::Proves);
    assert_eq!(gate.replayed(&live).other.weaker, []);
    let other = load(
        "@id(\"all\") permit (principal is Person, action, resource);\n\
         @id(\"writes\") @reason(\"Passkey.\") forbid (principal, action == Action::\"notes.add\", resource)\n\
         unless { context.confirmed.contains(\"passkey\") };",
    );
    let weaker = gate.replayed(&other).other.weaker;
    let found: Vec<_> = weaker.iter().map(|one| (one.operation.as_str(), one.unasked, one.peers.as_slice())).collect();
    let peers = ["ledger POST /notes".to_owned()];
    assert_eq!(found, [("ledger POST /payments/{id}/approve", 1, &peers[..])]);
}

proptest! {
    #![proptest_config(sets(32))]

    /// Decided again by the policies that decided it, nothing in a ledger is otherwise.
    #[test]
    fn the_live_policies_differ_nowhere_from_themselves(
        policies in policies(),
        asked in proptest::collection::vec((0..8_usize, 0..9_u64, any::<bool>()), 1..12),
    ) {
        let mut gate = Gate::new(&policies);
        let operations: Vec<Operation> = operations().collect();
        let mut minute = 0;
        for (which, later, proves) in asked {
            minute += later;
            gate.asks(minute, &operations[which], if proves { Then::Proves } else { Then::LeavesIt });
        }
        let replayed = gate.replayed(&policies);
        prop_assert!(replayed.differences.is_empty(), "{:?}", replayed.differences);
        prop_assert!(replayed.undecided.is_empty());
        prop_assert_eq!(replayed.live.total, replayed.other.total);
        prop_assert_eq!(replayed.live.rules, replayed.other.rules);
        prop_assert_eq!(replayed.live.open, replayed.other.open);
    }
}
