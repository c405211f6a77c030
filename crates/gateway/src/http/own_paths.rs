//! What is ours on every host: hand-off, resume, sign-out, whoami, the script;
//! and at the gate's own origin the pages that are the way to prove something.

use std::sync::Arc;

use http::{Method, Response, StatusCode};
use serde_json::json;
use stepgate_core::id::ChallengeId;
use stepgate_core::secret::{Purpose, Token};
use stepgate_core::session::{Audience, acr, amr};
use stepgate_core::web::{OurCookie, gate_path, host_path};

use super::asker::Standing;
use super::forward::local_request;
use super::operation::Payload;
use super::resume::looks_like_resume;
use super::tokens::METADATA_PATH;
use super::{Exchange, Inner, answers, script};
use crate::body::Body;
use crate::canonical::RequestPath;

impl Inner {
    /// Whether a request may be ours to answer: by its path, or because it may be
    /// the post that puts a held request in its place.
    pub(super) fn is_own(&self, exchange: &Exchange) -> bool {
        exchange.site.audience == Audience::Gate
            || is_at_or_under(exchange.request.path(), host_path::PREFIX)
            || (exchange.site.service.tokens.is_some() && exchange.request.path().as_str() == METADATA_PATH)
            || looks_like_resume(&exchange.request)
    }

    /// Answers what is ours, or gives the exchange back.
    pub(super) async fn own_path(self: &Arc<Self>, exchange: Exchange) -> Result<Response<Body>, Box<Exchange>> {
        let path = exchange.request.path();
        if is_at_or_under(path, host_path::PREFIX) {
            return Ok(self.own(exchange).await);
        }
        if let Some(metadata) = self.metadata(&exchange) {
            return Ok(metadata);
        }
        if exchange.site.audience == Audience::Gate {
            if gate_path::UNDECIDED.iter().any(|prefix| is_at_or_under(path, prefix)) {
                return Ok(self.page(exchange).await);
            }
            match path.as_str() {
                "/" => return Ok(answers::see_other(gate_path::ACCOUNT)),
                gate_path::JWKS => {
                    let jwks = self.signer.load().jwks(self.flows.clock.now());
                    return Ok(answers::json(StatusCode::OK, &jwks));
                }
                _ => {}
            }
        }
        self.resume_post(exchange).await
    }

    async fn own(self: &Arc<Self>, exchange: Exchange) -> Response<Body> {
        let reader = exchange.reader;
        let path = exchange.request.path().as_str();
        let reads = matches!(*exchange.request.method(), Method::GET | Method::HEAD);
        // HEAD has no answer to show, so it must not use up a code.
        let gets = *exchange.request.method() == Method::GET;
        let resume = path.strip_prefix(host_path::RESUME).and_then(|rest| rest.strip_prefix('/'));
        match (path, resume) {
            (host_path::SIGN_OUT, _) => {
                answers::see_other(&format!("{}{}", exchange.site.gate_origin, gate_path::SIGN_OUT))
            }
            (host_path::HAND_OFF, _) if gets && matches!(exchange.site.audience, Audience::Host(_)) => {
                self.redeem_hand_off(&exchange).await
            }
            (host_path::WHO_AM_I, _) if reads => self.who_am_i(&exchange).await,
            (host_path::SCRIPT, _) if reads => script::answer(),
            (_, Some(id)) if gets => match id.parse::<ChallengeId>() {
                Ok(id) => self.come_back(&exchange, id).await,
                Err(_) => answers::nothing_here(reader),
            },
            _ => answers::nothing_here(reader),
        }
    }

    /// The pages of the gate's own origin, undecided: they are the way to prove something.
    async fn page(&self, exchange: Exchange) -> Response<Body> {
        let reader = exchange.reader;
        match exchange.payload.whole(self.limits.page_body).await {
            Ok(body) => {
                let local = local_request(&exchange.request, body, exchange.id);
                self.pages.call(local).await.map(Body::local)
            }
            Err(error) => {
                self.flows.refused(error.code()).await;
                answers::body(reader, &error)
            }
        }
    }

    async fn redeem_hand_off(&self, exchange: &Exchange) -> Response<Body> {
        let reader = exchange.reader;
        let code = one_query(exchange, "code").and_then(|code| Token::parse(&code));
        let browser = self.browser(exchange);
        let (Some(code), Some(browser)) = (code, browser) else {
            return self.bad_code(exchange).await;
        };
        let audience = &exchange.site.audience;
        match self.flows.redeem(&code, Purpose::HandOff, audience, Some(browser)).await {
            Ok(Some(redeemed)) => {
                let mut response = answers::see_other(&return_path(exchange));
                let cookie = OurCookie::Session.set(self.transport, redeemed.token.expose(), None);
                answers::set_cookie(&mut response, Some(cookie));
                response
            }
            Ok(None) => self.bad_code(exchange).await,
            Err(error) => answers::store(reader, &error),
        }
    }

    pub(super) async fn bad_code(&self, exchange: &Exchange) -> Response<Body> {
        self.flows.refused("bad_hand_off_code").await;
        answers::bad_code(exchange.reader, answers::back(&exchange.site))
    }

    /// Who is signed in here, for the page's own scripts. It tells nothing that
    /// the upstream is not told.
    async fn who_am_i(&self, exchange: &Exchange) -> Response<Body> {
        let surroundings = self.surroundings(&exchange.request);
        match self.standing(exchange, &surroundings).await {
            Ok(Standing::SignedIn(signed)) => {
                let person = &signed.view.person;
                let kinds: Vec<_> = signed.view.assurance.proofs().iter().map(|proof| proof.kind).collect();
                let who = json!({
                    "signed_in": true,
                    "principal": person.id.to_string(),
                    "login": person.login.as_str(),
                    "name": person.name,
                    "email": person.email,
                    "groups": person.groups,
                    "acr": acr(&kinds),
                    "amr": amr(&kinds),
                    "auth_time": signed.view.assurance.latest().map(|at| at.as_ms().div_euclid(1000)),
                    "ends_at": signed.view.ends_at.to_string(),
                });
                answers::json(StatusCode::OK, &who)
            }
            Ok(Standing::Stale(_) | Standing::Nobody) => answers::json(StatusCode::OK, &json!({ "signed_in": false })),
            Err(error) => answers::store(exchange.reader, &error),
        }
    }
}

/// Whether a path is a prefix or below it, by whole segments.
fn is_at_or_under(path: &RequestPath, prefix: &str) -> bool {
    path.as_str().strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn one_query(exchange: &Exchange, name: &str) -> Option<String> {
    exchange.request.query().one(name).ok().flatten().map(std::borrow::Cow::into_owned)
}

/// The path on this host that the browser wanted: one that has exactly one
/// reading, so it cannot lead to another origin; `/` otherwise.
fn return_path(exchange: &Exchange) -> String {
    let to = one_query(exchange, "to").unwrap_or_default();
    let (path, query) = match to.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (to.as_str(), None),
    };
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == '#' || !c.is_ascii();
    match (RequestPath::parse(path), query) {
        (Ok(path), None) => path.as_str().to_owned(),
        (Ok(path), Some(query)) if !query.contains(odd) => format!("{}?{query}", path.as_str()),
        _ => "/".to_owned(),
    }
}

/// A payload that was already read, put back.
pub(super) fn with_body(mut exchange: Exchange, body: bytes::Bytes) -> Exchange {
    exchange.payload = Payload::Whole(body);
    exchange
}
