//! Nobody is signed in here, and somebody could be allowed.

use bytes::Bytes;
use http::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use stepgate_core::flows::AskError;
use stepgate_core::operation::Operation;
use stepgate_core::ports::ToHold;
use stepgate_core::secret::{Purpose, Token, TokenDigest};
use stepgate_core::session::Audience;
use stepgate_core::surroundings::Surroundings;
use stepgate_core::web::{OurCookie, gate_path};

use super::ask::held;
use super::asker::{From, Reader, Standing};
use super::operation::Payload;
use super::tokens::how_to_get_a_token;
use super::{Exchange, Inner, answers};
use crate::body::{Body, BodyLimits};

impl Inner {
    pub(super) async fn ask_to_sign_in(
        &self,
        exchange: Exchange,
        operation: Operation,
        standing: Standing,
        surroundings: Surroundings,
    ) -> Response<Body> {
        let safe = exchange.request.method().is_safe();
        match (exchange.reader, safe) {
            (Reader::Person, true) => match exchange.site.audience {
                Audience::Gate => answers::see_other(&sign_in_url(&exchange)),
                Audience::Host(_) => self.to_hand_off(&exchange),
            },
            (Reader::Person, false) => self.keep_for_sign_in(exchange, operation, standing, surroundings).await,
            (Reader::Script | Reader::Program, _) => {
                let url = format!("{}{}", exchange.site.gate_origin, gate_path::SIGN_IN);
                let service = &exchange.site.service;
                let mut response = answers::sign_in_first(exchange.reader, &url, service.name.as_str());
                how_to_get_a_token(&mut response, service);
                response
            }
        }
    }

    /// To the gate and back, signed in. The code that brings the browser back is
    /// bound to this browser by the cookie that is set here if it is missing.
    pub(super) fn to_hand_off(&self, exchange: &Exchange) -> Response<Body> {
        let known = self.browser(exchange);
        let (digest, cookie) = match known {
            Some(digest) => (digest, None),
            None => {
                let token = Token::random(self.flows.random.as_ref());
                let cookie = OurCookie::Browser.set(self.transport, token.expose(), None);
                (token.digest(Purpose::Browser), Some(cookie))
            }
        };
        let url = format!(
            "{}{}?service={}&to={}&browser={}",
            exchange.site.gate_origin,
            gate_path::HAND_OFF,
            exchange.site.service.name,
            utf8_percent_encode(exchange.request.target().as_str(), NON_ALPHANUMERIC),
            digest.to_hex(),
        );
        let mut response = answers::see_other(&url);
        answers::set_cookie(&mut response, cookie);
        response
    }

    pub(super) fn browser(&self, exchange: &Exchange) -> Option<TokenDigest> {
        let token = self.cookie(&exchange.request, OurCookie::Browser).and_then(Token::parse)?;
        Some(token.digest(Purpose::Browser))
    }

    /// A form was sent with a session that has just ended: it is kept until the
    /// same person has signed in again. From nobody known nothing is kept, since
    /// it could be planted.
    async fn keep_for_sign_in(
        &self,
        exchange: Exchange,
        operation: Operation,
        standing: Standing,
        surroundings: Surroundings,
    ) -> Response<Body> {
        let url = format!("{}{}", exchange.site.gate_origin, gate_path::SIGN_IN);
        let here = From::of(&exchange.request, &exchange.site.service.origin) == From::Here;
        let (Standing::Stale(token), true, Some(browser)) = (standing, here, self.browser(&exchange)) else {
            return answers::sign_in_first(Reader::Person, &url, exchange.site.service.name.as_str());
        };
        let audience = exchange.site.audience.clone();
        let lapsed = self.flows.store.lapsed(token, &audience, surroundings.now, self.limits.lapsed_within).await;
        let lapsed = match lapsed {
            Ok(Some(lapsed)) => lapsed,
            Ok(None) => return answers::sign_in_first(Reader::Person, &url, exchange.site.service.name.as_str()),
            Err(error) => return answers::store(Reader::Person, &error),
        };
        let body = match self.held_body(exchange.payload).await {
            Ok(body) => body,
            Err(error) => return answers::body(Reader::Person, &error),
        };
        let hold = ToHold::Request(held(&exchange.request, &audience, &body));
        let exact = operation.exactly(&body);
        let kept = self.flows.ask_to_sign_in_again(&exact, lapsed, &audience, browser, &surroundings, hold).await;
        match kept {
            Ok(challenge) => answers::see_other(&format!("{url}?continue={}", challenge.id)),
            Err(AskError::Store(error)) => answers::store(Reader::Person, &error),
            Err(AskError::TooMany) => answers::too_many(Reader::Person),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a request could not be kept");
                answers::fault(Reader::Person)
            }
        }
    }

    async fn held_body(&self, payload: Payload) -> Result<Bytes, crate::body::ReadBodyError> {
        let bytes = self.flows.live.load().challenges.held_body;
        payload.whole(BodyLimits { bytes, deadline: self.limits.held_body_deadline }).await
    }
}

fn sign_in_url(exchange: &Exchange) -> String {
    let next = utf8_percent_encode(exchange.request.target().as_str(), NON_ALPHANUMERIC);
    format!("{}{}?next={next}", exchange.site.gate_origin, gate_path::SIGN_IN)
}
