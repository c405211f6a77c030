//! Sessions, proofs and assurance.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::catalogue::Host;
use crate::factor::{FactorKind, Strength};
use crate::id::SessionId;
use crate::person::Person;
use crate::provider::ProviderName;
use crate::risk::Risk;
use crate::secret::TokenDigest;
use crate::surroundings::{Surroundings, network_of};
use crate::time::Timestamp;

/// One factor, verified at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What was proved.
    pub kind: FactorKind,
    /// When.
    pub at: Timestamp,
    /// The generation of the session that this proof made: a token of an older
    /// generation does not see it.
    pub generation: u32,
}

/// Everything that a session has proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assurance {
    proofs: Vec<Proof>,
}

impl Assurance {
    /// The assurance made of these proofs.
    pub fn new(proofs: Vec<Proof>) -> Self {
        Self { proofs }
    }

    /// The proofs.
    pub fn proofs(&self) -> &[Proof] {
        &self.proofs
    }

    /// What a token of this generation sees.
    #[must_use]
    pub fn seen_by(&self, generation: u32) -> Self {
        Self { proofs: self.proofs.iter().copied().filter(|proof| proof.generation <= generation).collect() }
    }

    /// This assurance and one more proof.
    #[must_use]
    pub fn with(&self, proof: Proof) -> Self {
        let mut proofs = self.proofs.clone();
        proofs.push(proof);
        Self { proofs }
    }

    /// The time of the youngest proof: OpenID Connect's `auth_time`.
    pub fn latest(&self) -> Option<Timestamp> {
        self.proofs.iter().map(|proof| proof.at).max()
    }
}

/// Authentication context class of what was proved, for `acr`: `phr`
/// (phishing-resistant, OpenID EAP), `mfa` (knowledge and possession), or the
/// name of the one factor; `none` if nothing was.
pub fn acr(proved: &[FactorKind]) -> &'static str {
    let counts_as = |wanted: Strength| proved.iter().any(|kind| kind.strength().covers(wanted));
    if counts_as(Strength::PHISHING_RESISTANT) {
        return "phr";
    }
    let (knows, has) = (counts_as(Strength::KNOWLEDGE), counts_as(Strength::POSSESSION));
    match proved.iter().min() {
        _ if knows && has => "mfa",
        Some(kind) => kind.name(),
        None => "none",
    }
}

/// Authentication method references (RFC 8176), sorted, each once.
pub fn amr(proved: &[FactorKind]) -> Vec<&'static str> {
    let mut amr: Vec<_> = proved.iter().flat_map(|kind| kind.amr().iter().copied()).collect();
    if acr(proved) == "mfa" {
        amr.push("mfa");
    }
    amr.sort_unstable();
    amr.dedup();
    amr
}

/// Where a session token is accepted: a token for one host is worthless on another.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Audience {
    /// The gate's own origin.
    Gate,
    /// One service host.
    Host(Host),
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gate => f.write_str("Audience::Gate"),
            Self::Host(host) => write!(f, "Audience::Host({host})"),
        }
    }
}

/// A session as one of its tokens shows it.
///
/// What `decide` judges: the assurance is that of the token's generation.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// The session.
    pub id: SessionId,
    /// Who it belongs to.
    pub person: Arc<Person>,
    /// Where the token is accepted.
    pub audience: Audience,
    /// The generation of the token.
    pub generation: u32,
    /// The newest generation of the session.
    pub newest_generation: u32,
    /// What the token's generation has proved.
    pub assurance: Assurance,
    /// The kinds of factors that the person has enrolled.
    pub enrolled: Arc<[FactorKind]>,
    /// The identity providers where the person is known, by name.
    pub providers: Arc<[ProviderName]>,
    /// What other systems told of risks, of this person or session.
    pub risks: Arc<[Risk]>,
    /// When the person signed in.
    pub started_at: Timestamp,
    /// When it was last used, as far as this node knows (coarse: within a minute).
    pub last_used_at: Timestamp,
    /// When it ends, used or not.
    pub ends_at: Timestamp,
    /// The browser that the token was given to, if it was given to a browser.
    pub browser: Option<TokenDigest>,
    /// The device that signed in.
    pub device: Device,
    /// The address that signed in.
    pub address: IpAddr,
    /// The country of that address, as it was known then; `ZZ` if it was not.
    pub country: String,
    /// The user agent that signed in, shortened.
    pub agent: String,
    /// Whether a token of this session was seen again long after its successor was used.
    pub token_reused: bool,
}

/// The device that signed in, as its person knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// When a session of this person on it was first let to a service; `None` if none ever was, or it is not
    /// remembered any more. What a sign-in asked for and was not given makes no device familiar.
    pub first_seen: Option<Timestamp>,
    /// When one was last let to a service, before this sign-in; `None` if none ever was.
    pub seen_before: Option<Timestamp>,
    /// What the person calls it; empty if they have not named it.
    pub name: String,
    /// The digest of its cookie, by which failures are counted; `None` if it is not known.
    pub cookie: Option<TokenDigest>,
}

impl Device {
    /// Whether the person had used it before this sign-in, and has not forgotten it since.
    pub fn is_known(&self) -> bool {
        // One that was forgotten and signed in with again began anew.
        matches!((self.first_seen, self.seen_before), (Some(first), Some(before)) if first <= before)
    }
}

/// What is different from the sign-in in how a session is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The address; of IPv6 the first 64 bits count, since devices change the rest by themselves.
    pub address: bool,
    /// The user agent.
    pub agent: bool,
}

impl SessionView {
    /// Whether the session has proved something since that this token does not see.
    pub fn is_behind(&self) -> bool {
        self.generation < self.newest_generation
    }

    /// What is different now from the sign-in.
    pub fn changed(&self, now: &Surroundings) -> Changed {
        Changed { address: network_of(self.address) != network_of(now.address), agent: self.agent != now.agent }
    }

    /// Whether it is used from another country than the one that signed in. From a known country to an unknown
    /// place, or back, is a change; the same address is at the same place, whatever newer databases say of it.
    pub fn country_changed(&self, now: &Surroundings) -> bool {
        self.changed(now).address && self.country != now.located.place().country
    }
}

/// How long sessions live. Defaults: SP 800-63B-4 section 2.2.3 (AAL2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLifetimes {
    /// Used or not, the session ends after this.
    pub absolute: Duration,
    /// Unused for this long, the session ends.
    pub idle: Duration,
}

impl Default for SessionLifetimes {
    fn default() -> Self {
        Self { absolute: Duration::from_secs(24 * 3600), idle: Duration::from_secs(3600) }
    }
}

/// How long an old token lives after its successor was issued, if the successor is not used before.
pub const OLD_TOKEN_GRACE: Duration = Duration::from_secs(60);
