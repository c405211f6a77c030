//! A challenge that is answered by a login at a provider.

use stepgate_evidence::Event;

use super::super::answer::{Answerer, Shown};
use super::super::ask::{kinds, reason};
use super::super::look::binding;
use super::super::{AnswerError, Answered, Flows};
use super::{FailedThere, LoginError, beside, login_time, of_login, proof};
use crate::challenge::{Challenge, ChallengeState};
use crate::factor::{FactorKind, FactorSecret, FactorUse, Identity, Proved, identity_digest};
use crate::id::{ChallengeId, FactorId};
use crate::ports::{ChangeError, ProvedThere, StoreError, Trier};
use crate::provider::{Asserted, NotAsserted, Provider};
use crate::secret::TokenDigest;
use crate::session::SessionView;
use crate::time::Timestamp;

impl Flows {
    /// The right answer to a challenge, if it is one.
    pub(super) async fn login_answers(
        &self,
        id: ChallengeId,
        (session, token): (&SessionView, TokenDigest),
        provider: &Provider,
        asserted: Asserted,
        left_at: Timestamp,
        trier: Trier,
    ) -> Result<Answered, LoginError> {
        let at = self.clock.now();
        let (challenge, _) = self.answerable(id, session).await.map_err(AnswerError::from)?;
        let ChallengeState::Pending { answered, .. } = challenge.state.clone() else {
            return Err(AnswerError::Changed.into());
        };
        let kind = FactorKind::Idp(asserted.strength);
        if !challenge.ask.next(&kinds(&answered)).iter().any(|asked| kind.does_for(*asked)) {
            let why = NotAsserted::LesserClass { acr: reason(&asserted.acr) };
            return Err(self.login_failed(id, session, of_login(provider, &asserted), why).await?);
        }
        let identity = self.identity_at(&challenge, provider).await?;
        let is_theirs = |one: &Identity| one.issuer == asserted.issuer && one.subject == asserted.subject;
        let Some((factor, _)) = identity.filter(|(_, one)| is_theirs(one)) else {
            let there = of_login(provider, &asserted);
            return Err(self.login_failed(id, session, there, NotAsserted::OtherPerson).await?);
        };
        let binding = binding(&challenge).map_err(AnswerError::from)?;
        let proved = Proved { factor, kind, used: FactorUse::Nothing, assertion: None };
        let login = Shown {
            at: login_time(&asserted, at),
            proof: proof(factor, binding, &asserted),
            beside: Some(beside(&asserted)),
            there: Some(ProvedThere {
                provider: provider.name.clone(),
                identity: identity_digest(&asserted.issuer, &asserted.subject),
                sid: asserted.sid.clone(),
                left_at,
            }),
        };
        let by = Answerer::Session { view: session, token };
        Ok(self.right(&challenge, by, answered, proved, login, at, trier).await?)
    }

    /// A provider that answers with less, with an old login or with another person fails
    /// the challenge; one that cannot be reached, or whose person turned back, does not.
    pub(super) async fn login_failed(
        &self,
        id: ChallengeId,
        session: &SessionView,
        there: FailedThere<'_>,
        why: NotAsserted,
    ) -> Result<LoginError, StoreError> {
        let error = |why| LoginError::NotAsserted { why, challenge: Some(id) };
        let provider = there.provider;
        tracing::warn!(%provider, reason = %why, challenge = %id, "a step-up at an identity provider failed");
        let Ok((challenge, _)) = self.answerable(id, session).await else { return Ok(error(why)) };
        let at = self.clock.now();
        let failed = Event::AttemptFailed {
            person: challenge.person.to_string(),
            factor: "idp".to_owned(),
            provider: Some(provider.to_string()),
            purpose: "challenge".to_owned(),
            challenge: id.to_string(),
            reason: why.code().to_owned(),
            factor_id: None,
        };
        let mut entries = vec![self.entry_of(at, failed, Some(there))];
        if matches!(
            why,
            NotAsserted::Away(_) | NotAsserted::Unusable(_) | NotAsserted::Unknown | NotAsserted::Refused { .. }
        ) {
            self.store.record(entries).await?;
            return Ok(error(why));
        }
        entries.push(self.entry(
            at,
            Event::ChallengeFailed {
                challenge: id.to_string(),
                session: challenge.asked_by.to_string(),
                person: challenge.person.to_string(),
                reason: why.code().to_owned(),
            },
        ));
        let state = ChallengeState::Failed { reason: why.code().to_owned() };
        match self.store.close_challenge(id, challenge.version, state, entries.clone()).await {
            Ok(()) => Ok(error(why)),
            Err(ChangeError::Store(failed)) => Err(failed),
            // It changed beside this: the try is recorded all the same.
            Err(_) => {
                entries.truncate(1);
                self.store.record(entries).await?;
                Ok(error(why))
            }
        }
    }

    /// Who the challenge's person is at a provider.
    pub(super) async fn identity_at(
        &self,
        challenge: &Challenge,
        provider: &Provider,
    ) -> Result<Option<(FactorId, Identity)>, StoreError> {
        let enrolled = self.store.factors(challenge.person).await?;
        Ok(enrolled.into_iter().find_map(|one| match one.secret {
            FactorSecret::Idp(identity) if provider.knows(&identity) => Some((one.id, identity)),
            _ => None,
        }))
    }
}
