//! The gateway for step-up authentication: configuration, wiring, commands.

pub mod cli;
pub mod commands;
pub mod config;
pub mod demo;
pub mod gate;
pub mod system;
