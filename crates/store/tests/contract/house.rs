//! A store with a clock that stands still, and people who can do things in it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use stepgate_core::challenge::{
    Ask, AskedFrom, Challenge, ChallengeState, Given, GivenIn, GrantKind, Held, HeldRequest,
};
use stepgate_core::factor::{
    Aaguid, CodeDigest, EnrolledFactor, FactorKind, FactorSecret, FactorUse, Passkey, PasswordStands,
};
use stepgate_core::id::{ChallengeId, FactorId, Id, PersonId, SessionId};
use stepgate_core::operation::OperationDigest;
use stepgate_core::person::{Login, Person};
use stepgate_core::ports::{
    AnsweredChallenge, ChangeError, CodeSees, EnrolmentLink, EntryQuery, NewCode, NewSession, RecordedEntry, RestsOn,
    Spend, Store as _, Ticket, TicketThen, Trier,
};
use stepgate_core::secret::{Purpose, TokenDigest};
use stepgate_core::session::{Audience, Proof, SessionView};
use stepgate_core::time::{Clock as _, Randomness as _, Timestamp};
use stepgate_evidence::{Asked, Asker, Details, Entry, Event, Grant, Salt, Statement};
use stepgate_ledger::Origin;
use stepgate_store::{Database, Keyring, OpenError, Options, StoreUrl};
use stepgate_testkit::{FakeClock, Postgres, SeededRandomness, SeveredWire};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
    /// PostgreSQL behind a wire that can be broken.
    SeveredPostgres,
}

/// Longer than anything here takes; only a test that fails waits for it.
pub(crate) const AT_MOST: Duration = Duration::from_secs(60);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const IDLE: Duration = Duration::from_secs(3600);
/// Where everybody is who is at home.
pub(crate) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

pub(crate) struct House {
    pub(crate) store: Arc<Database>,
    pub(crate) url: String,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) random: Arc<SeededRandomness>,
    pub(crate) keyring: Keyring,
    /// The wire to the database, where it can be broken.
    pub(crate) wire: Option<SeveredWire>,
    _folder: Option<tempfile::TempDir>,
}

/// A signed-in person.
#[derive(Clone)]
pub(crate) struct SignedIn {
    pub(crate) person: Person,
    pub(crate) factor: FactorId,
    pub(crate) session: SessionId,
    pub(crate) token: TokenDigest,
    pub(crate) browser: TokenDigest,
}

impl House {
    pub(crate) async fn new(backend: Backend) -> Self {
        let mut wire = None;
        let (url, folder) = match backend {
            Backend::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                (format!("sqlite:{}", folder.path().join("with space % and ä.db").display()), Some(folder))
            }
            Backend::Postgres => {
                let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
                (url, None)
            }
            Backend::SeveredPostgres => {
                let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
                let through = wire.insert(SeveredWire::start(&url).await);
                (through.url(&url), None)
            }
        };
        let random = Arc::new(SeededRandomness::new(1));
        let keyring = Keyring::generate(random.as_ref());
        let clock = Arc::new(FakeClock::new());
        let store = open(&url, keyring.clone(), &clock, 2).await.unwrap();
        Self { store: Arc::new(store), url, clock, random, keyring, wire, _folder: folder }
    }

    /// Another process on the same database.
    pub(crate) async fn another_node(&self, seed: u64) -> Arc<Database> {
        Arc::new(self.open_with(self.keyring.clone(), seed).await.unwrap())
    }

    pub(crate) async fn open_with(&self, keyring: Keyring, seed: u64) -> Result<Database, OpenError> {
        open(&self.url, keyring, &self.clock, seed).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn id<T>(&self) -> Id<T> {
        Id::random(self.random.as_ref())
    }

    pub(crate) fn digest(&self) -> TokenDigest {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes);
        TokenDigest(bytes)
    }

    pub(crate) fn entry(&self, event: Event) -> Entry {
        Entry { id: self.id::<()>().to_string(), at_ms: self.now().as_ms(), event, details: None }
    }

    /// An entry that is enough where its content does not matter.
    pub(crate) fn said(&self, what: &str) -> Entry {
        self.entry(Event::Fault { node: "test".to_owned(), what: what.to_owned() })
    }

    pub(crate) fn detailed(&self, event: Event, body: serde_json::Value) -> Entry {
        let mut salt = [0; 16];
        self.random.fill(&mut salt);
        Entry { details: Some(Details { salt: Salt(salt), body }), ..self.entry(event) }
    }

    pub(crate) async fn all(&self) -> Vec<RecordedEntry> {
        self.store.entries(EntryQuery { from: Some(0), limit: 1_000, ..EntryQuery::default() }).await.unwrap()
    }

    /// How many entries say this.
    pub(crate) async fn count_said(&self, what: &str) -> usize {
        let says =
            |entry: &RecordedEntry| matches!(&entry.entry.event, Event::Fault { what: said, .. } if said == what);
        self.all().await.iter().filter(|entry| says(entry)).count()
    }

    pub(crate) fn somebody(&self, login: &str) -> Person {
        Person {
            id: self.id(),
            login: Login::parse(login).unwrap(),
            name: format!("{login} with a name"),
            email: format!("{login}@example.com"),
            groups: vec!["finance".to_owned(), "staff".to_owned()],
            active: true,
        }
    }

    pub(crate) async fn person(&self, login: &str) -> Person {
        let person = self.somebody(login);
        let event = Event::PersonAdded { person: person.id.to_string(), by: "cli".to_owned() };
        self.store.add_person(&person, self.now(), self.entry(event)).await.unwrap();
        person
    }

    pub(crate) async fn ticket(&self, person: PersonId, kinds: &[FactorKind]) -> Ticket {
        let ticket = Ticket {
            digest: self.digest(),
            person,
            authority: "link".to_owned(),
            rests_on: RestsOn::Link,
            kinds: kinds.to_vec(),
            browser: self.digest(),
            begun: None,
            expires_at: self.now().plus(MINUTE * 60),
        };
        self.store.put_ticket(&ticket).await.unwrap();
        ticket
    }

    pub(crate) fn link(&self, person: PersonId) -> EnrolmentLink {
        EnrolmentLink {
            id: self.id(),
            digest: self.digest(),
            person,
            kinds: vec![FactorKind::Totp],
            expires_at: self.now().plus(MINUTE),
        }
    }

    pub(crate) async fn enrol(&self, person: PersonId, secret: FactorSecret) -> Result<FactorId, ChangeError> {
        let kind = secret.kind();
        let ticket = self.ticket(person, &[kind]).await;
        self.store.begin_on_ticket(ticket.digest, (kind, SecretString::from("state"))).await.unwrap();
        let factor = self.factor(secret);
        let event = Event::FactorEnrolled {
            person: person.to_string(),
            factor: kind.name().to_owned(),
            factor_id: factor.id.to_string(),
            authority: "link".to_owned(),
            key: None,
        };
        self.store.enrol(ticket.digest, TicketThen::Stays, person, &factor, self.now(), self.entry(event)).await?;
        Ok(factor.id)
    }

    pub(crate) fn factor(&self, secret: FactorSecret) -> EnrolledFactor {
        EnrolledFactor {
            id: self.id(),
            name: format!("my {}", secret.kind().name()),
            enrolled_at: self.now(),
            last_used_at: None,
            last_used_from: None,
            secret,
        }
    }

    pub(crate) fn totp(&self) -> FactorSecret {
        FactorSecret::app(SecretString::from("JBSWY3DPEHPK3PXP-not-in-the-clear"), None)
    }

    pub(crate) fn password(&self, phc: &str) -> FactorSecret {
        FactorSecret::Password { phc: SecretString::from(phc), stands: PasswordStands::Alone }
    }

    pub(crate) fn passkey(&self, counter: u32) -> FactorSecret {
        FactorSecret::Passkey(Box::new(Passkey {
            credential_id: self.digest().0.to_vec(),
            public_key: vec![1, 2, 3],
            user_handle: vec![4, 5],
            counter,
            backup_eligible: true,
            backed_up: false,
            aaguid: Aaguid([9; 16]),
            is_attested: false,
            attestation: vec![6, 7, 8],
        }))
    }

    pub(crate) fn recovery_codes(&self, count: usize) -> (FactorSecret, Vec<CodeDigest>) {
        let left: Vec<_> = (0..count).map(|_| CodeDigest(self.digest().0)).collect();
        (FactorSecret::RecoveryCodes { left: left.clone() }, left)
    }

    pub(crate) fn new_session(&self, person: PersonId, kind: FactorKind, used: (FactorId, FactorUse)) -> NewSession {
        let now = self.now();
        NewSession {
            id: self.id(),
            person,
            proof: Proof { kind, at: now, generation: 1 },
            used,
            prompt: None,
            gate_token: self.digest(),
            browser: self.digest(),
            device: self.digest(),
            started_at: now,
            ends_at: now.plus(Duration::from_secs(24 * 3600)),
            idle: IDLE,
            address: ADDRESS,
            country: "CH".to_owned(),
            agent: "a browser".to_owned(),
            replaces: None,
            login: None,
        }
    }

    pub(crate) fn started(&self, session: &NewSession) -> Entry {
        self.entry(Event::SessionEnded {
            session: session.id.to_string(),
            person: session.person.to_string(),
            reason: "started, in truth".to_owned(),
            by: String::new(),
        })
    }

    /// A person with a password, signed in with it.
    pub(crate) async fn signed_in(&self, login: &str) -> SignedIn {
        let person = self.person(login).await;
        let factor = self.enrol(person.id, self.password("$argon2id$not-in-the-clear")).await.unwrap();
        self.sign_in(&person, factor).await
    }

    pub(crate) async fn sign_in(&self, person: &Person, factor: FactorId) -> SignedIn {
        let session = self.new_session(person.id, FactorKind::Password, (factor, FactorUse::Nothing));
        let (id, token, browser) = (session.id, session.gate_token, session.browser);
        let entry = self.started(&session);
        self.store.start_session(session, vec![entry]).await.unwrap();
        SignedIn { person: person.clone(), factor, session: id, token, browser }
    }

    pub(crate) async fn look(&self, token: TokenDigest) -> Option<Arc<SessionView>> {
        self.look_at(token, &Audience::Gate).await
    }

    pub(crate) async fn look_at(&self, token: TokenDigest, audience: &Audience) -> Option<Arc<SessionView>> {
        self.store.session(token, audience, self.now()).await.unwrap()
    }

    pub(crate) fn code(&self, session: SessionId, purpose: Purpose, audience: Audience) -> NewCode {
        NewCode {
            digest: self.digest(),
            purpose,
            session,
            audience,
            browser: None,
            challenge: None,
            sees: CodeSees::Everything,
            expires_at: self.now().plus(MINUTE),
        }
    }

    pub(crate) fn challenge(&self, who: &SignedIn, grant: GrantKind) -> Challenge {
        let id: ChallengeId = self.id();
        let now = self.now();
        Challenge {
            id,
            version: 1,
            asked_by: who.session.into(),
            program: None,
            generation: 1,
            person: who.person.id,
            host: Some(stepgate_core::catalogue::Host::parse("pay.example.com").unwrap()),
            browser: Some(who.browser),
            operation: OperationDigest(self.digest().0),
            asked: asked(),
            statement: Statement {
                challenge: id.to_string(),
                nonce: self.id::<()>().to_string(),
                principal: who.person.id.to_string(),
                session: who.session.to_string(),
                asker: Asker { kind: "browser".into(), address: "192.0.2.1".into(), agent: "a browser".into() },
                service: "pay".into(),
                action: "payments.approve".into(),
                resource: "pay/payments/{id}".into(),
                title: "Approve payment 42 of 12000".into(),
                inputs: BTreeMap::from([("amount".into(), "12000".into())]),
                method: "POST".into(),
                url: "https://pay.example.com/payments/42".into(),
                content_type: "application/json".into(),
                headers: BTreeMap::new(),
                body_sha256: hex::encode([7; 32]),
                policies: Vec::new(),
                policy_version: hex::encode([8; 32]),
                grant: Grant::Freshness { max_age_s: "300".to_owned() },
                asked_at_ms: now.as_ms().to_string(),
                expires_at_ms: now.plus(MINUTE * 10).as_ms().to_string(),
            },
            ask: Ask {
                grant,
                ways: vec![vec![FactorKind::PASSKEY], vec![FactorKind::Totp, FactorKind::Password]],
                not_enrolled: vec![FactorKind::RecoveryCode],
            },
            proved_within: Some(MINUTE * 2),
            number: "123456".to_owned(),
            held: Held::Nothing,
            asked_from: AskedFrom::Here,
            succeeds: None,
            opened_at: now,
            expires_at: now.plus(MINUTE * 10),
            state: ChallengeState::Pending { answered: Vec::new(), wrong: 0 },
        }
    }

    pub(crate) async fn opened(&self, who: &SignedIn, grant: GrantKind) -> Challenge {
        let challenge = self.challenge(who, grant);
        self.store.open_challenge(&challenge, None, 100, vec![self.said("opened")]).await.unwrap();
        challenge
    }

    pub(crate) fn request(&self) -> HeldRequest {
        HeldRequest {
            method: "POST".to_owned(),
            target: "/payments/42?x=1".to_owned(),
            headers: vec![("content-type".to_owned(), b"text/plain".to_vec()), ("x-raw".to_owned(), vec![0xff, 0, 10])],
            body: b"amount=12000\nand a secret that is nobody's business\n\0\xff".to_vec(),
        }
    }

    pub(crate) async fn holding(&self, who: &SignedIn, grant: GrantKind) -> Challenge {
        let challenge = Challenge { held: Held::Request, ..self.challenge(who, grant) };
        let request = self.request();
        self.store.open_challenge(&challenge, Some(&request), 100, vec![self.said("opened")]).await.unwrap();
        challenge
    }

    pub(crate) fn given(&self, kind: FactorKind, place: GivenIn) -> Given {
        Given { kind, at: self.now(), place }
    }

    pub(crate) fn passed(&self) -> ChallengeState {
        ChallengeState::Passed {
            answered: vec![self.given(FactorKind::Password, GivenIn::AskingSession)],
            at: self.now(),
            spend_before: self.now().plus(MINUTE * 5),
        }
    }

    /// A right answer by the session that asked.
    pub(crate) fn answer(&self, challenge: &Challenge, who: &SignedIn) -> AnsweredChallenge {
        AnsweredChallenge {
            id: challenge.id,
            version: challenge.version,
            state: self.passed(),
            used: (who.factor, FactorUse::Nothing),
            login: None,
            from: Trier { device: None, address: ADDRESS },
            rotated: None,
            hand_back: None,
        }
    }

    /// The challenge after it was passed.
    pub(crate) async fn pass(&self, challenge: &Challenge, who: &SignedIn) -> Challenge {
        self.store.answer_challenge(self.answer(challenge, who), vec![self.said("passed")]).await.unwrap();
        self.read(challenge.id).await
    }

    pub(crate) async fn read(&self, id: ChallengeId) -> Challenge {
        self.store.challenge(id).await.unwrap().expect("the challenge is there")
    }

    pub(crate) fn spend(&self, challenge: &Challenge) -> Spend {
        Spend {
            challenge: challenge.id,
            version: challenge.version,
            request: self.id(),
            node: self.id(),
            at: self.now(),
            resume_code: None,
        }
    }

    pub(crate) async fn end(&self, who: &SignedIn) {
        self.store.end_session(who.session, who.person.id, self.said("ended")).await.unwrap();
    }
}

pub(crate) fn asked() -> Asked {
    Asked {
        service: "pay".into(),
        action: "payments.approve".into(),
        resource: "pay/payments/{id}".into(),
        resource_kind: "payment".into(),
        sensitivity: "high".into(),
    }
}

pub(crate) fn host(name: &str) -> Audience {
    Audience::Host(stepgate_core::catalogue::Host::parse(name).unwrap())
}

pub(crate) fn options() -> Options {
    Options { readers: 4, ..Options::new(Origin::parse("gate.example.com").unwrap()) }
}

async fn open(url: &str, keyring: Keyring, clock: &Arc<FakeClock>, seed: u64) -> Result<Database, OpenError> {
    let random = Arc::new(SeededRandomness::new(seed));
    Database::open(StoreUrl::parse(url).unwrap(), keyring, Arc::clone(clock) as _, random, options()).await
}

/// Waits until it is so; fails if that takes longer than [`AT_MOST`].
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(AT_MOST, wait).await.unwrap_or_else(|_| panic!("it never became so that {what}"));
}

pub(crate) fn is_conflict<T: std::fmt::Debug>(result: Result<T, ChangeError>) {
    assert!(matches!(result, Err(ChangeError::Conflict)), "a conflict is expected, not {result:?}");
}

pub(crate) fn is_used_before<T: std::fmt::Debug>(result: Result<T, ChangeError>) {
    assert!(matches!(result, Err(ChangeError::UsedBefore)), "used before is expected, not {result:?}");
}

pub(crate) fn is_limit<T: std::fmt::Debug>(result: Result<T, ChangeError>) {
    assert!(matches!(result, Err(ChangeError::Limit(_))), "a limit is expected, not {result:?}");
}

impl House {
    /// The same spending once more: `Spend` is not `Clone`.
    pub(crate) fn spend_again(&self, spend: &Spend) -> Spend {
        Spend {
            challenge: spend.challenge,
            version: spend.version,
            request: spend.request,
            node: spend.node,
            at: spend.at,
            resume_code: spend.resume_code,
        }
    }
}
