//! Which authenticators may hold a passkey.

use stepgate_core::factor::Aaguid;
use webauthn_rs_core::proto::{AttestationCaList, AttestationCaListBuilder};

use crate::FactorSetError;

/// Which authenticators may hold a passkey; by default any.
///
/// With a list of models the authenticator is asked to attest what it is
/// (WebAuthn L3 section 6.5.4), and a passkey without attestation is refused, so most
/// synced passkeys are. Without `roots` an attestation proves only that it is whole:
/// whoever makes the key could have made the certificate. With `roots` its
/// certificate must lead to one of them.
#[derive(Clone, Debug, Default)]
pub struct AuthenticatorPolicy {
    /// Models by their AAGUID; empty means any.
    pub models: Vec<Aaguid>,
    /// Certificates of the makers, PEM, one in each; empty means that none is asked for.
    pub roots: Vec<String>,
}

impl AuthenticatorPolicy {
    /// Whether the authenticator has to say what it is.
    pub(crate) fn wants_attestation(&self) -> bool {
        !self.models.is_empty()
    }

    /// Whether this model is on the list.
    pub(crate) fn allows(&self, aaguid: Aaguid) -> bool {
        self.models.is_empty() || self.models.contains(&aaguid)
    }

    /// The roots, each for each model; `None` if none is asked for.
    pub(crate) fn roots(&self) -> Result<Option<AttestationCaList>, FactorSetError> {
        if self.roots.is_empty() || self.models.is_empty() {
            return Ok(None);
        }
        let mut list = AttestationCaListBuilder::new();
        for root in &self.roots {
            for model in &self.models {
                // The library's id type is read from text, so that its crate need not be named here.
                let id = model.to_string().parse().map_err(|_| FactorSetError::AttestationRoot(model.to_string()))?;
                list.insert_device_pem(root.as_bytes(), id, model.to_string(), std::collections::BTreeMap::new())
                    .map_err(|error| FactorSetError::AttestationRoot(format!("{error:?}")))?;
            }
        }
        Ok(Some(list.build()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_no_certificate_is_refused_when_the_gate_starts() {
        let policy = AuthenticatorPolicy { models: vec![Aaguid([1; 16])], roots: vec!["no certificate".to_owned()] };
        assert!(matches!(policy.roots(), Err(FactorSetError::AttestationRoot(_))));
    }
}
