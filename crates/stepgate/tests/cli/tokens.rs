//! Hardware tokens at the command line, and the report of who has what.

use std::io::Write as _;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{check, stepgate, text};

const SEED: &str = "3132333435363738393031323334353637383930";

/// Errors are wrapped for a terminal: as one line.
fn flat(said: &str) -> String {
    said.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn tokens_are_imported_handed_out_and_revoked() {
    let directory = TempDir::new().unwrap();
    let here = directory.path();
    check(&["init", "--dir", "."], here, 0);
    std::fs::write(here.join("tokens.csv"), format!("serial,kind,seed_hex\nA-1,hotp,{SEED}\nA-2,totp,{SEED}\n"))
        .unwrap();
    let refused = flat(&check(&["tokens", "import", "tokens.csv"], here, 2));
    assert!(refused.contains("[hardware_codes]"), "{refused}");

    let mut file = std::fs::OpenOptions::new().append(true).open(here.join("stepgate.toml")).unwrap();
    file.write_all(b"\n[hardware_codes]\n").unwrap();
    let imported = check(&["tokens", "import", "tokens.csv"], here, 0);
    assert!(imported.contains("Imported 2 tokens") && !imported.contains(SEED), "{imported}");
    let again = flat(&check(&["tokens", "import", "tokens.csv"], here, 1));
    assert!(again.contains("\"A-1\" is there already"), "{again}");
    std::fs::write(here.join("bad.csv"), "serial,kind,seed_hex\nA-3,hotp,00\n").unwrap();
    let bad = flat(&check(&["tokens", "import", "bad.csv"], here, 2));
    assert!(bad.contains("bad.csv: line 2: the seed of A-3 has 8 bits"), "{bad}");

    check(&["tokens", "assign", "A-1", "admin"], here, 0);
    check(&["tokens", "assign", "A-1", "admin"], here, 1);
    let state = |serial: &str| {
        let listed = stepgate(&["tokens", "list", "--json"], here);
        let listed: Value = serde_json::from_str(&text(&listed.stdout)).unwrap();
        let found = listed.as_array().unwrap().iter().find(|one| one["serial"] == serial).unwrap().clone();
        (found["state"].clone(), found["login"].clone())
    };
    assert_eq!(state("A-1"), (json!("assigned"), json!("admin")));
    check(&["tokens", "unassign", "A-1"], here, 0);
    assert_eq!(state("A-1"), (json!("free"), Value::Null));
    check(&["tokens", "revoke", "A-1"], here, 0);
    assert_eq!(state("A-1"), (json!("revoked"), Value::Null));
    check(&["tokens", "assign", "A-1", "admin"], here, 1);
    assert_eq!(state("A-2"), (json!("free"), Value::Null));
}

#[test]
fn who_has_what_is_told_as_text_json_and_csv() {
    let directory = TempDir::new().unwrap();
    let here = directory.path();
    check(&["init", "--dir", "."], here, 0);
    let told = check(&["user", "factors"], here, 0);
    assert!(told.contains("admin") && told.contains("nothing enrolled"), "{told}");
    let told = stepgate(&["user", "factors", "--json"], here);
    let told: Value = serde_json::from_str(&text(&told.stdout)).unwrap();
    assert_eq!((&told[0]["login"], &told[0]["kind"], &told[0]["active"]), (&json!("admin"), &json!(""), &json!("yes")));
    let told = text(&stepgate(&["user", "factors", "--csv"], here).stdout);
    let header = "login,kind,name,enrolled_at,last_used_at,last_used_from,token,active\r\n";
    assert_eq!(told, format!("{header}admin,,,,,,,yes\r\n"));
}
