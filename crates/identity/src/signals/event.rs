//! What a verified token says.

use serde_json::{Map, Value};
use stepgate_core::risk::RiskLevel;
use stepgate_core::signals::{EventSubject, Happened, Identifier, NotASet, Principal, SecurityEvent};
use stepgate_core::time::Timestamp;

use crate::jws::TokenClaims;

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
/// The events that do something here.
pub(super) const ACTED_ON: [&str; 5] = [
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked",
    "https://schemas.openid.net/secevent/caep/event-type/credential-change",
    "https://schemas.openid.net/secevent/caep/event-type/assurance-level-change",
    "https://schemas.openid.net/secevent/caep/event-type/device-compliance-change",
    "https://schemas.openid.net/secevent/caep/event-type/risk-level-change",
];
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";
/// How far an issuer's clock may be ahead.
const SKEW: std::time::Duration = std::time::Duration::from_secs(60);
/// The longest identifier in a subject, in bytes.
const IDENTIFIER_MAX: usize = 2_000;
/// The longest `jti`, in bytes.
const ID_MAX: usize = 255;
/// What of a subject is understood here.
const UNDERSTOOD: [&str; 4] = ["user", "session", "device", "tenant"];

fn invalid(what: impl Into<String>) -> NotASet {
    NotASet::Invalid(what.into())
}

/// Reads the claims of a token whose signature holds.
pub(super) fn read(
    claims: &TokenClaims,
    issuer: &str,
    audience: &str,
    now: Timestamp,
) -> Result<SecurityEvent, NotASet> {
    let wrong = |error: crate::jws::WrongType| invalid(error.to_string());
    if claims.text("iss").map_err(wrong)? != Some(issuer) {
        return Err(NotASet::Issuer);
    }
    if !claims.one_or_more("aud").map_err(wrong)?.is_some_and(|all| all.contains(&audience)) {
        return Err(NotASet::Audience);
    }
    // SSF 1.0, section 4.1: a token with `exp` or `sub` could pass for one that lets somebody in.
    for absent in ["exp", "sub", "nonce"] {
        if claims.value(absent).is_some() {
            return Err(invalid(format!("{absent} must not be there")));
        }
    }
    let issued_at = claims.moment("iat").map_err(wrong)?.ok_or_else(|| invalid("iat is missing"))?;
    if issued_at > now.plus(SKEW) {
        return Err(invalid("iat is in the future"));
    }
    let id = match claims.text("jti").map_err(wrong)? {
        Some(id) if !id.is_empty() && id.len() <= ID_MAX => id.to_owned(),
        _ => return Err(invalid("jti is missing or too long")),
    };
    let subject = match claims.value("sub_id") {
        Some(Value::Object(subject)) => subject,
        _ => return Err(invalid("sub_id is missing")),
    };
    let Some(Value::Object(events)) = claims.value("events") else { return Err(invalid("events is missing")) };
    // The interoperability profile: one event for each token.
    let (Some((kind, event)), 1) = (events.iter().next(), events.len()) else {
        return Err(invalid("events has not exactly one event"));
    };
    let Value::Object(event) = event else { return Err(invalid("the event is no object")) };
    let at = match event.get("event_timestamp") {
        None => issued_at,
        Some(Value::Number(seconds)) => moment(seconds).ok_or_else(|| invalid("event_timestamp is no time"))?,
        Some(_) => return Err(invalid("event_timestamp is no number")),
    };
    // Nothing happens after it was told, but for a clock that is a little ahead.
    if at > now.plus(SKEW) {
        return Err(invalid("event_timestamp is in the future"));
    }
    let happened = happened(kind, event)?;
    let mut read_subject = read_subject(subject, claims)?;
    read_subject.wider |= is_wider(event);
    read_subject.principal = principal(&happened, event, &read_subject);
    let name = kind.rsplit('/').next().unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name: String = name.chars().filter(|c| fits(*c)).take(60).collect();
    Ok(SecurityEvent { issuer: issuer.to_owned(), id, at, subject: read_subject, name, happened })
}

fn moment(seconds: &serde_json::Number) -> Option<Timestamp> {
    let seconds = seconds.as_f64().filter(|seconds| (0.0..253_402_300_799.0).contains(seconds))?;
    #[expect(clippy::cast_possible_truncation, reason = "the range was looked at")]
    Some(Timestamp::from_ms((seconds * 1000.0).floor() as i64))
}

/// Whether a risk is that of a group of people (CAEP 1.0, `risk-level-change`, `principal`).
fn is_wider(event: &Map<String, Value>) -> bool {
    matches!(event.get("principal").and_then(Value::as_str), Some("TENANT" | "ORG_UNIT" | "GROUP"))
}

/// What of the subject is meant: what the event says, or else the narrowest that is named.
fn principal(happened: &Happened, event: &Map<String, Value>, subject: &EventSubject) -> Principal {
    let said = match happened {
        Happened::DeviceCompliance { .. } => Some("DEVICE"),
        Happened::Risk(_) => event.get("principal").and_then(Value::as_str),
        _ => None,
    };
    match said {
        Some("USER") => Principal::User,
        Some("SESSION") => Principal::Session,
        Some("DEVICE") => Principal::Device,
        Some(other) => Principal::Other(other.chars().take(40).collect()),
        None if subject.device.is_some() => Principal::Device,
        None if subject.session.is_some() => Principal::Session,
        None => Principal::User,
    }
}

fn happened(kind: &str, event: &Map<String, Value>) -> Result<Happened, NotASet> {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let needed = |name: &str| text(name).ok_or_else(|| invalid(format!("the event has no {name}")));
    if let Some(kind) = kind.strip_prefix(SSF) {
        return Ok(match kind {
            "verification" => Happened::Verification { state: text("state").map(ToOwned::to_owned) },
            "stream-updated" => Happened::StreamUpdated { status: needed("status")?.to_owned() },
            _ => Happened::Other,
        });
    }
    Ok(match kind.strip_prefix(CAEP) {
        Some("session-revoked") => Happened::SessionRevoked,
        Some("credential-change") => {
            needed("credential_type")?;
            Happened::CredentialChange { lost: matches!(needed("change_type")?, "revoke" | "delete") }
        }
        Some("assurance-level-change") => {
            needed("namespace")?;
            needed("current_level")?;
            // Where the direction is not said, nobody says that it is not less.
            Happened::AssuranceLevelChange { less: text("change_direction") != Some("increase") }
        }
        Some("device-compliance-change") => match needed("current_status")? {
            "compliant" => Happened::DeviceCompliance { compliant: true },
            "not-compliant" => Happened::DeviceCompliance { compliant: false },
            _ => return Err(invalid("current_status is neither compliant nor not-compliant")),
        },
        Some("risk-level-change") => {
            let level: Result<RiskLevel, ()> = needed("current_level")?.parse();
            Happened::Risk(level.map_err(|()| invalid("current_level is none of LOW, MEDIUM and HIGH"))?)
        }
        _ => Happened::Other,
    })
}

/// The subject, simple or complex (SSF 1.0, section 3). What the transmitter calls critical must be understood.
fn read_subject(subject: &Map<String, Value>, claims: &TokenClaims) -> Result<EventSubject, NotASet> {
    let critical = match claims.value("critical_subject_members") {
        None => Vec::new(),
        Some(Value::Array(all)) => all.iter().map(|one| one.as_str().unwrap_or_default()).collect(),
        Some(_) => return Err(invalid("critical_subject_members is no list")),
    };
    let format = subject.get("format").and_then(Value::as_str);
    if format.is_some_and(|format| format != "complex") {
        if !critical.is_empty() {
            return Err(invalid("a simple subject has no critical members"));
        }
        return Ok(EventSubject { user: Some(identifier(subject)?), ..EventSubject::default() });
    }
    if let Some(unknown) = critical.iter().find(|name| !UNDERSTOOD.contains(name)) {
        return Err(invalid(format!("the critical member {unknown:.40} of the subject is not understood")));
    }
    let member = |name: &str| match subject.get(name) {
        None => Ok(None),
        Some(Value::Object(one)) => identifier(one).map(Some),
        Some(_) => Err(invalid(format!("{name} of the subject is no object"))),
    };
    let (user, session, device) = (member("user")?, member("session")?, member("device")?);
    let wider = user.is_none() && session.is_none();
    Ok(EventSubject { user, session, device, wider, principal: Principal::User })
}

fn identifier(one: &Map<String, Value>) -> Result<Identifier, NotASet> {
    let text = |name: &str| match one.get(name).and_then(Value::as_str) {
        Some(text) if !text.is_empty() && text.len() <= IDENTIFIER_MAX => Ok(text.to_owned()),
        _ => Err(invalid(format!("{name} of a subject is missing or too long"))),
    };
    Ok(match one.get("format").and_then(Value::as_str) {
        Some("iss_sub") => Identifier::Identity { issuer: text("iss")?, subject: text("sub")? },
        Some("email") => {
            let email = text("email")?;
            if email.matches('@').count() != 1 {
                return Err(invalid("email of a subject is no address"));
            }
            Identifier::Email(email)
        }
        Some("opaque") => Identifier::Opaque(text("id")?),
        Some(_) => Identifier::Other { text: Value::Object(one.clone()).to_string() },
        None => return Err(invalid("a subject has no format")),
    })
}
