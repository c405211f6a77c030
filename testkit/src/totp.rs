//! An authenticator app (RFC 6238): six digits, thirty seconds, HMAC-SHA-1.

use aws_lc_rs::hmac;
use stepgate_core::time::Timestamp;

/// How long one code is shown.
const STEP_S: i64 = 30;

/// The code that an app with this secret (base32, as under the QR code) shows at a moment.
///
/// # Panics
///
/// When the secret is not base32.
pub fn code_at(secret: &str, moment: Timestamp) -> String {
    let step = u64::try_from(moment.as_ms() / 1000 / STEP_S).expect("after 1970");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &base32(secret));
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    // RFC 4226, section 5.3.
    let offset = usize::from(tag[tag.len() - 1] & 0x0f);
    let number = u32::from_be_bytes(tag[offset..offset + 4].try_into().expect("four bytes")) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// RFC 4648, section 6; spaces and padding are ignored.
fn base32(text: &str) -> Vec<u8> {
    let (mut bits, mut length, mut bytes) = (0_u32, 0, Vec::new());
    for sign in text.chars().filter(|sign| !sign.is_whitespace() && *sign != '=') {
        let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(sign.to_ascii_uppercase());
        let value = value.unwrap_or_else(|| panic!("{sign} is not base32: {text}"));
        bits = (bits << 5) | u32::try_from(value).expect("below 32");
        length += 5;
        if length >= 8 {
            length -= 8;
            bytes.push(u8::try_from((bits >> length) & 0xff).expect("a byte"));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the last six of its eight digits, for its SHA-1 secret.
    #[test]
    fn the_codes_of_rfc_6238() {
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(secret, Timestamp::from_ms(seconds * 1000)), code, "at {seconds}");
        }
    }
}
