use super::*;

const GOOD: &str = r#"
[gate]
origin = "http://localhost:4180"
listen = "127.0.0.1:4180"
master_key_file = "keys/master.key"

[[service]]
name = "ledger"
origin = "http://ledger.localhost:4180"
upstream = "http://127.0.0.1:9001"

[[service.operation]]
on = "POST /payments/{id}/approve"
action = "payments.approve"
title = "Approve payment {id} of {amount}"
inputs = { id = "path id as string", amount = "form amount as long" }
"#;

fn mistakes(text: &str) -> String {
    match parse(text, "stepgate.toml", PathBuf::from("/etc/stepgate")) {
        Ok(_) => String::new(),
        Err(error) => error.lines().join("\n"),
    }
}

fn check(from: &str, to: &str, expected: &str) {
    assert!(GOOD.contains(from), "{from}");
    let found = mistakes(&GOOD.replacen(from, to, 1));
    assert!(found.contains(expected), "{to}: expected {expected:?}, found {found:?}");
}

#[test]
fn a_good_configuration_is_read() {
    let settings = parse(GOOD, "stepgate.toml", PathBuf::from("/etc/stepgate")).unwrap();
    assert_eq!(settings.store, "sqlite:/etc/stepgate/stepgate.db");
    assert_eq!(settings.master_key, MasterKey::File("/etc/stepgate/keys/master.key".into()));
    assert_eq!(settings.transport, Transport::Plain);
    let ledger = settings.catalogue.by_name("ledger").unwrap();
    assert_eq!(ledger.endpoints[0].resource, "ledger POST /payments/{id}/approve");
    assert!(settings.catalogue.by_name("stepgate").is_some());
    assert_eq!(ledger.read.action.as_str(), "read");
    assert_eq!(ledger.write.action.as_str(), "write");
}

#[test]
fn each_mistake_is_told_with_what_to_do() {
    check("listen", "listne", "did you mean `listen`?");
    check("listen = \"127.0.0.1:4180\"", "listen = \"0.0.0.0:4180\"", "plain HTTP is spoken on loopback only");
    check("\"http://localhost:4180\"", "\"https://gate.example\"", "an https origin needs [gate.tls]");
    check("\"http://localhost:4180\"", "\"http://gate.example\"", "http is for localhost names only");
    check("\"http://localhost:4180\"", "\"http://localhost:4180/x\"", "only scheme, host and port");
    check("ledger.localhost", "localhost", "is taken by the gate");
    check("http://127.0.0.1:9001", "http://10.0.0.1:9001", "http goes to loopback only");
    check("http://127.0.0.1:9001", "ftp://127.0.0.1", "ftp is not spoken");
    check("name = \"ledger\"", "name = \"stepgate\"", "the gate's own");
    check("name = \"ledger\"", "name = \"Ledger\"", "must be a name");
    check("POST /payments", "post /payments", "in capitals");
    check("{id}/approve\"\naction", "{id/approve\"\naction", "placeholder");
    check("path id as", "path ident as", "the path has no {ident}");
    check("as long", "as money", "an input is like");
    check("form amount", "json amount", "a JSON pointer starts with /");
    check("of {amount}", "of {sum}", "the title names {sum}");
    check("payments.approve", "read", "read and write are the actions");
    check("master_key_file = \"keys/master.key\"\n", "", "needs `master_key_file` or `master_key_env`");
    check("[gate]\n", "[gate]\nstore = \"mysql://x\"\n", "the store must be");
    check("[gate]\n", "[sessions]\nidle = \"1 hour\"\n[gate]\n", "a duration like");
    check("[gate]\n", "[[network]]\nname = \"x\"\nranges = [\"10.0.0/8\"]\n[gate]\n", "is no network");
}

#[test]
fn all_mistakes_are_told_at_once_with_line_and_column() {
    let broken = GOOD.replace("listen", "listne").replace("upstream", "upsteam").replace("as long", "as money");
    let found = mistakes(&broken);
    assert!(found.contains("4:1: [gate] has no key `listne`"), "{found}");
    assert!(found.contains("10:1: [[service]] has no key `upsteam`"), "{found}");
    assert!(found.contains("an input is like"), "{found}");
}

#[test]
fn twins_and_conflicts_are_found() {
    let twin = format!(
        "{GOOD}\n[[service.operation]]\non = \"POST /payments/{{x}}/approve\"\naction = \"a.b\"\ntitle = \"t\"\n"
    );
    assert!(mistakes(&twin).contains("matches the same requests"), "{}", mistakes(&twin));
    let conflict =
        format!("{GOOD}\n[[service.operation]]\non = \"POST /other\"\naction = \"payments.approve\"\ntitle = \"t\"\n");
    assert!(mistakes(&conflict).contains("one action has the same inputs everywhere"));
}

#[test]
fn broken_toml_is_told_with_its_place() {
    let found = mistakes("[gate\norigin = 1");
    assert!(found.starts_with("1:"), "{found}");
}
