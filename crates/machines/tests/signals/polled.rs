//! Events that are fetched from a transmitter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use stepgate_core::signals::{EventSource, Happened, PollAnswer};
use tokio_util::sync::CancellationToken;

use crate::house::{House, user};

/// Answers at once, always the same, until it is acknowledged if it minds.
#[derive(Debug, Default)]
struct AtOnce {
    sets: Mutex<BTreeMap<String, String>>,
    minds: bool,
    acknowledged: Mutex<Vec<Vec<String>>>,
}

#[async_trait]
impl EventSource for AtOnce {
    async fn poll(
        &self,
        taken: &[String],
        _: &BTreeMap<String, (String, String)>,
        _: Duration,
    ) -> Result<PollAnswer, String> {
        tokio::task::yield_now().await;
        self.acknowledged.lock().push(taken.to_vec());
        let mut sets = self.sets.lock();
        if self.minds {
            sets.retain(|id, _| !taken.contains(id));
        }
        Ok(PollAnswer { sets: sets.clone(), more: false })
    }
}

/// Asks for a while; gives what each question acknowledged.
async fn asked(house: &House, source: &AtOnce, within: Duration) -> Vec<Vec<String>> {
    let asking = stepgate_machines::poll(house.signals.clone(), "corp", source, CancellationToken::new());
    let _ = tokio::time::timeout(within, asking).await;
    source.acknowledged.lock().clone()
}

#[tokio::test]
async fn b102_a_transmitter_that_holds_no_question_is_not_asked_without_pause() {
    let house = House::new().await;
    let nothing = AtOnce::default();
    let questions = asked(&house, &nothing, Duration::from_millis(2_500)).await;
    assert!((2..=3).contains(&questions.len()), "{}", questions.len());
    // Nor is one that tells the same again and again.
    let same = AtOnce::default();
    let set = house.event("1", user("nobody"), Happened::SessionRevoked);
    same.sets.lock().insert("1".to_owned(), set);
    let questions = asked(&house, &same, Duration::from_millis(2_500)).await;
    assert!((2..=4).contains(&questions.len()), "{}", questions.len());
}

#[tokio::test]
async fn b94_what_the_store_did_not_take_is_not_acknowledged() {
    let house = Arc::new(House::new().await);
    let alice = house.sign_in(&house.person("alice").await, "s1").await;
    let source = AtOnce { minds: true, ..AtOnce::default() };
    let set = house.event("1", user("alice"), Happened::SessionRevoked);
    source.sets.lock().insert("1".to_owned(), set);
    house.faulty.fails.store(1, Ordering::SeqCst);
    let questions = asked(&house, &source, Duration::from_millis(3_000)).await;
    let none: [String; 0] = [];
    assert_eq!((&questions[0][..], &questions[1][..]), (&none[..], &none[..]), "it failed, so it comes again");
    assert_eq!(questions[2], ["1"]);
    assert!(!house.lives(&alice).await);
    assert_eq!(house.recorded("signal.received").await.len(), 1);
}
