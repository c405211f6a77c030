//! What others sign about people and programs, verified: the company's identity
//! provider, access tokens, security events.
//!
//! *Architecture invariant:* this is the only room that reads what somebody else
//! signed. It gives back what holds and what the configuration says that it is worth;
//! whether that suffices is decided in the core.

pub mod http;
mod json;
pub mod jws;
pub mod keys;
pub mod provider;
mod refreshed;
pub mod signals;
pub mod tokens;
