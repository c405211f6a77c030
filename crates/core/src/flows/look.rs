//! Looking at a challenge, before it is answered.

use super::Flows;
use super::answer::of_kinds;
use super::ask::kinds;
use super::logins::classes;
use crate::challenge::{Challenge, ChallengeState};
use crate::factor::{Binding, EnrolledFactor, FactorKind, FactorSecret, Prompt};
use crate::id::ChallengeId;
use crate::ports::StoreError;
use crate::provider::{Provider, ProviderName};
use crate::session::SessionView;
use crate::time::Timestamp;

/// Whose challenge it is, seen from a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This session asked.
    Asked,
    /// Another session of the same person asked: the number it shows must be typed.
    OtherSession,
}

/// A challenge as its page shows it.
#[derive(Debug)]
pub struct ChallengeView {
    /// The challenge.
    pub challenge: Challenge,
    /// Whose it is.
    pub standing: Standing,
    /// What may be answered next, with what the page needs to ask.
    pub prompts: Vec<(FactorKind, Prompt)>,
    /// The identity providers where it can be answered next, by name, with their titles.
    pub logins: Vec<(ProviderName, String)>,
    /// Wrong answers that are left.
    pub tries_left: u32,
    /// Until when it is open on the person's devices, and the number to type there; if it is.
    pub on_devices: Option<(Timestamp, String)>,
}

/// Why there is no page for this challenge.
#[derive(Debug, thiserror::Error)]
pub enum NotAnswerable {
    /// Unknown, or another person's: one answer for both.
    #[error("there is no such challenge for you")]
    NotYours,
    /// It is over; the challenge says how.
    #[error("the challenge is {}", .0.state.name())]
    Over(Box<Challenge>),
    /// The statement could not be made.
    #[error("the challenge is damaged")]
    Damaged,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Flows {
    /// A challenge for its page.
    pub async fn challenge(&self, id: ChallengeId, session: &SessionView) -> Result<ChallengeView, NotAnswerable> {
        let (challenge, standing) = self.answerable(id, session).await?;
        let ChallengeState::Pending { answered, wrong } = &challenge.state else {
            return Err(NotAnswerable::Over(Box::new(challenge)));
        };
        let binding = binding(&challenge)?;
        let enrolled = self.store.factors(challenge.person).await?;
        let next = challenge.ask.next(&kinds(answered));
        let live = self.live.load_full();
        let is_known_at = |provider: &Provider| {
            let at = |one: &EnrolledFactor| matches!(&one.secret, FactorSecret::Idp(who) if provider.knows(who));
            enrolled.iter().any(at)
        };
        let logins = live
            .providers
            .all()
            .iter()
            .filter(|provider| is_known_at(provider) && !classes(provider, &next).0.is_empty())
            .map(|provider| (provider.name.clone(), provider.title.clone()))
            .collect();
        let prompts: Vec<(FactorKind, Prompt)> = by_factor(&next)
            .into_iter()
            .filter_map(|(kind, asked)| Some((kind, self.factor(kind)?.prompt(&of_kinds(&enrolled, &asked), binding))))
            .collect();
        let tries_left = live.challenges.wrong_answers.saturating_sub(*wrong);
        let may_approve = prompts.iter().any(|(kind, _)| matches!(kind, FactorKind::Push(_)));
        let on_devices = if may_approve { self.shown_on_devices(&challenge).await? } else { None };
        Ok(ChallengeView { standing, prompts, logins, tries_left, on_devices, challenge })
    }

    /// The challenge, if this person may answer it. One whose time is over is closed on the way.
    pub(super) async fn answerable(
        &self,
        id: ChallengeId,
        session: &SessionView,
    ) -> Result<(Challenge, Standing), NotAnswerable> {
        let challenge = self.store.challenge(id).await?.ok_or(NotAnswerable::NotYours)?;
        if challenge.person != session.person.id {
            return Err(NotAnswerable::NotYours);
        }
        let standing = if challenge.asked_by == session.id { Standing::Asked } else { Standing::OtherSession };
        match &challenge.state {
            ChallengeState::Pending { .. } if self.clock.now() >= challenge.expires_at => {
                self.expire(&challenge).await?;
                let expired = Challenge { state: ChallengeState::Expired, ..challenge };
                Err(NotAnswerable::Over(Box::new(expired)))
            }
            ChallengeState::Pending { .. } => Ok((challenge, standing)),
            _ => Err(NotAnswerable::Over(Box::new(challenge))),
        }
    }

    /// The origin of the service that was asked.
    pub fn origin_of(&self, challenge: &Challenge) -> String {
        let live = self.live.load();
        let service = challenge.host.as_ref().and_then(|host| live.catalogue.by_host(host));
        service.map_or_else(|| live.catalogue.gate_origin.clone(), |service| service.origin.clone())
    }
}

/// Kinds of one factor together, under the first of them: a person is asked for a passkey once, whatever sorts do.
fn by_factor(kinds: &[FactorKind]) -> Vec<(FactorKind, Vec<FactorKind>)> {
    let mut by_factor: Vec<(FactorKind, Vec<FactorKind>)> = Vec::new();
    for kind in kinds {
        match by_factor.iter_mut().find(|(first, _)| first.is_same_factor(*kind)) {
            Some((_, same)) => same.push(*kind),
            None => by_factor.push((*kind, vec![*kind])),
        }
    }
    by_factor
}

pub(super) fn binding(challenge: &Challenge) -> Result<Binding, NotAnswerable> {
    challenge.statement.digest().map(Binding).map_err(|_| NotAnswerable::Damaged)
}
