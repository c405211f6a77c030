//! The gate over real sockets: raw bytes in, and what arrives at the upstream.
//!
//! Tests are named by the rows of the manual's catalogue of bypasses.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test with modules, some of them shared"
)]

mod bodies;
mod differential;
mod framing;
mod headers;
mod heads;
mod http2;
mod rig;
mod serving;
mod targets;
mod tls;
mod upstreams;
mod websockets;
