//! Canonical JSON (RFC 8785), and a reader that refuses what can be read two ways.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The largest integer that every JSON reader keeps exactly: 2^53 - 1 (RFC 8785, section 6).
pub const LARGEST_INTEGER: u64 = (1 << 53) - 1;

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 64;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum NotCanonical {
    /// Canonical JSON rounds integers beyond 2^53 - 1: two amounts could have one form.
    #[error("the integer {0} is beyond 2^53-1 and must be written as a string")]
    IntegerTooLarge(Number),
    /// A number that is infinite or not a number at all.
    #[error("the number {0} is not finite")]
    NotFinite(Number),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The canonicaliser refused it.
    #[error("cannot be written as canonical JSON")]
    Unwritable(#[source] serde_json::Error),
}

/// The canonical bytes of a value (RFC 8785).
///
/// # Errors
///
/// [`NotCanonical`] for integers beyond 2^53 - 1, numbers that are not finite, and values nested
/// too deep.
pub fn canonical(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut bytes = Vec::with_capacity(512);
    write(&mut bytes, value, 0)?;
    Ok(bytes)
}

/// Several times faster than the canonicaliser that it is tested against, which a verifier of
/// millions of entries notices. Numbers, the hard part, are left to that.
fn write(bytes: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), NotCanonical> {
    if depth > MAX_DEPTH {
        return Err(NotCanonical::TooDeep);
    }
    match value {
        Value::Number(number) => {
            refuse_inexact(number)?;
            serde_json_canonicalizer::to_writer(number, bytes).map_err(NotCanonical::Unwritable)
        }
        // Both write these as RFC 8785, sections 3.2.2.1 and 3.2.2.2, say.
        Value::Null | Value::Bool(_) | Value::String(_) => {
            serde_json::to_writer(bytes, value).map_err(NotCanonical::Unwritable)
        }
        Value::Array(values) => {
            bytes.push(b'[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    bytes.push(b',');
                }
                write(bytes, value, depth + 1)?;
            }
            bytes.push(b']');
            Ok(())
        }
        Value::Object(members) => {
            bytes.push(b'{');
            for (position, (name, value)) in in_canonical_order(members).into_iter().enumerate() {
                if position > 0 {
                    bytes.push(b',');
                }
                serde_json::to_writer(&mut *bytes, name).map_err(NotCanonical::Unwritable)?;
                bytes.push(b':');
                write(bytes, value, depth + 1)?;
            }
            bytes.push(b'}');
            Ok(())
        }
    }
}

/// By the UTF-16 units of the names (RFC 8785, section 3.2.3).
fn in_canonical_order(members: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by(|(left, _), (right, _)| {
        if left.is_ascii() && right.is_ascii() {
            left.cmp(right)
        } else {
            left.encode_utf16().cmp(right.encode_utf16())
        }
    });
    sorted
}

fn refuse_inexact(number: &Number) -> Result<(), NotCanonical> {
    let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    match magnitude {
        Some(magnitude) if magnitude > LARGEST_INTEGER => Err(NotCanonical::IntegerTooLarge(number.clone())),
        Some(_) => Ok(()),
        None if number.as_f64().is_some_and(f64::is_finite) => Ok(()),
        None => Err(NotCanonical::NotFinite(number.clone())),
    }
}

/// Reads JSON that has one reading only.
///
/// # Errors
///
/// The reason, if it is not JSON, has a member twice in one object, or holds an integer that a
/// reader could round.
pub fn parse_strict(json: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Strict>(json).map(|strict| strict.0)
}

/// A JSON value without doubled members and without integers beyond 2^53 - 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        exact(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        exact(value.into())
    }

    /// An integer too large for 64 bits arrives here, already rounded.
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact in a double")]
        let largest = LARGEST_INTEGER as f64;
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number is not finite"))?;
        if value.fract() == 0.0 && value.abs() > largest {
            return Err(E::custom(NotCanonical::IntegerTooLarge(number)));
        }
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = elements.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("the member {name:?} stands twice")));
            }
            let Strict(value) = members.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

fn exact<E: serde::de::Error>(number: Number) -> Result<Value, E> {
    refuse_inexact(&number).map_err(E::custom)?;
    Ok(Value::Number(number))
}

#[cfg(test)]
#[path = "jcs_tests.rs"]
mod tests;
