//! How long a permission stands, if nothing but time passes.

use std::time::Duration;

use super::Asker;
use super::search::{case, greatest, prepare};
use crate::catalogue::Admits;
use crate::factor::FactorKind;
use crate::operation::Operation;
use crate::policy::{Policies, Proven};
use crate::surroundings::Surroundings;
use crate::time::Timestamp;

/// Nothing is valid for longer: then it is decided again, whatever the policies say.
pub const VALID_FOR_MAX: Duration = Duration::from_secs(24 * 3600);

/// The first moment at which a permitted operation has to be decided again, since
/// an age that it rests on runs out or a time of day is over.
///
/// For streams and WebSockets; at each revocation and reload they are decided
/// again anyway. `None` if the operation is not permitted now. To the millisecond
/// where it runs out at most [`VALID_FOR_MAX`] from now; asks Cedar at most 45 times.
pub fn valid_until(
    policies: &Policies,
    operation: &Operation,
    asker: Asker<'_>,
    surroundings: &Surroundings,
    confirmed: &[(FactorKind, Timestamp)],
) -> Option<Timestamp> {
    if asker.is_anonymous() && operation.endpoint.admits != Admits::Anyone {
        return None;
    }
    let (_, prepared) = prepare(policies, operation, asker).ok()??;
    let case = case(policies, operation, asker, surroundings, &prepared);
    let permitted_after = |ms: u64| {
        let later = Surroundings { now: surroundings.now.plus(Duration::from_millis(ms)), ..surroundings.clone() };
        let proven = Proven::now(asker, confirmed, &later);
        case.at(&later).ask_shortly(&proven).allowed
    };
    if !permitted_after(0) {
        return None;
    }
    let most = u64::try_from(VALID_FOR_MAX.as_millis()).unwrap_or(u64::MAX);
    // Ever greater steps, so that a time of day that is over and comes again is not stepped over.
    let mut allowed = 0;
    let mut step = 1_000;
    loop {
        let next = most.min(step);
        if !permitted_after(next) {
            let more = greatest(next - allowed, |more| more == 0 || permitted_after(allowed + more));
            return Some(surroundings.now.plus(Duration::from_millis(allowed + more + 1)));
        }
        if next == most {
            return Some(surroundings.now.plus(VALID_FOR_MAX));
        }
        allowed = next;
        step = step.saturating_mul(2);
    }
}
