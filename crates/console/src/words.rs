//! Durations, moments and digests in the words that people read.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A moment as it stands in a page.
///
/// Without script it is read in UTC; the page's script shows it in the reader's
/// zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// RFC 3339, for the `datetime` attribute and for scripts.
    pub iso: String,
    text: String,
    /// Whether its day is always said.
    keeps_day: bool,
}

impl Moment {
    /// A moment with its day, for lists: `22 Nov 2026, 10:42 UTC`.
    #[must_use]
    pub fn with_day(at: Timestamp) -> Self {
        Self { keeps_day: true, ..Self::in_words(at, "%-d %b %Y, %H:%M UTC") }
    }

    /// A moment soon, where the day is plain: `10:42 UTC`.
    #[must_use]
    pub fn of_today(at: Timestamp) -> Self {
        Self::in_words(at, "%H:%M UTC")
    }

    /// The reading in UTC, without markup.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.text
    }

    fn in_words(at: Timestamp, format: &str) -> Self {
        let whole_seconds = Timestamp::from_second(at.as_second()).unwrap_or(at);
        Self {
            iso: whole_seconds.to_string(),
            text: whole_seconds.to_zoned(TimeZone::UTC).strftime(format).to_string(),
            keeps_day: false,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = if self.keeps_day { " data-day" } else { "" };
        write!(f, r#"<time datetime="{}"{day}>{}</time>"#, self.iso, self.text)
    }
}

// `iso` and `text` are made by the formatter of a timestamp alone: digits,
// letters of month names, and the signs `-:TZ, `. Nothing in them is markup.
impl askama::filters::HtmlSafe for Moment {}

/// A span of time in whole units, rounded down, so that no promise is too long:
/// `5 minutes`, `1 hour`, `40 seconds`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (count, unit) = match seconds {
        0..=119 if seconds != 60 => (seconds, "second"),
        60..=7199 if seconds != 3600 => (seconds / 60, "minute"),
        3600..=172_799 if seconds != 86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

/// How long until `then`: `in 5 minutes`, or `now past`.
#[must_use]
pub fn until(now: Timestamp, then: Timestamp) -> String {
    match Duration::try_from(then.duration_since(now)) {
        Ok(left) if !left.is_zero() => format!("in {}", span(left)),
        Ok(_) | Err(_) => "now past".to_owned(),
    }
}

/// A number of bytes: `no bytes`, `1 byte`, `48 bytes`, `12.3 KiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * 1024;
    match count {
        0 => "no bytes".to_owned(),
        1 => "1 byte".to_owned(),
        2..KIB => format!("{count} bytes"),
        KIB..MIB => in_tenths(count, KIB, "KiB"),
        _ => in_tenths(count, MIB, "MiB"),
    }
}

fn in_tenths(count: u64, unit: u64, name: &str) -> String {
    let tenths = count.saturating_mul(10) / unit;
    if tenths.is_multiple_of(10) {
        format!("{} {name}", tenths / 10)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

/// A digest or secret in groups of four or eight signs, so that it can be
/// compared by eye.
#[must_use]
pub fn in_groups(text: &str, size: usize) -> String {
    let mut grouped = String::with_capacity(text.len() + text.len() / size.max(1));
    for (index, sign) in text.chars().enumerate() {
        if index > 0 && size > 0 && index.is_multiple_of(size) {
            grouped.push(' ');
        }
        grouped.push(sign);
    }
    grouped
}

/// Bytes in lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Words with a capital letter, for the head of a sentence.
#[must_use]
pub fn at_the_head(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What is left before a lock: `1 try left.`, `7 tries left.`
#[must_use]
pub fn tries_left(count: u32) -> String {
    match count {
        0 => "No tries left.".to_owned(),
        1 => "1 try left.".to_owned(),
        _ => format!("{count} tries left."),
    }
}

/// Why a challenge failed, as the beginning of a sentence, from the reason in the evidence.
pub(crate) fn why_failed(reason: &str) -> &'static str {
    match reason {
        "too_many_tries" => "There were too many wrong answers",
        "other_person" => "Somebody else logged in at your company’s login",
        "lesser_class" => "Your company’s login did not prove as much as was asked",
        "old_login" => "Your company’s login let an old sign-in count, where a new one was asked for",
        "decision_changed" | "denied" => "The rules have changed",
        _ => "What came back from your company’s login could not be believed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_down_to_one_unit() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (61, "61 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (299, "4 minutes"),
            (300, "5 minutes"),
            (3600, "1 hour"),
            (3660, "61 minutes"),
            (7200, "2 hours"),
            (86_400, "1 day"),
            (90_000, "25 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn a_moment_past_is_said_to_be_past() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let later = Timestamp::from_second(1_000_300).unwrap();
        assert_eq!(until(now, later), "in 5 minutes");
        assert_eq!(until(later, now), "now past");
        assert_eq!(until(now, now), "now past");
    }

    #[test]
    fn a_moment_carries_both_forms() {
        let at = Timestamp::from_second(1_795_344_120).unwrap();
        assert_eq!(
            Moment::with_day(at).to_string(),
            r#"<time datetime="2026-11-22T10:42:00Z" data-day>22 Nov 2026, 10:42 UTC</time>"#
        );
        assert_eq!(
            Moment::of_today(at).to_string(),
            r#"<time datetime="2026-11-22T10:42:00Z">10:42 UTC</time>"#,
            "the script leaves the day out where it is today"
        );
    }

    #[test]
    fn bytes_are_counted_in_words() {
        for (count, words) in [
            (0, "no bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (12_600, "12.3 KiB"),
            (10 * 1024 * 1024, "10 MiB"),
        ] {
            assert_eq!(bytes(count), words);
        }
    }

    #[test]
    fn digests_are_grouped() {
        assert_eq!(in_groups("0123456789ab", 4), "0123 4567 89ab");
        assert_eq!(in_groups("", 4), "");
    }
}
