//! How far sinks have been told.

use std::time::Duration;

use stepgate_core::id::Id;
use stepgate_core::ports::{ChangeError, SinkName, SinkTurn, Sinks as _, Told};

use crate::house::{House, is_conflict};

const TURN: Duration = Duration::from_secs(60);

impl House {
    fn turn(&self, name: &str) -> SinkTurn {
        SinkTurn { sink: SinkName::parse(name).unwrap(), holder: Id::random(self.random.as_ref()) }
    }

    async fn tell(&self, turn: &SinkTurn, from: u64, to: u64) -> Result<(), ChangeError> {
        let told = Told { from, to, refused: 1, is_late: false };
        let until = self.now().plus(TURN);
        self.store.told_sink(turn, told, self.now(), until, vec![self.said("told")]).await
    }
}

pub(crate) async fn of_two_nodes_one_has_the_turn_at_a_sink(house: House) {
    let (first, second) = (house.turn("siem"), house.turn("siem"));
    let (now, until) = (house.now(), house.now().plus(TURN));
    let state = house.store.take_sink(&first, 7, 9, now, until).await.unwrap().unwrap();
    assert_eq!(state.next_entry, 7, "it is new and begins there");
    assert_eq!(house.store.take_sink(&second, 9, 9, now, until).await.unwrap(), None);
    assert!(house.store.take_sink(&first, 9, 9, now, until).await.unwrap().is_some(), "it is its own");
    house.clock.advance(TURN);
    let taken = house.store.take_sink(&second, 9, 9, house.now(), house.now().plus(TURN)).await.unwrap().unwrap();
    assert_eq!(taken.next_entry, 7, "it is where it was");
    is_conflict(house.tell(&first, 7, 8).await); // its turn is over
    house.store.leave_sink(&first).await.unwrap();
    assert!(house.tell(&second, 7, 8).await.is_ok(), "who has no turn ends none");
    house.store.leave_sink(&second).await.unwrap();
    assert!(house.store.take_sink(&first, 0, 9, house.now(), until).await.unwrap().is_some());
}

pub(crate) async fn a_turn_that_a_wrong_clock_took_is_over(house: House) {
    let (first, second) = (house.turn("siem"), house.turn("siem"));
    let year = Duration::from_secs(365 * 86_400);
    let ahead = house.now().plus(year);
    house.store.take_sink(&first, 0, 9, ahead, ahead.plus(TURN)).await.unwrap();
    let taken = house.store.take_sink(&second, 0, 9, house.now(), house.now().plus(TURN)).await.unwrap();
    assert!(taken.is_some());
}

pub(crate) async fn the_cursor_of_a_sink_moves_once_and_with_its_entries(house: House) {
    let turn = house.turn("siem");
    house.store.take_sink(&turn, 0, 9, house.now(), house.now().plus(TURN)).await.unwrap();
    house.tell(&turn, 0, 5).await.unwrap();
    is_conflict(house.tell(&turn, 0, 5).await); // it is not there any more
    assert_eq!(house.count_said("told").await, 1, "no change, no entry");
    house.tell(&turn, 5, 9).await.unwrap();
    let [state] = &house.store.sinks().await.unwrap()[..] else { panic!("one sink") };
    assert_eq!((state.next_entry, state.refused, state.told_at), (9, 2, Some(house.now())));
}

pub(crate) async fn since_when_a_sink_waits_is_kept_until_it_takes_something(house: House) {
    let turn = house.turn("siem");
    let far = house.now().plus(Duration::from_secs(86_400));
    house.store.take_sink(&turn, 0, 9, house.now(), far).await.unwrap();
    let began = house.now();
    house.store.sink_waits(&turn, "away", false, began, far, Vec::new()).await.unwrap();
    house.clock.advance(TURN);
    let why = "x".repeat(5_000);
    house.store.sink_waits(&turn, &why, true, house.now(), far, vec![house.said("late")]).await.unwrap();
    let state = house.store.sinks().await.unwrap().remove(0);
    let (since, why) = state.waits.unwrap();
    assert_eq!((since, why.len(), state.is_late), (began, 300, true));
    let other = house.turn("siem");
    let waits = house.store.sink_waits(&other, "no", true, house.now(), far, vec![house.said("late")]).await;
    is_conflict(waits); // who has no turn says nothing
    assert_eq!(house.count_said("late").await, 1);
    house.tell(&turn, 0, 1).await.unwrap();
    let state = house.store.sinks().await.unwrap().remove(0);
    assert_eq!((state.waits, state.is_late), (None, false));
}

pub(crate) async fn a_sink_that_is_forgotten_begins_anew(house: House) {
    let turn = house.turn("siem");
    house.store.take_sink(&turn, 0, 9, house.now(), house.now().plus(TURN)).await.unwrap();
    house.tell(&turn, 0, 5).await.unwrap();
    let name = SinkName::parse("siem").unwrap();
    house.store.forget_sink(&name, house.said("forgotten")).await.unwrap();
    is_conflict(house.store.forget_sink(&name, house.said("forgotten")).await);
    assert_eq!(house.count_said("forgotten").await, 1);
    let state = house.store.take_sink(&turn, 3, 9, house.now(), house.now().plus(TURN)).await.unwrap().unwrap();
    assert_eq!(state.next_entry, 3);
}
