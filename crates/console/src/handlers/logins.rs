//! `/sign-in/with/{provider}`, `/sign-in/back/{provider}`, `/challenges/{id}/login`: to the
//! company's identity provider and back.

use axum::extract::{Path, RawQuery};
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::CACHE_CONTROL;
use serde_json::json;
use stepgate_core::flows::{Answered, LeaveToProve, LeaveToSignIn, LoginError, LogoutError, Return, Returned};
use stepgate_core::id::ChallengeId;
use stepgate_core::provider::{NotAsserted, ProviderName};
use stepgate_core::web::OurCookie;

use crate::failure::{Failure, no_store, of_sign_in};
use crate::handlers::challenge::{self, addressed, look, not_done, not_passed};
use crate::handlers::sign_in::{Onward, go_on_signed_in, refused, too_many_left};
use crate::http::Wants;
use crate::next::Next;
use crate::outcomes::Outcome;
use crate::present::LastAnswer;
use crate::views::{AwayPage, Said};
use crate::visit::Visit;
use crate::wire::json;

/// `POST /sign-in/with/{provider}`: leaves to sign in there.
pub(crate) async fn leave(visit: Visit, Path(provider): Path<String>, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let provider = named(&provider)?;
        let onward = Onward::from_fields(&fields);
        let leave = LeaveToSignIn {
            provider: &provider,
            browser: &visit.browser,
            address: visit.surroundings.address,
            next: onward.next.as_ref().map(Next::path),
            continues: onward.continues,
        };
        match visit.console.flows.leave_to_sign_in(leave).await {
            Ok(url) => Ok(away(&visit, &provider, url, false)),
            Err(error) => not_signed_in(&visit, &onward, error).await,
        }
    };
    visit.finish(result.await)
}

/// `POST /challenges/{id}/login`: leaves to answer a challenge there.
pub(crate) async fn prove(visit: Visit, Path(id): Path<String>, body: Bytes) -> Response {
    let result = async {
        let fields = visit.fields(&body)?;
        let (id, session, _) = addressed(&visit, &id)?;
        let provider = named(fields.text("provider"))?;
        let number = Some(fields.text("number")).filter(|number| !number.is_empty());
        let browser = &visit.browser;
        let leave = LeaveToProve { provider: &provider, challenge: id, session, number, browser };
        match visit.console.flows.leave_to_prove(leave).await {
            Ok(url) => Ok(away(&visit, &provider, url, true)),
            Err(error) => not_proved(&visit, id, error).await,
        }
    };
    visit.finish(result.await)
}

/// `GET /sign-in/back/{provider}`: the browser comes back with the provider's answer.
pub(crate) async fn back(visit: Visit, Path(provider): Path<String>, RawQuery(query): RawQuery) -> Response {
    let result = async {
        let provider = named(&provider)?;
        let device = visit.cookie(OurCookie::Device);
        let answer = Return {
            provider: &provider,
            query: query.as_deref().unwrap_or_default(),
            browser: &visit.browser,
            device: device.as_ref(),
            session: visit.session.as_ref().map(|(session, token)| (session.as_ref(), *token)),
            surroundings: &visit.surroundings,
        };
        match visit.console.flows.come_back(answer).await {
            Ok(Returned::SignedIn { signed_in, next, continues }) => {
                let onward = Onward { next: next.as_deref().and_then(Next::parse), continues };
                Ok(go_on_signed_in(&visit, &signed_in, onward))
            }
            Ok(Returned::Answered { challenge, answered }) => match *answered {
                Answered::Passed { gate_token, go_on } => {
                    challenge::passed(&visit, challenge, &gate_token, &go_on).await
                }
                Answered::More(_) => Ok(no_store(Redirect::to(&Next::Challenge(challenge).path()).into_response())),
            },
            Err(LoginError::NotAsserted { why, challenge: Some(id) }) => {
                not_proved(&visit, id, LoginError::NotAsserted { why, challenge: Some(id) }).await
            }
            Err(LoginError::Answer(error)) => Err(crate::failure::of_answer(error)),
            Err(error) => not_signed_in(&visit, &Onward::default(), error).await,
        }
    };
    visit.finish(result.await)
}

/// `POST /sign-in/logout/{provider}`: the provider says that somebody signed out there
/// (OpenID Connect Back-Channel Logout 1.0, section 2.5).
pub(crate) async fn logout(visit: Visit, Path(provider): Path<String>, body: Bytes) -> Response {
    let result = async {
        let provider = named(&provider)?;
        let token = form_urlencoded::parse(&body).find(|(name, _)| name == "logout_token");
        let Some((_, token)) = token else {
            return Ok(bad_logout("invalid_request", "a logout_token is expected"));
        };
        match visit.console.flows.logged_out_at_provider(&provider, &token).await {
            // The same token again: it was carried out.
            Ok(_) | Err(LogoutError::Again) => Ok(no_store(StatusCode::OK.into_response())),
            Err(LogoutError::Busy | LogoutError::NotAsserted(NotAsserted::Away(_) | NotAsserted::Unusable(_))) => {
                Err(Outcome::Unavailable { retry_after_s: 5 }.into())
            }
            Err(LogoutError::NotAsserted(why)) => Ok(bad_logout("invalid_request", why.code())),
            Err(LogoutError::Store(error)) => Err(error.into()),
        }
    };
    // A program asks: it gets no cookie.
    match result.await {
        Ok(response) => response,
        Err(failure) => Failure::answer(failure, &visit),
    }
}

fn bad_logout(error: &str, description: &str) -> Response {
    let mut response = json(StatusCode::BAD_REQUEST, &json!({ "error": error, "error_description": description }));
    response.headers_mut().insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

fn named(provider: &str) -> Result<ProviderName, Failure> {
    ProviderName::parse(provider).map_err(|_| Outcome::NotFound.into())
}

fn title(visit: &Visit, provider: &ProviderName) -> String {
    let live = visit.console.flows.live.load();
    live.providers.named(provider).map_or_else(|| provider.to_string(), |known| known.title.clone())
}

fn away(visit: &Visit, provider: &ProviderName, url: String, confirms: bool) -> Response {
    match visit.wants {
        Wants::Json => json(StatusCode::OK, &json!({ "go_on": url })),
        Wants::Page => {
            let view = AwayPage { frame: visit.frame(), provider: title(visit, provider), url, confirms };
            visit.page(StatusCode::OK, &view)
        }
    }
}

/// The sign-in page once more, with what went wrong.
async fn not_signed_in(visit: &Visit, onward: &Onward, error: LoginError) -> Result<Response, Failure> {
    let said = match error {
        LoginError::NoProvider => return Err(Outcome::NotFound.into()),
        LoginError::Store(error) => return Err(error.into()),
        LoginError::SignIn(error) => return Err(of_sign_in(error)),
        LoginError::TooMany { retry_after_s } => return too_many_left(visit, onward, retry_after_s).await,
        LoginError::Answer(error) => return Err(crate::failure::of_answer(error)),
        LoginError::Stale => {
            Said::bad("This login took too long, or was begun in another browser.", "Please sign in again.")
        }
        LoginError::Stranger => Said::bad(
            "Your company’s login is right, and nobody here is known by it.",
            "Ask your administrator to add you.",
        ),
        LoginError::Taken => Said::bad(
            "Somebody else here has your name already.",
            "People are never matched by name or address. Ask your administrator to link your login.",
        ),
        LoginError::Nameless => {
            Said::bad("Your company’s login gave no name for you.", "Ask your administrator which claim holds it.")
        }
        LoginError::NotAsserted { why, .. } => said_of(&why),
    };
    refused(visit, onward, String::new(), said).await
}

fn said_of(why: &NotAsserted) -> Said {
    match why {
        NotAsserted::Away(_) => Said::bad(
            "Your company’s login cannot be reached.",
            "Try again in a while. What you have here still works: a passkey, or name and password.",
        ),
        NotAsserted::Unusable(_) => Said::bad(
            "Your company’s login cannot be used as it is set up.",
            "Tell your administrator; the reason stands in the gate’s log.",
        ),
        NotAsserted::Refused { code } if code == "access_denied" => {
            Said::bad("You were not signed in there.", "You turned back, or are not allowed to use this.")
        }
        // OpenID Connect Core Error Code unmet_authentication_requirements 1.0.
        NotAsserted::Refused { code } if code == "unmet_authentication_requirements" => Said::bad(
            "Your company’s login cannot prove for you what this needs.",
            "Nothing was done. Set up a stronger way to log in there, or ask your administrator.",
        ),
        NotAsserted::Refused { code } => {
            Said::bad("Your company’s login refused.", format!("It said: {}.", code.replace('_', " ")))
        }
        why => Said::bad(
            "What came back from your company’s login could not be believed.",
            format!("Nothing was done. Tell your administrator the code {}.", why.code()),
        ),
    }
}

/// The challenge once more, with what went wrong, or what became of it.
async fn not_proved(visit: &Visit, id: ChallengeId, error: LoginError) -> Result<Response, Failure> {
    let Some((session, _)) = &visit.session else { return Err(Failure::SignInFor(Next::Challenge(id))) };
    match error {
        LoginError::NoProvider => {
            let last = not_done("That does not do for this.", "Use one of these.");
            look(visit, id, session, StatusCode::UNPROCESSABLE_ENTITY, last).await
        }
        LoginError::Answer(error) => not_passed(visit, id, session, None, error).await,
        LoginError::NotAsserted { why, .. } => {
            let said = Some(said_of(&why));
            let last = LastAnswer { said, ..LastAnswer::default() };
            look(visit, id, session, StatusCode::UNPROCESSABLE_ENTITY, last).await
        }
        LoginError::Store(error) => Err(error.into()),
        LoginError::SignIn(error) => Err(of_sign_in(error)),
        LoginError::TooMany { retry_after_s } => Err(Outcome::TooMany { retry_after_s }.into()),
        LoginError::Stale | LoginError::Stranger | LoginError::Taken | LoginError::Nameless => Err(Failure::StaleForm),
    }
}
