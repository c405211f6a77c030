//! `/enrol/{token}`: a one-time enrolment link.

use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::StatusCode;
use stepgate_core::factor::FactorKind;
use stepgate_core::secret::Token;
use stepgate_core::web::gate_path;

use crate::failure::{Failure, no_store};
use crate::outcomes::Outcome;
use crate::views::EnrolLinkPage;
use crate::visit::Visit;

/// `GET /enrol/{token}`: looks. A mail scanner that follows the link spoils nothing.
pub(crate) async fn look(visit: Visit, Path(token): Path<String>) -> Response {
    let result = async {
        let link = visit.console.flows.look_at_link(&read(&token)?).await?;
        let view = EnrolLinkPage {
            frame: visit.stranger_frame(),
            person: link.person.name,
            kinds: in_words(&link.kinds),
            action: format!("{}/{token}", gate_path::ENROL),
        };
        Ok::<_, Failure>(visit.page(StatusCode::OK, &view))
    };
    visit.finish(result.await)
}

/// `POST /enrol/{token}`: uses the link up, once, for this browser.
pub(crate) async fn open(visit: Visit, Path(token): Path<String>, body: Bytes) -> Response {
    let result = async {
        visit.fields(&body)?;
        let ticket = visit.console.flows.use_link(&read(&token)?, &visit.browser).await?;
        let to = format!("{}/with/{}", gate_path::ENROL, ticket.expose());
        Ok::<_, Failure>(no_store(Redirect::to(&to).into_response()))
    };
    visit.finish(result.await)
}

fn read(token: &str) -> Result<Token, Failure> {
    Ok(Token::parse(token).ok_or(Outcome::DeadLink)?)
}

/// `a passkey, an authenticator app or a password`.
fn in_words(kinds: &[FactorKind]) -> String {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.means()).collect();
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => (*only).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_in_words() {
        assert_eq!(in_words(&[FactorKind::PASSKEY]), "a passkey");
        assert_eq!(
            in_words(&[FactorKind::PASSKEY, FactorKind::Totp, FactorKind::Password]),
            "a passkey, an authenticator app or a password"
        );
    }
}
