//! Which parts of the context a policy looks at, and the cheapest form of each.
//!
//! Durations, dates and addresses cost Cedar a parse each, and each step into a
//! record costs as well. So a policy of a slice is rewritten:
//!
//! - `context.age.passkey <= duration("5m")` becomes `context["age.passkey.ms"] <= 300000`,
//! - `context.age.passkey <= context.session.age` becomes `context["age.passkey.ms"] <= context["session.age.ms"]`,
//! - any other `context.network.name` becomes `context["network.name"]`,
//!
//! and what no policy of a slice looks at is left out of the context. What is not
//! plainly such a path stays as it is, with the whole record that it may look at.
//! If a part were left out wrongly, its policy would err, and an error is a deny;
//! a property test holds rewritten policies equal to what was written.

use std::str::FromStr as _;
use std::sync::LazyLock;

use cedar_policy::{Context, Entities, EntityUid, EvalResult, Expression, Request, eval_expression};
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::factor::FactorKind;

/// The parts of the context, as paths: how long ago each kind of factor was proved, and all else.
#[expect(clippy::indexing_slicing, reason = "evaluated while compiling, where an index out of bounds is an error")]
pub(super) const PARTS: [&str; FactorKind::AGES.len() + OTHERS.len()] = {
    let mut parts = [""; FactorKind::AGES.len() + OTHERS.len()];
    let mut at = 0;
    while at < parts.len() {
        parts[at] =
            if at < FactorKind::AGES.len() { FactorKind::AGES[at] } else { OTHERS[at - FactorKind::AGES.len()] };
        at += 1;
    }
    parts
};

const OTHERS: [&str; 47] = [
    "age.second_factor",
    "age.phishing_resistant",
    "age.knowledge",
    "age.possession",
    "age.any_factor",
    "session.age",
    "session.idle",
    "session.address_changed",
    "session.agent_changed",
    "session.country_changed",
    "session.token_reuse",
    "time.now",
    "time.hour",
    "time.minute",
    "time.weekday",
    "time.open",
    "time.holidays",
    "confirmed",
    "passkey.backed_up",
    "passkey.backup_eligible",
    "passkey.aaguid",
    "passkey.attested",
    "passkey.certification",
    "passkey.status",
    "approvals",
    "device.known",
    "device.age",
    "device.unseen",
    "device.name",
    "device.posture",
    "network.address",
    "network.name",
    "network.country",
    "network.region",
    "network.city",
    "network.asn",
    "network.anonymizer",
    "network.denied",
    "risk.level",
    "risk.signals",
    "risk.score",
    "failures.person",
    "failures.device",
    "failures.address",
    "failures.network",
    "failures.service",
    "failures.people",
];

/// The parts that tell what is usual.
pub(super) const HABITS: [&str; 2] = ["risk.signals", "risk.score"];

/// A part of the context and the names under which a rewritten policy finds it.
#[derive(Debug)]
pub(super) struct Part {
    /// `age.passkey`
    pub(super) path: &'static str,
    /// The same, as Cedar holds it.
    pub(super) name: SmolStr,
    /// `age.passkey.ms`
    pub(super) ms_name: SmolStr,
}

static NAMED: LazyLock<[Part; PARTS.len()]> =
    LazyLock::new(|| PARTS.map(|path| Part { path, name: SmolStr::new_static(path), ms_name: ms_name(path).into() }));

/// What a set of policies looks at. The sets are bits in the order of [`PARTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// In its record, as it is written: `context.age.passkey`.
    pub(super) written: Parts,
    /// Under its path: `context["age.passkey"]`.
    pub(super) flat: Parts,
    /// Under its path, in milliseconds: `context["age.passkey.ms"]`.
    pub(super) ms: Parts,
    /// `context.input`.
    pub(super) input: bool,
    /// The context as a value of its own: such a policy does not load, since it
    /// would see how the others are rewritten.
    pub(super) whole: bool,
}

/// A set of parts of the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts(u64);

impl Parts {
    const NONE: Self = Self(0);
    const ALL: Self = Self((1 << PARTS.len()) - 1);

    /// Whether there is none.
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The parts.
    pub(super) fn iter(self) -> impl Iterator<Item = &'static Part> {
        NAMED.iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, part)| part)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn add(&mut self, at: usize) {
        self.0 |= 1 << at;
    }
}

impl Needs {
    /// Nothing.
    pub(super) const NONE: Self =
        Self { written: Parts::NONE, flat: Parts::NONE, ms: Parts::NONE, input: false, whole: false };
    /// Everything, as it is written.
    pub(crate) const ALL: Self =
        Self { written: Parts::ALL, flat: Parts::NONE, ms: Parts::NONE, input: true, whole: false };

    /// Rewrites a policy, in Cedar's JSON form, and says what it looks at then.
    pub(super) fn rewrite(policy: &mut Value) -> Self {
        match policy.get_mut("conditions") {
            Some(conditions) => {
                let mut needs = Self::NONE;
                needs.collect(conditions);
                needs
            }
            None => Self { whole: true, ..Self::ALL },
        }
    }

    /// Both.
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            written: self.written.and(other.written),
            flat: self.flat.and(other.flat),
            ms: self.ms.and(other.ms),
            input: self.input || other.input,
            whole: self.whole || other.whole,
        }
    }

    /// The parts that are neither proved nor asked for: network, place, time, device, session, risk, failures.
    pub(super) fn surroundings(self) -> Vec<&'static str> {
        let looked_at = self.written.and(self.flat).and(self.ms);
        let around = |path: &&str| {
            let record = path.split('.').next().unwrap_or_default();
            ["network", "time", "device", "session", "risk", "failures"].contains(&record)
        };
        looked_at.iter().map(|part| part.path).filter(around).collect()
    }

    /// Whether anything of the passkey is looked at.
    pub(super) fn passkeys(self) -> bool {
        let looked_at = self.written.and(self.flat).and(self.ms);
        looked_at.iter().any(|part| part.path.starts_with("passkey."))
    }

    /// Whether anything here tells what is usual for somebody, or what failed.
    pub(super) fn looks_at_habits(self) -> bool {
        let looked_at = self.written.and(self.flat).and(self.ms);
        looked_at.iter().any(|part| part.path.starts_with("failures.") || HABITS.contains(&part.path))
    }

    fn collect(&mut self, value: &mut Value) {
        if let Some((parts, compared)) = compared(value) {
            parts.into_iter().flatten().for_each(|at| self.ms.add(at));
            *value = compared;
            return;
        }
        if let Some(path) = path(value) {
            match PARTS.iter().position(|part| part.split('.').eq(path.iter().copied())) {
                Some(at) => {
                    self.flat.add(at);
                    *value = attribute(PARTS.get(at).copied().unwrap_or_default());
                }
                None => self.add_written(&path),
            }
            return;
        }
        match value {
            Value::Object(fields) => fields.values_mut().for_each(|inner| self.collect(inner)),
            Value::Array(items) => items.iter_mut().for_each(|inner| self.collect(inner)),
            _ => {}
        }
    }

    /// A path that is no part: `context`, a whole record, or an input.
    fn add_written(&mut self, path: &[&str]) {
        match path {
            ["input", ..] => self.input = true,
            [record] if PARTS.iter().any(|part| part.split('.').next() == Some(record)) => {
                for (at, part) in PARTS.iter().enumerate() {
                    if part.split('.').next() == Some(record) {
                        self.written.add(at);
                    }
                }
            }
            // A part that is not there does not pass validation.
            _ => *self = self.and(Self { whole: path.is_empty(), ..Self::ALL }),
        }
    }
}

/// Comparisons that mean the same between milliseconds as between durations or dates.
const COMPARISONS: [&str; 6] = ["<", "<=", ">", ">=", "==", "!="];

/// `context.age.passkey <= duration("5m")`, either way round, or of two parts, as a comparison of
/// milliseconds; and the parts that it is about.
fn compared(value: &Value) -> Option<([Option<usize>; 2], Value)> {
    let (operator, sides) = value.as_object().filter(|fields| fields.len() == 1)?.iter().next()?;
    if !COMPARISONS.contains(&operator.as_str()) {
        return None;
    }
    let (left, right) = (sides.get("left")?, sides.get("right")?);
    let literal = |side: &Value, kind| literal_ms(side, kind).map(|ms| json!({ "Value": ms }));
    let (parts, left, right) = match (timed(left), timed(right)) {
        (Some((at, kind)), None) => ([Some(at), None], in_ms(at), literal(right, kind)?),
        (None, Some((at, kind))) => ([Some(at), None], literal(left, kind)?, in_ms(at)),
        (Some((at, kind)), Some((other, same))) if kind == same => ([Some(at), Some(other)], in_ms(at), in_ms(other)),
        _ => return None,
    };
    Some((parts, json!({ operator: { "left": left, "right": right } })))
}

/// The name under which a part stands in milliseconds.
fn ms_name(part: &str) -> String {
    format!("{part}.ms")
}

fn in_ms(at: usize) -> Value {
    attribute(&ms_name(PARTS.get(at).copied().unwrap_or_default()))
}

fn attribute(name: &str) -> Value {
    json!({ ".": { "left": { "Var": "context" }, "attr": name } })
}

/// A path to a part that is a duration or a date, and which of them it is.
fn timed(value: &Value) -> Option<(usize, &'static str)> {
    let path = path(value)?;
    let at = PARTS.iter().position(|part| part.split('.').eq(path.iter().copied()))?;
    match path.as_slice() {
        ["age", _] | ["session", "age" | "idle"] | ["device", "age" | "unseen"] => Some((at, "duration")),
        ["time", "now"] => Some((at, "datetime")),
        _ => None,
    }
}

/// The milliseconds of `duration("5m")` or `datetime("2025-01-01")`, as Cedar reads them.
fn literal_ms(value: &Value, kind: &str) -> Option<i64> {
    let text = value.as_object().filter(|fields| fields.len() == 1)?.get(kind)?.get(0)?.get("Value")?.as_str()?;
    let question = match kind {
        "duration" => format!("duration({text:?}).toMilliseconds()"),
        _ => format!("datetime({text:?}).durationSince(datetime(\"1970-01-01\")).toMilliseconds()"),
    };
    match evaluate(&question)? {
        EvalResult::Long(ms) => Some(ms),
        _ => None,
    }
}

/// What Cedar makes of an expression without variables; `None` if nothing.
pub(super) fn evaluate(expression: &str) -> Option<EvalResult> {
    let expression = Expression::from_str(expression).ok()?;
    let uid: EntityUid = "Action::\"read\"".parse().ok()?;
    let request = Request::new(uid.clone(), uid.clone(), uid, Context::empty(), None).ok()?;
    eval_expression(&request, &Entities::empty(), &expression).ok()
}

/// The path of `context.a.b`, from `a` on; `None` if the expression is not such a path.
fn path(value: &Value) -> Option<Vec<&str>> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    if fields.get("Var").and_then(Value::as_str) == Some("context") {
        return Some(Vec::new());
    }
    let access = fields.get(".")?;
    let mut path = path(access.get("left")?)?;
    path.push(access.get("attr")?.as_str()?);
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A condition, what it becomes, and the whole parts that it needs as written.
    #[track_caller]
    fn check(condition: &str, rewritten: &str, written: &[&str]) {
        let json = |condition: &str| {
            let text = format!("permit (principal, action, resource) when {{ {condition} }};");
            cedar_policy::Policy::parse(None, text).unwrap().to_json().unwrap()
        };
        let mut policy = json(condition);
        let needs = Needs::rewrite(&mut policy);
        assert_eq!(policy, json(rewritten), "{condition}");
        assert_eq!(needs.whole, written.len() > PARTS.len() && !condition.contains("unheard"), "{condition}");
        let mut found: Vec<&str> = needs.written.iter().map(|part| part.path).collect();
        if needs.input {
            found.push("input");
        }
        assert_eq!(found, written, "{condition}");
        for name in needs.flat.iter().map(|part| &part.name).chain(needs.ms.iter().map(|part| &part.ms_name)) {
            assert!(rewritten.contains(&format!("context[\"{name}\"]")), "{name} in {rewritten}");
        }
    }

    #[test]
    fn ages_and_dates_become_milliseconds() {
        check("context.age.passkey <= duration(\"5m\")", "context[\"age.passkey.ms\"] <= 300000", &[]);
        check("duration(\"1d\") > context.session.idle", "86400000 > context[\"session.idle.ms\"]", &[]);
        check("context.age.totp == duration(\"-1s\")", "context[\"age.totp.ms\"] == -1000", &[]);
        check("context.time.now < datetime(\"1970-01-02T00:00:00Z\")", "context[\"time.now.ms\"] < 86400000", &[]);
        check("context.age.totp < context.age.passkey", "context[\"age.totp.ms\"] < context[\"age.passkey.ms\"]", &[]);
        check(
            "context.age.second_factor <= context.session.age",
            "context[\"age.second_factor.ms\"] <= context[\"session.age.ms\"]",
            &[],
        );
        check("context.device.unseen > duration(\"1d\")", "context[\"device.unseen.ms\"] > 86400000", &[]);
        check("context.session.age < context.time.now", "context[\"session.age\"] < context[\"time.now\"]", &[]);
        check(
            "context.age.totp.toMinutes() < 5 && context.age.totp != duration(\"1s\")",
            "context[\"age.totp\"].toMinutes() < 5 && context[\"age.totp.ms\"] != 1000",
            &[],
        );
    }

    #[test]
    fn other_paths_are_flat_and_everything_else_is_the_whole() {
        check("principal.login == \"context\"", "principal.login == \"context\"", &[]);
        check(
            "context.network.address.isInRange(ip(\"10.0.0.0/8\"))",
            "context[\"network.address\"].isInRange(ip(\"10.0.0.0/8\"))",
            &[],
        );
        check("[context.time.hour].contains(3)", "[context[\"time.hour\"]].contains(3)", &[]);
        check("context.confirmed.contains(\"totp\")", "context[\"confirmed\"].contains(\"totp\")", &[]);
        for (same, written) in [
            ("context.input.amount > 5", &["input"][..]),
            ("context.input has amount", &["input"][..]),
            ("{a: context.risk}.a.level == \"high\"", &["risk.level", "risk.signals", "risk.score"][..]),
            (
                "context.device has known",
                &["device.known", "device.age", "device.unseen", "device.name", "device.posture"][..],
            ),
        ] {
            check(same, same, written);
        }
        let all: Vec<&str> = PARTS.into_iter().chain(["input"]).collect();
        for same in [
            "context == {}",
            "context has age",
            "context has age.passkey",
            "{a: context}.a.approvals == 0",
            "context[\"unheard-of\"] == 1",
        ] {
            check(same, same, &all);
        }
    }
}
