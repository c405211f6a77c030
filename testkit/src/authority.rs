//! An authority that issues client certificates, takes them back, and says so in lists.

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use sha2::{Digest as _, Sha256};
use stepgate_core::certificate::Thumbprint;
use stepgate_core::time::Timestamp;
use time::OffsetDateTime;

/// The authority; its own certificate never expires.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: Mutex<u64>,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate, PEM.
    pub pem: String,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// The private key, PEM (PKCS #8).
    pub key: String,
    /// The serial number.
    pub serial: u64,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientCertificate").field("serial", &self.serial).finish_non_exhaustive()
    }
}

impl ClientCertificate {
    /// `x5t#S256`.
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::from_bytes(Sha256::digest(&self.der).into())
    }

    /// Certificate and key, PEM.
    pub fn identity(&self) -> String {
        format!("{}{}", self.pem, self.key)
    }

    /// Signed by its own key: nobody vouches for it.
    pub fn self_signed(name: &str, from: Timestamp, until: Timestamp) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, from, until);
        params.serial_number = Some(SerialNumber::from(1));
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().to_vec(), key: key.serialize_pem(), serial: 1 }
    }
}

impl Authority {
    /// One with this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, issued: Mutex::new(0) }
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a certificate for a client.
    pub fn issue(&self, name: &str, from: Timestamp, until: Timestamp) -> ClientCertificate {
        self.issue_with(name, from, until, |_| {})
    }

    /// The same with these alternative names.
    pub fn issue_to(&self, name: &str, names: Vec<SanType>, from: Timestamp, until: Timestamp) -> ClientCertificate {
        self.issue_with(name, from, until, |params| params.subject_alt_names = names)
    }

    /// The same with anything changed.
    pub fn issue_with(
        &self,
        name: &str,
        from: Timestamp,
        until: Timestamp,
        change: impl FnOnce(&mut CertificateParams),
    ) -> ClientCertificate {
        let serial = {
            let mut issued = self.issued.lock();
            *issued += 1;
            *issued
        };
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, from, until);
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        ClientCertificate { pem: certificate.pem(), der: certificate.der().to_vec(), key: key.serialize_pem(), serial }
    }

    /// The list, PEM, of what it took back; the next one comes at `next_update`.
    pub fn revoked(&self, these: &[&ClientCertificate], from: Timestamp, next_update: Timestamp) -> String {
        let revoked = |certificate: &&ClientCertificate| RevokedCertParams {
            serial_number: SerialNumber::from(certificate.serial),
            revocation_time: moment(from),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: moment(from),
            next_update: moment(next_update),
            crl_number: SerialNumber::from(u64::try_from(these.len()).unwrap() + 1),
            issuing_distribution_point: None,
            revoked_certs: these.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn params(name: &str, from: Timestamp, until: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = moment(from);
    params.not_after = moment(until);
    params
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::OrganizationName, "Testkit");
    names.push(DnType::CommonName, name);
    names
}

fn moment(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_ms().div_euclid(1_000)).unwrap()
}
