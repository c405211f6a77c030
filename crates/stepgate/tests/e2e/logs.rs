//! What must not be written down is not: neither in logs nor in the evidence.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stepgate_core::time::Clock as _;
use stepgate_testkit::{Answer, PushDevice, RecordingUpstream, totp};

use crate::push::{Signs, ask, behind, subscribe, with_device};
use crate::world::{PASSWORD, Payments, World};

/// Everything that this process logs, at the level where it says most.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b85_no_password_code_token_or_body_is_logged_or_recorded() {
    let log = Log::default();
    let writer = log.clone();
    let filter = "warn,stepgate=trace,stepgate_core=trace,stepgate_gateway=trace,stepgate_console=trace,\
        stepgate_store=trace,stepgate_factors=trace,stepgate_identity=trace";
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone()).init();

    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let first_token = ada.person.cookie("ledger.localhost", "stepgate").unwrap();
    let marked = list.form_with("large").fill("large", "the-body-is-nobodys-business");
    let asked = ada.person.submit(&list, &marked).await;
    ada.person.touch(&asked).await;
    world.clock.advance(Duration::from_secs(60));
    let asked = ada.person.open(&world.at_service("/payments.csv")).await;
    let code = totp::code_at(&ada.secret, world.clock.now());
    let form = asked.forms().into_iter().find(|form| form.fields.contains(&("factor".into(), "totp".into())));
    ada.person.submit(&asked, &form.unwrap().fill("code", &code)).await;
    world.verified_evidence();

    let mut secrets =
        vec![PASSWORD.to_owned(), ada.secret.clone(), first_token, "the-body-is-nobodys-business".to_owned()];
    for (host, cookie) in [
        ("localhost", "stepgate"),
        ("ledger.localhost", "stepgate"),
        ("localhost", "stepgate-browser"),
        ("ledger.localhost", "stepgate-browser"),
    ] {
        secrets.push(ada.person.cookie(host, cookie).unwrap());
    }
    // Where a device is woken is a secret by itself.
    let payments = Payments::start().await;
    let other = World::start(behind(&payments, "danger_loopback = true")).await;
    let (ada, phone, list) = with_device(&other, Signs::No).await;
    let service = RecordingUpstream::start(|_| Answer::new(503, &[], "")).await;
    for endpoint in
        ["http://push.example/the-first-endpoint".to_owned(), format!("{}/the-second-endpoint", service.url())]
    {
        subscribe(&other, &phone, &PushDevice::at(&endpoint)).await;
        secrets.extend(endpoint.rsplit('/').next().map(str::to_owned));
    }
    ask(&ada, &list, "large").await;
    service.wait_for(2).await;
    other.verified_evidence();

    let logged = String::from_utf8_lossy(&log.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
    let mut recorded = String::new();
    gather(&world.dir.path().join("export"), &mut recorded);
    assert!(recorded.contains("payments.approve"), "the export holds the entries");
    for secret in &secrets {
        assert!(!logged.contains(secret), "logged: {secret}");
        assert!(!recorded.contains(secret), "recorded: {secret}");
    }
    // Six digits may stand anywhere by chance, so only where they are called a code.
    assert!(!logged.contains(&format!("\"{code}\"")) && !recorded.contains(&format!("\"{code}\"")), "the code");
}

/// All files below a folder, one after the other.
fn gather(folder: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, text);
        } else {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }
}
