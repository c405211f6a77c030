//! `POST /challenges/{id}/push`: the person's own devices are asked to approve.

use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use stepgate_core::flows::AskedDevices;
use stepgate_core::surroundings::shown;

use super::challenge::{addressed, again, look, not_done, not_passed};
use crate::failure::{Failure, no_store};
use crate::http::Wants;
use crate::next::Next;
use crate::present::{LastAnswer, instant};
use crate::visit::Visit;
use crate::wire::json;
use crate::words::Moment;

/// Longest title of another question that is shown, in characters.
const TITLE_MAX: usize = 120;

/// See the module.
pub(crate) async fn ask(visit: Visit, Path(id): Path<String>, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let (id, session, _) = addressed(&visit, &id)?;
        let number = (!fields.text("number").is_empty()).then(|| fields.text("number").to_owned());
        let instead_of = fields.text("instead_of").parse().ok();
        let asked = match visit.console.flows.ask_devices(id, session, instead_of).await {
            Ok(asked) => asked,
            Err(error) => return not_passed(&visit, id, session, number, error).await,
        };
        let too_many = StatusCode::TOO_MANY_REQUESTS;
        let (status, code, last) = match asked {
            // Shown by the page itself, so that to reload it asks nobody again.
            AskedDevices::Asked if visit.wants == Wants::Page && number.is_none() => {
                return Ok(no_store(Redirect::to(&Next::Challenge(id).path()).into_response()));
            }
            AskedDevices::Asked if visit.wants == Wants::Page => {
                let last = LastAnswer { number, ..LastAnswer::default() };
                return look(&visit, id, session, StatusCode::OK, last).await;
            }
            AskedDevices::Asked => return Ok::<_, Failure>(json(StatusCode::OK, &json!({ "state": "asked" }))),
            AskedDevices::AnotherIsOpen { challenge, is_own } => {
                let title = format!("“{}” waits there first.", shown(&challenge.statement.title, TITLE_MAX));
                let last = not_done("Something else is open on your device.", &title);
                let instead_of = is_own.then_some(challenge.id);
                (StatusCode::CONFLICT, "another_is_open", LastAnswer { instead_of, ..last })
            }
            AskedDevices::TooMany { again_at } => {
                let when = Moment::of_today(instant(again_at));
                let detail = format!("Again from {}. The other ways still work.", when.plain());
                (too_many, "too_many_pushes", not_done("Your devices were asked too often.", &detail))
            }
            AskedDevices::Locked => {
                let detail = "Somebody said that it was not they who asked. Allow them again in your account.";
                (too_many, "factor_locked", not_done("Approvals on devices are locked.", detail))
            }
        };
        again(&visit, id, session, status, code, LastAnswer { number, ..last }).await
    };
    visit.finish(result.await)
}
