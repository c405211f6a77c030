//! A receiver that is away, or refuses: what is told about it.

use std::time::Duration;

use async_trait::async_trait;
use stepgate_evidence::Event;
use stepgate_monitor::{Begin, Document, Sink, Undelivered};

use crate::house::{House, kind};
use crate::http::{Fault, Kind, Receiver};

/// Refuses documents with this word in them, as it is told to.
#[derive(Debug)]
struct Picky {
    word: &'static str,
    says_which: bool,
}

#[async_trait]
impl Sink for Picky {
    async fn deliver(&mut self, batch: &[Document]) -> Result<(), Undelivered> {
        let is_refused = |document: &Document| document.body.line().contains(self.word);
        let refused: Vec<_> = batch
            .iter()
            .enumerate()
            .filter(|(_, document)| is_refused(document))
            .map(|(place, _)| (place, "no".to_owned()))
            .collect();
        match (refused.is_empty(), self.says_which) {
            (true, _) => Ok(()),
            (false, true) => Err(Undelivered::Refused(refused)),
            (false, false) => Err(Undelivered::Rejected("one of them is bad".to_owned())),
        }
    }
}

/// Answers with a failure if such a document is among them.
#[derive(Debug)]
struct Failing {
    word: &'static str,
}

#[async_trait]
impl Sink for Failing {
    async fn deliver(&mut self, batch: &[Document]) -> Result<(), Undelivered> {
        match batch.iter().any(|document| document.body.line().contains(self.word)) {
            true => Err(Undelivered::Failing { status: 500 }),
            false => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_lies_in_a_file_and_is_an_entry() {
    for says_which in [true, false] {
        let house = House::new().await;
        house.happens("good", 20).await;
        house.happens("poison", 2).await;
        house.happens("good", 20).await;
        let running = house.run(house.parts("siem", Box::new(Picky { word: "poison", says_which })));
        house.caught_up("siem").await;
        assert_eq!(house.state("siem").await.unwrap().refused, 2, "says which: {says_which}");
        let kept = std::fs::read_to_string(house.path("refused-by-siem.jsonl")).unwrap();
        let kept: Vec<serde_json::Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().all(|one| one["document"].as_str().unwrap().contains("poison")));
        let refused: Vec<String> = house
            .entries()
            .await
            .into_iter()
            .filter_map(|entry| match entry.event {
                Event::SinkRefused { sink, index, .. } => Some(format!("{sink} {index}")),
                _ => None,
            })
            .collect();
        // The log begins with an entry of its own.
        assert_eq!(refused, ["siem 21", "siem 22"]);
        running.stop().await;
    }
}

/// An entry that tells of a refusal and is itself refused makes no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_refuses_what_is_told_of_it_ends() {
    let house = House::new().await;
    house.happens("poison", 1).await;
    let running = house.run(house.parts("siem", Box::new(Picky { word: "siem", says_which: true })));
    let second = house.run(house.parts("other", Box::new(Picky { word: "poison", says_which: true })));
    house.caught_up("siem").await;
    house.caught_up("other").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let sinks = house.entries().await.iter().filter(|entry| kind(entry).starts_with("sink.")).count();
    assert!(sinks <= 2, "{sinks}");
    running.stop().await;
    second.stop().await;
}

/// Somebody's mistake in the receiver's configuration is not a thousand documents at fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_everything_is_waited_for() {
    let house = House::new().await;
    house.happens("good", 400).await;
    let running = house.run(house.parts("siem", Box::new(Picky { word: "gate.example", says_which: true })));
    let wait = async {
        loop {
            if let Some((_, why)) = house.state("siem").await.and_then(|state| state.waits) {
                return why;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let why = tokio::time::timeout(crate::house::AT_MOST, wait).await.unwrap();
    assert!(why.contains("refuses everything"), "{why}");
    let state = house.state("siem").await.unwrap();
    assert_eq!((state.next_entry, state.refused), (0, 0), "nothing was given up");
    assert!(!house.path("refused-by-siem.jsonl").exists());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_for_a_day_is_said_once_and_gets_everything() {
    let house = House::new().await;
    let receiver = Receiver::start(Kind::Webhook, [Fault::Broken; 4]).await;
    house.happens("one", 300).await;
    let running = house.run(house.parts("siem", receiver.sink(&house)));
    let wait = async {
        // Each try is a day after the one before it.
        while !receiver.faults.lock().is_empty() {
            house.clock.advance(Duration::from_secs(86_400));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(crate::house::AT_MOST, wait).await.unwrap();
    house.caught_up("siem").await;
    assert_eq!(receiver.received.ids()[..301], house.ids().await[..301]);
    let told: Vec<String> = house.entries().await.iter().map(kind).filter(|kind| kind.starts_with("sink.")).collect();
    assert_eq!(told, ["sink.late", "sink.caught_up"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_begins_now_is_not_told_the_past() {
    let house = House::new().await;
    house.happens("past", 10).await;
    let receiver = Receiver::start(Kind::Webhook, []).await;
    let mut parts = house.parts("siem", receiver.sink(&house));
    parts.begin = Begin::Now;
    let running = house.run(parts);
    house.caught_up("siem").await;
    assert_eq!(receiver.received.ids(), Vec::<String>::new());
    house.happens("present", 3).await;
    house.caught_up("siem").await;
    assert_eq!(receiver.received.ids(), house.ids().await[11..]);
    running.stop().await;
}

/// It has everything else: one document that it fails over is at fault, and holds up nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_a_receiver_always_fails_over_is_put_aside() {
    let house = House::new().await;
    house.happens("good", 20).await;
    house.happens("poison", 1).await;
    house.happens("good", 20).await;
    let running = house.run(house.parts("siem", Box::new(Failing { word: "poison" })));
    house.caught_up("siem").await;
    assert_eq!(house.state("siem").await.unwrap().refused, 1);
    running.stop().await;
}

/// One that fails over everything is away, and nothing is put aside.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_over_everything_is_waited_for() {
    let house = House::new().await;
    house.happens("good", 3).await;
    let running = house.run(house.parts("siem", Box::new(Failing { word: "gate.example" })));
    let wait = async {
        loop {
            if let Some((_, why)) = house.state("siem").await.and_then(|state| state.waits)
                && why.contains("refuses everything")
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::house::AT_MOST, wait).await.unwrap();
    assert_eq!(house.state("siem").await.unwrap().next_entry, 0);
    running.stop().await;
}

/// Takes a batch, however long ago it happened.
#[derive(Debug)]
struct Slow(std::sync::Arc<stepgate_testkit::FakeClock>);

#[async_trait]
impl Sink for Slow {
    async fn deliver(&mut self, _: &[Document]) -> Result<(), Undelivered> {
        self.0.advance(Duration::from_secs(50));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_falls_behind_is_late_though_it_takes_something() {
    let house = House::new().await;
    house.happens("past", 5).await;
    let mut parts = house.parts("siem", Box::new(Slow(std::sync::Arc::clone(&house.clock))));
    parts.late_after = Duration::from_secs(60);
    let running = house.run(parts);
    house.caught_up("siem").await;
    let late =
        |entries: Vec<stepgate_evidence::Entry>| entries.iter().filter(|entry| kind(entry) == "sink.late").count();
    assert_eq!(late(house.entries().await), 0, "the past is told for the first time");
    for _ in 0..3 {
        house.happens("now", 200).await;
    }
    house.caught_up("siem").await;
    assert_eq!(late(house.entries().await), 1);
    running.stop().await;
}
