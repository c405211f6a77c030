//! A gate that sets up its own stream at another: the transmitter and the receiver are both this program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stepgate_core::ports::EntryQuery;
use stepgate_evidence::Event;
use tokio::net::{TcpListener, TcpStream};

use crate::machines::{System, deactivate, known_elsewhere, with_machines};
use crate::world::{Payments, World};

/// An address that is known before the gate behind it listens.
struct Relay {
    origin: String,
    target: Arc<Mutex<Option<SocketAddr>>>,
}

impl Relay {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let origin = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let target = Arc::new(Mutex::new(None::<SocketAddr>));
        let leads_to = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let Some(target) = *leads_to.lock() else { continue };
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self { origin, target }
    }

    fn leads_to(&self, world: &World) {
        *self.target.lock() = Some(world.gate.machines.unwrap());
    }
}

async fn a_gate_subscribes_by_itself(by_push: bool) {
    let (payments, others) = (Payments::start().await, Payments::start().await);
    let (at_there, at_here) = (Relay::start().await, Relay::start().await);
    let listens = |origin: &str| format!("[machines]\nlisten = \"127.0.0.1:0\"\norigin = \"{origin}\"\n");
    let tells = format!("{}[machines.streams]\ndanger_loopback = true\n", listens(&at_there.origin));
    let there = World::start(with_machines(&others, &tells)).await;
    at_there.leads_to(&there);
    let sp = System::new(&there, "sp", &["ssf.manage"], &[]);
    let issuer = &at_there.origin;
    let takes = format!(
        "{}[[machines.transmitter]]\nname = \"other\"\nissuer = \"{issuer}\"\naudience = \"sp\"\n\
         jwks_uri = \"{issuer}/ssf/jwks.json\"\ndanger_loopback = true\n# subscribe\n",
        listens(&at_here.origin)
    );
    let here = World::start(with_machines(&payments, &takes)).await;
    // As an operator does: the tokens, then three lines.
    std::fs::write(here.dir.path().join("there.token"), format!("{}\n", sp.token())).unwrap();
    let mut lines = "subscribe = \"poll\"\nsubscribe_token_file = \"there.token\"\n".to_owned();
    if by_push {
        let pusher = System::new(&here, "other", &["signals.push"], &["--transmitter", "other"]);
        std::fs::write(here.dir.path().join("push.token"), pusher.token()).unwrap();
        lines = lines.replace("poll", "push") + "push_token_file = \"push.token\"\n";
    }
    let file = here.dir.path().join("stepgate.toml");
    let configured = std::fs::read_to_string(&file).unwrap().replace("# subscribe\n", &lines);
    std::fs::write(file, configured).unwrap();
    let here = here.restart().await;
    at_here.leads_to(&here);

    let in_time = Duration::from_secs(60);
    let verified = async {
        let kinds = || vec!["signal.received".to_owned()];
        let is = |event: &Event| matches!(event, Event::SignalReceived { effect, .. } if effect == "verified");
        loop {
            let query = EntryQuery { kinds: kinds(), limit: 100, ..EntryQuery::default() };
            let told = here.gate.flows.store.entries(query).await.unwrap();
            if told.iter().any(|recorded| is(&recorded.entry.event)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(in_time, verified).await.expect("the stream is set up, and shown to work");

    let (ada, twin) = (here.ada().await, there.ada().await);
    known_elsewhere(&here, &there, "ada", issuer).await;
    ada.sign_in_at(&here.at_service("/payments")).await;
    twin.sign_in_at(&there.at_service("/payments")).await;
    assert!(ada.person.open_once(&here.at_service("/payments")).await.status.is_success());
    deactivate(&there, "ada").await;
    let ends = async {
        while !ada.person.open_once(&here.at_service("/payments")).await.status.is_redirection() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(in_time, ends).await.expect("what ended there ends here");
    here.verified_evidence();

    // Whoever comes back finds the stream that is there.
    let here = here.restart().await;
    at_here.leads_to(&here);
    let streams = sp.call("GET", "/ssf/streams", &serde_json::Value::Null).await.1;
    assert_eq!(streams.as_array().unwrap().len(), 1, "{streams}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_sets_up_its_stream_and_fetches_what_ends() {
    a_gate_subscribes_by_itself(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_sets_up_its_stream_and_is_told_what_ends() {
    a_gate_subscribes_by_itself(true).await;
}
