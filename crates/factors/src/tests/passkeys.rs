//! Passkeys, with an authenticator in software that lies as told.

use serde_json::{Value, json};
use stepgate_core::factor::{ApproverDevice, Enrolled, Passkey, Prompt};
use stepgate_core::secret::TokenDigest;
use stepgate_evidence::Assertion;
use stepgate_testkit::{Ceremony, Flags, SoftwareAuthenticator};

use super::*;

fn options_of(offer: &EnrolmentOffer) -> &Value {
    let EnrolmentOffer::Passkey { options } = offer else { panic!("not for a passkey") };
    options
}

fn bytes(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

/// What the door makes of `AuthenticationResponseJSON`.
pub(super) fn answer(credential: &Value) -> Answer {
    let part = |name: &str| bytes(&credential["response"][name]);
    Answer::Passkey(Box::new(Assertion {
        credential_id: bytes(&credential["rawId"]),
        authenticator_data: part("authenticatorData"),
        client_data_json: part("clientDataJSON"),
        signature: part("signature"),
        user_handle: Some(part("userHandle")),
    }))
}

/// Begins an enrolment, lets the authenticator answer as the ceremony is changed, and finishes.
async fn enrol_with(
    set: &FactorSet,
    authenticator: &mut SoftwareAuthenticator,
    who: &Person,
    change: impl FnOnce(Ceremony) -> Ceremony,
) -> Result<Enrolled, NotEnrolled> {
    let verifier = set.of(FactorKind::PASSKEY).unwrap();
    let begun = verifier.begin_enrolment(who, &[], &SeededRandomness::new(8)).unwrap();
    let options = options_of(&begun.offer);
    let ceremony = change(Ceremony::creation(GATE, ORIGIN, &bytes(&options["challenge"])));
    let made = authenticator.create(&ceremony, &bytes(&options["user"]["id"]));
    verifier.finish_enrolment(who, &[], &begun.state, &EnrolmentAnswer::Passkey(made), NOW).await
}

async fn enrol(authenticator: &mut SoftwareAuthenticator, who: &Person) -> EnrolledFactor {
    enrolled(enrol_with(&factors(), authenticator, who, |ceremony| ceremony).await.unwrap().secret)
}

fn passkey(factor: &EnrolledFactor) -> &Passkey {
    let FactorSecret::Passkey(passkey) = &factor.secret else { panic!("not a passkey") };
    passkey
}

#[test]
fn b70_the_options_are_made_here_and_ask_for_everything_that_is_checked() {
    let set = factors();
    let mut existing = enrolled(FactorSecret::app(SecretString::from("AA"), None));
    existing.secret = FactorSecret::Passkey(Box::new(Passkey {
        credential_id: vec![1, 2, 3],
        public_key: Vec::new(),
        user_handle: Vec::new(),
        counter: 0,
        backup_eligible: false,
        backed_up: false,
        aaguid: Aaguid::NONE,
        is_attested: false,
        attestation: Vec::new(),
    }));
    let begun =
        set.of(FactorKind::PASSKEY).unwrap().begin_enrolment(&alice(), &[existing], &SeededRandomness::new(8)).unwrap();
    let options = options_of(&begun.offer);
    let mut expected_challenge = [0; 32];
    SeededRandomness::new(8).fill(&mut expected_challenge);
    assert_eq!(
        *options,
        json!({
            "rp": { "id": "gate.example", "name": "Gate" },
            "user": {
                "id": URL_SAFE_NO_PAD.encode(user_handle(alice().id)),
                "name": "alice",
                "displayName": "alice",
            },
            "challenge": URL_SAFE_NO_PAD.encode(expected_challenge),
            "pubKeyCredParams": [
                { "type": "public-key", "alg": -7 },
                { "type": "public-key", "alg": -35 },
                { "type": "public-key", "alg": -257 },
            ],
            "timeout": 300_000,
            "attestation": "none",
            "excludeCredentials": [{ "type": "public-key", "id": "AQID" }],
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": true,
                "userVerification": "required",
            },
        })
    );
}

#[test]
fn a_user_handle_is_stable_and_tells_nothing() {
    assert_eq!(user_handle(alice().id), user_handle(alice().id));
    assert_ne!(user_handle(alice().id), user_handle(person(2, "bob").id));
    assert!(!user_handle(alice().id).starts_with(alice().id.as_bytes()));
}

#[tokio::test]
async fn what_is_enrolled_is_what_the_authenticator_made() {
    let mut authenticator = SoftwareAuthenticator::synced();
    authenticator.aaguid = [0xab; 16];
    let done = enrol_with(&factors(), &mut authenticator, &alice(), |ceremony| ceremony).await.unwrap();
    let key = &authenticator.keys[0];
    let evidence = done.key.unwrap();
    assert_eq!(evidence.aaguid, "abababab-abab-abab-abab-abababababab");
    assert_eq!(evidence.public_key, URL_SAFE_NO_PAD.encode(key.cose()));
    let factor = enrolled(done.secret);
    let stored = passkey(&factor);
    assert_eq!(stored.credential_id, key.id);
    assert_eq!(stored.public_key, key.cose());
    assert_eq!(stored.user_handle, user_handle(alice().id));
    assert_eq!((stored.counter, stored.backup_eligible, stored.backed_up), (0, true, true));
    assert_eq!((stored.aaguid, stored.is_attested), (Aaguid([0xab; 16]), false));
    assert_eq!(evidence.attestation_sha256.len(), 64);
}

#[tokio::test]
async fn b69_b70_a_registration_that_lies_is_refused() {
    type Change = fn(Ceremony) -> Ceremony;
    let changes: [(&str, Change); 7] = [
        ("another challenge", |ceremony| ceremony.saying("challenge", json!("AAAA"))),
        ("another origin", |ceremony| ceremony.saying("origin", json!("https://evil.example"))),
        ("another port", |ceremony| ceremony.saying("origin", json!("https://gate.example:8443"))),
        ("a path", |ceremony| ceremony.saying("origin", json!("https://gate.example/x"))),
        ("an assertion", |ceremony| ceremony.saying("type", json!("webauthn.get"))),
        ("a frame", |ceremony| ceremony.saying("crossOrigin", json!(true))),
        ("a top origin", |ceremony| ceremony.saying("topOrigin", json!("https://evil.example"))),
    ];
    for (what, change) in changes {
        let outcome = enrol_with(&factors(), &mut SoftwareAuthenticator::new(), &alice(), change).await;
        assert!(matches!(outcome, Err(NotEnrolled::Refused(_))), "{what}: {outcome:?}");
    }
    let mut unverified = SoftwareAuthenticator::new();
    unverified.flags = unverified.flags.without(Flags::USER_VERIFIED);
    let mut absent = SoftwareAuthenticator::new();
    absent.flags = absent.flags.without(Flags::USER_PRESENT);
    let mut impossible = SoftwareAuthenticator::synced();
    impossible.flags = impossible.flags.without(Flags::BACKUP_ELIGIBLE);
    for (what, mut authenticator) in
        [("no verification", unverified), ("no presence", absent), ("backed up, not eligible", impossible)]
    {
        let outcome = enrol_with(&factors(), &mut authenticator, &alice(), |ceremony| ceremony).await;
        assert!(matches!(outcome, Err(NotEnrolled::Refused(_))), "{what}: {outcome:?}");
    }
    let other_party = |mut ceremony: Ceremony| {
        ceremony.relying_party = "evil.example".to_owned();
        ceremony
    };
    let outcome = enrol_with(&factors(), &mut SoftwareAuthenticator::new(), &alice(), other_party).await;
    assert!(matches!(outcome, Err(NotEnrolled::Refused(_))), "{outcome:?}");
}

#[tokio::test]
async fn b71_b72_a_registration_counts_for_its_own_enrolment_and_person_alone() {
    let set = factors();
    let verifier = set.of(FactorKind::PASSKEY).unwrap();
    let mut authenticator = SoftwareAuthenticator::new();
    let first = verifier.begin_enrolment(&alice(), &[], &SeededRandomness::new(1)).unwrap();
    let second = verifier.begin_enrolment(&alice(), &[], &SeededRandomness::new(2)).unwrap();
    let made = authenticator.answer_creation(ORIGIN, options_of(&first.offer));
    let finish = async |who: &Person, existing: &[EnrolledFactor], state: &SecretString| {
        verifier.finish_enrolment(who, existing, state, &EnrolmentAnswer::Passkey(made.clone()), NOW).await
    };
    assert!(matches!(finish(&alice(), &[], &second.state).await, Err(NotEnrolled::Refused(_))), "another enrolment");
    let mallory = person(2, "mallory");
    assert!(matches!(finish(&mallory, &[], &first.state).await, Err(NotEnrolled::Refused(_))), "another person");
    let stored = enrolled(finish(&alice(), &[], &first.state).await.unwrap().secret);
    assert!(matches!(finish(&alice(), &[stored], &first.state).await, Err(NotEnrolled::Refused(_))), "twice");
}

#[tokio::test]
async fn a_broken_registration_is_refused_whatever_is_broken() {
    let set = factors();
    let verifier = set.of(FactorKind::PASSKEY).unwrap();
    let begun = verifier.begin_enrolment(&alice(), &[], &SeededRandomness::new(1)).unwrap();
    let made = SoftwareAuthenticator::new().answer_creation(ORIGIN, options_of(&begun.offer));
    let finish = async |made: Value| {
        verifier.finish_enrolment(&alice(), &[], &begun.state, &EnrolmentAnswer::Passkey(made), NOW).await
    };
    for (pointer, value) in [
        ("/rawId", json!("AAAA")),
        ("/type", json!("password")),
        ("/response/attestationObject", json!("AAAA")),
        ("/response/attestationObject", json!("not base64url!")),
        ("/response/attestationObject", json!("A".repeat(100_000))),
        ("/response/clientDataJSON", json!(null)),
        ("/response", json!({})),
    ] {
        let mut broken = made.clone();
        *broken.pointer_mut(pointer).unwrap() = value;
        assert!(matches!(finish(broken).await, Err(NotEnrolled::Refused(_))), "{pointer}");
    }
    assert!(finish(made).await.is_ok());
}

#[tokio::test]
async fn with_a_list_of_models_an_unattested_passkey_is_refused() {
    let authenticators = AuthenticatorPolicy { models: vec![Aaguid([0xab; 16])], ..AuthenticatorPolicy::default() };
    let options = FactorOptions { authenticators, ..FactorOptions::default() };
    let set = FactorSet::new(GATE, ORIGIN, "Gate", options).unwrap();
    let begun = set.of(FactorKind::PASSKEY).unwrap().begin_enrolment(&alice(), &[], &SeededRandomness::new(8)).unwrap();
    assert_eq!(options_of(&begun.offer)["attestation"], "direct");
    // It names a model of the list and attests nothing: anybody could.
    let mut authenticator = SoftwareAuthenticator::new();
    authenticator.aaguid = [0xab; 16];
    let outcome = enrol_with(&set, &mut authenticator, &alice(), |ceremony| ceremony).await;
    assert!(matches!(outcome, Err(NotEnrolled::Refused(_))), "{outcome:?}");
}

#[test]
fn a_prompt_binds_what_is_asked() {
    let set = factors();
    let Prompt::Passkey { options } = set.of(FactorKind::PASSKEY).unwrap().prompt(&[], BINDING) else {
        panic!("no options")
    };
    assert_eq!(
        options,
        json!({
            "challenge": URL_SAFE_NO_PAD.encode([7; 32]),
            "rpId": "gate.example",
            "allowCredentials": [],
            "userVerification": "required",
            "timeout": 300_000,
        })
    );
}

#[tokio::test]
async fn a_passkey_signs_what_it_was_asked_and_counts_on() {
    let set = factors();
    let verifier = set.of(FactorKind::PASSKEY).unwrap();
    let mut authenticator = SoftwareAuthenticator::new();
    let stored = [enrol(&mut authenticator, &alice()).await];
    assert_eq!(passkey(&stored[0]).counter, 1);
    let Prompt::Passkey { options } = verifier.prompt(&stored, BINDING) else { panic!("no options") };
    assert_eq!(options["allowCredentials"][0]["id"], URL_SAFE_NO_PAD.encode(&authenticator.keys[0].id));
    let signed = authenticator.answer_request(ORIGIN, &options);
    let proved = verifier.verify(&stored, &answer(&signed), BINDING, NOW).await.unwrap();
    assert_eq!(proved.used, FactorUse::PasskeyCounter { counter: 2, backed_up: false });
    assert_eq!(proved.factor, stored[0].id);
    let Answer::Passkey(assertion) = answer(&signed) else { panic!("not a passkey") };
    assert_eq!(proved.assertion.as_ref(), Some(assertion.as_ref()));

    let other = verifier.verify(&stored, &answer(&signed), Binding([8; 32]), NOW).await;
    assert!(matches!(other, Err(NotProved::Wrong(_))), "bound to something else: {other:?}");
}

#[tokio::test]
async fn b61_a_counter_that_does_not_rise_is_refused() {
    let set = factors();
    let mut authenticator = SoftwareAuthenticator::new();
    let mut stored = enrol(&mut authenticator, &alice()).await;
    let Prompt::Passkey { options } = set.of(FactorKind::PASSKEY).unwrap().prompt(&[], BINDING) else {
        panic!("no options")
    };
    let signed = answer(&authenticator.answer_request(ORIGIN, &options));
    for (counter, fits) in [(1, true), (2, false), (3, false)] {
        let FactorSecret::Passkey(passkey) = &mut stored.secret else { panic!("not a passkey") };
        passkey.counter = counter;
        let outcome =
            set.of(FactorKind::PASSKEY).unwrap().verify(std::slice::from_ref(&stored), &signed, BINDING, NOW).await;
        assert_eq!(outcome.is_ok(), fits, "stored {counter}, signed 2: {outcome:?}");
    }
}

#[tokio::test]
async fn b68_a_key_of_somebody_else_answers_nothing() {
    let set = factors();
    let verifier = set.of(FactorKind::PASSKEY).unwrap();
    let mut hers = SoftwareAuthenticator::new();
    let mut his = SoftwareAuthenticator::new();
    let alices = enrol(&mut hers, &alice()).await;
    let mallorys = enrol(&mut his, &person(2, "mallory")).await;
    let Prompt::Passkey { options } = verifier.prompt(&[], BINDING) else { panic!("no options") };
    let signed = answer(&his.answer_request(ORIGIN, &options));
    let outcome = verifier.verify(std::slice::from_ref(&alices), &signed, BINDING, NOW).await;
    assert_eq!(outcome.err(), Some(NotProved::NotEnrolled));
    assert!(verifier.verify(std::slice::from_ref(&mallorys), &signed, BINDING, NOW).await.is_ok());
    // His key under her credential id.
    let Answer::Passkey(mut assertion) = signed else { panic!("not a passkey") };
    assertion.credential_id = passkey(&alices).credential_id.clone();
    let outcome = verifier.verify(&[alices], &Answer::Passkey(assertion), BINDING, NOW).await;
    assert!(matches!(outcome, Err(NotProved::Wrong(_))), "{outcome:?}");
}

/// A device's passkey is looked for by its id as well as by its key.
#[tokio::test]
async fn b161_a_device_answers_with_its_own_passkey_alone() {
    let push = factors().devices();
    let mut authenticator = SoftwareAuthenticator::new();
    let own = enrol(&mut authenticator, &alice()).await;
    let FactorSecret::Passkey(passkey) = own.secret else { panic!("not a passkey") };
    let device = ApproverDevice { token: TokenDigest([1; 32]), passkey: Some(*passkey) };
    let options = push.to_sign(&device, BINDING).unwrap();
    let Answer::Passkey(signed) = answer(&authenticator.answer_request(ORIGIN, &options)) else { panic!() };
    let enrolled = [enrolled(FactorSecret::Push(Box::new(device)))];
    let verify = async |assertion| {
        let answer = Answer::Device { kind: ApproverDevice::SIGNING, assertion };
        push.verify(&enrolled, &answer, BINDING, NOW).await
    };
    let mut renamed = signed.clone();
    renamed.credential_id.push(0);
    assert_eq!(verify(Some(renamed)).await.err(), Some(NotProved::NotEnrolled));
    assert!(matches!(verify(None).await, Err(NotProved::Malformed(_))), "it has to sign");
    assert!(verify(Some(signed)).await.is_ok());
}

#[tokio::test]
async fn b69_b70_an_assertion_that_lies_proves_nothing() {
    let set = factors();
    let mut authenticator = SoftwareAuthenticator::new();
    let stored = [enrol(&mut authenticator, &alice()).await];
    let id = authenticator.keys[0].id.clone();
    type Change = fn(Ceremony) -> Ceremony;
    let changes: [(&str, Change); 6] = [
        ("another challenge", |ceremony| ceremony.saying("challenge", json!("AAAA"))),
        ("another origin", |ceremony| ceremony.saying("origin", json!("https://evil.example"))),
        ("a creation", |ceremony| ceremony.saying("type", json!("webauthn.create"))),
        ("a frame", |ceremony| ceremony.saying("crossOrigin", json!(true))),
        ("a top origin", |ceremony| ceremony.saying("topOrigin", json!("https://evil.example"))),
        ("another party", |mut ceremony| {
            ceremony.relying_party = "evil.example".to_owned();
            ceremony
        }),
    ];
    for (what, change) in changes {
        let ceremony = change(Ceremony::request(GATE, ORIGIN, &BINDING.0));
        let signed = answer(&authenticator.sign(&ceremony, &id));
        let outcome = set.of(FactorKind::PASSKEY).unwrap().verify(&stored, &signed, BINDING, NOW).await;
        assert!(matches!(outcome, Err(NotProved::Wrong(_))), "{what}: {outcome:?}");
    }
    authenticator.flags = authenticator.flags.without(Flags::USER_VERIFIED);
    let signed = answer(&authenticator.sign(&Ceremony::request(GATE, ORIGIN, &BINDING.0), &id));
    let outcome = set.of(FactorKind::PASSKEY).unwrap().verify(&stored, &signed, BINDING, NOW).await;
    assert!(matches!(outcome, Err(NotProved::Wrong(_))), "no verification: {outcome:?}");
}
