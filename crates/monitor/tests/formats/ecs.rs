//! Elastic Common Schema 9.4.0: the fields of the sets that are used (github.com/elastic/ecs, tag v9.4.0,
//! generated/ecs/ecs_flat.yml, Apache-2.0).

use serde_json::Value;
use stepgate_monitor::{Body, Format, Personal};

use crate::GATE;
use crate::samples::records;

fn schema() -> Value {
    serde_json::from_str(include_str!("data/ecs-9.4.0.json")).unwrap()
}

/// Each leaf by its dotted name.
fn leaves<'v>(value: &'v Value, name: &str, all: &mut Vec<(String, &'v Value)>) {
    match value.as_object() {
        Some(object) => {
            for (key, value) in object {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                leaves(value, &name, all);
            }
        }
        None => all.push((name.to_owned(), value)),
    }
}

fn mistakes(document: &Value) -> Vec<String> {
    let schema = schema();
    let mut all = Vec::new();
    leaves(document, "", &mut all);
    let mut wrong = Vec::new();
    for (name, value) in all {
        if name.starts_with("stepgate.") {
            continue;
        }
        let field = &schema["fields"][&name];
        if field.is_null() {
            wrong.push(format!("{name}: no such field"));
            continue;
        }
        let values: Vec<&Value> = match (field["array"] == true, value) {
            (true, Value::Array(values)) => values.iter().collect(),
            (false, Value::Array(_)) | (true, _) => {
                wrong.push(format!("{name}: one or many"));
                continue;
            }
            (false, value) => vec![value],
        };
        for value in values {
            let fits = match field["type"].as_str().unwrap() {
                "keyword" | "match_only_text" | "wildcard" => value.is_string(),
                "date" => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
                "ip" => value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
                "long" => value.is_i64() || value.is_u64(),
                other => panic!("{name}: what is a {other}?"),
            };
            if !fits {
                wrong.push(format!("{name}: {value} is no {}", field["type"]));
            }
            if let Some(allowed) = field["allowed"].as_array()
                && !allowed.contains(value)
            {
                wrong.push(format!("{name}: {value} is none of {allowed:?}"));
            }
        }
    }
    for kind in document["event"]["type"].as_array().unwrap() {
        let categories = document["event"]["category"].as_array().unwrap();
        let expects =
            |category: &Value| schema["expected_types"][category.as_str().unwrap()].as_array().unwrap().contains(kind);
        if !categories.iter().any(expects) {
            wrong.push(format!("event.type: {kind} is not expected of {categories:?}"));
        }
    }
    wrong
}

#[test]
fn every_event_has_fields_of_the_schema_alone() {
    for record in records() {
        for record in [record.clone(), record.telling(Personal::Withheld)] {
            for document in Format::Ecs.render(&record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX).unwrap() {
                let Body::Json(value) = document.body else { panic!("JSON") };
                assert_eq!(mistakes(&value), Vec::<String>::new(), "{value:#}");
                assert_eq!(value["event"]["id"], document.id);
            }
        }
    }
}

#[test]
fn the_schema_is_one_that_refuses() {
    let record = records().remove(0);
    let Body::Json(mut value) =
        Format::Ecs.render(&record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX).unwrap().remove(0).body
    else {
        panic!("JSON")
    };
    value["event"]["type"] = serde_json::json!(["denied"]);
    value["event"]["mood"] = "good".into();
    value["source"]["ip"] = "here".into();
    assert_eq!(mistakes(&value).len(), 3);
}

/// An index gives each field the type in which it came first.
#[test]
fn no_field_has_two_types() {
    let mut types: std::collections::BTreeMap<String, &'static str> = std::collections::BTreeMap::new();
    for record in records() {
        for document in Format::Ecs.render(&record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX).unwrap() {
            let Body::Json(value) = document.body else { panic!("JSON") };
            let mut all = Vec::new();
            leaves(&value, "", &mut all);
            for (name, value) in all {
                let kind = match value {
                    Value::Array(values) if values.iter().all(Value::is_string) => "text",
                    Value::String(_) => "text",
                    Value::Number(_) => "number",
                    other => panic!("{name}: {other}"),
                };
                assert_eq!(*types.entry(name.clone()).or_insert(kind), kind, "{name}");
            }
        }
    }
}
