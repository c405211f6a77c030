//! The rules that the gate keeps, held against what it wrote, entry by entry.

use std::collections::HashMap;

use stepgate_ledger::verify as ledger;

use super::keys::{Keys, Signature};
use super::logins::{Login, Logins};
use super::read::{Confirmed, Content, ReadEntry};
use super::report::{Counts, Findings, NotChecked, Problem, Report, plain};
use crate::assertion::AssertionError;
use crate::entry::{Asked, Entry, Event, FactorProof};
use crate::login::ProviderKeys;

mod challenge;
mod key;

use challenge::{Challenge, Stage};
pub(super) use key::Key;

/// What the entries so far amount to.
#[derive(Default)]
pub(super) struct Story {
    findings: Findings,
    counts: Counts,
    keys: Keys,
    logins: Logins,
    /// Whose session it is.
    sessions: HashMap<Key, Key>,
    /// What passkeys and providers signed to sign in, and the sessions that began so.
    sign_ins: HashMap<Key, Key>,
    /// Enrolment links that were used, and for whom.
    links: HashMap<Key, Key>,
    challenges: HashMap<Key, Challenge>,
    /// The origin that the first entry named.
    origin: Option<String>,
    /// Keys that follow one another, as entries say.
    announcements: Vec<ledger::Announcement>,
}

/// The entry at hand: where it stands, when it was written, what lies beside it about a login.
#[derive(Clone, Copy)]
struct At<'a> {
    index: u64,
    ms: i64,
    login: &'a Login,
}

/// What an entry says of a challenge: which, in which session, of whom.
#[derive(Clone, Copy)]
struct Of<'a> {
    challenge: &'a str,
    session: &'a str,
    person: &'a str,
}

/// Whether somebody else than the gate signed what the proof is bound to.
fn signs(proof: &FactorProof, login: &Login) -> bool {
    proof.assertion.is_some() || matches!(login, Login::Verified(_))
}

impl Story {
    /// The beginning of a story, for somebody who has these keys of providers.
    pub(super) fn knowing(providers: ProviderKeys) -> Self {
        Self { logins: Logins::knowing(providers), ..Self::default() }
    }

    /// Holds one entry against all before it. Gives the signatures that it needs checked.
    pub(super) fn judge(&mut self, read: ReadEntry) -> Vec<Signature> {
        let ReadEntry { index, entry, content, statement, sign_in_kept, login, problems } = read;
        self.counts.entries += 1;
        problems.into_iter().for_each(|problem| self.findings.add(index, problem));
        match content {
            Content::Kept => self.counts.details += 1,
            Content::Erased => self.findings.not_checked(NotChecked::ContentErased),
            Content::Absent => self.findings.not_checked(NotChecked::ContentAbsent),
            Content::None | Content::Wrong => {}
        }
        let Some(Entry { at_ms, event, .. }) = entry else { return Vec::new() };
        if sign_in_kept {
            self.counts.statements += 1;
        } else if matches!(&event, Event::SessionStarted { proof, .. } if signs(proof, &login)) {
            self.findings.not_checked(NotChecked::SignInStatement);
        }
        let at = At { index, ms: at_ms, login: &login };
        self.judge_opening(index, &event);
        let mut signatures = Vec::new();
        if let Err(problem) = self.judge_event(at, &event, statement, &mut signatures) {
            self.findings.add(index, problem);
        }
        signatures
    }

    pub(super) fn take_signatures(&mut self, checked: Vec<(u64, Result<(), AssertionError>)>) {
        for (index, result) in checked {
            match result {
                Ok(()) => self.counts.signatures += 1,
                Err(error) => self.findings.add(index, Problem::Assertion { reason: plain(&error.to_string()) }),
            }
        }
    }

    /// Which of the entries so far announce another key of the log.
    pub(super) fn announcements(&mut self) -> Vec<ledger::Announcement> {
        std::mem::take(&mut self.announcements)
    }

    pub(super) fn into_report(mut self, ledger: ledger::Report) -> Report {
        for challenge in self.challenges.values() {
            if matches!(challenge.stage, Stage::Sent { .. }) {
                self.findings.not_checked(NotChecked::Outcome);
            }
        }
        if let Some(named) = self.origin.filter(|named| ledger.origin.as_ref().is_some_and(|log| log != named)) {
            self.findings.add(0, Problem::OtherLog { named: plain(&named) });
        }
        self.findings.into_report(ledger, self.counts, self.logins.into_keys())
    }

    fn judge_opening(&mut self, index: u64, event: &Event) {
        let opens = match event {
            Event::LogOpened { origin, .. } => {
                self.origin.get_or_insert_with(|| origin.clone());
                true
            }
            _ => false,
        };
        if opens != (index == 0) {
            self.findings.add(index, Problem::LogOpening);
        }
    }

    fn judge_event(
        &mut self,
        at: At<'_>,
        event: &Event,
        statement: Option<Confirmed>,
        signatures: &mut Vec<Signature>,
    ) -> Result<(), Problem> {
        match event {
            Event::NodeStarted { relying_party, origins, .. } => self.keys.add_party(relying_party, origins),
            Event::LinkUsed { link, person } => self.use_link(link, person)?,
            Event::FactorEnrolled { person, factor, factor_id, authority, key } => {
                self.judge_authority(person, authority)?;
                if factor == "idp" {
                    self.enrol_identity(at, person, factor_id)?;
                }
                if let Some(key) = key {
                    self.keys.enrol(person, factor_id, key)?;
                    self.findings.not_checked(NotChecked::Attestation);
                }
            }
            Event::FactorRemoved { person, factor_id, authority, .. } => {
                self.keys.remove(factor_id);
                self.logins.remove(factor_id);
                self.judge_authority(person, authority)?;
            }
            Event::CheckpointKeyAnnounced { key, former, .. } => {
                let (former, next) = (former.clone(), key.clone());
                self.announcements.push(ledger::Announcement { index: at.index, former, next });
            }
            // Who somebody is at their provider outlasts being out of service.
            Event::PersonDeactivated { person, .. } => self.keys.remove_all_of(person),
            Event::PersonRemoved { person, .. } => {
                self.keys.remove_all_of(person);
                self.logins.remove_all_of(person);
            }
            Event::SessionStarted { session, person, proof } => {
                if self.sessions.insert(Key::of(session), Key::of(person)).is_some() {
                    return Err(Problem::Again { what: "session" });
                }
                self.judge_sign_in(at, session, person, proof, signatures)?;
            }
            Event::ChallengeOpened { challenge, session, person, asked, statement: digest, succeeds, .. } => {
                let of = Of { challenge, session, person };
                self.open(of, asked, digest, statement)?;
                if !succeeds.is_empty() && !self.challenges.contains_key(&Key::of(succeeds)) {
                    return Err(Problem::UnknownChallenge);
                }
            }
            Event::ChallengeAnswered { challenge, session, person, proof } => {
                let of = Of { challenge, session, person };
                self.answer(at, of, proof, signatures)?;
            }
            Event::ChallengePassed { challenge, session, person, asked, grants, proof } => {
                let of = Of { challenge, session, person };
                if grants == "sign_in" {
                    self.pass_by_sign_in(at, of, asked, proof, signatures)?;
                } else {
                    self.answer(at, of, proof, signatures)?;
                    self.pass(at, of, asked, grants)?;
                }
            }
            Event::ChallengeFailed { challenge, person, .. }
            | Event::ChallengeExpired { challenge, person, .. }
            | Event::ChallengeCancelled { challenge, person, .. } => {
                let open = self.challenge(challenge, person)?;
                let was = std::mem::replace(&mut open.stage, Stage::Closed);
                if !matches!(was, Stage::Pending | Stage::Passed { .. }) {
                    return Err(Problem::ChallengeWas { state: was.name() });
                }
            }
            Event::OperationSent { challenge, session, person, request, asked, statement, body_sha256, .. } => {
                let of = Of { challenge, session, person };
                self.send(at, of, request, asked, statement, body_sha256)?;
            }
            Event::OperationFinished { challenge, request, .. } => {
                let open = self.challenges.get_mut(&Key::of(challenge)).ok_or(Problem::UnknownChallenge)?;
                match open.stage {
                    Stage::Sent { request: sent } if sent == Key::of(request) => open.stage = Stage::Closed,
                    _ => return Err(Problem::NeverSent),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn use_link(&mut self, link: &str, person: &str) -> Result<(), Problem> {
        match self.links.insert(Key::of(link), Key::of(person)) {
            None => Ok(()),
            Some(_) => Err(Problem::Again { what: "use of the link" }),
        }
    }

    /// Whether a link, a challenge or a session of this person allowed a change of factors.
    fn judge_authority(&mut self, person: &str, authority: &str) -> Result<(), Problem> {
        let person = Key::of(person);
        let allowed = match authority.split_once(':') {
            Some(("link", link)) => self.links.get(&Key::of(link)) == Some(&person),
            Some(("challenge", challenge)) => self
                .challenges
                .get(&Key::of(challenge))
                .is_some_and(|challenge| challenge.person == person && challenge.was_passed),
            Some(("session", session)) => self.sessions.get(&Key::of(session)) == Some(&person),
            _ => {
                self.findings.not_checked(NotChecked::Authority);
                true
            }
        };
        if allowed { Ok(()) } else { Err(Problem::NoAuthority { authority: plain(authority) }) }
    }

    fn judge_sign_in(
        &mut self,
        at: At<'_>,
        session: &str,
        person: &str,
        proof: &FactorProof,
        signatures: &mut Vec<Signature>,
    ) -> Result<(), Problem> {
        let signed = proof.assertion.is_some() || proof.login.is_some();
        if signed && self.sign_ins.insert(Key::of(&proof.bound_to), Key::of(session)).is_some() {
            return Err(Problem::ProofUsedTwice);
        }
        self.judge_proof(at, person, proof, signatures)
    }

    /// A proof by itself: its parts belong together, and its signature is to be checked.
    fn judge_proof(
        &mut self,
        at: At<'_>,
        person: &str,
        proof: &FactorProof,
        signatures: &mut Vec<Signature>,
    ) -> Result<(), Problem> {
        let FactorProof { factor, factor_id, assertion, user_verified, login, bound_to } = proof;
        let mut bound = [0; 32];
        if hex::decode_to_slice(bound_to, &mut bound).is_err() || hex::encode(bound) != *bound_to {
            return Err(Problem::BoundElsewhere);
        }
        // A device signs what is approved there if it has a passkey for that.
        let signs = match factor.as_str() {
            "passkey" => Some(true),
            "push" => None,
            _ => Some(false),
        };
        let complete = signs.is_none_or(|signs| signs == assertion.is_some())
            && assertion.is_some() == (*user_verified == Some(true))
            && (factor == "idp") == login.is_some();
        if !complete {
            return Err(Problem::ProofIncomplete);
        }
        match assertion {
            None if login.is_some() => self.judge_login(at, person, proof)?,
            None => self.findings.not_checked(NotChecked::Factor(plain(factor))),
            Some(_) if !self.keys.knows_party() => self.findings.not_checked(NotChecked::NoRelyingParty),
            Some(assertion) => {
                signatures.push(self.keys.signature(at.index, person, factor_id, bound, assertion)?);
            }
        }
        Ok(())
    }

    /// Who somebody is at a provider, from here on.
    fn enrol_identity(&mut self, at: At<'_>, person: &str, factor: &str) -> Result<(), Problem> {
        let identity = match at.login {
            Login::EnrolledFor(identity) => Some(*identity),
            Login::NotHere => {
                self.findings.add(at.index, Problem::NoIdentity);
                None
            }
            _ => {
                self.findings.not_checked(NotChecked::EnrolledIdentity);
                None
            }
        };
        self.logins.enrol(person, factor, identity)
    }

    /// A company login: of the person who was enrolled for it. What is wrong with its token is a
    /// finding as a wrong signature is: what rests on the proof is judged all the same.
    fn judge_login(&mut self, at: At<'_>, person: &str, proof: &FactorProof) -> Result<(), Problem> {
        self.logins.is_of(person, &proof.factor_id)?;
        if let Err(problem) = self.judge_token(at, proof) {
            self.findings.add(at.index, problem);
        }
        Ok(())
    }

    fn judge_token(&mut self, at: At<'_>, proof: &FactorProof) -> Result<(), Problem> {
        let verified = match at.login {
            Login::Verified(verified) => verified,
            Login::Wrong(error) => return Err(Problem::Login { reason: plain(&error.to_string()) }),
            Login::NotHere | Login::EnrolledFor(_) => return Err(Problem::NoIdToken),
            // What is there is not what the entry commits to: that is a finding by itself.
            Login::NotTheirs => return Ok(()),
            Login::Erased => {
                self.findings.not_checked(NotChecked::LoginErased);
                return Ok(());
            }
            Login::Absent => {
                self.findings.not_checked(NotChecked::LoginAbsent);
                return Ok(());
            }
        };
        self.logins.is_same(&proof.factor_id, verified.identity)?;
        let said = proof.login.as_ref().ok_or(Problem::ProofIncomplete)?;
        if !self.logins.signed_by(&said.issuer, verified)? {
            self.findings.not_checked(NotChecked::ProviderKeys);
        }
        if !said.counts_as.is_empty() {
            self.findings.not_checked(NotChecked::LoginWorth);
        }
        self.counts.logins += 1;
        Ok(())
    }

    fn is_session_of(&self, session: &str, person: &str) -> Result<(), Problem> {
        let is = self.sessions.get(&Key::of(session)) == Some(&Key::of(person));
        if is { Ok(()) } else { Err(Problem::OtherSession) }
    }

    fn challenge(&mut self, challenge: &str, person: &str) -> Result<&mut Challenge, Problem> {
        let found = self.challenges.get_mut(&Key::of(challenge)).ok_or(Problem::UnknownChallenge)?;
        if found.person == Key::of(person) { Ok(found) } else { Err(Problem::OtherPerson) }
    }
}
