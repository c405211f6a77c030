//! Deciding, and asking for what is missing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response};
use stepgate_core::access::Scheme;
use stepgate_core::catalogue::{GATE_SERVICE, Site};
use stepgate_core::challenge::{Challenge, ChallengeState, GrantKind, HeldRequest};
use stepgate_core::decide::{Challenged, Denied, Verdict};
use stepgate_core::flows::{AskError, Asking, Cleared, Flows, Step, may_hold_cross_site};
use stepgate_core::id::{ChallengeId, RequestId};
use stepgate_core::operation::Operation;
use stepgate_core::ports::ToHold;
use stepgate_core::session::Audience;
use stepgate_core::surroundings::Surroundings;
use stepgate_core::web::{OurCookie, Transport, gate_path};

use super::asker::{From, Known, Reader, Signed, Standing, asker};
use super::assertion::Passed;
use super::forward::{Forwarded, Sending};
use super::operation::{Payload, near};
use super::{Exchange, Inner, REQUEST_ID, answers, problem};
use crate::body::{Body, BodyLimits};
use crate::canonical::{CanonicalRequest, Purpose, without_our_cookies};
use crate::server::ClientUpgrade;

/// The longest sleep between two looks at a challenge that is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(15);

impl Inner {
    pub(super) async fn decide(self: &Arc<Self>, mut exchange: Exchange) -> Response<Body> {
        let mut surroundings = self.surroundings(&exchange.request);
        let token = match &exchange.site.service.tokens {
            None => None,
            Some(rules) => match Box::pin(self.bearer(&exchange, rules, &surroundings)).await {
                Ok(token) => token,
                Err(response) => return response,
            },
        };
        let (mut standing, mut known) = match token {
            Some(view) => {
                // Whatever it accepts, nobody reads pages who comes with a token.
                exchange.reader = Reader::Program;
                (Standing::Nobody, Some(Known::Token(view)))
            }
            None => match self.standing(&exchange, &surroundings).await {
                Ok(standing) => {
                    let known = standing.known();
                    (standing, known)
                }
                Err(error) => return answers::store(exchange.reader, &error),
            },
        };
        let reader = exchange.reader;
        let operation = match self.operation(&mut exchange).await {
            Ok(operation) => operation,
            Err(error) => {
                self.flows.refused(answers::code_of(&error)).await;
                if let Some(near) = near(&exchange.site.service, &exchange.request) {
                    // For the operator alone: the client is not told what is declared.
                    tracing::info!(near = near.resource, "another spelling of a declared path was refused");
                }
                return answers::no_operation(reader, &error);
            }
        };
        if matches!(exchange.payload, Payload::Whole(_)) {
            // Its body came as slowly as its sender liked.
            match Box::pin(self.again(&exchange, known, &mut surroundings)).await {
                Ok((now_standing, now_known)) => (standing, known) = (now_standing, now_known),
                Err(response) => return response,
            }
        }
        if *exchange.request.purpose() != Purpose::Exchange
            && From::of(&exchange.request, &exchange.site.service.origin) == From::Elsewhere
        {
            self.flows.refused("websocket_origin").await;
            return answers::cross_site(reader);
        }
        let by = asker(known.as_ref());
        self.flows.look_at_habits(&operation, by, &mut surroundings).await;
        let decided = Flows::scopes_first(operation, by, |operation| self.flows.decide(operation, by, &surroundings));
        let verdict = match decided {
            Ok(verdict) => verdict,
            Err(lacks) => return Box::pin(self.lacks_scope(lacks)).await,
        };
        match (verdict, known) {
            (Verdict::Permit(permitted), known) => {
                if let Some(Known::Session(signed)) = &known {
                    self.flows.store.touch(signed.view.id, surroundings.now);
                }
                let sending = sending(exchange, known, surroundings);
                self.forward(sending, permitted).await.response
            }
            (Verdict::Challenge(challenged), Some(Known::Token(view)))
                if challenged.ask.grant == GrantKind::Freshness =>
            {
                Box::pin(self.better_token(challenged, &view, &surroundings)).await
            }
            (Verdict::Challenge(challenged), Some(known)) => {
                if let Known::Session(signed) = &known {
                    self.flows.store.touch(signed.view.id, surroundings.now);
                }
                Box::pin(self.challenge(exchange, challenged, known, surroundings)).await
            }
            (Verdict::Challenge(Challenged { operation, .. }) | Verdict::SignIn(operation), _) => {
                Box::pin(self.ask_to_sign_in(exchange, operation, standing, surroundings)).await
            }
            (Verdict::Deny(denied), known) => Box::pin(self.deny(&denied, known.as_ref(), reader, &surroundings)).await,
        }
    }

    /// Who asks, and when, once more after the body was read: meanwhile a login may have
    /// become too old, a token or session may have ended, and its person may have left.
    async fn again(
        &self,
        exchange: &Exchange,
        known: Option<Known>,
        surroundings: &mut Surroundings,
    ) -> Result<(Standing, Option<Known>), Response<Body>> {
        surroundings.now = self.flows.clock.now();
        if let Some(Known::Token(view)) = &known {
            let view = self.still_bearer(view, &exchange.request, &exchange.site.service).await?;
            return Ok((Standing::Nobody, Some(Known::Token(view))));
        }
        match self.standing(exchange, surroundings).await {
            Ok(standing) => {
                let known = standing.known();
                Ok((standing, known))
            }
            Err(error) => Err(answers::store(exchange.reader, &error)),
        }
    }

    pub(super) async fn deny(
        &self,
        denied: &Denied,
        known: Option<&Known>,
        reader: Reader,
        surroundings: &Surroundings,
    ) -> Response<Body> {
        self.flows.denied(denied, asker(known)).await;
        self.flows.note_refused(&denied.operation, asker(known), surroundings);
        let at_the_gate = denied.operation.service.name.as_str() == GATE_SERVICE;
        let mut signed = known.and_then(Known::signed);
        if at_the_gate
            && let Some(out) = signed
            && self.flows.end_if_not_to_be_signed_in(&out.view, surroundings).await
        {
            signed = None;
        }
        let account = signed.map(|_| format!("{}{}", self.flows.live.load().catalogue.gate_origin, gate_path::ACCOUNT));
        let operation = &denied.operation;
        // At the gate's own origin there is no application to go back to.
        let is_start = operation.url.strip_prefix(operation.service.origin.as_str()).is_some_and(|path| path == "/");
        let has_start = !is_start && operation.service.name.as_str() != GATE_SERVICE;
        let away = answers::AwayFromDenied { has_start, account: account.as_deref() };
        answers::forbidden(reader, &denied.policies, away)
    }

    async fn challenge(
        self: &Arc<Self>,
        mut exchange: Exchange,
        challenged: Challenged,
        mut known: Known,
        mut surroundings: Surroundings,
    ) -> Response<Body> {
        let reader = exchange.reader;
        if let Some(signed) = known.signed()
            && let Some(response) = self.freshen(&exchange, &challenged, signed)
        {
            return response;
        }
        let limits =
            BodyLimits { bytes: self.flows.live.load().challenges.held_body, deadline: self.limits.held_body_deadline };
        let payload = std::mem::replace(&mut exchange.payload, Payload::Whole(Bytes::new()));
        let comes_now = matches!(payload, Payload::Unread(_));
        let body = match payload.whole(limits).await {
            Ok(body) => body,
            Err(error) => {
                self.flows.refused(error.code()).await;
                return answers::body(reader, &error);
            }
        };
        if comes_now {
            exchange.payload = Payload::Whole(body.clone());
            match Box::pin(self.again(&exchange, Some(known), &mut surroundings)).await {
                Ok((_, Some(again))) => known = again,
                Ok((standing, None)) => {
                    return Box::pin(self.ask_to_sign_in(exchange, challenged.operation, standing, surroundings)).await;
                }
                Err(response) => return response,
            }
        }
        let hold = match hold(&exchange, &challenged.operation, &body) {
            Ok(hold) => hold,
            Err(CrossSite) => {
                self.flows.refused("cross_site").await;
                return answers::cross_site(reader);
            }
        };
        let named = match exchange.request.challenge().map(str::parse::<ChallengeId>) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return self.not_for_this(reader).await,
        };
        let wait = problem::wait(&exchange.request, self.limits.wait);
        let scheme = known.scheme();
        let Exchange { request, upgrade, id, site, .. } = exchange;
        let asked = Asked { request, body, upgrade, id, site, reader, known, surroundings, hold, named };
        match wait {
            Some(wait) if reader != Reader::Person && asked.upgrade.is_none() => {
                self.ask_and_wait(asked, challenged, wait).await
            }
            _ => {
                let site = asked.site.clone();
                let step = self.ask_in_task(asked, challenged).await;
                self.show(step, reader, &site, scheme).await
            }
        }
    }

    /// A navigation whose token has not yet seen what its session proved since,
    /// perhaps on another host, fetches a newer token first. The new one is of the
    /// newest generation, so this does not go round in circles.
    fn freshen(&self, exchange: &Exchange, challenged: &Challenged, signed: &Signed) -> Option<Response<Body>> {
        let behind = signed.view.is_behind();
        let safe = exchange.request.method().is_safe();
        let at_service = matches!(exchange.site.audience, Audience::Host(_));
        if !behind || !safe || !at_service || exchange.reader != Reader::Person {
            return None;
        }
        (challenged.ask.grant == GrantKind::Freshness).then(|| self.to_hand_off(exchange))
    }

    /// Asks in a task of its own: once something is spent, the request is sent
    /// and its outcome recorded, whether or not the client waits.
    async fn ask_in_task(self: &Arc<Self>, asked: Asked, challenged: Challenged) -> Shown {
        let inner = Arc::clone(self);
        let task = tokio::spawn(async move { Box::pin(inner.ask(asked, challenged)).await });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "asking ended early");
            Shown::Failed(None)
        })
    }

    async fn ask(self: Arc<Self>, asked: Asked, challenged: Challenged) -> Shown {
        let Asked { request, body, upgrade, id, site, reader, known, surroundings, hold, named } = asked;
        let digest = challenged.operation.clone().exactly(&body).digest();
        let asking = Asking {
            by: known.by(),
            surroundings: &surroundings,
            hold,
            named,
            kind: reader.kind(),
            from: From::of(&request, &site.service.origin).asked(),
        };
        let cleared = match self.flows.ask(challenged, &body, asking).await {
            Ok(Step::Go(cleared)) => cleared,
            Ok(Step::Ask(challenge)) => return Shown::Asked(challenge),
            Ok(Step::Deny(denied)) => {
                return Shown::Answer(self.deny(&denied, Some(&known), reader, &surroundings).await);
            }
            Err(error) => return Shown::Failed(Some(error)),
        };
        let passed = Passed { challenge: cleared.receipt.challenge, operation: digest, proofs: cleared.proofs.clone() };
        let payload = Payload::Whole(body);
        let sending = Sending {
            request,
            payload,
            upgrade,
            id,
            site,
            reader,
            known: Some(known),
            surroundings,
            passed: Some(passed),
        };
        Shown::Answer(self.send_cleared(sending, *cleared).await)
    }

    /// Sends what was spent, and records how it ended. Runs in a task that nobody
    /// can interrupt; if the process dies here, the entry stays without an
    /// outcome, and the next start records it as unknown.
    pub(super) async fn send_cleared(self: &Arc<Self>, mut sending: Sending, cleared: Cleared) -> Response<Body> {
        let Cleared { permitted, receipt, new_token, .. } = cleared;
        sending.id = receipt.request;
        let cookie = new_token.map(|token| OurCookie::Session.set(self.transport, token.expose(), None));
        let Forwarded { mut response, outcome } = self.forward(sending, permitted).await;
        if let Ok(id) = HeaderValue::try_from(receipt.request.to_string()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        answers::set_cookie(&mut response, cookie);
        if let Err(error) = self.flows.sent(receipt, outcome).await {
            // It was sent; the entry without an outcome is found and closed as unknown.
            tracing::error!(error = &error as &dyn std::error::Error, "an outcome could not be recorded");
        }
        response
    }

    /// `Prefer: wait` (RFC 7240, section 4.3): keeps the connection open until the
    /// challenge is answered. Ends when the client goes away.
    async fn ask_and_wait(
        self: &Arc<Self>,
        mut asked: Asked,
        challenged: Challenged,
        wait: Duration,
    ) -> Response<Body> {
        // It was for this gate; the application would wait once more.
        asked.request.drop_preference(problem::WAIT);
        let (reader, site, scheme) = (asked.reader, asked.site.clone(), asked.known.scheme());
        let again = asked.again(&challenged.operation);
        let first = self.ask_in_task(asked, challenged).await;
        let Shown::Asked(challenge) = first else {
            return self.show(first, reader, &site, scheme).await;
        };
        let id = challenge.id;
        let waited = tokio::time::timeout(wait, self.ask_again(again, id)).await;
        let shown = waited.unwrap_or(Shown::Asked(challenge));
        let mut response = self.show(shown, reader, &site, scheme).await;
        problem::applied(&mut response, wait);
        response
    }

    async fn ask_again(self: &Arc<Self>, again: Again, id: ChallengeId) -> Shown {
        loop {
            match self.flows.store.challenge(id).await {
                Ok(Some(challenge)) if matches!(challenge.state, ChallengeState::Pending { .. }) => {
                    self.flows.store.challenge_changed(id, LOOK_EVERY).await;
                }
                Ok(_) => break,
                Err(error) => return Shown::Failed(Some(AskError::Store(error))),
            }
        }
        let Again { operation, mut asked } = again;
        asked.surroundings.now = self.flows.clock.now();
        asked.named = Some(id);
        if let Known::Token(view) = &asked.known {
            match self.still_bearer(view, &asked.request, &asked.site.service).await {
                Ok(view) => asked.known = Known::Token(view),
                Err(response) => return Shown::Answer(response),
            }
            if let Known::Token(view) = &asked.known
                && !self.has_scopes_now(&operation, view)
            {
                return Shown::Failed(Some(AskError::NotForThis));
            }
        }
        let known = asked.known.clone();
        self.flows.look_at_habits(&operation, known.asker(), &mut asked.surroundings).await;
        match (self.flows.decide(operation, known.asker(), &asked.surroundings), &known) {
            (Verdict::Challenge(challenged), Known::Token(view)) if challenged.ask.grant == GrantKind::Freshness => {
                Shown::Answer(self.better_token(challenged, view, &asked.surroundings).await)
            }
            (Verdict::Challenge(challenged), _) => self.ask_in_task(asked, challenged).await,
            (Verdict::Permit(permitted), _) => {
                let Asked { request, body, id, site, reader, known, surroundings, .. } = asked;
                let payload = Payload::Whole(body);
                let known = Some(known);
                let upgrade = None;
                let sending =
                    Sending { request, payload, upgrade, id, site, reader, known, surroundings, passed: None };
                Shown::Answer(self.forward(sending, permitted).await.response)
            }
            (Verdict::Deny(denied), _) => {
                Shown::Answer(self.deny(&denied, Some(&known), asked.reader, &asked.surroundings).await)
            }
            (Verdict::SignIn(_), _) => Shown::Failed(Some(AskError::NotForThis)),
        }
    }

    async fn show(&self, shown: Shown, reader: Reader, site: &Site, scheme: Option<Scheme>) -> Response<Body> {
        match shown {
            Shown::Answer(response) => response,
            Shown::Asked(challenge) if reader == Reader::Person => {
                answers::to_challenge(&site.gate_origin, challenge.id)
            }
            Shown::Asked(challenge) => problem::challenge(&challenge, &site.gate_origin, &site.service, scheme),
            Shown::Failed(Some(AskError::TooMany)) => answers::too_many(reader),
            Shown::Failed(Some(AskError::NotForThis)) => self.not_for_this(reader).await,
            Shown::Failed(Some(AskError::Store(error))) => answers::store(reader, &error),
            Shown::Failed(Some(error @ AskError::Statement(_))) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a challenge could not be made");
                answers::fault(reader)
            }
            Shown::Failed(None) => answers::fault(reader),
        }
    }

    async fn not_for_this(&self, reader: Reader) -> Response<Body> {
        self.flows.refused("foreign_or_spent_challenge").await;
        answers::not_for_this(reader)
    }
}

/// What is shown to whoever asked.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and most are answers")]
enum Shown {
    Answer(Response<Body>),
    Asked(Box<Challenge>),
    Failed(Option<AskError>),
}

/// A request that needs more, with all that belongs to it.
struct Asked {
    request: Box<CanonicalRequest>,
    body: Bytes,
    upgrade: Option<ClientUpgrade>,
    id: RequestId,
    site: Arc<Site>,
    reader: Reader,
    known: Known,
    surroundings: Surroundings,
    hold: ToHold,
    named: Option<ChallengeId>,
}

/// The same request once more, when its challenge was answered.
struct Again {
    operation: Operation,
    asked: Asked,
}

impl Asked {
    fn again(&self, operation: &Operation) -> Again {
        let asked = Self {
            request: self.request.clone(),
            body: self.body.clone(),
            upgrade: None,
            id: self.id,
            site: self.site.clone(),
            reader: self.reader,
            known: self.known.clone(),
            surroundings: self.surroundings.clone(),
            hold: ToHold::Nothing,
            named: self.named,
        };
        Again { operation: operation.clone(), asked }
    }
}

/// A page of another site sent a request with an effect, and it is not held.
struct CrossSite;

/// What is kept while the person is asked.
fn hold(exchange: &Exchange, operation: &Operation, body: &Bytes) -> Result<ToHold, CrossSite> {
    if exchange.reader != Reader::Person {
        return Ok(ToHold::Nothing);
    }
    if exchange.request.method().is_safe() {
        return Ok(ToHold::SafeNavigation);
    }
    let elsewhere = From::of(&exchange.request, &exchange.site.service.origin) == From::Elsewhere;
    if elsewhere && !may_hold_cross_site(operation.endpoint.cross_site) {
        return Err(CrossSite);
    }
    Ok(ToHold::Request(held(&exchange.request, &exchange.site.audience, body)))
}

/// The request as it will be sent: without our cookies, which are the session's
/// of now and not of then. The gate's own pages keep the one that names the
/// browser, because their forms are bound to it; it grants nothing.
pub(super) fn held(request: &CanonicalRequest, audience: &Audience, body: &Bytes) -> HeldRequest {
    let headers = request.headers().iter().filter_map(|(name, value)| {
        let value = match *name {
            http::header::COOKIE if *audience == Audience::Gate => browser_cookie(value)?,
            http::header::COOKIE => without_our_cookies(value)?,
            _ => value.clone(),
        };
        Some((name.as_str().to_owned(), value.as_bytes().to_vec()))
    });
    HeldRequest {
        method: request.method().as_str().to_owned(),
        target: request.target().as_str().to_owned(),
        headers: headers.collect(),
        body: body.to_vec(),
    }
}

fn browser_cookie(header: &HeaderValue) -> Option<HeaderValue> {
    let text = header.to_str().ok()?;
    let mut names = [Transport::Tls, Transport::Plain].into_iter();
    names.find_map(|transport| {
        let value = OurCookie::Browser.read(transport, std::iter::once(text))?;
        HeaderValue::try_from(format!("{}={value}", OurCookie::Browser.name(transport))).ok()
    })
}

fn sending(exchange: Exchange, known: Option<Known>, surroundings: Surroundings) -> Sending {
    let Exchange { request, payload, upgrade, id, site, reader } = exchange;
    Sending { request, payload, upgrade, id, site, reader, known, surroundings, passed: None }
}
