//! OCSF 1.8.0: the classes and objects of its schema, reduced to those that are sent, without their descriptions
//! (github.com/ocsf/ocsf-schema, commit 3dcb905d, Apache-2.0).

use serde_json::Value;
use stepgate_monitor::{Body, Format, Personal};

use crate::GATE;
use crate::samples::{record, records};

fn schema() -> Value {
    serde_json::from_str(include_str!("data/ocsf-1.8.0.json")).unwrap()
}

/// What is wrong with a value of this class or object.
fn judge(schema: &Value, shape: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let Some(object) = value.as_object() else {
        wrong.push(format!("{at}: no object"));
        return;
    };
    let attributes = shape["attributes"].as_object().unwrap();
    for (name, attribute) in attributes {
        if attribute["requirement"] == "required" && !object.contains_key(name) {
            wrong.push(format!("{at}.{name}: is required"));
        }
    }
    if let Some(names) = shape["constraints"]["at_least_one"].as_array()
        && !names.iter().any(|name| object.contains_key(name.as_str().unwrap()))
    {
        wrong.push(format!("{at}: needs one of {names:?}"));
    }
    if let Some(names) = shape["constraints"]["just_one"].as_array() {
        let count = names.iter().filter(|name| object.contains_key(name.as_str().unwrap())).count();
        if count != 1 {
            wrong.push(format!("{at}: has {count} of {names:?}"));
        }
    }
    for (name, value) in object {
        let at = format!("{at}.{name}");
        match attributes.get(name) {
            None => wrong.push(format!("{at}: no such attribute")),
            Some(attribute) => {
                if attribute["deprecated"] == true {
                    wrong.push(format!("{at}: is deprecated"));
                }
                match (attribute["is_array"] == true, value) {
                    (true, Value::Array(values)) => {
                        for value in values {
                            judge_one(schema, attribute, value, &at, wrong);
                        }
                    }
                    (true, _) => wrong.push(format!("{at}: no array")),
                    (false, value) => judge_one(schema, attribute, value, &at, wrong),
                }
            }
        }
    }
}

fn judge_one(schema: &Value, attribute: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(object) = attribute["object"].as_str() {
        match (object, &schema["objects"][object]) {
            // Of any form.
            ("object", _) => {}
            (_, Value::Null) => wrong.push(format!("{at}: {object} is not in the reduced schema")),
            (_, shape) => judge(schema, shape, value, at, wrong),
        }
        return;
    }
    let name = attribute["type"].as_str().unwrap();
    let mut kind = &schema["types"][name];
    let mut base = name;
    loop {
        if let (Some(regex), Some(text)) = (kind["regex"].as_str(), value.as_str())
            && !regex::Regex::new(regex).is_ok_and(|regex| regex.is_match(text))
        {
            wrong.push(format!("{at}: {text:?} is no {name}"));
        }
        if let (Some(max), Some(text)) = (kind["max_len"].as_u64(), value.as_str())
            && u64::try_from(text.chars().count()).unwrap() > max
        {
            wrong.push(format!("{at}: longer than {max}"));
        }
        match kind["type"].as_str() {
            Some(next) => (base, kind) = (next, &schema["types"][next]),
            None => break,
        }
    }
    let fits = match base {
        "string_t" => value.is_string(),
        "integer_t" | "long_t" | "timestamp_t" | "port_t" => value.is_i64() || value.is_u64(),
        "float_t" => value.is_number(),
        "boolean_t" => value.is_boolean(),
        "json_t" => true,
        other => panic!("{at}: what is a {other}?"),
    };
    if !fits {
        wrong.push(format!("{at}: {value} is no {name}"));
    }
    if let Some(allowed) = attribute["enum"].as_array() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !allowed.iter().any(|one| *one == text) {
            wrong.push(format!("{at}: {text} is none of {allowed:?}"));
        }
    }
}

fn mistakes(value: &Value) -> Vec<String> {
    let schema = schema();
    let class = value["class_uid"].to_string();
    let shape = &schema["classes"][&class];
    let mut wrong = Vec::new();
    if shape.is_null() {
        return vec![format!("no class {class}")];
    }
    judge(&schema, shape, value, shape["name"].as_str().unwrap(), &mut wrong);
    if value["category_uid"] != shape["category_uid"] {
        wrong.push("category_uid: not the class's".to_owned());
    }
    if value["type_uid"].as_u64()
        != Some(value["class_uid"].as_u64().unwrap() * 100 + value["activity_id"].as_u64().unwrap())
    {
        wrong.push("type_uid: not class and activity".to_owned());
    }
    wrong
}

fn documents(event: &str) -> Vec<Value> {
    let json = |body| match body {
        Body::Json(value) => value,
        Body::Line(line) => panic!("{line}"),
    };
    Format::Ocsf
        .render(&record(event), GATE, stepgate_monitor::DOCUMENT_LEN_MAX)
        .unwrap()
        .into_iter()
        .map(|document| json(document.body))
        .collect()
}

#[test]
fn every_event_is_one_that_the_schema_takes() {
    for record in records() {
        for record in [record.clone(), record.telling(Personal::Withheld)] {
            for document in Format::Ocsf.render(&record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX).unwrap() {
                let Body::Json(value) = document.body else { panic!("JSON") };
                assert_eq!(mistakes(&value), Vec::<String>::new(), "{value:#}");
                assert_eq!(value["metadata"]["uid"], document.id);
            }
        }
    }
}

#[test]
fn the_schema_is_one_that_refuses() {
    let sample = &documents(r#"{"kind":"session.token_reused","session":"s","person":"p"}"#)[0];
    assert_eq!(mistakes(sample), Vec::<String>::new());
    let broken = |change: fn(&mut Value)| {
        let mut value = sample.clone();
        change(&mut value);
        mistakes(&value)
    };
    assert_eq!(
        broken(|value| drop(value.as_object_mut().unwrap().remove("user"))),
        ["authentication.user: is required"]
    );
    assert_eq!(
        broken(|value| value["status_id"] = 7.into()),
        [r#"authentication.status_id: 7 is none of [String("0"), String("1"), String("2"), String("99")]"#]
    );
    assert_eq!(broken(|value| value["time"] = "now".into()), [r#"authentication.time: "now" is no timestamp_t"#]);
    assert_eq!(broken(|value| value["mood"] = "good".into()), ["authentication.mood: no such attribute"]);
    assert_eq!(broken(|value| value["user"] = serde_json::json!({})).len(), 1);
    assert_eq!(broken(|value| value["type_uid"] = 1.into()), ["type_uid: not class and activity"]);
    assert_eq!(broken(|value| value["src_endpoint"]["ip"] = "not an address".into()).len(), 1);
}

/// The classes that a reader of OCSF would look in.
#[test]
fn each_kind_is_in_its_class() {
    let class = |kind: &str| {
        let record = records().into_iter().find(|record| record.event().unwrap()["kind"] == kind).unwrap();
        let documents = Format::Ocsf.render(&record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX).unwrap();
        let types: Vec<u64> = documents
            .iter()
            .map(|document| match &document.body {
                Body::Json(value) => value["type_uid"].as_u64().unwrap(),
                Body::Line(_) => 0,
            })
            .collect();
        types
    };
    for (kind, types) in [
        ("session.started", vec![300_201]),
        ("session.ended", vec![300_202]),
        ("attempt.failed", vec![300_201]),
        ("challenge.passed", vec![300_206, 300_301]),
        ("challenge.failed", vec![300_206]),
        ("challenge.opened", vec![600_399]),
        ("operation.sent", vec![600_399]),
        ("operation.refused", vec![600_399]),
        ("factor.enrolled", vec![300_406]),
        ("factor.removed", vec![300_407]),
        ("factor.locked", vec![300_412]),
        ("person.added", vec![300_401]),
        ("person.deactivated", vec![300_411]),
        ("policy.loaded", vec![300_403]),
        ("node.started", vec![600_203]),
        ("fault", vec![600_801]),
        ("assurance.dropped", vec![300_399]),
    ] {
        assert_eq!(class(kind), types, "{kind}");
    }
}

#[test]
fn what_the_gate_did_is_its_disposition() {
    let of = |kind: &str| {
        let record = records().into_iter().find(|record| record.event().unwrap()["kind"] == kind).unwrap();
        let Body::Json(value) =
            Format::Ocsf.render(&record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX).unwrap().remove(0).body
        else {
            panic!("JSON")
        };
        (value["disposition"].as_str().unwrap().to_owned(), value["action"].as_str().unwrap().to_owned())
    };
    let is = |disposition: &str, action: &str| (disposition.to_owned(), action.to_owned());
    assert_eq!(of("challenge.opened"), is("Delayed", "Modified"), "its request is held");
    assert_eq!(of("operation.sent"), is("Approved", "Allowed"));
    assert_eq!(of("operation.finished"), is("Allowed", "Allowed"));
    assert_eq!(of("operation.refused"), is("Blocked", "Denied"));
    assert_eq!(of("request.refused"), is("Rejected", "Denied"));
    assert_eq!(of("decision.erred"), is("Error", "Denied"));
}
