//! Hardware tokens that show one-time codes.

use super::{Key, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "[hardware_codes]",
        "look_ahead",
        "number",
        "10",
        "So many codes of a token that counts are accepted from the next one on, at most 20: it may have been pressed without the code being used (RFC 4226, section 7.2). The table `[hardware_codes]` alone, empty, lets hardware tokens be imported and used; without it there are none.",
    ),
    key(
        "[hardware_codes]",
        "resync_window",
        "number",
        "100",
        "Two codes typed one after the other bring back a token that is further ahead, by so many codes; 10 to 1,000 (RFC 4226, section 7.4).",
    ),
];
