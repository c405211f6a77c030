//! `/approver`: a device of somebody's own, where they approve what another browser asks. It is known by a cookie
//! that opens this place and no other.

use axum::extract::RawQuery;
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, StatusCode};
use serde_json::json;
use stepgate_core::flows::{AnswerError, DeviceAnswered, DeviceView, NotAnswerable, NotMe, Question};
use stepgate_core::id::ChallengeId;
use stepgate_core::ports::Trier;
use stepgate_core::secret::Purpose;
use stepgate_core::web::{OurCookie, gate_path};

use crate::assets;
use crate::failure::{Failure, no_store, of_answer};
use crate::http::Wants;
use crate::outcomes::Outcome;
use crate::present::device::{device_question, last_question};
use crate::views::{ApproverPage, Frame, Said};
use crate::visit::Visit;
use crate::wire::{self, json, problem};
use crate::words;

/// How long a device keeps its cookie, seconds: 400 days, the most that browsers keep; renewed with each visit.
pub(super) const COOKIE_MAX_AGE_S: u64 = 400 * 24 * 3600;

/// `GET /approver`: what is asked. As JSON, whether that is still what the page shows.
pub(crate) async fn show(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let result = async {
        let device = match known(&visit).await {
            Ok(device) => device,
            Err(_) if visit.wants == Wants::Json => return Ok(json(StatusCode::OK, &json!({ "state": "gone" }))),
            Err(failure) => return Err(failure),
        };
        if visit.wants == Wants::Json {
            let question = question(&visit, &device).await?;
            let shows = query.as_deref().and_then(|query| query.strip_prefix("showing=")).unwrap_or_default();
            let is = question.map(|question| question.challenge.id.to_string()).unwrap_or_default();
            // The page looks until it is something else than it shows.
            let state = if is == shows { "pending" } else { "changed" };
            return Ok(json(StatusCode::OK, &json!({ "state": state })));
        }
        page(&visit, &device, StatusCode::OK, None).await
    };
    visit.finish(result.await)
}

/// The device that this browser is. One that was removed is none.
pub(super) async fn known(visit: &Visit) -> Result<DeviceView, Failure> {
    let Some(cookie) = visit.cookie(OurCookie::Approver) else { return Err(Outcome::NoDevice.into()) };
    Ok(visit.console.flows.device(&cookie).await?.ok_or(Outcome::NoDevice)?)
}

async fn question(visit: &Visit, device: &DeviceView) -> Result<Option<Question>, Failure> {
    match visit.console.flows.question(device).await {
        Ok(question) => Ok(question),
        Err(NotAnswerable::Store(error)) => Err(error.into()),
        Err(_) => Err(Failure::Fault("what a device is asked cannot be shown")),
    }
}

/// The frame of a device's pages: nobody is signed in there.
pub(super) fn frame(visit: &Visit) -> Frame {
    visit.stranger_frame()
}

/// What is asked, or, if nothing is, what was asked last.
async fn page(visit: &Visit, device: &DeviceView, status: StatusCode, said: Option<Said>) -> Result<Response, Failure> {
    let flows = &visit.console.flows;
    let question = question(visit, device).await?;
    let last = match &question {
        // Who has said that it was not they is not asked for it again.
        None if !flows.approvals_locked(device.person.id).await? => flows.last_asked(device).await?,
        _ => None,
    };
    let showing = question.as_ref().map(|question| question.challenge.id.to_string()).unwrap_or_default();
    let catalogue = &flows.live.load().catalogue;
    let view = ApproverPage {
        frame: frame(visit),
        person: device.person.name.clone(),
        device: device.factor.name.clone(),
        question: question.map(|question| device_question(&question, catalogue, visit.surroundings.now)),
        last: last.map(|last| last_question(&last, catalogue)),
        watch: format!("{}?showing={showing}", gate_path::APPROVER),
        web_push: flows.devices.as_ref().and_then(|devices| devices.wakes.key()),
        said,
    };
    let mut response = visit.device_page(status, &view);
    if let Some(cookie) = visit.cookie(OurCookie::Approver) {
        visit.set_cookie(&mut response, OurCookie::Approver, cookie.expose(), Some(COOKIE_MAX_AGE_S));
    }
    Ok(response)
}

/// What is asked by now, with what came of the last answer.
async fn again(visit: &Visit, device: &DeviceView, status: StatusCode, said: Said) -> Result<Response, Failure> {
    page(visit, device, status, Some(said)).await
}

/// Where an answer comes from: each device has a count of tries of its own, once it has answered right.
fn trier(visit: &Visit) -> Trier {
    let device = visit.cookie(OurCookie::Approver).map(|cookie| cookie.digest(Purpose::Approver));
    Trier { device, address: visit.surroundings.address }
}

/// `GET` of an address that only forms are sent to.
pub(crate) async fn to_page(visit: Visit) -> Response {
    visit.finish(Ok(no_store(Redirect::to(gate_path::APPROVER).into_response())))
}

/// `POST /approver/answer`.
pub(crate) async fn answer(visit: Visit, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let device = known(&visit).await?;
        let challenge: ChallengeId = fields.text("challenge").parse().map_err(|_| Outcome::NotFound)?;
        let number: String = fields.text("number").chars().filter(|sign| !sign.is_whitespace()).collect();
        let credential = fields.text("credential");
        let assertion = if credential.is_empty() { None } else { wire::assertion(credential) };
        let flows = &visit.console.flows;
        let beside = visit.session.as_ref().map(|(session, _)| session.id);
        match flows.device_approves(&device, challenge, &number, assertion, trier(&visit), beside).await {
            Ok(DeviceAnswered::Approved) => {
                let said = Said::good("Approved.", "It goes on where it was asked.");
                again(&visit, &device, StatusCode::OK, said).await
            }
            Ok(DeviceAnswered::MoreIsNeeded) => {
                let said = Said::good("Approved.", "One more proof is needed where it was asked.");
                again(&visit, &device, StatusCode::OK, said).await
            }
            Err(error) => not_approved(&visit, &device, error).await,
        }
    };
    visit.finish(result.await)
}

async fn not_approved(visit: &Visit, device: &DeviceView, error: AnswerError) -> Result<Response, Failure> {
    let wrong = StatusCode::UNPROCESSABLE_ENTITY;
    let (status, said) = match error {
        AnswerError::WrongNumber { left } => (wrong, Said::bad("That is not the number.", words::tries_left(left))),
        AnswerError::Wrong { left, .. } | AnswerError::UsedBefore { left } => {
            (wrong, Said::bad("That was not signed by this device.", words::tries_left(left)))
        }
        AnswerError::Locked { .. } => {
            let said = Said::bad("Approvals are locked for now.", "Confirm it in another way where it was asked.");
            (StatusCode::TOO_MANY_REQUESTS, said)
        }
        AnswerError::SameBrowser => {
            let way = "It is the one that asks. Approve it on another device, or confirm it in another way there.";
            (wrong, Said::bad("This browser cannot approve that.", way))
        }
        AnswerError::NotOffered => (wrong, Said::bad("An approval here does not do for this.", "")),
        AnswerError::NotAnswerable(NotAnswerable::Over(_)) | AnswerError::Changed => {
            (StatusCode::CONFLICT, Said::bad("This was answered or withdrawn already.", "Nothing was done now."))
        }
        AnswerError::NotAnswerable(NotAnswerable::NotYours) => return Err(Outcome::ForeignChallenge.into()),
        AnswerError::NotAnswerable(NotAnswerable::Store(error)) => return Err(error.into()),
        AnswerError::NotAnswerable(NotAnswerable::Damaged) => {
            return Err(Failure::Fault("a challenge's statement cannot be made"));
        }
        error @ (AnswerError::Fault | AnswerError::Store(_)) => return Err(of_answer(error)),
    };
    again(visit, device, status, said).await
}

/// `POST /approver/refuse`.
pub(crate) async fn refuse(visit: Visit, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let device = known(&visit).await?;
        let challenge: ChallengeId = fields.text("challenge").parse().map_err(|_| Outcome::NotFound)?;
        let not_me = if fields.text("because") == "not-me" { NotMe::Yes } else { NotMe::No };
        match visit.console.flows.device_refuses(&device, challenge, not_me).await {
            Ok(()) if not_me == NotMe::Yes => {
                let said = Said::good(
                    "Refused, and reported.",
                    "Nothing was done, and the session that asked was signed out. No approval is asked for any more \
                     until you allow it in your account. If others may know your password, change it.",
                );
                again(&visit, &device, StatusCode::OK, said).await
            }
            Ok(()) => again(&visit, &device, StatusCode::OK, Said::good("Refused.", "Nothing was done.")).await,
            Err(error) => not_approved(&visit, &device, error).await,
        }
    };
    visit.finish(result.await)
}

/// `POST /approver/subscription`: where the device is woken.
pub(crate) async fn subscribe(visit: Visit, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let device = known(&visit).await?;
        match visit.console.flows.subscribe_device(&device, fields.text("subscription")).await? {
            Ok(()) => Ok::<_, Failure>(json(StatusCode::OK, &json!({ "state": "subscribed" }))),
            Err(why) => {
                tracing::info!(why, "a device cannot be woken where it wants to be");
                let (code, title) = ("not_subscribed", "This push service is not used here");
                Ok(problem(StatusCode::UNPROCESSABLE_ENTITY, code, title, ""))
            }
        }
    };
    visit.finish(result.await)
}

/// The worker, the manifest and the icons: at fixed places, because browsers and home screens remember these.
pub(crate) async fn fixed(uri: http::Uri) -> Response {
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let Some((content_type, bytes)) = assets::fixed(name) else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-cache"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        // The worker stands below the page that it belongs to.
        (HeaderName::from_static("service-worker-allowed"), gate_path::APPROVER),
    ];
    (headers, bytes).into_response()
}
