//! Sign-in, step-up, renewal and logout at a provider, an honest one and one that lies
//! in each way that the catalogue of attacks names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod asked;
mod certified;
mod house;
mod lies;
mod limits;
mod logout;
mod metadata;
mod settings;
