//! The list's signature: a compact JWS (RFC 7515) whose certificate leads to a root (MDS 3.1 section 3.2).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use serde::Deserialize;
use stepgate_core::time::Timestamp;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{METADATA_LEN_MAX, Metadata, NotMetadata};

/// Whose certificate signs the list.
const SIGNER: &str = "mds.fidoalliance.org";
/// Most certificates that come with it.
const CHAIN_MAX: usize = 6;

/// Who is believed of authenticators: a root, and what of its certificates was taken back.
pub struct MetadataAuthority {
    verifier: Arc<WebPkiServerVerifier>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    x5c: Vec<String>,
    /// What else has to be understood: nothing is.
    crit: Option<serde_json::Value>,
}

impl MetadataAuthority {
    /// Believes certificates that lead to `root` (PEM) and are on none of `lists` (PEM). With a list of any issuer,
    /// one of each issuer on the way is needed.
    ///
    /// # Errors
    ///
    /// [`NotMetadata::Root`].
    pub fn new(root: &[u8], lists: &[Vec<u8>]) -> Result<Self, NotMetadata> {
        let unreadable = |error: &dyn fmt::Display| NotMetadata::Root(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(root) {
            roots.add(certificate.map_err(|error| unreadable(&error))?).map_err(|error| unreadable(&error))?;
        }
        let lists = lists.iter().flat_map(|list| CertificateRevocationListDer::pem_slice_iter(list));
        let lists = lists.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(&error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(lists)
            .build()
            .map_err(|error| unreadable(&error))?;
        Ok(Self { verifier })
    }

    /// Reads a list as of now. `refused`: statuses of models that are not believed.
    ///
    /// # Errors
    ///
    /// [`NotMetadata`]: nothing of it is believed. Its number is the caller's to hold against the last one.
    pub fn read(&self, list: &[u8], now: Timestamp, refused: &BTreeSet<String>) -> Result<Metadata, NotMetadata> {
        if list.len() > METADATA_LEN_MAX {
            return Err(NotMetadata::TooLong);
        }
        let text = std::str::from_utf8(list).map_err(|_| NotMetadata::Form("it is not text"))?.trim_ascii_end();
        let (signed, signature) = text.rsplit_once('.').ok_or(NotMetadata::Form("it has no signature"))?;
        let (header, payload) = signed.split_once('.').ok_or(NotMetadata::Form("it has no header"))?;
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| NotMetadata::Form("a part is not base64url"));
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| NotMetadata::Form("its header cannot be read"))?;
        if header.crit.is_some() {
            return Err(NotMetadata::Form("its header asks for more than is understood"));
        }
        let chain = chain(&header)?;
        let (leaf, others) = chain.split_first().ok_or(NotMetadata::Form("no certificate comes with it"))?;
        self.believe(leaf, others, now)?;
        verify(&header.alg, leaf, signed.as_bytes(), &decode(signature)?)?;
        Metadata::read(&decode(payload)?, refused)
    }

    fn believe(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(), NotMetadata> {
        let name = ServerName::try_from(SIGNER).map_err(|_| NotMetadata::Form("the signer's name is none"))?;
        let since_1970 = Duration::from_millis(u64::try_from(now.as_ms()).unwrap_or_default());
        let at = UnixTime::since_unix_epoch(since_1970);
        let believed = self.verifier.verify_server_cert(leaf, others, &name, &[], at);
        believed.map(|_| ()).map_err(NotMetadata::Certificate)
    }
}

fn chain(header: &Header) -> Result<Vec<CertificateDer<'static>>, NotMetadata> {
    if header.x5c.len() > CHAIN_MAX {
        return Err(NotMetadata::Form("too many certificates come with it"));
    }
    let one = |text: &String| STANDARD.decode(text).map(CertificateDer::from);
    header.x5c.iter().map(one).collect::<Result<_, _>>().map_err(|_| NotMetadata::Form("a certificate is not base64"))
}

/// The key is the certificate's, the algorithm one of two: nothing that the list says of itself chooses another.
fn verify(alg: &str, leaf: &CertificateDer<'_>, signed: &[u8], signature: &[u8]) -> Result<(), NotMetadata> {
    let algorithm: &dyn VerificationAlgorithm = match alg {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "ES256" => &ECDSA_P256_SHA256_FIXED,
        other => return Err(NotMetadata::Algorithm(other.chars().take(20).collect())),
    };
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|_| NotMetadata::Form("its certificate cannot be read"))?;
    let key = &certificate.public_key().subject_public_key.data;
    UnparsedPublicKey::new(algorithm, key).verify(signed, signature).map_err(|_| NotMetadata::Signature)
}

impl fmt::Debug for MetadataAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetadataAuthority(..)")
    }
}
