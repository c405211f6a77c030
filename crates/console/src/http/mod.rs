//! What every handler reads of a request before it does anything, and nothing else.

mod form;
mod guard;
mod wants;

pub use form::{BODY_MAX, Fields, FormError, SentAs};
pub use guard::{NotFromHere, is_from_own_page};
pub use wants::Wants;
