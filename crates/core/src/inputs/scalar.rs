//! One value of an input, as it was written, and what it is as a declared type.

use std::borrow::Cow;

use crate::catalogue::InputKind;
use crate::operation::InputValue;

/// Longest text of an input, in bytes: it stands in the statement that a person confirms.
pub const STRING_LEN_MAX: usize = 4096;

/// Units of a decimal in one.
const DECIMAL_ONE: i64 = 10_000;
/// Most digits after the point of a decimal.
const DECIMAL_DIGITS: usize = 4;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar<'t> {
    /// Text of path, query or form: it says nothing of its type.
    Text(Cow<'t, str>),
    /// A JSON string.
    JsonText(Cow<'t, str>),
    /// A JSON number, as it was written.
    JsonNumber(&'t str),
    /// A JSON `true` or `false`.
    JsonBool(bool),
    /// JSON `null`, an array or an object.
    JsonOther,
}

/// What is expected of a kind, in words.
pub(super) const fn expected(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Long => "an integer between -2^63 and 2^63-1 without leading zeros, point or exponent",
        InputKind::String => "text",
        InputKind::Bool => "true or false",
        InputKind::Decimal => "a decimal number with at most four digits after the point and no exponent",
    }
}

impl Scalar<'_> {
    /// The value as this kind; `None` if it is not written as one.
    pub(super) fn typed(&self, kind: InputKind) -> Option<InputValue> {
        match (kind, self) {
            (InputKind::Long, Self::Text(text)) => long(text).map(InputValue::Long),
            (InputKind::Long, Self::JsonNumber(text)) => long(text).map(InputValue::Long),
            (InputKind::String, Self::Text(text) | Self::JsonText(text)) => {
                Some(InputValue::String(text.as_ref().to_owned()))
            }
            (InputKind::Bool, Self::JsonBool(value)) => Some(InputValue::Bool(*value)),
            (InputKind::Bool, Self::Text(text)) => match text.as_ref() {
                "true" => Some(InputValue::Bool(true)),
                "false" => Some(InputValue::Bool(false)),
                _ => None,
            },
            (InputKind::Decimal, Self::Text(text) | Self::JsonText(text)) => decimal(text).map(InputValue::Decimal),
            (InputKind::Decimal, Self::JsonNumber(text)) => decimal(text).map(InputValue::Decimal),
            _ => None,
        }
    }
}

/// Sign and digits of a whole number in its one spelling: no plus, no leading zero.
fn whole(text: &str) -> Option<&str> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leads = digits.len() > 1 && digits.starts_with('0');
    (!digits.is_empty() && !leads && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

fn long(text: &str) -> Option<i64> {
    if whole(text)? == "0" && text != "0" {
        return None;
    }
    text.parse().ok()
}

/// In units of 1/10,000, computed from the digits: a binary fraction never comes near it.
fn decimal(text: &str) -> Option<i64> {
    let (front, back) = match text.split_once('.') {
        Some((front, back)) => (front, back),
        None => (text, "0"),
    };
    let digits = whole(front)?;
    if back.is_empty() || back.len() > DECIMAL_DIGITS || !back.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // The sign goes into each part, so that the smallest value can be reached.
    let sign: i64 = if front.starts_with('-') { -1 } else { 1 };
    let ones: i64 = if sign < 0 { format!("-{digits}").parse().ok()? } else { digits.parse().ok()? };
    let part: i64 = format!("{back:0<DECIMAL_DIGITS$}").parse().ok()?;
    let value = ones.checked_mul(DECIMAL_ONE)?.checked_add(sign * part)?;
    // "-0" is no other number than "0", so it has one spelling here.
    (value != 0 || sign > 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        for (text, expected) in [
            ("0", Some(0)),
            ("42", Some(42)),
            ("-42", Some(-42)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("-0", None),
            ("007", None),
            ("+1", None),
            ("1e3", None),
            ("12.0", None),
            ("1_000", None),
            ("0x10", None),
            (" 1", None),
            ("1 ", None),
            ("", None),
            ("-", None),
            ("١", None),
        ] {
            assert_eq!(long(text), expected, "{text:?}");
        }
    }

    #[test]
    fn decimals_are_read_from_their_digits() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0.0000", Some(0)),
            ("12.34", Some(123_400)),
            ("12.3456", Some(123_456)),
            ("-12.3456", Some(-123_456)),
            ("-0.5", Some(-5_000)),
            ("0.1", Some(1_000)),
            ("922337203685477.5807", Some(i64::MAX)),
            ("-922337203685477.5808", Some(i64::MIN)),
            ("922337203685477.5808", None),
            ("-922337203685477.5809", None),
            ("9223372036854775807", None),
            ("12.34567", None),
            ("12.340000000000000001", None),
            ("1.", None),
            (".5", None),
            ("-.5", None),
            ("1.-5", None),
            ("1.+5", None),
            ("00.5", None),
            ("-0", None),
            ("-0.00", None),
            ("1e3", None),
            ("1,5", None),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(decimal(text), expected, "{text:?}");
        }
    }
}
