//! The claims of the examples that the specifications give, restated: RFC 8417 (IETF Trust, code components under the
//! Simplified BSD licence), CAEP 1.0 and SSF 1.0 (OpenID Foundation, free to reproduce for implementing them). What is
//! said in them for people alone is left out. Each is signed here by its issuer and read as the specification says.

use super::*;

const IDP: &str = "https://idp.example.com/3456789/";

/// A token of CAEP 1.0 with this subject and event.
fn caep(subject: Value, kind: &str, event: Value) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "jti": "24c63fb56e5a2d77a6b512616ca9fa24", "iat": 1_615_305_159, "txn": "8675309",
        "sub_id": subject, "events": { format!("https://schemas.openid.net/secevent/caep/event-type/{kind}"): event }
    })
}

fn identity(issuer: &str, subject: &str) -> Identifier {
    Identifier::Identity { issuer: issuer.to_owned(), subject: subject.to_owned() }
}

fn of(user: Identifier) -> EventSubject {
    EventSubject { user: Some(user), ..EventSubject::default() }
}

#[tokio::test]
async fn the_examples_of_caep_are_read() {
    let corp = Corp::new();
    let jane = || json!({ "format": "iss_sub", "iss": IDP, "sub": "jane.smith@example.com" });
    let someone = || json!({ "format": "email", "email": "someuser@somedomain.com" });
    let of_jane = || of(identity(IDP, "jane.smith@example.com"));
    let of_someone = || of(Identifier::Email("someuser@somedomain.com".to_owned()));
    let id_token = json!({ "format": "jwt_id", "iss": IDP, "jti": "f61t6e20zdo3px56gepu8rzlsp4c1dpc0fx7" });
    let assertion =
        json!({ "format": "saml_assertion_id", "issuer": IDP, "assertion_id": "_a75adf55-01d7-dbd8372ebdfc" });
    let by_format = |one: &Value| of(Identifier::Other { text: one.to_string() });
    let device = json!({
        "format": "complex",
        "device": { "format": "iss_sub", "iss": ISSUER, "sub": "e9297990-14d2-42ec-a4a9-4036db86509a" },
        "tenant": { "format": "opaque", "id": "123456789" }
    });
    let of_device = EventSubject {
        device: Some(identity(ISSUER, "e9297990-14d2-42ec-a4a9-4036db86509a")),
        principal: Principal::Device,
        wider: true,
        ..EventSubject::default()
    };
    for (section, claims, subject, happened) in [
        (
            "3.2.2, an ID token's claims",
            caep(
                id_token.clone(),
                "token-claims-change",
                json!({ "event_timestamp": 1_615_304_991, "claims": { "trusted_network": false } }),
            ),
            by_format(&id_token),
            Happened::Other,
        ),
        (
            "3.2.2, an assertion's claims",
            caep(
                assertion.clone(),
                "token-claims-change",
                json!({ "event_timestamp": 1_615_304_991, "claims": { "role": "ro-admin" } }),
            ),
            by_format(&assertion),
            Happened::Other,
        ),
        (
            "3.3.2",
            caep(
                jane(),
                "credential-change",
                json!({ "credential_type": "fido2-roaming", "change_type": "create", "initiating_entity": "user",
                    "fido2_aaguid": "accced6a-63f5-490a-9eea-e59bc1896cfc", "event_timestamp": 1_615_304_991 }),
            ),
            of_jane(),
            Happened::CredentialChange { lost: false },
        ),
        (
            "3.4.2, an increase",
            caep(
                jane(),
                "assurance-level-change",
                json!({ "namespace": "NIST-AAL", "current_level": "nist-aal2", "previous_level": "nist-aal1",
                    "change_direction": "increase", "initiating_entity": "user", "event_timestamp": 1_615_304_991 }),
            ),
            of_jane(),
            Happened::AssuranceLevelChange { less: false },
        ),
        (
            "3.4.2, a level of one's own",
            caep(
                jane(),
                "assurance-level-change",
                json!({ "namespace": "Retinal Scan", "current_level": "hi-res-scan", "initiating_entity": "user",
                    "event_timestamp": 1_615_304_991 }),
            ),
            of_jane(),
            // What it was before is unknown then, so nobody says that it is not less.
            Happened::AssuranceLevelChange { less: true },
        ),
        (
            "3.5.2",
            caep(
                device,
                "device-compliance-change",
                json!({ "current_status": "not-compliant", "previous_status": "compliant", "initiating_entity": "policy",
                    "event_timestamp": 1_615_304_991 }),
            ),
            of_device,
            Happened::DeviceCompliance { compliant: false },
        ),
        (
            "3.6.2",
            caep(
                someone(),
                "session-established",
                json!({ "fp_ua": "abb0b6e7da81a42233f8f2b1a8ddb1b9a4c81611", "acr": "AAL2", "amr": ["otp"],
                    "event_timestamp": 1_615_304_991 }),
            ),
            of_someone(),
            Happened::Other,
        ),
        (
            "3.7.2",
            caep(someone(), "session-presented", json!({ "ext_id": "12345", "event_timestamp": 1_615_304_991 })),
            of_someone(),
            Happened::Other,
        ),
        (
            "3.8.2",
            caep(
                json!({ "format": "iss_sub", "iss": IDP, "sub": "jane.doe@example.com" }),
                "risk-level-change",
                json!({ "current_level": "LOW", "previous_level": "HIGH", "event_timestamp": 1_615_304_991,
                    "principal": "USER", "risk_reason": "PASSWORD_FOUND_IN_DATA_BREACH" }),
            ),
            of(identity(IDP, "jane.doe@example.com")),
            Happened::Risk(RiskLevel::Low),
        ),
    ] {
        let read = corp.read(&claims).await.unwrap_or_else(|why| panic!("CAEP 1.0, section {section}: {why}"));
        assert_eq!((read.subject, read.happened), (subject, happened), "CAEP 1.0, section {section}");
        assert_eq!(read.at.as_ms(), 1_615_304_991_000, "when it happened, not when it was told: {section}");
    }
}

/// SSF 1.0, sections 8.1.4.1 and 8.1.5.
#[tokio::test]
async fn the_examples_of_ssf_are_read() {
    let corp = Corp::of("https://transmitter.example.com", "receiver.example.com");
    for (kind, event, happened) in [
        (
            "verification",
            json!({ "state": "VGhpcyBpcyBhbiBleGFtcGxlIHN0YXRlIHZhbHVlLgo=" }),
            Happened::Verification { state: Some("VGhpcyBpcyBhbiBleGFtcGxlIHN0YXRlIHZhbHVlLgo=".to_owned()) },
        ),
        (
            "stream-updated",
            json!({ "status": "paused", "reason": "License is not valid" }),
            Happened::StreamUpdated { status: "paused".to_owned() },
        ),
    ] {
        let claims = json!({
            "jti": "123456", "iss": "https://transmitter.example.com", "aud": "receiver.example.com", "iat": 1_493_856_000,
            "sub_id": { "format": "opaque", "id": "f67e39a0a4d34d56b3aa1bc4cff0069f" },
            "events": { format!("https://schemas.openid.net/secevent/ssf/event-type/{kind}"): event }
        });
        let read = corp.read(&claims).await.unwrap();
        assert_eq!((read.happened, read.at.as_ms()), (happened, 1_493_856_000_000), "{kind}");
    }
}

/// RFC 8417, sections 2.1.1 to 2.1.4: from before there was `sub_id`, so SSF 1.0, section 4.1, lets none of them
/// through: what they are about stands in `sub`, within the event, or there are two events.
#[tokio::test]
async fn the_other_examples_of_rfc_8417_are_refused_as_ssf_asks() {
    let password_reset = json!({
        "iss": "https://scim.example.com", "iat": 1_458_496_025, "jti": "3d0c3cf797584bd193bd0fb1bd4e7d30",
        "aud": ["https://jhub.example.com/Feeds/98d52461fa5bbc879593b7754", "https://jhub.example.com/Feeds/5d7604516b1d08641d7676ee7"],
        "sub": "https://scim.example.com/Users/44f6142df96bd6ab61e7521d9",
        "events": {
            "urn:ietf:params:scim:event:passwordReset": { "id": "44f6142df96bd6ab61e7521d9" },
            "https://example.com/scim/event/passwordResetExt": { "resetAttempts": 5 }
        }
    });
    let logout = json!({
        "iss": "https://server.example.com", "sub": "248289761001", "aud": "s6BhdRkqt3", "iat": 1_471_566_154,
        "jti": "bWJq", "sid": "08a5019c-17e1-4977-8f42-65a12843ea02",
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} }
    });
    let consent = json!({
        "iss": "https://my.med.example.org", "iat": 1_458_496_025, "jti": "fb4e75b5411e4e19b6c0fe87950f7749",
        "aud": ["https://rp.example.com"],
        "events": { "https://openid.net/heart/specs/consent.html": {
            "iss": "https://connect.example.com", "sub": "248289761001",
            "consentUri": ["https://terms.med.example.org/labdisclosure.html#Agree"] } }
    });
    let disabled = json!({
        "iss": "https://idp.example.com/", "jti": "756E69717565206964656E746966696572", "iat": 1_508_184_845,
        "aud": "636C69656E745F6964",
        "events": { "https://schemas.openid.net/secevent/risc/event-type/account-disabled": {
            "subject": { "subject_type": "iss-sub", "iss": "https://idp.example.com/", "sub": "7375626A656374" },
            "reason": "hijacking" } }
    });
    for mut claims in [password_reset, logout, consent, disabled] {
        let audience = claims["aud"].as_str().or_else(|| claims["aud"][0].as_str()).unwrap();
        let corp = Corp::of(claims["iss"].as_str().unwrap(), audience);
        corp.refused(&corp.sign(&claims), "invalid_request").await;
        // With a subject as SSF wants it, and without `sub`, one event is read. None of them does anything here.
        claims.as_object_mut().unwrap().remove("sub");
        corp.refused(&corp.sign(&claims), "invalid_request").await;
        claims["sub_id"] = json!({ "format": "opaque", "id": "248289761001" });
        let events = claims["events"].as_object().unwrap().len();
        if events > 1 {
            corp.refused(&corp.sign(&claims), "invalid_request").await;
            claims["events"].as_object_mut().unwrap().remove("https://example.com/scim/event/passwordResetExt");
        }
        assert_eq!(corp.read(&claims).await.unwrap().happened, Happened::Other, "{claims}");
    }
}
