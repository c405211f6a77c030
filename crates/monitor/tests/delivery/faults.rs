//! One suite of faults over every sink.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stepgate_monitor::{File, Sink};

use crate::house::{House, Received};
use crate::http::{self, Fault, KINDS};
use crate::syslog;

/// Everything that goes wrong, one after the other.
const FAULTS: [Fault; 6] =
    [Fault::LostAcknowledgement, Fault::Half, Fault::TooMany, Fault::Broken, Fault::Garbage, Fault::HalfAnAnswer];

/// A receiver of either family.
enum Receiver {
    Http(http::Receiver),
    Syslog(syslog::Receiver),
}

impl Receiver {
    fn received(&self) -> &Arc<Received> {
        match self {
            Self::Http(receiver) => &receiver.received,
            Self::Syslog(receiver) => &receiver.received,
        }
    }

    fn faults(&self) -> &Mutex<std::collections::VecDeque<Fault>> {
        match self {
            Self::Http(receiver) => &receiver.faults,
            Self::Syslog(receiver) => &receiver.faults,
        }
    }

    fn sink(&self, house: &House) -> Box<dyn Sink> {
        match self {
            Self::Http(receiver) => receiver.sink(house),
            Self::Syslog(receiver) => receiver.sink(house),
        }
    }
}

async fn every(faults: &[Fault]) -> Vec<(String, Receiver)> {
    let mut all = Vec::new();
    for kind in KINDS {
        let receiver = http::Receiver::start(kind, faults.iter().copied()).await;
        all.push((format!("{kind:?}").to_lowercase(), Receiver::Http(receiver)));
    }
    for (name, is_tls) in [("tcp", false), ("tls", true)] {
        let receiver = syslog::Receiver::start(is_tls, faults.iter().copied()).await;
        all.push((name.to_owned(), Receiver::Syslog(receiver)));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_receiver_does_wrong_it_has_everything_in_the_end() {
    let house = House::new().await;
    house.happens("before", 250).await;
    let receivers = every(&FAULTS).await;
    let mut running = Vec::new();
    for (name, receiver) in &receivers {
        running.push(house.run(house.parts(name, receiver.sink(&house))));
    }
    for (name, receiver) in &receivers {
        // As often as it takes until it has failed in each way.
        while !receiver.faults().lock().is_empty() {
            house.happens("meanwhile", 3).await;
            house.caught_up(name).await;
        }
        house.caught_up(name).await;
        assert!(receiver.faults().lock().is_empty(), "{name} had all its faults");
        assert_eq!(receiver.received().ids(), house.ids().await, "{name}: everything, in order");
        assert!(receiver.received().repeats() > 0, "{name}: what was not acknowledged came again");
        assert_eq!(house.state(name).await.unwrap().refused, 0);
    }
    for one in running {
        one.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_is_tried_again() {
    let house = House::new().await;
    house.happens("one", 3).await;
    let receivers = every(&[Fault::Silence]).await;
    let mut running = Vec::new();
    for (name, receiver) in &receivers {
        running.push(house.run(house.parts(name, receiver.sink(&house))));
    }
    for (name, receiver) in &receivers {
        house.caught_up(name).await;
        assert_eq!(receiver.received().ids(), house.ids().await, "{name}");
    }
    for one in running {
        one.stop().await;
    }
}

/// A hundred times: a node is killed wherever it is, and the next one goes on where the receiver stood.
#[tokio::test(flavor = "multi_thread")]
async fn killed_a_hundred_times_nothing_is_missing() {
    let house = House::new().await;
    let mut receivers = every(&[]).await;
    let file = house.path("evidence.jsonl");
    for round in 0_u64..100 {
        house.happens("one", 5).await;
        let mut running = Vec::new();
        for (name, receiver) in &receivers {
            running.push(house.run(house.parts(name, receiver.sink(&house))));
        }
        running.push(house.run(house.parts("file", Box::new(File::new(file.clone(), None)))));
        // Between "not begun" and "done", a little later each time.
        tokio::time::sleep(Duration::from_millis(round % 25 * 2)).await;
        for one in running {
            one.kill().await;
        }
        // Its turn ends by itself.
        house.clock.advance(stepgate_monitor::TURN);
    }
    let mut running = Vec::new();
    for (name, receiver) in &receivers {
        running.push(house.run(house.parts(name, receiver.sink(&house))));
    }
    running.push(house.run(house.parts("file", Box::new(File::new(file.clone(), None)))));
    let ids = house.ids().await;
    for (name, receiver) in receivers.drain(..) {
        house.caught_up(&name).await;
        // What a killed node had on its way may come while the next one tells it again; and it is told who was late.
        assert_eq!(missing(&ids, receiver.received().ids()), NOTHING, "{name}");
    }
    house.caught_up("file").await;
    let in_file = Received::default();
    for line in std::fs::read_to_string(&file).unwrap().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        in_file.take(value["id"].as_str().unwrap());
    }
    assert_eq!(missing(&ids, in_file.ids()), NOTHING);
    for one in running {
        one.stop().await;
    }
}

const NOTHING: Vec<String> = Vec::new();

/// What of these did not come.
fn missing(ids: &[String], came: Vec<String>) -> Vec<String> {
    ids.iter().filter(|id| !came.contains(id)).cloned().collect()
}

/// Two nodes have the same sink: one at a time tells it.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_one_tells() {
    let house = House::new().await;
    let receiver = http::Receiver::start(http::Kind::Webhook, []).await;
    let first = house.run(house.parts("siem", receiver.sink(&house)));
    house.happens("one", 10).await;
    house.caught_up("siem").await;
    let second = house.run(house.parts("siem", receiver.sink(&house)));
    house.happens("two", 10).await;
    house.caught_up("siem").await;
    assert_eq!(receiver.received.repeats(), 0);
    first.stop().await;
    house.happens("three", 10).await;
    house.caught_up("siem").await;
    assert_eq!(receiver.received.ids(), house.ids().await);
    assert_eq!(receiver.received.repeats(), 0);
    second.stop().await;
}
