//! What went wrong, as the person or the program is told.

use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use stepgate_core::flows::{AnswerError, EnrolError, SignInError};
use stepgate_core::ports::{ChangeError, StoreError};

use crate::http::{BODY_MAX, FormError, NotFromHere, Wants};
use crate::next::Next;
use crate::outcomes::Outcome;
use crate::page::retry_after;
use crate::visit::Visit;
use crate::wire::{json, problem};

/// When to try again while something is away, in seconds.
const RETRY_S: u32 = 5;

/// Why a handler did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to say, with its own page.
    Say(Box<Outcome>),
    /// Nobody is signed in; this is the place to come back to.
    SignInFor(Next),
    /// A request to a decided service that was not decided: a mistake of our own.
    NotDecided,
    /// The form cannot be read.
    Form(FormError),
    /// The form's token is not this browser's.
    StaleForm,
    /// Another origin's page sent it.
    NotFromHere(NotFromHere),
    /// The store failed.
    Store(StoreError),
    /// Something of our own failed.
    Fault(&'static str),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Outcome> for Failure {
    fn from(outcome: Outcome) -> Self {
        Self::Say(Box::new(outcome))
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => Self::Store(error),
            ChangeError::Conflict | ChangeError::UsedBefore => Self::StaleForm,
            ChangeError::Limit(_) => Outcome::TooMany { retry_after_s: RETRY_S }.into(),
        }
    }
}

impl From<EnrolError> for Failure {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Store(error) => Self::Store(error),
            EnrolError::Changed => Self::StaleForm,
            EnrolError::LastWay => {
                let reasons = vec!["It is your only way to sign in. Add another one first.".to_owned()];
                Outcome::Denied { operation: Some("Remove a way to prove it is you".to_owned()), reasons }.into()
            }
            EnrolError::ShortPassword => {
                let reasons = vec![
                    "What would be left is a password that is too short to stand alone. Choose one of at least 15 \
                     characters first."
                        .to_owned(),
                ];
                Outcome::Denied { operation: Some("Remove a way to prove it is you".to_owned()), reasons }.into()
            }
            EnrolError::Gone | EnrolError::NotAllowed | EnrolError::Taken | EnrolError::Refused(_) => {
                Outcome::DeadLink.into()
            }
        }
    }
}

impl Failure {
    /// The answer: a page or a problem.
    pub(crate) fn answer(self, visit: &Visit) -> Response {
        let outcome = match self {
            Self::Say(outcome) => *outcome,
            Self::SignInFor(next) => return sign_in_first(visit, &next),
            Self::NotDecided => {
                tracing::error!("a request to the account came without a decision");
                Outcome::Denied { operation: None, reasons: Vec::new() }
            }
            Self::Form(FormError::TooLarge) => Outcome::TooLarge { limit: BODY_MAX as u64 },
            Self::Form(error) => Outcome::UnreadableBody { code: error.code().to_owned() },
            Self::StaleForm => Outcome::StaleForm { again: None },
            Self::NotFromHere(why) => {
                tracing::warn!(%why, request = %visit.client.request_id, "a form came from elsewhere");
                Outcome::StaleForm { again: None }
            }
            Self::Store(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    request = %visit.client.request_id,
                    "the store failed"
                );
                Outcome::Unavailable { retry_after_s: RETRY_S }
            }
            Self::Fault(what) => {
                tracing::error!(what, request = %visit.client.request_id, "a page could not be made");
                Outcome::Unavailable { retry_after_s: RETRY_S }
            }
        };
        say(visit, outcome)
    }
}

/// The page or problem of an outcome.
pub(crate) fn say(visit: &Visit, outcome: Outcome) -> Response {
    let status = outcome.status();
    let retry = outcome.retry_after_s();
    let page = outcome.page(visit.frame());
    let response = match visit.wants {
        Wants::Page => visit.page(status, &page),
        Wants::Json => match page.code.as_deref() {
            Some(code) => problem(status, code, &page.headline, &page.paragraphs.join(" ")),
            None => json(status, &serde_json::json!({ "done": page.headline })),
        },
    };
    match retry {
        Some(seconds) => retry_after(response, seconds),
        None => response,
    }
}

fn sign_in_first(visit: &Visit, next: &Next) -> Response {
    let to = next.by_sign_in();
    match visit.wants {
        Wants::Page => no_store(Redirect::to(&to).into_response()),
        Wants::Json => {
            let url = format!("{}{to}", visit.console.origin);
            problem(StatusCode::UNAUTHORIZED, "sign_in", "Sign in first", &format!("Sign in at {url}"))
        }
    }
}

/// An answer that nobody keeps.
pub(crate) fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What an answer's failure means where there is no page to show it on.
pub(crate) fn of_answer(error: AnswerError) -> Failure {
    match error {
        AnswerError::Store(error) => Failure::Store(error),
        AnswerError::Fault => Failure::Fault("a factor could not be verified"),
        AnswerError::Changed => Failure::StaleForm,
        _ => Failure::Fault("an answer failed in a way that has its own page"),
    }
}

/// What a failed sign-in means where it is not the person's mistake.
pub(crate) fn of_sign_in(error: SignInError) -> Failure {
    match error {
        SignInError::Store(error) => Failure::Store(error),
        SignInError::Statement(_) => Failure::Fault("the sign-in statement cannot be made"),
        SignInError::Fault => Failure::Fault("a factor could not be verified"),
        SignInError::Stale | SignInError::Refused => Failure::StaleForm,
    }
}
