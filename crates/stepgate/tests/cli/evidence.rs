//! Evidence on the command line: what is said of entries, exports and proofs.

use tempfile::TempDir;

use super::{check, deployment, log_key};

/// The evidence of the demo's tour: confirmed payments, an export, a refusal.
pub(crate) fn toured() -> TempDir {
    let directory = TempDir::new().unwrap();
    check(&["demo", "--tour", "--dir", "demo", "--port", "41900"], directory.path(), 0);
    directory
}

#[test]
fn entries_of_a_challenge_say_what_it_is_about() {
    let directory = toured();
    let here = directory.path();
    let show = |more: &[&str], code| check(&[&["audit", "show", "demo/evidence"], more].concat(), here, code);

    let all = show(&[], 0);
    let sent = all.lines().find(|line| line.contains("is being sent") && line.contains("“Approve")).unwrap();
    assert!(sent.contains("spent: payments.approve (ledger POST "), "{sent}");
    let (_, title) = sent.split_once("“").unwrap();
    let (_, challenge) = sent.split_once("challenge ").unwrap();
    let challenge = &challenge[..8];

    // By the first digits, as sentences show them: exactly what belongs to it.
    let of_it = show(&["--challenge", challenge], 0);
    let said: Vec<&str> = of_it.lines().collect();
    assert!(said.len() >= 4, "opened, passed, sent, answered: {of_it}");
    for line in &said {
        assert!(line.contains(&format!("challenge {challenge}")) && line.ends_with(title), "{line}");
    }
    let index = said.last().unwrap().split_whitespace().next().unwrap();
    let one = show(&["--index", index], 0);
    assert!(one.contains(title) && one.contains("\"title\": \"Approve payment"), "{one}");

    // What is no id matches nothing by chance, and an id that is not there is told.
    assert!(show(&["--challenge", "zz"], 2).contains("an id is 32 digits and letters a to f, or its first 8"));
    assert!(show(&["--challenge", "pass"], 2).contains("an id is 32 digits"));
    assert!(show(&["--challenge", &"0".repeat(32)], 1).contains("no entry of the export belongs to the challenge"));

    // The live log says the same.
    let tail = check(&["audit", "tail", "-n", "500", "--config", "demo/stepgate.toml"], here, 0);
    assert!(tail.lines().any(|line| line == sent), "{tail}");
}

#[test]
fn a_finding_tells_of_which_payment_it_is() {
    let directory = toured();
    let here = directory.path();
    let key = check(&["audit", "key", "--config", "demo/stepgate.toml"], here, 0);
    let key = key.lines().next().unwrap();
    let details = here.join("demo/evidence/details.jsonl");
    let kept = std::fs::read_to_string(&details).unwrap();
    assert!(kept.contains("\"amount\":\"12000\""), "{kept}");
    std::fs::write(&details, kept.replace("\"amount\":\"12000\"", "\"amount\":\"12001\"")).unwrap();
    let said = check(&["audit", "verify", "demo/evidence", "--key", key], here, 3);
    let mut lines = said.lines().skip_while(|line| !line.contains("the details beside it are not those"));
    assert!(lines.next().unwrap().starts_with("WRONG        entry "), "{said}");
    let entry = lines.next().unwrap();
    assert!(entry.contains("asked for payments.approve") && entry.contains("“Approve payment"), "{said}");
}

#[test]
fn what_is_not_in_the_export_is_said_exactly() {
    let directory = toured();
    let here = directory.path();
    let key = check(&["audit", "key", "--config", "demo/stepgate.toml"], here, 0);
    let verify = ["audit", "verify", "demo/evidence", "--key", key.lines().next().unwrap()];
    std::fs::remove_dir_all(here.join("demo/evidence/tile/0")).unwrap();
    let said = check(&verify, here, 0);
    assert!(said.contains("Not checked  1 hash tile is missing, tile/0/000.p/"), "{said}");
    assert!(said.contains("had one been changed there, it could not be told which"), "{said}");

    // A checkpoint of another size: one finding says so, no entry is called missing that is there.
    let path = here.join("demo/evidence/checkpoint");
    let text = std::fs::read_to_string(&path).unwrap();
    let size: u64 = text.lines().nth(1).unwrap().parse().unwrap();
    std::fs::write(&path, text.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size - 1), 1)).unwrap();
    let said = check(&verify, here, 3);
    let expected = format!("the checkpoint counts {} entries, the files of the export are of {size}", size - 1);
    assert!(said.contains(&expected) && !said.contains("are missing"), "{said}");
    assert_eq!(said.matches("WRONG").count(), 3, "the signature, the size and the root: {said}");
}

#[test]
fn a_proof_is_checked_with_the_key_that_is_known_though_others_followed_it() {
    let directory = deployment();
    let here = directory.path();
    let first = log_key(here);
    check(&["keys", "rotate", "checkpoint"], here, 0);
    check(&["keys", "rotate", "checkpoint"], here, 0);
    check(&["audit", "export", "--out", "evidence"], here, 0);
    let newest = log_key(here);
    assert!(check(&["audit", "proof", "evidence", "1", "-o", "1.tlog-proof"], here, 0).contains("1.tlog-proof"));
    let proof = |key: &str, code| {
        check(&["audit", "proof", "evidence", "1", "--check", "1.tlog-proof", "--key", key], here, code)
    };
    assert!(proof(&newest, 0).contains("which signed that head"));
    let said = proof(&first, 0);
    assert!(said.contains(&format!("Relied on  {newest}")) && said.contains("announces it"), "{said}");
    assert!(said.contains(&format!("{first}: you gave it")), "{said}");

    // A stranger's key leads nowhere, and neither does one whose announcement nobody covered.
    let stranger = deployment();
    assert!(proof(&log_key(stranger.path()), 3).contains("NOT PROVED"));
    for handover in std::fs::read_dir(here.join("evidence/handover")).unwrap() {
        std::fs::remove_file(handover.unwrap().path()).unwrap();
    }
    let said = proof(&first, 3);
    assert!(said.contains("NOT PROVED") && said.contains("is missing"), "{said}");
    proof(&newest, 0);
}
