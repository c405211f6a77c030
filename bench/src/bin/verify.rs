//! How fast an exported log is verified, and with how much memory.
//!
//! A million entries (or as many as the first argument says): of each hundred,
//! fifteen are five confirmations with their statements and passkey signatures
//! (opened, passed, sent), the rest are sign-ins that failed. Aim: a million in
//! ten seconds on two cores, flat memory.

use std::process::ExitCode;

use base64::Engine as _;
use stepgate_bench::{Error, now, resident_kib};
use stepgate_evidence::{
    Asked, Asker, Assertion, Details, EnrolledKey, Entry, Event, FactorProof, Grant, PolicyRef, Salt, Statement, verify,
};
use stepgate_ledger::export::{Reader, Writer};
use stepgate_ledger::verify::Trust;
use stepgate_ledger::{CheckpointSigner, CheckpointVerifier};
use stepgate_testkit::{Ceremony, SoftwareAuthenticator};

const ENTRIES: u64 = 1_000_000;
const ORIGIN: &str = "https://gate.example";
const HOST: &str = "gate.example";
const AT_MS: i64 = 1_767_000_000_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let entries: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => ENTRIES,
    };
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("log");
    let signer = CheckpointSigner::from_seed(HOST, [7; 32])?;
    let start = now();
    write(&out, entries, &signer)?;
    println!("{entries} entries written in {:.1} s", now().saturating_sub(start).as_secs_f64());

    let keys = [CheckpointVerifier::parse(&signer.verifier_key())?];
    let before = resident_kib()?;
    let (cpu, start) = (stepgate_bench::cpu_ticks(std::process::id())?, now());
    let mut peak = before;
    let trust = Trust { keys: &keys, remembered: &[] };
    let reader = Reader::open(&out)?;
    let report = verify::verify(&reader, trust, &mut |_| peak = peak.max(resident_kib().unwrap_or_default()))?;
    let seconds = now().saturating_sub(start).as_secs_f64();
    let cpu = stepgate_bench::cpu_ticks(std::process::id())?.saturating_sub(cpu);
    if !report.is_sound() {
        return Err(format!("the log does not verify: {report}").into());
    }
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (rate, cpu) = (entries as f64 / seconds, cpu as f64 / 100.0);
    println!(
        "{entries} entries verified in {seconds:.1} s ({rate:.0} per second, {cpu:.1} s of CPU), {} signatures",
        report.checked.signatures
    );
    println!("{} MiB more memory at the peak", peak.saturating_sub(before) / 1024);
    Ok(())
}

struct Story {
    authenticator: SoftwareAuthenticator,
    number: u64,
    open: Option<(String, [u8; 32], Asked)>,
}

fn write(out: &std::path::Path, entries: u64, signer: &CheckpointSigner) -> Result<(), Error> {
    let mut writer = Writer::create(out)?;
    let mut story = Story { authenticator: SoftwareAuthenticator::new(), number: 0, open: None };
    let creation = Ceremony::creation(HOST, ORIGIN, &[1; 32]);
    story.authenticator.create(&creation, b"alice");
    while writer.size() < entries {
        let entry = story.next(writer.size())?;
        let details = entry.details.as_ref().map(verify::exported);
        writer.append(&entry.to_leaf()?, details.as_ref())?;
    }
    let checkpoint = signer.sign_head(writer.size(), writer.root());
    writer.finish(&checkpoint)?;
    Ok(())
}

impl Story {
    fn next(&mut self, index: u64) -> Result<Entry, Error> {
        self.number = index;
        let id = format!("{index:032x}");
        let at_ms = AT_MS.saturating_add(i64::try_from(index)?);
        let plain = |event| Entry { id: id.clone(), at_ms, event, details: None };
        Ok(match (index, index % 20) {
            (0, _) => plain(Event::LogOpened { origin: HOST.into(), version: "0".into() }),
            (1, _) => plain(Event::NodeStarted {
                node: "n".into(),
                version: "0".into(),
                config: String::new(),
                policy: "p".into(),
                relying_party: HOST.into(),
                origins: vec![ORIGIN.into()],
            }),
            (2, _) => plain(Event::LinkUsed { link: "l".into(), person: "alice".into() }),
            (3, _) => plain(self.enrolled()?),
            (4, _) => plain(Event::SessionStarted { session: "s".into(), person: "alice".into(), proof: password() }),
            (_, 17) => self.opened(&id, at_ms)?,
            (_, 18) => plain(self.passed()?),
            (_, 19) => plain(self.sent()?),
            _ => plain(Event::AttemptFailed {
                person: "alice".into(),
                factor: "totp".into(),
                purpose: "sign_in".into(),
                challenge: String::new(),
                reason: "wrong".into(),
                provider: None,
                factor_id: None,
            }),
        })
    }

    fn enrolled(&self) -> Result<Event, Error> {
        let key = self.authenticator.keys.first().ok_or("no key")?;
        let base64url = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        Ok(Event::FactorEnrolled {
            person: "alice".into(),
            factor: "passkey".into(),
            factor_id: "f".into(),
            authority: "link:l".into(),
            key: Some(EnrolledKey {
                credential_id: base64url(&key.id),
                public_key: base64url(&key.cose()),
                user_handle: base64url(&key.user_handle),
                counter: 0,
                backup_eligible: false,
                backed_up: false,
                aaguid: "00000000-0000-0000-0000-000000000000".into(),
                is_attested: false,
                attestation_sha256: "00".repeat(32),
            }),
        })
    }

    fn opened(&mut self, id: &str, at_ms: i64) -> Result<Entry, Error> {
        let challenge = format!("c{}", self.number);
        let asked = Asked {
            service: "ledger".into(),
            action: "payments.approve".into(),
            resource: "ledger POST /payments/{id}/approve".into(),
            resource_kind: "payment".into(),
            sensitivity: "high".into(),
        };
        let statement = Statement {
            challenge: challenge.clone(),
            nonce: id.to_owned(),
            principal: "alice".into(),
            session: "s".into(),
            asker: Asker { kind: "browser".into(), address: "192.0.2.7".into(), agent: "bench".into() },
            service: asked.service.clone(),
            action: asked.action.clone(),
            resource: asked.resource.clone(),
            title: "Approve payment 42 of 12000".into(),
            inputs: [("amount".to_owned(), "12000".to_owned())].into(),
            method: "POST".into(),
            url: "https://ledger.example/payments/42/approve".into(),
            content_type: "application/json".into(),
            headers: Default::default(),
            body_sha256: "00".repeat(32),
            policies: vec![PolicyRef {
                id: "large-payment".into(),
                reason: "Payments over 10,000 need your passkey.".into(),
            }],
            policy_version: "p".into(),
            grant: Grant::Confirmation { lifetime_s: "300".into(), uses: "1".into() },
            asked_at_ms: at_ms.to_string(),
            expires_at_ms: at_ms.saturating_add(600_000).to_string(),
        };
        let digest = statement.digest()?;
        let event = Event::ChallengeOpened {
            challenge: challenge.clone(),
            session: "s".into(),
            person: "alice".into(),
            agent: None,
            asked: asked.clone(),
            policies: vec!["large-payment".into()],
            policy: "p".into(),
            offered: "confirm: passkey".into(),
            statement: hex(&digest),
            held: true,
            succeeds: String::new(),
        };
        self.open = Some((challenge, digest, asked));
        let body = serde_json::json!({ "statement": statement });
        Ok(Entry { id: id.to_owned(), at_ms, event, details: Some(Details { salt: Salt([9; 16]), body }) })
    }

    fn passed(&mut self) -> Result<Event, Error> {
        let (challenge, digest, asked) = self.open.clone().ok_or("nothing is open")?;
        let id = self.authenticator.keys.first().ok_or("no key")?.id.clone();
        let signed = self.authenticator.sign(&Ceremony::request(HOST, ORIGIN, &digest), &id);
        let text = |pointer: &str| signed.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
        let assertion: Assertion = serde_json::from_value(serde_json::json!({
            "credential_id": text("/rawId"),
            "authenticator_data": text("/response/authenticatorData"),
            "client_data_json": text("/response/clientDataJSON"),
            "signature": text("/response/signature"),
            "user_handle": text("/response/userHandle"),
        }))?;
        let proof = FactorProof {
            factor: "passkey".into(),
            factor_id: "f".into(),
            assertion: Some(assertion),
            user_verified: Some(true),
            login: None,
            bound_to: hex(&digest),
        };
        let (session, person, grants) = ("s".into(), "alice".into(), "confirmation".into());
        Ok(Event::ChallengePassed { challenge, session, person, asked, grants, proof })
    }

    fn sent(&mut self) -> Result<Event, Error> {
        let (challenge, digest, asked) = self.open.take().ok_or("nothing is open")?;
        Ok(Event::OperationSent {
            challenge,
            session: "s".into(),
            person: "alice".into(),
            request: format!("r{}", self.number),
            asked,
            policies: vec!["staff".into()],
            policy: "p".into(),
            statement: hex(&digest),
            body_sha256: "00".repeat(32),
        })
    }
}

fn password() -> FactorProof {
    FactorProof {
        factor: "password".into(),
        factor_id: "p".into(),
        assertion: None,
        user_verified: None,
        login: None,
        bound_to: "00".repeat(32),
    }
}

fn hex(digest: &[u8; 32]) -> String {
    stepgate_core::secret::TokenDigest(*digest).to_hex()
}
