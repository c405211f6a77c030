//! Which parts of the context a policy can look at.
//!
//! Durations, dates and addresses cost Cedar a parse each, so what no policy of a
//! slice looks at is left out of the context. Anything that is not plainly a path
//! (`context.age.passkey`) counts as the whole. If a part were left out wrongly,
//! its policy would err, and an error is a deny.

use serde_json::Value;

/// The parts of the context, as paths.
pub(super) const PARTS: [&str; 22] = [
    "age.password",
    "age.totp",
    "age.passkey",
    "age.recovery_code",
    "age.second_factor",
    "age.phishing_resistant",
    "age.knowledge",
    "age.possession",
    "age.any_factor",
    "confirmed",
    "approvals",
    "device.known",
    "network.address",
    "network.name",
    "network.country",
    "session.age",
    "session.idle",
    "time.now",
    "time.hour",
    "time.weekday",
    "risk.level",
    "risk.signals",
];

/// `context.input`, after the others.
const INPUT: u32 = 1 << PARTS.len();

/// A set of parts of the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs(u32);

impl Needs {
    /// Nothing.
    pub(super) const NONE: Self = Self(0);
    /// Everything.
    pub(crate) const ALL: Self = Self((INPUT << 1) - 1);

    /// What a policy (in Cedar's JSON form) can look at.
    pub(super) fn of(policy: &Value) -> Self {
        let mut needs = Self::NONE;
        match policy.get("conditions") {
            Some(conditions) => needs.collect(conditions),
            None => needs = Self::ALL,
        }
        needs
    }

    /// Both.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the inputs are among them.
    pub(super) const fn input(self) -> bool {
        self.0 & INPUT != 0
    }

    /// Whether a part of [`PARTS`] is among them.
    pub(super) fn has(self, part: &str) -> bool {
        PARTS.iter().position(|known| *known == part).is_none_or(|at| self.0 & (1 << at) != 0)
    }

    fn collect(&mut self, value: &Value) {
        if let Some(path) = path(value) {
            self.add(&path);
            return;
        }
        match value {
            Value::Object(fields) => fields.values().for_each(|inner| self.collect(inner)),
            Value::Array(items) => items.iter().for_each(|inner| self.collect(inner)),
            _ => {}
        }
    }

    fn add(&mut self, path: &[&str]) {
        let Some(first) = path.first() else {
            *self = Self::ALL;
            return;
        };
        if *first == "input" {
            self.0 |= INPUT;
            return;
        }
        let mut known = false;
        for (at, part) in PARTS.iter().enumerate() {
            let mut names = part.split('.');
            // `context.age` alone is every age; `context.age.passkey` is one.
            if path.iter().all(|name| names.next().is_none_or(|part| part == *name)) {
                self.0 |= 1 << at;
                known = true;
            }
        }
        if !known {
            *self = Self::ALL;
        }
    }
}

/// The path of `context.a.b`, from `a` on; `None` if the expression is not such a path.
fn path(value: &Value) -> Option<Vec<&str>> {
    let fields = value.as_object()?;
    if fields.len() != 1 {
        return None;
    }
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

    fn check(condition: &str, expected: &[&str]) {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        let needs = Needs::of(&policy.to_json().unwrap());
        let mut found: Vec<&str> = PARTS.into_iter().filter(|part| needs.has(part)).collect();
        if needs.input() {
            found.push("input");
        }
        assert_eq!(found, expected, "{condition}");
    }

    #[test]
    fn paths_are_found_and_everything_else_is_the_whole() {
        check("true", &[]);
        check("principal.login == \"context\"", &[]);
        check("context.age.passkey <= duration(\"5m\")", &["age.passkey"]);
        check("context.network.address.isInRange(ip(\"10.0.0.0/8\"))", &["network.address"]);
        check("context.input.amount > 5 && !context.device.known", &["device.known", "input"]);
        check("context.input has amount", &["input"]);
        check("[context.time.hour].contains(3)", &["time.hour"]);
        check("{a: context.risk}.a.level == \"high\"", &["risk.level", "risk.signals"]);
        check("context.confirmed.contains(\"totp\")", &["confirmed"]);
        check("if context.session.idle < duration(\"1m\") then true else false", &["session.idle"]);
        let all: Vec<&str> = PARTS.into_iter().chain(["input"]).collect();
        check("context == {}", &all);
        check("context has age", &all);
        check("context has age.passkey", &all);
        check("{a: context}.a.approvals == 0", &all);
        check("context[\"unheard-of\"] == 1", &all);
    }
}
