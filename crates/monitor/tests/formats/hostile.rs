//! What somebody may have typed, in every format.

use proptest::prelude::*;
use serde_json::Value;
use stepgate_monitor::{Body, Format};

use crate::cef::read;
use crate::samples::record;
use crate::{GATE, lines};

/// Texts that a terminal, a reader of lines or a parser would obey.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        Just("\u{1b}[2J\u{1b}]0;owned\u{7}".to_owned()),
        Just("\u{9b}31m".to_owned()),
        Just("\r\n<86>1 2026-01-01T00:00:00Z forged stepgate - - - ".to_owned()),
        Just("\u{2028}\u{2029}\u{85}\u{feff}\u{202e}txt.exe".to_owned()),
        Just("|act=allow \\|\\=\\".to_owned()),
        Just("\"},{\"kind\":\"forged\"".to_owned()),
        Just("\0".to_owned()),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is in an entry, a document is one line, and has nothing that is obeyed.
    #[test]
    fn no_text_ends_a_line_or_speaks_to_a_terminal(reason in nasty(), agent in nasty(), login in nasty()) {
        let event = serde_json::json!({ "kind": "sink.refused", "sink": reason, "index": "1", "reason": reason });
        let mut record = record(&event.to_string());
        record.login = Some(login);
        record.recorded.entry.details.as_mut().unwrap().body["surroundings"]["agent"] = agent.into();
        for format in Format::ALL {
            for document in format.render(&record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX).unwrap() {
                let line = document.body.line();
                prop_assert!(!line.chars().any(|c| c.is_control()), "{format:?}: {line:?}");
                prop_assert!(!line.contains(['\u{2028}', '\u{2029}', '\u{202e}', '\u{feff}']), "{format:?}: {line:?}");
                match &document.body {
                    Body::Json(value) => {
                        let again: Value = serde_json::from_str(&line).unwrap();
                        prop_assert_eq!(&again, value);
                    }
                    Body::Line(line) => {
                        let (header, extension) = read(line);
                        prop_assert_eq!(header.len(), 7);
                        prop_assert_eq!(&extension["externalId"], "00112233445566778899aabbccddeeff");
                    }
                }
            }
        }
    }
}

#[test]
fn a_text_of_a_megabyte_is_cut() {
    let event = serde_json::json!({ "kind": "fault", "node": "n", "what": "x".repeat(1_000_000) });
    for format in Format::ALL {
        let line = lines(format, &record(&event.to_string()));
        assert!(line.len() < 64 * 1024, "{format:?}: {}", line.len());
    }
}
