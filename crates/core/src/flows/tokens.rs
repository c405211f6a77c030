//! Access tokens: whose they are here, what is missing for an operation, and askers
//! who come again and again with what does not suffice.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use stepgate_evidence::PolicyRef;

use super::Flows;
use crate::access::{NotAccepted, TokenView, VerifiedToken, Whose};
use crate::catalogue::Host;
use crate::challenge::Ask;
use crate::decide::{Asker, Challenged, Denied};
use crate::factor::{FactorKind, identity_digest};
use crate::operation::Operation;
use crate::person::Agent;
use crate::ports::StoreError;
use crate::provider::Level;
use crate::time::Timestamp;

/// The same challenge of one asker for one operation in one window; what comes after it is a refusal.
pub const SAME_CHALLENGES_MAX: u32 = 10;
/// How long they are counted together.
pub const SAME_CHALLENGES_WINDOW: Duration = Duration::from_secs(5 * 60);
/// How long after a revocation a token is refused whose issuer does not say when it was issued.
pub const WITHOUT_IAT_REFUSED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Challenges that are counted apart.
const COUNTED_MAX: usize = 10_000;

/// Stands for the loop guard where the policies are named that refused.
pub const LOOP_GUARD: &str = "stepgate.step-up-loop";

/// Challenges to askers with tokens, counted.
#[derive(Debug, Default)]
pub struct Loops {
    counts: Mutex<HashMap<[u8; 32], (u32, Timestamp)>>,
}

impl Loops {
    /// Counts one more; `true` if it is one too many.
    fn is_too_many(&self, key: [u8; 32], now: Timestamp) -> bool {
        let mut counts = self.counts.lock();
        let is_over = |begun: Timestamp| now.since(begun).is_none_or(|age| age >= SAME_CHALLENGES_WINDOW);
        if counts.len() >= COUNTED_MAX && !counts.contains_key(&key) {
            counts.retain(|_, (_, begun)| !is_over(*begun));
            // So many at once is no loop of one asker; whoever they are, they are challenged as ever.
            if counts.len() >= COUNTED_MAX {
                return false;
            }
        }
        let (count, begun) = counts.entry(key).or_insert((0, now));
        if is_over(*begun) {
            (*count, *begun) = (0, now);
        }
        *count = count.saturating_add(1);
        *count > SAME_CHALLENGES_MAX
    }
}

/// What an asker with a token is told to come back with (RFC 9470, section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BetterToken {
    /// Classes any of which suffices, in the provider's order of preference.
    pub acr_values: Vec<String>,
    /// The greatest age of the login that suffices, in whole seconds.
    pub max_age: Option<Duration>,
    /// The policies that asked.
    pub policies: Vec<PolicyRef>,
}

impl BetterToken {
    /// What suffices where the decision asks for a fresh login, as its provider names it. `levels` are the
    /// provider's classes in order of preference.
    pub fn of(ask: &Ask, max_age: Option<Duration>, policies: Vec<PolicyRef>, levels: &[Level]) -> Self {
        Self { acr_values: classes(ask, levels), max_age, policies }
    }
}

/// A token was not issued for an operation.
#[derive(Debug)]
pub struct LacksScope<'a, O> {
    /// The operation.
    pub operation: O,
    /// The token.
    pub view: &'a TokenView,
    /// What the operation needs, and the token has not all of.
    pub needed: Vec<String>,
}

/// What is done about a token that does not suffice.
#[derive(Debug)]
pub enum NotEnough {
    /// It is challenged.
    Challenge(BetterToken),
    /// It was, again and again: now it is refused.
    Refuse(Denied),
}

impl Flows {
    /// Whose token it is here: the person whom its issuer and subject name, or an agent and
    /// the person who answers for it.
    ///
    /// `Ok(Err(…))`: nobody who is known and active, so it is as good as none.
    pub async fn bearer(
        &self,
        token: Arc<VerifiedToken>,
        host: &Host,
    ) -> Result<Result<TokenView, NotAccepted>, StoreError> {
        let identity = identity_digest(&token.issuer, token.answerable());
        let Some(known) = self.store.known_by(identity).await? else {
            let what = match token.whose {
                Whose::Person { .. } => "of_nobody_here",
                Whose::Agent { .. } => "of_an_agent_of_nobody_here",
            };
            return Ok(Err(NotAccepted::Token { what, scheme: token.scheme() }));
        };
        if let Some(after) = known.tokens_after
            && !is_issued_after(token.issued_at, after, self.clock.now())
        {
            return Ok(Err(NotAccepted::Token { what: "issued_before_revocation", scheme: token.scheme() }));
        }
        let agent = match &token.whose {
            Whose::Person { .. } => None,
            Whose::Agent { groups, .. } => {
                let name = format!("{}/{}", token.provider, token.client).into();
                Some(Arc::new(Agent { name, groups: groups.clone() }))
            }
        };
        Ok(Ok(TokenView {
            token,
            agent,
            person: Arc::clone(&known.person),
            enrolled: Arc::clone(&known.enrolled),
            risks: Arc::clone(&known.risks),
            host: host.clone(),
        }))
    }

    /// The scopes that an operation needs and a token lacks; empty if none.
    pub fn missing_scopes<'o>(operation: &'o Operation, view: &TokenView) -> Vec<&'o str> {
        let of_service = operation.service.tokens.iter().flat_map(|rules| &rules.accepted().scopes);
        let mut needed: Vec<&str> = of_service.chain(&operation.endpoint.scopes).map(String::as_str).collect();
        needed.sort_unstable();
        needed.dedup();
        let has = |scope: &&str| view.token.scopes.binary_search_by(|own| own.as_str().cmp(scope)).is_ok();
        if needed.iter().all(has) { Vec::new() } else { needed }
    }

    /// Decides about whoever has the scopes that an operation needs. The scopes come first: what a token was not
    /// issued for is no matter of the policies, and nothing is told of those. Who comes without a token needs none.
    ///
    /// # Errors
    ///
    /// [`LacksScope`]: nothing was decided.
    pub fn scopes_first<'a, O: Borrow<Operation>, T>(
        operation: O,
        asker: Asker<'a>,
        decide: impl FnOnce(O) -> T,
    ) -> Result<T, LacksScope<'a, O>> {
        let Asker::Token(view) = asker else { return Ok(decide(operation)) };
        let needed: Vec<String> =
            Self::missing_scopes(operation.borrow(), view).into_iter().map(str::to_owned).collect();
        if needed.is_empty() { Ok(decide(operation)) } else { Err(LacksScope { operation, view, needed }) }
    }

    /// What a token has to be better in, where the decision asks for a fresh login. It is
    /// counted: the same challenge again and again is a loop, which a refusal ends.
    pub async fn not_enough(&self, challenged: Challenged, view: &TokenView, now: Timestamp) -> NotEnough {
        let live = self.live.load();
        let provider = live.providers.named(&view.token.provider);
        let levels = provider.map(|provider| provider.levels.as_slice()).unwrap_or_default();
        let Challenged { operation, ask, policies, max_age, seen, recorded, .. } = challenged;
        let better = BetterToken::of(&ask, max_age, policies, levels);
        drop(live);
        let asker = Asker::Token(view);
        if self.loops.is_too_many(key(&operation, view, &better), now) {
            let reason = "The same was asked for again and again, and what came does not suffice. \
                          A token of the demanded class and age is needed."
                .to_owned();
            let policies = vec![PolicyRef { id: LOOP_GUARD.to_owned(), reason }];
            let denied = Denied { operation, policies, erred: Vec::new(), seen, recorded: None };
            self.denied(&denied, asker).await;
            return NotEnough::Refuse(denied);
        }
        let refused = Denied { operation, policies: better.policies.clone(), erred: Vec::new(), seen, recorded };
        self.denied(&refused, asker).await;
        NotEnough::Challenge(better)
    }

    /// Records that a token lacks scopes.
    pub async fn lacks_scope(&self, operation: Operation, view: &TokenView) {
        let policies = vec![PolicyRef { id: "stepgate.scope".to_owned(), reason: String::new() }];
        let denied = Denied { operation, policies, erred: Vec::new(), seen: BTreeMap::new(), recorded: None };
        self.denied(&denied, Asker::Token(view)).await;
    }
}

/// Whether a token was issued after all before was revoked. Its issuer says so in whole seconds: one of the
/// same second is not believed to be later. Where it does not say so, nobody knows, and it is not
/// believed as long as a token of before could live; then its issuer has been asked again since.
fn is_issued_after(issued_at: Option<Timestamp>, after: Timestamp, now: Timestamp) -> bool {
    match issued_at {
        Some(issued_at) => issued_at >= after,
        None => now.since(after).is_some_and(|passed| passed > WITHOUT_IAT_REFUSED_FOR),
    }
}

/// The classes that do, in order of preference.
fn classes(ask: &Ask, levels: &[Level]) -> Vec<String> {
    let does = |level: &&Level| {
        let login = FactorKind::Idp(level.strength);
        ask.ways.iter().any(|way| way.iter().all(|asked| login.does_for(*asked)))
    };
    levels.iter().filter(does).map(|level| level.acr.clone()).collect()
}

/// One asker, one operation, one challenge.
fn key(operation: &Operation, view: &TokenView, better: &BetterToken) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(b"stepgate/same-challenge/v1\0");
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    part(&view.principal().id());
    part(&view.token.client);
    part(&operation.endpoint.resource);
    part(&better.max_age.map(|age| age.as_secs().to_string()).unwrap_or_default());
    better.acr_values.iter().for_each(|class| part(class));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_and_again_is_a_loop_and_a_window_ends_it() {
        let loops = Loops::default();
        let at = |s: i64| Timestamp::from_ms(s * 1_000);
        for count in 1..=SAME_CHALLENGES_MAX {
            assert!(!loops.is_too_many([1; 32], at(0)), "{count}");
        }
        assert!(loops.is_too_many([1; 32], at(1)) && loops.is_too_many([1; 32], at(299)));
        assert!(!loops.is_too_many([2; 32], at(299)), "another challenge is another count");
        assert!(!loops.is_too_many([1; 32], at(300)));
    }

    #[test]
    fn a_token_counts_again_when_it_was_issued_after_a_revocation() {
        let at = |s: i64| Timestamp::from_ms(s * 1_000);
        let day = 24 * 3_600;
        let after = |issued_at, now| is_issued_after(issued_at, at(100), at(now));
        assert!(!after(Some(at(99)), 101) && !after(Some(at(99)), 400 * day), "an old one never does");
        assert!(after(Some(at(100)), 101) && after(Some(at(102)), 101));
        // The second in which it was issued began before.
        assert!(!is_issued_after(Some(at(100)), Timestamp::from_ms(100_001), at(101)));
        assert!(!after(None, 101) && !after(None, 30 * day) && after(None, 31 * day));
        assert!(!after(None, 99), "a clock that was set back makes nothing good");
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let loops = Loops::default();
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            key
        };
        for number in 0..COUNTED_MAX + 100 {
            assert!(!loops.is_too_many(key(number), Timestamp::from_ms(0)));
        }
        assert_eq!(loops.counts.lock().len(), COUNTED_MAX);
        assert!(!loops.is_too_many(key(COUNTED_MAX + 500), Timestamp::from_ms(300_000)));
        assert_eq!(loops.counts.lock().len(), 1, "what is over makes room");
    }
}
