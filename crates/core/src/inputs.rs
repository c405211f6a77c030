//! Typed inputs, read from path, query and body.
//!
//! A body that cannot be read as declared is refused, never decided as "no
//! amount" (attack B39), and so is everything that an upstream could read
//! differently: a key or field twice or in two spellings, a number that is no
//! plain integer, text that is not UTF-8.

use std::collections::BTreeMap;

use http::StatusCode;

use crate::catalogue::{Endpoint, InputSource, InputSpec};
use crate::operation::{InputValue, Inputs};

mod form;
mod fuzz;
mod json;
mod media_type;
mod scalar;
#[cfg(test)]
mod tests;

pub use fuzz::fuzz;
pub use json::{DEPTH_MAX, NotAPointer, Pointer};
pub use scalar::STRING_LEN_MAX;

use form::Form;
use media_type::{BodyKind, body_kind};
use scalar::Scalar;

/// Most parameters in a query or form. Some servers read no more than a thousand and drop the rest.
pub const PARAMETERS_MAX: usize = 1000;

/// Why the inputs of an operation were not read. Nothing may be decided or forwarded then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The body is of another kind than declared, or in another character set than UTF-8.
    #[error("the body must be {expected}")]
    ContentType {
        /// What is expected.
        expected: &'static str,
    },
    /// There is no body, and an input is to be read from it.
    #[error("there is no body to read {name} from")]
    NoBody {
        /// The first input that would be read from it.
        name: String,
    },
    /// The body is not the JSON that it says it is.
    #[error("the body is not JSON: {what} at byte {at}")]
    NotJson {
        /// What is wrong.
        what: &'static str,
        /// Where, from 0.
        at: usize,
    },
    /// A key of an object occurs twice (RFC 8259 section 4: what that means is unpredictable).
    #[error("a key occurs twice in an object at byte {at}")]
    DuplicateKey {
        /// Where the second one stands, from 0.
        at: usize,
    },
    /// Arrays and objects are nested too deep.
    #[error("the body is nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// Query or form cannot be read in one way only.
    #[error("the {place} cannot be read: {what}")]
    NotAForm {
        /// `query` or `form`.
        place: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// There are more parameters than some servers read.
    #[error("the {place} has more than {PARAMETERS_MAX} parameters")]
    TooManyParameters {
        /// `query` or `form`.
        place: &'static str,
    },
    /// It is not there.
    #[error("the input {name} is missing")]
    Missing {
        /// The input.
        name: String,
    },
    /// It is there twice.
    #[error("the input {name} is given more than once")]
    Repeated {
        /// The input.
        name: String,
    },
    /// Something is there that another server takes for it: another case, brackets behind the name.
    #[error("beside or instead of the input {name} there is another spelling of its name")]
    OtherSpelling {
        /// The input.
        name: String,
    },
    /// It is not of the declared type.
    #[error("the input {name} must be {expected}")]
    WrongType {
        /// The input.
        name: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The text is longer than what can be confirmed.
    #[error("the input {name} is longer than {STRING_LEN_MAX} bytes")]
    TooLong {
        /// The input.
        name: String,
    },
}

impl InputError {
    /// The stable, machine-readable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ContentType { .. } => "input_content_type",
            Self::NoBody { .. } => "input_no_body",
            Self::NotJson { .. } => "input_not_json",
            Self::DuplicateKey { .. } => "input_duplicate_key",
            Self::TooDeep => "input_too_deep",
            Self::NotAForm { .. } => "input_not_a_form",
            Self::TooManyParameters { .. } => "input_too_many_parameters",
            Self::Missing { .. } => "input_missing",
            Self::Repeated { .. } => "input_repeated",
            Self::OtherSpelling { .. } => "input_other_spelling",
            Self::WrongType { .. } => "input_wrong_type",
            Self::TooLong { .. } => "input_too_long",
        }
    }

    /// The status of the answer (RFC 9110 section 15.5).
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::ContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads the declared inputs of an operation; on success every one of them is there.
///
/// `path_values` are the decoded placeholders of the path template, `query` is raw
/// and without its `?`, `content_type` the one header value, `body` the whole body
/// (its size is the caller's limit) or `None` where there is none.
///
/// What is not declared is not read: without an input from the query the query may
/// be anything, and likewise the body.
///
/// # Errors
///
/// [`InputError`]: the request is to be refused with its status and code.
pub fn read(
    endpoint: &Endpoint,
    path_values: &BTreeMap<String, String>,
    query: Option<&str>,
    content_type: Option<&str>,
    body: Option<&[u8]>,
) -> Result<Inputs, InputError> {
    let mut inputs = Inputs::new();
    let mut put = |spec: &InputSpec, scalar: Scalar<'_>| -> Result<(), InputError> {
        inputs.insert(spec.name.clone(), typed(spec, scalar)?);
        Ok(())
    };
    let mut asked_query = Vec::new();
    let mut asked_form = Vec::new();
    let mut asked_json = Vec::new();
    for spec in &endpoint.inputs {
        match &spec.source {
            InputSource::Path(placeholder) => {
                let value = path_values.get(placeholder).ok_or_else(|| missing(spec))?;
                put(spec, Scalar::Text(value.into()))?;
            }
            InputSource::Query(name) => asked_query.push((spec, name.as_str())),
            InputSource::Form(name) => asked_form.push((spec, name.as_str())),
            InputSource::Json(pointer) => {
                // Configuration has read the pointer before; one that cannot be read finds nothing.
                asked_json.push((spec, Pointer::parse(pointer).map_err(|_| missing(spec))?));
            }
        }
    }
    if !asked_query.is_empty() {
        let form = Form::read("query", query.unwrap_or_default())?;
        for (spec, name) in asked_query {
            put(spec, Scalar::Text(form.one(spec, name)?.into()))?;
        }
    }
    if let Some((first, _)) = asked_form.first() {
        let body = body_text(first, BodyKind::Form, content_type, body)?;
        let form = Form::read("form", body)?;
        for (spec, name) in asked_form {
            put(spec, Scalar::Text(form.one(spec, name)?.into()))?;
        }
    }
    if let Some((first, _)) = asked_json.first() {
        let body = body_text(first, BodyKind::Json, content_type, body)?;
        for (spec, scalar) in json::read(body, &asked_json)? {
            put(spec, scalar)?;
        }
    }
    Ok(inputs)
}

/// The body as text, if it is declared as what is expected.
fn body_text<'b>(
    first: &InputSpec,
    expected: BodyKind,
    content_type: Option<&str>,
    body: Option<&'b [u8]>,
) -> Result<&'b str, InputError> {
    let body = body.ok_or_else(|| InputError::NoBody { name: first.name.clone() })?;
    if content_type.and_then(body_kind) != Some(expected) {
        return Err(InputError::ContentType { expected: expected.shown() });
    }
    std::str::from_utf8(body).map_err(|error| match expected {
        BodyKind::Json => InputError::NotJson { what: "it is not UTF-8", at: error.valid_up_to() },
        BodyKind::Form => InputError::NotAForm { place: "form", what: "it is not UTF-8" },
    })
}

fn typed(spec: &InputSpec, scalar: Scalar<'_>) -> Result<InputValue, InputError> {
    if let Scalar::Text(text) | Scalar::JsonText(text) = &scalar
        && text.len() > STRING_LEN_MAX
    {
        return Err(InputError::TooLong { name: spec.name.clone() });
    }
    scalar
        .typed(spec.kind)
        .ok_or_else(|| InputError::WrongType { name: spec.name.clone(), expected: scalar::expected(spec.kind) })
}

fn missing(spec: &InputSpec) -> InputError {
    InputError::Missing { name: spec.name.clone() }
}

/// A name as the most careless server compares it: without case (also the letters
/// that Unicode folds to ASCII ones, as Go's JSON reader does).
fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}
