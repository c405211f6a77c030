//! The pages that people see: sign-in, challenge, enrolment, own account, evidence.
//!
//! Pages are rendered on the server from typed views ([`views`]) and work
//! without JavaScript, but for the one call to the browser that a passkey needs.
//! Style and scripts are three files of our own ([`assets`]); nothing is loaded
//! from anywhere else, and the content security policy ([`page`]) says so.
//!
//! *Architecture invariant:* nothing is decided here. A handler reads what was
//! sent, calls one flow of the core, and shows what came of it.

mod activity;
pub mod assets;
mod console;
pub mod device;
mod evidence;
mod failure;
mod handlers;
pub mod http;
mod next;
pub mod outcomes;
pub mod page;
mod present;
mod service;
pub mod views;
mod visit;
mod wire;
pub mod words;

pub use service::{Account, Pages};
