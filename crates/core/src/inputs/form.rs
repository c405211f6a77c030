//! `application/x-www-form-urlencoded`, in a query or in a body (WHATWG URL section 5),
//! without anything that another server would read otherwise.

use super::{InputError, PARAMETERS_MAX, folded, missing};
use crate::catalogue::InputSpec;

/// The parameters of a query or form, decoded, in their order.
#[derive(Debug)]
pub(super) struct Form {
    parameters: Vec<(String, String)>,
}

impl Form {
    /// Reads all parameters; `place` is `query` or `form`.
    pub(super) fn read(place: &'static str, text: &str) -> Result<Self, InputError> {
        let wrong = |what: &'static str| InputError::NotAForm { place, what };
        if text.contains(';') {
            // Some servers part parameters there.
            return Err(wrong("it has a semicolon that is not percent-encoded"));
        }
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err(wrong("it has a control character"));
        }
        let mut parameters = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if parameters.len() == PARAMETERS_MAX {
                return Err(InputError::TooManyParameters { place });
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| decoded(text).map_err(wrong);
            parameters.push((decode(name)?, decode(value)?));
        }
        Ok(Self { parameters })
    }

    /// The one value of `name`.
    pub(super) fn one(&self, spec: &InputSpec, name: &str) -> Result<&str, InputError> {
        let near = near(name, name);
        let mut found = None;
        for (other, value) in &self.parameters {
            if other == name {
                if found.replace(value.as_str()).is_some() {
                    return Err(InputError::Repeated { name: spec.name.clone() });
                }
            } else if self::near(other, name) == near {
                return Err(InputError::OtherSpelling { name: spec.name.clone() });
            }
        }
        found.ok_or_else(|| missing(spec))
    }
}

/// What the most careless server makes of a parameter's name when it looks for
/// `wanted`: PHP cuts at a NUL and at a bracket, drops leading blanks and writes `_`
/// for a point and a blank; ASP.NET ignores case.
fn near(name: &str, wanted: &str) -> String {
    let name = name.split('\0').next().unwrap_or_default().trim();
    let name = if wanted.contains('[') { name } else { name.split('[').next().unwrap_or_default() };
    folded(name.trim()).replace(['.', ' '], "_")
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err("a percent sign is not followed by two hex digits");
                };
                u8::try_from(high * 16 + low).unwrap_or_default()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "a value is not UTF-8")
}
