//! The factors: password, authenticator code, hardware code, passkey, recovery code, and codes that are sent.
//!
//! Each implements [`stepgate_core::factor::Factor`]: it asks, verifies and enrols,
//! and keeps nothing. What a proof changes is handed back, and the store applies it
//! by compare-and-swap; counting tries is the caller's.
//!
//! *Architecture invariant:* every secret is made here from the randomness that is
//! handed in, never taken from a client, and no clock is read.

mod begun;
mod hotp;
mod metadata;
mod oath;
mod passkey;
mod password;
mod push;
mod qr;
mod recovery;
mod seeds;
mod sent;
mod totp;

use std::collections::BTreeMap;
use std::sync::Arc;

use stepgate_core::factor::{DeviceFactor, Factor, FactorKind};

pub use hotp::{Hotp, IN_A_ROW, LookAhead};
pub use metadata::{METADATA_LEN_MAX, Metadata, MetadataAuthority, NotMetadata, REFUSED_STATUSES, is_status};
pub use passkey::{AuthenticatorPolicy, Demands, KnownAuthenticators, PasskeyFactor, user_handle};
pub use password::{Password, PasswordRules};
pub use push::{NoVapidKey, NotEncrypted, Push, VapidKeys, WakeUp};
pub use recovery::RecoveryCodes;
pub use seeds::{BadKey, FILE_MAX, OpensSeeds, TOKENS_MAX, UnreadableSeeds, read_csv, read_pskc};
pub use sent::SentCodes;
pub use totp::{Totp, code_at};

/// What can be chosen about the factors.
#[derive(Clone, Debug, Default)]
pub struct FactorOptions {
    /// Which authenticators may hold a passkey.
    pub authenticators: AuthenticatorPolicy,
    /// Words that no password may be made of, beside the built-in ones and those of the person:
    /// names of services, of the company.
    pub password_words: Vec<String>,
    /// Kinds whose codes are sent, as far as something sends them.
    pub sent: Vec<SentCodes>,
    /// How far ahead a token that counts may be, where such tokens are used.
    pub hardware: Option<LookAhead>,
}

/// Why the factors cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactorSetError {
    /// The origin is no URL.
    #[error("{origin:?} is not an origin")]
    Origin {
        /// What was given.
        origin: String,
    },
    /// A browser would refuse this relying party id on this origin (WebAuthn L3 section 5.1.3).
    #[error("the relying party {id:?} is not the host of {origin:?} nor a parent domain of it")]
    RelyingParty {
        /// The relying party id.
        id: String,
        /// The origin.
        origin: String,
    },
    /// A certificate of an attestation root cannot be read.
    #[error("the attestation root cannot be read: {0}")]
    AttestationRoot(String),
}

/// One verifier for each kind of factor; none is missing.
#[derive(Clone, Debug)]
pub struct FactorSet {
    password: Arc<dyn Factor>,
    totp: Arc<dyn Factor>,
    passkey: Arc<dyn Factor>,
    recovery: Arc<dyn Factor>,
    sent: Vec<Arc<dyn Factor>>,
    hotp: Option<Arc<dyn Factor>>,
    devices: Arc<Push>,
}

impl FactorSet {
    /// The factors of one gate.
    ///
    /// `id` is the relying party id (the gate's host), `origin` the gate's own
    /// origin without trailing slash and the only one whose passkey answers count,
    /// `name` what people read in their authenticator.
    pub fn new(id: &str, origin: &str, name: &str, options: FactorOptions) -> Result<Self, FactorSetError> {
        let rules = PasswordRules::new([id, name].into_iter().chain(options.password_words.iter().map(String::as_str)));
        let passkeys = PasskeyFactor::new(id, origin, name, options.authenticators)?;
        Ok(Self {
            devices: Arc::new(Push::new(passkeys.clone())),
            password: Arc::new(Password::new(rules)),
            totp: Arc::new(Totp::new(name)),
            passkey: Arc::new(passkeys),
            recovery: Arc::new(RecoveryCodes),
            hotp: options.hardware.map(|ahead| Arc::new(Hotp::new(ahead)) as _),
            sent: options.sent.into_iter().map(|sent| Arc::new(sent) as _).collect(),
        })
    }

    /// The verifier of this kind; `None` where nothing here verifies it: a company login is the provider's
    /// to verify, and others are not configured.
    pub fn of(&self, kind: FactorKind) -> Option<&Arc<dyn Factor>> {
        match kind {
            FactorKind::Passkey(_) => Some(&self.passkey),
            FactorKind::Totp => Some(&self.totp),
            FactorKind::Password => Some(&self.password),
            FactorKind::RecoveryCode => Some(&self.recovery),
            FactorKind::Hotp => self.hotp.as_ref(),
            FactorKind::Idp(_) | FactorKind::Certificate | FactorKind::Push(_) => None,
            FactorKind::PhoneCode(_) | FactorKind::EmailCode => {
                self.sent.iter().find(|factor| factor.kind().is_same_factor(kind))
            }
        }
    }

    /// The verifier of approver devices, for a gate that offers them.
    pub fn devices(&self) -> Arc<dyn DeviceFactor> {
        Arc::clone(&self.devices) as _
    }

    /// All of them by kind, as each counts here.
    pub fn into_map(self) -> BTreeMap<FactorKind, Arc<dyn Factor>> {
        FactorKind::ALL.into_iter().filter_map(|kind| self.of(kind)).map(|one| (one.kind(), Arc::clone(one))).collect()
    }
}

#[cfg(test)]
mod tests;
