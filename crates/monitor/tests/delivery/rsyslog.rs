//! A receiver of syslog that nobody here wrote.

use serde_json::Value;
use stepgate_monitor::{Format, Syslog, SyslogTransport};
use stepgate_testkit::Rsyslog;

use crate::house::{GATE, House};

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_reads_every_message_as_it_was_meant() {
    let house = House::new().await;
    let receiver = tokio::task::spawn_blocking(Rsyslog::start).await.unwrap();
    let sink = |port: u16| Syslog::new(format!("127.0.0.1:{port}"), SyslogTransport::Tcp, GATE.to_owned());
    house.happens("one] \"two\" \\three\nfour \u{1b}[2J ünï", 300).await;
    let native = house.run(house.parts("native", Box::new(sink(receiver.port()))));
    house.caught_up("native").await;
    native.stop().await;
    let mut parts = house.parts("cef", Box::new(sink(receiver.port())));
    parts.format = Format::Cef;
    let cef = house.run(parts);
    house.caught_up("cef").await;
    cef.stop().await;
    let ids = house.ids().await;
    let wait = async {
        while receiver.received().lines().count() < 2 * ids.len() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let _ = tokio::time::timeout(crate::house::AT_MOST, wait).await;
    let received = receiver.received();
    let lines: Vec<Vec<&str>> = received.lines().map(|line| line.splitn(8, '|').collect()).collect();
    assert_eq!(lines.len(), 2 * ids.len(), "one line each: {received}");
    for (number, (line, id)) in lines.iter().zip(ids.iter().chain(&ids)).enumerate() {
        assert_eq!(line[0], "authpriv");
        assert_eq!(line[3..5], [GATE, "stepgate"]);
        assert!(line[6].starts_with("[meta sequenceId=\""), "{line:?}");
        match number < ids.len() {
            true => {
                let value: Value = serde_json::from_str(line[7].trim_start()).unwrap();
                assert_eq!((value["id"].as_str().unwrap(), value["kind"].as_str().unwrap()), (id.as_str(), line[5]));
            }
            false => assert!(line[7].contains("CEF:0|Stepgate|Stepgate|") && line[7].contains(id.as_str()), "{line:?}"),
        }
    }
}
