//! What tests stand on: a software authenticator, a throwaway PostgreSQL, a
//! browser with a virtual passkey, an upstream that records what reaches it, a
//! third-party application, a clock that is set by hand and chance that repeats.
//!
//! *Architecture invariant:* only tests depend on this crate. A program that is
//! missing is a failed test that names `cargo xtask test`, never a skipped one,
//! and everything that is started ends with the test process, even if that is
//! killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

pub mod authenticator;
pub mod authority;
pub mod browser;
pub mod certified_provider;
pub mod clock;
pub mod habits;
pub mod leash;
pub mod mail_server;
pub mod node_red;
pub mod page;
pub mod person;
pub mod postgres;
pub mod programs;
pub mod provider;
pub mod push_device;
mod randomness;
pub mod recording;
pub mod rsyslog;
pub mod scim_checkers;
pub mod severed;
pub mod signer;
pub mod totp;
pub mod upstream;

pub use authenticator::{Ceremony, Flags, SoftwareAuthenticator};
pub use authority::{Authority, ClientCertificate};
pub use browser::{Browser, VirtualAuthenticator};
pub use certified_provider::CertifiedProvider;
pub use clock::FakeClock;
pub use mail_server::{Mail, MailServer};
pub use node_red::NodeRed;
pub use page::{Form, Page};
pub use person::{From, Person};
pub use postgres::Postgres;
pub use provider::TestProvider;
pub use push_device::{PushDevice, Vapid};
pub use randomness::SeededRandomness;
pub use recording::RecordedRequest;
pub use rsyslog::Rsyslog;
pub use severed::{SeveredAt, SeveredWire};
pub use signer::Signer;
pub use upstream::{Answer, RecordingHop, RecordingUpstream};
