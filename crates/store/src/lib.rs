//! SQLite and PostgreSQL behind the ports of stepgate-core: one text of SQL for both.
//!
//! ```text
//! Store (port) ─► Database ─► intents ─► writer ─► one transaction: savepoints, then the ledger's head
//!                    └──────► reads ──► memory (sessions), or a connection that cannot write
//! ```
//!
//! *Architecture invariant:* only this crate holds SQL. All changes of a process go
//! through its one writer, which takes the ledger's head row last; nothing else
//! writes, command-line tools included.

mod accounts;
mod approvals;
mod backend;
mod cache;
mod challenge_row;
mod challenges;
mod changes;
mod checkpoint_keys;
mod codes;
mod database;
mod departed;
mod devices;
mod enrolment;
mod error;
mod evidence;
mod factors;
mod groups;
mod hardware;
mod held;
mod inner;
mod intent;
mod keys;
mod known;
mod ledger;
mod logins;
mod lookup;
mod machines;
mod maintenance;
mod options;
mod people;
#[cfg(test)]
mod plans;
mod profiles;
mod row;
mod schema;
mod seal;
mod sent_codes;
mod sessions;
mod signals;
mod sinks;
mod spend;
mod store;
mod streams;
mod subscriptions;
mod tokens;
mod tries;
mod writer;

pub use backend::{NotAStoreUrl, NotPrivate, StoreUrl};
pub use checkpoint_keys::{CheckpointKey, FormerKey};
pub use database::{Database, OpenError};
pub use keys::{AssertionKey, KeyRotation, SealedKey, SigningKeys};
pub use ledger::BrokenLedger;
pub use options::{OlderSchema, Options};
pub use schema::{SCHEMA_VERSION, SchemaError};
pub use seal::{Keyring, KeyringError, MASTER_KEY_LEN, MASTER_KEYS_MAX};
