//! Held and resumed step-ups per second with evidence on disk, and the memory of
//! 100,000 sessions.
//!
//! Each step-up is the whole way: a request is held, the passkey's signature is
//! verified, the browser comes back by two one-time codes, the request is decided
//! again, spent, sent (to nobody), and its outcome recorded: six transactions with
//! their entries in one SQLite file. 64 people at once. The software authenticator
//! signs in the same process, so its signature is part of the figure.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use stepgate_bench::{Error, Rig, RigOptions, now, resident_kib, service_token, session};
use stepgate_core::catalogue::{Host, Service};
use stepgate_core::challenge::{AskedFrom, HeldRequest, SendOutcome};
use stepgate_core::decide::{Asker, Verdict};
use stepgate_core::factor::{Answer, EnrolmentAnswer, EnrolmentOffer, FactorKind, Prompt};
use stepgate_core::flows::{Answered, Asking, AskingBy, Flows, GoOn, Step};
use stepgate_core::operation::{InputValue, Inputs, Operation};
use stepgate_core::ports::{ToHold, Trier};
use stepgate_core::secret::{Purpose, Token};
use stepgate_core::session::Audience;
use stepgate_evidence::Assertion;
use stepgate_testkit::SoftwareAuthenticator;

/// People who are asked at once.
const PEOPLE: usize = 64;
/// Step-ups of each.
const EACH: usize = 16;
/// Sessions for the memory figure.
const SESSIONS: usize = 100_000;

fn main() -> ExitCode {
    let run = tokio::runtime::Runtime::new().map_err(Error::from).and_then(|runtime| runtime.block_on(run()));
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    // Nothing listens: the flows are called as the door calls them.
    let address = SocketAddr::from(([127, 0, 0, 1], 4180));
    let rig = Rig::open(directory.path(), RigOptions { address, upstream: nowhere, assertion: "never" }).await?;
    let flows = Arc::clone(&rig.house.flows);
    let start = now();
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        people.push(person_of(&flows, number).await?);
    }
    println!("{PEOPLE} people enrolled in {:.1} s", now().saturating_sub(start).as_secs_f64());

    let start = now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut person in people {
        let flows = Arc::clone(&flows);
        tasks.spawn(async move {
            for number in 0..EACH {
                step_up(&flows, &mut person, number).await?;
            }
            Ok::<(), Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let seconds = now().saturating_sub(start).as_secs_f64();
    let count = PEOPLE * EACH;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = count as f64 / seconds;
    println!(
        "{count} held and resumed step-ups in {seconds:.1} s: {rate:.0} per second, evidence on disk (SQLite, synchronous FULL)"
    );
    memory(&rig).await
}

struct Person {
    session: stepgate_core::id::SessionId,
    gate_token: Token,
    authenticator: SoftwareAuthenticator,
    origin: String,
}

/// Tries and factors are counted per person, so each is one.
async fn person_of(flows: &Flows, number: usize) -> Result<Person, Error> {
    let login = stepgate_core::person::Login::parse(&format!("bench{number}"))?;
    let person = flows.add_person(login, "Bench", "", vec!["staff".to_owned()], "bench").await?;
    let kinds = vec![FactorKind::PASSKEY];
    let link = flows.make_link(&person, kinds, Duration::from_secs(600), "bench").await?;
    let link = link.url.rsplit('/').next().and_then(Token::parse).ok_or("no link")?;
    let browser = Token::random(&stepgate::system::SystemRandomness);
    let ticket = flows.use_link(&link, &browser).await?;
    let view = flows.enrolment(&ticket, &browser).await?;
    let EnrolmentOffer::Passkey { options } = flows.begin_enrolment(&view, FactorKind::PASSKEY).await? else {
        return Err("no passkey was offered".into());
    };
    let origin = flows.live.load().catalogue.gate_origin.clone();
    let mut authenticator = SoftwareAuthenticator::new();
    let credential = authenticator.answer_creation(&origin, &options);
    let view = flows.enrolment(&ticket, &browser).await?;
    let answer = EnrolmentAnswer::Passkey(credential);
    let factor = flows.finish_enrolment(&view, FactorKind::PASSKEY, "", &answer).await?;
    let (session, gate_token) = session(flows, person.id, (FactorKind::PASSKEY, factor.id)).await?;
    Ok(Person { session, gate_token, authenticator, origin })
}

async fn step_up(flows: &Flows, person: &mut Person, number: usize) -> Result<(), Error> {
    let host = Audience::Host(Host::parse("app.localhost")?);
    let token = service_token(flows, person.session, &host).await?;
    let digest = token.digest(Purpose::ServiceSession);
    let view = flows.store.session(digest, &host, flows.clock.now()).await?.ok_or("no session")?;
    let surroundings = flows.surroundings([127, 0, 0, 1].into(), "bench");
    let service = flows.live.load().catalogue.by_name("app").cloned().ok_or("no service")?;
    let target = format!("/payments/{number}/approve");
    let operation = operation(&service, &target, number);
    let Verdict::Challenge(challenged) = flows.decide(operation.clone(), Asker::SignedIn(&view), &surroundings) else {
        return Err("it was not asked for".into());
    };
    let held = HeldRequest { method: "POST".to_owned(), target, headers: Vec::new(), body: vec![b'x'; 1024] };
    let asking = Asking {
        by: AskingBy::Session { view: &view, token: digest },
        surroundings: &surroundings,
        hold: ToHold::Request(held),
        named: None,
        kind: "browser",
        from: AskedFrom::Here,
    };
    let Step::Ask(challenge) = flows.ask(challenged, &[b'x'; 1024], asking).await? else {
        return Err("not asked".into());
    };
    let gate_digest = person.gate_token.digest(Purpose::GateSession);
    let gate_view =
        flows.store.session(gate_digest, &Audience::Gate, flows.clock.now()).await?.ok_or("no gate session")?;
    let page = flows.challenge(challenge.id, &gate_view).await?;
    let options = page.prompts.iter().find_map(|(_, prompt)| match prompt {
        Prompt::Passkey { options } => Some(options.clone()),
        Prompt::Text | Prompt::SentCode { .. } | Prompt::Devices { .. } => None,
    });
    let signed = person.authenticator.answer_request(&person.origin, &options.ok_or("no passkey is offered")?);
    let answer = Answer::Passkey(Box::new(assertion(&signed)?));
    let trier = Trier { device: None, address: [127, 0, 0, 1].into() };
    let answered = flows.answer(challenge.id, &gate_view, gate_digest, &answer, None, trier).await?;
    let Answered::Passed { gate_token, go_on: GoOn::Browser { code, .. } } = answered else {
        return Err("not passed".into());
    };
    person.gate_token = gate_token;
    let redeemed = flows.redeem(&code, Purpose::HandBack, &host, view.browser).await?.ok_or("no hand-back")?;
    let resume = redeemed.resume.ok_or("nothing is held")?;
    let digest = redeemed.token.digest(Purpose::ServiceSession);
    let view = flows.store.session(digest, &host, flows.clock.now()).await?.ok_or("no session")?;
    let held = flows.held_for_resume(challenge.id, &view).await?;
    let exact = operation.exactly(&held.request.body);
    let code = Some(resume.digest(Purpose::Resume));
    // A proof that is younger than the moment of the decision counts as never.
    let surroundings = flows.surroundings([127, 0, 0, 1].into(), "bench");
    let Step::Go(cleared) =
        flows.clear(&held.challenge, exact, Asker::SignedIn(&view), &surroundings, code, None).await?
    else {
        return Err("not cleared".into());
    };
    flows.sent(cleared.receipt, SendOutcome::Answered { status: 200 }).await?;
    Ok(())
}

fn operation(service: &Arc<Service>, target: &str, number: usize) -> Operation {
    let text = number.to_string();
    let segments = ["payments", text.as_str(), "approve"];
    let endpoint = Arc::clone(service.endpoint("POST", &segments).0);
    Operation {
        endpoint,
        inputs: Inputs::from([("id".to_owned(), InputValue::String(text.clone()))]),
        method: "POST".to_owned(),
        url: format!("{}{target}", service.origin),
        content_type: "application/octet-stream".to_owned(),
        effect_headers: Default::default(),
        service: Arc::clone(service),
    }
}

/// What the browser's JSON says, as the pages read it: base64url strings.
fn assertion(json: &serde_json::Value) -> Result<Assertion, Error> {
    let text = |pointer: &str| json.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let wire = serde_json::json!({
        "credential_id": text("/rawId"),
        "authenticator_data": text("/response/authenticatorData"),
        "client_data_json": text("/response/clientDataJSON"),
        "signature": text("/response/signature"),
        "user_handle": text("/response/userHandle"),
    });
    Ok(serde_json::from_value(wire)?)
}

async fn memory(rig: &Rig) -> Result<(), Error> {
    let flows = &rig.house.flows;
    let before = resident_kib()?;
    let start = now();
    let mut tokens = Vec::with_capacity(SESSIONS);
    // Sessions of one person are capped, so each thousand has a person of its own.
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..SESSIONS / 1000 {
        let flows = Arc::clone(flows);
        tasks.spawn(async move { thousand(&flows, number).await });
    }
    while let Some(done) = tasks.join_next().await {
        tokens.extend(done??);
    }
    let started = now().saturating_sub(start).as_secs_f64();
    for token in &tokens {
        let digest = token.digest(Purpose::GateSession);
        flows.store.session(digest, &Audience::Gate, flows.clock.now()).await?.ok_or("a session is gone")?;
    }
    let after = resident_kib()?;
    let kib = after.saturating_sub(before);
    println!(
        "{} sessions started in {started:.1} s and looked up once: {} MiB more, {} bytes each",
        tokens.len(),
        kib / 1024,
        kib * 1024 / tokens.len().max(1) as u64
    );
    Ok(())
}

async fn thousand(flows: &Flows, number: usize) -> Result<Vec<Token>, Error> {
    let login = stepgate_core::person::Login::parse(&format!("memory{number}"))?;
    let person = flows.add_person(login, "Memory", "", vec!["staff".to_owned()], "bench").await?;
    let link = flows.make_link(&person, vec![FactorKind::RecoveryCode], Duration::from_secs(600), "bench").await?;
    let link = link.url.rsplit('/').next().and_then(Token::parse).ok_or("no link")?;
    let browser = Token::random(&stepgate::system::SystemRandomness);
    let ticket = flows.use_link(&link, &browser).await?;
    let view = flows.enrolment(&ticket, &browser).await?;
    let EnrolmentOffer::RecoveryCodes { codes } = flows.begin_enrolment(&view, FactorKind::RecoveryCode).await? else {
        return Err("no codes".into());
    };
    debug_assert!(codes.iter().all(|code| !code.expose_secret().is_empty()));
    let view = flows.enrolment(&ticket, &browser).await?;
    let factor = flows.finish_enrolment(&view, FactorKind::RecoveryCode, "", &EnrolmentAnswer::Text("".into())).await?;
    let mut tokens = Vec::with_capacity(1000);
    for _ in 0..1000 {
        tokens.push(session(flows, person.id, (FactorKind::RecoveryCode, factor.id)).await?.1);
    }
    Ok(tokens)
}
