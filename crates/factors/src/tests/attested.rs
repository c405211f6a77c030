//! Passkeys that attest their model (WebAuthn L3 section 8.2), with a maker made up for the test.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use ciborium::Value as Cbor;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stepgate_core::factor::Prompt;
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
    AuthenticatorPolicy { models: models.iter().copied().map(Aaguid).collect(), roots, metadata: None }
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

/// A gate that knows of `statuses` of the model, and that `maker` vouches for it.
fn published(demands: Demands, statuses: &[&str], maker: &Maker) -> AuthenticatorPolicy {
    let known = KnownAuthenticators::new(demands, Arc::default());
    let service = metadata::Service::new();
    let root = base64::engine::general_purpose::STANDARD.encode(maker.root.der());
    let entries = json!([metadata::entry(&Aaguid(MODEL).to_string(), statuses, &[root])]);
    known.replace(&service.read(&service.list(&metadata::payload(&entries))).unwrap()).unwrap();
    AuthenticatorPolicy { metadata: Some(Arc::new(known)), ..AuthenticatorPolicy::default() }
}

#[tokio::test]
async fn b157_what_is_published_vouches_for_a_model_and_decides_what_is_enrolled() {
    let (maker, forger) = (Maker::of(MODEL), Maker::of(MODEL));
    let stranger = Maker::of(OTHER_MODEL);
    let (nothing, attestation) = (Demands::default(), Demands { attestation: true, ..Demands::default() });
    let level = |level| Demands { level, ..Demands::default() };
    const GOOD: &[&str] = &["FIDO_CERTIFIED_L2"];
    let attested = Ok((Aaguid(MODEL), true));
    assert_eq!(enrol(published(nothing, GOOD, &maker), &maker, MODEL).await, attested);
    assert_eq!(enrol(published(attestation, GOOD, &maker), &maker, MODEL).await, attested);
    assert_eq!(enrol(published(level(2), GOOD, &maker), &maker, MODEL).await, attested);
    // Where nothing is demanded, what nobody knows is enrolled, and proves no model.
    let unknown = Ok((Aaguid(OTHER_MODEL), false));
    assert_eq!(enrol(published(nothing, GOOD, &maker), &stranger, OTHER_MODEL).await, unknown);
    assert_eq!(enrol(published(nothing, GOOD, &maker), &forger, MODEL).await, Ok((Aaguid(MODEL), false)));
    let stale = published(nothing, GOOD, &maker);
    stale.metadata.as_ref().unwrap().note_stale(true);
    let accepted = published(Demands { accepts_stale: true, ..nothing }, GOOD, &maker);
    accepted.metadata.as_ref().unwrap().note_stale(true);
    assert_eq!(enrol(accepted, &maker, MODEL).await, Ok((Aaguid(MODEL), true)));
    let not_yet = Arc::new(KnownAuthenticators::new(attestation, Arc::default()));
    let not_yet = AuthenticatorPolicy { metadata: Some(not_yet), ..AuthenticatorPolicy::default() };
    for (what, policy, attests, claimed) in [
        ("a level that it does not have", published(level(3), GOOD, &maker), &maker, MODEL),
        ("a level, of somebody who made up the certificate", published(level(1), GOOD, &maker), &forger, MODEL),
        ("a maker who is not published", published(attestation, GOOD, &maker), &forger, MODEL),
        ("a model that is not published", published(attestation, GOOD, &maker), &stranger, OTHER_MODEL),
        ("a model that was recalled", published(nothing, &["FIDO_CERTIFIED_L2", "REVOKED"], &maker), &maker, MODEL),
        ("the same, by a forger", published(nothing, &["USER_VERIFICATION_BYPASS"], &maker), &forger, MODEL),
        ("a list that is past its date", stale, &maker, MODEL),
        ("no list yet", not_yet, &maker, MODEL),
    ] {
        let outcome = enrol(policy, attests, claimed).await;
        assert!(matches!(outcome, Err(NotEnrolled::Refused(_))), "{what}: {outcome:?}");
    }
}

/// A model is recalled after its passkeys were enrolled: they prove nothing, at once, and again once it is taken back.
#[tokio::test]
async fn b159_a_passkey_of_a_model_that_is_recalled_proves_nothing() {
    let maker = Maker::of(MODEL);
    let policy = published(Demands::default(), &["FIDO_CERTIFIED_L1"], &maker);
    let known = Arc::clone(policy.metadata.as_ref().unwrap());
    let options = FactorOptions { authenticators: policy, ..FactorOptions::default() };
    let set = FactorSet::new(GATE, ORIGIN, "Gate", options).unwrap();
    let verifier = set.of(FactorKind::PASSKEY).unwrap();
    let mut authenticator = SoftwareAuthenticator::new();
    authenticator.aaguid = MODEL;
    let begun = verifier.begin_enrolment(&alice(), &[], &SeededRandomness::new(8)).unwrap();
    let EnrolmentOffer::Passkey { options } = &begun.offer else { panic!("not for a passkey") };
    let made = EnrolmentAnswer::Passkey(authenticator.answer_creation(ORIGIN, options));
    let done = verifier.finish_enrolment(&alice(), &[], &begun.state, &made, NOW).await.unwrap();
    let enrolled = [enrolled(done.secret)];
    let FactorSecret::Passkey(passkey) = &enrolled[0].secret else { panic!("not a passkey") };
    let id = URL_SAFE_NO_PAD.encode(&passkey.credential_id);
    let mut prove = || {
        let Prompt::Passkey { options } = verifier.prompt(&enrolled, BINDING) else { panic!("not for a passkey") };
        let asked = options["allowCredentials"].as_array().unwrap().len();
        let mut all = options.clone();
        all["allowCredentials"] = json!([{ "type": "public-key", "id": id }]);
        (asked, passkeys::answer(&authenticator.answer_request(ORIGIN, &all)))
    };
    let verify = async |answer: Answer| verifier.verify(&enrolled, &answer, BINDING, NOW).await;
    let (asked, answer) = prove();
    assert_eq!(asked, 1);
    verify(answer).await.unwrap();

    let service = metadata::Service::new();
    let recall = |statuses: &[&str]| {
        let entries = json!([metadata::entry(&Aaguid(MODEL).to_string(), statuses, &[])]);
        known.replace(&service.read(&service.list(&metadata::payload(&entries))).unwrap()).unwrap();
    };
    recall(&["USER_KEY_REMOTE_COMPROMISE"]);
    let (asked, answer) = prove();
    assert_eq!(asked, 0);
    let why = verify(answer).await.unwrap_err();
    assert_eq!(why, NotProved::ModelRefused("USER_KEY_REMOTE_COMPROMISE".to_owned()));
    recall(&["UPDATE_AVAILABLE"]);
    let (asked, answer) = prove();
    assert_eq!(asked, 1);
    verify(answer).await.unwrap();
}
