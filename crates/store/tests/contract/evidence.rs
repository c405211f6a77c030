use std::time::Duration;

use secrecy::SecretString;
use stepgate_core::catalogue::{ActionName, ServiceName};
use stepgate_core::challenge::GrantKind;
use stepgate_core::factor::{FactorKind, FactorSecret};
use stepgate_core::id::{ChallengeId, RequestId};
use stepgate_core::ports::{EntryQuery, LeafDetails, RecordedEntry, Store as _};
use stepgate_core::secret::{Purpose, Token};
use stepgate_core::time::Timestamp;
use stepgate_evidence::{Asked, Entry, Event, Outcome};
use stepgate_ledger::export::{Details, Reader, Writer};
use stepgate_ledger::verify::{Trust, verify};
use stepgate_ledger::{CheckpointVerifier, Frontier, SignedCheckpoint, leaf_hash};
use stepgate_store::{BrokenLedger, OpenError};
use tokio::time::timeout;

use crate::house::{AT_MOST, House, MINUTE, is_conflict};
use crate::sealing::tamper;

fn said(entries: &[RecordedEntry]) -> Vec<String> {
    let what = |entry: &RecordedEntry| match &entry.entry.event {
        Event::Fault { what, .. } => Some(what.clone()),
        _ => None,
    };
    entries.iter().filter_map(what).collect()
}

pub(crate) async fn the_first_entry_opens_the_log(house: House) {
    let first = house.all().await.remove(0);
    assert_eq!(first.index, 0);
    let Event::LogOpened { origin, .. } = first.entry.event else { panic!("{first:?}") };
    assert_eq!(origin, "gate.example.com");
}

pub(crate) async fn entries_are_found_by_person_challenge_and_kind(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let (challenge, other) = (house.id(), house.id());
    let refused = |person: String, challenge: String| {
        let (factor, purpose, reason) = ("totp".into(), "answer".into(), "wrong".into());
        house.entry(Event::AttemptFailed {
            person,
            factor,
            provider: None,
            purpose,
            challenge,
            reason,
            factor_id: None,
        })
    };
    let finished = Event::OperationFinished {
        challenge: other.to_string(),
        request: house.id::<()>().to_string(),
        outcome: Outcome::NotSent,
    };
    let entries = vec![
        refused(alice.id.to_string(), challenge.to_string()),
        refused(bob.id.to_string(), challenge.to_string()),
        refused(String::new(), other.to_string()),
        house.entry(finished),
    ];
    house.store.record(entries.clone()).await.unwrap();
    let find = async |query: EntryQuery| {
        let found = house.store.entries(EntryQuery { limit: 10, from: Some(0), ..query }).await.unwrap();
        found.into_iter().map(|entry| entry.entry.id).collect::<Vec<_>>()
    };
    let ids = |wanted: &[usize]| wanted.iter().map(|at| entries[*at].id.clone()).collect::<Vec<_>>();
    let attempts = vec!["attempt.failed".to_owned()];
    let both = vec!["attempt.failed".to_owned(), "operation.finished".to_owned()];
    let of = EntryQuery::default;
    assert_eq!(find(EntryQuery { challenges: vec![challenge], ..of() }).await, ids(&[0, 1]));
    assert_eq!(find(EntryQuery { challenges: vec![other], ..of() }).await, ids(&[2, 3]));
    assert_eq!(find(EntryQuery { person: Some(alice.id), kinds: attempts.clone(), ..of() }).await, ids(&[0]));
    assert_eq!(find(EntryQuery { kinds: attempts.clone(), ..of() }).await, ids(&[0, 1, 2]));
    assert_eq!(find(EntryQuery { challenges: vec![other], kinds: both, ..of() }).await, ids(&[2, 3]));
    assert_eq!(find(EntryQuery { person: Some(bob.id), challenges: vec![challenge], ..of() }).await, ids(&[1]));
    assert_eq!(find(EntryQuery { person: Some(bob.id), challenges: vec![other], ..of() }).await, ids(&[]));
    assert_eq!(find(EntryQuery { kinds: vec!["' OR 1 = 1 --".to_owned()], ..of() }).await, ids(&[]));
    assert_eq!(house.store.entries(EntryQuery { person: Some(alice.id), limit: 10, ..of() }).await.unwrap().len(), 2);
}

pub(crate) async fn what_belongs_to_a_challenge_is_found_by_whom_and_for_what_it_was_opened(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let challenge = house.id();
    let opened = Event::ChallengeOpened {
        challenge: challenge.to_string(),
        session: house.id::<()>().to_string(),
        person: alice.id.to_string(),
        agent: None,
        asked: Asked {
            service: "wiki".to_owned(),
            action: "pages.publish".to_owned(),
            resource: "wiki POST /publish".to_owned(),
            resource_kind: String::new(),
            sensitivity: "high".to_owned(),
        },
        policies: vec!["p".to_owned()],
        policy: "v".to_owned(),
        offered: "confirm: passkey".to_owned(),
        statement: "d".to_owned(),
        held: true,
        succeeds: String::new(),
    };
    let finished = |challenge: ChallengeId| Event::OperationFinished {
        challenge: challenge.to_string(),
        request: house.id::<()>().to_string(),
        outcome: Outcome::Answered { status: 200 },
    };
    let tried = Event::AttemptFailed {
        person: bob.id.to_string(),
        factor: "totp".to_owned(),
        provider: None,
        purpose: "challenge".to_owned(),
        challenge: challenge.to_string(),
        reason: "wrong".to_owned(),
        factor_id: None,
    };
    let entries = [opened, tried, finished(challenge), finished(house.id())].map(|event| house.entry(event));
    house.store.record(entries.to_vec()).await.unwrap();
    let found = async |query: EntryQuery| {
        let kinds = ["challenge.opened", "attempt.failed", "operation.finished"].map(str::to_owned).to_vec();
        let found = house.store.entries(EntryQuery { limit: 10, from: Some(0), kinds, ..query }).await.unwrap();
        found.into_iter().map(|entry| entry.entry.id).collect::<Vec<_>>()
    };
    let ids = |wanted: &[usize]| wanted.iter().map(|at| entries[*at].id.clone()).collect::<Vec<_>>();
    let of = EntryQuery::default;
    assert_eq!(found(EntryQuery { person: Some(alice.id), ..of() }).await, ids(&[0, 2]), "the outcome too");
    assert_eq!(found(EntryQuery { person: Some(bob.id), ..of() }).await, ids(&[1]), "their own try alone");
    let service = Some(ServiceName::parse("wiki").unwrap());
    assert_eq!(found(EntryQuery { service, ..of() }).await, ids(&[0, 1, 2]));
    let action = Some(ActionName::parse("pages.publish").unwrap());
    assert_eq!(found(EntryQuery { action, ..of() }).await, ids(&[0, 1, 2]));
    assert_eq!(found(EntryQuery { challenges: vec![challenge, house.id()], ..of() }).await, ids(&[0, 1, 2]));
}

pub(crate) async fn entries_are_found_by_request_service_action_and_time(house: House) {
    let asked = |service: &str, action: &str| Asked {
        service: service.into(),
        action: action.into(),
        resource: format!("{service} {action}"),
        resource_kind: String::new(),
        sensitivity: "high".into(),
    };
    let refused = |service: &str, action: &str, at_ms: i64| {
        let (policies, policy) = (Vec::new(), String::new());
        let event = Event::OperationRefused {
            person: String::new(),
            agent: None,
            asked: asked(service, action),
            policies,
            policy,
            count: 1,
            window_s: 0,
        };
        Entry { at_ms, ..house.entry(event) }
    };
    let (request, other) = (house.id(), house.id());
    let finished = |request: RequestId, at_ms: i64| {
        let (challenge, request) = (house.id::<()>().to_string(), request.to_string());
        Entry { at_ms, ..house.entry(Event::OperationFinished { challenge, request, outcome: Outcome::NotSent }) }
    };
    let entries = vec![
        refused("ledger", "payments.approve", 1_000),
        refused("ledger", "payments.export", 2_000),
        refused("wiki", "payments.export", 3_000),
        finished(request, 4_000),
        // Written by a node whose clock is behind: the time decides, not the order.
        finished(other, 1_500),
    ];
    house.store.record(entries.clone()).await.unwrap();
    let first = house.store.ledger_size().await.unwrap() - entries.len() as u64;
    let find = async |query: EntryQuery| {
        let found = house.store.entries(EntryQuery { limit: 10, from: Some(first), ..query }).await.unwrap();
        found.into_iter().map(|entry| entry.entry.id).collect::<Vec<_>>()
    };
    let ids = |wanted: &[usize]| wanted.iter().map(|at| entries[*at].id.clone()).collect::<Vec<_>>();
    let of = EntryQuery::default;
    let service = |name: &str| Some(ServiceName::parse(name).unwrap());
    let action = |name: &str| Some(ActionName::parse(name).unwrap());
    let at = |ms: i64| Some(Timestamp::from_ms(ms));
    assert_eq!(find(EntryQuery { service: service("ledger"), ..of() }).await, ids(&[0, 1]));
    assert_eq!(find(EntryQuery { action: action("payments.export"), ..of() }).await, ids(&[1, 2]));
    let both = EntryQuery { service: service("wiki"), action: action("payments.export"), ..of() };
    assert_eq!(find(both).await, ids(&[2]));
    assert_eq!(
        find(EntryQuery { service: service("wiki"), action: action("payments.approve"), ..of() }).await,
        ids(&[])
    );
    assert_eq!(find(EntryQuery { request: Some(request), ..of() }).await, ids(&[3]));
    assert_eq!(find(EntryQuery { request: Some(house.id()), ..of() }).await, ids(&[]));
    assert_eq!(find(EntryQuery { since: at(2_000), until: at(10_000), ..of() }).await, ids(&[1, 2, 3]));
    assert_eq!(find(EntryQuery { until: at(2_000), ..of() }).await, ids(&[0, 4]));
    assert_eq!(find(EntryQuery { since: at(2_000), until: at(2_000), ..of() }).await, ids(&[]));
    assert_eq!(find(EntryQuery { service: service("ledger"), since: at(1_001), ..of() }).await, ids(&[1]));
    let paged = EntryQuery { before: Some(first + 1), limit: 10, service: service("ledger"), ..of() };
    assert_eq!(house.store.entries(paged).await.unwrap().len(), 1);
}

pub(crate) async fn entries_are_found_by_who_did_something_with_the_evidence(house: House) {
    let auditor = house.person("audrey").await;
    let by = auditor.id.to_string();
    let searched = |by: &str| house.entry(Event::EvidenceSearched { by: by.into(), query: "everything".into() });
    house.store.record(vec![searched(&by), searched("cli:root")]).await.unwrap();
    let query = EntryQuery {
        person: Some(auditor.id),
        kinds: vec!["evidence.searched".to_owned()],
        limit: 10,
        ..EntryQuery::default()
    };
    let found = house.store.entries(query).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let keys = house.store.log_keys(house.store.ledger_size().await.unwrap()).await.unwrap();
    assert_eq!(keys.signing, house.store.signing_keys().await.unwrap().checkpoint_verifier);
}

pub(crate) async fn entries_come_in_pages_from_either_end(house: House) {
    let first = house.store.ledger_size().await.unwrap();
    house.store.record((0..7).map(|number| house.said(&number.to_string())).collect()).await.unwrap();
    let find = async |from: Option<u64>, before: Option<u64>, limit| {
        said(&house.store.entries(EntryQuery { from, before, limit, ..EntryQuery::default() }).await.unwrap()).join("")
    };
    assert_eq!(find(Some(first), None, 3).await, "012");
    assert_eq!(find(Some(first + 3), None, 100).await, "3456");
    assert_eq!(find(None, Some(first + 5), 2).await, "43");
    assert_eq!(find(None, None, 2).await, "65");
    assert_eq!(find(Some(first + 1), Some(first + 3), 100).await, "12");
    assert_eq!(find(Some(u64::MAX), None, 100).await, "");
    assert_eq!(find(None, Some(u64::MAX), 1).await, "6");
    assert_eq!(find(Some(first), None, 0).await, "");
}

pub(crate) async fn entries_of_one_and_of_several_come_in_pages_together(house: House) {
    let (alice, bob) = (house.person("alice").await.id, house.person("bob").await.id);
    let first = house.store.ledger_size().await.unwrap();
    let of_one = |reason: String| {
        let (factor, purpose, challenge) = ("totp".into(), "answer".into(), String::new());
        house.entry(Event::AttemptFailed {
            person: alice.to_string(),
            factor,
            provider: None,
            purpose,
            challenge,
            reason,
            factor_id: None,
        })
    };
    let of_several = |change: String| {
        let people = vec![alice.to_string(), bob.to_string()];
        house.entry(Event::GroupMembers { group: "g".to_owned(), change, people, by: "hr".to_owned() })
    };
    // More of each kind than a page holds, in runs and in turn.
    let kinds = "1111sssss1s1s1";
    let make =
        |(number, kind)| if kind == '1' { of_one(format!("{number:x}")) } else { of_several(format!("{number:x}")) };
    house.store.record(kinds.chars().enumerate().map(make).collect()).await.unwrap();
    let find = async |query: EntryQuery| {
        let found = house.store.entries(EntryQuery { person: query.person.or(Some(alice)), ..query }).await.unwrap();
        let what = |recorded: RecordedEntry| match recorded.entry.event {
            Event::AttemptFailed { reason: what, .. } | Event::GroupMembers { change: what, .. } => what,
            other => panic!("{other:?}"),
        };
        found.into_iter().map(what).collect::<Vec<_>>().join("")
    };
    let from = |after: u64, limit| EntryQuery { from: Some(first + after), limit, ..EntryQuery::default() };
    let before = |end: u64, limit| EntryQuery { before: Some(first + end), limit, ..EntryQuery::default() };
    assert_eq!(find(from(0, 3)).await, "012");
    assert_eq!(find(from(3, 3)).await, "345");
    assert_eq!(find(from(3, 100)).await, "3456789abcd");
    assert_eq!(find(before(14, 3)).await, "dcb");
    assert_eq!(find(before(8, 6)).await, "765432");
    assert_eq!(find(EntryQuery { before: Some(first + 6), ..from(2, 100) }).await, "2345");
    assert_eq!(find(EntryQuery { person: Some(bob), ..from(0, 4) }).await, "4567", "whom only others' entries name");
    assert_eq!(find(EntryQuery { kinds: vec!["group.members".to_owned()], ..before(14, 3) }).await, "ca8");
    assert_eq!(find(EntryQuery { limit: 2, ..EntryQuery::default() }).await, "dc");
}

pub(crate) async fn a_refused_change_leaves_no_entry(house: House) {
    let size = house.store.ledger_size().await.unwrap();
    let nobody = house.somebody("nobody");
    is_conflict(house.store.change_person(&nobody, house.said("changed")).await);
    is_conflict(house.store.end_session(house.id(), nobody.id, house.said("ended")).await);
    assert_eq!(house.store.ledger_size().await.unwrap(), size);
}

pub(crate) async fn the_checkpoint_covers_what_was_acknowledged(house: House) {
    let keys = house.store.signing_keys().await.unwrap();
    let verifier = CheckpointVerifier::parse(&keys.checkpoint_verifier).unwrap();
    for _ in 0..5 {
        house.store.record(vec![house.said("one"), house.said("two")]).await.unwrap();
        let checkpoint = verifier.verify(&house.store.checkpoint().await.unwrap()).unwrap();
        let mut naive = Frontier::new();
        house.store.leaves(0, 1_000).await.unwrap().iter().for_each(|leaf| naive.push(leaf_hash(&leaf.bytes)));
        assert_eq!((checkpoint.size, checkpoint.root), (naive.size(), naive.root()));
        assert_eq!(checkpoint.size, house.store.ledger_size().await.unwrap());
    }
}

/// Exports the log as a program would, and verifies the export with nothing but the public key.
pub(crate) async fn verify_offline(house: &House) -> Vec<Option<Details>> {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = SignedCheckpoint::parse(&house.store.checkpoint().await.unwrap()).unwrap();
    // What comes after the checkpoint is not exported.
    house.store.record(vec![house.said("later")]).await.unwrap();
    let size = checkpoint.unverified().size;
    let mut writer = Writer::create(folder.path()).unwrap();
    while writer.size() < size {
        let limit = u32::try_from(size - writer.size()).unwrap().min(100);
        for leaf in house.store.leaves(writer.size(), limit).await.unwrap() {
            assert_eq!(leaf.index, writer.size());
            let details = match leaf.details {
                LeafDetails::None => None,
                LeafDetails::Erased => Some(Details::Erased),
                LeafDetails::Kept(details) => {
                    Some(Details::Kept { salt: hex::encode(details.salt.0), body: details.body })
                }
            };
            writer.append(&leaf.bytes, details.as_ref()).unwrap();
        }
    }
    writer.finish(&checkpoint).unwrap();
    let keys = house.store.signing_keys().await.unwrap();
    let verifier = [CheckpointVerifier::parse(&keys.checkpoint_verifier).unwrap()];
    let trust = Trust { keys: &verifier, remembered: &[] };
    let reader = Reader::open(folder.path()).unwrap();
    let mut seen = Vec::new();
    let report =
        verify(&reader, trust, &mut |record: stepgate_ledger::export::Record| seen.push(record.details)).unwrap();
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(report.entries, size);
    seen
}

pub(crate) async fn an_export_is_verified_offline(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, GrantKind::Freshness).await;
    house.pass(&challenge, &alice).await;
    let event = Event::PersonChanged { person: alice.person.id.to_string(), by: "cli".into() };
    let detailed = house.detailed(event, serde_json::json!({"name": "Alice", "amount": "12000"}));
    house.store.record(vec![detailed]).await.unwrap();
    let details = verify_offline(&house).await;
    let Some(Some(Details::Kept { body, .. })) = details.last() else { panic!("{details:?}") };
    assert_eq!(body["name"], "Alice");
}

pub(crate) async fn b85_no_secret_stands_in_an_entry(house: House) {
    let alice = house.signed_in("alice").await;
    house.enrol(alice.person.id, house.totp()).await.unwrap();
    let token = Token::random(house.random.as_ref());
    let code = stepgate_core::ports::NewCode {
        digest: token.digest(Purpose::HandOff),
        ..house.code(alice.session, Purpose::HandOff, crate::house::host("pay.example.com"))
    };
    house.store.put_code(code).await.unwrap();
    house.holding(&alice, GrantKind::Confirmation).await;
    let mut everything = Vec::new();
    for leaf in house.store.leaves(0, 1_000).await.unwrap() {
        everything.extend_from_slice(&leaf.bytes);
    }
    let everything = String::from_utf8(everything).unwrap();
    for secret in ["not-in-the-clear", "nobody's business", token.expose(), "alice@example.com", "with a name"] {
        assert!(!everything.contains(secret), "{secret}");
    }
    assert!(!everything.contains(&alice.token.to_hex()));
}

pub(crate) async fn erased_details_are_gone_and_the_tree_stays(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let changed = |person: &stepgate_core::person::Person| {
        let event = Event::PersonChanged { person: person.id.to_string(), by: "cli".into() };
        house.detailed(event, serde_json::json!({"name": person.name}))
    };
    let (of_alice, of_bob) = (changed(&alice), changed(&bob));
    let plain = house.said("nothing beside it");
    house.store.record(vec![of_alice.clone(), of_bob.clone(), plain.clone()]).await.unwrap();
    let find = async |wanted: &Entry| {
        let found = house.all().await.into_iter().find(|entry| entry.entry.id == wanted.id).unwrap();
        (found.entry, found.erased)
    };
    assert_eq!(find(&of_alice).await, (of_alice.clone(), false));
    let before = house.store.leaves(0, 1_000).await.unwrap();
    let (person, by, at_ms) = (alice.id, "cli".to_owned(), house.now().as_ms());
    let erased = house.store.erase_details(person, move |entries| Entry {
        id: "ab".repeat(16),
        at_ms,
        event: Event::EvidenceErased { person: person.to_string(), by: by.clone(), entries },
        details: None,
    });
    assert_eq!(erased.await.unwrap(), 1);
    assert_eq!(find(&of_alice).await, (Entry { details: None, ..of_alice }, true));
    assert_eq!(find(&of_bob).await, (of_bob, false));
    assert_eq!(find(&plain).await, (plain, false));
    let after = house.store.leaves(0, 1_000).await.unwrap();
    assert!(before.iter().zip(&after).all(|(before, after)| before.bytes == after.bytes));
    let last = house.all().await.pop().unwrap().entry.event;
    assert!(matches!(last, Event::EvidenceErased { entries: 1, .. }), "{last:?}");
    assert!(verify_offline(&house).await.contains(&Some(Details::Erased)));
}

pub(crate) async fn an_entry_that_an_export_could_not_hold_is_refused(house: House) {
    let size = house.store.ledger_size().await.unwrap();
    let long = house.said(&"x".repeat(70_000));
    assert!(house.store.record(vec![long]).await.is_err());
    let body = serde_json::json!({"long": "x".repeat(1_100_000)});
    let beside = house.detailed(Event::NodeStopped { node: "n".into() }, body);
    assert!(house.store.record(vec![beside]).await.is_err());
    house.store.record(vec![house.said(&"x".repeat(60_000))]).await.unwrap();
    assert_eq!(house.store.ledger_size().await.unwrap(), size + 1);
}

pub(crate) async fn full_tiles_are_kept(house: House) {
    assert_eq!(house.store.tile(0, 0).await.unwrap(), None);
    while house.store.ledger_size().await.unwrap() < 600 {
        house.store.record((0..97).map(|number| house.said(&number.to_string())).collect()).await.unwrap();
    }
    let leaves = house.store.leaves(0, 1_000).await.unwrap();
    for index in 0..2_usize {
        let hashes: Vec<u8> =
            leaves[index * 256..(index + 1) * 256].iter().flat_map(|leaf| *leaf_hash(&leaf.bytes).as_bytes()).collect();
        assert_eq!(house.store.tile(0, index as u64).await.unwrap(), Some(hashes));
    }
    assert_eq!(house.store.tile(0, 2).await.unwrap(), None);
    assert_eq!(house.store.tile(1, 0).await.unwrap(), None);
    assert_eq!(house.store.tile(9, 0).await.unwrap(), None);
    verify_offline(&house).await;
}

pub(crate) async fn waiting_for_entries_completes_when_they_come(house: House) {
    let size = house.store.ledger_size().await.unwrap();
    timeout(AT_MOST, house.store.entries_after(0, AT_MOST * 2)).await.expect("entry 0 is there");
    let store = std::sync::Arc::clone(&house.store);
    let waiting = tokio::spawn(async move { store.entries_after(size, AT_MOST * 2).await });
    house.store.record(vec![house.said("something")]).await.unwrap();
    timeout(AT_MOST, waiting).await.expect("the entry is noticed").unwrap();
    timeout(AT_MOST, house.store.entries_after(size + 1, Duration::from_millis(5))).await.unwrap();
}

pub(crate) async fn b84_a_cut_log_is_not_continued(house: House) {
    let broken = async || match house.open_with(house.keyring.clone(), 9).await {
        Err(OpenError::Ledger(broken)) => broken,
        other => panic!("{other:?}"),
    };
    house.store.record(vec![house.said("one"), house.said("two")]).await.unwrap();
    crate::house::until("the head is signed", || async {
        house.open_with(house.keyring.clone(), 9).await.is_ok()
            && tamper(&house, "UPDATE ledger_head SET size = size WHERE checkpoint_size = size").await == 1
    })
    .await;
    let size = house.store.ledger_size().await.unwrap();
    tamper(&house, "DELETE FROM entries WHERE number = (SELECT MAX(number) FROM entries)").await;
    assert_eq!(broken().await, BrokenLedger::Entries { head: size, entries: size - 1 });
    // The head is cut along with the entries, and its frontier made to fit.
    let mut frontier = Frontier::new();
    house.store.leaves(0, 1_000).await.unwrap().iter().for_each(|leaf| frontier.push(leaf_hash(&leaf.bytes)));
    let hex = hex::encode(frontier.to_bytes());
    let literal = if house.url.starts_with("sqlite:") { format!("X'{hex}'") } else { format!("'\\x{hex}'::bytea") };
    let cut = format!("UPDATE ledger_head SET size = size - 1, frontier = {literal}");
    tamper(&house, cut.leak()).await;
    assert_eq!(broken().await, BrokenLedger::SetBack { signed: size, head: size - 1 });
}

pub(crate) async fn what_is_over_is_purged(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.holding(&alice, GrantKind::Confirmation).await;
    let passed = house.pass(&challenge, &alice).await;
    let link = house.link(alice.person.id);
    house.store.put_link(&link, house.said("made")).await.unwrap();
    let ticket = house.ticket(alice.person.id, &[FactorKind::Totp]).await;
    house.store.begin_on_ticket(ticket.digest, (FactorKind::Totp, SecretString::from("state"))).await.unwrap();
    let code = house.code(alice.session, Purpose::HandOff, stepgate_core::session::Audience::Gate);
    house.store.put_code(code).await.unwrap();
    let entries = house.store.ledger_size().await.unwrap();
    // Two tickets: enrolling the password took one.
    assert_eq!(house.store.purge(house.now()).await.unwrap(), 0);
    house.clock.advance(MINUTE * 60);
    assert_eq!(house.store.purge(house.now()).await.unwrap(), 5, "code, link, two tickets, held request");
    assert_eq!(house.store.held(passed.id).await.unwrap(), None);
    house.clock.advance(MINUTE * 60 * 24 * 9);
    assert_eq!(house.store.purge(house.now()).await.unwrap(), 2, "session and challenge");
    assert!(house.store.challenge(passed.id).await.unwrap().is_none());
    assert_eq!(house.store.purge(house.now()).await.unwrap(), 0);
    assert_eq!(house.store.ledger_size().await.unwrap(), entries, "evidence is not purged");
    let factors = house.store.factors(alice.person.id).await.unwrap();
    assert!(matches!(factors[0].secret, FactorSecret::Password { .. }));
}

pub(crate) async fn b84_a_log_that_is_set_back_under_a_running_node_is_not_continued(house: House) {
    house.store.record(vec![house.said("one")]).await.unwrap();
    let size = house.store.ledger_size().await.unwrap();
    // As if an older copy had been put in the place of the database.
    let empty = hex::encode(Frontier::new().to_bytes());
    let literal = if house.url.starts_with("sqlite:") { format!("X'{empty}'") } else { format!("'\\x{empty}'::bytea") };
    let set_back =
        format!("UPDATE ledger_head SET size = 0, frontier = {literal}, checkpoint_size = 0, checkpoint = ''");
    tamper(&house, set_back.leak()).await;
    assert!(house.store.record(vec![house.said("two")]).await.is_err());
    assert!(house.store.checkpoint().await.is_err());
    assert_eq!(house.store.leaves(0, 1_000).await.unwrap().len() as u64, size);
}
