//! The gate over real sockets: raw bytes in, and what arrives at the upstream.
//!
//! Tests are named by the rows of the manual's catalogue of bypasses.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "modules of one test"
)]

mod framing;
mod headers;
mod rig;
mod targets;
