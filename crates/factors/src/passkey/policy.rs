//! Which authenticators may hold a passkey.

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
    pub models: Vec<[u8; 16]>,
    /// Certificates of the makers, PEM, one in each; empty means that none is asked for.
    pub roots: Vec<String>,
}

impl AuthenticatorPolicy {
    /// Whether the authenticator has to say what it is.
    pub(crate) fn wants_attestation(&self) -> bool {
        !self.models.is_empty()
    }

    /// Whether this model is on the list.
    pub(crate) fn allows(&self, aaguid: &[u8; 16]) -> bool {
        self.models.is_empty() || self.models.contains(aaguid)
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
                let id = uuid(model).parse().map_err(|_| FactorSetError::AttestationRoot(uuid(model)))?;
                list.insert_device_pem(root.as_bytes(), id, uuid(model), std::collections::BTreeMap::new())
                    .map_err(|error| FactorSetError::AttestationRoot(format!("{error:?}")))?;
            }
        }
        Ok(Some(list.build()))
    }
}

/// An AAGUID in UUID form (RFC 9562 section 4).
pub(crate) fn uuid(bytes: &[u8; 16]) -> String {
    let hex = hex::encode(bytes);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aaguid_is_written_as_a_uuid() {
        let bytes: [u8; 16] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }

    #[test]
    fn a_root_that_is_no_certificate_is_refused_when_the_gate_starts() {
        let policy = AuthenticatorPolicy { models: vec![[1; 16]], roots: vec!["no certificate".to_owned()] };
        assert!(matches!(policy.roots(), Err(FactorSetError::AttestationRoot(_))));
    }
}
