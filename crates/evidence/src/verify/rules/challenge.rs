//! A challenge from its opening to its end.

use super::{Asked, At, Confirmed, FactorProof, Key, NotChecked, Of, Problem, Signature, Story, signs};
use crate::TOKEN_PREFIX;

/// A challenge that was opened.
pub(super) struct Challenge {
    pub(super) person: Key,
    pub(super) stage: Stage,
    pub(super) was_passed: bool,
    session: Key,
    asked: Key,
    /// The digest of its statement, as a proof names it.
    bound_to: Key,
    /// What the statement says, if it is there.
    confirmed: Option<Box<Confirmed>>,
}

#[derive(Clone, Copy)]
pub(super) enum Stage {
    Pending,
    Passed { at_ms: i64 },
    Sent { request: Key },
    Closed,
}

impl Stage {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "not passed",
            Self::Passed { .. } => "passed already",
            Self::Sent { .. } => "spent already",
            Self::Closed => "closed already",
        }
    }
}

fn asked_key(asked: &Asked) -> Key {
    let Asked { service, action, resource, resource_kind, sensitivity } = asked;
    Key::of(&format!("{service}\0{action}\0{resource}\0{resource_kind}\0{sensitivity}"))
}

impl Story {
    pub(super) fn open(
        &mut self,
        of: Of<'_>,
        asked: &Asked,
        digest: &str,
        confirmed: Option<Confirmed>,
    ) -> Result<(), Problem> {
        if confirmed.is_some() {
            self.counts.statements += 1;
        }
        let opened = Challenge {
            person: Key::of(of.person),
            stage: Stage::Pending,
            was_passed: false,
            session: Key::of(of.session),
            asked: asked_key(asked),
            bound_to: Key::of(digest),
            confirmed: confirmed.map(Box::new),
        };
        if self.challenges.contains_key(&Key::of(of.challenge)) {
            return Err(Problem::Again { what: "challenge" });
        }
        self.challenges.insert(Key::of(of.challenge), opened);
        // Who asks with an access token has no session; who answers has.
        if of.session.starts_with(TOKEN_PREFIX) { Ok(()) } else { self.is_session_of(of.session, of.person) }
    }

    /// One proof for a challenge: by the same person, in time, bound to what was asked.
    pub(super) fn answer(
        &mut self,
        at: At<'_>,
        of: Of<'_>,
        proof: &FactorProof,
        signatures: &mut Vec<Signature>,
    ) -> Result<(), Problem> {
        let open = self.challenge(of.challenge, of.person)?;
        if !matches!(open.stage, Stage::Pending) {
            return Err(Problem::ChallengeWas { state: open.stage.name() });
        }
        let bound = open.bound_to == Key::of(&proof.bound_to);
        let late = open.confirmed.as_ref().is_some_and(|confirmed| at.ms > confirmed.expires_at_ms);
        let content_known = open.confirmed.is_some();
        // A device has no session: the one that asked stands there, and was looked at when it was opened.
        let by_device = proof.factor == "push" && open.session == Key::of(of.session);
        if !bound {
            return Err(Problem::BoundElsewhere);
        }
        self.judge_proof(at, of.person, proof, signatures)?;
        if signs(proof, at.login) && !content_known {
            self.findings.not_checked(NotChecked::SignedContentUnknown);
        }
        if !by_device {
            self.is_session_of(of.session, of.person)?;
        }
        if late { Err(Problem::TooLate) } else { Ok(()) }
    }

    pub(super) fn pass(&mut self, at: At<'_>, of: Of<'_>, asked: &Asked, grants: &str) -> Result<(), Problem> {
        let open = self.challenge(of.challenge, of.person)?;
        open.stage = Stage::Passed { at_ms: at.ms };
        open.was_passed = true;
        let same = open.asked == asked_key(asked);
        let granted = open.confirmed.as_ref().is_none_or(|confirmed| {
            let stated = if confirmed.lifetime_ms.is_some() { "confirmation" } else { "freshness" };
            stated == grants
        });
        self.counts.passed += 1;
        if !same {
            return Err(Problem::SentSomethingElse { field: "what was asked" });
        }
        if granted { Ok(()) } else { Err(Problem::OtherGrant) }
    }

    /// A waiting request of a lapsed session goes on with the session that the same person began:
    /// the proof is that of the sign-in.
    pub(super) fn pass_by_sign_in(
        &mut self,
        at: At<'_>,
        of: Of<'_>,
        asked: &Asked,
        proof: &FactorProof,
        signatures: &mut Vec<Signature>,
    ) -> Result<(), Problem> {
        let session = Key::of(of.session);
        let open = self.challenge(of.challenge, of.person)?;
        if !matches!(open.stage, Stage::Pending) {
            return Err(Problem::ChallengeWas { state: open.stage.name() });
        }
        open.stage = Stage::Passed { at_ms: at.ms };
        open.was_passed = true;
        open.session = session;
        let same = open.asked == asked_key(asked);
        self.counts.passed += 1;
        self.is_session_of(of.session, of.person)?;
        if proof.assertion.is_none() && proof.login.is_none() {
            self.judge_proof(at, of.person, proof, signatures)?;
        } else if self.sign_ins.get(&Key::of(&proof.bound_to)) != Some(&session) {
            return Err(Problem::BoundElsewhere);
        }
        if same { Ok(()) } else { Err(Problem::SentSomethingElse { field: "what was asked" }) }
    }

    /// A request goes out: after its challenge was passed, once, in time, as it was confirmed.
    pub(super) fn send(
        &mut self,
        at: At<'_>,
        of: Of<'_>,
        request: &str,
        asked: &Asked,
        statement: &str,
        body_sha256: &str,
    ) -> Result<(), Problem> {
        self.counts.sent += 1;
        let open = self.challenge(of.challenge, of.person)?;
        let Stage::Passed { at_ms } = open.stage else {
            return Err(Problem::ChallengeWas { state: open.stage.name() });
        };
        open.stage = Stage::Sent { request: Key::of(request) };
        if open.session != Key::of(of.session) {
            return Err(Problem::OtherSession);
        }
        let confirmed = open.confirmed.as_deref();
        let body = confirmed.is_none_or(|confirmed| hex::encode(confirmed.body_sha256) == body_sha256);
        for (field, same) in [
            ("the statement", open.bound_to == Key::of(statement)),
            ("what was asked", open.asked == asked_key(asked)),
            ("the body", body),
        ] {
            if !same {
                return Err(Problem::SentSomethingElse { field });
            }
        }
        let lifetime = confirmed.and_then(|confirmed| confirmed.lifetime_ms);
        if lifetime.is_some_and(|lifetime| at.ms > at_ms.saturating_add(lifetime)) {
            return Err(Problem::TooLate);
        }
        Ok(())
    }
}
