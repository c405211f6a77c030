//! The whole gate over real sockets: people, programs and browsers in front of
//! it, an upstream that records what reaches it behind it, and the evidence.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod access_tokens;
mod access_tokens_bound;
mod account;
mod client_certificates;
mod codes_by_mail;
mod company_login;
mod devices;
mod evidence;
mod hostile_provider;
mod in_chromium;
mod intruders;
mod logs;
mod machines;
mod main_job;
mod node_red;
mod programs;
mod push;
mod push_in_chromium;
mod rehearsals;
mod revoked_tokens;
mod scim_conformance;
mod severed_commits;
mod signing_in;
mod sinks;
mod streams;
mod subscribed;
mod tls;
mod when_things_break;
mod world;
