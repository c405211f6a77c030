//! Packs of policies: commented Cedar with a table of tests beside it, built in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stepgate_core::catalogue::{Catalogue, Endpoint, GATE_SERVICE, InputKind, InputSource, InputSpec, Service};

use crate::commands::{Failure, wrong_input};

/// A pack, as it is built in.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) name: &'static str,
    /// What it is for, in one line.
    pub(super) about: &'static str,
    pub(super) policies: &'static str,
    pub(super) table: &'static str,
}

macro_rules! packs {
    ($($name:literal: $about:literal),* $(,)?) => {
        &[$(Pack {
            name: $name,
            about: $about,
            policies: include_str!(concat!("../../../../../policies/packs/", $name, ".cedar")),
            table: include_str!(concat!("../../../../../policies/packs/", $name, ".test.toml")),
        }),*]
    };
}

/// All packs.
pub(super) const PACKS: &[Pack] = packs![
    "baseline": "what suits most: sensitive changes, exports, new devices, odd moments",
    "sox": "financial reporting: journals, payments, changes to programs; evidence for SOX 302/404 and AS 2201",
    "soc2": "access to systems and data; evidence for the SOC 2 common criteria CC6 to CC8",
    "finra": "broker-dealers: customer assets, supervision, records; evidence for FINRA 3110, 4511 and SEC 17a-4",
    "pci": "cardholder data and who administers it; evidence for PCI DSS 8 and 10",
    "gdpr": "personal data: reading, changing, taking it away; evidence for GDPR 5 and 32",
    "iso27001": "privileged access, source code, configuration; evidence for ISO 27001 A.5 and A.8",
];

/// Between these lines stands what is written once for each operation with an amount.
const EACH_AMOUNT: (&str, &str) = ("for each amount {", "}");
/// The operation of the pack's own service that those lines speak of,
const EXAMPLE_ACTION: &str = "example.payments.make";
/// and how its amount is compared.
const EXAMPLE_AMOUNT: &str = "context.input.amount > ";
/// What stands where there is none.
const NO_AMOUNTS: &str = "// None of your operations declares a number outside its path, so there is no rule on amounts here.\n\
                          // Declare one (inputs = { amount = \"json /amount as long\" }) and make the pack again.\n\n";
/// The line of a pack's head that lists its groups.
const GROUPS: &str = "// Groups: ";
/// How rules look at the kind of an operation.
const KIND: &str = "resource.kind";
/// The kind of the gate's own operations on accounts.
const GATE_KIND: &str = "account";

/// An operation of the operator's with a number that rules can look at.
#[derive(Clone, Debug)]
pub(super) struct Amount<'a> {
    service: &'a Service,
    endpoint: &'a Endpoint,
    pub(super) action: &'a str,
    pub(super) input: &'a str,
    kind: InputKind,
}

/// What the operator calls things, and over what amounts are large.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// The pack's groups, as they are called here.
    pub(super) groups: BTreeMap<String, String>,
    /// The pack's kinds of operations.
    pub(super) kinds: BTreeMap<String, String>,
    pub(super) amount: Option<i64>,
}

/// A pack made for a configuration.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) policies: String,
    pub(super) table: String,
}

impl Pack {
    pub(super) fn named(name: &str) -> Result<&'static Self, Failure> {
        PACKS.iter().find(|pack| pack.name == name).ok_or_else(|| {
            let known: Vec<_> = PACKS.iter().map(|pack| pack.name).collect();
            wrong_input(format!("there is no pack {name:?}; there are {}", known.join(", ")))
        })
    }

    /// The groups that its rules speak of.
    pub(super) fn groups(&self) -> BTreeSet<&'static str> {
        let after = self.policies.split("Group::\"").skip(1);
        after.filter_map(|rest| rest.split('"').next()).collect()
    }

    /// The kinds of operations that its rules speak of.
    pub(super) fn kinds(&self) -> BTreeSet<&'static str> {
        let lines = self.policies.lines().filter(|line| line.contains(KIND) && !line.starts_with("//"));
        let words = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
        words.filter(|word| *word != GATE_KIND && self.table.contains(&format!("kind = \"{word}\""))).collect()
    }

    /// The pack in the operator's words, with its rule on amounts for each of these.
    pub(super) fn make(&self, names: &Names, amounts: &[Amount<'_>]) -> Made {
        let (before, rule, after) = parted(self.policies, "// ");
        let mut policies = before.to_owned();
        if amounts.is_empty() {
            policies.push_str(NO_AMOUNTS);
        }
        for amount in amounts {
            policies.push_str(&self.rule_on(amount, rule, names));
            policies.push('\n');
        }
        policies.push_str(after.trim_start_matches('\n'));
        let (before, _, after) = parted(self.table, "# ");
        let table = format!("{before}{}", after.trim_start_matches('\n'));
        Made { policies: names.in_policies(&policies), table: names.in_table(&table) }
    }

    /// The `@id` of the rule on an amount.
    pub(super) fn id_on(&self, amount: &Amount<'_>) -> String {
        format!("{}.large-amount.{}.{}", self.name, amount.action, amount.input)
    }

    /// Over this the pack asks, unless the operator says another.
    fn limit(&self, names: &Names) -> i64 {
        let written = self.policies.split(EXAMPLE_AMOUNT).nth(1).and_then(|rest| rest.split(' ').next());
        names.amount.or_else(|| written?.parse().ok()).unwrap_or(i64::MAX)
    }

    fn rule_on(&self, amount: &Amount<'_>, rule: &str, names: &Names) -> String {
        let limit = self.limit(names);
        let (input, over) = (amount.input, amount.over(limit));
        let example = format!("{EXAMPLE_AMOUNT}{}", self.limit(&Names::default()));
        let rule = rule
            .replace(EXAMPLE_ACTION, amount.action)
            .replace(&example, &over)
            .replace(&format!("{}.large-amount", self.name), &self.id_on(amount));
        format!(
            "// For {:?}: set the number that `{input}` is not to exceed unasked.\n{rule}",
            amount.endpoint.resource
        )
    }

    /// Cases for the rule on an amount: one over the limit, and the limit itself. What they come to is for
    /// whoever writes them to say: other rules may ask as well.
    pub(super) fn cases_on(&self, amount: &Amount<'_>, names: &Names, group: &str) -> [toml::Table; 2] {
        let limit = self.limit(names);
        let (exactly, over) = amount.values(limit);
        [(over, "over it"), (exactly, "exactly the limit")].map(|(value, what)| {
            let mut case = toml::Table::new();
            case.insert("name".to_owned(), format!("{} {} of {}: {what}", amount.action, amount.input, limit).into());
            case.insert("service".to_owned(), amount.service.name.as_str().into());
            amount.request(&value, &mut case);
            case.insert("groups".to_owned(), vec![toml::Value::from(group)].into());
            let proved = [("password", "1h"), ("passkey", "1m")].map(|(factor, age)| (factor.to_owned(), age.into()));
            case.insert("proved".to_owned(), toml::Table::from_iter(proved).into());
            case
        })
    }
}

/// Before, between and after the lines that mark what is written for each amount.
fn parted<'t>(text: &'t str, comment: &str) -> (&'t str, &'t str, &'t str) {
    let (open, close) = (format!("{comment}{}\n", EACH_AMOUNT.0), format!("{comment}{}\n", EACH_AMOUNT.1));
    let Some((before, rest)) = text.split_once(&open) else { return (text, "", "") };
    let (between, after) = rest.split_once(&close).unwrap_or((rest, ""));
    (before, between, after)
}

impl Names {
    /// Reads `staff=finance` as often as it was said; the first must be one of `known`.
    pub(super) fn read(
        flag: &str,
        said: &[String],
        known: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let quotable = |text: &str| !text.is_empty() && !text.contains(['"', '\\']) && !text.contains(char::is_control);
        let pair = |text: &String| {
            let (from, to) = text
                .split_once('=')
                .filter(|(_, to)| quotable(to))
                .ok_or_else(|| wrong_input(format!("{flag} {text}: like the pack's word=your word")))?;
            if !known.contains(from) {
                let known: Vec<_> = known.iter().copied().collect();
                return Err(wrong_input(format!("{flag} {text}: the pack says {}", known.join(", "))));
            }
            Ok((from.to_owned(), to.to_owned()))
        };
        said.iter().map(pair).collect()
    }

    fn in_policies(&self, text: &str) -> String {
        let line = |line: &str| {
            let line = replaced(line, &self.groups, if line.starts_with(GROUPS) { "" } else { "Group::" });
            if line.contains(KIND) && !line.starts_with("//") { replaced(&line, &self.kinds, "") } else { line }
        };
        text.lines().map(line).flat_map(|line| [line, "\n".to_owned()]).collect()
    }

    fn in_table(&self, text: &str) -> String {
        let line = |line: &str| match line {
            _ if line.starts_with("groups = ") => replaced(line, &self.groups, ""),
            _ if line.starts_with("kind = ") => replaced(line, &self.kinds, ""),
            _ => line.to_owned(),
        };
        text.lines().map(line).flat_map(|line| [line, "\n".to_owned()]).collect()
    }
}

/// Each quoted word that has another name here, all at once: what was replaced is not looked at again.
fn replaced(line: &str, names: &BTreeMap<String, String>, before: &str) -> String {
    let mut parts = line.split('"');
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut quoted = true;
    for part in parts {
        let name = names.get(part).filter(|_| quoted && out.ends_with(before));
        out.push('"');
        out.push_str(name.map_or(part, String::as_str));
        quoted = !quoted;
    }
    out
}

impl<'a> Amount<'a> {
    /// Each number that an operation of the operator's declares, once for each action. What stands in a path is
    /// taken for a name and not for an amount.
    pub(super) fn all(catalogue: &'a Catalogue) -> Vec<Self> {
        let mut seen = BTreeSet::new();
        let own = catalogue.services.values().filter(|service| service.name.as_str() != GATE_SERVICE);
        let endpoints = own.flat_map(|service| service.endpoints.iter().map(move |endpoint| (service, endpoint)));
        endpoints
            .flat_map(|(service, endpoint)| endpoint.inputs.iter().map(move |input| (service, endpoint, input)))
            .filter(|(_, _, input)| matches!(input.kind, InputKind::Long | InputKind::Decimal))
            .filter(|(_, _, input)| !matches!(input.source, InputSource::Path(_)))
            .map(|(service, endpoint, input)| Amount {
                service,
                endpoint,
                action: endpoint.action.as_str(),
                input: &input.name,
                kind: input.kind,
            })
            .filter(|amount| seen.insert((amount.action, amount.input)))
            .collect()
    }

    /// The condition, in Cedar.
    fn over(&self, limit: i64) -> String {
        let input = self.input;
        match self.kind {
            InputKind::Decimal => format!("context.input.{input}.greaterThan(decimal(\"{limit}.0\"))"),
            _ => format!("context.input.{input} > {limit}"),
        }
    }

    /// The limit, and the least that is more.
    fn values(&self, limit: i64) -> (String, String) {
        match self.kind {
            InputKind::Decimal => (format!("{limit}.0"), format!("{limit}.0001")),
            _ => (limit.to_string(), limit.saturating_add(1).to_string()),
        }
    }

    /// Puts a request with this amount into a case. Whatever else the operation declares is something.
    fn request(&self, amount: &str, case: &mut toml::Table) {
        let value = |input: &InputSpec| match input.kind {
            _ if input.name == self.input => amount.to_owned(),
            InputKind::Long => "1".to_owned(),
            InputKind::Decimal => "1.0".to_owned(),
            InputKind::Bool => "true".to_owned(),
            InputKind::String => "x".to_owned(),
        };
        let (mut path, mut pairs) = (self.endpoint.path.as_str().to_owned(), Vec::new());
        let (mut form, mut json) = (Vec::new(), None);
        for input in &self.endpoint.inputs {
            let text = value(input);
            match &input.source {
                InputSource::Path(name) => {
                    path = path.replace(&format!("{{{name}}}"), &text).replace(&format!("{{{name}...}}"), &text);
                }
                InputSource::Query(name) => pairs.push((name, text)),
                InputSource::Form(name) => form.push((name, text)),
                InputSource::Json(pointer) => {
                    let text = if input.kind == InputKind::String { format!("{text:?}") } else { text };
                    let value = serde_json::from_str(&text).unwrap_or_default();
                    put(json.get_or_insert(Value::Null), pointer, value);
                }
            }
        }
        let filled: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part }).collect();
        let encoded = |pairs: &[(&String, String)]| {
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
        };
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", encoded(&pairs)) };
        let method = self.endpoint.methods.first().map_or("POST", String::as_str);
        case.insert("request".to_owned(), format!("{method} {}{query}", filled.join("/")).into());
        if !form.is_empty() {
            case.insert("form".to_owned(), encoded(&form).into());
        }
        if let Some(json) = json {
            case.insert("json".to_owned(), json.to_string().into());
        }
    }
}

/// Puts a value at a JSON pointer (RFC 6901), with the objects that lead there.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut at = document;
    for name in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        let Value::Object(fields) = at else { return };
        at = fields.entry(name.replace("~1", "/").replace("~0", "~")).or_insert(Value::Null);
    }
    *at = value;
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
