//! `/approver/enrol`: a device becomes an approver. The other half, where the number is typed, is an enrolment like
//! all others.

use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::json;
use stepgate_core::factor::{AtDevice, DeviceOffer, NotEnrolled};
use stepgate_core::flows::{DeviceEnrolment, EnrolError};
use stepgate_core::secret::Token;
use stepgate_core::web::{OurCookie, gate_path};

use super::approver::{COOKIE_MAX_AGE_S, frame, known};
use crate::failure::{Failure, no_store};
use crate::http::Wants;
use crate::outcomes::Outcome;
use crate::views::{ApproverEnrolPage, ApproverInvitedPage, PasskeyCall, Said};
use crate::visit::Visit;
use crate::wire::json;
use crate::words;

/// Where the device's half goes on, once the link is used up.
fn here() -> String {
    format!("{}/enrol", gate_path::APPROVER)
}

/// `GET /approver/enrol/{link}`: looks. Whatever previews links spoils nothing.
pub(crate) async fn look(visit: Visit, Path(link): Path<String>) -> Response {
    let result = async {
        let person = visit.console.flows.look_at_invitation(&read(&link)?).await?;
        let view = ApproverInvitedPage {
            frame: frame(&visit),
            person: person.name,
            host: visit.console.flows.live.load().catalogue.gate_host.to_string(),
            action: format!("{}/{link}", here()),
        };
        Ok::<_, Failure>(visit.device_page(StatusCode::OK, &view))
    };
    visit.finish(result.await)
}

/// `POST /approver/enrol/{link}`: uses the link up, once, for this browser.
pub(crate) async fn follow(visit: Visit, Path(link): Path<String>, body: Bytes) -> Response {
    let result = async {
        visit.fields(&body)?;
        let had = visit.cookie(OurCookie::Approver);
        let cookie = match follow_by(&visit, &read(&link)?, had.as_ref()).await {
            Ok(cookie) => cookie,
            Err(EnrolError::Taken) => return Err(Outcome::ApproverAlready.into()),
            Err(EnrolError::NotAllowed) => return Err(Outcome::ApproverAsksItself.into()),
            Err(error) => return Err(error.into()),
        };
        let mut response = no_store(Redirect::to(&here()).into_response());
        visit.set_cookie(&mut response, OurCookie::Approver, cookie.expose(), Some(COOKIE_MAX_AGE_S));
        Ok::<_, Failure>(response)
    };
    visit.finish(result.await)
}

async fn follow_by(visit: &Visit, link: &Token, had: Option<&Token>) -> Result<Token, EnrolError> {
    visit.console.flows.follow_invitation(link, &visit.browser, had, &visit.surroundings).await
}

/// `GET /approver/enrol`: what the device is to do next. As JSON, whether it waits for the other screen.
pub(crate) async fn show(visit: Visit) -> Response {
    let result = async {
        let enrolment = enrolment(&visit).await?;
        if visit.wants == Wants::Json {
            let state = if enrolment.is_some() { "pending" } else { "over" };
            return Ok(json(StatusCode::OK, &json!({ "state": state })));
        }
        match enrolment {
            Some(enrolment) => Ok(page(&visit, enrolment, StatusCode::OK, None)),
            // Done, or too late.
            None => {
                known(&visit).await.map_err(|_| Outcome::DeadLink)?;
                Ok(no_store(Redirect::to(gate_path::APPROVER).into_response()))
            }
        }
    };
    visit.finish(result.await)
}

/// `POST /approver/enrol`: the device made a passkey, or goes on without.
pub(crate) async fn did(visit: Visit, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let cookie = visit.cookie(OurCookie::Approver).ok_or(Outcome::DeadLink)?;
        let did = match serde_json::from_str(fields.text("credential")) {
            Ok(credential) => AtDevice::Passkey(credential),
            Err(_) if fields.text("without") == "passkey" => AtDevice::NoPasskey,
            Err(_) => {
                let said = Said::bad("Nothing was made.", "The browser has to allow scripts on this page for it.");
                return again(&visit, said).await;
            }
        };
        match visit.console.flows.device_did(&cookie, &did).await {
            Ok(()) => Ok(no_store(Redirect::to(&here()).into_response())),
            Err(EnrolError::Refused(NotEnrolled::Refused(why))) => {
                again(&visit, Said::bad("That does not do.", why)).await
            }
            Err(error) => Err(error.into()),
        }
    };
    visit.finish(result.await)
}

async fn enrolment(visit: &Visit) -> Result<Option<DeviceEnrolment>, Failure> {
    let Some(cookie) = visit.cookie(OurCookie::Approver) else { return Ok(None) };
    Ok(visit.console.flows.device_enrolment(&cookie).await?)
}

async fn again(visit: &Visit, said: Said) -> Result<Response, Failure> {
    let enrolment = enrolment(visit).await?.ok_or(Outcome::DeadLink)?;
    Ok(page(visit, enrolment, StatusCode::UNPROCESSABLE_ENTITY, Some(said)))
}

fn page(visit: &Visit, enrolment: DeviceEnrolment, status: StatusCode, said: Option<Said>) -> Response {
    let (passkey, number) = match enrolment.offer {
        DeviceOffer::Passkey { options } => {
            let call = PasskeyCall { action: String::new(), options: options.to_string(), ceremony: String::new() };
            (Some(call), None)
        }
        DeviceOffer::Number(number) => (None, Some(words::in_groups(number.expose_secret(), 3))),
    };
    let view = ApproverEnrolPage {
        frame: frame(visit),
        person: enrolment.person.name,
        passkey,
        watch: number.is_some().then(here),
        number,
        said,
    };
    visit.device_page(status, &view)
}

fn read(link: &str) -> Result<Token, Failure> {
    Ok(Token::parse(link).ok_or(Outcome::DeadLink)?)
}
