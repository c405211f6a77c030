//! The Cedar schema, made from the catalogue.
//!
//! No attribute is optional anywhere: a policy that reads one can rely on it, and
//! a `forbid` cannot be skipped because something was missing (attack B81).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cedar_policy::Schema;

use super::PolicyMistake;
use crate::catalogue::{Catalogue, Effect, Endpoint, InputKind, SIGN_IN};
use crate::factor::{FactorKind, Strength};

/// What is the same in every deployment: before the ages of the factors.
const BEFORE_AGES: &str = r#"// Who acts. `login` and `email` are empty for Anonymous.
entity Group;
entity Person in [Group] { login: String, email: String };
entity Agent in [Group] { login: String, email: String };
entity Anonymous { login: String, email: String };

// What is asked for.
entity Service;
entity Endpoint in [Service] { sensitivity: String, kind: String };

// How long ago each factor was proved. Never is 9223372036854775807ms.
type Ages = {
"#;
/// And after them.
const AFTER_AGES: &str = r#"};
// The passkey of the confirmation, or else the one that was proved last. `aaguid` is what the client says, unless
// `attested`. `certification` is the FIDO level of an attested model, and `status` what was reported of it. Where none
// was proved: true, true, "", false, 0 and unknown.
type Passkey = {
  backed_up: Bool,
  backup_eligible: Bool,
  aaguid: String,
  attested: Bool,
  certification: Long,
  status: String,
};
// `age` is since this person first signed in with it, and 0 if it is not remembered. `unseen` is how long it had not
// been used before this sign-in; never, if it is not known. `posture` is unknown, compliant or not_compliant.
type Device = {
  known: Bool,
  age: __cedar::duration,
  unseen: __cedar::duration,
  name: String,
  posture: String,
};
// `name` is empty outside the configured networks. `country` (ISO 3166-1) and `region` (ISO 3166-2) are
// "ZZ" if unknown, `city` is empty, `asn` is 0. `anonymizer` holds vpn, tor, public_proxy, residential_proxy,
// hosting, other, or unknown alone. `denied`: the place is one of those from where nobody is to come.
type Network = {
  address: __cedar::ipaddr,
  name: String,
  country: String,
  region: String,
  city: String,
  asn: Long,
  anonymizer: Set<String>,
  denied: Bool,
};
// What `…_changed` is different now from the sign-in. `token_reuse`: a token of this session was seen again long after
// its successor was used. Where nobody is in a session, `age` and `idle` are a millisecond less than never, so that
// nothing that was never proved is as young.
type SignedIn = {
  age: __cedar::duration,
  idle: __cedar::duration,
  address_changed: Bool,
  agent_changed: Bool,
  country_changed: Bool,
  token_reuse: Bool,
};
// `weekday` is monday, tuesday, …, in the configured time zone, like `hour` and `minute`. `open` holds the names
// of the calendars that are open now, `holidays` of those that have a holiday today.
type Time = {
  now: __cedar::datetime,
  hour: Long,
  minute: Long,
  weekday: String,
  open: Set<String>,
  holidays: Set<String>,
};
// `level` is unknown, low, medium or high. `score` is the sum of what the person's own signals weigh, 0 to 100; where their
// habits cannot be read, it is 100 as long as `habits_unreadable` weighs so much.
type Risk = { level: String, signals: Set<String>, score: Long };
// What failed within the hour; -1 is unknown. `people`: of so many people something failed from this address.
type Failures = {
  person: Long,
  device: Long,
  address: Long,
  network: Long,
  service: Long,
  people: Long,
};
"#;

/// The schema's text.
///
/// Errors: an action that is declared twice in different ways.
pub(super) fn text(catalogue: &Catalogue) -> Result<String, Vec<PolicyMistake>> {
    text_with(catalogue, |_| true)
}

/// The schema's text, with only those declared actions (and always `read` and `write`).
pub(super) fn text_with(catalogue: &Catalogue, wanted: impl Fn(&str) -> bool) -> Result<String, Vec<PolicyMistake>> {
    let mut text = BEFORE_AGES.to_owned();
    let counted = Strength::NAMED.map(|(name, _)| name);
    for name in FactorKind::ALL.map(FactorKind::name).into_iter().chain(counted).chain(["any_factor"]) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name}: __cedar::duration,");
    }
    text.push_str(AFTER_AGES);
    let (actions, mistakes) = actions(catalogue);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    for effect in [Effect::Read, Effect::Write] {
        action(&mut text, group(effect), &[], &[]);
    }
    for (name, endpoint) in actions {
        // Groups are always there.
        if name != group(endpoint.effect) && (wanted(name) || name == SIGN_IN) {
            let inputs: Vec<_> = endpoint.inputs.iter().map(|input| (input.name.as_str(), input.kind)).collect();
            let of_sign_in = name != SIGN_IN && catalogue.is_of_sign_in(&endpoint.action);
            let groups: Vec<_> = of_sign_in.then_some(SIGN_IN).into_iter().chain([group(endpoint.effect)]).collect();
            action(&mut text, name, &groups, &inputs);
        }
    }
    Ok(text)
}

/// Reads what `text` wrote.
pub(super) fn parse(text: &str) -> Result<Schema, Vec<PolicyMistake>> {
    match Schema::from_cedarschema_str(text) {
        Ok((schema, _warnings)) => Ok(schema),
        Err(error) => {
            let detail = cedar_policy::ffi::DetailedError::from(&error);
            Err(vec![PolicyMistake::elsewhere("the schema made from the services", detail.message)])
        }
    }
}

/// The action group of an effect, which is also the action of what no operation names.
pub(super) const fn group(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "read",
        Effect::Write => "write",
    }
}

/// All endpoints of the catalogue.
pub(super) fn endpoints(catalogue: &Catalogue) -> impl Iterator<Item = &Endpoint> {
    catalogue.services.values().flat_map(|service| {
        service.endpoints.iter().chain([&service.read, &service.write]).map(std::convert::AsRef::as_ref)
    })
}

/// Each action once, with one endpoint that has it.
fn actions(catalogue: &Catalogue) -> (BTreeMap<&str, &Endpoint>, Vec<PolicyMistake>) {
    let mut actions: BTreeMap<&str, &Endpoint> = BTreeMap::new();
    let mut mistakes = Vec::new();
    let mut mistake = |message: String| mistakes.push(PolicyMistake::elsewhere("the services", message));
    for endpoint in endpoints(catalogue) {
        let name = endpoint.action.as_str();
        let reserved = [Effect::Read, Effect::Write].into_iter().find(|effect| group(*effect) == name);
        if reserved.is_some_and(|effect| endpoint.effect != effect || !endpoint.inputs.is_empty()) {
            mistake(format!(
                "the action {name:?} of {:?} is the group of everything that {name}s: \
                 give an operation with inputs or another effect an action of its own",
                endpoint.resource
            ));
            continue;
        }
        let inputs = |endpoint: &Endpoint| -> BTreeMap<String, InputKind> {
            endpoint.inputs.iter().map(|input| (input.name.clone(), input.kind)).collect()
        };
        match actions.get(name) {
            Some(first) if first.effect != endpoint.effect || inputs(first) != inputs(endpoint) => mistake(format!(
                "the action {name:?} is declared by {:?} and by {:?} with different inputs or effects: \
                 declare them alike, or give one of them another action",
                first.resource, endpoint.resource
            )),
            Some(_) => {}
            None => {
                actions.insert(name, endpoint);
            }
        }
    }
    (actions, mistakes)
}

fn action(text: &mut String, name: &str, groups: &[&str], inputs: &[(&str, InputKind)]) {
    let groups: Vec<String> = groups.iter().map(|group| format!("\"{group}\"")).collect();
    let member = if groups.is_empty() { String::new() } else { format!(" in [{}]", groups.join(", ")) };
    let inputs: Vec<String> =
        inputs.iter().map(|(name, kind)| format!("\"{}\": {}", name.escape_debug(), cedar_type(*kind))).collect();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "
action \"{}\"{member} appliesTo {{
  principal: [Person, Agent, Anonymous],
  resource: [Endpoint],
  context: {{
    age: Ages,
    confirmed: Set<String>,
    passkey: Passkey,
    approvals: Long,
    device: Device,
    network: Network,
    session: SignedIn,
    time: Time,
    risk: Risk,
    failures: Failures,
    input: {{ {} }},
  }},
}};
",
        name.escape_debug(),
        inputs.join(", ")
    );
}

const fn cedar_type(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Long => "__cedar::Long",
        InputKind::String => "__cedar::String",
        InputKind::Bool => "__cedar::Bool",
        InputKind::Decimal => "__cedar::decimal",
    }
}
