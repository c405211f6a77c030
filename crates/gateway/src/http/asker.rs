//! Who asks, and what for: a person's navigation, a page's script, a program.

use http::header::{COOKIE, ORIGIN, USER_AGENT};
use std::sync::Arc;
use stepgate_core::access::{Scheme, TokenView};
use stepgate_core::challenge::AskedFrom;
use stepgate_core::decide::Asker;
use stepgate_core::flows::AskingBy;
use stepgate_core::ports::StoreError;
use stepgate_core::secret::{Purpose, Token, TokenDigest};
use stepgate_core::session::{Audience, SessionView};
use stepgate_core::surroundings::Surroundings;
use stepgate_core::web::OurCookie;
pub(super) use stepgate_core::web::Reader;

use super::{Exchange, Inner};
use crate::canonical::CanonicalRequest;

/// Whether a page of another origin made the browser send this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Our own page, the person, or no browser.
    Here,
    /// Another site's page, one of a sibling host, or nobody knows whose.
    Elsewhere,
}

impl From {
    /// By `Sec-Fetch-Site`, which no page can forge, and else by `Origin`, which
    /// browsers send with every unsafe request from another origin.
    pub(super) fn of(request: &CanonicalRequest, origin: &str) -> Self {
        match header(request, "sec-fetch-site") {
            Some("same-origin" | "none") => return Self::Here,
            Some(_) => return Self::Elsewhere,
            None => {}
        }
        match header(request, ORIGIN.as_str()) {
            Some(given) if given != origin => Self::Elsewhere,
            Some(_) | None => Self::Here,
        }
    }

    /// As it stands in a challenge.
    pub(super) const fn asked(self) -> AskedFrom {
        match self {
            Self::Here => AskedFrom::Here,
            Self::Elsewhere => AskedFrom::Elsewhere,
        }
    }
}

/// A session and the token that showed it.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) view: Arc<SessionView>,
    pub(super) token: TokenDigest,
}

/// Somebody who is known, and by what.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// By a session.
    Session(Signed),
    /// By an access token.
    Token(Arc<TokenView>),
}

impl Known {
    pub(super) fn asker(&self) -> Asker<'_> {
        match self {
            Self::Session(signed) => Asker::SignedIn(&signed.view),
            Self::Token(view) => Asker::Token(view),
        }
    }

    pub(super) fn by(&self) -> AskingBy<'_> {
        match self {
            Self::Session(signed) => AskingBy::Session { view: &signed.view, token: signed.token },
            Self::Token(view) => AskingBy::Token(view),
        }
    }

    /// How the token was presented, if it is one.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::Session(_) => None,
            Self::Token(view) => Some(view.token.scheme()),
        }
    }

    pub(super) const fn signed(&self) -> Option<&Signed> {
        match self {
            Self::Session(signed) => Some(signed),
            Self::Token(_) => None,
        }
    }
}

/// Nobody is anonymous.
pub(super) fn asker(known: Option<&Known>) -> Asker<'_> {
    known.map_or(Asker::Anonymous, Known::asker)
}

/// What the cookies say.
#[derive(Debug)]
pub(super) enum Standing {
    /// Somebody is signed in here.
    SignedIn(Signed),
    /// There is a token, but no session (any more).
    Stale(TokenDigest),
    /// There is none, or what is there is no token: never more than nobody.
    Nobody,
}

impl Standing {
    pub(super) fn known(&self) -> Option<Known> {
        match self {
            Self::SignedIn(signed) => Some(Known::Session(signed.clone())),
            Self::Stale(_) | Self::Nobody => None,
        }
    }
}

pub(super) fn header<'r>(request: &'r CanonicalRequest, name: &str) -> Option<&'r str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

pub(super) const fn session_purpose(audience: &Audience) -> Purpose {
    match audience {
        Audience::Gate => Purpose::GateSession,
        Audience::Host(_) => Purpose::ServiceSession,
    }
}

impl Inner {
    pub(super) fn cookie<'r>(&self, request: &'r CanonicalRequest, cookie: OurCookie) -> Option<&'r str> {
        let values = request.headers().get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookie.read(self.transport, values)
    }

    /// A malformed, cut or doubled token is nobody's (never "somebody unknown").
    pub(super) async fn standing(&self, exchange: &Exchange, now: &Surroundings) -> Result<Standing, StoreError> {
        let Some(token) = self.cookie(&exchange.request, OurCookie::Session).and_then(Token::parse) else {
            return Ok(Standing::Nobody);
        };
        let audience = &exchange.site.audience;
        let token = token.digest(session_purpose(audience));
        let store = &self.flows.store;
        let view = match store.session_in_memory(token, audience, now.now) {
            Some(view) => Some(view),
            None => store.session(token, audience, now.now).await?,
        };
        Ok(match view {
            Some(view) => Standing::SignedIn(Signed { view, token }),
            None => Standing::Stale(token),
        })
    }

    pub(super) fn surroundings(&self, request: &CanonicalRequest) -> Surroundings {
        let agent = header(request, USER_AGENT.as_str()).unwrap_or_default();
        let around = self.flows.surroundings(request.client().address(), agent);
        Surroundings { posture: request.posture(), ..around }
    }
}
