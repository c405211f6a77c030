//! COSE public keys.

/// A public key.
#[derive(Clone, Debug)]
pub struct PublicKey {
    cose: Vec<u8>,
}
impl PublicKey {
    /// Reads a COSE key.
    pub fn from_cose(bytes: &[u8]) -> Result<Self, crate::assertion::AssertionError> {
        Ok(Self { cose: bytes.to_vec() })
    }
    /// The COSE key.
    pub fn to_cose(&self) -> &[u8] {
        &self.cose
    }
}
