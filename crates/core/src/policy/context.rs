//! The context of what is and of what could be, built by one function.

use std::time::Duration;

use cedar_policy::{Context, RestrictedExpression as Expr};
use jiff::tz::TimeZone;

use super::needs::Needs;
use crate::factor::FactorKind;
use crate::operation::{InputValue, Operation};
use crate::session::SessionView;
use crate::surroundings::Surroundings;
use crate::time::Timestamp;

/// "Never", as a duration: what no policy reaches.
pub(super) const NEVER: &str = "9223372036854775807ms";

/// What is so, whatever the person proves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) operation: &'a Operation,
    /// `None`: nobody is signed in.
    pub(crate) session: Option<&'a SessionView>,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) zone: &'a TimeZone,
}

/// What the person has proved, or could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    /// By the order of [`FactorKind::ALL`]; `None` is never.
    ages: [Option<Duration>; FactorKind::ALL.len()],
    confirmed: [bool; FactorKind::ALL.len()],
}

impl Proven {
    /// What is proved: the session's proofs, and those of a passed challenge of this operation.
    ///
    /// A proof from the future counts as never, also as a confirmation.
    pub(crate) fn now(session: Option<&SessionView>, confirmed: &[(FactorKind, Timestamp)], now: Timestamp) -> Self {
        let mut proven = Self { ages: [None; FactorKind::ALL.len()], confirmed: [false; FactorKind::ALL.len()] };
        for (kind, age) in FactorKind::ALL.into_iter().zip(&mut proven.ages) {
            let in_session = session.and_then(|session| session.assurance.age(now, |proved| proved == kind));
            let here =
                confirmed.iter().filter(|(proved, _)| *proved == kind).filter_map(|(_, at)| now.since(*at)).min();
            *age = in_session.into_iter().chain(here).min();
        }
        for (kind, flag) in FactorKind::ALL.into_iter().zip(&mut proven.confirmed) {
            *flag = confirmed.iter().any(|(proved, at)| *proved == kind && now.since(*at).is_some());
        }
        proven
    }

    /// This, and these factors proved `age` ago.
    pub(crate) fn proved(mut self, kinds: &[FactorKind], age: Duration) -> Self {
        for (kind, slot) in FactorKind::ALL.into_iter().zip(&mut self.ages) {
            if kinds.contains(&kind) {
                *slot = Some(age);
            }
        }
        self
    }

    /// This, and the operation confirmed with these factors just now.
    pub(crate) fn confirmed_with(mut self, kinds: &[FactorKind]) -> Self {
        for (kind, flag) in FactorKind::ALL.into_iter().zip(&mut self.confirmed) {
            *flag |= kinds.contains(&kind);
        }
        self.proved(kinds, Duration::ZERO)
    }

    fn age(&self, which: impl Fn(FactorKind) -> bool) -> Option<Duration> {
        FactorKind::ALL.into_iter().zip(self.ages).filter(|(kind, _)| which(*kind)).filter_map(|(_, age)| age).min()
    }
}

/// The context's value could not be made; the text is for the operator.
#[derive(Debug, thiserror::Error)]
#[error("the context could not be built: {0}")]
pub(crate) struct ContextError(String);

/// Builds the context: of what is, and of what could be.
///
/// Only what `needs` names is in it.
pub(super) fn build(needs: Needs, moment: &Moment<'_>, proven: &Proven) -> Result<Context, ContextError> {
    let mut top = Vec::with_capacity(9);
    let mut record = |name: &str, fields: Vec<(String, Expr)>| -> Result<(), ContextError> {
        if !fields.is_empty() {
            top.push((name.to_owned(), Expr::new_record(fields).map_err(fault)?));
        }
        Ok(())
    };
    record("age", ages(needs, proven))?;
    record("device", device(needs, moment))?;
    record("network", network(needs, moment))?;
    record("session", session(needs, moment))?;
    record("time", time(needs, moment)?)?;
    record("risk", risk(needs, moment))?;
    if needs.input() {
        let inputs = moment.operation.inputs.iter().map(|(name, value)| (name.clone(), input(value)));
        top.push(("input".to_owned(), Expr::new_record(inputs).map_err(fault)?));
    }
    if needs.has("confirmed") {
        let kinds = FactorKind::ALL.into_iter().zip(proven.confirmed).filter(|(_, confirmed)| *confirmed);
        let kinds = kinds.map(|(kind, _)| Expr::new_string(kind.name().to_owned()));
        top.push(("confirmed".to_owned(), Expr::new_set(kinds)));
    }
    if needs.has("approvals") {
        top.push(("approvals".to_owned(), Expr::new_long(0)));
    }
    Context::from_pairs(top).map_err(fault)
}

fn fault(error: impl std::fmt::Display) -> ContextError {
    ContextError(error.to_string())
}

/// The ages that policies can ask for: the part, its name, and the factors that it counts.
type AgeOf = (&'static str, &'static str, fn(FactorKind) -> bool);

const AGES: [AgeOf; 9] = [
    ("age.password", "password", |kind| matches!(kind, FactorKind::Password)),
    ("age.totp", "totp", |kind| matches!(kind, FactorKind::Totp)),
    ("age.passkey", "passkey", |kind| matches!(kind, FactorKind::Passkey)),
    ("age.recovery_code", "recovery_code", |kind| matches!(kind, FactorKind::RecoveryCode)),
    ("age.second_factor", "second_factor", FactorKind::is_second_factor),
    ("age.phishing_resistant", "phishing_resistant", FactorKind::is_phishing_resistant),
    ("age.knowledge", "knowledge", FactorKind::is_knowledge),
    ("age.possession", "possession", FactorKind::is_possession),
    ("age.any_factor", "any_factor", |_| true),
];

fn ages(needs: Needs, proven: &Proven) -> Vec<(String, Expr)> {
    AGES.iter()
        .filter(|(part, ..)| needs.has(part))
        .map(|(_, name, which)| ((*name).to_owned(), duration(proven.age(which))))
        .collect()
}

fn device(needs: Needs, moment: &Moment<'_>) -> Vec<(String, Expr)> {
    if !needs.has("device.known") {
        return Vec::new();
    }
    vec![("known".to_owned(), Expr::new_bool(moment.session.is_some_and(|session| session.device_known)))]
}

fn network(needs: Needs, moment: &Moment<'_>) -> Vec<(String, Expr)> {
    let around = moment.surroundings;
    let mut fields = Vec::new();
    if needs.has("network.address") {
        fields.push(("address".to_owned(), Expr::new_ip(around.address.to_string())));
    }
    if needs.has("network.name") {
        fields.push(("name".to_owned(), Expr::new_string(around.network.clone())));
    }
    if needs.has("network.country") {
        fields.push(("country".to_owned(), Expr::new_string(around.country.clone())));
    }
    fields
}

fn session(needs: Needs, moment: &Moment<'_>) -> Vec<(String, Expr)> {
    let since = |at: fn(&SessionView) -> Timestamp| {
        duration(moment.session.and_then(|session| moment.surroundings.now.since(at(session))))
    };
    let mut fields = Vec::new();
    if needs.has("session.age") {
        fields.push(("age".to_owned(), since(|session| session.started_at)));
    }
    if needs.has("session.idle") {
        fields.push(("idle".to_owned(), since(|session| session.last_used_at)));
    }
    fields
}

fn time(needs: Needs, moment: &Moment<'_>) -> Result<Vec<(String, Expr)>, ContextError> {
    let mut fields = Vec::new();
    if !(needs.has("time.now") || needs.has("time.hour") || needs.has("time.weekday")) {
        return Ok(fields);
    }
    let now = jiff::Timestamp::from_millisecond(moment.surroundings.now.as_ms()).map_err(fault)?;
    if needs.has("time.now") {
        // Cedar reads exactly three digits of milliseconds.
        fields.push(("now".to_owned(), Expr::new_datetime(format!("{now:.3}"))));
    }
    let local = now.to_zoned(moment.zone.clone());
    if needs.has("time.hour") {
        fields.push(("hour".to_owned(), Expr::new_long(i64::from(local.hour()))));
    }
    if needs.has("time.weekday") {
        let weekday = match local.weekday() {
            jiff::civil::Weekday::Monday => "monday",
            jiff::civil::Weekday::Tuesday => "tuesday",
            jiff::civil::Weekday::Wednesday => "wednesday",
            jiff::civil::Weekday::Thursday => "thursday",
            jiff::civil::Weekday::Friday => "friday",
            jiff::civil::Weekday::Saturday => "saturday",
            jiff::civil::Weekday::Sunday => "sunday",
        };
        fields.push(("weekday".to_owned(), Expr::new_string(weekday.to_owned())));
    }
    Ok(fields)
}

fn risk(needs: Needs, moment: &Moment<'_>) -> Vec<(String, Expr)> {
    let around = moment.surroundings;
    let mut fields = Vec::new();
    if needs.has("risk.level") {
        fields.push(("level".to_owned(), Expr::new_string(around.risk_level.clone())));
    }
    if needs.has("risk.signals") {
        let signals = around.risk_signals.iter().map(|signal| Expr::new_string(signal.clone()));
        fields.push(("signals".to_owned(), Expr::new_set(signals)));
    }
    fields
}

fn input(value: &InputValue) -> Expr {
    match value {
        InputValue::Long(value) => Expr::new_long(*value),
        InputValue::String(value) => Expr::new_string(value.clone()),
        InputValue::Bool(value) => Expr::new_bool(*value),
        InputValue::Decimal(_) => Expr::new_decimal(value.to_string()),
    }
}

fn duration(age: Option<Duration>) -> Expr {
    // An age that does not fit is as good as never.
    match age.and_then(|age| i64::try_from(age.as_millis()).ok()) {
        Some(ms) => Expr::new_duration(format!("{ms}ms")),
        None => Expr::new_duration(NEVER),
    }
}
