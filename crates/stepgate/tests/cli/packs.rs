//! Packs of policies, from the command line.

use super::{check, deployment};

#[test]
fn a_pack_is_written_holds_at_once_and_is_not_written_twice() {
    let directory = deployment();
    let at = directory.path();
    let listed = check(&["policy", "new", "--list"], at, 0);
    for pack in ["baseline", "sox", "soc2", "finra", "pci", "gdpr", "iso27001"] {
        assert!(listed.lines().any(|line| line.starts_with(&format!("{pack} "))), "{pack} is not in {listed}");
    }
    let said = check(&["policy", "new", "--pack", "pci", "--group", "administrators=admins"], at, 0);
    for told in
        ["pci.large-amount.payments.approve.amount", "none of your operations yet", "policy test", "evidence for"]
    {
        assert!(said.contains(told), "{told} is not in {said}");
    }
    let tested = check(&["policy", "test", "policies/pci.test.toml"], at, 0);
    assert!(tested.contains(" 0 failed"), "{tested}");
    check(&["check"], at, 0);
    let explained = [
        &["policy", "explain", "POST", "http://app.localhost:4180/payments/42/approve"][..],
        &[
            "--body",
            "{\"amount\": 6000}",
            "--group",
            "staff",
            "--proved",
            "passkey=1m",
            "--country",
            "CH",
            "--risk",
            "low",
        ],
        &["--at", "2026-11-18T10:00:00"],
    ]
    .concat();
    let explained = check(&explained, at, 0);
    assert!(explained.contains("confirm: passkey") && explained.contains("pci.large-amount"), "{explained}");

    // A rule that is taken out is missed.
    let file = at.join("policies/pci.cedar");
    let written = std::fs::read_to_string(&file).unwrap();
    let idle = written.split("@id(\"pci.idle\")").nth(1).unwrap().split(';').next().unwrap();
    std::fs::write(&file, written.replace(&format!("@id(\"pci.idle\"){idle};"), "")).unwrap();
    assert!(
        check(&["policy", "test", "policies/pci.test.toml"], at, 3).contains("WRONG Pauses"),
        "the table does not miss the rule"
    );

    assert!(check(&["policy", "new", "--pack", "pci"], at, 2).contains("--force"));
    check(&["policy", "new", "--pack", "pci", "--force", "--json"], at, 0);
    assert!(check(&["policy", "new", "--pack", "hipaa"], at, 2).contains("baseline, sox"));
    assert!(check(&["policy", "new", "--pack", "sox", "--kind", "cash=x"], at, 2).contains("the pack says"));
}
