//! The context of what is and of what could be, built by one function.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cedar_policy_core::ast::{Context, Literal, Name, RestrictedExpr, Value, ValueKind};
use cedar_policy_core::evaluator::RestrictedEvaluator;
use cedar_policy_core::extensions::Extensions;
use jiff::tz::TimeZone;
use smol_str::SmolStr;

use super::needs::Needs;
use crate::decide::Asker;
use crate::factor::{Aaguid, FactorKind, PasskeySort, Strength};
use crate::operation::{InputValue, Operation};
use crate::risk;
use crate::surroundings::{Calendar, Environment, Surroundings};
use crate::time::Timestamp;

/// "Never", as a duration in milliseconds: what no policy reaches.
const NEVER_MS: i64 = i64::MAX;

/// How long ago something of a session was that is none: too long for every rule, and still younger than
/// never. So `context.age.totp <= context.session.age` does not hold where neither ever was.
const NOBODY_KNOWS_MS: i64 = NEVER_MS - 1;

/// What is so, whatever the person proves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) operation: &'a Operation,
    pub(crate) asker: Asker<'a>,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) clocks: &'a Clocks,
    /// How much older session and device are taken to be than they are: what is true after a while.
    pub(crate) later: Duration,
}

/// By which clocks and calendars policies tell the time.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    pub(crate) zone: TimeZone,
    pub(crate) calendars: Vec<Calendar>,
}

impl Clocks {
    pub(super) const fn utc() -> Self {
        Self { zone: TimeZone::UTC, calendars: Vec::new() }
    }

    pub(super) fn of(environment: &Environment) -> Self {
        Self { zone: environment.zone.clone(), calendars: environment.calendars.clone() }
    }
}

/// What the person has proved, or could have: how long ago each factor, and how long
/// ago something that counts as each of [`COUNTED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    /// By [`slot`]; `None` is never.
    ages: [Option<Duration>; SLOTS],
    /// In the order of [`COUNTED`].
    counted: [Option<Duration>; COUNTED.len()],
    /// Anything that is a factor of authentication.
    any_factor: Option<Duration>,
    confirmed: [bool; SLOTS],
    /// What the proofs of the confirmation count as, in the order of [`COUNTED`].
    confirmed_as: [bool; COUNTED.len()],
    /// The passkey that was proved last, and how long ago.
    passkey: Option<(Duration, PasskeySort)>,
    /// The one that the operation was confirmed with.
    confirmed_passkey: Option<PasskeySort>,
}

/// The kinds of factors, whatever they count as.
const SLOTS: usize = FactorKind::ALL.len();

const COUNTED: [Strength; 4] =
    [Strength::SECOND_FACTOR, Strength::PHISHING_RESISTANT, Strength::KNOWLEDGE, Strength::POSSESSION];

/// Where a kind stands in [`FactorKind::ALL`].
fn slot(kind: FactorKind) -> usize {
    FactorKind::ALL.iter().position(|one| one.is_same_factor(kind)).unwrap_or(SLOTS)
}

impl Proven {
    /// What is proved: the session's proofs or the token's, and those of a passed challenge of this operation.
    ///
    /// A proof from the future counts as never, also as a confirmation; so does one by a passkey of a model that
    /// is not believed.
    pub(crate) fn now(
        asker: Asker<'_>,
        confirmed: &[(FactorKind, Timestamp)],
        Surroundings { now, models, .. }: &Surroundings,
    ) -> Self {
        let believed = |kind: &FactorKind| !matches!(kind, FactorKind::Passkey(sort) if models.refuse(*sort));
        let mut proven = Self {
            ages: [None; SLOTS],
            counted: [None; COUNTED.len()],
            any_factor: None,
            confirmed: [false; SLOTS],
            confirmed_as: [false; COUNTED.len()],
            passkey: None,
            confirmed_passkey: None,
        };
        let confirmed: Vec<_> = confirmed.iter().copied().filter(|(kind, _)| believed(kind)).collect();
        let proofs = asker.proofs().filter(|(kind, _)| believed(kind));
        for (kind, at) in proofs.chain(confirmed.iter().copied()) {
            if let Some(age) = now.since(at) {
                proven.add(kind, age);
            }
        }
        for (kind, at) in confirmed {
            if now.since(at).is_some() {
                proven.confirm(kind);
            }
        }
        proven
    }

    /// One more proof, which makes nothing older.
    fn add(&mut self, kind: FactorKind, age: Duration) {
        let younger = |known: &mut Option<Duration>| *known = Some(known.map_or(age, |known| known.min(age)));
        self.ages.get_mut(slot(kind)).into_iter().for_each(younger);
        if kind.is_factor() {
            younger(&mut self.any_factor);
        }
        if let FactorKind::Passkey(sort) = kind
            && self.passkey.is_none_or(|(known, _)| age <= known)
        {
            self.passkey = Some((age, sort));
        }
        let strength = kind.strength();
        COUNTED
            .iter()
            .zip(&mut self.counted)
            .filter(|(one, _)| strength.covers(**one))
            .for_each(|(_, age)| younger(age));
    }

    /// The operation was confirmed with this.
    fn confirm(&mut self, kind: FactorKind) {
        self.confirmed.get_mut(slot(kind)).into_iter().for_each(|flag| *flag = true);
        if let FactorKind::Passkey(sort) = kind {
            self.confirmed_passkey = Some(sort);
        }
        let strength = kind.strength();
        let counted = COUNTED.iter().zip(&mut self.confirmed_as).filter(|(one, _)| strength.covers(**one));
        counted.for_each(|(_, flag)| *flag = true);
    }

    /// This, and these factors proved `age` ago.
    pub(crate) fn proved(mut self, kinds: &[FactorKind], age: Duration) -> Self {
        kinds.iter().for_each(|kind| self.add(*kind, age));
        self
    }

    /// This, and the operation confirmed with these factors just now.
    pub(crate) fn confirmed_with(mut self, kinds: &[FactorKind]) -> Self {
        kinds.iter().for_each(|kind| self.confirm(*kind));
        self.proved(kinds, Duration::ZERO)
    }

    /// The passkey that `context.passkey` is about: that of the confirmation, or else the one proved last. Where
    /// something else confirmed, nothing good is said of it: an old passkey vouches for nothing that was proved instead of
    /// it. Its model stands, so that a rule against a model is not got round by confirming with something else.
    fn passkey(&self) -> PasskeySort {
        let last = self.passkey.map(|(_, sort)| sort).unwrap_or_default();
        match self.confirmed_passkey {
            Some(confirmed) => confirmed,
            None if self.confirmed.contains(&true) => PasskeySort { aaguid: last.aaguid, ..PasskeySort::default() },
            None => last,
        }
    }

    fn age_of(&self, name: &str) -> Option<Duration> {
        let of = |at: usize| self.ages.get(at).copied().flatten();
        let counted = |strength: Strength| {
            COUNTED.iter().position(|one| *one == strength).and_then(|at| self.counted.get(at).copied().flatten())
        };
        match name {
            "any_factor" => self.any_factor,
            _ => match Strength::named(name) {
                Some(strength) => counted(strength),
                None => FactorKind::ALL.iter().position(|known| known.name() == name).and_then(of),
            },
        }
    }
}

/// The context's value could not be made; the text is for the operator.
#[derive(Debug, thiserror::Error)]
#[error("the context could not be built: {0}")]
pub(crate) struct ContextError(String);

/// Builds the context: of what is, and of what could be.
///
/// Only what `needs` names is in it, in the form that it names.
pub(super) fn build(needs: Needs, moment: &Moment<'_>, proven: &Proven) -> Result<Context, ContextError> {
    let mut top: BTreeMap<SmolStr, Value> = BTreeMap::new();
    for part in needs.flat.iter() {
        top.insert(part.name.clone(), value(part.path, moment, proven)?);
    }
    for part in needs.ms.iter() {
        top.insert(part.ms_name.clone(), Value::from(ms(part.path, moment, proven)));
    }
    if !needs.written.is_empty() {
        let mut records: BTreeMap<&str, BTreeMap<SmolStr, Value>> = BTreeMap::new();
        for part in needs.written.iter() {
            let value = value(part.path, moment, proven)?;
            match part.path.split_once('.') {
                Some((record, field)) => {
                    records.entry(record).or_default().insert(SmolStr::new_static(field), value);
                }
                None => {
                    top.insert(part.name.clone(), value);
                }
            }
        }
        for (record, fields) in records {
            top.insert(record.into(), Value::record_arc(Arc::new(fields), None));
        }
    }
    if needs.input {
        let inputs: BTreeMap<SmolStr, Value> = moment
            .operation
            .inputs
            .iter()
            .map(|(name, value)| Ok((name.into(), input(value)?)))
            .collect::<Result<_, ContextError>>()?;
        top.insert(SmolStr::new_static("input"), Value::record_arc(Arc::new(inputs), None));
    }
    Ok(Context::Value(Arc::new(top)))
}

fn fault(error: impl std::fmt::Display) -> ContextError {
    ContextError(error.to_string())
}

/// A constructor of one of Cedar's extension types. Reading its name costs more than calling it.
type Constructor = LazyLock<Option<Name>>;

static IP: Constructor = LazyLock::new(|| "ip".parse().ok());
static DECIMAL: Constructor = LazyLock::new(|| "decimal".parse().ok());
static DATETIME: Constructor = LazyLock::new(|| "datetime".parse().ok());
static DURATION: Constructor = LazyLock::new(|| "duration".parse().ok());

/// A value of one of Cedar's extension types, from its text.
fn extension(constructor: &Constructor, text: String) -> Result<Value, ContextError> {
    let name = constructor.as_ref().ok_or_else(|| fault("Cedar lacks an extension type"))?;
    let call = RestrictedExpr::call_extension_fn(name.clone(), [RestrictedExpr::val(text)]);
    RestrictedEvaluator::new(Extensions::all_available()).interpret(call.as_borrowed()).map_err(fault)
}

/// The value of one part of the context.
fn value(part: &str, moment: &Moment<'_>, proven: &Proven) -> Result<Value, ContextError> {
    let around = moment.surroundings;
    let session = moment.asker.session();
    let model = around.models.attested(proven.passkey());
    let texts = |texts: &mut dyn Iterator<Item = &str>| Value::set(texts.map(Value::from), None);
    Ok(match part {
        "confirmed" => {
            let kinds = FactorKind::ALL.map(FactorKind::name).into_iter().zip(proven.confirmed);
            let counted = COUNTED.into_iter().flat_map(Strength::names).zip(proven.confirmed_as);
            texts(&mut kinds.chain(counted).filter(|(_, confirmed)| *confirmed).map(|(name, _)| name))
        }
        // Of an unknown one a careful rule trusts nothing: it may have been synced anywhere.
        "passkey.backed_up" => Value::from(proven.passkey().backup.may_be_backed_up()),
        "passkey.backup_eligible" => Value::from(proven.passkey().backup.may_be_synced()),
        "passkey.attested" => Value::from(proven.passkey().is_attested),
        "passkey.certification" => Value::from(model.map_or(0, |facts| i64::from(facts.certified))),
        "passkey.status" => Value::from(model.map_or("unknown", |facts| facts.status.as_str())),
        "passkey.aaguid" => match proven.passkey().aaguid {
            Aaguid::NONE => Value::from(""),
            aaguid => Value::from(aaguid.to_string()),
        },
        // Approvals by other people are not asked for yet.
        "approvals" => Value::from(0_i64),
        "device.known" => Value::from(session.is_some_and(|session| session.device.is_known())),
        "device.name" => Value::from(session.map_or("", |session| session.device.name.as_str())),
        "device.posture" => Value::from(risk::posture(around, moment.asker.risks()).name()),
        "session.address_changed" => Value::from(session.is_some_and(|session| session.changed(around).address)),
        "session.agent_changed" => Value::from(session.is_some_and(|session| session.changed(around).agent)),
        "session.country_changed" => Value::from(session.is_some_and(|session| session.country_changed(around))),
        "session.token_reuse" => Value::from(session.is_some_and(|session| session.token_reused)),
        "network.address" => extension(&IP, around.address.to_string())?,
        "network.name" => Value::from(around.network.as_str()),
        "network.country" => Value::from(around.located.place().country.as_str()),
        "network.region" => Value::from(around.located.place().region.as_str()),
        "network.city" => Value::from(around.located.place().city.as_str()),
        "network.asn" => Value::from(i64::from(around.located.place().asn)),
        "network.anonymizer" => texts(&mut around.located.place().anonymizer.iter().map(|one| one.name())),
        "network.denied" => Value::from(around.located.is_denied()),
        // Cedar reads exactly three digits of milliseconds.
        "time.now" => extension(&DATETIME, format!("{:.3}", instant(moment)?))?,
        "time.hour" => Value::from(i64::from(here(moment)?.hour())),
        "time.minute" => Value::from(i64::from(here(moment)?.minute())),
        "time.weekday" => Value::from(weekday_name(here(moment)?.weekday())),
        "time.open" => texts(&mut names(moment, Calendar::is_open)),
        "time.holidays" => texts(&mut names(moment, Calendar::is_holiday)),
        "risk.level" => Value::from(risk::level(around, moment.asker.risks())),
        "risk.signals" => texts(&mut risk::signals(around, moment.asker.risks())),
        "risk.score" => Value::from(around.unusual.score()),
        "failures.person" => Value::from(around.unusual.failures.person),
        "failures.device" => Value::from(around.unusual.failures.device),
        "failures.address" => Value::from(around.unusual.failures.address),
        "failures.network" => Value::from(around.unusual.failures.network),
        "failures.service" => Value::from(around.unusual.failures.service),
        "failures.people" => Value::from(around.unusual.failures.people),
        duration => extension(&DURATION, format!("{}ms", ms(duration, moment, proven)))?,
    })
}

/// A part of the surroundings, as people read it. What cannot be told is said to be unknown.
pub(super) fn told(part: &str, moment: &Moment<'_>) -> String {
    let nothing = Proven::now(Asker::Anonymous, &[], moment.surroundings);
    match part {
        "network.address" => moment.surroundings.address.to_string(),
        "time.now" => moment.surroundings.now.to_string(),
        "session.age" | "session.idle" | "device.age" | "device.unseen" => match ms(part, moment, &nothing) {
            NEVER_MS | NOBODY_KNOWS_MS => "never".to_owned(),
            ms => format!("{} s", ms / 1000),
        },
        _ => match value(part, moment, &nothing) {
            Ok(value) => match value.value_kind() {
                ValueKind::Lit(Literal::String(text)) => text.to_string(),
                _ => value.to_string(),
            },
            Err(_) => "unknown".to_owned(),
        },
    }
}

/// A part that is a duration or a date, in milliseconds.
fn ms(part: &str, moment: &Moment<'_>, proven: &Proven) -> i64 {
    let now = moment.surroundings.now;
    let session = moment.asker.session();
    let (age, unknown) = match part {
        "time.now" => return now.as_ms(),
        "session.age" => (moment.asker.signed_in_at().and_then(|at| now.since(at)), NOBODY_KNOWS_MS),
        "session.idle" => (moment.asker.last_used_at().and_then(|at| now.since(at)), NOBODY_KNOWS_MS),
        // A device that nobody remembers is as new as can be: what waits for an age is not content with it.
        "device.age" => (session.and_then(|session| session.device.first_seen).and_then(|at| now.since(at)), 0),
        "device.unseen" => {
            let known = session.filter(|session| session.device.is_known());
            let unseen = known.and_then(|known| known.started_at.since(known.device.seen_before?));
            (unseen, NEVER_MS)
        }
        // What is no such part is never, which no rule is content with.
        part => (part.strip_prefix("age.").and_then(|name| proven.age_of(name)), NEVER_MS),
    };
    let grows = matches!(part, "session.age" | "device.age");
    let age = age.map(|age| if grows { age.saturating_add(moment.later) } else { age });
    // An age that does not fit is as good as unknown.
    age.and_then(|age| i64::try_from(age.as_millis()).ok()).unwrap_or(unknown)
}

/// The names of the calendars of which that is so now.
fn names<'a>(moment: &Moment<'a>, is: fn(&Calendar, Timestamp) -> bool) -> impl Iterator<Item = &'a str> {
    let now = moment.surroundings.now;
    moment.clocks.calendars.iter().filter(move |calendar| is(calendar, now)).map(|calendar| calendar.name.as_str())
}

fn here(moment: &Moment<'_>) -> Result<jiff::Zoned, ContextError> {
    Ok(instant(moment)?.to_zoned(moment.clocks.zone.clone()))
}

fn instant(moment: &Moment<'_>) -> Result<jiff::Timestamp, ContextError> {
    jiff::Timestamp::from_millisecond(moment.surroundings.now.as_ms()).map_err(fault)
}

const fn weekday_name(weekday: jiff::civil::Weekday) -> &'static str {
    use jiff::civil::Weekday;
    match weekday {
        Weekday::Monday => "monday",
        Weekday::Tuesday => "tuesday",
        Weekday::Wednesday => "wednesday",
        Weekday::Thursday => "thursday",
        Weekday::Friday => "friday",
        Weekday::Saturday => "saturday",
        Weekday::Sunday => "sunday",
    }
}

fn input(value: &InputValue) -> Result<Value, ContextError> {
    Ok(match value {
        InputValue::Long(value) => Value::from(*value),
        InputValue::String(value) => Value::from(value.as_str()),
        InputValue::Bool(value) => Value::from(*value),
        InputValue::Decimal(_) => extension(&DECIMAL, value.to_string())?,
    })
}
