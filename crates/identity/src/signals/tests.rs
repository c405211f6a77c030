use std::time::Duration;

use serde_json::{Value, json};
use stepgate_core::risk::RiskLevel;
use stepgate_core::signals::{EventSubject, Happened, Identifier, Principal};
use stepgate_testkit::clock::BEGINNING;
use stepgate_testkit::{Signer, signer};

use super::*;
use crate::keys::KeySet;

mod examples;

const ISSUER: &str = "https://idp.example.com/123456789/";
const AUDIENCE: &str = "https://sp.example.com/caep";

struct Corp {
    signer: Signer,
    trusted: TrustedTransmitters,
}

impl Corp {
    fn new() -> Self {
        Self::of(ISSUER, AUDIENCE)
    }

    fn of(issuer: &str, audience: &str) -> Self {
        let signer = Signer::new("RS256", "one");
        let keys = KeySet::read(json!({ "keys": [signer.jwk()] }).to_string().as_bytes()).unwrap();
        let trusted = TrustedTransmitter {
            transmitter: Transmitter {
                name: "corp".to_owned(),
                subject_issuers: vec![issuer.to_owned()],
                provider: None,
                by_email: false,
                by_external_id: false,
                foreign: stepgate_core::signals::Foreign::Ignore,
                keep: Duration::from_secs(3600),
            },
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            keys: Keys::fixed(keys),
        };
        Self { signer, trusted: TrustedTransmitters::new([trusted]) }
    }

    fn sign(&self, claims: &Value) -> String {
        self.signer.sign_with(&json!({ "typ": "secevent+jwt", "alg": "RS256", "kid": "one" }), claims)
    }

    async fn verify(&self, set: &str) -> Result<SecurityEvent, NotASet> {
        self.trusted.verify("corp", set, BEGINNING).await
    }

    async fn read(&self, claims: &Value) -> Result<SecurityEvent, NotASet> {
        self.verify(&self.sign(claims)).await
    }

    /// It is refused with this code.
    async fn refused(&self, set: &str, code: &str) {
        match self.verify(set).await {
            Ok(event) => panic!("{event:?}"),
            Err(why) => assert_eq!(why.code(), code, "{why}"),
        }
    }
}

fn now_s() -> i64 {
    BEGINNING.as_ms() / 1000
}

/// CAEP 1.0, section 3.1, with times of ours.
fn session_revoked() -> Value {
    json!({
        "iss": ISSUER,
        "jti": "24c63fb56e5a2d77a6b512616ca9fa24",
        "iat": now_s(),
        "aud": AUDIENCE,
        "txn": "8675309",
        "sub_id": {
            "format": "complex",
            "session": { "format": "opaque", "id": "dMTlD|1600802906337.16|16008.16" },
            "user": { "format": "iss_sub", "iss": ISSUER, "sub": "99beb27c-c1c2-4955-882a-e0dc4996fbbc" },
            "tenant": { "format": "opaque", "id": "123456789" }
        },
        "events": {
            "https://schemas.openid.net/secevent/caep/event-type/session-revoked": {
                "initiating_entity": "policy",
                "reason_admin": { "en": "Policy Violation: C076E82F" },
                "event_timestamp": now_s() - 5
            }
        }
    })
}

fn event(kind: &str, body: &Value) -> Value {
    let mut claims = session_revoked();
    claims["events"] = json!({ format!("https://schemas.openid.net/secevent/caep/event-type/{kind}"): body });
    claims
}

#[tokio::test]
async fn what_a_transmitter_signs_is_read() {
    let corp = Corp::new();
    let read = corp.read(&session_revoked()).await.unwrap();
    assert_eq!(read.happened, Happened::SessionRevoked);
    assert_eq!((read.name.as_str(), read.id.as_str()), ("session-revoked", "24c63fb56e5a2d77a6b512616ca9fa24"));
    assert_eq!(read.at.as_ms(), (now_s() - 5) * 1000);
    let user =
        Identifier::Identity { issuer: ISSUER.to_owned(), subject: "99beb27c-c1c2-4955-882a-e0dc4996fbbc".to_owned() };
    let session = Identifier::Opaque("dMTlD|1600802906337.16|16008.16".to_owned());
    let principal = Principal::Session;
    assert_eq!(
        read.subject,
        EventSubject { user: Some(user), session: Some(session), principal, ..EventSubject::default() }
    );
}

/// CAEP 1.0, sections 3.2 to 3.8: what each event must have, and what it says.
#[tokio::test]
async fn each_event_says_what_happened() {
    let corp = Corp::new();
    for (kind, body, happened) in [
        ("session-revoked", json!({}), Happened::SessionRevoked),
        (
            "credential-change",
            json!({ "credential_type": "fido2-roaming", "change_type": "create", "friendly_name": "Jane's key" }),
            Happened::CredentialChange { lost: false },
        ),
        (
            "credential-change",
            json!({ "credential_type": "password", "change_type": "revoke" }),
            Happened::CredentialChange { lost: true },
        ),
        (
            "assurance-level-change",
            json!({ "namespace": "NIST-AAL", "current_level": "nist-aal2", "change_direction": "increase" }),
            Happened::AssuranceLevelChange { less: false },
        ),
        (
            "assurance-level-change",
            json!({ "namespace": "NIST-AAL", "current_level": "nist-aal1", "change_direction": "decrease" }),
            Happened::AssuranceLevelChange { less: true },
        ),
        // Nobody says that it is not less.
        (
            "assurance-level-change",
            json!({ "namespace": "RFC8176", "current_level": "pwd" }),
            Happened::AssuranceLevelChange { less: true },
        ),
        (
            "device-compliance-change",
            json!({ "previous_status": "compliant", "current_status": "not-compliant" }),
            Happened::DeviceCompliance { compliant: false },
        ),
        (
            "risk-level-change",
            json!({ "principal": "USER", "current_level": "HIGH", "previous_level": "LOW", "unknown": [1] }),
            Happened::Risk(RiskLevel::High),
        ),
        ("session-presented", json!({}), Happened::Other),
        ("something-of-tomorrow", json!({}), Happened::Other),
    ] {
        assert_eq!(corp.read(&event(kind, &body)).await.unwrap().happened, happened, "{kind} {body}");
    }
    let mut verification = session_revoked();
    verification["sub_id"] = json!({ "format": "opaque", "id": "f67e39a0a4d34d56b3aa1bc4cff0069f" });
    verification["events"] =
        json!({ "https://schemas.openid.net/secevent/ssf/event-type/verification": { "state": "VGhp" } });
    let read = corp.read(&verification).await.unwrap();
    assert_eq!(read.happened, Happened::Verification { state: Some("VGhp".to_owned()) });
    let device = json!({ "format": "opaque", "id": "laptop-7" });
    for (kind, body, principal) in [
        ("risk-level-change", json!({ "principal": "USER", "current_level": "LOW" }), Principal::User),
        ("risk-level-change", json!({ "principal": "SESSION", "current_level": "LOW" }), Principal::Session),
        ("risk-level-change", json!({ "principal": "DEVICE", "current_level": "LOW" }), Principal::Device),
        (
            "risk-level-change",
            json!({ "principal": "FLEET", "current_level": "LOW" }),
            Principal::Other("FLEET".into()),
        ),
        // Where it is not said, the narrowest that is named.
        ("risk-level-change", json!({ "current_level": "LOW" }), Principal::Device),
        ("device-compliance-change", json!({ "principal": "USER", "current_status": "compliant" }), Principal::Device),
    ] {
        let mut claims = event(kind, &body);
        claims["sub_id"]["device"] = device.clone();
        claims["critical_subject_members"] = json!(["device"]);
        let read = corp.read(&claims).await.unwrap().subject;
        assert_eq!(
            (read.device, read.principal),
            (Some(Identifier::Opaque("laptop-7".to_owned())), principal),
            "{body}"
        );
    }
    let wider = event("risk-level-change", &json!({ "principal": "TENANT", "current_level": "LOW" }));
    assert!(corp.read(&wider).await.unwrap().subject.wider);
}

#[tokio::test]
async fn what_an_event_needs_and_has_not_is_said() {
    let corp = Corp::new();
    for (kind, body) in [
        ("credential-change", json!({ "credential_type": "pin" })),
        ("credential-change", json!({ "change_type": "revoke" })),
        ("assurance-level-change", json!({ "current_level": "1" })),
        ("device-compliance-change", json!({ "current_status": "perhaps" })),
        ("risk-level-change", json!({ "principal": "USER", "current_level": "SEVERE" })),
        ("session-revoked", json!({ "event_timestamp": "now" })),
        ("session-revoked", json!({ "event_timestamp": now_s() + 3600 })),
        ("session-revoked", json!("revoked")),
    ] {
        corp.refused(&corp.sign(&event(kind, &body)), "invalid_request").await;
    }
}

#[tokio::test]
async fn a_token_that_says_too_much_or_too_little_is_refused() {
    let corp = Corp::new();
    let changed = |name: &str, value: Value| {
        let mut claims = session_revoked();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        corp.sign(&claims)
    };
    for (set, code) in [
        // SSF 1.0, section 4.1: neither may be there, whatever it says.
        (changed("exp", json!(now_s() + 600)), "invalid_request"),
        (changed("sub", json!("99beb27c")), "invalid_request"),
        (changed("sub_id", Value::Null), "invalid_request"),
        (changed("jti", Value::Null), "invalid_request"),
        (changed("jti", json!("x".repeat(300))), "invalid_request"),
        (changed("iat", Value::Null), "invalid_request"),
        (changed("iat", json!(now_s().to_string())), "invalid_request"),
        (changed("iat", json!(now_s() + 3600)), "invalid_request"),
        (changed("events", json!({})), "invalid_request"),
        (changed("events", json!({ "a": {}, "b": {} })), "invalid_request"),
        (changed("iss", json!("https://other.example")), "invalid_issuer"),
        (changed("iss", json!(ISSUER.trim_end_matches('/'))), "invalid_issuer"),
        (changed("aud", json!("https://other.example")), "invalid_audience"),
        (changed("aud", json!([])), "invalid_audience"),
        (changed("aud", Value::Null), "invalid_audience"),
        (changed("sub_id", json!({ "format": "email", "email": "a@b@c" })), "invalid_request"),
        (changed("sub_id", json!({ "format": "iss_sub", "iss": ISSUER })), "invalid_request"),
        (changed("sub_id", json!({ "format": "opaque", "id": "x".repeat(2_001) })), "invalid_request"),
        (changed("sub_id", json!({ "id": "x" , "user": { "id": "x" } })), "invalid_request"),
        (changed("critical_subject_members", json!(["application"])), "invalid_request"),
        (changed("critical_subject_members", json!("user")), "invalid_request"),
        ("not.a.token".to_owned(), "invalid_request"),
        ("x".repeat(70_000), "invalid_request"),
    ] {
        corp.refused(&set, code).await;
    }
    // What is critical and understood, and an audience among others.
    assert!(corp.verify(&changed("critical_subject_members", json!(["user", "session"]))).await.is_ok());
    assert!(corp.verify(&changed("aud", json!(["x", AUDIENCE]))).await.is_ok());
    assert!(corp.verify(&changed("sub_id", json!({ "format": "phone_number", "phone_number": "+1" }))).await.is_ok());
}

#[tokio::test]
async fn b78_a_token_that_the_transmitter_did_not_sign_as_one_is_refused() {
    let corp = Corp::new();
    let claims = session_revoked();
    let typ = |typ: &str| corp.signer.sign_with(&json!({ "typ": typ, "alg": "RS256", "kid": "one" }), &claims);
    for other in ["JWT", "logout+jwt", "at+jwt", ""] {
        corp.refused(&typ(other), "invalid_request").await;
    }
    assert!(corp.verify(&typ("application/secevent+jwt")).await.is_ok());
    let foreign = Signer::new("RS256", "one");
    let header = json!({ "typ": "secevent+jwt", "alg": "RS256", "kid": "one" });
    corp.refused(&foreign.sign_with(&header, &claims), "authentication_failed").await;
    let unknown = json!({ "typ": "secevent+jwt", "alg": "RS256", "kid": "two" });
    corp.refused(&foreign.sign_with(&unknown, &claims), "invalid_key").await;
    corp.refused(&signer::unsigned(&claims), "authentication_failed").await;
    corp.refused(&signer::hs256(b"secret", "one", &claims), "authentication_failed").await;
    let mut cut = corp.sign(&claims);
    cut.truncate(cut.len() - 8);
    corp.refused(&cut, "authentication_failed").await;
    assert_eq!(corp.trusted.verify("other", &corp.sign(&claims), BEGINNING).await, Err(NotASet::Unknown));
}

/// The claims of RFC 8417, section 2.1, figure 1 (IETF Trust, code components under the Simplified BSD licence),
/// restated. It is unsecured there; and SSF asks for a `sub_id`, which it has not.
#[tokio::test]
async fn the_example_of_rfc_8417_is_read_as_far_as_ssf_allows() {
    let feed = "https://scim.example.com/Feeds/98d52461fa5bbc879593b7754";
    let corp = Corp::of("https://scim.example.com", feed);
    let mut claims = json!({
        "iss": "https://scim.example.com",
        "iat": 1_458_496_404,
        "jti": "4d3559ec67504aaba65d40b0363faad8",
        "aud": [feed, "https://scim.example.com/Feeds/5d7604516b1d08641d7676ee7"],
        "events": {
            "urn:ietf:params:scim:event:create": {
                "ref": "https://scim.example.com/Users/44f6142df96bd6ab61e7521d9",
                "attributes": ["id", "name", "userName", "password", "emails"]
            }
        }
    });
    corp.refused(&signer::unsigned(&claims), "authentication_failed").await;
    corp.refused(&corp.sign(&claims), "invalid_request").await;
    claims["sub_id"] = json!({ "format": "opaque", "id": "44f6142df96bd6ab61e7521d9" });
    let read = corp.read(&claims).await.unwrap();
    assert_eq!((read.happened, read.id.as_str()), (Happened::Other, "4d3559ec67504aaba65d40b0363faad8"));
    assert_eq!(read.subject.user, Some(Identifier::Opaque("44f6142df96bd6ab61e7521d9".to_owned())));
    assert_eq!(read.at.as_ms(), 1_458_496_404_000);
    // Whoever else it is for, it is not for anybody.
    let other = Corp::of("https://scim.example.com", "https://other.example.com");
    other.refused(&other.sign(&claims), "invalid_audience").await;
}

#[tokio::test]
async fn a_subject_that_is_longer_than_is_read_is_none() {
    let corp = Corp::new();
    for (format, name) in [("iss_sub", "sub"), ("iss_sub", "iss"), ("opaque", "id")] {
        let mut claims = session_revoked();
        claims["sub_id"] = json!({ "format": format, "iss": ISSUER, "sub": "s" });
        claims["sub_id"][name] = "x".repeat(2_000).into();
        corp.read(&claims).await.unwrap_or_else(|why| panic!("{name}: {why}"));
        claims["sub_id"][name] = "x".repeat(2_001).into();
        corp.refused(&corp.sign(&claims), "invalid_request").await;
    }
}
