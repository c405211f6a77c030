//! Security event tokens (RFC 8417, SSF 1.0, CAEP 1.0), verified.

mod event;
mod reach;
mod sign;
mod subscribe;

use std::collections::BTreeMap;

use async_trait::async_trait;
use stepgate_core::signals::{NotASet, SET_LEN_MAX, SecurityEvent, Transmitter, Transmitters};
use stepgate_core::time::Timestamp;

use crate::jws::{Jws, JwsError};
use crate::keys::{Algorithm, KeyError, Keys};

pub use reach::{Deliver, Poller};
pub use sign::{NoSetKey, RsaSetSigner, SetKey};
pub use subscribe::{DefaultSubjects, Delivery, NotSubscribed, Subscriber, Subscription};

/// What security events may be signed with. The interoperability profile demands RS256.
pub const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];

/// A transmitter, and how its tokens are verified.
#[derive(Clone, Debug)]
pub struct TrustedTransmitter {
    /// What the flows know of it.
    pub transmitter: Transmitter,
    /// `iss` of its tokens.
    pub issuer: String,
    /// `aud` of its tokens: us.
    pub audience: String,
    /// Its keys.
    pub keys: Keys,
}

/// The transmitters of the configuration.
#[derive(Clone, Debug, Default)]
pub struct TrustedTransmitters {
    by_name: BTreeMap<String, TrustedTransmitter>,
}

impl TrustedTransmitters {
    /// These transmitters.
    pub fn new(all: impl IntoIterator<Item = TrustedTransmitter>) -> Self {
        Self { by_name: all.into_iter().map(|one| (one.transmitter.name.clone(), one)).collect() }
    }
}

#[async_trait]
impl Transmitters for TrustedTransmitters {
    fn named(&self, name: &str) -> Option<&Transmitter> {
        self.by_name.get(name).map(|one| &one.transmitter)
    }

    async fn verify(&self, name: &str, set: &str, now: Timestamp) -> Result<SecurityEvent, NotASet> {
        let trusted = self.by_name.get(name).ok_or(NotASet::Unknown)?;
        let read = Jws::read(set, SET_LEN_MAX).map_err(refused)?;
        // SSF 1.0, section 4.1.6: explicitly typed, so that no other token of the issuer is one.
        if read.kind().as_deref() != Some("secevent+jwt") {
            return Err(NotASet::Invalid("typ is not secevent+jwt".to_owned()));
        }
        // Said before the keys are asked for, so that a foreign token makes nobody fetch anything.
        if read.unverified_issuer() != Some(trusted.issuer.as_str()) {
            return Err(NotASet::Issuer);
        }
        let verified = read.verify(&trusted.keys, &ALGORITHMS, now).await.map_err(refused)?;
        event::read(&verified.claims, &trusted.issuer, &trusted.audience, now)
    }
}

fn refused(error: JwsError) -> NotASet {
    match error {
        JwsError::Key(KeyError::Away(why)) => NotASet::Away(why),
        JwsError::Key(error) => NotASet::Key(error.to_string()),
        JwsError::Signature | JwsError::Algorithm => NotASet::NotAuthentic(error.to_string()),
        other => NotASet::Invalid(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
