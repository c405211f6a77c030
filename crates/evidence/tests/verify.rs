//! Logs that tell a story, and what the verifier says when the story does not hold.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use stepgate_evidence::verify::{NotChecked, Problem, Report, exported, verify};
use stepgate_evidence::{
    AgentName, Asked, Asker, Details, EnrolledKey, Entry, Event, FactorProof, Grant, Outcome, PolicyRef, Salt,
    SignInStatement, Statement,
};
use stepgate_ledger::export::{Details as Beside, ReadError, Reader, Writer};
use stepgate_ledger::verify::Trust;
use stepgate_ledger::{CheckpointSigner, CheckpointVerifier};
use support::{Says, SoftAuthenticator, base64url};

const NODE: usize = 1;
const LINK: usize = 2;
const ENROLLED: usize = 3;
const SESSION: usize = 4;
const ASKED: usize = 5;
const PASSED: usize = 6;
const SENT: usize = 7;
const FINISHED: usize = 8;

const T: i64 = 1_767_000_000_000;

fn entry(number: i64, event: Event) -> Entry {
    Entry { id: format!("{number:032x}"), at_ms: T + number * 1000, event, details: None }
}

fn with_details(entry: Entry, body: Value) -> Entry {
    let salt = Salt([u8::try_from(entry.at_ms / 1000 % 200).unwrap(); 16]);
    Entry { details: Some(Details { salt, body }), ..entry }
}

fn asked() -> Asked {
    Asked {
        service: "ledger".into(),
        action: "payments.approve".into(),
        resource: "ledger POST /payments/{id}/approve".into(),
        resource_kind: "payment".into(),
        sensitivity: "high".into(),
    }
}

fn statement() -> Statement {
    Statement {
        challenge: "challenge-1".into(),
        nonce: "00112233445566778899aabbccddeeff".into(),
        principal: "alice".into(),
        session: "session-1".into(),
        asker: Asker { kind: "browser".into(), address: "192.0.2.7".into(), agent: "Firefox".into() },
        service: asked().service,
        action: asked().action,
        resource: asked().resource,
        title: "Approve payment 42 of 12000".into(),
        inputs: BTreeMap::from([("amount".into(), "12000".into())]),
        method: "POST".into(),
        url: "https://ledger.example.com/payments/42/approve".into(),
        content_type: "application/json".into(),
        headers: BTreeMap::new(),
        body_sha256: "ab".repeat(32),
        policies: vec![PolicyRef { id: "large-payment".into(), reason: "Large.".into() }],
        policy_version: "policy-1".into(),
        grant: Grant::Confirmation { lifetime_s: "60".into(), uses: "1".into() },
        asked_at_ms: (T + 5000).to_string(),
        expires_at_ms: (T + 305_000).to_string(),
    }
}

fn sign_in_digest() -> [u8; 32] {
    let statement = SignInStatement {
        origin: "https://gate.example.com".into(),
        nonce: "ff".repeat(16),
        browser: "aa".repeat(32),
        asked_at_ms: T.to_string(),
    };
    statement.digest().unwrap()
}

fn alice() -> SoftAuthenticator {
    SoftAuthenticator::new(1)
}

fn proof_by(authenticator: &SoftAuthenticator, digest: [u8; 32], counter: u32) -> FactorProof {
    FactorProof {
        factor: "passkey".into(),
        factor_id: "factor-1".into(),
        assertion: Some(authenticator.assert(&Says { counter, ..Says::right(&digest) })),
        user_verified: Some(true),
        login: None,
        bound_to: hex::encode(digest),
    }
}

fn password() -> FactorProof {
    FactorProof {
        factor: "password".into(),
        factor_id: "factor-2".into(),
        assertion: None,
        user_verified: None,
        login: None,
        bound_to: "cd".repeat(32),
    }
}

fn enrolled_key() -> EnrolledKey {
    EnrolledKey {
        credential_id: base64url(&alice().credential_id),
        public_key: base64url(&alice().key.cose()),
        user_handle: base64url(&alice().owner),
        counter: 0,
        backup_eligible: false,
        backed_up: false,
        aaguid: "00000000-0000-0000-0000-000000000000".into(),
        is_attested: false,
        attestation_sha256: "00".repeat(32),
    }
}

fn opened(statement: &Statement) -> Entry {
    let event = Event::ChallengeOpened {
        challenge: statement.challenge.clone(),
        session: "session-1".into(),
        person: "alice".into(),
        agent: None,
        asked: asked(),
        policies: vec!["large-payment".into()],
        policy: "policy-1".into(),
        offered: "confirm: passkey".into(),
        statement: hex::encode(statement.digest().unwrap()),
        held: true,
        succeeds: String::new(),
    };
    with_details(entry(5, event), json!({"statement": statement, "surroundings": {"country": "CH"}}))
}

/// From the first entry to a payment that was confirmed by a passkey and sent.
fn story() -> Vec<Entry> {
    let digest = statement().digest().unwrap();
    let (challenge, session, person) = ("challenge-1".to_owned(), "session-1".to_owned(), "alice".to_owned());
    vec![
        entry(0, Event::LogOpened { origin: "example.com/log".into(), version: "0.1.0".into() }),
        entry(
            1,
            Event::NodeStarted {
                node: "node-1".into(),
                version: "0.1.0".into(),
                config: "config-1".into(),
                policy: "policy-1".into(),
                relying_party: "gate.example.com".into(),
                origins: vec!["https://gate.example.com".into()],
            },
        ),
        entry(2, Event::LinkUsed { link: "link-1".into(), person: person.clone() }),
        with_details(
            entry(
                3,
                Event::FactorEnrolled {
                    person: person.clone(),
                    factor: "passkey".into(),
                    factor_id: "factor-1".into(),
                    authority: "link:link-1".into(),
                    key: Some(enrolled_key()),
                },
            ),
            json!({"name": "Passkey"}),
        ),
        with_details(
            entry(
                4,
                Event::SessionStarted {
                    session: session.clone(),
                    person: person.clone(),
                    proof: proof_by(&alice(), sign_in_digest(), 1),
                },
            ),
            json!({"login": "alice"}),
        ),
        opened(&statement()),
        entry(
            6,
            Event::ChallengePassed {
                challenge: challenge.clone(),
                session: session.clone(),
                person: person.clone(),
                asked: asked(),
                grants: "confirmation".into(),
                proof: proof_by(&alice(), digest, 2),
            },
        ),
        entry(
            7,
            Event::OperationSent {
                challenge: challenge.clone(),
                session,
                person,
                request: "request-1".into(),
                asked: asked(),
                policies: vec!["large-payment".into()],
                policy: "policy-1".into(),
                statement: hex::encode(digest),
                body_sha256: "ab".repeat(32),
            },
        ),
        entry(
            8,
            Event::OperationFinished {
                challenge,
                request: "request-1".into(),
                outcome: Outcome::Answered { status: 200 },
            },
        ),
    ]
}

fn signer() -> CheckpointSigner {
    CheckpointSigner::from_seed("example.com/log", [1; 32]).unwrap()
}

fn export(directory: &Path, entries: &[Entry], beside: impl Fn(usize, Beside) -> Option<Beside>) {
    let mut writer = Writer::create(directory).unwrap();
    for (number, entry) in entries.iter().enumerate() {
        let details = entry.details.as_ref().and_then(|details| beside(number, exported(details)));
        writer.append(&entry.to_leaf().unwrap(), details.as_ref()).unwrap();
    }
    let head = signer().sign_head(writer.size(), writer.root());
    writer.finish(&head).unwrap();
}

fn verify_directory(directory: &Path, progress: &mut impl FnMut(u64)) -> Result<Report, ReadError> {
    let keys = [CheckpointVerifier::parse(&signer().verifier_key()).unwrap()];
    let trust = Trust { keys: &keys, remembered: &[] };
    verify(&Reader::open(directory)?, trust, progress)
}

/// Exports entries with what lies beside them changed by `beside`, and verifies the export.
fn verify_with(entries: &[Entry], beside: impl Fn(usize, Beside) -> Option<Beside>) -> Report {
    let directory = tempfile::tempdir().unwrap();
    export(directory.path(), entries, beside);
    let mut seen = 0;
    let report = verify_directory(directory.path(), &mut |entries| seen = entries).unwrap();
    assert_eq!(seen, entries.len() as u64);
    assert!(report.ledger.is_intact(), "{report}");
    report
}

fn verified(entries: &[Entry]) -> Report {
    verify_with(entries, |_, beside| Some(beside))
}

fn problems(report: &Report) -> Vec<(usize, Problem)> {
    let at = |index: u64| usize::try_from(index).unwrap();
    report.findings.iter().map(|finding| (at(finding.index), finding.problem.clone())).collect()
}

/// The story with one thing changed has exactly these problems.
fn check(change: impl FnOnce(&mut Vec<Entry>), expected: &[(usize, Problem)]) {
    let mut entries = story();
    change(&mut entries);
    let report = verified(&entries);
    assert_eq!(problems(&report), expected, "{report}");
    assert_eq!(report.is_sound(), expected.is_empty());
}

fn wrong(error: &stepgate_evidence::AssertionError) -> Problem {
    Problem::Assertion { reason: error.to_string() }
}

#[test]
fn a_story_that_holds_is_sound_and_the_report_says_what_was_checked() {
    let report = verified(&story());
    assert!(report.is_sound(), "{report}");
    let checked = report.checked;
    assert_eq!((checked.entries, checked.details, checked.statements), (9, 3, 1));
    assert_eq!((checked.signatures, checked.passed, checked.sent), (2, 1, 1));
    let not_checked: Vec<_> = report.not_checked.iter().collect();
    assert_eq!(not_checked, [(&NotChecked::SignInStatement, &1), (&NotChecked::Attestation, &1)]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["checked"]["signatures"], 2);
    assert!(report.to_string().ends_with("the log is sound"), "{report}");
}

#[test]
fn erased_content_leaves_the_signature_valid() {
    let report = verify_with(&story(), |_, _| Some(Beside::Erased));
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.checked.signatures, report.checked.statements), (2, 0));
    assert_eq!(report.not_checked[&NotChecked::ContentErased], 3);
    assert_eq!(report.not_checked[&NotChecked::SignedContentUnknown], 1);
    assert!(report.to_string().contains("signature valid, content erased"), "{report}");

    let report = verify_with(&story(), |_, _| None);
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.not_checked[&NotChecked::ContentAbsent], 3);
}

#[test]
fn content_that_was_changed_is_found() {
    let lower_amount = |number, beside| match beside {
        Beside::Kept { salt, mut body } if number == ASKED => {
            body["statement"]["inputs"]["amount"] = json!("12");
            Some(Beside::Kept { salt, body })
        }
        other => Some(other),
    };
    assert_eq!(problems(&verify_with(&story(), lower_amount)), [(ASKED, Problem::OtherDetails)]);
    for salt in ["", "00", &"0".repeat(32), &"A".repeat(32)] {
        let report = verify_with(&story(), |_, beside| match beside {
            Beside::Kept { body, .. } => Some(Beside::Kept { salt: salt.to_owned(), body }),
            Beside::Erased => Some(Beside::Erased),
        });
        assert_eq!(report.findings.len(), 3, "{report}");
    }
}

/// The one who writes the log holds its key and can commit to anything; the passkey's signature is
/// what they cannot make.
#[test]
fn a_statement_that_was_not_the_one_signed_is_found() {
    let mut other = statement();
    other.inputs.insert("amount".into(), "12".into());
    // Beside an entry that still names the digest which was signed.
    check(
        |entries| {
            entries[ASKED].details = opened(&other).details;
        },
        &[(ASKED, Problem::OtherStatement)],
    );
    // With its own digest: then the signature is not over it.
    check(
        |entries| entries[ASKED] = opened(&other),
        &[
            (PASSED, Problem::BoundElsewhere),
            (SENT, Problem::ChallengeWas { state: "not passed" }),
            (FINISHED, Problem::NeverSent),
        ],
    );
    // And claiming that the signature is over it.
    let digest = hex::encode(other.digest().unwrap());
    check(
        |entries| {
            entries[ASKED] = opened(&other);
            let Event::ChallengePassed { proof, .. } = &mut entries[PASSED].event else { panic!() };
            proof.bound_to = digest.clone();
            let Event::OperationSent { statement, .. } = &mut entries[SENT].event else { panic!() };
            *statement = digest.clone();
        },
        &[(PASSED, wrong(&stepgate_evidence::AssertionError::OtherChallenge))],
    );
}

/// The story up to a challenge that `corp/robot` was asked, for which alice answers.
fn asked_of_an_agent(change: impl FnOnce(&mut Statement)) -> Vec<Entry> {
    let mut statement = statement();
    statement.session = "token:00112233445566778899aabbccddeeff".into();
    statement.asker.agent = "corp/robot (curl/8)".into();
    change(&mut statement);
    let mut entry = opened(&statement);
    let Event::ChallengeOpened { agent, session, .. } = &mut entry.event else { panic!() };
    *agent = Some(AgentName::from("corp/robot"));
    session.clone_from(&statement.session);
    [&story()[..ASKED], &[entry]].concat()
}

#[test]
fn b108_an_entry_names_the_agent_that_its_statement_names() {
    for same in ["corp/robot (curl/8)", "corp/robot", "corp/ro·ot (curl/8)", "corp/robot…", "corp/ro…"] {
        let report = verified(&asked_of_an_agent(|statement| statement.asker.agent = same.into()));
        assert_eq!(problems(&report), [], "{same} {report}");
    }
    let field = "the agent";
    for other in
        ["", "Firefox", "corp/robots (curl/8)", "corp/rob", "corp/app (corp/robot)", "x corp/robot", "corp/…ot"]
    {
        let report = verified(&asked_of_an_agent(|statement| statement.asker.agent = other.into()));
        assert_eq!(problems(&report), [(ASKED, Problem::StatementContradicts { field })], "{other} {report}");
    }
    // An agent has no session.
    let report = verified(&asked_of_an_agent(|statement| statement.session = "session-1".into()));
    assert_eq!(problems(&report), [(ASKED, Problem::StatementContradicts { field })], "{report}");
}

#[test]
fn b108_what_a_person_asked_is_spelled_as_before() {
    let bytes = opened(&statement()).to_leaf().unwrap();
    assert!(!String::from_utf8(bytes.clone()).unwrap().contains("agent"));
    assert!(Entry::from_leaf(&bytes).is_ok());
    let of_agent = asked_of_an_agent(|_| {}).pop().unwrap();
    let bytes = of_agent.to_leaf().unwrap();
    let (read, _) = Entry::from_leaf(&bytes).unwrap();
    assert_eq!(read.event, of_agent.event);
    // Nobody as an agent has one spelling: none.
    let null = String::from_utf8(bytes).unwrap().replace(r#""agent":"corp/robot""#, r#""agent":null"#);
    assert!(Entry::from_leaf(null.as_bytes()).is_err());
    assert_eq!(
        of_agent.sentence(),
        "challenge challenge-1: agent corp/robot (answered for by person alice) asked for payments.approve \
         (ledger POST /payments/{id}/approve) needs confirm: passkey, because large-payment, request held"
    );
}

#[test]
fn b108_an_agents_name_reads_as_one_word() {
    let of = |person: &str, agent: Option<&str>| {
        let agent = agent.map(AgentName::from);
        let (person, policies) = (person.to_owned(), vec!["p".to_owned()]);
        let event = Event::OperationRefused {
            person,
            agent,
            asked: asked(),
            policies,
            policy: "v".into(),
            count: 1,
            window_s: 0,
        };
        let sentence = entry(0, event).sentence();
        sentence.split_once(" refused:").unwrap().0.to_owned()
    };
    assert_eq!(of("alice", None), "request of person alice");
    assert_eq!(of("", None), "request of somebody not signed in");
    assert_eq!(of("alice", Some("corp/robot")), "request of agent corp/robot (answered for by person alice)");
    let hostile = "corp/x (answered for by person bob)\u{202e}\n";
    assert_eq!(
        of("alice", Some(hostile)),
        "request of agent corp/x·(answered·for·by·person·bob)·· (answered for by person alice)"
    );
}

#[test]
fn a_statement_that_contradicts_its_entry_is_found() {
    for (field, change) in [
        ("the session", (|statement| statement.session = "session-2".into()) as fn(&mut Statement)),
        ("the person", |statement| statement.principal = "mallory".into()),
        ("the action", |statement| statement.action = "payments.read".into()),
        ("the policies", |statement| statement.policies.clear()),
        ("the policies' version", |statement| statement.policy_version = "policy-0".into()),
        ("its own numbers", |statement| statement.expires_at_ms = "soon".into()),
        ("its own numbers", |statement| {
            statement.grant = Grant::Confirmation { lifetime_s: "60".into(), uses: "2".into() };
        }),
    ] {
        let mut changed = statement();
        change(&mut changed);
        let report = verified(&[&story()[..ASKED], &[opened(&changed)]].concat());
        assert_eq!(problems(&report), [(ASKED, Problem::StatementContradicts { field })], "{report}");
    }
    check(
        |entries| {
            entries.truncate(PASSED);
            entries[ASKED].details = None;
        },
        &[(ASKED, Problem::NoStatement)],
    );
}

#[test]
fn b68_a_passkey_of_somebody_else_is_found() {
    let digest = statement().digest().unwrap();
    let passed_by = |proof: FactorProof| {
        move |entries: &mut Vec<Entry>| {
            let Event::ChallengePassed { proof: there, .. } = &mut entries[PASSED].event else { panic!() };
            *there = proof;
        }
    };
    let mallory = SoftAuthenticator::new(2);
    check(
        passed_by(proof_by(&mallory, digest, 2)),
        &[
            (PASSED, Problem::UnknownCredential),
            (SENT, Problem::ChallengeWas { state: "not passed" }),
            (FINISHED, Problem::NeverSent),
        ],
    );
    let renamed = SoftAuthenticator { credential_id: alice().credential_id, owner: alice().owner, ..mallory };
    check(
        passed_by(proof_by(&renamed, digest, 2)),
        &[(PASSED, wrong(&stepgate_evidence::AssertionError::WrongSignature))],
    );
    let other_factor = FactorProof { factor_id: "factor-9".into(), ..proof_by(&alice(), digest, 2) };
    check(
        |entries| {
            passed_by(other_factor)(entries);
            entries.truncate(SENT);
        },
        &[(PASSED, Problem::OtherCredential)],
    );
}

#[test]
fn a_counter_that_did_not_rise_is_found() {
    let digest = statement().digest().unwrap();
    check(
        |entries| {
            let Event::ChallengePassed { proof, .. } = &mut entries[PASSED].event else { panic!() };
            *proof = proof_by(&alice(), digest, 1);
        },
        &[(PASSED, wrong(&stepgate_evidence::AssertionError::CounterDidNotRise { stored: 1, found: 1 }))],
    );
}

#[test]
fn a_passkey_that_was_removed_signs_nothing_more() {
    let removed = Event::FactorRemoved {
        person: "alice".into(),
        factor: "passkey".into(),
        factor_id: "factor-1".into(),
        authority: "session:session-1".into(),
    };
    for event in [removed, Event::PersonRemoved { person: "alice".into(), by: "admin".into() }] {
        check(
            |entries| {
                entries.truncate(SENT);
                entries.insert(PASSED, entry(5, event));
            },
            &[(PASSED + 1, Problem::RemovedCredential)],
        );
    }
}

#[test]
fn a_confirmation_is_passed_once_and_spent_once() {
    check(|entries| entries.push(entries[SENT].clone()), &[(9, Problem::ChallengeWas { state: "closed already" })]);
    check(
        |entries| entries.insert(FINISHED, entries[SENT].clone()),
        &[(FINISHED, Problem::ChallengeWas { state: "spent already" })],
    );
    check(
        |entries| entries.insert(SENT, entries[PASSED].clone()),
        &[(SENT, Problem::ChallengeWas { state: "passed already" })],
    );
    check(|entries| entries.push(entries[FINISHED].clone()), &[(9, Problem::NeverSent)]);
    check(|entries| entries.insert(PASSED, entries[ASKED].clone()), &[(PASSED, Problem::Again { what: "challenge" })]);
}

#[test]
fn nothing_is_sent_without_a_passed_challenge() {
    check(
        |entries| drop(entries.remove(PASSED)),
        &[(PASSED, Problem::ChallengeWas { state: "not passed" }), (SENT, Problem::NeverSent)],
    );
    check(
        |entries| drop(entries.drain(ASKED..=PASSED)),
        &[(ASKED, Problem::UnknownChallenge), (PASSED, Problem::UnknownChallenge)],
    );
    let cancelled = Event::ChallengeCancelled {
        challenge: "challenge-1".into(),
        session: "session-1".into(),
        person: "alice".into(),
        reason: "not_me".into(),
    };
    check(
        |entries| {
            entries.truncate(FINISHED);
            entries.insert(PASSED, entry(5, cancelled));
        },
        &[
            (PASSED + 1, Problem::ChallengeWas { state: "closed already" }),
            (SENT + 1, Problem::ChallengeWas { state: "closed already" }),
        ],
    );
}

#[test]
fn what_is_sent_is_what_was_confirmed() {
    for (field, change) in [
        (
            "the body",
            (|sent| {
                let Event::OperationSent { body_sha256, .. } = sent else { panic!() };
                *body_sha256 = "00".repeat(32);
            }) as fn(&mut Event),
        ),
        ("the statement", |sent| {
            let Event::OperationSent { statement, .. } = sent else { panic!() };
            *statement = "00".repeat(32);
        }),
        ("what was asked", |sent| {
            let Event::OperationSent { asked, .. } = sent else { panic!() };
            asked.action = "payments.delete".into();
        }),
    ] {
        check(|entries| change(&mut entries[SENT].event), &[(SENT, Problem::SentSomethingElse { field })]);
    }
}

#[test]
fn what_comes_too_late_is_found() {
    check(
        |entries| entries[PASSED].at_ms = T + 305_001,
        &[
            (PASSED, Problem::TooLate),
            (SENT, Problem::ChallengeWas { state: "not passed" }),
            (FINISHED, Problem::NeverSent),
        ],
    );
    check(|entries| entries[SENT].at_ms = T + 66_001, &[(SENT, Problem::TooLate)]);
    check(|entries| entries[SENT].at_ms = T + 66_000, &[]);
}

#[test]
fn a_challenge_is_answered_by_the_person_whom_it_was_for() {
    let as_mallory = |event: &mut Event| match event {
        Event::ChallengePassed { person, .. } => *person = "mallory".into(),
        _ => panic!(),
    };
    check(
        |entries| {
            entries.truncate(SENT);
            as_mallory(&mut entries[PASSED].event);
        },
        &[(PASSED, Problem::OtherPerson)],
    );
    let in_session = |name: &str| {
        let name = name.to_owned();
        move |entries: &mut Vec<Entry>| {
            entries.truncate(SENT);
            let Event::ChallengePassed { session, .. } = &mut entries[PASSED].event else { panic!() };
            *session = name;
            let other =
                Event::SessionStarted { session: "session-2".into(), person: "alice".into(), proof: password() };
            entries.insert(ASKED, entry(4, other));
        }
    };
    // Another session of the same person may answer, one that nobody began may not.
    check(in_session("session-2"), &[]);
    check(in_session("session-3"), &[(PASSED + 1, Problem::OtherSession)]);
    check(
        |entries| {
            entries.truncate(PASSED);
            let Event::SessionStarted { person, proof, .. } = &mut entries[SESSION].event else { panic!() };
            *person = "mallory".into();
            *proof = password();
        },
        &[(ASKED, Problem::OtherSession)],
    );
}

#[test]
fn proofs_that_only_the_gate_saw_are_counted_as_such() {
    let mut entries = story();
    let Event::SessionStarted { proof, .. } = &mut entries[SESSION].event else { panic!() };
    *proof = password();
    let report = verified(&entries);
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.not_checked[&NotChecked::Factor("password".into())], 1);
    entries.truncate(FINISHED);
    assert_eq!(verified(&entries).not_checked[&NotChecked::Outcome], 1);
    entries.remove(NODE);
    let report = verified(&entries);
    assert_eq!(report.not_checked[&NotChecked::NoRelyingParty], 1, "{report}");
}

#[test]
fn a_proof_and_its_assertion_belong_together() {
    for change in [
        (|proof: &mut FactorProof| proof.assertion = None) as fn(&mut FactorProof),
        |proof| proof.factor = "totp".into(),
        |proof| proof.user_verified = Some(false),
        |proof| proof.user_verified = None,
    ] {
        check(
            |entries| {
                entries.truncate(SENT);
                let Event::ChallengePassed { proof, .. } = &mut entries[PASSED].event else { panic!() };
                change(proof);
            },
            &[(PASSED, Problem::ProofIncomplete)],
        );
    }
}

#[test]
fn a_sign_in_is_not_replayed() {
    check(
        |entries| {
            let Event::SessionStarted { proof, .. } = &entries[SESSION].event else { panic!() };
            let event =
                Event::SessionStarted { session: "session-2".into(), person: "alice".into(), proof: proof.clone() };
            entries.truncate(ASKED);
            entries.push(entry(5, event));
        },
        &[(ASKED, Problem::ProofUsedTwice)],
    );
}

/// The waiting request of a lapsed session goes on with the session that follows it.
#[test]
fn a_sign_in_passes_the_challenge_that_waited_for_it() {
    let again = [9; 32];
    let change = |began: &'static str| {
        move |entries: &mut Vec<Entry>| {
            let proof = proof_by(&alice(), again, 3);
            let started = Event::SessionStarted { session: began.into(), person: "alice".into(), proof: proof.clone() };
            entries.insert(PASSED, entry(5, started));
            let Event::ChallengePassed { session, grants, proof: there, .. } = &mut entries[PASSED + 1].event else {
                panic!()
            };
            (*session, *grants, *there) = ("session-2".into(), "sign_in".into(), proof);
            let Event::OperationSent { session, .. } = &mut entries[SENT + 1].event else { panic!() };
            *session = "session-2".into();
        }
    };
    check(change("session-2"), &[]);
    check(change("session-3"), &[(PASSED + 1, Problem::OtherSession)]);
}

#[test]
fn a_factor_is_enrolled_by_somebody_who_was_allowed_to() {
    let authority = |text: &str| {
        let text = text.to_owned();
        move |entries: &mut Vec<Entry>| {
            let Event::FactorEnrolled { authority, .. } = &mut entries[ENROLLED].event else { panic!() };
            *authority = text;
            entries.truncate(SESSION);
        }
    };
    for text in ["link:link-2", "challenge:challenge-1", "session:session-1"] {
        check(authority(text), &[(ENROLLED, Problem::NoAuthority { authority: text.into() })]);
    }
    check(authority("command line"), &[]);
    check(
        |entries| {
            entries.truncate(SESSION);
            entries.push(entries[LINK].clone());
        },
        &[(SESSION, Problem::Again { what: "use of the link" })],
    );
}

#[test]
fn an_enrolled_key_must_be_one_and_is_enrolled_once() {
    check(
        |entries| {
            entries.truncate(SESSION);
            entries.push(entries[ENROLLED].clone());
        },
        &[(SESSION, Problem::EnrolledTwice)],
    );
    check(
        |entries| {
            entries.truncate(SESSION);
            let Event::FactorEnrolled { key: Some(key), .. } = &mut entries[ENROLLED].event else { panic!() };
            key.public_key = base64url(b"no key");
        },
        &[(ENROLLED, Problem::BadKey { reason: "not a COSE key".into() })],
    );
}

#[test]
fn a_log_begins_with_its_opening() {
    check(
        |entries| drop(entries.drain(..=SESSION)),
        &[
            (0, Problem::LogOpening),
            (0, Problem::OtherSession),
            (1, Problem::OtherSession),
            (2, Problem::ChallengeWas { state: "not passed" }),
            (3, Problem::NeverSent),
        ],
    );
    check(
        |entries| {
            entries.truncate(NODE);
            entries.push(entries[0].clone());
        },
        &[(NODE, Problem::LogOpening)],
    );
    check(
        |entries| {
            entries.truncate(NODE);
            entries[0] = entry(0, Event::LogOpened { origin: "example.com/other".into(), version: "1".into() });
        },
        &[(0, Problem::OtherLog { named: "example.com/other".into() })],
    );
}

/// Control characters in what people send cannot forge a line: an entry is one JSON text, and the
/// report quotes what it repeats.
#[test]
fn b86_control_characters_do_not_forge_lines() {
    let evil = "x\r\nWRONG: \u{1b}[2J\"entry";
    let mut entries = story();
    entries.push(entry(
        9,
        Event::AttemptFailed {
            person: String::new(),
            factor: "password".into(),
            provider: Some(evil.into()),
            purpose: evil.into(),
            challenge: String::new(),
            reason: evil.into(),
            factor_id: None,
        },
    ));
    let leaf = entries[9].to_leaf().unwrap();
    assert!(leaf.iter().all(|byte| !byte.is_ascii_control()), "{}", String::from_utf8_lossy(&leaf));
    assert!(verified(&entries).is_sound());
    let Event::FactorEnrolled { authority, .. } = &mut entries[ENROLLED].event else { panic!() };
    *authority = format!("link:{evil}");
    let Event::SessionStarted { proof, .. } = &mut entries[SESSION].event else { panic!() };
    proof.assertion = None;
    proof.user_verified = None;
    proof.factor = evil.into();
    let report = verified(&entries);
    for finding in &report.findings {
        assert!(!finding.problem.to_string().chars().any(char::is_control), "{finding:?}");
    }
    let report = report.to_string();
    assert!(!report.contains('\u{1b}') && !report.contains("\nWRONG: \r"), "{report:?}");
    assert_eq!(report.lines().filter(|line| line.contains("[2J")).count(), 2, "{report:?}");
}

/// More entries than are judged at a time, so that order across batches and threads is seen to hold.
#[test]
fn a_long_log_is_judged_in_order() {
    let mut entries = story();
    for number in 0..5000_u32 {
        let digest =
            [u8::try_from(number % 251).unwrap(); 28].into_iter().chain(number.to_be_bytes()).collect::<Vec<_>>();
        let proof =
            if number % 50 == 0 { proof_by(&alice(), digest.try_into().unwrap(), 3 + number) } else { password() };
        entries.push(entry(
            9 + i64::from(number),
            Event::SessionStarted { session: format!("more-{number}"), person: "alice".into(), proof },
        ));
    }
    let report = verified(&entries);
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.checked.signatures, 102);
    entries.swap(9 + 4000, 9 + 4050);
    let report = verified(&entries);
    assert_eq!(report.findings.len(), 1, "{report}");
    assert!(report.to_string().contains("signature counter is 4003 after 4053"), "{report}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever is changed in an export, be it one bit of one file, it is no longer sound.
    #[test]
    fn any_flipped_bit_of_an_export_is_found(file: prop::sample::Index, bit: prop::sample::Index) {
        let directory = tempfile::tempdir().unwrap();
        export(directory.path(), &story(), |_, beside| Some(beside));
        let before = verify_directory(directory.path(), &mut |_| ()).unwrap();
        prop_assert!(before.is_sound());
        let files = ["checkpoint", "details.jsonl", "tile/0/000.p/9", "tile/entries/000.p/9"];
        let path = directory.path().join(files[file.index(files.len())]);
        let mut bytes = fs::read(&path).unwrap();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let sound = verify_directory(directory.path(), &mut |_| ()).is_ok_and(|report| report.is_sound());
        prop_assert!(!sound, "bit {} of {}", bit, path.display());
    }
}
