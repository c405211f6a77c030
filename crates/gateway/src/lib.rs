//! The doors: each turns a protocol into an operation and a verdict back into
//! the protocol.

pub mod body;
pub mod canonical;
pub mod http;
pub mod server;
pub mod upstream;
