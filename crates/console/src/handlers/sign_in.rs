//! `/sign-in` and `/sign-out`.

use axum::extract::RawQuery;
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use stepgate_core::challenge::ChallengeState;
use stepgate_core::factor::{FactorKind, Prompt};
use stepgate_core::flows::{GoOn, SignInAs, SignInAttempt, SignInError, SignedIn, SignedInGoesOn, is_sign_in_again};
use stepgate_core::id::ChallengeId;
use stepgate_core::ports::ChangeError;
use stepgate_core::web::{OurCookie, gate_path};

use crate::failure::{Failure, no_store, of_sign_in, say};
use crate::handlers::challenge::resume_url;
use crate::handlers::hand_off::go_on_path;
use crate::http::{Fields, Wants};
use crate::next::Next;
use crate::outcomes::Outcome;
use crate::page::retry_after;
use crate::views::{Destination, PasskeyCall, ProviderButton, Said, SignInPage, SignOutPage};
use crate::visit::Visit;
use crate::wire::{self, json};

/// How long the device cookie is kept, seconds: a year.
const DEVICE_MAX_AGE_S: u64 = 365 * 24 * 3600;

/// Where the person goes on, as the query or the form says.
#[derive(Debug, Default)]
pub(crate) struct Onward {
    pub(crate) next: Option<Next>,
    pub(crate) continues: Option<ChallengeId>,
}

impl Onward {
    pub(crate) fn read(next: &str, continues: &str) -> Self {
        let next = Next::parse(next);
        let continues = continues.parse().ok().or(match &next {
            Some(Next::Challenge(id)) => Some(*id),
            _ => None,
        });
        Self { next, continues }
    }

    fn from_query(query: &str) -> Self {
        let value = |sought: &str| {
            let found = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == sought);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        Self::read(&value("next"), &value("continue"))
    }

    pub(crate) fn from_fields(fields: &Fields) -> Self {
        Self::read(fields.text("next"), fields.text("continue"))
    }
}

/// `GET /sign-in`.
pub(crate) async fn show(visit: Visit, RawQuery(query): RawQuery) -> Response {
    if visit.wants == Wants::Json {
        return visit.finish(Ok(what_to_post(&visit, gate_path::SIGN_IN, &json!({ "login": "…", "password": "…" }))));
    }
    let onward = Onward::from_query(query.as_deref().unwrap_or_default());
    visit.finish(page(&visit, &onward, StatusCode::OK, String::new(), None).await)
}

/// Tells a program where to post what; the texts of `body` stand for its own.
fn what_to_post(visit: &Visit, path: &str, body: &serde_json::Value) -> Response {
    let told = json!({
        "signed_in": visit.session.is_some(),
        "post": { "url": format!("{}{path}", visit.console.origin), "content_type": "application/json", "body": body },
    });
    json(StatusCode::OK, &told)
}

/// `GET` of an address that only forms are sent to.
pub(crate) async fn to_page(visit: Visit) -> Response {
    visit.finish(Ok(no_store(Redirect::to(gate_path::SIGN_IN).into_response())))
}

/// `POST /sign-in`: name and password, as a form or as JSON.
pub(crate) async fn with_password(visit: Visit, body: Bytes) -> Response {
    let result = async {
        let mut fields = visit.fields(&body)?;
        let login = fields.text("name").to_owned();
        // Programs say `login`, as configuration and commands do.
        let login = if login.is_empty() { fields.text("login").to_owned() } else { login };
        let password = fields.take_secret("password");
        let onward = Onward::from_fields(&fields);
        sign_in(&visit, onward, SignInAs::Password { login: login.clone(), password }, login).await
    };
    visit.finish(result.await)
}

/// `POST /sign-in/passkey`: what a discovered passkey signed.
pub(crate) async fn with_passkey(visit: Visit, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let onward = Onward::from_fields(&fields);
        let Some(assertion) = wire::assertion(fields.text("credential")) else {
            let said = Said::bad("No passkey was used.", "The browser has to allow scripts on this page for it.");
            return page(&visit, &onward, StatusCode::UNPROCESSABLE_ENTITY, String::new(), Some(said)).await;
        };
        let prompt = fields.text("ceremony").to_owned();
        let how = SignInAs::Passkey { prompt, assertion: Box::new(assertion) };
        sign_in(&visit, onward, how, String::new()).await
    };
    visit.finish(result.await)
}

async fn sign_in(visit: &Visit, onward: Onward, how: SignInAs, name: String) -> Result<Response, Failure> {
    let by_passkey = matches!(how, SignInAs::Passkey { .. });
    let device = visit.cookie(OurCookie::Device);
    let attempt = SignInAttempt {
        as_: how,
        browser: &visit.browser,
        device: device.as_ref(),
        replaces: visit.session.as_ref().map(|(session, _)| session.as_ref()),
        continues: onward.continues,
        surroundings: &visit.surroundings,
    };
    let signed_in = match visit.console.flows.sign_in(attempt).await {
        Ok(signed_in) => signed_in,
        Err(SignInError::Refused) => {
            let said = if by_passkey {
                Said::bad("That passkey is not known here.", "Use another one, or name and password.")
            } else {
                Said::bad(
                    "Name or password is not right.",
                    "Please try again. After too many tries a password is locked for a while where it was not used \
                     before; a passkey, or a browser that you have used it in, still works.",
                )
            };
            return refused(visit, &onward, name, said).await;
        }
        Err(SignInError::Stale) => {
            let said = Said::bad("This page was open for too long.", "It is fresh now: please try again.");
            return refused(visit, &onward, name, said).await;
        }
        Err(error) => return Err(of_sign_in(error)),
    };
    Ok(go_on_signed_in(visit, &signed_in, onward))
}

/// The answer to whoever has just signed in: on to where they wanted to go.
pub(crate) fn go_on_signed_in(visit: &Visit, signed_in: &SignedIn, onward: Onward) -> Response {
    let go_on = match (&signed_in.go_on, onward.continues) {
        (Some(SignedInGoesOn::Now(GoOn::Browser { origin, code })), Some(id)) => Some(resume_url(origin, id, code)),
        (Some(SignedInGoesOn::AfterMore { service, tag }), Some(id)) => {
            Some(format!("{}{}", visit.console.origin, go_on_path(id, service, tag)))
        }
        _ => None,
    };
    let mut response = match visit.wants {
        Wants::Json => {
            let go_on = go_on.or_else(|| onward.next.map(|next| format!("{}{}", visit.console.origin, next.path())));
            json(StatusCode::OK, &json!({ "signed_in": true, "go_on": go_on }))
        }
        Wants::Page => {
            let to = go_on.unwrap_or_else(|| onward.next.unwrap_or(Next::Account).path());
            no_store(Redirect::to(&to).into_response())
        }
    };
    visit.set_cookie(&mut response, OurCookie::Session, signed_in.gate_token.expose(), None);
    visit.set_cookie(&mut response, OurCookie::Device, signed_in.device.expose(), Some(DEVICE_MAX_AGE_S));
    response
}

/// One answer for every reason, so that nobody learns who has an account.
pub(crate) async fn refused(visit: &Visit, onward: &Onward, name: String, said: Said) -> Result<Response, Failure> {
    match visit.wants {
        Wants::Json => Ok(wire::problem(StatusCode::UNAUTHORIZED, "not_signed_in", &said.headline, &said.detail)),
        Wants::Page => page(visit, onward, StatusCode::UNAUTHORIZED, name, Some(said)).await,
    }
}

/// The sign-in page for who may not leave for a provider now, because too many did.
pub(crate) async fn too_many_left(visit: &Visit, onward: &Onward, retry_after_s: u32) -> Result<Response, Failure> {
    let wait = match retry_after_s {
        1 => "Try again in a second.".to_owned(),
        seconds => format!("Try again in {seconds} seconds."),
    };
    let said = Said::bad(
        "Too many sign-ins at your company’s login were begun from where you are, or by everybody together.",
        format!("{wait} What you have here still works: a passkey, or name and password."),
    );
    let response = match visit.wants {
        Wants::Json => wire::problem(StatusCode::TOO_MANY_REQUESTS, "too_many", &said.headline, &said.detail),
        Wants::Page => page(visit, onward, StatusCode::TOO_MANY_REQUESTS, String::new(), Some(said)).await?,
    };
    Ok(retry_after(response, retry_after_s))
}

async fn page(
    visit: &Visit,
    onward: &Onward,
    status: StatusCode,
    name: String,
    said: Option<Said>,
) -> Result<Response, Failure> {
    let flows = &visit.console.flows;
    let passkey = if flows.factors.contains_key(&FactorKind::PASSKEY) {
        let prompt = flows.sign_in_prompt(&visit.browser).map_err(of_sign_in)?;
        match prompt.prompt {
            Prompt::Passkey { options } => Some(PasskeyCall {
                action: format!("{}/passkey", gate_path::SIGN_IN),
                options: options.to_string(),
                ceremony: prompt.text,
            }),
            Prompt::Text | Prompt::SentCode { .. } | Prompt::Devices { .. } => None,
        }
    } else {
        None
    };
    let live = flows.live.load_full();
    let (destination, origin) = match &onward.next {
        Some(Next::HandOff(hand_off)) => match hand_off.service(&live.catalogue) {
            Some(service) => (
                Some(Destination { name: service.title.clone(), host: service.host.to_string() }),
                service.origin.clone(),
            ),
            None => (None, visit.console.origin.to_string()),
        },
        _ => continued(visit, onward).await?,
    };
    let view = SignInPage {
        frame: visit.stranger_frame(),
        destination,
        next: onward.next.as_ref().map(Next::path),
        continues: onward.continues.map(|id| id.to_string()),
        action: gate_path::SIGN_IN.to_owned(),
        name,
        signed_in_as: visit.session.as_ref().map(|(session, _)| session.person.name.clone()),
        passkey,
        logins: live
            .providers
            .all()
            .iter()
            .map(|provider| ProviderButton::new(&provider.name, &provider.title))
            .collect(),
        said,
    };
    Ok(visit.page_to(status, &view, &origin))
}

/// What waits for this sign-in, and the origin that it goes on at, so that the form
/// may lead there. A request that goes on by signing in alone is named: it may have
/// been planted with the cookies of a session that lapsed, and the link to it sent to
/// the person (attack B45). Of any other challenge nothing is told but its origin.
async fn continued(visit: &Visit, onward: &Onward) -> Result<(Option<Destination>, String), Failure> {
    let flows = &visit.console.flows;
    let challenge = match onward.continues {
        Some(id) => flows.store.challenge(id).await?,
        None => None,
    };
    let Some(challenge) = challenge else { return Ok((None, visit.console.origin.to_string())) };
    let waits = is_sign_in_again(&challenge) && matches!(challenge.state, ChallengeState::Pending { .. });
    let host = challenge.host.as_ref().map_or_else(|| visit.console.site.to_string(), ToString::to_string);
    let named = waits.then(|| Destination { name: challenge.statement.title.clone(), host });
    Ok((named, flows.origin_of(&challenge)))
}

/// `GET /sign-out`: asks. A link must not sign anybody out.
pub(crate) async fn ask_to_sign_out(visit: Visit) -> Response {
    if visit.wants == Wants::Json {
        return visit.finish(Ok(what_to_post(&visit, gate_path::SIGN_OUT, &json!({}))));
    }
    if visit.session.is_none() {
        return visit.finish(Ok(say(&visit, Outcome::SignedOut { there: None })));
    }
    let view = SignOutPage { frame: visit.stranger_frame(), action: gate_path::SIGN_OUT.to_owned() };
    visit.finish(Ok(visit.page(StatusCode::OK, &view)))
}

/// `POST /sign-out`.
pub(crate) async fn sign_out(mut visit: Visit, body: Bytes) -> Response {
    let result = end(&visit, &body).await;
    if result.is_ok() {
        visit.session = None;
    }
    let response = result.map(|there| {
        let mut response = say(&visit, Outcome::SignedOut { there });
        visit.set_cookie(&mut response, OurCookie::Session, "", Some(0));
        response
    });
    visit.finish(response)
}

/// Ends the session. Gives where to sign out at the provider that it came from.
async fn end(visit: &Visit, body: &[u8]) -> Result<Option<String>, Failure> {
    visit.fields(body)?;
    let Some((session, _)) = &visit.session else { return Ok(None) };
    let there = visit.console.flows.logout_url(session.id).await;
    match visit.console.flows.end_session(session.id, session, "sign_out").await {
        // It had ended already.
        Ok(()) | Err(ChangeError::Conflict) => Ok(there),
        Err(error) => Err(error.into()),
    }
}
