//! The contract of `Profiles`.

use std::time::Duration;

use stepgate_core::id::PersonId;
use stepgate_core::ports::{KeptProfile, ProfileFate, ProfileWrite, Profiles as _, Store as _};
use stepgate_evidence::Event;

use crate::house::House;

fn write(person: PersonId, version: u64, bytes: &[u8]) -> ProfileWrite {
    ProfileWrite { person, kept: KeptProfile { version, bytes: bytes.to_vec() } }
}

impl House {
    async fn keep(&self, batch: Vec<ProfileWrite>) -> Vec<ProfileFate> {
        self.store.keep_profiles(batch, self.now()).await.unwrap()
    }

    async fn kept(&self, person: PersonId) -> Option<(u64, Vec<u8>)> {
        self.store.profile(person).await.unwrap().map(|kept| (kept.version, kept.bytes))
    }
}

pub(crate) async fn a_profile_reads_back_sealed(house: House) {
    let alice = house.person("alice").await.id;
    assert_eq!(house.kept(alice).await, None);
    assert_eq!(house.keep(vec![write(alice, 0, b"habits of alice")]).await, [ProfileFate::Kept]);
    assert_eq!(house.kept(alice).await, Some((1, b"habits of alice".to_vec())));
    assert_eq!(house.keep(vec![write(alice, 1, b"more")]).await, [ProfileFate::Kept]);
    assert_eq!(house.kept(alice).await, Some((2, b"more".to_vec())));
    let other = house.open_with(stepgate_store::Keyring::generate(house.random.as_ref()), 9).await;
    assert!(other.is_err(), "nothing opens without the key");
}

pub(crate) async fn of_two_nodes_one_writes_and_the_other_reads_again(house: House) {
    let (alice, bob) = (house.person("alice").await.id, house.person("bob").await.id);
    let node = house.another_node(5).await;
    assert_eq!(house.keep(vec![write(alice, 0, b"one")]).await, [ProfileFate::Kept]);
    let batch = vec![write(bob, 0, b"bob"), write(alice, 0, b"other")];
    let fates = node.keep_profiles(batch, house.now()).await.unwrap();
    assert_eq!(fates, [ProfileFate::Kept, ProfileFate::Changed], "in the order of the batch, each by itself");
    let read = node.profile(alice).await.unwrap().unwrap();
    assert_eq!((read.version, &read.bytes[..]), (1, &b"one"[..]));
    assert_eq!(node.keep_profiles(vec![write(alice, 1, b"both")], house.now()).await.unwrap(), [ProfileFate::Kept]);
    assert_eq!(house.keep(vec![write(alice, 1, b"late")]).await, [ProfileFate::Changed]);
    assert_eq!(house.kept(alice).await, Some((2, b"both".to_vec())));
}

pub(crate) async fn b131_nothing_is_kept_of_who_left(house: House) {
    let alice = house.person("alice").await.id;
    house.keep(vec![write(alice, 0, b"habits")]).await;
    let removed = house.entry(Event::PersonRemoved { person: alice.to_string(), by: "cli".to_owned() });
    house.store.remove_person(alice, "cli", house.now(), removed).await.unwrap();
    assert_eq!(house.kept(alice).await, None);
    // What a node still had in memory does not come back.
    assert_eq!(house.keep(vec![write(alice, 1, b"late"), write(alice, 0, b"late")]).await, [ProfileFate::Gone; 2]);
    assert_eq!(house.kept(alice).await, None);
}

pub(crate) async fn a_profile_that_nobody_added_to_for_long_is_purged(house: House) {
    let alice = house.person("alice").await.id;
    house.keep(vec![write(alice, 0, b"habits")]).await;
    let day = Duration::from_secs(86_400);
    house.store.purge(house.now().plus(day * 179)).await.unwrap();
    assert!(house.kept(alice).await.is_some());
    house.store.purge(house.now().plus(day * 181)).await.unwrap();
    assert_eq!(house.kept(alice).await, None);
}
