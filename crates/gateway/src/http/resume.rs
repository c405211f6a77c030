//! Coming back from a challenge, and putting the held request in its place.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, REFERER};
use http::{Method, Response};
use stepgate_core::challenge::{Challenge, Held, HeldRequest, SendOutcome};
use stepgate_core::decide::Asker;
use stepgate_core::flows::{ClearError, GoOn, HeldForResume, ResumeError, Step};
use stepgate_core::id::ChallengeId;
use stepgate_core::operation::ExactOperation;
use stepgate_core::secret::{Purpose, TOKEN_TEXT_LEN, Token};
use stepgate_core::surroundings::Surroundings;
use stepgate_core::web::{OurCookie, RESUME_FIELD, host_path};

use super::asker::{From, Known, Reader, Signed, Standing};
use super::assertion::Passed;
use super::forward::Sending;
use super::operation::{Payload, operation};
use super::own_paths::{one_query, with_body};
use super::{Exchange, Inner, answers};
use crate::body::Body;
use crate::canonical::{CanonicalRequest, Framing, Restore};

/// How long the browser remembers which challenge it came back from, in seconds:
/// so long a reload still shows what became of it.
const RESUME_COOKIE_S: u64 = 300;

impl Inner {
    /// `/.stepgate/resume/{id}?code=…`: the browser is back from the challenge.
    ///
    /// A safe request is simply repeated by the browser; a held one is put in its
    /// place by a page that posts a one-time code to the original URL.
    pub(super) async fn come_back(&self, exchange: &Exchange, id: ChallengeId) -> Response<Body> {
        let code = one_query(exchange, "code").and_then(|code| Token::parse(&code));
        let Some(code) = code else {
            return self.bad_code(exchange).await;
        };
        let audience = &exchange.site.audience;
        let redeemed = self.flows.redeem(&code, Purpose::HandBack, audience, self.browser(exchange)).await;
        let redeemed = match redeemed {
            Ok(Some(redeemed)) => redeemed,
            Ok(None) => return self.came_back_before(exchange, id).await,
            Err(error) => return answers::store(exchange.reader, &error),
        };
        let challenge = redeemed.challenge.filter(|challenge| challenge.id == id);
        let mut response = match (&challenge, &redeemed.resume) {
            (Some(challenge), Some(resume)) => {
                let held = match self.flows.store.held(id).await {
                    Ok(held) => held,
                    Err(error) => return answers::store(exchange.reader, &error),
                };
                let service = &exchange.site.service;
                let back = came_from(held.as_ref(), &service.origin);
                let mut response = answers::resume_page(challenge, resume, &service.title, back);
                let cookie = OurCookie::Resume.set(self.transport, &id.to_string(), Some(RESUME_COOKIE_S));
                answers::set_cookie(&mut response, Some(cookie));
                response
            }
            (Some(challenge), None) => answers::see_other(&return_url(challenge, exchange)),
            (None, _) => answers::see_other("/"),
        };
        let cookie = OurCookie::Session.set(self.transport, redeemed.token.expose(), None);
        answers::set_cookie(&mut response, Some(cookie));
        response
    }

    /// Back and reload: the code is used, but the session that used it may know
    /// what became of its own request.
    async fn came_back_before(&self, exchange: &Exchange, id: ChallengeId) -> Response<Body> {
        let surroundings = self.surroundings(&exchange.request);
        let signed = match self.standing(exchange, &surroundings).await {
            Ok(Standing::SignedIn(signed)) => signed,
            Ok(Standing::Stale(_) | Standing::Nobody) => return self.bad_code(exchange).await,
            Err(error) => return answers::store(exchange.reader, &error),
        };
        let challenge = match self.flows.store.challenge(id).await {
            Ok(challenge) => challenge.filter(|challenge| is_of(challenge, &signed)),
            Err(error) => return answers::store(exchange.reader, &error),
        };
        match challenge {
            Some(challenge) if challenge.held == Held::SafeNavigation => {
                answers::see_other(&return_url(&challenge, exchange))
            }
            Some(challenge) => self.show_state(&challenge, exchange, &signed).await,
            None => self.bad_code(exchange).await,
        }
    }

    /// Not sent yet: the way back is made anew. Sent: what became of it.
    async fn show_state(&self, challenge: &Challenge, exchange: &Exchange, signed: &Signed) -> Response<Body> {
        let reader = exchange.reader;
        match self.flows.held_for_resume(challenge.id, &signed.view).await {
            Ok(_) => match self.flows.way_back(challenge, &signed.view).await {
                Ok(Some(GoOn::Browser { origin, code })) => {
                    let back = format!("{origin}{}/{}?code={}", host_path::RESUME, challenge.id, code.expose());
                    answers::see_other(&back)
                }
                Ok(_) => answers::not_passed(reader, "expired", answers::back(&exchange.site)),
                Err(error) => answers::store(reader, &error),
            },
            Err(error) => self.not_resumed(error, exchange).await,
        }
    }

    async fn not_resumed(&self, error: ResumeError, exchange: &Exchange) -> Response<Body> {
        let (reader, back) = (exchange.reader, answers::back(&exchange.site));
        match error {
            ResumeError::Spent(outcome) => answers::outcome(reader, outcome, back),
            ResumeError::NotPassed(state) => answers::not_passed(reader, state, back),
            ResumeError::NotYours => {
                self.flows.refused("foreign_resume").await;
                answers::not_for_this(reader)
            }
            ResumeError::Store(error) => answers::store(reader, &error),
        }
    }

    /// A post that puts a held request in its place, known by its body. It is
    /// never forwarded itself, with or without a cookie. All else is given back.
    pub(super) async fn resume_post(self: &Arc<Self>, mut exchange: Exchange) -> Result<Response<Body>, Box<Exchange>> {
        if !looks_like_resume(&exchange.request) {
            return Err(Box::new(exchange));
        }
        let payload = std::mem::replace(&mut exchange.payload, Payload::Whole(Bytes::new()));
        let body = match payload.whole(self.limits.page_body).await {
            Ok(body) => body,
            Err(error) => return Ok(answers::body(exchange.reader, &error)),
        };
        match resume_token(&body) {
            Some(token) => Ok(self.resume(exchange, token).await),
            None => Err(Box::new(with_body(exchange, body))),
        }
    }

    async fn resume(self: &Arc<Self>, exchange: Exchange, token: Token) -> Response<Body> {
        let reader = exchange.reader;
        let surroundings = self.surroundings(&exchange.request);
        if From::of(&exchange.request, &exchange.site.service.origin) == From::Elsewhere {
            self.flows.refused("cross_site_resume").await;
            return answers::cross_site(reader);
        }
        let id = self.cookie(&exchange.request, OurCookie::Resume).and_then(|id| id.parse::<ChallengeId>().ok());
        let Some(id) = id else {
            return self.bad_code(&exchange).await;
        };
        let signed = match self.standing(&exchange, &surroundings).await {
            Ok(Standing::SignedIn(signed)) => signed,
            Ok(Standing::Stale(_) | Standing::Nobody) => return self.bad_code(&exchange).await,
            Err(error) => return answers::store(reader, &error),
        };
        let HeldForResume { challenge, request } = match self.flows.held_for_resume(id, &signed.view).await {
            Ok(held) => held,
            Err(error) => return self.not_resumed(error, &exchange).await,
        };
        // The held request is sent at its own URL, and nowhere else (attack B45).
        if request.target != exchange.request.target().as_str() {
            self.flows.refused("foreign_resume").await;
            return answers::not_for_this(reader);
        }
        let restored = CanonicalRequest::restore(&Restore {
            method: &request.method,
            target: &request.target,
            headers: &request.headers,
            body_length: request.body.len(),
            host: exchange.request.host(),
            client: exchange.request.client(),
        });
        let body = Bytes::from(request.body);
        let exact = restored.map_err(super::operation::NoOperation::from).and_then(|restored| {
            let operation = operation(&exchange.site.service, &restored, Some(&body))?;
            Ok((restored, operation.exactly(&body)))
        });
        let (restored, exact) = match exact {
            Ok(exact) => exact,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a held request cannot be read again");
                return answers::no_operation(reader, &error);
            }
        };
        let resuming =
            Resuming { challenge, exact, request: restored, body, code: token, exchange, signed, surroundings };
        // In a task of its own: what is spent is sent, whether or not the browser waits.
        let inner = Arc::clone(self);
        let task = tokio::spawn(async move { Box::pin(inner.clear_held(resuming)).await });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "going on ended early");
            answers::fault(reader)
        })
    }

    async fn clear_held(self: Arc<Self>, resuming: Resuming) -> Response<Body> {
        let Resuming { challenge, exact, request, body, code, exchange, signed, surroundings } = resuming;
        let reader = Reader::Person;
        let code = Some(code.digest(Purpose::Resume));
        let step = self.flows.clear(&challenge, exact, Asker::SignedIn(&signed.view), &surroundings, code, None).await;
        match step {
            Ok(Step::Go(cleared)) => {
                let sending = Sending {
                    request: Box::new(request),
                    payload: Payload::Whole(body),
                    upgrade: None,
                    id: cleared.receipt.request,
                    site: exchange.site,
                    reader,
                    known: Some(Known::Session(signed)),
                    surroundings,
                    passed: Some(Passed::of(&challenge, cleared.proofs.clone())),
                };
                self.send_cleared(sending, *cleared).await
            }
            Ok(Step::Ask(successor)) => answers::to_challenge(&exchange.site.gate_origin, successor.id),
            Ok(Step::Deny(denied)) => self.deny(&denied, Some(&Known::Session(signed)), reader, &surroundings).await,
            // A second click, tab or node was first: say what became of it.
            Err(ClearError::NotPassed) => match self.flows.held_for_resume(challenge.id, &signed.view).await {
                Ok(_) => self.bad_code(&exchange).await,
                Err(error) => self.not_resumed(error, &exchange).await,
            },
            Err(ClearError::Expired) => answers::not_passed(reader, "expired", answers::back(&exchange.site)),
            Err(ClearError::NotForThis) => {
                self.flows.refused("foreign_resume").await;
                answers::not_for_this(reader)
            }
            Err(ClearError::TooMany) => answers::too_many(reader),
            Err(ClearError::Store(error)) => answers::store(reader, &error),
            Err(error @ ClearError::Statement(_)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a held request could not go on");
                answers::fault(reader)
            }
        }
    }
}

struct Resuming {
    challenge: Challenge,
    exact: ExactOperation,
    request: CanonicalRequest,
    body: Bytes,
    code: Token,
    exchange: Exchange,
    signed: Signed,
    surroundings: Surroundings,
}

fn is_of(challenge: &Challenge, signed: &Signed) -> bool {
    challenge.asked_by == signed.view.id && challenge.person == signed.view.person.id
}

/// Only to this host's own origin, whatever the statement says.
fn return_url(challenge: &Challenge, exchange: &Exchange) -> String {
    let origin = exchange.site.service.origin.as_str();
    match challenge.statement.url.strip_prefix(origin) {
        Some(target) if target.starts_with('/') => challenge.statement.url.clone(),
        _ => format!("{origin}/"),
    }
}

/// Where somebody is led whose request had an effect: what was posted may have no page
/// at its own URL.
fn front(origin: &str) -> String {
    format!("{origin}/")
}

/// The page that a held request was sent from, if it says so and is of the same origin.
fn came_from(held: Option<&HeldRequest>, origin: &str) -> String {
    let referers = held.into_iter().flat_map(|held| &held.headers).filter(|(name, _)| name == REFERER.as_str());
    let mut pages = referers.filter_map(|(_, page)| std::str::from_utf8(page).ok());
    let of_ours = |page: &&str| page.strip_prefix(origin).is_some_and(|target| target.starts_with('/'));
    pages.next().filter(of_ours).map_or_else(|| front(origin), str::to_owned)
}

/// By method, type and exact length: so only such bodies are read early.
pub(super) fn looks_like_resume(request: &CanonicalRequest) -> bool {
    let length = (RESUME_FIELD.len() + 1 + TOKEN_TEXT_LEN) as u64;
    let form = |value: &http::HeaderValue| value == "application/x-www-form-urlencoded";
    *request.method() == Method::POST
        && request.framing() == Framing::Length(length)
        && request.headers().get(CONTENT_TYPE).is_some_and(form)
}

fn resume_token(body: &[u8]) -> Option<Token> {
    let text = std::str::from_utf8(body).ok()?;
    let (field, token) = text.split_once('=')?;
    if field != RESUME_FIELD {
        return None;
    }
    Token::parse(token)
}

/// In words, what became of something that was sent.
pub(super) fn in_words(outcome: SendOutcome) -> String {
    match outcome {
        SendOutcome::Sending => "It is being sent right now, or was when this gate stopped. \
             Whether it took effect is not known yet. It is not sent again."
            .to_owned(),
        SendOutcome::Answered { status } => {
            format!("It was sent, and the application answered with status {status}. It is not sent again.")
        }
        SendOutcome::NotSent => {
            "The application could not be reached, and nothing was sent. Start again from the application.".to_owned()
        }
        SendOutcome::Unknown => "It was sent, but the connection broke before an answer came. \
             Whether it took effect is not known. It is not sent again: look in the application."
            .to_owned(),
    }
}
