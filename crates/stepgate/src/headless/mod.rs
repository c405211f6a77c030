//! A browser without a screen and a passkey without a device: for the tour and for rehearsals.

mod authenticator;
mod browser;

pub(crate) use authenticator::Authenticator;
pub(crate) use browser::{Answer, Browser, Page};
