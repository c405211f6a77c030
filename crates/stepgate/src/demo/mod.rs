//! The demo: a gate, a small ledger behind it, and two people.

pub mod app;
