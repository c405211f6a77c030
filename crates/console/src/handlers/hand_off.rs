//! The ways from a sign-in to a service's host, each decided as a sign-in: `/hand-off`, and `/go-on` for a request
//! that waited for it.

use axum::extract::{Path, RawQuery};
use axum::response::{IntoResponse as _, Redirect, Response};
use stepgate_core::flows::GoOn;
use stepgate_core::id::ChallengeId;
use stepgate_core::web::{gate_path, host_path};

use crate::failure::{Failure, no_store, of_sign_in};
use crate::handlers::challenge::resume_url;
use crate::next::{HandOff, Next};
use crate::outcomes::Outcome;
use crate::visit::Visit;

/// `GET /hand-off?service=…&to=…&browser=…`.
///
/// The code that it makes is worthless in any browser but the one that asked at
/// the service's host, so a link that somebody else made signs nobody in.
pub(crate) async fn go(visit: Visit, RawQuery(query): RawQuery) -> Response {
    visit.finish(hand_off(&visit, query.as_deref().unwrap_or_default()).await)
}

async fn hand_off(visit: &Visit, query: &str) -> Result<Response, Failure> {
    let hand_off = HandOff::parse(query).ok_or(Outcome::NotFound)?;
    let flows = &visit.console.flows;
    let live = flows.live.load_full();
    let service = hand_off.service(&live.catalogue).ok_or(Outcome::UnknownHost)?;
    // A token that has not seen what its session proved since may be a copy, and
    // must not lead to one that has.
    let session = visit.permit.as_ref().map(|permit| &permit.session);
    let Some(session) = session.filter(|session| !session.is_behind()) else {
        return Err(Failure::SignInFor(Next::HandOff(hand_off)));
    };
    let code = flows.hand_off(session, service.host.clone(), hand_off.browser).await?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("code", code.expose());
    query.append_pair("to", &hand_off.to);
    let to = format!("{}{}?{}", service.origin, host_path::HAND_OFF, query.finish());
    Ok(no_store(Redirect::to(&to).into_response()))
}

/// `GET /go-on/{challenge}?service=…&tag=…`: a request that waited for this sign-in, where that asked for more first.
pub(crate) async fn go_on(visit: Visit, Path(id): Path<String>, RawQuery(query): RawQuery) -> Response {
    let result = async {
        let id: ChallengeId = id.parse().map_err(|_| Outcome::NotFound)?;
        let session = &visit.permit()?.session;
        // What was decided is the sign-in to this service.
        let query = query.unwrap_or_default();
        let said = |wanted: &str| {
            let found = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let (service, tag) = (said("service"), said("tag"));
        let to = match visit.console.flows.go_on_signed_in(id, &service, &tag, session, visit.surroundings.now).await {
            Ok(Some(GoOn::Browser { origin, code })) => resume_url(&origin, id, &code),
            Ok(Some(GoOn::Elsewhere) | None) => gate_path::ACCOUNT.to_owned(),
            Err(error) => return Err(of_sign_in(error)),
        };
        Ok::<_, Failure>(no_store(Redirect::to(&to).into_response()))
    };
    visit.finish(result.await)
}

/// Where a request that waits for a sign-in goes on, once that suffices.
pub(crate) fn go_on_path(id: ChallengeId, service: &str, tag: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("service", service).append_pair("tag", tag);
    format!("{}/{id}?{}", gate_path::GO_ON, query.finish())
}
