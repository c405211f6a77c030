//! The decision: who asks for what, and what they have to prove first.
//!
//! *Architecture invariant:* no I/O, no runtime, no clock and no random generator
//! of its own. What is needed from outside stands in [`ports`] and [`factor`] as
//! traits, and whoever calls a flow hands them in.

pub mod access;
pub mod behaviour;
pub mod catalogue;
pub mod certificate;
pub mod challenge;
pub mod decide;
pub mod factor;
pub mod flows;
pub mod id;
pub mod inputs;
pub mod machine;
pub mod operation;
pub mod person;
pub mod policy;
pub mod ports;
pub mod prompts;
pub mod provider;
pub mod push;
pub mod replay;
pub mod risk;
pub mod secret;
pub mod session;
pub mod signals;
pub mod similar;
pub mod surroundings;
pub mod time;
pub mod web;
