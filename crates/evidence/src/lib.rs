//! What Stepgate writes into its ledger.
//!
//! [`Entry`] is one thing that happened; [`Statement`] is what a person confirms
//! with one touch; [`Details`] is what may be erased later and therefore lies
//! beside the tree; [`verify_assertion`] is the one check of a WebAuthn
//! assertion, used when the key is touched and years later; [`verify_login`] is
//! the check of a company login from what was kept of it.
//!
//! *Architecture invariant:* nothing here reads a clock, a random generator, a
//! file or a socket. The offline verifier needs this crate and `stepgate-ledger`,
//! nothing else.

pub mod assertion;
pub mod cose;
mod details;
mod entry;
pub mod login;
mod statement;
mod titles;
pub mod verify;
mod words;

pub use assertion::{Assertion, AssertionError, Credential, RelyingParty, Verified, verify_assertion};
pub use cose::PublicKey;
pub use details::{Details, DetailsError, SALT_LEN, Salt};
pub use entry::{
    AgentName, Asked, EnrolledKey, Entry, EntryError, Event, FactorProof, LoginProof, Outcome, TOKEN_PREFIX,
};
pub use login::{LoginError, ProviderKeys, VerifiedLogin, verify_login};
pub use statement::{
    Asker, CONFIRM_CONTEXT, Grant, NO_PERMIT, PolicyRef, SIGN_IN_CONTEXT, SignInStatement, Statement, StatementError,
};
pub use titles::Titles;
