//! What a fuzzer throws at the readers.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::catalogue::{
    ActionName, Admits, CrossSite, Effect, Endpoint, InputKind, InputSource, InputSpec, PathTemplate, Title,
};
use crate::operation::{InputValue, Inputs};

/// Reads these bytes as JSON, as a form and as a query, and holds what comes out
/// against what must be true of it.
///
/// # Panics
///
/// When what was read is not what was declared, or a JSON document is accepted that
/// an ordinary reader refuses or reads differently: that is what the fuzzer looks for.
pub fn fuzz(bytes: &[u8]) {
    static ENDPOINTS: OnceLock<[Endpoint; 3]> = OnceLock::new();
    let endpoints = ENDPOINTS.get_or_init(|| {
        let json = |pointer: &str| InputSource::Json(pointer.to_owned());
        [
            endpoint([json("/n"), json("/s"), json("/o/b"), json("/a/0")]),
            endpoint(["n", "s", "b", "d"].map(|name| InputSource::Form(name.to_owned()))),
            endpoint(["n", "s", "b", "d"].map(|name| InputSource::Query(name.to_owned()))),
        ]
    });
    let types = ["application/json", "application/x-www-form-urlencoded", "text/plain"];
    for (endpoint, content_type) in endpoints.iter().zip(types) {
        let query = std::str::from_utf8(bytes).ok();
        let Ok(inputs) = super::read(endpoint, &BTreeMap::new(), query, Some(content_type), Some(bytes)) else {
            continue;
        };
        assert_eq!(inputs.len(), endpoint.inputs.len(), "every declared input is there");
        if content_type == "application/json" {
            agrees_with_an_ordinary_reader(bytes, &inputs);
        }
    }
}

fn agrees_with_an_ordinary_reader(bytes: &[u8], inputs: &Inputs) {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    assert!(is_json, "an ordinary reader refuses what was accepted");
    // A number elsewhere may be too large for it.
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    for (name, pointer) in [("n", "/n"), ("s", "/s"), ("b", "/o/b")] {
        let same = match (inputs.get(name), document.pointer(pointer)) {
            (Some(InputValue::Long(ours)), Some(theirs)) => theirs.as_i64() == Some(*ours),
            (Some(InputValue::String(ours)), Some(theirs)) => theirs.as_str() == Some(ours),
            (Some(InputValue::Bool(ours)), Some(theirs)) => theirs.as_bool() == Some(*ours),
            _ => false,
        };
        assert!(same, "an ordinary reader reads {name} differently");
    }
}

fn endpoint(sources: [InputSource; 4]) -> Endpoint {
    let kinds = [InputKind::Long, InputKind::String, InputKind::Bool, InputKind::Decimal];
    let specs = ["n", "s", "b", "d"].into_iter().zip(sources).zip(kinds);
    let inputs = specs.map(|((name, source), kind)| InputSpec { name: name.to_owned(), source, kind }).collect();
    Endpoint {
        resource: String::new(),
        action: action(),
        effect: Effect::Write,
        kind: String::new(),
        sensitivity: String::new(),
        title: Title::new(""),
        methods: Vec::new(),
        path: PathTemplate::any(),
        inputs,
        effect_headers: Vec::new(),
        admits: Admits::SignedIn,
        cross_site: CrossSite::Refuse,
        scopes: Vec::new(),
    }
}

#[expect(clippy::expect_used, reason = "the name is written here and is one")]
fn action() -> ActionName {
    ActionName::parse("fuzz").expect("a name")
}
