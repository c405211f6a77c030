//! Which authenticators may hold a passkey.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use stepgate_core::factor::{Aaguid, KnownModels};
use webauthn_rs_core::proto::{AttestationCaList, AttestationCaListBuilder};

use crate::FactorSetError;
use crate::metadata::Metadata;

/// Which authenticators may hold a passkey; by default any.
///
/// With a list of models the authenticator is asked to attest what it is
/// (WebAuthn L3 section 6.5.4), and a passkey without attestation is refused, so most
/// synced passkeys are. Without `roots` or metadata an attestation proves only that it is whole:
/// whoever makes the key could have made the certificate. With them its
/// certificate must lead to one of the model's.
#[derive(Clone, Debug, Default)]
pub struct AuthenticatorPolicy {
    /// Models by their AAGUID; empty means any.
    pub models: Vec<Aaguid>,
    /// Certificates of the makers, PEM, one in each; empty means that none is asked for.
    pub roots: Vec<String>,
    /// What is published of models, and what is demanded of them because of it.
    pub metadata: Option<Arc<KnownAuthenticators>>,
}

/// What metadata has to say of an authenticator that is enrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// Its attestation has to lead to a certificate that the metadata names for its model.
    pub attestation: bool,
    /// It has to be certified for this level or a higher one; 0: for none. A level demands an attestation.
    pub level: u8,
    /// Whether metadata that is past its next update still says what may be enrolled.
    pub accepts_stale: bool,
}

/// What is published of models, as it is known by now. Nothing is before the first list is taken.
pub struct KnownAuthenticators {
    demands: Demands,
    models: Arc<KnownModels>,
    roots: ArcSwap<Option<AttestationCaList>>,
    is_stale: AtomicBool,
}

impl KnownAuthenticators {
    /// Tells what it knows of models to `models` as well, where decisions look.
    pub fn new(demands: Demands, models: Arc<KnownModels>) -> Self {
        Self { demands, models, roots: ArcSwap::default(), is_stale: AtomicBool::new(false) }
    }

    /// From now on it is this list.
    ///
    /// # Errors
    ///
    /// [`FactorSetError::AttestationRoot`]; what was known stays.
    pub fn replace(&self, metadata: &Metadata) -> Result<(), FactorSetError> {
        let mut list = AttestationCaListBuilder::new();
        for (aaguid, root) in metadata.roots() {
            // One maker's unreadable certificate is no reason to know nothing of all others: it vouches for nothing.
            if let Err(error) = list.insert_device_der(root, id_of(aaguid)?, aaguid.to_string(), BTreeMap::new()) {
                tracing::warn!(%aaguid, ?error, "a certificate of the authenticators' metadata cannot be read");
            }
        }
        let list = list.build();
        self.roots.store(Arc::new((!list.is_empty()).then_some(list)));
        self.models.replace(metadata.models());
        Ok(())
    }

    /// Whether the list is past its next update.
    pub fn note_stale(&self, is_stale: bool) {
        self.is_stale.store(is_stale, Ordering::Relaxed);
    }

    /// What is known of models.
    pub fn models(&self) -> &KnownModels {
        &self.models
    }

    pub(super) fn demands(&self) -> Demands {
        self.demands
    }

    /// Whether what is known is too old to enrol by.
    pub(super) fn is_too_old(&self) -> bool {
        self.is_stale.load(Ordering::Relaxed) && !self.demands.accepts_stale
    }

    pub(super) fn roots(&self) -> Arc<Option<AttestationCaList>> {
        self.roots.load_full()
    }
}

impl fmt::Debug for KnownAuthenticators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnownAuthenticators({:?}, {:?})", self.demands, self.models)
    }
}

impl AuthenticatorPolicy {
    /// Whether the authenticator is asked what it is.
    pub(crate) fn asks_for_attestation(&self) -> bool {
        !self.models.is_empty() || self.metadata.is_some()
    }

    /// Whether somebody has to vouch for what it says, whoever that is.
    pub(crate) fn demands_attestation(&self) -> bool {
        !self.models.is_empty() || self.demands_known_maker()
    }

    /// Whether that has to be somebody who is known.
    pub(crate) fn demands_known_maker(&self) -> bool {
        let demands = self.metadata.as_ref().map(|metadata| metadata.demands());
        !self.roots.is_empty()
            || demands.is_some_and(|demands| demands.attestation || demands.level > 0 || !self.models.is_empty())
    }

    /// Whether this model is on the list.
    pub(crate) fn allows(&self, aaguid: Aaguid) -> bool {
        self.models.is_empty() || self.models.contains(&aaguid)
    }

    /// The configured roots, each for each model; `None` if none is asked for.
    pub(crate) fn roots(&self) -> Result<Option<AttestationCaList>, FactorSetError> {
        if self.roots.is_empty() || self.models.is_empty() {
            return Ok(None);
        }
        let mut list = AttestationCaListBuilder::new();
        for root in &self.roots {
            for model in &self.models {
                list.insert_device_pem(root.as_bytes(), id_of(*model)?, model.to_string(), BTreeMap::new())
                    .map_err(|error| FactorSetError::AttestationRoot(format!("{error:?}")))?;
            }
        }
        Ok(Some(list.build()))
    }
}

/// The library's id of a model is read from text, so that its crate need not be named here.
fn id_of<T: std::str::FromStr>(model: Aaguid) -> Result<T, FactorSetError> {
    model.to_string().parse().map_err(|_| FactorSetError::AttestationRoot(model.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_no_certificate_is_refused_when_the_gate_starts() {
        let roots = vec!["no certificate".to_owned()];
        let policy = AuthenticatorPolicy { models: vec![Aaguid([1; 16])], roots, ..AuthenticatorPolicy::default() };
        assert!(matches!(policy.roots(), Err(FactorSetError::AttestationRoot(_))));
    }
}
