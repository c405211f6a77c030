//! The list that FIDO's metadata service publishes (MDS 3.1, section 3), made and signed by a service made up for the test.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

use super::*;
use crate::metadata::{Metadata, MetadataAuthority, NotMetadata};

const MODEL: &str = "abababab-abab-abab-abab-abababababab";

/// A metadata service: its root, and the certificate that signs its list.
pub(super) struct Service {
    root: String,
    issuer: Issuer<'static, KeyPair>,
    key: KeyPair,
    leaf: Vec<u8>,
}

impl Service {
    pub(super) fn new() -> Self {
        Self::signing_as("mds.fidoalliance.org")
    }

    fn signing_as(name: &str) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&root_key).unwrap().pem();
        let issuer = Issuer::new(params, root_key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(7));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2029, 1, 1);
        let leaf = params.signed_by(&key, &issuer).unwrap().der().to_vec();
        Self { root, issuer, key, leaf }
    }

    fn sign_with(&self, alg: &str, payload: &str) -> Vec<u8> {
        let header = json!({ "alg": alg, "typ": "JWT", "x5c": [STANDARD.encode(&self.leaf)] });
        let signed = [header.to_string().as_str(), payload].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.key.serialize_der()).unwrap();
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}\n", URL_SAFE_NO_PAD.encode(signature)).into_bytes()
    }

    pub(super) fn list(&self, payload: &Value) -> Vec<u8> {
        self.sign_with("ES256", &payload.to_string())
    }

    pub(super) fn read(&self, list: &[u8]) -> Result<Metadata, NotMetadata> {
        self.read_at(list, NOW, &[])
    }

    fn read_at(&self, list: &[u8], now: Timestamp, lists: &[Vec<u8>]) -> Result<Metadata, NotMetadata> {
        let refused: BTreeSet<String> = crate::REFUSED_STATUSES.map(str::to_owned).into();
        MetadataAuthority::new(self.root.as_bytes(), lists).unwrap().read(list, now, &refused)
    }

    /// A revocation list, with these serial numbers on it.
    fn revoking(&self, serials: &[u64]) -> Vec<u8> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2028, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap().into_bytes()
    }
}

/// A list with these entries.
pub(super) fn payload(entries: &Value) -> Value {
    json!({ "legalHeader": "none", "no": 42, "nextUpdate": "2027-01-31", "entries": entries })
}

pub(super) fn entry(model: &str, statuses: &[&str], roots: &[String]) -> Value {
    let report =
        |status: &&str| json!({ "status": status, "effectiveDate": "2024-05-01", "url": "https://example.com" });
    json!({
        "aaguid": model,
        "metadataStatement": {
            "description": "A key",
            "attestationRootCertificates": roots,
            "icon": "data:image/png;base64,AAAA",
            "upv": [{ "major": 1, "minor": 0 }],
        },
        "statusReports": statuses.iter().map(report).collect::<Vec<_>>(),
        "timeOfLastStatusChange": "2024-05-01",
    })
}

#[test]
fn a_list_says_what_is_known_of_models() {
    let service = Service::new();
    let u2f = json!({ "attestationCertificateKeyIdentifiers": ["00"], "statusReports": [{ "status": "REVOKED" }] });
    let other = "cdcdcdcd-cdcd-cdcd-cdcd-cdcdcdcdcdcd";
    let root = STANDARD.encode([1, 2, 3]);
    let entries = json!([
        entry(MODEL, &["FIDO_CERTIFIED_L1", "FIDO_CERTIFIED_L2"], &[format!("{} \n{}", &root[..2], &root[2..])]),
        u2f,
        entry(other, &["FIDO_CERTIFIED_L1", "REVOKED"], &["no base64!".to_owned()]),
    ]);
    let metadata = service.read(&service.list(&payload(&entries))).unwrap();
    assert_eq!(metadata.number, 42);
    // 2027-02-01T00:00:00Z: until then the day that it names is not over.
    assert_eq!(metadata.next_update, Timestamp::from_ms(1_801_440_000_000));
    let models = metadata.models();
    let facts = |model: &str| models.of(model.parse().unwrap()).unwrap().clone();
    assert_eq!((facts(MODEL).certified, facts(MODEL).is_refused, facts(MODEL).name.as_str()), (2, false, "A key"));
    assert_eq!((facts(other).status.as_str(), facts(other).is_refused), ("REVOKED", true));
    let roots: Vec<_> = metadata.roots().collect();
    assert_eq!(roots, [(MODEL.parse().unwrap(), &[1, 2, 3][..])], "what cannot be read vouches for nothing");
}

#[test]
fn b157_a_list_that_nobody_believed_signed_says_nothing() {
    let (service, other) = (Service::new(), Service::new());
    let body = payload(&json!([entry(MODEL, &["FIDO_CERTIFIED_L1"], &[])]));
    let good = service.list(&body);
    service.read(&good).unwrap();
    let certificate = |error: &NotMetadata| matches!(error, NotMetadata::Certificate(_));
    let check = |what: &str, outcome: Result<Metadata, NotMetadata>, is: &dyn Fn(&NotMetadata) -> bool| {
        let error = outcome.expect_err(what);
        assert!(is(&error), "{what}: {error:?}");
    };
    check("another root", other.read(&good), &certificate);
    let wiki = Service::signing_as("mds.example.org");
    check("another name", wiki.read(&wiki.list(&body)), &certificate);
    let later = NOW.plus(Duration::from_secs(6 * 366 * 24 * 3600));
    check("an expired certificate", service.read_at(&good, later, &[]), &certificate);
    check("a revoked certificate", service.read_at(&good, NOW, &[service.revoking(&[7])]), &certificate);
    service.read_at(&good, NOW, &[service.revoking(&[8])]).unwrap();

    let text = String::from_utf8(good).unwrap();
    let parts: Vec<&str> = text.trim_end().split('.').collect();
    let forged = URL_SAFE_NO_PAD.encode(body.to_string().replace("FIDO_CERTIFIED_L1", "FIDO_CERTIFIED_L3"));
    let with = |parts: &[&str]| service.read(parts.join(".").as_bytes());
    check("another payload", with(&[parts[0], &forged, parts[2]]), &|error| matches!(error, NotMetadata::Signature));
    check("no signature", with(&[parts[0], parts[1], ""]), &|error| matches!(error, NotMetadata::Signature));
    check("two parts", with(&[parts[0], parts[1]]), &|error| matches!(error, NotMetadata::Form(_)));
    for alg in ["none", "HS256", "ES384", "RS512"] {
        let list = service.sign_with(alg, &body.to_string());
        check(alg, service.read(&list), &|error| matches!(error, NotMetadata::Algorithm(_)));
    }
    // The algorithm has to be the key's.
    check("RS256", service.read(&service.sign_with("RS256", &body.to_string())), &|error| {
        matches!(error, NotMetadata::Signature)
    });
    let twice = payload(&json!([entry(MODEL, &[], &[]), entry(MODEL, &["REVOKED"], &[])]));
    check("a model twice", service.read(&service.list(&twice)), &|error| matches!(error, NotMetadata::Entries(_)));
    let no_day = json!({ "no": 1, "nextUpdate": "soon", "entries": [] });
    check("no date", service.read(&service.list(&no_day)), &|error| matches!(error, NotMetadata::NextUpdate(_)));
    let no_number = json!({ "nextUpdate": "2027-01-31", "entries": [] });
    check("no number", service.read(&service.list(&no_number)), &|error| matches!(error, NotMetadata::Payload(_)));
}
