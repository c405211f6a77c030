//! Refusals are counted in windows, so that a flood cannot fill the ledger: each
//! kind of refusal has a first entry at once, the rest are one entry a window.

use std::collections::HashMap;

use parking_lot::Mutex;
use stepgate_evidence::{AgentName, Asked, Event};

use super::logins::FailedThere;
use super::{Flows, IDLE_SIGNALS_TOLD_MAX, asked};
use crate::challenge::Challenge;
use crate::decide::{Asker, Denied, RECORDED};
use crate::factor::FactorKind;
use crate::id::{PersonId, SessionId};
use crate::ports::StoreError;
use crate::provider::ProviderName;
use crate::session::SessionView;

/// Length of a window, seconds.
const WINDOW_S: u32 = 60;
/// Kinds of refusals that are told apart in one window; what comes after is counted together.
const KINDS_MAX: usize = 10_000;

/// Counts of the running window. Lost if the process is killed: only counts, the
/// first of each kind is durable.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: Mutex<HashMap<Refusal, Count>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Those that have entries of their own.
    told: u32,
    /// The others.
    more: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Refusal {
    Denied {
        person: String,
        /// What an agent is refused is no refusal of who answers for it.
        agent: Option<AgentName>,
        service: String,
        action: String,
        resource: String,
        kind: String,
        sensitivity: String,
        policies: Vec<String>,
    },
    BeforeDecision {
        code: String,
    },
    /// A session wanted to ask a person's devices, and could not.
    Push {
        session: SessionId,
        reason: &'static str,
    },
    /// A try to sign in that nothing was verified for: the name or the passkey is
    /// nobody's, or the factor is locked.
    Unverified {
        person: String,
        factor: &'static str,
        provider: Option<ProviderName>,
        reason: &'static str,
    },
    /// A security event that was taken and did nothing.
    IdleSignal {
        transmitter: String,
        effect: &'static str,
    },
    Overflow,
}

impl Refusals {
    /// Counts; `true` for the first of its kind in this window.
    fn count(&self, refusal: Refusal) -> bool {
        self.count_beyond(1, refusal)
    }

    /// Counts; `true` for the first of its kind in this window, so many of them.
    fn count_beyond(&self, told_max: u32, refusal: Refusal) -> bool {
        let mut counts = self.counts.lock();
        let room = counts.len() < KINDS_MAX;
        let key = if room || counts.contains_key(&refusal) { refusal } else { Refusal::Overflow };
        let count = counts.entry(key).or_default();
        let is_told = count.told < told_max;
        let counted = if is_told { &mut count.told } else { &mut count.more };
        *counted = counted.saturating_add(1);
        is_told
    }

    fn take(&self) -> Vec<(Refusal, u32)> {
        let counts = std::mem::take(&mut *self.counts.lock());
        counts.into_iter().map(|(refusal, count)| (refusal, count.more)).filter(|(_, more)| *more > 0).collect()
    }
}

impl Flows {
    /// Records that a decision denied. A policy that erred is an entry of its own, and an alarm.
    ///
    /// Evidence that cannot be written changes nothing here: it is refused either way.
    pub async fn denied(&self, denied: &Denied, asker: Asker<'_>) {
        let person = asker.answerable().map(|person| person.id.to_string()).unwrap_or_default();
        let agent = asker.agent();
        let asked = asked(&denied.operation);
        let policies: Vec<String> = denied.policies.iter().map(|policy| policy.id.clone()).collect();
        let policy = self.live.load().policies.version().to_owned();
        let at = self.clock.now();
        let mut entries = Vec::new();
        if !denied.erred.is_empty() {
            tracing::error!(policies = ?denied.erred, "a policy erred: denied");
            let erred = Refusal::BeforeDecision { code: format!("erred:{}", denied.erred.join(",")) };
            if self.refusals.count(erred) {
                let policies = denied.erred.clone();
                let event = Event::DecisionErred { asked: asked.clone(), policy: policy.clone(), policies };
                entries.push(self.entry(at, event));
            }
        }
        let refusal = Refusal::Denied {
            person: person.clone(),
            agent: agent.clone(),
            service: asked.service.clone(),
            action: asked.action.clone(),
            resource: asked.resource.clone(),
            kind: asked.resource_kind.clone(),
            sensitivity: asked.sensitivity.clone(),
            policies: policies.clone(),
        };
        if self.refusals.count(refusal) {
            let event = Event::OperationRefused { person, agent, asked, policies, policy, count: 1, window_s: 0 };
            let mut details = serde_json::Map::new();
            if !denied.seen.is_empty() {
                details.insert("because_of".to_owned(), serde_json::json!(denied.seen));
            }
            if let Some(recorded) = &denied.recorded {
                details.insert(RECORDED.to_owned(), recorded.to_json());
            }
            entries.push(match details.is_empty() {
                true => self.entry(at, event),
                false => self.entry_with(at, event, details.into()),
            });
        }
        self.record_or_log(entries).await;
    }

    /// Records that a request was refused before any decision (ambiguous, too large,
    /// a forged, spent or foreign code). `code` is a stable name.
    pub async fn refused(&self, code: &str) {
        if self.refusals.count(Refusal::BeforeDecision { code: code.to_owned() }) {
            let event = Event::RequestRefused { code: code.to_owned(), count: 1, window_s: 0 };
            self.record_or_log(vec![self.entry(self.clock.now(), event)]).await;
        }
    }

    /// Records a try to sign in that nothing was verified for. Anybody can make such
    /// tries, as fast as they like and without an account, so they are counted in
    /// windows; the first of each kind is an entry before the answer. Gives whether it
    /// was the first.
    pub(super) async fn unverified(
        &self,
        person: Option<PersonId>,
        kind: FactorKind,
        reason: &'static str,
    ) -> Result<bool, StoreError> {
        self.unverified_at(None, person, kind, reason).await
    }

    /// The same of a login at a provider.
    pub(super) async fn unverified_at(
        &self,
        there: Option<FailedThere<'_>>,
        person: Option<PersonId>,
        kind: FactorKind,
        reason: &'static str,
    ) -> Result<bool, StoreError> {
        let person = person.map(|id| id.to_string()).unwrap_or_default();
        let factor = kind.name();
        let provider = there.map(|there| there.provider.clone());
        let refusal = Refusal::Unverified { person: person.clone(), factor, provider: provider.clone(), reason };
        if !self.refusals.count(refusal) {
            return Ok(false);
        }
        let event = Event::AttemptFailed {
            person,
            factor: factor.to_owned(),
            provider: provider.map(|name| name.to_string()),
            purpose: "sign_in".to_owned(),
            challenge: String::new(),
            reason: reason.to_owned(),
            factor_id: None,
        };
        self.store.record(vec![self.entry_of(self.clock.now(), event, there)]).await?;
        Ok(true)
    }

    /// Devices were not asked, in words of the entry.
    pub(super) async fn push_refused(
        &self,
        challenge: &Challenge,
        session: &SessionView,
        reason: &'static str,
    ) -> Result<(), StoreError> {
        if !self.refusals.count(Refusal::Push { session: session.id, reason }) {
            return Ok(());
        }
        let event = Event::PushRefused {
            challenge: challenge.id.to_string(),
            session: session.id.to_string(),
            person: challenge.person.to_string(),
            reason: reason.to_owned(),
        };
        self.store.record(vec![self.entry(self.clock.now(), event)]).await
    }

    /// Counts a security event that did nothing; whether it has an entry of its own.
    pub(super) fn is_idle_signal_told(&self, transmitter: &str, effect: &'static str) -> bool {
        let idle = Refusal::IdleSignal { transmitter: transmitter.to_owned(), effect };
        self.refusals.count_beyond(IDLE_SIGNALS_TOLD_MAX, idle)
    }

    async fn record_or_log(&self, entries: Vec<stepgate_evidence::Entry>) {
        if entries.is_empty() {
            return;
        }
        if let Err(error) = self.store.record(entries).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a refusal could not be recorded");
        }
    }

    /// Writes the counts of the window that ends now.
    pub async fn flush_refusals(&self) -> Result<(), StoreError> {
        let at = self.clock.now();
        let policy = self.live.load().policies.version().to_owned();
        let entries: Vec<_> = self
            .refusals
            .take()
            .into_iter()
            .map(|(refusal, count)| match refusal {
                Refusal::Denied { person, agent, service, action, resource, kind, sensitivity, policies } => {
                    let asked = Asked { service, action, resource, resource_kind: kind, sensitivity };
                    let policy = policy.clone();
                    Event::OperationRefused { person, agent, asked, policies, policy, count, window_s: WINDOW_S }
                }
                Refusal::BeforeDecision { code } => Event::RequestRefused { code, count, window_s: WINDOW_S },
                Refusal::Unverified { factor, reason, .. } => {
                    let code = format!("sign_in_{factor}_{reason}");
                    Event::RequestRefused { code, count, window_s: WINDOW_S }
                }
                Refusal::Push { reason, .. } => {
                    Event::RequestRefused { code: format!("push_{reason}"), count, window_s: WINDOW_S }
                }
                Refusal::IdleSignal { transmitter, effect } => {
                    Event::SignalsCounted { transmitter, effect: effect.to_owned(), count, window_s: WINDOW_S }
                }
                Refusal::Overflow => {
                    Event::RequestRefused { code: "too_many_kinds".to_owned(), count, window_s: WINDOW_S }
                }
            })
            .map(|event| self.entry(at, event))
            .collect();
        if entries.is_empty() { Ok(()) } else { self.store.record(entries).await }
    }
}
