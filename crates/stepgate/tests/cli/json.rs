//! What programs read of commands: one JSON document.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{check, stepgate, text};

/// What the command prints on standard output: one JSON document and nothing beside it.
#[track_caller]
fn told(arguments: &[&str], here: &std::path::Path) -> Value {
    let output = stepgate(&[arguments, &["--json"]].concat(), here);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {said}{}", text(&output.stderr));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

#[test]
fn whatever_changes_something_says_what_in_json() {
    let directory = TempDir::new().unwrap();
    let here = directory.path();
    let made = told(&["init", "--dir", "."], here);
    assert_eq!(made["login"], "admin");
    assert!(made["url"].as_str().unwrap().contains("/enrol/") && made["key"].is_string(), "{made}");
    assert_eq!(told(&["migrate"], here), json!({ "migrated": true }));

    let changed = told(&["user", "change", "admin", "--name", "Ada", "--email", "ada@example.com"], here);
    assert_eq!((&changed["name"], &changed["email"]), (&json!("Ada"), &json!("ada@example.com")));
    assert_eq!(changed["person"], made["person"]);
    let of = |more: Value| {
        let mut value = json!({ "person": made["person"], "login": "admin" });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    assert_eq!(told(&["user", "unlock", "admin", "password"], here), of(json!({ "unlocked": "password" })));
    assert_eq!(told(&["user", "deactivate", "admin"], here), of(json!({ "active": false })));
    assert_eq!(told(&["user", "activate", "admin"], here), of(json!({ "active": true })));
    let governed = told(&["user", "govern", "admin", "--by", "provisioning"], here);
    assert_eq!(governed, of(json!({ "governed_by": "provisioning" })));

    let exported = told(&["audit", "export", "--out", "evidence"], here);
    let entries = exported["entries"].as_u64().unwrap();
    assert_eq!((entries > 5, &exported["out"], &exported["key"]), (true, &json!("evidence"), &made["key"]));
    let proof = told(&["audit", "proof", "evidence", "1"], here);
    assert!(proof["proof"].as_str().unwrap().contains("c2sp.org/tlog-proof"), "{proof}");
    assert_eq!(told(&["audit", "proof", "evidence", "1", "--out", "p"], here), json!({ "index": 1, "out": "p" }));
    let key = made["key"].as_str().unwrap();
    let checked = told(&["audit", "proof", "evidence", "1", "--check", "p", "--key", key], here);
    assert_eq!((&checked["proved"], &checked["size"]), (&json!(true), &exported["entries"]));
    let other = stepgate(&["audit", "proof", "evidence", "2", "--check", "p", "--key", key, "--json"], here);
    let refused: Value = serde_json::from_str(&text(&other.stdout)).unwrap();
    assert_eq!((other.status.code(), &refused["proved"]), (Some(3), &json!(false)));

    assert_eq!(told(&["user", "remove", "admin"], here), of(json!({ "removed": true })));
    assert!(!check(&["user", "list"], here, 0).contains("admin"));
}
