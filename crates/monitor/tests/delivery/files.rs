//! Files.

use stepgate_monitor::{File, Rotation};

use crate::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_put_aside_when_it_is_long() {
    let house = House::new().await;
    let path = house.path("evidence.jsonl");
    let sink = File::new(path.clone(), Some(Rotation { at_len: 2_000, keep: 100 }));
    let running = house.run(house.parts("file", Box::new(sink)));
    for _ in 0..5 {
        house.happens("one", 20).await;
        house.caught_up("file").await;
    }
    running.stop().await;
    let mut files: Vec<_> = (1..=100).rev().map(|number| house.path(&format!("evidence.jsonl.{number}"))).collect();
    files.push(path);
    files.retain(|file| file.exists());
    assert!(files.len() > 2, "{files:?}");
    let all: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let ids: Vec<String> = all
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, house.ids().await, "oldest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_a_crash_cut_does_not_spoil_the_next() {
    let house = House::new().await;
    let path = house.path("evidence.jsonl");
    std::fs::write(&path, "{\"cut").unwrap();
    house.happens("one", 2).await;
    let running = house.run(house.parts("file", Box::new(File::new(path.clone(), None))));
    house.caught_up("file").await;
    running.stop().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "{\"cut");
    assert_eq!(lines.len(), 4, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_moved_away_is_made_anew() {
    let house = House::new().await;
    let path = house.path("evidence.jsonl");
    let running = house.run(house.parts("file", Box::new(File::new(path.clone(), None))));
    house.happens("one", 2).await;
    house.caught_up("file").await;
    std::fs::rename(&path, house.path("moved.jsonl")).unwrap();
    house.happens("two", 2).await;
    house.caught_up("file").await;
    running.stop().await;
    assert_eq!(std::fs::read_to_string(house.path("moved.jsonl")).unwrap().lines().count(), 3);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// A disk that is full, or a directory that is not there: the sink waits, and goes on when that is mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_is_waited_for() {
    let house = House::new().await;
    let folder = house.path("missing");
    let path = folder.join("evidence.jsonl");
    house.happens("one", 2).await;
    let running = house.run(house.parts("file", Box::new(File::new(path.clone(), None))));
    let wait = async {
        while house.state("file").await.is_none_or(|state| state.waits.is_none()) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::house::AT_MOST, wait).await.unwrap();
    std::fs::create_dir(&folder).unwrap();
    house.caught_up("file").await;
    running.stop().await;
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
}
