//! The answer by way of the browser, and what the token endpoint gives for it.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::{Map, Value};
use stepgate_core::provider::{Asserted, CameBack, NotAsserted, NotFinished};

use super::Use;
use super::id_token::{Expected, IdToken};
use super::person::TokenOf;
use super::request::Kept;
use crate::http::{Answer, HttpError};

/// The longest code that is redeemed, and the longest answer that is read.
const CODE_LEN_MAX: usize = 4096;
const QUERY_LEN_MAX: usize = 16 * 1024;
/// The longest refresh token that is kept.
const REFRESH_TOKEN_LEN_MAX: usize = 16 * 1024;

/// The query of the answer: each name once.
#[derive(Debug)]
struct Query(BTreeMap<String, String>);

impl Query {
    fn read(query: &str) -> Result<Self, NotAsserted> {
        let malformed = |why: &str| NotAsserted::Malformed(why.to_owned());
        if query.len() > QUERY_LEN_MAX {
            return Err(malformed("its query is too long"));
        }
        let mut all = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if all.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(malformed("a name stands twice in its query"));
            }
        }
        Ok(Self(all))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Whether what was kept is of this provider: what another one was asked for is not its answer.
pub(super) fn kept(answer: &CameBack<'_>, keep: &str, issuer: &str) -> Result<Kept, NotAsserted> {
    let kept = Kept::read(keep).ok_or_else(|| NotAsserted::Malformed(String::from("nothing was kept for it")))?;
    if kept.provider != answer.provider.as_str() || kept.issuer != issuer {
        return Err(NotAsserted::MixUp);
    }
    Ok(kept)
}

/// The code of the answer, if it is that of this provider.
fn code(query: &Query, of: &Use<'_>) -> Result<String, NotAsserted> {
    // RFC 9207, section 2.4: before anything else, also before an error is believed.
    match query.get("iss") {
        Some(issuer) if issuer == of.metadata.issuer => {}
        None if !of.metadata.answers_name_issuer => {}
        _ => return Err(NotAsserted::MixUp),
    }
    if let Some(error) = query.get("error") {
        return Err(refused(error));
    }
    match query.get("code") {
        Some(code) if !code.is_empty() && code.len() <= CODE_LEN_MAX => Ok(code.to_owned()),
        _ => Err(NotAsserted::Malformed(String::from("it has no code"))),
    }
}

fn refused(error: &str) -> NotAsserted {
    let is_code = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let fits = !error.is_empty() && error.len() <= 64 && error.bytes().all(is_code);
    NotAsserted::Refused { code: if fits { error.to_owned() } else { String::from("unreadable") } }
}

pub(super) async fn finish(of: &Use<'_>, answer: &CameBack<'_>, kept: &Kept) -> Result<Asserted, NotFinished> {
    let code = code(&Query::read(answer.query)?, of)?;
    let fields = vec![
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", of.provider.redirect_uri.as_str()),
        ("code_verifier", &kept.verifier),
    ];
    let tokens = Tokens::read(&of.post(&of.metadata.token_endpoint, fields, answer.now).await?)?;
    let Some(id_token) = tokens.id_token else {
        return Err(NotAsserted::Token { what: "missing" }.into());
    };
    let expected = Expected {
        provider: of.provider,
        metadata: &of.metadata,
        nonce: Some(answer.nonce),
        access_token: tokens.access_token.as_deref(),
        now: answer.now,
    };
    let read = IdToken::verify(&id_token, &expected).await?;
    let of_them = |why| NotFinished { why, subject: Some(read.login.subject.clone()) };
    read.login.check(answer.ask, of.provider, answer.asked_at).map_err(of_them)?;
    let claims = of.provider.people.read(&read.verified.claims, TokenOf::Login, answer.now).map_err(of_them)?;
    let (acr, methods, strength) = read.login.class(answer.ask, of.provider);
    Ok(Asserted {
        issuer: of.metadata.issuer.clone(),
        subject: read.login.subject,
        sid: read.login.sid,
        acr,
        methods,
        amr: read.login.amr,
        auth_time: read.login.auth_time,
        strength,
        claims,
        id_token: SecretString::from(id_token),
        key: read.verified.key.jwk(),
        refresh_token: tokens.refresh_token.filter(|_| of.provider.renews()),
    })
}

/// What the token endpoint gave.
pub(super) struct Tokens {
    pub(super) id_token: Option<String>,
    pub(super) access_token: Option<String>,
    pub(super) refresh_token: Option<SecretString>,
}

impl Tokens {
    pub(super) fn read(answer: &Answer) -> Result<Self, NotAsserted> {
        let said = said(answer)?;
        let text = |name: &'static str| match said.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(NotAsserted::Away(format!("{name} in the provider's answer is no text"))),
        };
        let refresh_token = text("refresh_token")?.filter(|token| token.len() <= REFRESH_TOKEN_LEN_MAX);
        Ok(Self {
            id_token: text("id_token")?,
            access_token: text("access_token")?,
            refresh_token: refresh_token.map(SecretString::from),
        })
    }
}

/// The object of a good answer; an error of OAuth (RFC 6749, section 5.2), or of whoever stumbles.
pub(super) fn said(answer: &Answer) -> Result<Map<String, Value>, NotAsserted> {
    let object = answer.object();
    if answer.status.is_success() {
        return object.map_err(|error| NotAsserted::Away(error.to_string()));
    }
    match object.ok().as_ref().and_then(|object| object.get("error")) {
        Some(Value::String(error)) if answer.status.is_client_error() && answer.status != 429 => Err(refused(error)),
        _ => Err(NotAsserted::Away(format!("it answered with {}", answer.status))),
    }
}

/// What the client could not do, in the words of the port.
pub(super) fn of_http(error: HttpError) -> NotAsserted {
    match error {
        HttpError::NotAllowed(_) | HttpError::Redirect { .. } => NotAsserted::Unusable(error.to_string()),
        other => NotAsserted::Away(other.to_string()),
    }
}
