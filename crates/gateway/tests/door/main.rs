//! The HTTP door on core's flows, over real sockets, with a store in memory.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test with modules, some of them shared"
)]

mod everyday;
mod going_on;
mod held;
#[path = "../sockets/rig/raw.rs"]
mod raw;
#[path = "../sockets/rig/recorder.rs"]
mod recorder;
mod refused;
mod rig;
mod store;
mod streams;
mod token_streams;
mod tokens;
