//! What the audit must not let pass: stories that break each rule, one by one.

use stepgate_core::time::Timestamp;
use stepgate_evidence::{Asked, Entry, Event, FactorProof, Outcome};
use stepgate_ledger::{CheckpointSigner, CheckpointVerifier};

use super::{Audit, Known};
use crate::upstream::{Arrival, REPORTS};

/// Somebody who tells a story; each part of it is an entry.
struct Story(Audit);

const HERE: &str = "session 1";
const AT_MS: i64 = 1_000_000;

impl Story {
    fn begin() -> Self {
        let signer = CheckpointSigner::from_seed("gate.example.com", [7; 32]).unwrap();
        Self(Audit::new(CheckpointVerifier::parse(&signer.verifier_key()).unwrap()))
    }

    fn tell(&mut self, event: Event) -> Result<(), String> {
        let entry = Entry { id: String::new(), at_ms: AT_MS, event, details: None };
        self.0.event(entry).map_err(|violation| violation.to_string())
    }

    fn opened(&mut self, challenge: &str, succeeds: &str) -> Result<(), String> {
        self.tell(Event::ChallengeOpened {
            challenge: challenge.into(),
            session: HERE.into(),
            person: "ada".into(),
            agent: None,
            asked: asked(),
            policies: Vec::new(),
            policy: String::new(),
            offered: String::new(),
            statement: String::new(),
            held: false,
            succeeds: succeeds.into(),
        })
    }

    fn passed(&mut self, challenge: &str, factor: &str, grants: &str) -> Result<(), String> {
        self.tell(Event::ChallengePassed {
            challenge: challenge.into(),
            session: HERE.into(),
            person: "ada".into(),
            asked: asked(),
            grants: grants.into(),
            proof: proof(factor),
        })
    }

    fn sent(&mut self, challenge: &str, request: &str) -> Result<(), String> {
        self.tell(Event::OperationSent {
            challenge: challenge.into(),
            session: HERE.into(),
            person: "ada".into(),
            request: request.into(),
            asked: asked(),
            policies: Vec::new(),
            policy: String::new(),
            statement: String::new(),
            body_sha256: String::new(),
        })
    }

    fn cancelled(&mut self, challenge: &str) -> Result<(), String> {
        let (session, person, reason) = (HERE.into(), "ada".into(), "cancelled".into());
        self.tell(Event::ChallengeCancelled { challenge: challenge.into(), session, person, reason })
    }

    fn ended(&mut self) -> Result<(), String> {
        let (person, reason, by) = ("ada".into(), "sign_out".into(), HERE.into());
        self.tell(Event::SessionEnded { session: HERE.into(), person, reason, by })
    }

    fn enrolled(&mut self, challenge: &str) -> Result<(), String> {
        self.tell(Event::FactorEnrolled {
            person: "ada".into(),
            factor: "recovery_code".into(),
            factor_id: String::new(),
            authority: format!("challenge:{challenge}"),
            key: None,
        })
    }

    fn report(&mut self, later_ms: i64) -> Result<(), String> {
        let arrival = Arrival {
            round: 0,
            at: Timestamp::from_ms(AT_MS + later_ms),
            person: Some("ada".into()),
            path: format!("{REPORTS}1"),
            request: None,
            body: None,
        };
        self.0.arrivals(vec![arrival]).map_err(|violation| violation.to_string())
    }

    fn signed(&mut self, challenge: &str) {
        self.0.proved(&[Known::Signed(challenge.into())]);
    }

    fn typed(&mut self, challenge: &str, code: &str) {
        self.0.proved(&[Known::Typed { challenge: challenge.into(), code: code.into() }]);
    }

    /// Asked and passed with the key.
    fn confirmed(&mut self, challenge: &str) {
        self.opened(challenge, "").unwrap();
        self.signed(challenge);
        self.passed(challenge, "passkey", "confirmation").unwrap();
    }
}

fn asked() -> Asked {
    Asked {
        service: String::new(),
        action: String::new(),
        resource: String::new(),
        resource_kind: String::new(),
        sensitivity: String::new(),
    }
}

fn proof(factor: &str) -> FactorProof {
    let (factor, factor_id, bound_to) = (factor.into(), String::new(), String::new());
    FactorProof { factor, factor_id, assertion: None, user_verified: None, login: None, bound_to }
}

/// The last part of a story breaks a rule; nothing before it did.
fn check(expected: &str, story: impl FnOnce(&mut Story) -> Result<(), String>) {
    let told = story(&mut Story::begin()).expect_err(expected);
    assert!(told.contains(expected), "'{told}' does not say '{expected}'");
}

#[test]
fn a_code_counts_once() {
    for factor in ["totp", "recovery_code"] {
        check("was accepted for a and for b", |story| {
            for (challenge, code) in [("a", "code 1"), ("b", "code 1")] {
                story.opened(challenge, "").unwrap();
                story.typed(challenge, code);
            }
            story.passed("a", factor, "confirmation").unwrap();
            story.passed("b", factor, "confirmation")
        });
        check("nobody typed a code", |story| {
            story.opened("a", "").unwrap();
            story.passed("a", factor, "confirmation")
        });
    }
    check("nobody touched a key", |story| {
        story.opened("a", "").unwrap();
        story.passed("a", "passkey", "confirmation")
    });
}

#[test]
fn nothing_happens_on_a_session_that_has_ended() {
    check("had ended", |story| {
        story.ended().unwrap();
        story.opened("a", "")
    });
    check("had ended", |story| {
        story.opened("a", "").unwrap();
        story.signed("a");
        story.ended().unwrap();
        story.passed("a", "passkey", "confirmation")
    });
    check("had ended", |story| {
        story.confirmed("a");
        story.ended().unwrap();
        story.sent("a", "request 1")
    });
    check("ended twice", |story| {
        story.ended().unwrap();
        story.ended()
    });
}

#[test]
fn a_challenge_is_spent_once_and_only_while_it_is_passed() {
    check("was spent twice", |story| {
        story.confirmed("a");
        story.sent("a", "request 1").unwrap();
        story.sent("a", "request 2")
    });
    check("was sent for a", |story| {
        story.opened("a", "").unwrap();
        story.sent("a", "request 1")
    });
    check("was sent for a", |story| {
        story.confirmed("a");
        story.cancelled("a").unwrap();
        story.sent("a", "request 1")
    });
    check("was cancelled and then passed", |story| {
        story.opened("a", "").unwrap();
        story.signed("a");
        story.cancelled("a").unwrap();
        story.passed("a", "passkey", "confirmation")
    });
    check("was spent and then cancelled", |story| {
        story.confirmed("a");
        story.sent("a", "request 1").unwrap();
        story.cancelled("a")
    });
    check("is carried on by b and by c", |story| {
        story.confirmed("a");
        story.opened("b", "a").unwrap();
        story.opened("c", "a")
    });
}

#[test]
fn what_a_dead_node_sent_has_an_unknown_outcome() {
    let finished = |outcome| Event::OperationFinished { challenge: "a".into(), request: "request 1".into(), outcome };
    check("was sent in round 1, and round 2 says", |story| {
        story.0.begin_round(1);
        story.confirmed("a");
        story.sent("a", "request 1").unwrap();
        story.0.begin_round(2);
        story.tell(finished(Outcome::Answered { status: 200 }))
    });
    check("has two outcomes", |story| {
        story.confirmed("a");
        story.sent("a", "request 1").unwrap();
        story.tell(finished(Outcome::Unknown)).unwrap();
        story.tell(finished(Outcome::Unknown))
    });
}

#[test]
fn a_confirmation_enrols_one_factor() {
    check("was not spent", |story| {
        story.confirmed("a");
        story.enrolled("a")
    });
    check("was enrolled twice", |story| {
        story.confirmed("a");
        story.sent("a", "request 1").unwrap();
        story.enrolled("a").unwrap();
        story.enrolled("a")
    });
}

#[test]
fn a_report_needs_a_proof_of_the_last_minute_and_a_confirmation_is_none() {
    check("without a fresh proof", |story| story.report(0));
    check("without a fresh proof", |story| {
        story.confirmed("a");
        story.report(0)
    });
    check("without a fresh proof", |story| {
        story.opened("a", "").unwrap();
        story.signed("a");
        story.passed("a", "passkey", "freshness").unwrap();
        story.report(59_000).unwrap();
        story.report(90_000)
    });
}
