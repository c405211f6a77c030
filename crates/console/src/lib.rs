//! The pages that people see: sign-in, challenge, enrolment, own account.
//!
//! Pages are rendered on the server from typed views ([`views`]) and work
//! without JavaScript, but for the one call to the browser that a passkey needs.
//! Style and scripts are three files of our own ([`assets`]); nothing is loaded
//! from anywhere else, and the content security policy ([`page`]) says so.

pub mod assets;
pub mod outcomes;
pub mod page;
pub mod views;
pub mod words;
