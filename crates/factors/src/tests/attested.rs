//! Passkeys that attest their model (WebAuthn L3 section 8.2), with a maker made up for the test.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use ciborium::Value as Cbor;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stepgate_testkit::SoftwareAuthenticator;

use super::*;

const MODEL: [u8; 16] = [0xab; 16];
const OTHER_MODEL: [u8; 16] = [0xcd; 16];

/// A maker of authenticators: a root, and the certificate that its devices of one model share.
struct Maker {
    root: Certificate,
    device: Certificate,
    device_key: KeyPair,
}

impl Maker {
    fn of(model: [u8; 16]) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Maker's root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(params, root_key);

        let device_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CountryName, "CH");
        params.distinguished_name.push(DnType::OrganizationName, "Maker");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "Authenticator Attestation");
        params.distinguished_name.push(DnType::CommonName, "Maker's device");
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        // id-fido-gen-ce-aaguid: an OCTET STRING of sixteen bytes.
        let aaguid = [&[0x04, 16][..], &model].concat();
        let oid = [1, 3, 6, 1, 4, 1, 45_724, 1, 1, 4];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, aaguid)];
        let device = params.signed_by(&device_key, &issuer).unwrap();
        Self { root, device, device_key }
    }

    /// Turns a registration without attestation into one that this maker attests.
    fn attest(&self, registration: &mut Value) {
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(registration["response"][name].as_str().unwrap()).unwrap();
        let data = bytes("authenticatorData");
        let signed = [data.clone(), Sha256::digest(bytes("clientDataJSON")).to_vec()].concat();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.device_key.serialize_der()).unwrap();
        let signature = key.sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec();
        let text = |text: &str| Cbor::Text(text.to_owned());
        let statement = Cbor::Map(vec![
            (text("alg"), Cbor::Integer((-7).into())),
            (text("sig"), Cbor::Bytes(signature)),
            (text("x5c"), Cbor::Array(vec![Cbor::Bytes(self.device.der().to_vec())])),
        ]);
        let object = Cbor::Map(vec![
            (text("fmt"), text("packed")),
            (text("attStmt"), statement),
            (text("authData"), Cbor::Bytes(data)),
        ]);
        let mut written = Vec::new();
        ciborium::into_writer(&object, &mut written).unwrap();
        registration["response"]["attestationObject"] = json!(URL_SAFE_NO_PAD.encode(written));
    }
}

/// Enrols a passkey of a device that names `claimed` as its model and is attested by `maker`.
async fn enrol(policy: AuthenticatorPolicy, maker: &Maker, claimed: [u8; 16]) -> Result<(Aaguid, bool), NotEnrolled> {
    let options = FactorOptions { authenticators: policy, ..FactorOptions::default() };
    let set = FactorSet::new(GATE, ORIGIN, "Gate", options).unwrap();
    let verifier = set.of(FactorKind::PASSKEY).unwrap();
    let begun = verifier.begin_enrolment(&alice(), &[], &SeededRandomness::new(8)).unwrap();
    let EnrolmentOffer::Passkey { options } = &begun.offer else { panic!("not for a passkey") };
    assert_eq!(options["attestation"], "direct");
    let mut authenticator = SoftwareAuthenticator::new();
    authenticator.aaguid = claimed;
    let mut made = authenticator.answer_creation(ORIGIN, options);
    maker.attest(&mut made);
    let answer = EnrolmentAnswer::Passkey(made);
    let done = verifier.finish_enrolment(&alice(), &[], &begun.state, &answer, NOW).await?;
    let FactorSecret::Passkey(passkey) = done.secret else { panic!("not a passkey") };
    Ok((passkey.aaguid, passkey.is_attested))
}

fn models(models: &[[u8; 16]], roots: &[&Maker]) -> AuthenticatorPolicy {
    let roots = roots.iter().map(|maker| maker.root.pem()).collect();
    AuthenticatorPolicy { models: models.iter().copied().map(Aaguid).collect(), roots }
}

#[tokio::test]
async fn an_attested_model_of_the_list_is_enrolled() {
    let maker = Maker::of(MODEL);
    // Whole, but vouched for by nobody who is known.
    assert_eq!(enrol(models(&[MODEL], &[]), &maker, MODEL).await, Ok((Aaguid(MODEL), false)));
    let vouched_for = models(&[OTHER_MODEL, MODEL], &[&maker]);
    assert_eq!(enrol(vouched_for, &maker, MODEL).await, Ok((Aaguid(MODEL), true)));
}

#[tokio::test]
async fn b70_another_model_or_maker_is_refused() {
    let maker = Maker::of(MODEL);
    let forger = Maker::of(MODEL);
    for (what, policy, attests, claimed) in [
        ("a model that is not listed", models(&[OTHER_MODEL], &[]), &maker, MODEL),
        ("another model than its certificate's", models(&[OTHER_MODEL], &[]), &maker, OTHER_MODEL),
        ("a maker who is not listed", models(&[MODEL], &[&maker]), &forger, MODEL),
    ] {
        let outcome = enrol(policy, attests, claimed).await;
        assert!(matches!(outcome, Err(NotEnrolled::Refused(_))), "{what}: {outcome:?}");
    }
}
