use std::time::Duration;

use stepgate_core::ports::{ChangeError, Store as _};
use stepgate_evidence::{Entry, Event, verify};
use stepgate_ledger::export::{Reader, Writer};
use stepgate_ledger::verify::Trust;
use stepgate_ledger::{CheckpointVerifier, SignedCheckpoint};
use stepgate_store::{Database, FormerKey, KeyRotation};

use crate::house::{House, MINUTE};
use crate::sealing::tamper;

const HOUR: Duration = Duration::from_secs(3600);

/// The entry that announces `key`.
fn announced(house: &House) -> impl FnOnce(&str, &str) -> Entry + use<> {
    let blank = house.said("");
    move |key, former| {
        let event = Event::CheckpointKeyAnnounced { key: key.into(), former: former.into(), by: "test".into() };
        Entry { event, ..blank }
    }
}

async fn rotate(house: &House, store: &Database, former: FormerKey) -> Result<String, ChangeError> {
    store.new_checkpoint_key(house.now(), former, announced(house)).await
}

/// Exports the log as it is, and verifies it with one key.
async fn verified(store: &Database, key: &str) -> verify::Report {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = SignedCheckpoint::parse(&store.checkpoint().await.unwrap()).unwrap();
    let mut writer = Writer::create(folder.path()).unwrap();
    for leaf in store.leaves(0, 1_000).await.unwrap() {
        writer.append(&leaf.bytes, None).unwrap();
    }
    for key in store.checkpoint_keys().await.unwrap() {
        key.handover.iter().for_each(|handover| writer.handover(handover).unwrap());
    }
    writer.finish(&checkpoint).unwrap();
    let keys = [CheckpointVerifier::parse(key).unwrap()];
    let reader = Reader::open(folder.path()).unwrap();
    verify::verify(&reader, Trust { keys: &keys, remembered: &[] }, &mut |_| {}).unwrap()
}

fn signed_by(checkpoint: &str, key: &str) -> bool {
    CheckpointVerifier::parse(key).unwrap().verify(checkpoint).is_ok()
}

pub(crate) async fn signing_keys_outlive_a_restart(house: House) {
    let first = house.store.signing_keys().await.unwrap();
    let [key] = first.assertion.as_slice() else { panic!("{first:?}") };
    assert_eq!((key.public.len(), key.public[0]), (65, 4));
    assert_eq!((key.made_at, key.signs_from), (house.now(), house.now()));
    let other = house.another_node(9).await;
    let later = other.signing_keys().await.unwrap();
    assert_eq!(later.checkpoint_verifier, first.checkpoint_verifier);
    assert_eq!(later.mac, first.mac);
    assert_eq!(later.assertion[0].id, key.id);
    let verifier = CheckpointVerifier::parse(&first.checkpoint_verifier).unwrap();
    assert_eq!(verifier.origin().as_str(), "gate.example.com");
    assert_eq!(other.origin().as_str(), "gate.example.com");
    let shown = format!("{later:?}");
    assert!(!shown.contains(&format!("{:?}", later.mac.as_slice())) && !shown.contains("pkcs8"));
}

pub(crate) async fn an_assertion_key_is_published_before_it_signs_and_the_former_stays_for_a_while(house: House) {
    let former = house.store.signing_keys().await.unwrap().assertion[0].id.clone();
    let signs_from = house.now().plus(MINUTE * 10);
    let rotation = KeyRotation::PublishedFirst { signs_from };
    let next = house.store.new_assertion_key(house.now(), rotation, |id| house.said(id)).await.unwrap();
    assert_eq!(house.count_said(&next).await, 1, "the entry names the key");
    let ids = |keys: stepgate_store::SigningKeys| keys.assertion.into_iter().map(|key| key.id).collect::<Vec<_>>();
    assert_eq!(ids(house.store.signing_keys().await.unwrap()), [next.clone(), former.clone()]);
    assert_eq!(house.store.signing_keys().await.unwrap().assertion[0].signs_from, signs_from);

    // While it waits, no other is made: nobody would know which one signs next.
    let again = house.store.new_assertion_key(house.now(), rotation, |_| house.said("again")).await;
    assert!(matches!(again, Err(ChangeError::Conflict)), "{again:?}");
    assert_eq!(house.count_said("again").await, 0);

    house.clock.advance(MINUTE * 10);
    house.store.purge(house.now()).await.unwrap();
    assert_eq!(ids(house.store.signing_keys().await.unwrap()).len(), 2, "what the former signed is still valid");
    house.clock.advance(HOUR);
    house.store.purge(house.now()).await.unwrap();
    assert_eq!(ids(house.store.signing_keys().await.unwrap()), [next]);
}

pub(crate) async fn a_compromised_assertion_key_is_gone_at_once(house: House) {
    let signs_from = house.now().plus(HOUR);
    let waits = KeyRotation::PublishedFirst { signs_from };
    house.store.new_assertion_key(house.now(), waits, |_| house.said("waits")).await.unwrap();
    let id = house.store.new_assertion_key(house.now(), KeyRotation::AtOnce, |_| house.said("at once")).await;
    let keys = house.another_node(9).await.signing_keys().await.unwrap();
    let [only] = keys.assertion.as_slice() else { panic!("{keys:?}") };
    assert_eq!((&only.id, only.signs_from), (&id.unwrap(), house.now()));
}

pub(crate) async fn the_next_checkpoint_key_is_announced_under_the_former_and_signs_from_there_on(house: House) {
    let first = house.store.signing_keys().await.unwrap().checkpoint_verifier;
    house.store.record(vec![house.said("before")]).await.unwrap();
    let second = rotate(&house, &house.store, FormerKey::Destroy).await.unwrap();
    // The head that hands over is signed by both; the next one by the new key alone.
    let handover = house.store.checkpoint().await.unwrap();
    assert!(signed_by(&handover, &first) && signed_by(&handover, &second), "{handover}");
    house.store.record(vec![house.said("after")]).await.unwrap();
    let later = house.store.checkpoint().await.unwrap();
    assert!(!signed_by(&later, &first) && signed_by(&later, &second), "{later}");

    let third = rotate(&house, &house.store, FormerKey::Destroy).await.unwrap();
    house.store.record(vec![house.said("after")]).await.unwrap();
    for known in [&first, &second, &third] {
        let report = verified(&house.store, known).await;
        assert!(report.is_sound(), "{report}");
        assert_eq!(report.ledger.signed_by, std::slice::from_ref(&third));
    }
    let keys = house.store.checkpoint_keys().await.unwrap();
    let sizes: Vec<_> = keys.iter().map(|key| (key.verifier.clone(), key.from_size)).collect();
    assert_eq!(sizes, [(first, 0), (second, 3), (third, 5)]);
}

pub(crate) async fn another_node_signs_with_the_next_checkpoint_key_without_being_told(house: House) {
    let first = house.store.signing_keys().await.unwrap().checkpoint_verifier;
    let other = house.another_node(9).await;
    other.record(vec![house.said("other")]).await.unwrap();
    let second = rotate(&house, &house.store, FormerKey::Destroy).await.unwrap();
    other.record(vec![house.said("other")]).await.unwrap();
    for store in [&other, &house.store] {
        let checkpoint = store.checkpoint().await.unwrap();
        assert!(signed_by(&checkpoint, &second) && !signed_by(&checkpoint, &first), "{checkpoint}");
    }
    // What is kept in the database was signed by whichever node wrote: the next start believes it.
    house.another_node(10).await;
}

pub(crate) async fn a_change_of_the_checkpoint_key_that_fails_changes_nothing(house: House) {
    let first = house.store.signing_keys().await.unwrap().checkpoint_verifier;
    let other = house.another_node(9).await;
    let size = house.store.ledger_size().await.unwrap();
    // Without its private half the former key cannot hand over.
    assert_eq!(tamper(&house, "UPDATE signing_keys SET purpose = 'x', id = 'x' WHERE purpose = 'checkpoint'").await, 1);
    let failed = rotate(&house, &other, FormerKey::Destroy).await;
    assert!(matches!(failed, Err(ChangeError::Store(_))), "{failed:?}");
    assert_eq!(house.store.ledger_size().await.unwrap(), size);
    let keys = house.store.checkpoint_keys().await.unwrap();
    assert_eq!(keys.iter().map(|key| key.verifier.clone()).collect::<Vec<_>>(), [first]);
}

pub(crate) async fn of_two_changes_of_the_checkpoint_key_one_fails(house: House) {
    let (here, there) = (house.store.clone(), house.another_node(9).await);
    let (one, other) =
        tokio::join!(rotate(&house, &here, FormerKey::Destroy), rotate(&house, &there, FormerKey::Destroy));
    // They may also come one after the other; then both count, and the keys follow one another.
    let done: Vec<String> = [one, other].into_iter().flatten().collect();
    assert!(!done.is_empty());
    house.store.record(vec![house.said("after")]).await.unwrap();
    let keys = house.store.checkpoint_keys().await.unwrap();
    assert_eq!(keys.len(), done.len() + 1);
    let report = verified(&house.store, &keys[0].verifier).await;
    assert!(report.is_sound(), "{report}");
}

pub(crate) async fn a_kept_checkpoint_key_stays_sealed_and_a_destroyed_one_is_gone(house: House) {
    rotate(&house, &house.store, FormerKey::Keep).await.unwrap();
    let private =
        |keys: Vec<stepgate_store::CheckpointKey>| keys.into_iter().map(|key| key.has_private_half).collect::<Vec<_>>();
    assert_eq!(private(house.store.checkpoint_keys().await.unwrap()), [true, true]);
    rotate(&house, &house.store, FormerKey::Destroy).await.unwrap();
    assert_eq!(private(house.store.checkpoint_keys().await.unwrap()), [true, false, true]);
}

pub(crate) async fn a_crash_before_the_next_key_has_signed_leaves_a_log_that_opens(house: House) {
    let first = house.store.signing_keys().await.unwrap().checkpoint_verifier;
    house.store.record(vec![house.said("before")]).await.unwrap();
    rotate(&house, &house.store, FormerKey::Destroy).await.unwrap();
    house.store.record(vec![house.said("after")]).await.unwrap();
    // As if the process had died before it signed anything since the first entry.
    let keys = house.store.checkpoint_keys().await.unwrap();
    let handover = keys[1].handover.clone().unwrap();
    assert!(signed_by(handover.text(), &first));
    let back = format!(
        "UPDATE ledger_head SET checkpoint = '{}', checkpoint_size = {}",
        handover.text(),
        handover.unverified().size
    );
    assert_eq!(tamper(&house, back.leak()).await, 1);
    let again = house.another_node(9).await;
    again.record(vec![house.said("again")]).await.unwrap();
    assert!(verified(&again, &first).await.is_sound());
}
