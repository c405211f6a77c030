//! Security events taken and told, over the service that the machines' listener serves, on a store of its own.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod house;
mod limits;
mod polled;
mod received;
mod told;
