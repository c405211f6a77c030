//! What a token says, by the types that its standard names.

use serde_json::{Map, Value};
use stepgate_core::time::Timestamp;

/// Names and values of a token. A value of the wrong type is never "not said": `"exp":
/// "never"` is refused, and so is `"exp": null`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenClaims(Map<String, Value>);

/// A value has another type than its name promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} has the wrong type")]
pub struct WrongType {
    /// Which.
    pub name: &'static str,
}

impl TokenClaims {
    /// Wraps an object.
    pub fn new(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// All of it.
    pub fn object(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The value as it stands.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A text.
    ///
    /// # Errors
    ///
    /// [`WrongType`]
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, WrongType> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(WrongType { name }),
        }
    }

    /// A moment: a number of seconds since 1970, whole or not (RFC 7519, section 2, NumericDate).
    ///
    /// # Errors
    ///
    /// [`WrongType`], also for a number that no clock ever shows.
    pub fn moment(&self, name: &'static str) -> Result<Option<Timestamp>, WrongType> {
        /// The end of the year 9999.
        const LAST_S: f64 = 253_402_300_799.0;
        let wrong = WrongType { name };
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let seconds = number.as_f64().filter(|seconds| (0.0..=LAST_S).contains(seconds)).ok_or(wrong)?;
                #[expect(clippy::cast_possible_truncation, reason = "the range was looked at")]
                Ok(Some(Timestamp::from_ms((seconds * 1000.0).floor() as i64)))
            }
            Some(_) => Err(wrong),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    ///
    /// [`WrongType`]
    pub fn texts(&self, name: &'static str) -> Result<Option<Vec<&str>>, WrongType> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Array(all)) => {
                all.iter().map(Value::as_str).collect::<Option<_>>().map(Some).ok_or(WrongType { name })
            }
            Some(_) => Err(WrongType { name }),
        }
    }

    /// A text or a list of texts, as `aud` is (RFC 7519, section 4.1.3).
    ///
    /// # Errors
    ///
    /// [`WrongType`]
    pub fn one_or_more(&self, name: &'static str) -> Result<Option<Vec<&str>>, WrongType> {
        match self.0.get(name) {
            Some(Value::String(one)) => Ok(Some(vec![one])),
            _ => self.texts(name),
        }
    }
}
