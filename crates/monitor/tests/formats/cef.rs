//! Common Event Format, read as a receiver reads it.

use std::collections::BTreeMap;

use stepgate_monitor::{Body, Format};

use crate::GATE;
use crate::samples::{record, records};

/// The seven fields of the header, and the extension.
pub(crate) fn read(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let rest = line.strip_prefix("CEF:").expect("begins with CEF:");
    let (mut header, mut field, mut chars) = (Vec::new(), String::new(), rest.chars());
    while header.len() < 7 {
        match chars.next().expect("seven fields") {
            '\\' => field.push(chars.next().expect("an escaped sign")),
            '|' => header.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    let text = chars.as_str();
    let mut starts: Vec<(usize, usize, String)> = Vec::new();
    let keys = regex::Regex::new(r"(?:^| )([A-Za-z0-9]+)=").unwrap();
    for found in keys.captures_iter(text) {
        let whole = found.get(0).unwrap();
        starts.push((whole.start(), whole.end(), found[1].to_owned()));
    }
    let mut extension = BTreeMap::new();
    for (number, (_, begin, key)) in starts.iter().enumerate() {
        let end = starts.get(number + 1).map_or(text.len(), |next| next.0);
        let value = text[*begin..end].replace("\\=", "=").replace("\\n", "\n").replace("\\\\", "\\");
        assert!(extension.insert(key.clone(), value).is_none(), "{key} stands twice: {line}");
    }
    (header, extension)
}

#[test]
fn every_event_is_a_line_that_a_receiver_reads_back() {
    for record in records() {
        let Body::Line(line) =
            Format::Cef.render(&record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX).unwrap().remove(0).body
        else {
            panic!("a line")
        };
        let (header, extension) = read(&line);
        let kind = record.event().unwrap()["kind"].as_str().unwrap().to_owned();
        assert_eq!(header[..3], ["0", "Stepgate", "Stepgate"]);
        assert_eq!(header[4], kind);
        assert_eq!(header[5], record.recorded.entry.sentence());
        assert!(header[6].parse::<u8>().unwrap() <= 10);
        assert_eq!(extension["externalId"], record.recorded.entry.id);
        assert_eq!(extension["rt"], "1787392800123");
        assert_eq!(extension["src"], "192.0.2.7");
        assert_eq!(extension["cn1"], "41");
        assert!(!line.contains('\n'));
    }
}

/// A value cannot end a field, a header or a line.
#[test]
fn what_somebody_typed_makes_no_field_of_its_own() {
    let event = r#"{"kind":"sink.refused","sink":"a|b\\|c","index":"1","reason":"x|0|\ny=z suser=root\\ act=allow |"}"#;
    let record = record(event);
    let Body::Line(line) =
        Format::Cef.render(&record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX).unwrap().remove(0).body
    else {
        panic!("a line")
    };
    let (header, extension) = read(&line);
    assert_eq!(header.len(), 7);
    assert_eq!(extension["suser"], "alice");
    assert!(!extension.contains_key("act"), "{line}");
    assert!(extension["reason"].starts_with("x|0|\ny=z suser=root"), "{line}");
}
