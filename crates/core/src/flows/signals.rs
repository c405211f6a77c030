//! Security events of other systems: believed as far as each may speak, and acted on at once.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use stepgate_evidence::Event;

use super::Flows;
use super::rate::Rate;
use crate::factor::identity_digest;
use crate::id::PersonId;
use crate::ports::{
    Accounts, Concerned, EntryQuery, Part, RiskName, SignalEffect, SignalFate, SignalStore, Sought, StoreError,
    TakenSignal,
};
use crate::risk::{RiskKind, RiskLevel, RiskSubject};
use crate::signals::{
    EventSubject, Foreign, Happened, Identifier, NotASet, Principal, SecurityEvent, Transmitter, Transmitters,
};
use crate::time::Timestamp;

/// A device is not as the company wants it.
pub const DEVICE_NOT_COMPLIANT: &str = "device_not_compliant";
/// A credential was created, changed or lost lately.
pub const CREDENTIAL_CHANGE: &str = "credential_change";
/// Events that happened longer ago are refused: nobody remembers whether they were taken.
pub const EVENT_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long what comes of one transmitter is counted together.
pub const SIGNALS_WINDOW: Duration = Duration::from_secs(60);
/// The most entries that one transmitter's events make in a window: a company's leavers of a day come within it.
pub const SIGNALS_OF_ONE_MAX: u32 = 3_000;
/// Events without effect that have entries of their own, of one transmitter in a window of the refusals; more are
/// counted.
pub const IDLE_SIGNALS_TOLD_MAX: u32 = 60;
/// The most people who have one `externalId`, as with one address.
const NAMED_ALIKE_MAX: u32 = 1_000;
/// The effect of what a transmitter said of somebody of whom it may not speak.
const NOT_ITS_OWN: &str = "not_its_own";
/// The effect of a verification event that this gate asked for.
const VERIFIED: &str = "verified";
/// What the tag is for that such an event bears.
const VERIFICATION: &str = "signals-verification";
/// How many entries are looked at for it.
const LATEST_LOOKED_AT: u32 = 1_000;
/// The effect of what does nothing.
const NOTHING: &str = "nothing";
/// How often it is looked whom an event concerns, where people leave meanwhile.
const LOOKS: usize = 3;

/// Receiving security events.
#[derive(Clone, Debug)]
pub struct Signals {
    /// The flows.
    pub flows: Arc<Flows>,
    /// Where events are taken.
    pub store: Arc<dyn SignalStore>,
    /// Where accounts are, for whoever is named by `externalId`.
    pub accounts: Arc<dyn Accounts>,
    /// Who verifies them.
    pub transmitters: Arc<dyn Transmitters>,
    /// How much came of each.
    pub arrivals: Arc<Arrivals>,
}

/// What came of transmitters in a window, by their names. What is beyond is not judged, and so comes again.
#[derive(Debug)]
pub struct Arrivals(Rate<String>);

impl Default for Arrivals {
    fn default() -> Self {
        // There are as many as are configured.
        Self(Rate::new(SIGNALS_WINDOW, SIGNALS_OF_ONE_MAX, u32::MAX))
    }
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is no event that counts.
    #[error(transparent)]
    NotASet(#[from] NotASet),
    /// Its transmitter told too much in this window: after so long it may be sent again.
    #[error("the transmitter tells too much at once")]
    TooMany(Duration),
    /// The store failed: it may be sent again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The event.
    pub event: SecurityEvent,
    /// Whether it had been taken before; then it did nothing now.
    pub again: bool,
}

impl Signals {
    /// Verifies an event of this transmitter and acts on it. When it returns `Ok`, the event
    /// and its effects are durable; an event that comes again does nothing and is `Ok`.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]. What is refused is counted in the evidence.
    pub async fn receive(&self, transmitter: &str, set: &str) -> Result<Taken, NotTaken> {
        let at = self.flows.clock.now();
        let verified = match self.transmitters.named(transmitter) {
            None => Err(NotASet::Unknown),
            Some(known) => self.transmitters.verify(transmitter, set, at).await.map(|event| (known, event)),
        };
        let (known, event) = match verified {
            Ok(verified) => verified,
            Err(why) => {
                self.flows.refused(&format!("signal_{}", why.code())).await;
                tracing::warn!(transmitter, error = &why as &dyn std::error::Error, "a security event was refused");
                return Err(why.into());
            }
        };
        if at.since(event.at).is_some_and(|age| age > EVENT_AGE_MAX) {
            self.flows.refused("signal_invalid_request").await;
            return Err(NotASet::Invalid("it happened too long ago".to_owned()).into());
        }
        for _ in 0..LOOKS {
            match self.take(known, &event, at).await? {
                SignalFate::Taken => return Ok(Taken { event, again: false }),
                SignalFate::TakenBefore => return Ok(Taken { event, again: true }),
                // Whoever was found is gone: it may concern somebody else now, or nobody.
                SignalFate::Gone => {}
            }
        }
        // Nothing was done, so nobody is told that it was.
        Err(StoreError::Unavailable("those whom a security event concerns come and go too fast".into()).into())
    }

    /// Does what an event does to those whom it concerns now, in one transaction with its entry.
    async fn take(&self, known: &Transmitter, event: &SecurityEvent, at: Timestamp) -> Result<SignalFate, NotTaken> {
        let concerned = match &event.happened {
            // Their subject is the stream, and nobody.
            Happened::Verification { .. } | Happened::StreamUpdated { .. } => Meant::These(Vec::new()),
            _ => self.concerned(known, &event.subject, at).await?,
        };
        if matches!(concerned, Meant::Foreign) && known.foreign == Foreign::Refuse {
            self.flows.refused("signal_foreign_subject").await;
            return Err(NotASet::Foreign.into());
        }
        let digest = set_digest(&event.issuer, &event.id);
        let entry = |who: Option<Concerned>, effect: String| {
            let event = Event::SignalReceived {
                transmitter: known.name.clone(),
                event: event.name.clone(),
                set: hex::encode(digest),
                person: who.map(|who| who.person().to_string()).unwrap_or_default(),
                session: who.and_then(Concerned::session).map(|session| session.to_string()).unwrap_or_default(),
                effect,
            };
            self.flows.entry(at, event)
        };
        let (mut all, mut entries) = (Vec::new(), Vec::new());
        for who in concerned.who() {
            let effects = effects(known, event, *who, concerned.is_certain(), at);
            entries.push(entry(Some(*who), described(&effects)));
            all.extend(effects);
        }
        let idle = self.idle_effect(known, &event.happened, &concerned);
        if entries.is_empty() {
            entries.push(entry(None, idle.to_owned()));
        }
        let many = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        if let Err(wait) = self.arrivals.0.count(known.name.clone(), many, at) {
            self.flows.refused("signal_too_many").await;
            return Err(NotTaken::TooMany(wait));
        }
        // It is remembered that it was taken, as durably as any other; only the entry is spared.
        if all.is_empty() && !self.flows.is_idle_signal_told(&known.name, idle) {
            entries.clear();
        }
        let transmitter = known.name.clone();
        let signal = TakenSignal { set: digest, transmitter, happened_at: event.at, at, effects: all };
        Ok(self.store.take_signal(signal, entries).await?)
    }

    /// The state by which a verification event shows that this gate asked for it, on whichever node.
    pub fn verification_state(&self, transmitter: &str) -> String {
        self.flows.mac.tag(VERIFICATION, &[transmitter.as_bytes()])
    }

    /// Whether a verification event that was asked for came since then, to whichever node.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn is_verified(&self, transmitter: &str, since: Timestamp) -> Result<bool, StoreError> {
        let kinds = vec!["signal.received".to_owned()];
        let query = EntryQuery { kinds, since: Some(since), limit: LATEST_LOOKED_AT, ..EntryQuery::default() };
        let is = |event: &Event| matches!(event, Event::SignalReceived { transmitter: whose, effect, .. } if whose == transmitter && effect == VERIFIED);
        Ok(self.flows.store.entries(query).await?.iter().any(|recorded| is(&recorded.entry.event)))
    }

    /// What is told of an event that does nothing to anybody.
    fn idle_effect(&self, known: &Transmitter, happened: &Happened, concerned: &Meant) -> &'static str {
        let is_asked = |state: &str| self.flows.mac.is_tag(VERIFICATION, &[known.name.as_bytes()], state);
        match (happened, concerned) {
            (Happened::Verification { state: Some(state) }, _) if is_asked(state) => VERIFIED,
            (Happened::StreamUpdated { status }, _) => match status.as_str() {
                "enabled" => "stream_enabled",
                "paused" => "stream_paused",
                "disabled" => "stream_disabled",
                _ => NOTHING,
            },
            (_, Meant::Foreign) => NOT_ITS_OWN,
            _ => NOTHING,
        }
    }

    /// Whom an event concerns, as far as this transmitter may speak of them. A session that is
    /// known is meant alone; one that is not known means all of its person's, for what ends or raises
    /// something. What takes something back is never about more than what it names.
    async fn concerned(
        &self,
        known: &Transmitter,
        subject: &EventSubject,
        now: Timestamp,
    ) -> Result<Meant, StoreError> {
        let speaks = subject.user.as_ref().is_none_or(|user| may_name(known, user));
        let people = match &subject.user {
            Some(user) if speaks => self.people(user).await?,
            _ => Vec::new(),
        };
        if let (Some(Identifier::Opaque(sid)), Some(provider)) = (&subject.session, &known.provider) {
            let sessions = self.store.sessions_of_provider(provider, sid, now).await?;
            // Of somebody else's session nobody speaks by naming this person.
            let fits = |owner: PersonId| subject.user.is_none() || people.contains(&owner);
            let found: Vec<_> = sessions
                .into_iter()
                .filter(|(owner, _)| fits(*owner))
                .map(|(owner, session)| Concerned::Session(owner, session))
                .collect();
            if !found.is_empty() {
                return Ok(Meant::These(found));
            }
        }
        let speaks = speaks && (subject.user.is_some() || subject.session.is_none() || known.provider.is_some());
        if !speaks {
            return Ok(Meant::Foreign);
        }
        let several = people.len() > 1;
        let people = people.into_iter().map(Concerned::Person).collect();
        Ok(if several { Meant::OneAmong(people) } else { Meant::These(people) })
    }

    /// Who may be meant. An address can be several people's, and so can a number that a directory gave: RFC 7643,
    /// section 3.1, leaves it to the directory that it is one's own.
    async fn people(&self, user: &Identifier) -> Result<Vec<PersonId>, StoreError> {
        match user {
            Identifier::Identity { issuer, subject } => {
                let found = self.flows.store.person_by_identity(identity_digest(issuer, subject)).await?;
                Ok(found.map(|(person, _)| person).into_iter().collect())
            }
            Identifier::Email(email) => self.store.people_by_email(email).await,
            Identifier::Opaque(id) => {
                let all = Part { skip: 0, limit: NAMED_ALIKE_MAX };
                let found = self.accounts.accounts(&Sought::ExternalId(id.clone()), all).await?;
                // As with an address, an old account does not hide the one that is in use.
                let active: Vec<_> = found.iter().filter(|account| account.person.active).collect();
                let meant = if active.is_empty() { found.iter().collect() } else { active };
                Ok(meant.into_iter().map(|account| account.person.id).collect())
            }
            Identifier::Other { .. } => Ok(Vec::new()),
        }
    }
}

/// Whether a transmitter may name people so. What is not understood names nobody, whoever says it.
fn may_name(known: &Transmitter, user: &Identifier) -> bool {
    match user {
        Identifier::Identity { issuer, .. } => known.subject_issuers.contains(issuer),
        Identifier::Email(_) => known.by_email,
        Identifier::Opaque(_) => known.by_external_id,
        Identifier::Other { .. } => true,
    }
}

/// Whom an event means.
enum Meant {
    /// All of them, or nobody.
    These(Vec<Concerned>),
    /// One of them, and nobody can say which: what ends or raises something is done to each, and nothing
    /// is taken back. An address that a second account has would silence every warning otherwise.
    OneAmong(Vec<Concerned>),
    /// Somebody of whom the transmitter may not speak, whoever it is.
    Foreign,
}

impl Meant {
    fn who(&self) -> &[Concerned] {
        match self {
            Self::These(who) | Self::OneAmong(who) => who,
            Self::Foreign => &[],
        }
    }

    const fn is_certain(&self) -> bool {
        matches!(self, Self::These(_))
    }
}

/// What an event does to somebody whom it concerns, or may concern.
fn effects(
    known: &Transmitter,
    event: &SecurityEvent,
    who: Concerned,
    is_certain: bool,
    now: Timestamp,
) -> Vec<(Concerned, SignalEffect)> {
    let until = now.plus(known.keep);
    let signal =
        |about: RiskSubject, name: &str| SignalEffect::Risk { about, kind: RiskKind::Signal(name.to_owned()), until };
    let about = RiskSubject::of(&event.subject);
    let whole = |who: Concerned| Concerned::Person(who.person());
    let effects = match &event.happened {
        Happened::SessionRevoked => vec![(who, SignalEffect::EndSessions)],
        // A credential is the person's, whichever session it was seen in.
        Happened::CredentialChange { lost: true } => {
            let raised = signal(RiskSubject::person(), CREDENTIAL_CHANGE);
            vec![(whole(who), SignalEffect::EndSessions), (whole(who), raised)]
        }
        Happened::CredentialChange { lost: false } => {
            vec![(whole(who), signal(RiskSubject::person(), CREDENTIAL_CHANGE))]
        }
        Happened::AssuranceLevelChange { less: true } => vec![(who, SignalEffect::DropProofs)],
        Happened::DeviceCompliance { compliant: false } => vec![(who, signal(about.clone(), DEVICE_NOT_COMPLIANT))],
        Happened::DeviceCompliance { compliant: true } => {
            let name = RiskName::Signal(DEVICE_NOT_COMPLIANT.to_owned());
            vec![(who, SignalEffect::NoRisk { about: about.clone(), name })]
        }
        Happened::Risk(level) if !event.subject.wider => {
            let place = if event.subject.principal == Principal::User { whole(who) } else { who };
            // That one thing of somebody is fine says nothing of all the rest of them.
            let is_exact = match event.subject.principal {
                Principal::User => true,
                Principal::Session => who.session().is_some(),
                Principal::Device | Principal::Other(_) => false,
            };
            let effect = match level {
                RiskLevel::Low if !is_exact => SignalEffect::NoRisk { about: about.clone(), name: RiskName::Level },
                level => SignalEffect::Risk { about: about.clone(), kind: RiskKind::Level(*level), until },
            };
            vec![(place, effect)]
        }
        Happened::AssuranceLevelChange { less: false }
        | Happened::Risk(_)
        | Happened::Verification { .. }
        | Happened::StreamUpdated { .. }
        | Happened::Other => Vec::new(),
    };
    if is_certain { effects } else { effects.into_iter().filter_map(only_raising).collect() }
}

/// What remains of an effect where one among several is meant.
fn only_raising((who, effect): (Concerned, SignalEffect)) -> Option<(Concerned, SignalEffect)> {
    match effect {
        SignalEffect::NoRisk { .. } | SignalEffect::Risk { kind: RiskKind::Level(RiskLevel::Low), .. } => None,
        SignalEffect::Risk { about, kind: RiskKind::Level(level), until } => {
            let about = about.of_one_among(level);
            Some((who, SignalEffect::Risk { about, kind: RiskKind::Level(level), until }))
        }
        other => Some((who, other)),
    }
}

fn described(effects: &[(Concerned, SignalEffect)]) -> String {
    let mut words: Vec<String> = effects
        .iter()
        .map(|(_, effect)| match effect {
            SignalEffect::EndSessions => "sessions_ended".to_owned(),
            SignalEffect::DropProofs => "proofs_dropped".to_owned(),
            SignalEffect::Risk { kind: RiskKind::Level(level), .. } => format!("risk_{}", level.name()),
            SignalEffect::Risk { kind: RiskKind::Signal(name), .. } => format!("signal_{name}"),
            SignalEffect::NoRisk { name: RiskName::Level, .. } => "no_risk".to_owned(),
            SignalEffect::NoRisk { name: RiskName::Signal(name), .. } => format!("no_{name}"),
        })
        .collect();
    words.dedup();
    if words.is_empty() { NOTHING.to_owned() } else { words.join(" ") }
}

/// SHA-256 of issuer and `jti`.
fn set_digest(issuer: &str, id: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"stepgate/set/v1\0");
    hash.update((issuer.len() as u64).to_be_bytes());
    hash.update(issuer);
    hash.update(id);
    hash.finalize().into()
}
