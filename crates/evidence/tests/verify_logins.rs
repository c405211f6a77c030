//! Logs of people who come from their company's provider, and what the verifier says of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stepgate_evidence::verify::{NotChecked, Problem, Report, exported, verify_with_providers};
use stepgate_evidence::{
    Asked, Asker, Details, Entry, Event, FactorProof, Grant, LoginError, LoginProof, Outcome, PolicyRef, ProviderKeys,
    Salt, SignInStatement, Statement,
};
use stepgate_ledger::export::{Details as Beside, Reader, Writer};
use stepgate_ledger::verify::Trust;
use stepgate_ledger::{CheckpointSigner, CheckpointVerifier};
use support::provider::{ISSUER, ProviderSigner, claims, login_proof};

const ENROLLED: usize = 1;
const SESSION: usize = 2;
const PASSED: usize = 4;
const T: i64 = 1_767_000_000_000;

/// The key of the provider, and somebody else's.
static PROVIDER: LazyLock<ProviderSigner> = LazyLock::new(|| ProviderSigner::new("RS256"));
static THIEF: LazyLock<ProviderSigner> = LazyLock::new(|| ProviderSigner::new("ES256"));

fn entry(number: i64, event: Event, body: Option<Value>) -> Entry {
    let details = body.map(|body| Details { salt: Salt([u8::try_from(number).unwrap(); 16]), body });
    Entry { id: format!("{number:032x}"), at_ms: T + number * 1000, event, details }
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
        asked_at_ms: (T + 3000).to_string(),
        expires_at_ms: (T + 305_000).to_string(),
    }
}

fn payment() -> String {
    hex::encode(statement().digest().unwrap())
}

fn sign_in() -> (SignInStatement, String) {
    let statement = SignInStatement {
        origin: "https://gate.example.com".into(),
        nonce: "ff".repeat(16),
        browser: "aa".repeat(32),
        asked_at_ms: T.to_string(),
    };
    let digest = hex::encode(statement.digest().unwrap());
    (statement, digest)
}

fn proof_by(token: &str, bound_to: &str) -> FactorProof {
    FactorProof {
        factor: "idp".into(),
        factor_id: "identity-1".into(),
        assertion: None,
        user_verified: None,
        login: Some(login_proof(token)),
        bound_to: bound_to.into(),
    }
}

/// A login by these claims: the proof in the entry, and what lies beside it.
fn login(signer: &ProviderSigner, said: &Value) -> (FactorProof, Value) {
    let token = signer.sign(said);
    let beside = json!({ "id_token": token, "key": signer.jwk(), "amr": ["hwk", "user"] });
    (proof_by(&token, said["nonce"].as_str().unwrap()), beside)
}

fn enrolled(factor_id: &str, person: &str, subject: &str) -> Entry {
    let event = Event::FactorEnrolled {
        person: person.into(),
        factor: "idp".into(),
        factor_id: factor_id.into(),
        authority: "provider:corp".into(),
        key: None,
    };
    entry(1, event, Some(json!({ "name": "Example Corp", "issuer": ISSUER, "subject": subject })))
}

fn signed_in(session: &str, (proof, beside): (FactorProof, Value)) -> Entry {
    let event = Event::SessionStarted { session: session.into(), person: "alice".into(), proof };
    entry(2, event, Some(json!({ "statement": sign_in().0, "login_at_provider": beside })))
}

fn passed((proof, beside): (FactorProof, Value)) -> Entry {
    let event = Event::ChallengePassed {
        challenge: "challenge-1".into(),
        session: "session-1".into(),
        person: "alice".into(),
        asked: asked(),
        grants: "confirmation".into(),
        proof,
    };
    entry(4, event, Some(json!({ "login": beside })))
}

/// From the first entry to a payment that was confirmed at the provider and sent.
fn story() -> Vec<Entry> {
    let opened = Event::ChallengeOpened {
        challenge: "challenge-1".into(),
        session: "session-1".into(),
        person: "alice".into(),
        agent: None,
        asked: asked(),
        policies: vec!["large-payment".into()],
        policy: "policy-1".into(),
        offered: "confirm: idp".into(),
        statement: payment(),
        held: true,
        succeeds: String::new(),
    };
    let sent = Event::OperationSent {
        challenge: "challenge-1".into(),
        session: "session-1".into(),
        person: "alice".into(),
        request: "request-1".into(),
        asked: asked(),
        policies: vec!["large-payment".into()],
        policy: "policy-1".into(),
        statement: payment(),
        body_sha256: "ab".repeat(32),
    };
    let finished = Event::OperationFinished {
        challenge: "challenge-1".into(),
        request: "request-1".into(),
        outcome: Outcome::Answered { status: 200 },
    };
    vec![
        entry(0, Event::LogOpened { origin: "example.com/log".into(), version: "0.1.0".into() }, None),
        enrolled("identity-1", "alice", "00u1"),
        signed_in("session-1", login(&PROVIDER, &claims("00u1", &sign_in().1))),
        entry(3, opened, Some(json!({ "statement": statement() }))),
        passed(login(&PROVIDER, &claims("00u1", &payment()))),
        entry(5, sent, None),
        entry(6, finished, None),
    ]
}

fn verified(entries: &[Entry], given: &ProviderKeys, beside: impl Fn(Beside) -> Option<Beside>) -> Report {
    let signer = CheckpointSigner::from_seed("example.com/log", [1; 32]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(directory.path()).unwrap();
    for entry in entries {
        let details = entry.details.as_ref().and_then(|details| beside(exported(details)));
        writer.append(&entry.to_leaf().unwrap(), details.as_ref()).unwrap();
    }
    let head = signer.sign_head(writer.size(), writer.root());
    writer.finish(&head).unwrap();
    let keys = [CheckpointVerifier::parse(&signer.verifier_key()).unwrap()];
    let trust = Trust { keys: &keys, remembered: &[] };
    let reader = Reader::open(directory.path()).unwrap();
    let report = verify_with_providers(&reader, trust, given.clone(), &mut |_| {}).unwrap();
    assert!(report.ledger.is_intact(), "{report}");
    report
}

fn problems(report: &Report) -> Vec<(usize, Problem)> {
    let at = |index: u64| usize::try_from(index).unwrap();
    report.findings.iter().map(|finding| (at(finding.index), finding.problem.clone())).collect()
}

type Change = Box<dyn Fn(&mut Entry)>;

/// The story with one thing changed has exactly these problems.
fn check(change: impl FnOnce(&mut Vec<Entry>), expected: &[(usize, Problem)]) -> Report {
    let mut entries = story();
    change(&mut entries);
    let report = verified(&entries, &ProviderKeys::default(), Some);
    assert_eq!(problems(&report), expected, "{report}");
    assert_eq!(report.is_sound(), expected.is_empty());
    report
}

fn wrong(error: &LoginError) -> Problem {
    Problem::Login { reason: error.to_string() }
}

fn given(issuer: &str, signers: &[&ProviderSigner]) -> ProviderKeys {
    let mut keys = ProviderKeys::default();
    let set = json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() });
    keys.add(issuer, set.to_string().as_bytes()).unwrap();
    keys
}

fn proof_in(entry: &mut Entry) -> &mut FactorProof {
    match &mut entry.event {
        Event::SessionStarted { proof, .. } | Event::ChallengePassed { proof, .. } => proof,
        other => panic!("{other:?}"),
    }
}

fn said(entry: &mut Entry) -> &mut LoginProof {
    proof_in(entry).login.as_mut().unwrap()
}

fn beside_of(entry: &mut Entry) -> &mut Value {
    let body = &mut entry.details.as_mut().unwrap().body;
    let place = if body.get("login").is_some() { "login" } else { "login_at_provider" };
    &mut body[place]
}

/// Puts another token into an entry, and its digest into the tree, as only the gate could.
fn put_token(entry: &mut Entry, token: String) {
    said(entry).id_token_sha256 = hex::encode(Sha256::digest(&token));
    beside_of(entry)["id_token"] = token.into();
}

#[test]
fn logins_that_hold_are_counted_and_their_keys_are_named() {
    let report = check(|_| {}, &[]);
    assert_eq!((report.checked.logins, report.checked.signatures, report.checked.statements), (2, 0, 2));
    assert_eq!(report.signing_keys.listed.len(), 1);
    let key = &report.signing_keys.listed[0];
    assert_eq!((key.issuer.as_str(), key.client.as_str(), key.logins, key.given), (ISSUER, "gate", 2, false));
    let not_checked: Vec<_> = report.not_checked.iter().collect();
    assert_eq!(
        not_checked,
        [(&NotChecked::ProviderKeys, &2), (&NotChecked::LoginWorth, &2), (&NotChecked::Authority, &1)]
    );
    let text = report.to_string();
    assert!(text.contains("2 company logins"), "{text}");
    assert!(text.contains(&format!("{ISSUER}: key {} signed 2 logins for the client gate", key.thumbprint)), "{text}");
    assert!(text.contains("compare the thumbprints"), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["checked"]["logins"], 2);
    assert_eq!(json["provider_keys"][0]["thumbprint"], key.thumbprint.as_str());
}

#[test]
fn keys_that_were_given_are_compared() {
    let report = verified(&story(), &given(ISSUER, &[&THIEF, &PROVIDER]), Some);
    assert!(report.is_sound(), "{report}");
    assert!(report.signing_keys.listed[0].given && !report.not_checked.contains_key(&NotChecked::ProviderKeys));
    assert!(report.to_string().contains("it is one of the keys that you gave"), "{report}");

    // The gate could have written any key beside a token of its own.
    let report = verified(&story(), &given(ISSUER, &[&THIEF]), Some);
    let thumbprint = verified(&story(), &ProviderKeys::default(), Some).signing_keys.listed[0].thumbprint.clone();
    let foreign = Problem::ForeignKey { issuer: ISSUER.into(), thumbprint };
    assert_eq!(problems(&report), [(SESSION, foreign.clone()), (PASSED, foreign)], "{report}");
    assert_eq!(report.checked.logins, 0);

    // Another provider's keys say nothing of this one's.
    let report = verified(&story(), &given("https://id.example", &[&PROVIDER]), Some);
    assert!(report.is_sound() && report.not_checked[&NotChecked::ProviderKeys] == 2, "{report}");
    assert_eq!(report.signing_keys.not_used, ["https://id.example"]);
    assert!(report.to_string().contains("no login of it is here"), "{report}");
}

#[test]
fn a_token_that_is_erased_or_absent_is_said_to_be_so() {
    let report = verified(&story(), &ProviderKeys::default(), |_| Some(Beside::Erased));
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.checked.logins, 0);
    assert_eq!(
        (report.not_checked[&NotChecked::LoginErased], report.not_checked[&NotChecked::EnrolledIdentity]),
        (2, 1)
    );
    assert!(report.to_string().contains("company logins whose ID token was erased (2)"), "{report}");
    let report = verified(&story(), &ProviderKeys::default(), |_| None);
    assert!(report.is_sound() && report.not_checked[&NotChecked::LoginAbsent] == 2, "{report}");
    // What stands in the tree alone is still held against the rest.
    let mut entries = story();
    proof_in(&mut entries[PASSED]).factor_id = "identity-2".into();
    entries.truncate(PASSED + 1);
    let report = verified(&entries, &ProviderKeys::default(), |_| Some(Beside::Erased));
    assert_eq!(problems(&report), [(PASSED, Problem::UnknownIdentity)], "{report}");
}

/// Whoever has the export and not the log's key.
#[test]
fn a_changed_token_or_key_beside_the_log_is_found() {
    for name in ["id_token", "key"] {
        let report = verified(&story(), &ProviderKeys::default(), |beside| match beside {
            Beside::Kept { salt, mut body } if body.get("login").is_some() => {
                body["login"][name] = json!("changed");
                Some(Beside::Kept { salt, body })
            }
            other => Some(other),
        });
        assert_eq!(problems(&report), [(PASSED, Problem::OtherDetails)], "{report}");
    }
}

/// The one who writes the log can commit to anything; the provider's signature is what they cannot make.
#[test]
fn whoever_writes_the_log_cannot_make_the_provider_sign() {
    let honest = claims("00u1", &payment());
    let lesser =
        PROVIDER.sign(&json!({ "iss": ISSUER, "sub": "00u1", "aud": "gate", "nonce": payment(), "acr": "pwd" }));
    let thiefs = THIEF.sign(&honest);
    let other_issuer = "https://evil.example";
    let cases: Vec<(Change, LoginError)> = vec![
        (Box::new(|entry| beside_of(entry)["id_token"] = "changed".into()), LoginError::OtherToken),
        (
            Box::new(|entry| {
                let token = beside_of(entry)["id_token"].as_str().unwrap().to_owned();
                let (signed, signature) = token.rsplit_once('.').unwrap();
                let (header, _) = signed.split_once('.').unwrap();
                let mut forged = claims("00u1", &payment());
                forged["acr"] = "better".into();
                let payload = support::base64url(forged.to_string().as_bytes());
                put_token(entry, format!("{header}.{payload}.{signature}"));
                said(entry).acr = "better".into();
            }),
            LoginError::WrongSignature,
        ),
        (Box::new(move |entry| put_token(entry, thiefs.clone())), LoginError::WrongSignature),
        (Box::new(|entry| beside_of(entry)["key"] = THIEF.jwk()), LoginError::WrongSignature),
        (Box::new(|entry| beside_of(entry)["key"] = json!({ "kty": "oct", "k": "AA" })), {
            LoginError::Key("it is a shared secret, or its private part is published")
        }),
        (Box::new(|entry| said(entry).issuer = other_issuer.into()), LoginError::OtherIssuer),
        (Box::new(|entry| said(entry).acr = "better".into()), LoginError::OtherClass),
        (Box::new(move |entry| put_token(entry, lesser.clone())), LoginError::OtherClass),
        (Box::new(|entry| said(entry).methods = vec!["pin".into()]), LoginError::OtherMethods),
        (Box::new(|entry| said(entry).auth_time_ms = Some((T + 4000).to_string())), LoginError::OtherTime),
        (Box::new(|entry| said(entry).auth_time_ms = None), LoginError::OtherTime),
        (Box::new(|entry| said(entry).id_token_sha256 = "00".repeat(32)), LoginError::OtherToken),
    ];
    for (change, error) in cases {
        let report = check(|entries| change(&mut entries[PASSED]), &[(PASSED, wrong(&error))]);
        assert_eq!(report.checked.logins, 1, "the sign-in holds: {report}");
    }
    // A login that was made for another payment, or to sign in.
    let to_sign_in = login(&PROVIDER, &claims("00u1", &sign_in().1));
    check(
        |entries| {
            entries[PASSED] = passed(to_sign_in);
            proof_in(&mut entries[PASSED]).bound_to = payment();
        },
        &[(PASSED, wrong(&LoginError::OtherNonce))],
    );
}

#[test]
fn swapped_details_of_two_logins_are_found() {
    // As they lie there: each commits to its own.
    let swapped = |entries: &mut Vec<Entry>| {
        let first = beside_of(&mut entries[SESSION]).clone();
        let second = std::mem::replace(beside_of(&mut entries[PASSED]), first);
        *beside_of(&mut entries[SESSION]) = second;
    };
    check(swapped, &[(SESSION, wrong(&LoginError::OtherToken)), (PASSED, wrong(&LoginError::OtherToken))]);
    // With their digests, as only the gate could.
    check(
        |entries| {
            swapped(entries);
            let first = said(&mut entries[SESSION]).clone();
            let second = std::mem::replace(said(&mut entries[PASSED]), first);
            *said(&mut entries[SESSION]) = second;
        },
        &[(SESSION, wrong(&LoginError::OtherNonce)), (PASSED, wrong(&LoginError::OtherNonce))],
    );
}

#[test]
fn a_login_without_its_token_is_found_where_the_details_are_there() {
    for change in [
        (|entry: &mut Entry| entry.details = None) as fn(&mut Entry),
        |entry| *beside_of(entry) = Value::Null,
        |entry| *beside_of(entry) = json!({ "id_token": "a.b.c" }),
        |entry| *beside_of(entry) = json!({ "key": PROVIDER.jwk() }),
        |entry| beside_of(entry)["id_token"] = json!(1),
    ] {
        check(|entries| change(&mut entries[PASSED]), &[(PASSED, Problem::NoIdToken)]);
    }
    check(
        |entries| drop(entries[ENROLLED].details.as_mut().unwrap().body.as_object_mut().unwrap().remove("subject")),
        &[(ENROLLED, Problem::NoIdentity)],
    );
}

/// Whoever answers is the one who was enrolled, each time.
#[test]
fn b79_another_subject_under_the_same_factor_is_found() {
    check(
        |entries| entries[PASSED] = passed(login(&PROVIDER, &claims("00u2", &payment()))),
        &[(PASSED, Problem::OtherSubject)],
    );
    check(
        |entries| entries[ENROLLED] = enrolled("identity-1", "alice", "00u2"),
        &[(SESSION, Problem::OtherSubject), (PASSED, Problem::OtherSubject)],
    );
    // Where the enrolment's content is gone, the first login says who it is.
    let mut entries = story();
    entries[PASSED] = passed(login(&PROVIDER, &claims("00u2", &payment())));
    let report = verified(&entries, &ProviderKeys::default(), |beside| match &beside {
        Beside::Kept { body, .. } if body.get("subject").is_some() => Some(Beside::Erased),
        _ => Some(beside),
    });
    assert_eq!(problems(&report), [(PASSED, Problem::OtherSubject)], "{report}");
}

#[test]
fn a_login_is_of_the_person_who_was_enrolled_and_not_after_that_ended() {
    check(
        |entries| {
            entries.truncate(SESSION + 1);
            entries[ENROLLED] = enrolled("identity-1", "mallory", "00u1");
        },
        &[(SESSION, Problem::OtherIdentity)],
    );
    check(
        |entries| {
            entries.truncate(SESSION + 1);
            entries.remove(ENROLLED);
        },
        &[(SESSION - 1, Problem::UnknownIdentity)],
    );
    let removed = Event::FactorRemoved {
        person: "alice".into(),
        factor: "idp".into(),
        factor_id: "identity-1".into(),
        authority: "cli:root".into(),
    };
    for event in [removed, Event::PersonRemoved { person: "alice".into(), by: "admin".into() }] {
        check(
            |entries| {
                entries.truncate(PASSED + 1);
                entries.insert(PASSED, entry(3, event, None));
            },
            &[(PASSED + 1, Problem::RemovedIdentity)],
        );
    }
    // Being out of service for a while does not change who somebody is there.
    let out = Event::PersonDeactivated { person: "alice".into(), by: "scim".into(), sessions: 0, factors: 0 };
    let back = Event::PersonActivated { person: "alice".into(), by: "scim".into() };
    check(|entries| drop(entries.splice(SESSION..SESSION, [entry(1, out, None), entry(1, back, None)])), &[]);
    check(
        |entries| entries.insert(SESSION, enrolled("identity-2", "mallory", "00u1")),
        &[(SESSION, Problem::IdentityTaken)],
    );
    check(
        |entries| entries.insert(SESSION, enrolled("identity-1", "alice", "00u1")),
        &[(SESSION, Problem::Again { what: "factor" })],
    );
}

#[test]
fn a_login_signs_in_once_and_may_let_a_waiting_request_go_on() {
    check(
        |entries| {
            entries.truncate(SESSION + 1);
            entries.push(signed_in("session-2", login(&PROVIDER, &claims("00u1", &sign_in().1))));
        },
        &[(SESSION + 1, Problem::ProofUsedTwice)],
    );
    // The entry repeats the proof of the sign-in; its token lies beside that.
    let goes_on = |began: &'static str| {
        move |entries: &mut Vec<Entry>| {
            let again = login(&PROVIDER, &claims("00u1", &"09".repeat(32)));
            let mut started = signed_in(began, again.clone());
            started.details.as_mut().unwrap().body["statement"] = Value::Null;
            entries.truncate(PASSED + 1);
            let Event::ChallengePassed { session, grants, proof, .. } = &mut entries[PASSED].event else { panic!() };
            (*session, *grants, *proof) = ("session-2".into(), "sign_in".into(), again.0);
            entries[PASSED].details = None;
            entries.insert(PASSED, started);
        }
    };
    let report = check(goes_on("session-2"), &[]);
    assert_eq!(report.checked.logins, 2, "{report}");
    check(goes_on("session-3"), &[(PASSED + 1, Problem::OtherSession)]);
}

#[test]
fn a_login_is_said_in_words() {
    let mut entries = story();
    let sentence = entries[PASSED].sentence();
    let says = "proved company login at https://id.example/realms/corp (class phr, counts as second factor and phishing \
                resistant) for payments.approve";
    assert!(sentence.contains(says), "{sentence}");
    assert!(entries[SESSION].sentence().contains("signed in with company login at https://id.example/realms/corp"));
    assert!(entries[ENROLLED].sentence().contains("enrolled company login"));
    said(&mut entries[PASSED]).methods = vec!["hwk".into(), "pin".into()];
    let sentence = entries[PASSED].sentence();
    assert!(sentence.contains("(class phr by hwk and pin, counts as"), "{sentence}");
    let proof = said(&mut entries[PASSED]);
    (proof.acr, proof.methods, proof.counts_as) = (String::new(), Vec::new(), Vec::new());
    proof.issuer = format!("https://id.example/\u{202e}{}", "x".repeat(500));
    let sentence = entries[PASSED].sentence();
    assert!(sentence.contains("(no class, counts as no more)") && sentence.contains("x…"), "{sentence}");
    assert!(!sentence.contains('\u{202e}') && sentence.len() < 400, "{sentence}");
}
