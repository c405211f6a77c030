//! Logins at identity providers: on their way, and those that a session rests on.

use std::net::IpAddr;

use secrecy::SecretString;

use crate::id::{PersonId, SessionId};
use crate::provider::ProviderName;
use crate::secret::TokenDigest;
use crate::time::Timestamp;

/// A browser that was sent to a provider and has not come back.
#[derive(Clone, Debug)]
pub struct PendingLogin {
    /// What it is looked up by: the digest of OAuth's `state`.
    pub state: TokenDigest,
    /// The browser that left.
    pub browser: TokenDigest,
    /// Who left, as it is counted: nobody pushes out what others have on its way.
    pub by: LeftBy,
    /// Where to.
    pub provider: ProviderName,
    /// What for, and what is needed to finish it; sealed.
    pub kept: SecretString,
    /// Until when it may come back.
    pub expires_at: Timestamp,
}

/// Who left for a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftBy {
    /// Nobody knows who: somebody who is to sign in, from this network.
    Stranger(IpAddr),
    /// Somebody who is signed in and answers a challenge.
    Session(SessionId),
}

/// The login at a provider that a session rests on.
#[derive(Clone, Debug)]
pub struct ProviderLogin {
    /// The provider.
    pub provider: ProviderName,
    /// Its issuer identifier, when the person came from there; sealed.
    pub issuer: String,
    /// Digest of issuer and subject.
    pub identity: [u8; 32],
    /// `sub`; sealed.
    pub subject: String,
    /// When the browser left for the provider: a logout that came since ended this login too.
    pub left_at: Timestamp,
    /// The provider's own session, if it named one.
    pub sid: Option<String>,
    /// The ID token, for the logout there; sealed.
    pub id_token: SecretString,
    /// Renews the login; sealed.
    pub refresh_token: Option<SecretString>,
    /// When to ask whether it still stands; `None`: never.
    pub renew_at: Option<Timestamp>,
}

/// A session whose provider is to be asked whether its login still stands.
#[derive(Clone, Debug)]
pub struct DueRenewal {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub person: PersonId,
    /// Whom to ask, as the configuration called it.
    pub provider: ProviderName,
    /// Whom to ask: the same, if it still has this issuer identifier.
    pub issuer: String,
    /// Of whom.
    pub subject: String,
    /// What with.
    pub refresh_token: SecretString,
}

/// What is to be renewed next.
#[derive(Clone, Debug)]
pub enum Renewal {
    /// Nothing now.
    None,
    /// A login whose row cannot be read: it is put off, the log says why, and others may be due.
    Unreadable,
    /// This one.
    Due(DueRenewal),
}

/// What a provider's logout concerns: the sessions of its own session, and those of the
/// person that name none; without its session, all of the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedOut {
    /// The provider's session.
    pub sid: Option<String>,
    /// Whose it is.
    pub identity: Option<[u8; 32]>,
}
