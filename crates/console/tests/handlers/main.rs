//! The pages with the core's flows, the real factors and a store behind them, and
//! a person with a software authenticator in front.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod account;
mod challenges;
mod codes;
mod enrolment;
mod evidence;
mod forms;
mod hardware;
mod house;
mod logins;
mod sign_in;
mod tries;
