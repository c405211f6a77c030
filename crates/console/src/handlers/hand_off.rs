//! `/hand-off`: takes a signed-in browser from the gate to a service's host.

use axum::extract::RawQuery;
use axum::response::{IntoResponse as _, Redirect, Response};
use stepgate_core::web::host_path;

use crate::failure::{Failure, no_store};
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
    let Some((session, _)) = visit.session.as_ref().filter(|(session, _)| !session.is_behind()) else {
        return Err(Failure::SignInFor(Next::HandOff(hand_off)));
    };
    let code = flows.hand_off(session, service.host.clone(), hand_off.browser).await?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("code", code.expose());
    query.append_pair("to", &hand_off.to);
    let to = format!("{}{}?{}", service.origin, host_path::HAND_OFF, query.finish());
    Ok(no_store(Redirect::to(&to).into_response()))
}
