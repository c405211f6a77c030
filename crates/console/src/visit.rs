//! Who visits: the cookies, the session and the surroundings of one request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse as _, Response};
use http::header::{COOKIE, SET_COOKIE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use stepgate_core::ports::{StoreError, Trier};
use stepgate_core::secret::{Purpose, Token, TokenDigest};
use stepgate_core::session::{Audience, SessionView};
use stepgate_core::surroundings::Surroundings;
use stepgate_core::web::{Client, OurCookie, Permit};

use crate::assets::AssetBase;
use crate::console::Console;
use crate::failure::Failure;
use crate::http::{Fields, SentAs, Wants, is_from_own_page};
use crate::page::{ContentPolicy, respond};
use crate::views::{Frame, Visitor};

/// What a form's token is made for.
const CSRF_LABEL: &str = "csrf";
/// How long the browser's name is kept, seconds: 400 days, the most that browsers keep.
const BROWSER_MAX_AGE_S: u64 = 400 * 24 * 3600;

/// One request to our pages.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) console: Console,
    pub(crate) headers: HeaderMap,
    pub(crate) client: Client,
    pub(crate) wants: Wants,
    pub(crate) surroundings: Surroundings,
    /// Names the browser; made now if it had no name.
    pub(crate) browser: Token,
    browser_is_new: bool,
    /// The session with its token, if somebody is signed in.
    pub(crate) session: Option<(Arc<SessionView>, TokenDigest)>,
    /// What was decided, if this is a decided service.
    pub(crate) permit: Option<Permit>,
}

impl FromRequestParts<Console> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        // The door always says who asks; a request without that is not answered.
        let Some(client) = parts.extensions.get::<Client>().cloned() else {
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        let permit = parts.extensions.get::<Permit>().cloned();
        let headers = std::mem::take(&mut parts.headers);
        let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let around = console.flows.surroundings(client.address, agent);
        let surroundings = Surroundings { posture: client.posture, ..around };
        let wants = Wants::of(&headers);
        let known = cookie(console, &headers, OurCookie::Browser);
        let browser_is_new = known.is_none();
        let browser = known.unwrap_or_else(|| Token::random(console.flows.random.as_ref()));
        let mut visit = Self {
            console: console.clone(),
            headers,
            client,
            wants,
            surroundings,
            browser,
            browser_is_new,
            session: None,
            permit,
        };
        match visit.look_up_session().await {
            Ok(session) => visit.session = session,
            Err(error) => return Err(visit.finish(Err(error.into()))),
        }
        Ok(visit)
    }
}

impl Visit {
    async fn look_up_session(&self) -> Result<Option<(Arc<SessionView>, TokenDigest)>, StoreError> {
        if let Some(permit) = &self.permit {
            return Ok(Some((Arc::clone(&permit.session), permit.token)));
        }
        let Some(token) = self.cookie(OurCookie::Session) else { return Ok(None) };
        let digest = token.digest(Purpose::GateSession);
        let now = self.surroundings.now;
        let session = self.console.flows.store.session(digest, &Audience::Gate, now).await?;
        if let Some(session) = &session {
            self.console.flows.store.touch(session.id, now);
        }
        Ok(session.map(|session| (session, digest)))
    }

    /// The token in one of our cookies; `None` if there is none or it is none of ours.
    pub(crate) fn cookie(&self, cookie_kind: OurCookie) -> Option<Token> {
        cookie(&self.console, &self.headers, cookie_kind)
    }

    /// Where an answer comes from, for the count of its tries.
    pub(crate) fn trier(&self) -> Trier {
        let device = self.cookie(OurCookie::Device).map(|device| device.digest(Purpose::Device));
        Trier { device, address: self.surroundings.address }
    }

    /// What was decided for this request. Without it nothing of the account is shown or changed.
    pub(crate) fn permit(&self) -> Result<&Permit, Failure> {
        self.permit.as_ref().ok_or(Failure::NotDecided)
    }

    /// Reads the fields of an unsafe request that comes from one of our own pages,
    /// or of a program that sends JSON.
    pub(crate) fn fields(&self, body: &[u8]) -> Result<Fields, Failure> {
        self.check_sender()?;
        let fields = Fields::read(&self.headers, body).map_err(Failure::Form)?;
        if fields.sent_as() == SentAs::Form && !self.is_csrf(fields.text("csrf")) {
            return Err(Failure::StaleForm);
        }
        Ok(fields)
    }

    /// Refuses an unsafe request that another origin's page sent.
    pub(crate) fn check_sender(&self) -> Result<(), Failure> {
        is_from_own_page(&self.headers, &self.console.origin).map_err(Failure::NotFromHere)
    }

    /// Whether this is the token of this browser's forms. A browser without a name
    /// has seen no form of ours.
    fn is_csrf(&self, tag: &str) -> bool {
        !self.browser_is_new && self.console.flows.mac.is_tag(CSRF_LABEL, &[self.browser.expose().as_bytes()], tag)
    }

    /// The frame of the page that answers.
    pub(crate) fn frame(&self) -> Frame {
        let visitor = self.session.as_ref().map(|(session, _)| Visitor { name: session.person.name.clone() });
        Frame {
            site: self.console.site.to_string(),
            home: "/".to_owned(),
            assets: AssetBase::own_origin(),
            visitor,
            csrf: self.console.flows.mac.tag(CSRF_LABEL, &[self.browser.expose().as_bytes()]),
            request_id: Some(self.client.request_id.clone()),
        }
    }

    /// The frame when nobody is signed in (any more).
    pub(crate) fn stranger_frame(&self) -> Frame {
        Frame { visitor: None, ..self.frame() }
    }

    /// A page whose forms lead nowhere but here.
    pub(crate) fn page(&self, status: StatusCode, view: &impl askama::Template) -> Response {
        respond(status, &ContentPolicy::for_services([]), view)
    }

    /// A page whose form may lead to this origin.
    pub(crate) fn page_to(&self, status: StatusCode, view: &impl askama::Template, origin: &str) -> Response {
        respond(status, &ContentPolicy::for_services([origin]), view)
    }

    /// A page of an approver device: it may name its manifest.
    pub(crate) fn device_page(&self, status: StatusCode, view: &impl askama::Template) -> Response {
        respond(status, &ContentPolicy::for_devices(), view)
    }

    /// The answer, with the browser's name if it is new.
    pub(crate) fn finish(&self, result: Result<Response, Failure>) -> Response {
        let mut response = match result {
            Ok(response) => response,
            Err(failure) => failure.answer(self),
        };
        if self.browser_is_new {
            let max_age = Some(BROWSER_MAX_AGE_S);
            self.set_cookie(&mut response, OurCookie::Browser, self.browser.expose(), max_age);
        }
        response
    }

    /// Adds a cookie; a `max_age_s` of 0 takes it away.
    pub(crate) fn set_cookie(&self, response: &mut Response, which: OurCookie, value: &str, max_age_s: Option<u64>) {
        let line = which.set(self.console.transport, value, max_age_s);
        if let Ok(mut line) = HeaderValue::from_str(&line) {
            line.set_sensitive(true);
            response.headers_mut().append(SET_COOKIE, line);
        }
    }
}

fn cookie(console: &Console, headers: &HeaderMap, which: OurCookie) -> Option<Token> {
    // A header that is no text hides what else is in it: then there is no cookie.
    let lines: Option<Vec<&str>> = headers.get_all(COOKIE).iter().map(|line| line.to_str().ok()).collect();
    which.read(console.transport, lines?.into_iter()).and_then(Token::parse)
}
