//! `/challenges/{id}`: the question, its answers, and its refusal.

use std::sync::Arc;

use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, json};
use stepgate_core::challenge::{Challenge, ChallengeState, SendOutcome};
use stepgate_core::factor::{Answer, FactorKind};
use stepgate_core::flows::{AnswerError, Answered, GoOn, NotAnswerable, NotMe, SendError, is_sign_in_again};
use stepgate_core::id::{ChallengeId, FactorId};
use stepgate_core::secret::{Token, TokenDigest};
use stepgate_core::session::SessionView;
use stepgate_core::web::{OurCookie, host_path};

use crate::failure::{Failure, no_store, of_answer, say};
use crate::http::{Fields, Wants};
use crate::next::Next;
use crate::outcomes::{Outcome, Reported};
use crate::present::{LastAnswer, challenge_page, instant, your};
use crate::views::Said;
use crate::visit::Visit;
use crate::wire::{self, json, problem_with};
use crate::words::{self, Moment};

/// Digits of the number that the asker shows.
const NUMBER_LEN: usize = 6;

/// `{origin}/.stepgate/resume/{challenge}?code={code}`.
pub(crate) fn resume_url(origin: &str, id: ChallengeId, code: &Token) -> String {
    format!("{origin}{}/{id}?code={}", host_path::RESUME, code.expose())
}

/// `GET /challenges/{id}`: the page or its JSON.
pub(crate) async fn show(visit: Visit, Path(id): Path<String>) -> Response {
    let result = async {
        let (id, session, _) = addressed(&visit, &id)?;
        look(&visit, id, session, StatusCode::OK, LastAnswer::default()).await
    };
    visit.finish(result.await)
}

/// `GET` of an address that only forms are sent to: somebody reloads by typing it.
pub(crate) async fn to_page(visit: Visit, Path(id): Path<String>) -> Response {
    let result = match id.parse::<ChallengeId>() {
        Ok(id) => Ok(no_store(Redirect::to(&Next::Challenge(id).path()).into_response())),
        Err(_) => Err(Outcome::ForeignChallenge.into()),
    };
    visit.finish(result)
}

/// The challenge's id and who is signed in. An id that is none is nobody's.
pub(crate) fn addressed<'v>(
    visit: &'v Visit,
    id: &str,
) -> Result<(ChallengeId, &'v Arc<SessionView>, TokenDigest), Failure> {
    let id: ChallengeId = id.parse().map_err(|_| Outcome::ForeignChallenge)?;
    match &visit.session {
        Some((session, token)) => Ok((id, session, *token)),
        None => Err(Failure::SignInFor(Next::Challenge(id))),
    }
}

pub(crate) async fn look(
    visit: &Visit,
    id: ChallengeId,
    session: &SessionView,
    status: StatusCode,
    last: LastAnswer,
) -> Result<Response, Failure> {
    let flows = &visit.console.flows;
    let view = match flows.challenge(id, session).await {
        Ok(view) => view,
        Err(NotAnswerable::NotYours) => return Err(Outcome::ForeignChallenge.into()),
        Err(NotAnswerable::Over(challenge)) => return over(visit, &challenge, session).await,
        Err(NotAnswerable::Damaged) => return Err(Failure::Fault("a challenge's statement cannot be made")),
        Err(NotAnswerable::Store(error)) => return Err(error.into()),
    };
    if is_sign_in_again(&view.challenge) {
        // It waits for a new sign-in, not for an answer.
        return Err(Failure::SignInFor(Next::Challenge(id)));
    }
    if visit.wants == Wants::Json {
        return Ok(json(status, &wire::challenge(&view)));
    }
    let live = flows.live.load_full();
    let origin = flows.origin_of(&view.challenge);
    let login = session.person.login.as_str();
    let page = challenge_page(&view, visit.frame(), &live.catalogue, login, visit.surroundings.now, last);
    Ok(visit.page_to(status, &page, &origin))
}

/// A challenge that is over: what became of it, and the way on.
async fn over(visit: &Visit, challenge: &Challenge, session: &SessionView) -> Result<Response, Failure> {
    let flows = &visit.console.flows;
    let go_on = flows.way_back(challenge, session).await?;
    let newer = match &visit.session {
        Some((_, token)) => flows.catch_up(challenge, session, *token).await,
        None => None,
    };
    let mut response = match (visit.wants, go_on) {
        (Wants::Json, go_on) => {
            let mut body = wire::over(challenge);
            if let (Some(GoOn::Browser { origin, code }), Some(body)) = (&go_on, body.as_object_mut()) {
                body.insert("go_on".to_owned(), json!(resume_url(origin, challenge.id, code)));
            }
            json(StatusCode::OK, &body)
        }
        (Wants::Page, Some(GoOn::Browser { origin, code })) => {
            no_store(Redirect::to(&resume_url(&origin, challenge.id, &code)).into_response())
        }
        (Wants::Page, _) => say(visit, what_became(visit, challenge)),
    };
    if let Some(newer) = newer {
        visit.set_cookie(&mut response, OurCookie::Session, newer.expose(), None);
    }
    Ok(response)
}

fn what_became(visit: &Visit, challenge: &Challenge) -> Outcome {
    let operation = challenge.statement.title.clone();
    let back = || way_back(visit, challenge);
    match &challenge.state {
        ChallengeState::Pending { .. } | ChallengeState::Expired => Outcome::Expired { again: back() },
        ChallengeState::Failed { reason } => {
            Outcome::Failed { why: words::why_failed(reason).to_owned(), again: back() }
        }
        ChallengeState::Cancelled { reason } => {
            let reported = if reason == "not_me" { Reported::NotMe } else { Reported::No };
            Outcome::Cancelled { back: back(), reported }
        }
        ChallengeState::Passed { spend_before, .. } if visit.surroundings.now >= *spend_before => {
            Outcome::Unspent { again: back() }
        }
        ChallengeState::Passed { .. } => Outcome::PassedElsewhere { operation },
        ChallengeState::Spent { outcome: SendOutcome::Sending, .. } => Outcome::Sending { operation, back: back() },
        ChallengeState::Spent { outcome: SendOutcome::Answered { status }, .. } => {
            Outcome::WentOn { operation, answered: *status, back: back() }
        }
        ChallengeState::Spent { outcome: SendOutcome::NotSent, .. } => Outcome::NotSent { operation, again: back() },
        ChallengeState::Spent { outcome: SendOutcome::Unknown, at, .. } => {
            Outcome::Unknown { operation, sent: Moment::with_day(instant(*at)), service: back() }
        }
    }
}

/// Where the person was: the page itself if it can be asked for again, else the
/// service's front. Only ever one of our own origins.
fn way_back(visit: &Visit, challenge: &Challenge) -> Option<String> {
    let flows = &visit.console.flows;
    let is_safe = matches!(challenge.statement.method.as_str(), "GET" | "HEAD");
    let url = url::Url::parse(&challenge.statement.url).ok()?;
    if is_safe && flows.live.load().catalogue.is_ours(&url) {
        return Some(url.into());
    }
    Some(format!("{}/", flows.origin_of(challenge)))
}

/// `POST /challenges/{id}/answers`.
pub(crate) async fn answer(visit: Visit, Path(id): Path<String>, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let (id, session, token) = addressed(&visit, &id)?;
        take_answer(&visit, id, session, token, fields).await
    };
    visit.finish(result.await)
}

async fn take_answer(
    visit: &Visit,
    id: ChallengeId,
    session: &SessionView,
    token: TokenDigest,
    mut fields: Fields,
) -> Result<Response, Failure> {
    let unreadable = StatusCode::UNPROCESSABLE_ENTITY;
    let typed: String = fields.text("number").chars().filter(|sign| !sign.is_whitespace()).collect();
    let number = (!typed.is_empty()).then_some(typed);
    if fields.text("factor") == "number" {
        // The number alone: remembered by the page, and judged together with the answer.
        let is_number = |number: &String| number.len() == NUMBER_LEN && number.bytes().all(|b| b.is_ascii_digit());
        let last = match number.filter(is_number) {
            Some(number) => LastAnswer { number: Some(number), ..LastAnswer::default() },
            None => not_done("That is not the number.", "It has six digits."),
        };
        return look(visit, id, session, StatusCode::OK, last).await;
    }
    let Ok(kind) = fields.text("factor").parse::<FactorKind>() else {
        return again(visit, id, session, unreadable, "factor", not_done("Nothing was answered.", "")).await;
    };
    let Some(answer) = read_answer(kind, &mut fields) else {
        let last = not_done("Nothing was answered.", "For a passkey the browser has to allow scripts on this page.");
        return again(visit, id, session, unreadable, "malformed", LastAnswer { number, ..last }).await;
    };
    match visit.console.flows.answer(id, session, token, &answer, number.as_deref(), visit.trier()).await {
        Ok(Answered::Passed { gate_token, go_on }) => Ok(passed(visit, id, &gate_token, &go_on).await?),
        Ok(Answered::More(_)) => {
            let said = Some(Said::good("That was right.", "One more proof is needed."));
            look(visit, id, session, StatusCode::OK, LastAnswer { said, number, ..LastAnswer::default() }).await
        }
        Err(error) => not_passed(visit, id, session, number, error).await,
    }
}

/// `POST /challenges/{id}/codes`: sends a code to one of the person's addresses.
pub(crate) async fn send_code(visit: Visit, Path(id): Path<String>, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let (id, session, _) = addressed(&visit, &id)?;
        let typed = fields.text("number");
        let number = (!typed.is_empty()).then(|| typed.to_owned());
        let Ok(address) = fields.text("address").parse::<FactorId>() else {
            let last = LastAnswer { number, ..not_done("Nothing was sent.", "") };
            return again(&visit, id, session, StatusCode::UNPROCESSABLE_ENTITY, "not_offered", last).await;
        };
        let (status, code, headline, detail) = match visit.console.flows.send_code(id, session, address).await {
            Ok(()) => {
                let said =
                    Some(Said::good("A code is on its way.", "Type it here. It counts for this question alone."));
                return look(&visit, id, session, StatusCode::OK, LastAnswer { said, number, ..LastAnswer::default() })
                    .await;
            }
            Err(SendError::NotAnswerable(error)) => {
                return not_passed(&visit, id, session, number, AnswerError::NotAnswerable(error)).await;
            }
            Err(SendError::Store(error)) => return Err(error.into()),
            Err(SendError::NotOffered) => {
                let refused = StatusCode::UNPROCESSABLE_ENTITY;
                (refused, "not_offered", "That does not do for this.", "Use one of these.")
            }
            Err(SendError::TooMany) => {
                let why = "Use another way, or try again in an hour.";
                (StatusCode::TOO_MANY_REQUESTS, "too_many_codes", "Enough codes were sent for now.", why)
            }
            Err(SendError::NotTaken) => {
                let why = "Use another way, or try again.";
                (StatusCode::SERVICE_UNAVAILABLE, "not_sent", "The code could not be sent.", why)
            }
        };
        again(&visit, id, session, status, code, LastAnswer { number, ..not_done(headline, detail) }).await
    };
    visit.finish(result.await)
}

/// Reads what was sent for this kind. `None` if it has not the form of it.
fn read_answer(kind: FactorKind, fields: &mut Fields) -> Option<Answer> {
    let text = match kind {
        FactorKind::Passkey(_) => {
            let field = if fields.text("credential").is_empty() { "assertion" } else { "credential" };
            return wire::assertion(fields.text(field)).map(|assertion| Answer::Passkey(Box::new(assertion)));
        }
        FactorKind::Password => fields.take_secret("password"),
        // Apps and mails show codes in groups: the spaces between them are for reading.
        FactorKind::Totp | FactorKind::Hotp | FactorKind::PhoneCode(_) | FactorKind::EmailCode => {
            let typed = fields.take_secret("code");
            SecretString::from(typed.expose_secret().replace(' ', ""))
        }
        FactorKind::RecoveryCode => {
            let field = if fields.text("recovery_code").is_empty() { "code" } else { "recovery_code" };
            fields.take_secret(field)
        }
        // Proved elsewhere, not typed.
        FactorKind::Idp(_) | FactorKind::Certificate | FactorKind::Push(_) => return None,
    };
    (!text.expose_secret().is_empty()).then_some(Answer::Text { kind, text })
}

pub(crate) async fn passed(
    visit: &Visit,
    id: ChallengeId,
    gate_token: &Token,
    go_on: &GoOn,
) -> Result<Response, Failure> {
    let url = match go_on {
        GoOn::Browser { origin, code } => Some(resume_url(origin, id, code)),
        GoOn::Elsewhere => None,
    };
    let mut response = match (visit.wants, url) {
        (Wants::Json, go_on) => json(StatusCode::OK, &json!({ "state": "passed", "go_on": go_on })),
        (Wants::Page, Some(to)) => no_store(Redirect::to(&to).into_response()),
        (Wants::Page, None) => {
            let challenge = visit.console.flows.store.challenge(id).await?;
            let operation = challenge.map(|challenge| challenge.statement.title).unwrap_or_default();
            say(visit, Outcome::PassedElsewhere { operation })
        }
    };
    visit.set_cookie(&mut response, OurCookie::Session, gate_token.expose(), None);
    Ok(response)
}

pub(crate) async fn not_passed(
    visit: &Visit,
    id: ChallengeId,
    session: &SessionView,
    number: Option<String>,
    error: AnswerError,
) -> Result<Response, Failure> {
    let wrong = StatusCode::UNPROCESSABLE_ENTITY;
    let left = |left: u32| words::tries_left(left);
    let (status, code, last) = match error {
        AnswerError::Wrong { kind, left: tries } => {
            let headline = match kind {
                FactorKind::Passkey(_) => "That passkey is not right.",
                FactorKind::Password => "That password is not right.",
                FactorKind::Totp
                | FactorKind::Hotp
                | FactorKind::PhoneCode(_)
                | FactorKind::EmailCode
                | FactorKind::RecoveryCode => "That code is not right.",
                FactorKind::Push(_) => "That approval is not right.",
                FactorKind::Idp(_) | FactorKind::Certificate => "That does not suffice.",
            };
            (wrong, "wrong", LastAnswer { failed: Some(kind), number, ..not_done(headline, &left(tries)) })
        }
        AnswerError::UsedBefore { left: tries } => {
            let last = not_done("That code was used before.", &format!("Take the next one. {}", left(tries)));
            (wrong, "used_before", LastAnswer { number, ..last })
        }
        AnswerError::WrongNumber { left: tries } => {
            (wrong, "wrong_number", not_done("That is not the number that the asker shows.", &left(tries)))
        }
        AnswerError::Locked { kind, until } => {
            let headline = format!("{} is locked for now.", your(kind));
            let last = not_done(&headline, "There were too many wrong tries.");
            let last = LastAnswer { locked: Some((kind, until)), number, ..last };
            (StatusCode::TOO_MANY_REQUESTS, "factor_locked", last)
        }
        AnswerError::NotOffered | AnswerError::SameBrowser => {
            (wrong, "not_offered", LastAnswer { number, ..not_done("That does not do for this.", "Use one of these.") })
        }
        AnswerError::NotAnswerable(NotAnswerable::NotYours) => return Err(Outcome::ForeignChallenge.into()),
        AnswerError::NotAnswerable(NotAnswerable::Over(challenge)) => {
            return over_already(visit, &challenge, session).await;
        }
        AnswerError::NotAnswerable(NotAnswerable::Store(error)) => return Err(error.into()),
        AnswerError::NotAnswerable(NotAnswerable::Damaged) => {
            return Err(Failure::Fault("a challenge's statement cannot be made"));
        }
        // Another tab was first: show what it looks like now.
        AnswerError::Changed => (StatusCode::CONFLICT, "changed", LastAnswer::default()),
        error @ (AnswerError::Fault | AnswerError::Store(_)) => return Err(of_answer(error)),
    };
    again(visit, id, session, status, code, last).await
}

/// An answer to a challenge that is over counts for nothing; programs are told
/// so by the status.
async fn over_already(visit: &Visit, challenge: &Challenge, session: &SessionView) -> Result<Response, Failure> {
    match visit.wants {
        Wants::Page => over(visit, challenge, session).await,
        Wants::Json => {
            let state = challenge.state.name();
            let more = Map::from_iter([("state".to_owned(), json!(state))]);
            let title = "This question can no longer be answered";
            let detail = format!("It is {state}.");
            Ok(problem_with(StatusCode::CONFLICT, "challenge_over", title, &detail, more))
        }
    }
}

/// The question once more, with what was said.
pub(crate) async fn again(
    visit: &Visit,
    id: ChallengeId,
    session: &SessionView,
    status: StatusCode,
    code: &str,
    last: LastAnswer,
) -> Result<Response, Failure> {
    if visit.wants == Wants::Page {
        return look(visit, id, session, status, last).await;
    }
    let (title, detail) = last.said.map(|said| (said.headline, said.detail)).unwrap_or_default();
    let until = last.locked.map(|(_, until)| ("locked_until".to_owned(), json!(until.to_string())));
    Ok(problem_with(status, code, &title, &detail, Map::from_iter(until)))
}

pub(crate) fn not_done(headline: &str, detail: &str) -> LastAnswer {
    LastAnswer { said: Some(Said::bad(headline, detail)), ..LastAnswer::default() }
}

/// `POST /challenges/{id}/cancel`.
pub(crate) async fn cancel(mut visit: Visit, Path(id): Path<String>, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let not_me = if fields.text("because") == "not-me" { NotMe::Yes } else { NotMe::No };
        refuse(&visit, &id, not_me).await
    };
    let result = result.await;
    finish_refusal(&mut visit, result)
}

/// `DELETE /challenges/{id}`: the same for programs.
pub(crate) async fn delete(mut visit: Visit, Path(id): Path<String>) -> Response {
    let result = match visit.check_sender() {
        Ok(()) => refuse(&visit, &id, NotMe::No).await,
        Err(failure) => Err(failure),
    };
    finish_refusal(&mut visit, result)
}

/// What a refusal did: what to say, and whether it ended this very session.
struct Refused {
    outcome: Outcome,
    ends_this_session: bool,
}

async fn refuse(visit: &Visit, id: &str, not_me: NotMe) -> Result<Refused, Failure> {
    let (id, session, _) = addressed(visit, id)?;
    let flows = &visit.console.flows;
    match flows.cancel(id, session, not_me).await {
        Ok(()) => {}
        Err(AnswerError::NotAnswerable(NotAnswerable::NotYours)) => return Err(Outcome::ForeignChallenge.into()),
        Err(AnswerError::NotAnswerable(NotAnswerable::Over(challenge))) => {
            return Ok(Refused { outcome: what_became(visit, &challenge), ends_this_session: false });
        }
        Err(AnswerError::NotAnswerable(NotAnswerable::Store(error))) => return Err(error.into()),
        Err(error) => return Err(of_answer(error)),
    }
    let challenge = flows.store.challenge(id).await?;
    let back = challenge.as_ref().and_then(|challenge| way_back(visit, challenge));
    let asked_here = challenge.is_some_and(|challenge| challenge.asked_by == session.id);
    let reported = match not_me {
        NotMe::No => Reported::No,
        NotMe::Yes if asked_here => Reported::NotMeHere,
        NotMe::Yes => Reported::NotMe,
    };
    let ends_this_session = reported == Reported::NotMeHere;
    Ok(Refused { outcome: Outcome::Cancelled { back, reported }, ends_this_session })
}

fn finish_refusal(visit: &mut Visit, result: Result<Refused, Failure>) -> Response {
    let result = result.map(|refused| {
        if refused.ends_this_session {
            visit.session = None;
        }
        let mut response = say(visit, refused.outcome);
        if refused.ends_this_session {
            visit.set_cookie(&mut response, OurCookie::Session, "", Some(0));
        }
        response
    });
    visit.finish(result)
}
