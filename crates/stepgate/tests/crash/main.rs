//! Gates that are killed again and again: at every commit, on every step of a request's
//! way to the upstream, and at any moment. One gate on SQLite; two on PostgreSQL, where
//! either dies, or both, and people go on at the other one. What the ledger, the upstream
//! and the people themselves know is held together after each death.
//!
//! Longer runs: `STEPGATE_CRASH_KILLS_SQLITE`, `STEPGATE_CRASH_KILLS_POSTGRES` (kills in
//! all), `STEPGATE_CRASH_SEED`, `STEPGATE_CRASH_WORLDS` (deployments side by side).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod account;
mod audit;
mod boundary;
mod chance;
mod client;
mod codes;
mod deployment;
mod dying;
mod everyday;
mod gate;
mod hunt;
mod life;
mod nodes;
mod payments;
mod person;
mod round;
mod upstream;
mod world;
mod world_clock;

use boundary::{Boundary, Plan};
use chance::Chance;
use deployment::Backend;
use dying::Without;
use hunt::{Hunt, Tally};
use stepgate::system::monotonic;

use crate::audit::Violation;

/// Deployments that live side by side.
const WORLDS: u64 = 4;
/// Kills of a gate without a guard, at most, until its absence must have been seen.
const KILLS_WITHOUT_GUARD: usize = 40;
/// A life that is killed at any moment is killed before this, in microseconds.
const ANY_MOMENT_BEFORE_US: usize = 300_000;
/// All chance follows from it.
const SEED: u64 = 20_260_101;

#[test]
fn nothing_unproved_passes_and_nothing_is_sent_twice_however_often_the_gate_is_killed() {
    gate::live_if_told_to();
    hunt(Backend::Sqlite, number("STEPGATE_CRASH_KILLS_SQLITE", 1_000));
}

#[test]
fn nor_when_two_nodes_on_one_database_die_by_turns_and_people_go_on_at_the_other() {
    let tally = hunt(Backend::Postgres, number("STEPGATE_CRASH_KILLS_POSTGRES", 300));
    assert!(tally.done.carried > 0, "what was asked at one node is sent by the other: {tally}");
}

/// Kills so many, and expects that nothing was violated and nothing was missed.
fn hunt(backend: Backend, kills: u64) -> Tally {
    let begun = monotonic();
    let worlds = number(hunt::WORLDS, WORLDS);
    let kills_each = usize::try_from(kills.div_ceil(worlds)).unwrap();
    let seed = number(hunt::SEED, SEED);
    let tally = run(Hunt { backend, seed, worlds, kills_each, without: None, plans: everywhere });
    let tally = tally.unwrap_or_else(|violation| panic!("{violation}"));
    println!("{tally}\nin {:.0?}", monotonic().saturating_sub(begun));
    assert_eq!(tally.missed(), Vec::<String>::new(), "every boundary was met: {tally}");
    assert_eq!(tally.unseen(), Vec::<&str>::new(), "everything that people can do was done: {tally}");
    tally
}

/// A number that the environment may set in place of this one.
fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
        Err(_) => default,
    }
}

#[test]
fn spending_after_sending_is_found_out() {
    check_without(Without::SpendingFirst, &["without evidence"]);
}

#[test]
fn an_answer_that_is_acknowledged_too_early_is_found_out() {
    // What died with the gate shows in the ledger, or in a code that is accepted once more.
    check_without(Without::DurableAnswers, &["and the ledger says", "was accepted for"]);
}

#[test]
fn a_gate_that_does_not_look_back_is_found_out() {
    check_without(Without::LookingBack, &["nobody says what became of"]);
}

#[test]
fn a_code_that_counts_twice_is_found_out() {
    check_without(Without::CodesOnce, &["was accepted for"]);
}

#[test]
fn a_session_that_does_not_end_is_found_out() {
    check_without(Without::EndingSessions, &["a session that had ended"]);
}

/// The same hunt must fail where a guard is missing, for one of these reasons.
fn check_without(guard: Without, reasons: &[&str]) {
    let plans = match guard {
        Without::SpendingFirst | Without::LookingBack => while_sending,
        Without::DurableAnswers => everywhere,
        Without::CodesOnce | Without::EndingSessions => when_people_are_done,
    };
    let (backend, kills_each) = (Backend::Sqlite, KILLS_WITHOUT_GUARD);
    match run(Hunt { backend, seed: SEED, worlds: 1, kills_each, without: Some(guard), plans }) {
        Ok(tally) => panic!("without {guard:?}, nothing was found:\n{tally}"),
        Err(violation) => {
            let said = violation.to_string();
            assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
        }
    }
}

/// Three of five rounds end at a boundary, by turns; at first when it is met for the first
/// time, later at one of its first few times.
fn everywhere(chance: &Chance, turn: usize) -> Plan {
    let (fifth, rest) = (turn / 5 * 3, turn % 5);
    if rest < 3 {
        let all = Boundary::all();
        let boundary = all[(fifth + rest) % all.len()];
        let times_max = if fifth < all.len() { 1 } else { boundary.times_max() };
        return Plan::At(boundary, u32::try_from(1 + chance.below(times_max)).unwrap());
    }
    let micros = u64::try_from(chance.below(ANY_MOMENT_BEFORE_US)).unwrap();
    if chance.one_in(4) { Plan::SinceStart(micros) } else { Plan::SinceServing(micros) }
}

fn while_sending(chance: &Chance, _: usize) -> Plan {
    let sends = boundary::SENDS;
    Plan::At(Boundary::Send(sends[chance.below(sends.len())]), 1)
}

fn when_people_are_done(_: &Chance, _: usize) -> Plan {
    Plan::SinceServing(u64::MAX)
}

fn run(hunt: Hunt) -> Result<Tally, Violation> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(hunt.run())
}
