//! The gateway for step-up authentication: configuration, wiring, commands.

pub mod config;
pub mod demo;
pub mod system;
