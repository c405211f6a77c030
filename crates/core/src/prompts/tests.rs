//! Counting, with entries as sentences.

use std::collections::BTreeMap;

use super::*;

const ADA: &str = "ada";

/// Entries as sentences: `<minute> <what> <challenge> …`.
fn prompts(sentences: &[&str]) -> Prompts {
    let mut prompts = Prompts::default();
    for sentence in sentences {
        prompts.add(&entry(sentence));
    }
    prompts
}

fn entry(sentence: &str) -> Entry {
    let words: Vec<&str> = sentence.split(' ').collect();
    let at_ms = words[0].parse::<i64>().unwrap() * 60_000;
    let challenge = words[2].to_owned();
    let (session, person) = ("s".to_owned(), ADA.to_owned());
    let asked = |resource: &str| stepgate_evidence::Asked {
        service: "app".into(),
        action: "act".into(),
        resource: resource.into(),
        resource_kind: String::new(),
        sensitivity: if resource == "page" { "normal" } else { "high" }.into(),
    };
    let mut details = None;
    let event = match words[1] {
        // opened <challenge> <person> <resource> <rule> [<counts for, minutes>]
        "opened" => {
            if let Some(minutes) = words.get(6) {
                details = Some(stepgate_evidence::Details {
                    salt: stepgate_evidence::Salt([0; 16]),
                    body: serde_json::json!({ "statement": statement(minutes.parse::<u64>().unwrap() * 60) }),
                });
            }
            Event::ChallengeOpened {
                challenge,
                session,
                person: words[3].to_owned(),
                agent: None,
                asked: asked(words[4]),
                policies: words[5].split(',').map(str::to_owned).collect(),
                policy: String::new(),
                offered: String::new(),
                statement: String::new(),
                held: false,
                succeeds: String::new(),
            }
        }
        // passed <challenge> <grants> <factor>
        "passed" => Event::ChallengePassed {
            challenge,
            session,
            person,
            asked: asked("any"),
            grants: words[3].to_owned(),
            proof: FactorProof {
                factor: words[4].to_owned(),
                factor_id: String::new(),
                assertion: None,
                user_verified: None,
                login: None,
                bound_to: String::new(),
            },
        },
        "sent" => Event::OperationSent {
            challenge,
            session,
            person,
            request: String::new(),
            asked: asked("any"),
            policies: Vec::new(),
            policy: String::new(),
            statement: String::new(),
            body_sha256: String::new(),
        },
        "expired" => Event::ChallengeExpired { challenge, session, person },
        "cancelled" => Event::ChallengeCancelled { challenge, session, person, reason: String::new() },
        // refused <how often> <person> <resource> <rule>
        "refused" => Event::OperationRefused {
            person: words[3].to_owned(),
            agent: None,
            asked: asked(words[4]),
            policies: vec![words[5].to_owned()],
            policy: String::new(),
            count: words[2].parse().unwrap(),
            window_s: 60,
        },
        other => panic!("{other}"),
    };
    Entry { id: String::new(), at_ms, event, details }
}

pub(crate) fn statement(max_age_s: u64) -> Statement {
    Statement {
        challenge: String::new(),
        nonce: String::new(),
        principal: String::new(),
        session: String::new(),
        asker: stepgate_evidence::Asker { kind: String::new(), address: String::new(), agent: String::new() },
        service: String::new(),
        action: String::new(),
        resource: String::new(),
        title: String::new(),
        inputs: BTreeMap::new(),
        method: String::new(),
        url: String::new(),
        content_type: String::new(),
        headers: BTreeMap::new(),
        body_sha256: String::new(),
        policies: Vec::new(),
        policy_version: String::new(),
        grant: Grant::Freshness { max_age_s: max_age_s.to_string() },
        asked_at_ms: String::new(),
        expires_at_ms: String::new(),
    }
}

/// `asked unused repeated denied`
#[track_caller]
fn check(sentences: &[&str], expected: [u64; 4]) {
    let Count { asked, unused, repeated, denied } = prompts(sentences).summary(&[]).total;
    assert_eq!([asked, unused, repeated, denied], expected, "{sentences:?}");
}

#[test]
fn a_prompt_is_unused_when_it_ended_and_no_decision_rested_on_it() {
    check(&["0 opened c ada pay large", "1 passed c confirmation passkey", "1 sent c"], [1, 0, 0, 0]);
    check(&["0 opened c ada pay large", "1 passed c confirmation passkey", "6 expired c"], [1, 1, 0, 0]);
    check(&["0 opened c ada pay large", "6 expired c"], [1, 1, 0, 0]);
    check(&["0 opened c ada pay large", "6 cancelled c"], [1, 1, 0, 0]);
    check(&["0 opened c ada page fresh 5", "1 passed c freshness totp"], [1, 0, 0, 0]);
    check(&["0 opened c ada page fresh 5"], [1, 0, 0, 0]);
    assert_eq!(prompts(&["0 opened c ada page fresh 5"]).summary(&[]).open, 1);
    assert_eq!(prompts(&["0 opened c ada pay x", "1 passed c confirmation passkey"]).summary(&[]).open, 1);
}

#[test]
fn a_prompt_is_a_repeat_while_the_same_persons_proof_for_the_same_rules_counts() {
    let first = ["0 opened a ada page fresh 5", "1 passed a freshness totp"];
    let then = |next: &'static str| [first[0], first[1], next];
    check(&then("5 opened b ada page fresh 5"), [2, 0, 1, 0]);
    check(&then("6 opened b ada page fresh 5"), [2, 0, 0, 0]);
    check(&then("5 opened b bob page fresh 5"), [2, 0, 0, 0]);
    check(&then("5 opened b ada page other 5"), [2, 0, 0, 0]);
    // What was asked and not proved makes nothing fresh; nor does what counts for one request.
    check(&["0 opened a ada page fresh 5", "1 opened b ada page fresh 5"], [2, 0, 0, 0]);
    check(&["0 opened a ada pay large", "0 passed a confirmation passkey", "1 opened b ada pay large"], [2, 0, 0, 0]);
}

#[test]
fn who_was_asked_by_which_rule_is_counted_and_who_never_asked_is_named() {
    let summary = prompts(&[
        "0 opened a ada pay large,abroad",
        "1 opened b bob pay large",
        "2 refused 7 bob export closed",
        "2880 opened c ada export abroad",
    ])
    .summary(&["large", "abroad", "closed", "silent"]);
    let names = |counts: &[(String, Count)]| {
        let one = |(name, count): &(String, Count)| format!("{name} {} {}", count.asked, count.denied);
        counts.iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(names(&summary.rules), ["abroad 2 0", "large 2 0", "closed 0 7"]);
    assert_eq!(names(&summary.people), ["ada 2 0", "bob 1 7"]);
    assert_eq!(names(&summary.operations), ["pay 2 0", "export 1 7"]);
    assert_eq!(summary.silent, ["silent"]);
    assert!((summary.days - 2.0).abs() < 1e-9, "{}", summary.days);
    assert_eq!(Prompts::default().summary(&[]).period, None);
}

#[test]
fn an_operation_that_takes_less_than_its_peers_is_named() {
    let pay = ["0 opened a ada pay large", "1 passed a confirmation passkey", "1 sent a"];
    let weak = ["2 opened b ada export fresh 5", "3 passed b freshness totp"];
    let page = ["4 opened c ada page fresh 5", "5 passed c freshness totp"];
    let weaker = prompts(&[&pay[..], &weak, &page].concat()).summary(&[]).weaker;
    let expected = Weaker {
        operation: "export".to_owned(),
        sensitivity: "high".to_owned(),
        phishable: 1,
        proofs: 1,
        unasked: 0,
        peers: vec!["pay".to_owned()],
    };
    assert_eq!(weaker, [expected]);
    assert_eq!(prompts(&weak).summary(&[]).weaker, [], "without a peer it is not lower than anything");
}

#[test]
fn what_was_asked_a_day_ago_and_never_told_of_again_is_over_and_forgotten() {
    let long_ago = ["0 opened a ada pay large", "1 passed a confirmation passkey"];
    check(&[&long_ago[..], &["1441 opened b ada pay large"]].concat(), [2, 1, 0, 0]);
    check(&[&long_ago[..], &["1440 opened b ada pay large"]].concat(), [2, 0, 0, 0]);
    // However long the ledger is, what is over is not remembered.
    let mut prompts = Prompts::default();
    for minute in 0..u64::from(3 * FORGET_EVERY as u32) {
        prompts.add(&entry(&format!("{} opened c{minute} ada pay large 5", minute * 10)));
        prompts.add(&entry(&format!("{} passed c{minute} confirmation passkey", minute * 10)));
    }
    assert!(prompts.open.len() < 2 * FORGET_EVERY as usize, "{}", prompts.open.len());
    let summary = prompts.summary(&[]);
    assert_eq!((summary.total.asked, summary.open), (3 * FORGET_EVERY, 145));
    assert_eq!(summary.total.unused, 3 * FORGET_EVERY - 145);
}
