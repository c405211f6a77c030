//! The gateway for step-up authentication: configuration, wiring, commands.

pub mod cli;
pub mod commands;
pub mod config;
pub mod demo;
pub mod gate;
mod headless;
pub mod system;

/// A proxied request allocates some eighty times; this takes far less of it than the
/// system's allocator does (`cargo xtask bench proxy`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
