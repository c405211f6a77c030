//! The story that the ledger tells, entry by entry.

use stepgate_evidence::{Entry, Event, FactorProof, Outcome};

use super::{Audit, Challenge, Sent, Violation, violated};

impl Audit {
    /// The next thing that happened.
    pub(super) fn event(&mut self, entry: Entry) -> Result<(), Violation> {
        let at_ms = entry.at_ms;
        match entry.event {
            Event::ChallengeOpened { challenge, session, succeeds, .. } => self.opened(challenge, session, &succeeds),
            Event::ChallengePassed { challenge, session, person, grants, proof, .. } => {
                if grants == "freshness" {
                    self.fresh.entry(person).or_default().push(at_ms);
                }
                self.passed(&challenge, &session, &grants, &proof)
            }
            Event::ChallengeFailed { challenge, .. } => self.over(&challenge, "failed"),
            Event::ChallengeExpired { challenge, .. } => self.over(&challenge, "expired"),
            Event::ChallengeCancelled { challenge, .. } => self.over(&challenge, "cancelled"),
            Event::OperationSent { challenge, session, request, body_sha256, .. } => {
                self.is_live(&session)?;
                self.sent(challenge, request, &body_sha256)
            }
            Event::OperationFinished { challenge, request, outcome } => self.finished(&challenge, &request, outcome),
            Event::SessionStarted { person, .. } => {
                self.fresh.entry(person).or_default().push(at_ms);
                Ok(())
            }
            Event::SessionEnded { session, .. } => {
                self.counts.ended += 1;
                match self.ended.insert(session.clone()) {
                    true => Ok(()),
                    false => violated(format!("session {session} ended twice")),
                }
            }
            Event::FactorEnrolled { authority, .. } => self.enrolled(authority),
            Event::PolicyLoaded { .. } => {
                self.counts.policies += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn opened(&mut self, challenge: String, session: String, succeeds: &str) -> Result<(), Violation> {
        self.counts.opened += 1;
        self.is_live(&session)?;
        if !succeeds.is_empty() {
            self.counts.succeeded += 1;
            let old = self.challenge(succeeds)?;
            if let Some(before) = old.succeeded_by.replace(challenge.clone()) {
                return violated(format!("{succeeds} is carried on by {before} and by {challenge}"));
            }
        }
        let new = Challenge {
            session,
            path: String::new(),
            body_sha256: String::new(),
            passed: false,
            over: None,
            succeeded_by: None,
            sent: None,
        };
        self.last = Some(challenge.clone());
        match self.challenges.insert(challenge.clone(), new) {
            None => Ok(()),
            Some(_) => violated(format!("challenge {challenge} was opened twice")),
        }
    }

    fn passed(&mut self, id: &str, by: &str, grants: &str, proof: &FactorProof) -> Result<(), Violation> {
        self.counts.passed += 1;
        self.is_live(by)?;
        match proof.factor.as_str() {
            "passkey" if self.signed.contains(id) => {}
            "totp" | "recovery_code" => self.accepted(id, &proof.factor)?,
            _ => return violated(format!("challenge {id} was passed, and nobody touched a key for it")),
        }
        let known = self.challenge(id)?;
        // One that waited for a new sign-in goes to the session of that sign-in.
        if grants == "sign_in" {
            by.clone_into(&mut known.session);
        }
        if let Some(how) = known.over {
            return violated(format!("challenge {id} was {how} and then passed"));
        }
        match std::mem::replace(&mut known.passed, true) {
            false => Ok(()),
            true => violated(format!("challenge {id} was passed twice")),
        }
    }

    /// A code counts once.
    fn accepted(&mut self, id: &str, factor: &str) -> Result<(), Violation> {
        match factor {
            "totp" => self.counts.totp += 1,
            _ => self.counts.recovery += 1,
        }
        let code = self.typed.get(id).ok_or_else(|| format!("challenge {id} was passed, and nobody typed a code"))?;
        match self.accepted.insert(code.clone(), id.to_owned()) {
            None => Ok(()),
            Some(before) => violated(format!("{code} was accepted for {before} and for {id}")),
        }
    }

    fn over(&mut self, id: &str, how: &'static str) -> Result<(), Violation> {
        let known = self.challenge(id)?;
        if known.sent.is_some() {
            return violated(format!("challenge {id} was spent and then {how}"));
        }
        match known.over.replace(how) {
            None => Ok(()),
            Some(before) => violated(format!("challenge {id} was {before} and then {how}")),
        }
    }

    fn sent(&mut self, id: String, request: String, body_sha256: &str) -> Result<(), Violation> {
        self.counts.sent += 1;
        let round = self.round;
        let known = self.challenge(&id)?;
        if !known.passed || known.over.is_some() {
            return violated(format!("{request} was sent for {id}, which is {known:?}"));
        }
        if known.body_sha256 != body_sha256 {
            return violated(format!("{request} was sent with another body than {id} confirms"));
        }
        if let Some(before) = known.sent.replace(Sent { round, request: request.clone(), finished: None }) {
            return violated(format!("{id} was spent twice: on {} and on {request}", before.request));
        }
        match self.requests.insert(request.clone(), id) {
            None => Ok(()),
            Some(_) => violated(format!("{request} was sent twice")),
        }
    }

    fn finished(&mut self, id: &str, request: &str, outcome: Outcome) -> Result<(), Violation> {
        let round = self.round;
        let known = self.challenge(id)?;
        let sent = known.sent.as_mut().filter(|sent| sent.request == request);
        let sent = sent.ok_or_else(|| format!("{request} has an outcome and was not sent"))?;
        let is_unknown = outcome == Outcome::Unknown;
        if sent.round != round && !is_unknown {
            return violated(format!("{request} was sent in round {}, and round {round} says {outcome:?}", sent.round));
        }
        if sent.finished.replace(outcome).is_some() {
            return violated(format!("{request} has two outcomes"));
        }
        self.counts.unknown += usize::from(is_unknown);
        Ok(())
    }

    /// A confirmation enrols one factor at most.
    fn enrolled(&mut self, authority: String) -> Result<(), Violation> {
        let Some(id) = authority.strip_prefix("challenge:").map(str::to_owned) else { return Ok(()) };
        self.counts.enrolled += 1;
        if self.challenge(&id)?.sent.is_none() {
            return violated(format!("something was enrolled with {id}, which was not spent"));
        }
        match self.enrolled.insert(id) {
            true => Ok(()),
            false => violated(format!("something was enrolled twice with {authority}")),
        }
    }

    /// Nothing is asked, passed or spent on a session that has ended before its time.
    fn is_live(&self, session: &str) -> Result<(), Violation> {
        match self.ended.contains(session) {
            false => Ok(()),
            true => violated(format!("session {session} had ended")),
        }
    }

    pub(super) fn challenge(&mut self, id: &str) -> Result<&mut Challenge, Violation> {
        self.challenges.get_mut(id).ok_or_else(|| Violation(format!("challenge {id} was not opened")))
    }
}
