//! Access tokens, seen offline: what a service takes, and what a program would be answered.

use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

use super::{check, configure, on_a_free_port};

const EXPORT: [&str; 4] = ["policy", "explain", "GET", "http://app.localhost:4180/payments.csv"];
const APPROVE: [&str; 6] =
    ["policy", "explain", "POST", "http://app.localhost:4180/payments/42/approve", "--body", "{\"amount\": 12000}"];

/// A service that takes tokens of two providers, one of which is asked about them.
fn api() -> TempDir {
    let directory = on_a_free_port();
    let here = directory.path();
    let provider = r#"[[provider]]
name = "corp"
issuer = "https://id.example"
client_id = "x"
client_auth = "none"
[[provider.level]]
acr = "phr"
counts_as = ["second_factor", "possession", "phishing_resistant"]
[[provider.level]]
acr = "mfa"
counts_as = ["second_factor", "possession"]

[[provider]]
name = "partner"
issuer = "https://partner.example"
client_id = "x"
client_auth = "none"
[provider.introspection]
url = "https://partner.example/introspect"
client_id = "gate"
client_secret_env = "CARGO_PKG_NAME"

[[service]]"#;
    configure(here, "[[service]]", provider);
    let file = here.join("stepgate.toml");
    let kept = std::fs::read_to_string(&file).unwrap();
    let tokens = r#"[service.tokens]
providers = ["corp", "partner"]
audience = "https://api.example"
schemes = ["dpop"]
dpop_nonces = true
scopes = ["ledger"]
owner_claim = "owner"
[[service.tokens.agent]]
provider = "corp"
client = "robot"
groups = ["staff"]

[[service.operation]]
on = "GET /payments.csv"
action = "payments.export"
title = "Export"
scopes = ["payments:export"]

[[service.operation]]"#;
    assert!(kept.contains("[[service.operation]]"), "{kept}");
    std::fs::write(&file, kept.replacen("[[service.operation]]", tokens, 1)).unwrap();
    let policies = here.join("policies/app.cedar");
    let kept = std::fs::read_to_string(&policies).unwrap();
    let rule = r#"
@id("robots")
permit (principal is Agent in Group::"staff", action, resource in Service::"app");
@id("exports")
@reason("Exports need a second factor from the last five minutes.")
forbid (principal, action == Action::"payments.export", resource)
unless { context.age.second_factor <= duration("5m") };
"#;
    std::fs::write(&policies, format!("{kept}{rule}")).unwrap();
    directory
}

fn told(here: &Path, request: &[&str], more: &[&str]) -> Value {
    serde_json::from_str(&check(&[request, more, &["--json"]].concat(), here, 0)).unwrap()
}

#[test]
fn check_says_what_tokens_a_service_takes() {
    let directory = api();
    let here = directory.path();
    let said = check(&["check"], here, 0);
    for words in [
        "access tokens for https://api.example, as DPoP, proofs with a nonce of the gate",
        "of corp, https://id.example: JWTs, verified with its keys",
        "of partner, https://partner.example: asked about at https://partner.example/introspect",
        "with the scopes ledger",
        "an agent's owner is in the claim owner",
        "Agent::\"corp/robot\" in staff",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let told: Value = serde_json::from_str(&check(&["check", "--json"], here, 0)).unwrap();
    let services = told["services"].as_array().unwrap();
    let app = services.iter().find(|one| one["name"] == "app").unwrap();
    assert_eq!(
        app["tokens"],
        json!({
            "providers": [
                { "name": "corp", "issuer": "https://id.example", "introspection": null },
                { "name": "partner", "issuer": "https://partner.example",
                  "introspection": "https://partner.example/introspect" },
            ],
            "audience": "https://api.example", "schemes": ["DPoP"], "scopes": ["ledger"], "dpop_nonces": true,
            "owner_claim": "owner", "client_certificates": [], "forwarded": false,
            "agents": [{ "principal": "corp/robot", "groups": ["staff"] }],
        })
    );
    let export = app["operations"].as_array().unwrap().iter().find(|one| one["action"] == "payments.export").unwrap();
    assert_eq!(export["scopes"], json!(["payments:export"]));
    assert!(services.iter().any(|one| one["tokens"].is_null()), "the gate itself takes none");
}

#[test]
fn what_a_program_would_be_answered_is_said() {
    let directory = api();
    let here = directory.path();
    let person = ["--token", "corp", "--group", "staff", "--scope", "ledger", "--scope", "payments:export"];
    let with = |more: &[&'static str]| [&person[..], more].concat();
    let answer = |request: &[&str], who: &[&str]| {
        let told = told(here, request, who);
        (told["verdict"].as_str().unwrap().to_owned(), told["answer"].clone())
    };

    let (verdict, said) = answer(&EXPORT, &with(&["--acr", "mfa", "--auth-age", "4m"]));
    assert_eq!((verdict.as_str(), said), ("permit", json!({ "status": null })));
    for old in [&["--acr", "mfa", "--auth-age", "6m"][..], &["--acr", "pwd", "--auth-age", "1m"], &["--acr", "phr"]] {
        let (verdict, said) = answer(&EXPORT, &with(old));
        assert_eq!(verdict, "acr: phr | mfa", "{old:?}");
        let better = json!({
            "status": 401, "error": "insufficient_user_authentication", "acr_values": ["phr", "mfa"], "max_age_s": 300,
        });
        assert_eq!(said, better, "{old:?}");
    }
    let (verdict, said) = answer(&EXPORT, &["--token", "corp", "--group", "staff", "--scope", "payments:export"]);
    assert_eq!(verdict, "insufficient_scope: ledger payments:export");
    assert_eq!(said, json!({ "status": 403, "error": "insufficient_scope", "scope": ["ledger", "payments:export"] }));
    let (verdict, said) = answer(&EXPORT, &["--token", "corp", "--scope", "ledger", "--scope", "payments:export"]);
    assert_eq!((verdict.as_str(), said), ("deny", json!({ "status": 403, "error": null })));

    // An agent's own: nobody logs in for it, so its owner confirms; where somebody does, a better login is asked for.
    let robot = ["--agent", "corp/robot", "--owner", "ada", "--scope", "ledger", "--scope", "payments:export"];
    let (verdict, said) = answer(&EXPORT, &robot);
    assert!(verdict.starts_with("confirm: "), "{verdict}");
    assert_eq!(said["confirmed_by"], "the agent's owner, ada,", "{said}");
    let (verdict, _) = answer(&EXPORT, &[&robot[..], &["--acr", "pwd", "--auth-age", "1m"]].concat());
    assert_eq!(verdict, "acr: phr | mfa");
    let (verdict, said) = answer(&APPROVE, &robot);
    assert_eq!((verdict.as_str(), said["status"].as_u64()), ("confirm: passkey", Some(401)));
    // Groups that are given stand for those of the configuration.
    let (verdict, _) = answer(&EXPORT, &[&robot[..], &["--group", "nobodies"]].concat());
    assert_eq!(verdict, "deny");

    let text = check(&[&EXPORT[..], &person[..], &["--acr", "pwd"]].concat(), here, 0);
    let line = "answer   401 insufficient_user_authentication, acr_values=\"phr mfa\", max_age=\"300\"";
    assert!(text.contains(line), "{text}");
    let text = check(&[&EXPORT[..], &robot[..], &["--group", "nobodies"]].concat(), here, 0);
    assert!(text.contains("answer   403 denied") && text.contains("you asked as the agent corp/robot"), "{text}");
}

#[test]
fn what_no_token_could_be_is_refused() {
    let directory = api();
    let here = directory.path();
    for (who, why) in [
        (&["--token", "nobody"][..], "takes no tokens of \"nobody\", but of corp, partner"),
        (&["--agent", "robot"], "PROVIDER/CLIENT"),
        (&["--token", "corp", "--agent", "corp/robot"], "cannot be used with"),
        (&["--token", "corp", "--proved", "passkey"], "cannot be used with"),
        (&["--scope", "ledger"], "required"),
        (&["--token", "corp", "--auth-age", "soon"], "no duration"),
    ] {
        let said = check(&[&EXPORT[..], who].concat(), here, 2);
        assert!(said.contains(why), "{why}: {said}");
    }
    let elsewhere = on_a_free_port();
    let said = check(
        &["policy", "explain", "GET", "http://app.localhost:4180/payments", "--token", "corp"],
        elsewhere.path(),
        2,
    );
    assert!(said.contains("app takes no access tokens"), "{said}");
}

#[test]
fn tables_take_tokens_as_askers() {
    let directory = api();
    let here = directory.path();
    let case = |more: &str| {
        format!("[[case]]\nname = \"export\"\nrequest = \"GET /payments.csv\"\nservice = \"app\"\n{more}\n")
    };
    let both = "scopes = [\"ledger\", \"payments:export\"]";
    let good = [
        case(&format!("token = \"corp\"\ngroups = [\"staff\"]\nacr = \"phr\"\nauth_age = \"1m\"\n{both}\nexpect = \"permit\"")),
        case(&format!(
            "token = \"corp\"\ngroups = [\"staff\"]\n{both}\nexpect = \"acr: phr | mfa\"\nmax_age = \"5m\"\nbecause = [\"exports\"]"
        )),
        case("agent = \"corp/robot\"\nexpect = \"insufficient_scope: ledger payments:export\""),
        case(&format!("agent = \"corp/robot\"\nenrolled = [\"passkey\"]\n{both}\nexpect = \"CONFIRM\"")),
    ]
    .concat();
    let asked = ["policy", "explain", "GET", "http://app.localhost:4180/payments.csv", "--agent", "corp/robot"];
    let scopes = ["--enrolled", "passkey", "--scope", "ledger", "--scope", "payments:export"];
    let confirm = told(here, &asked, &scopes)["verdict"].as_str().unwrap().to_owned();
    assert!(confirm.starts_with("confirm: passkey"), "{confirm}");
    let table = here.join("tokens.test.toml");
    std::fs::write(&table, good.replace("CONFIRM", &confirm)).unwrap();
    let run = ["policy", "test", "tokens.test.toml"];
    assert!(check(&run, here, 0).contains("4 passed, 0 failed"));

    let wrong =
        case(&format!("token = \"corp\"\ngroups = [\"staff\"]\n{both}\nexpect = \"acr: phr | mfa\"\nmax_age = \"4m\""));
    std::fs::write(&table, wrong).unwrap();
    let said = check(&run, here, 3);
    assert!(said.contains("expected acr: phr | mfa, max_age 240 s") && said.contains("max_age 300 s"), "{said}");
    assert!(said.contains("by somebody in staff, with a token of corp"), "{said}");

    for (more, why) in [
        ("scopes = [\"ledger\"]\nexpect = \"permit\"", "are a token's"),
        ("token = \"corp\"\nproved = { totp = \"1m\" }\nexpect = \"permit\"", "are a session's"),
        ("token = \"corp\"\nagent = \"corp/robot\"\nexpect = \"permit\"", "not both"),
    ] {
        std::fs::write(&table, case(more)).unwrap();
        let said = check(&run, here, 2);
        assert!(said.contains(why), "{why}: {said}");
    }
}
