//! The demo's people, enrolled by one-time links like anybody else.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::{EnrolmentAnswer, EnrolmentOffer, FactorKind};
use stepgate_core::flows::Flows;
use stepgate_core::person::Login;
use stepgate_core::secret::Token;
use stepgate_core::time::Timestamp;
use stepgate_factors::code_at;

use crate::commands::{Failure, because, failed};

/// Somebody whom the terminal knows everything about.
pub(super) struct DemoPerson {
    pub(super) login: String,
    pub(super) name: &'static str,
    pub(super) password: String,
    /// `otpauth://…` for an app.
    pub(super) uri: String,
    seed: SecretString,
}

/// Seconds of one step (RFC 6238, section 5.2).
const STEP_S: i64 = 30;

impl DemoPerson {
    /// The code of the moment.
    pub(super) fn code_now(&self) -> String {
        use stepgate_core::time::Clock as _;
        code_at(&self.seed, crate::system::SystemClock.now()).unwrap_or_default()
    }

    /// How long that code is the code of the moment, in seconds.
    pub(super) fn seconds_left(&self) -> i64 {
        use stepgate_core::time::Clock as _;
        STEP_S.saturating_sub((crate::system::SystemClock.now().as_ms() / 1000).rem_euclid(STEP_S))
    }
}

/// Alice of finance, who works with the ledger.
pub(super) async fn alice(flows: &Flows) -> Result<DemoPerson, Failure> {
    enrolled(flows, "alice", "Alice Miller", "finance").await
}

/// Audrey, who may see the evidence and nothing of the ledger.
pub(super) async fn audrey(flows: &Flows) -> Result<DemoPerson, Failure> {
    enrolled(flows, "audrey", "Audrey Stone", "auditors").await
}

/// Adds somebody if they are not there, and enrols a new password and a new
/// authenticator for them. An authenticator of an earlier run stays.
async fn enrolled(flows: &Flows, login: &str, name: &'static str, group: &str) -> Result<DemoPerson, Failure> {
    let email = format!("{login}@example.com");
    let login = Login::parse(login).map_err(because)?;
    let person = match flows.store.person_by_login(&login).await.map_err(because)? {
        Some(person) => person,
        None => flows.add_person(login, name, &email, vec![group.to_owned()], "demo").await.map_err(because)?,
    };
    let kinds = vec![FactorKind::Password, FactorKind::Totp];
    let link = flows.make_link(&person, kinds, Duration::from_secs(600), "demo").await.map_err(because)?;
    let link = link.url.rsplit('/').next().and_then(Token::parse).ok_or_else(|| failed("the link has no token"))?;
    let browser = Token::random(flows.random.as_ref());
    let ticket = flows.use_link(&link, &browser).await.map_err(because)?;

    let password = password(flows);
    let view = flows.enrolment(&ticket, &browser).await.map_err(because)?;
    flows.begin_enrolment(&view, FactorKind::Password).await.map_err(because)?;
    let view = flows.enrolment(&ticket, &browser).await.map_err(because)?;
    let answer = EnrolmentAnswer::Text(SecretString::from(password.clone()));
    flows.finish_enrolment(&view, FactorKind::Password, "", &answer).await.map_err(because)?;

    let view = flows.enrolment(&ticket, &browser).await.map_err(because)?;
    let offer = flows.begin_enrolment(&view, FactorKind::Totp).await.map_err(because)?;
    let EnrolmentOffer::Totp { uri, secret_base32, .. } = offer else {
        return Err(failed("the authenticator was not offered"));
    };
    // The code of the step before proves the enrolment, so that the code of now is still good.
    let now = flows.clock.now();
    let before = Timestamp::from_ms(now.as_ms().saturating_sub(STEP_S * 1000));
    let first = code_at(&secret_base32, before).ok_or_else(|| failed("the authenticator gives no code"))?;
    let view = flows.enrolment(&ticket, &browser).await.map_err(because)?;
    let answer = EnrolmentAnswer::Text(SecretString::from(first));
    flows.finish_enrolment(&view, FactorKind::Totp, "Demo terminal", &answer).await.map_err(because)?;
    flows.end_enrolment(&ticket).await.map_err(because)?;
    Ok(DemoPerson {
        login: person.login.to_string(),
        name,
        password,
        uri: uri.expose_secret().to_owned(),
        seed: secret_base32,
    })
}

/// A password that can be typed: five groups of four letters, 94 bits.
fn password(flows: &Flows) -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz";
    let mut out = String::new();
    while out.len() < 24 {
        let mut byte = [0];
        flows.random.fill(&mut byte);
        // 240 is the greatest multiple of 24 in a byte: each letter is equally likely.
        if byte[0] < 240
            && let Some(letter) = LETTERS.get(usize::from(byte[0]) % LETTERS.len())
        {
            if out.len() % 5 == 4 {
                out.push('-');
            }
            out.push(char::from(*letter));
        }
    }
    out
}
