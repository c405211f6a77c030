//! The search for the least that would turn the answer.

use std::sync::Arc;
use std::time::Duration;

use stepgate_evidence::PolicyRef;

use super::Asker;
use crate::catalogue::Admits;
use crate::challenge::{Ask, GrantKind, Way};
use crate::factor::{FactorKind, PasskeySort};
use crate::operation::Operation;
use crate::person::Principal;
use crate::policy::{BROKEN, Case, Moment, NO_PERMIT, Outcome, Policies, Prepared, Proven, Slice};
use crate::surroundings::Surroundings;
use crate::time::Timestamp;

/// The greatest `max_age` that is looked for: a policy that accepts a proof of
/// this age accepts it for as long as anybody stays signed in.
pub const MAX_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Stands where the policies are named that refused, if a login would have turned the answer and the token
/// is an agent's own, for which nobody logs in.
pub const NO_LOGIN: &str = "stepgate.no-login";

/// What was found; the operation is the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Permit { policies: Vec<String> },
    Challenge { ask: Ask, policies: Vec<PolicyRef>, accepted: Option<Accepted> },
    SignIn,
    Deny { policies: Vec<PolicyRef>, erred: Vec<String> },
}

/// How old the policies let a proof be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Now, so that it suffices.
    pub(super) now: Duration,
    /// While the session grows older with it: so long it counts.
    pub(super) for_long: Duration,
}

/// Sees each step of the search.
pub(super) trait Watch {
    /// Whether it wants to know which policies refused each step.
    const NAMES: bool;

    fn tried(&mut self, what: Tried<'_>, outcome: &Outcome);
}

/// What was tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tried<'a> {
    Now,
    Everything { but: &'a [FactorKind], with: Option<FactorKind> },
    Way { grant: GrantKind, kinds: &'a [FactorKind] },
}

/// Nobody watches.
pub(super) struct Unwatched;

impl Watch for Unwatched {
    const NAMES: bool = false;

    fn tried(&mut self, _what: Tried<'_>, _outcome: &Outcome) {}
}

/// The one evaluation behind `decide`, `explain` and the preflight of a form:
/// what is asked beforehand cannot differ from what is enforced (attack B55).
pub(super) fn find(
    policies: &Policies,
    operation: &Operation,
    asker: Asker<'_>,
    surroundings: &Surroundings,
    confirmed: &[(FactorKind, Timestamp)],
    watch: &mut impl Watch,
) -> Finding {
    if let Some(why) = policies.why_broken() {
        let reason = "The rules could not be loaded, so nothing is allowed.".to_owned();
        return Finding::Deny {
            policies: vec![PolicyRef { id: BROKEN.to_owned(), reason }],
            erred: vec![why.to_owned()],
        };
    }
    let fault = |error: String| Finding::Deny { policies: Vec::new(), erred: vec![error] };
    let Some((slice, prepared)) = (match prepare(policies, operation, asker) {
        Ok(found) => found,
        Err(error) => return fault(error),
    }) else {
        return fault(format!("no policies were loaded for {:?}", operation.endpoint.resource));
    };
    let case = case(policies, operation, asker, surroundings, &prepared);
    let proven = Proven::now(asker, confirmed, surroundings);
    let signs_in = asker.is_anonymous() && slice.permits_somebody();
    if asker.is_anonymous() && operation.endpoint.admits != Admits::Anyone {
        return if signs_in { Finding::SignIn } else { refused(policies, &[]) };
    }
    let now = case.ask(&proven);
    watch.tried(Tried::Now, &now);
    if now.allowed {
        return Finding::Permit { policies: now.decided };
    }
    if !now.erred.is_empty() {
        return Finding::Deny { policies: refs(policies, &now.decided), erred: now.erred };
    }
    let (enrolled, logins, freshens) = match asker {
        Asker::Anonymous => return if signs_in { Finding::SignIn } else { refused(policies, &[]) },
        Asker::SignedIn(session) => (&session.enrolled, policies.logins(&session.providers), Freshens::Session),
        Asker::Token(view) => {
            let at = std::slice::from_ref(&view.token.provider);
            let freshens = if view.token.comes_of_a_login() { Freshens::Token } else { Freshens::Nothing };
            (&view.enrolled, policies.logins(at), freshens)
        }
    };
    let offered = policies.offered();
    // A passkey that is not believed is as good as none.
    let believed = |kind: &&FactorKind| !matches!(kind, FactorKind::Passkey(sort) if surroundings.models.refuse(*sort));
    let enrolled: Vec<FactorKind> = enrolled.iter().filter(believed).copied().collect();
    let could_get: Vec<PasskeySort> =
        policies.passkeys_to_get().iter().copied().chain(surroundings.models.examples()).collect();
    let search = Search { case: &case, proven, enrolled: &enrolled, offered, could_get: &could_get, logins, freshens };
    if let Some(still) = search.refused_whatever_is_proved(&now, watch) {
        return search.and_why_no_login(refused(policies, &still));
    }
    match search.least(watch) {
        None => search.and_why_no_login(refused(policies, &now.decided)),
        Some(ask) => {
            let accepted = search.accepted(&ask);
            let asked = refs_or_no_permit(policies, &now.decided, NOT_WITHOUT);
            Finding::Challenge { ask, policies: asked, accepted }
        }
    }
}

/// Why somebody is asked whom nothing forbids.
const NOT_WITHOUT: &str = "Nothing permits this without the proof that is asked for.";
/// Why an agent is denied what a person's login would turn.
const NOBODY_LOGS_IN: &str = "A login would do, but this token is the agent's own: nobody logs in for it, \
                              so no other token of its kind does better. Use one that a person's login gave.";
/// Why somebody is denied what nothing forbids them.
const NOT_AT_ALL: &str = "No rule permits this to you, whatever you prove.";

/// The slice of an operation and what is known of the asker there; `None` if no
/// policies were loaded for it.
pub(super) fn prepare<'p>(
    policies: &'p Policies,
    operation: &Operation,
    asker: Asker<'_>,
) -> Result<Option<(&'p Slice, Arc<Prepared>)>, String> {
    let Some((number, slice)) = policies.slices().of(operation) else {
        return Ok(None);
    };
    let prepared = match asker {
        Asker::Anonymous => slice.prepare_anonymous()?,
        Asker::SignedIn(session) => policies.slices().prepare(number, slice, Principal::Person(&session.person))?,
        Asker::Token(view) => policies.slices().prepare(number, slice, view.principal())?,
    };
    Ok(Some((slice, prepared)))
}

/// The case to ask Cedar about.
pub(super) fn case<'a>(
    policies: &'a Policies,
    operation: &'a Operation,
    asker: Asker<'a>,
    surroundings: &'a Surroundings,
    prepared: &'a Prepared,
) -> Case<'a> {
    let moment = Moment { operation, asker, surroundings, clocks: policies.clocks(), later: Duration::ZERO };
    Case { prepared, moment }
}

fn refused(policies: &Policies, forbids: &[String]) -> Finding {
    Finding::Deny { policies: refs_or_no_permit(policies, forbids, NOT_AT_ALL), erred: Vec::new() }
}

/// The policies that forbade, as people read them; if none did, that nothing permits it.
fn refs_or_no_permit(policies: &Policies, forbids: &[String], otherwise: &str) -> Vec<PolicyRef> {
    match forbids {
        [] => vec![PolicyRef { id: NO_PERMIT.to_owned(), reason: otherwise.to_owned() }],
        forbids => refs(policies, forbids),
    }
}

fn refs(policies: &Policies, forbids: &[String]) -> Vec<PolicyRef> {
    let reason = |id: &str| policies.about(id).map(|about| about.reason.clone()).unwrap_or_default();
    forbids.iter().map(|id| PolicyRef { id: id.clone(), reason: reason(id) }).collect()
}

struct Search<'a> {
    case: &'a Case<'a>,
    proven: Proven,
    enrolled: &'a [FactorKind],
    /// What is verified here.
    offered: &'a [FactorKind],
    /// Sorts of passkeys that somebody could get.
    could_get: &'a [PasskeySort],
    /// What the person's identity providers can be asked to prove.
    logins: Vec<FactorKind>,
    freshens: Freshens,
}

/// What a fresh proof is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshens {
    /// The session: by any factor.
    Session,
    /// Nothing that is here. A better token proves a login at its provider, and that alone;
    /// all else can only confirm the operation itself.
    Token,
    /// Nothing at all: it is an agent's own token, for which nobody logs in. Whoever answers for the agent
    /// can only confirm the operation itself.
    Nothing,
}

impl Search<'_> {
    /// The first class of proofs in which something turns the answer.
    fn least(&self, watch: &mut impl Watch) -> Option<Ask> {
        let mut unobtainable = None;
        for grant in [GrantKind::Freshness, GrantKind::Confirmation] {
            let kinds = match (grant, self.freshens) {
                (GrantKind::Freshness, Freshens::Token) => self.logins.clone(),
                (GrantKind::Freshness, Freshens::Nothing) => Vec::new(),
                (GrantKind::Freshness, Freshens::Session) | (GrantKind::Confirmation, _) => self.kinds(),
            };
            let singles: Vec<Way> = kinds.iter().map(|kind| vec![*kind]).collect();
            let after = |a: FactorKind| kinds.iter().copied().filter(move |b| a < *b && !a.is_same_factor(*b));
            let pairs: Vec<Way> = kinds.iter().flat_map(|a| after(*a).map(|b| vec![*a, b])).collect();
            let alone = self.working(grant, &singles, watch);
            // Two are asked for only where neither would do alone.
            let needed: Vec<Way> =
                pairs.iter().filter(|pair| !alone.iter().flatten().any(|kind| pair.contains(kind))).cloned().collect();
            if let Some(ask) = self.offer(grant, &alone, &mut unobtainable) {
                return Some(ask);
            }
            let together = self.working(grant, &needed, watch);
            if let Some(ask) = self.offer(grant, &together, &mut unobtainable) {
                return Some(ask);
            }
        }
        unobtainable
    }

    /// A denial, and, where a login would have turned it that nobody can make, that this is why.
    fn and_why_no_login(&self, mut denied: Finding) -> Finding {
        let does = |kind: &FactorKind| {
            self.case.ask_shortly(&self.proven.proved(std::slice::from_ref(kind), Duration::ZERO)).allowed
        };
        if let Finding::Deny { policies, .. } = &mut denied
            && self.freshens == Freshens::Nothing
            && self.logins.iter().any(does)
        {
            policies.push(PolicyRef { id: NO_LOGIN.to_owned(), reason: NOBODY_LOGS_IN.to_owned() });
        }
        denied
    }

    /// Everything that somebody can prove here, least trouble first: a company login of the
    /// least class that is configured before one that counts as more. Where rules tell passkeys apart, the sorts
    /// that the person has, and those that one could get.
    fn kinds(&self) -> Vec<FactorKind> {
        let mut kinds: Vec<FactorKind> = self.offered.iter().chain(&self.logins).copied().collect();
        if self.case.tells_passkeys_apart() && kinds.contains(&FactorKind::PASSKEY) {
            let enrolled = self.enrolled.iter().filter(|kind| kind.is_same_factor(FactorKind::PASSKEY));
            kinds.extend(enrolled.copied().chain(self.could_get.iter().map(|sort| FactorKind::Passkey(*sort))));
        }
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// All of these at once. A context is about one passkey, so of several sorts each is taken by itself.
    fn at_once(kinds: &[FactorKind]) -> Vec<(Option<FactorKind>, Vec<FactorKind>)> {
        let (passkeys, others): (Vec<FactorKind>, Vec<FactorKind>) =
            kinds.iter().partition(|kind| kind.is_same_factor(FactorKind::PASSKEY));
        match passkeys.as_slice() {
            [] | [_] => vec![(None, kinds.to_vec())],
            several => {
                let with = |sort: &FactorKind| (Some(*sort), others.iter().copied().chain([*sort]).collect());
                several.iter().map(with).collect()
            }
        }
    }

    /// Whether the person has what proves this.
    fn has(&self, kind: FactorKind) -> bool {
        if self.logins.contains(&kind) {
            return true;
        }
        if kind.is_same_factor(FactorKind::PASSKEY) && self.case.tells_passkeys_apart() {
            return self.enrolled.contains(&kind);
        }
        self.enrolled.iter().any(|enrolled| enrolled.proves_when_enrolled(kind))
    }

    fn ask<W: Watch>(&self, proven: &Proven, _watch: &W) -> Outcome {
        if W::NAMES { self.case.ask(proven) } else { self.case.ask_shortly(proven) }
    }

    /// Everything obtainable at once: `None` if that is allowed. If it is refused, so is
    /// all of it, and given are the forbids of now that refuse it too. A forbid that a
    /// proof would turn is no reason for a denial; where only such forbid, none is given,
    /// because what is missing is a permit.
    ///
    /// Tried a second time without a recovery code, since that is the one proof
    /// that a policy may well hold against a person ("no payments for a day after
    /// a recovery code").
    fn refused_whatever_is_proved(&self, now: &Outcome, watch: &mut impl Watch) -> Option<Vec<String>> {
        let mut still = now.decided.clone();
        let mut lacks_a_permit = false;
        for but in [&[][..], &[FactorKind::RecoveryCode][..]] {
            let kinds: Vec<FactorKind> = self.kinds().into_iter().filter(|kind| !but.contains(kind)).collect();
            for (with, kinds) in Self::at_once(&kinds) {
                let outcome = self.case.ask(&self.proven.confirmed_with(&kinds));
                watch.tried(Tried::Everything { but, with }, &outcome);
                if outcome.allowed {
                    return None;
                }
                still.retain(|id| outcome.decided.contains(id));
                lacks_a_permit |= outcome.decided.is_empty() && outcome.erred.is_empty();
            }
        }
        // Some forbid for want of a proof and others because of it: those of now say why.
        Some(if still.is_empty() && !lacks_a_permit { now.decided.clone() } else { still })
    }

    fn working(&self, grant: GrantKind, ways: &[Way], watch: &mut impl Watch) -> Vec<Way> {
        let works = |way: &&Way| {
            let proven = match grant {
                GrantKind::Freshness => self.proven.proved(way, Duration::ZERO),
                GrantKind::Confirmation => self.proven.confirmed_with(way),
            };
            let outcome = self.ask(&proven, watch);
            watch.tried(Tried::Way { grant, kinds: way }, &outcome);
            outcome.allowed
        };
        ways.iter().filter(works).cloned().collect()
    }

    /// What of a class is offered. The first class that works only with factors
    /// that are not enrolled is kept in `unobtainable`.
    fn offer(&self, grant: GrantKind, working: &[Way], unobtainable: &mut Option<Ask>) -> Option<Ask> {
        let has = |kind: &FactorKind| self.has(*kind);
        // A company login that counts as more than another one that does is not asked for.
        let ways: Vec<Way> = working.iter().filter(|way| way.iter().all(has)).cloned().collect();
        let needless = |way: &Way| ways.iter().any(|less| does_for(way, less) && !does_for(less, way));
        let ways: Vec<Way> = ways.iter().filter(|way| !needless(way)).cloned().collect();
        let mut not_enrolled: Vec<FactorKind> = working.iter().flatten().filter(|kind| !has(kind)).copied().collect();
        not_enrolled.sort_unstable();
        not_enrolled.dedup();
        // One sort of passkey is said to be missing, the one that is easiest to get; none, if another one does.
        let is_passkey = |kind: &FactorKind| kind.is_same_factor(FactorKind::PASSKEY);
        let mut has_a_passkey = ways.iter().flatten().any(is_passkey);
        not_enrolled.retain(|kind| !is_passkey(kind) || !std::mem::replace(&mut has_a_passkey, true));
        // A recovery code is a way back to another factor, nothing to get for its own sake.
        if !ways.is_empty() || not_enrolled.iter().any(|kind| *kind != FactorKind::RecoveryCode) {
            not_enrolled.retain(|kind| *kind != FactorKind::RecoveryCode);
        }
        let ask = Ask { grant, ways, not_enrolled };
        if !ask.ways.is_empty() {
            return Some(ask);
        }
        if !working.is_empty() && unobtainable.is_none() {
            *unobtainable = Some(ask);
        }
        None
    }

    /// The greatest ages of the offered proofs that the policies accept; `None` if the operation itself is confirmed.
    ///
    /// A session grows older with the proof that freshens it, so what has to be proved in this session counts for
    /// as long as that lasts, however young it is now.
    fn accepted(&self, ask: &Ask) -> Option<Accepted> {
        if ask.grant == GrantKind::Confirmation {
            return None;
        }
        let now = self.greatest_age(ask, |_| Duration::ZERO)?;
        let for_long = match self.freshens {
            Freshens::Session => self.greatest_age(ask, |age| age)?,
            Freshens::Token | Freshens::Nothing => now,
        };
        Some(Accepted { now, for_long: for_long.max(now) })
    }

    /// The greatest age of every way, in whole seconds, where session and device are `older` for each age: found by
    /// bisection, so what is returned was tried and was allowed.
    fn greatest_age(&self, ask: &Ask, older: impl Fn(Duration) -> Duration) -> Option<Duration> {
        let unobtainable: Vec<Way> = ask.not_enrolled.iter().map(|kind| vec![*kind]).collect();
        let ways = if ask.ways.is_empty() { &unobtainable } else { &ask.ways };
        let mut least: Option<u64> = None;
        for way in ways {
            let accepts = |age_s: u64| {
                let age = Duration::from_secs(age_s);
                age_s == 0 || self.case.later(older(age)).ask_shortly(&self.proven.proved(way, age)).allowed
            };
            let most = least.unwrap_or(MAX_AGE_MAX.as_secs());
            least = Some(if accepts(most) { most } else { greatest(most, accepts) });
        }
        least.map(Duration::from_secs)
    }
}

/// Whether the one way does for the other, factor by factor.
fn does_for(way: &Way, less: &Way) -> bool {
    way.len() == less.len() && way.iter().zip(less).all(|(kind, asked)| kind.does_for(*asked))
}

/// The greatest number below `refused` that is accepted, if acceptance is
/// monotone; an accepted one in any case. Zero is accepted. At most 64 questions.
pub(super) fn greatest(refused: u64, accepts: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, refused);
    while high.saturating_sub(low) > 1 {
        let middle = low + (high - low) / 2;
        if accepts(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}
