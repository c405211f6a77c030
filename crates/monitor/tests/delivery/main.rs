//! Sinks against receivers that fail as real ones do: nothing is lost, whatever happens.
//!
//! The receivers are strict: they take only what the real one would, and panic at anything else, which a sink sees as a
//! receiver that hangs up for ever.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod faults;
mod files;
mod house;
mod http;
mod lateness;
mod rsyslog;
mod syslog;
