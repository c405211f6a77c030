//! `[sessions]`, `[challenges]`, `[tries]`, `[passkeys]` and `[limits]`.

use std::time::Duration;

use stepgate_core::challenge::ChallengeLimits;
use stepgate_core::ports::TryLimits;
use stepgate_core::session::SessionLifetimes;

use super::Limits;
use super::read::Table;

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn session_lifetimes(table: Table<'_>) -> SessionLifetimes {
    let default = SessionLifetimes::default();
    let read = SessionLifetimes {
        absolute: table.duration("absolute", MINUTE..=30 * DAY).unwrap_or(default.absolute),
        idle: table.duration("idle", MINUTE..=30 * DAY).unwrap_or(default.idle),
    };
    if read.idle > read.absolute {
        table.mistake(table.span(), "`idle` is longer than `absolute`: no session would live to see it");
    }
    table.finish();
    read
}

pub(super) fn challenge_limits(table: Table<'_>) -> ChallengeLimits {
    let default = ChallengeLimits::default();
    let small = |number: Option<u64>, default: u32| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let read = ChallengeLimits {
        answer_within: table
            .duration("answer_within", Duration::from_secs(30)..=30 * MINUTE)
            .unwrap_or(default.answer_within),
        spend_within: table
            .duration("spend_within", Duration::from_secs(10)..=30 * MINUTE)
            .unwrap_or(default.spend_within),
        wrong_answers: small(table.number("wrong_answers", 1..=10), default.wrong_answers),
        pending_per_session: small(table.number("pending_per_session", 1..=100), default.pending_per_session),
        held_body: table.size("held_body", 1024..=100 << 20).unwrap_or(default.held_body),
    };
    table.finish();
    read
}

pub(super) fn try_limits(table: Table<'_>) -> TryLimits {
    let default = TryLimits::default();
    let small = |number: Option<u64>, default: u32| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let read = TryLimits {
        before_lock: small(table.number("before_lock", 1..=100), default.before_lock),
        lock: table.duration("lock", MINUTE..=7 * DAY).unwrap_or(default.lock),
        // SP 800-63B-4 section 3.2.2: never more than 100.
        before_reset: small(table.number("before_reset", 1..=100), default.before_reset),
    };
    if read.before_lock > read.before_reset {
        table.mistake(table.span(), "`before_lock` is more than `before_reset`: the lock would never be reached");
    }
    table.finish();
    read
}

pub(super) fn listener_limits(table: Table<'_>) -> Limits {
    let default = Limits::default();
    let size = |number: Option<u64>| number.and_then(|n| usize::try_from(n).ok());
    let read = Limits {
        connections: size(table.number("connections", 1..=1_000_000)).unwrap_or(default.connections),
        body: table.size("body", 1024..=100 << 20).unwrap_or(default.body),
        drain: table.duration("drain", Duration::from_secs(1)..=10 * MINUTE).unwrap_or(default.drain),
    };
    table.finish();
    read
}
