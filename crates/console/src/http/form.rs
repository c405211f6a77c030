//! What a form sent: each field once.

use std::collections::BTreeMap;

use http::HeaderMap;
use secrecy::SecretString;

use super::wants::{is_json, is_kind};

/// Longest body of a form or JSON answer, in bytes. An attestation with a
/// certificate chain is the largest thing that is sent here.
pub const BODY_MAX: usize = 64 * 1024;

/// Most fields of one form.
const FIELDS_MAX: usize = 32;

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// Longer than [`BODY_MAX`].
    #[error("the body is longer than {BODY_MAX} bytes")]
    TooLarge,
    /// Neither a form nor a JSON object.
    #[error("the content type is neither application/x-www-form-urlencoded nor application/json")]
    ContentType,
    /// A field is there twice, or there are too many.
    #[error("a field is there twice, or there are too many")]
    Fields,
    /// The body is not what its content type says.
    #[error("the body is not what its content type says")]
    Malformed,
}

impl FormError {
    /// The stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::ContentType => "content_type",
            Self::Fields => "field_twice",
            Self::Malformed => "malformed",
        }
    }
}

/// How the fields were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentAs {
    /// `application/x-www-form-urlencoded`: any site's page can send it, so it
    /// carries a token.
    Form,
    /// `application/json`: no other site's page can send it without asking first.
    Json,
}

/// The fields of a form or of a JSON object, each once.
///
/// They may be passwords and codes: the whole cannot be printed.
pub struct Fields {
    sent_as: SentAs,
    fields: BTreeMap<String, String>,
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.fields.keys()).finish()
    }
}

impl Fields {
    /// Reads a whole body, of at most [`BODY_MAX`] bytes.
    pub fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, FormError> {
        if bytes.len() > BODY_MAX {
            return Err(FormError::TooLarge);
        }
        if is_json(headers) {
            Self::from_json(bytes)
        } else if is_kind(headers, "application/x-www-form-urlencoded") || bytes.is_empty() {
            Self::from_form(bytes)
        } else {
            Err(FormError::ContentType)
        }
    }

    fn from_form(bytes: &[u8]) -> Result<Self, FormError> {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if fields.len() >= FIELDS_MAX || fields.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(FormError::Fields);
            }
        }
        Ok(Self { sent_as: SentAs::Form, fields })
    }

    fn from_json(bytes: &[u8]) -> Result<Self, FormError> {
        let object: OnceEach = serde_json::from_slice(bytes).map_err(|_| FormError::Malformed)?;
        Ok(Self { sent_as: SentAs::Json, fields: object.0 })
    }

    /// How they were sent.
    #[must_use]
    pub fn sent_as(&self) -> SentAs {
        self.sent_as
    }

    /// A field's text; empty if it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// A field that is a secret; empty if it is not there. It is taken out.
    pub fn take_secret(&mut self, name: &str) -> SecretString {
        SecretString::from(self.fields.remove(name).unwrap_or_default())
    }
}

/// A JSON object in which no key is there twice. Values that are no text are
/// kept as their JSON, so that a program may send a credential as an object.
struct OnceEach(BTreeMap<String, String>);

impl<'de> serde::Deserialize<'de> for OnceEach {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> serde::de::Visitor<'de> for Reader {
            type Value = OnceEach;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with each key once")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<OnceEach, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
                    let value = match value {
                        serde_json::Value::String(text) => text,
                        other => other.to_string(),
                    };
                    if fields.len() >= FIELDS_MAX || fields.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a key is there twice, or there are too many"));
                    }
                }
                Ok(OnceEach(fields))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    fn read(kind: &'static str, body: impl AsRef<[u8]>) -> Result<Fields, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Fields::read(&headers, body.as_ref()).map_err(|error| error.code())
    }

    const FORM: &str = "application/x-www-form-urlencoded";

    #[test]
    fn forms_and_objects_are_read() {
        let fields = read(FORM, "name=alice&password=a+b%26").unwrap();
        assert_eq!((fields.text("name"), fields.text("password"), fields.text("x")), ("alice", "a b&", ""));
        let fields = read("application/json", r#"{"factor":"totp","code":"123456"}"#).unwrap();
        assert_eq!(fields.text("code"), "123456");
        let fields = read("application/json", r#"{"credential":{"id":"x"}}"#).unwrap();
        assert_eq!(fields.text("credential"), r#"{"id":"x"}"#);
    }

    #[test]
    fn b41_a_field_that_is_there_twice_is_refused() {
        assert_eq!(read(FORM, "code=1&code=2").unwrap_err(), "field_twice");
        assert_eq!(read("application/json", r#"{"code":"1","code":"2"}"#).unwrap_err(), "malformed");
    }

    #[test]
    fn what_is_no_form_is_refused() {
        assert_eq!(read("text/plain", "code=1").unwrap_err(), "content_type");
        assert_eq!(read("multipart/form-data; boundary=x", "--x").unwrap_err(), "content_type");
        assert_eq!(read("application/json", "[1]").unwrap_err(), "malformed");
        assert_eq!(read(FORM, vec![b'a'; BODY_MAX + 1]).unwrap_err(), "too_large");
        assert_eq!(
            read("application/json", format!("{}1{}", "[".repeat(9000), "]".repeat(9000))).unwrap_err(),
            "malformed"
        );
    }

    #[test]
    fn what_was_typed_cannot_be_printed() {
        let fields = read(FORM, "password=hunter2").unwrap();
        assert_eq!(format!("{fields:?}"), r#"["password"]"#);
    }
}
