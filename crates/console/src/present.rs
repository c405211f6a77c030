//! A challenge as its page and as its JSON show it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp as Instant;
use stepgate_core::catalogue::{Catalogue, GATE_SERVICE, SHOWN_VALUE_MAX, Title};
use stepgate_core::challenge::{Ask, Challenge, ChallengeState, Given, Held};
use stepgate_core::decide::MAX_AGE_MAX;
use stepgate_core::factor::{CodeDelivery, CodeTo, FactorKind, Prompt};
use stepgate_core::flows::{ChallengeView, Standing};
use stepgate_core::id::ChallengeId;
use stepgate_core::surroundings::shown;
use stepgate_core::time::Timestamp;
use stepgate_evidence::{Asked, Grant as Granted, Statement};

use crate::device as browser;
use crate::views::{
    Asker, ChallengePage, CodeOffer, Frame, Grant, Input, LockedFactor, MissingFactor, NumberMatch, Offers, OnDevices,
    PasskeyCall, ProviderButton, PushOffer, Reason, Said, Sent, SentOffer, SentTo, ServiceView, Step, StepState,
    Technical,
};
use crate::words::{self, Moment};

pub(crate) mod device;

/// Longest value that is shown whole, in characters; what is signed is always whole.
const SHOWN_MAX: usize = 300;

/// What the last answer led to, for the page that follows.
#[derive(Debug, Default)]
pub(crate) struct LastAnswer {
    /// What to say.
    pub(crate) said: Option<Said>,
    /// The kind that was tried and was wrong.
    pub(crate) failed: Option<FactorKind>,
    /// The kind that is locked, and until when.
    pub(crate) locked: Option<(FactorKind, Timestamp)>,
    /// The number that was typed.
    pub(crate) number: Option<String>,
    /// What is open on the person's devices instead, if this session may withdraw it.
    pub(crate) instead_of: Option<ChallengeId>,
}

/// The page of a challenge that may be answered.
pub(crate) fn challenge_page(
    view: &ChallengeView,
    frame: Frame,
    catalogue: &Catalogue,
    username: &str,
    now: Timestamp,
    last: LastAnswer,
) -> ChallengePage {
    let challenge = &view.challenge;
    let statement = &challenge.statement;
    let path = format!("{}challenges/{}", frame.home, challenge.id);
    let mut offers = offers(view, username, &last, now);
    offers.push = push(view, &path, &last);
    let instruction = if view.prompts.is_empty() && view.logins.is_empty() {
        "You cannot confirm this yet"
    } else if answered(challenge).is_empty() {
        "Confirm that it is you"
    } else {
        "One more proof"
    };
    ChallengePage {
        id: challenge.id.to_string(),
        action: format!("{path}/answers"),
        send_action: format!("{path}/codes"),
        login_action: format!("{path}/login"),
        cancel_action: format!("{path}/cancel"),
        watch: Some(path),
        service: service(challenge, catalogue),
        front: front(challenge, catalogue),
        asker: asker(view),
        title: shown(&statement.title, SHOWN_MAX),
        inputs: inputs(statement, catalogue),
        reasons: reasons(statement),
        grant: grant(challenge),
        instruction: instruction.to_owned(),
        steps: steps(challenge),
        offers,
        locked: last.locked.iter().map(|(kind, until)| locked(*kind, *until)).collect(),
        missing: missing(&challenge.ask, &challenge.asked, &frame.home),
        number: number(view, last.number),
        said: last.said,
        expires: Moment::of_today(instant(challenge.expires_at)),
        expires_in: words::until(instant(now), instant(challenge.expires_at)),
        technical: technical(statement),
        frame,
    }
}

/// A moment of the core as the library for calendars knows it.
pub(crate) fn instant(at: Timestamp) -> Instant {
    Instant::from_millisecond(at.as_ms()).unwrap_or_default()
}

/// A factor at the head of a sentence: `Your authenticator app`.
pub(crate) fn your(kind: FactorKind) -> String {
    format!("Your {}", kind.means_title())
}

/// The proofs that were given so far.
pub(crate) fn answered(challenge: &Challenge) -> &[Given] {
    match &challenge.state {
        ChallengeState::Pending { answered, .. } | ChallengeState::Passed { answered, .. } => answered,
        _ => &[],
    }
}

fn service(challenge: &Challenge, catalogue: &Catalogue) -> ServiceView {
    let host = challenge.host.as_ref().unwrap_or(&catalogue.gate_host);
    let name = match catalogue.by_name(&challenge.asked.service) {
        Some(service) => service.title.clone(),
        None => challenge.asked.service.clone(),
    };
    ServiceView { name, host: host.to_string() }
}

/// Only what the browser asks for again leads nowhere from here if it is a download: a
/// held request goes on by a page of its own.
fn front(challenge: &Challenge, catalogue: &Catalogue) -> Option<String> {
    let service = challenge.host.as_ref().and_then(|host| catalogue.by_host(host));
    let origin = service.map_or(&catalogue.gate_origin, |service| &service.origin);
    (challenge.held == Held::SafeNavigation).then(|| format!("{origin}/"))
}

fn asker(view: &ChallengeView) -> Asker {
    let asker = &view.challenge.statement.asker;
    let name = browser::in_words(&asker.agent);
    let address = asker.address.clone();
    match (view.standing, asker.kind.as_str()) {
        (Standing::Asked, "browser") => Asker::ThisSession { device: format!("{name}, from {address}") },
        (_, "browser") => Asker::OtherSession { device: name, address },
        (Standing::Asked | Standing::OtherSession, _) => Asker::Program { name, address },
    }
}

/// The inputs that the title does not say already; all stand under the exact request.
fn inputs(statement: &Statement, catalogue: &Catalogue) -> Vec<Input> {
    let endpoint = catalogue
        .by_name(&statement.service)
        .and_then(|service| service.endpoints.iter().find(|endpoint| endpoint.resource == statement.resource));
    let told = endpoint.map(|endpoint| told(&endpoint.title, &statement.title, &statement.inputs)).unwrap_or_default();
    all_inputs(statement.inputs.iter().filter(|(name, _)| !told.contains(*name)))
}

fn all_inputs<'a>(inputs: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<Input> {
    inputs.map(|(name, value)| Input { label: label(name), value: shown(value, SHOWN_MAX) }).collect()
}

/// The names of the inputs that the title says whole. None, where the title that is confirmed is
/// not what the configuration makes of these inputs now; and not one that had to be cut or changed
/// to stand in it.
fn told(title: &Title, confirmed: &str, inputs: &BTreeMap<String, String>) -> Vec<String> {
    if title.fill_with(|name| inputs.get(name).cloned()) != confirmed {
        return Vec::new();
    }
    let whole = |name: &&str| inputs.get(*name).is_some_and(|value| shown(value, SHOWN_VALUE_MAX) == *value);
    title.names().filter(whole).map(str::to_owned).collect()
}

/// An input's name for people: `new_owner` is `New owner`.
fn label(name: &str) -> String {
    if name == "id" {
        return "ID".to_owned();
    }
    let spaced = name.replace(['_', '-'], " ");
    let mut letters = spaced.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => spaced,
    }
}

fn reasons(statement: &Statement) -> Vec<Reason> {
    let reason = |policy: &stepgate_evidence::PolicyRef| Reason {
        text: if policy.reason.is_empty() {
            "The rules for this ask for a proof that it is you.".to_owned()
        } else {
            shown(&policy.reason, SHOWN_MAX)
        },
        policy: policy.id.clone(),
    };
    statement.policies.iter().map(reason).collect()
}

fn grant(challenge: &Challenge) -> Grant {
    match &challenge.statement.grant {
        Granted::Freshness { .. } => {
            Grant::Freshness { counts_for: challenge.max_age().filter(|age| *age < MAX_AGE_MAX) }
        }
        Granted::Confirmation { lifetime_s, .. } => {
            Grant::ThisRequest { lifetime: Duration::from_secs(lifetime_s.parse().unwrap_or(0)) }
        }
    }
}

/// The steps, where every way to pass takes two.
fn steps(challenge: &Challenge) -> Vec<Step> {
    let done: Vec<FactorKind> = answered(challenge).iter().map(|given| given.kind).collect();
    let fits = |way: &&Vec<FactorKind>| way.len() > 1 && done.iter().all(|kind| way.contains(kind));
    if challenge.ask.ways.iter().any(|way| way.len() < 2) {
        return Vec::new();
    }
    let Some(way) = challenge.ask.ways.iter().find(fits) else { return Vec::new() };
    let several = challenge.ask.ways.iter().filter(fits).count() > 1;
    let mut steps: Vec<Step> = done.iter().map(|kind| step(&your(*kind), StepState::Done)).collect();
    let mut state = StepState::Now;
    for (index, kind) in way.iter().filter(|kind| !done.contains(kind)).enumerate() {
        let name = match (several, index) {
            (true, 0) => "One of the ways below".to_owned(),
            (true, _) => "One more".to_owned(),
            (false, _) => your(*kind),
        };
        steps.push(step(&name, state));
        state = StepState::Later;
    }
    steps
}

fn step(name: &str, state: StepState) -> Step {
    Step { name: name.to_owned(), state }
}

fn offers(view: &ChallengeView, username: &str, last: &LastAnswer, now: Timestamp) -> Offers {
    let logins = view.logins.iter().map(|(name, title)| ProviderButton::new(name, title)).collect();
    let mut offers = Offers { username: username.to_owned(), logins, ..Offers::default() };
    for (kind, prompt) in &view.prompts {
        if last.locked.is_some_and(|(locked, _)| locked.is_same_factor(*kind)) {
            continue;
        }
        let code =
            CodeOffer { tries_left: None, failed: last.failed.is_some_and(|failed| failed.is_same_factor(*kind)) };
        match (kind, prompt) {
            (FactorKind::Passkey(_), Prompt::Passkey { options }) => {
                offers.passkey =
                    Some(PasskeyCall { action: String::new(), options: options.to_string(), ceremony: String::new() });
            }
            (kind, Prompt::SentCode { to }) => {
                let to = to.iter().map(|to| sent_to(to, now)).collect();
                offers.sent.push(SentOffer { factor: kind.name().to_owned(), to, failed: code.failed });
            }
            (FactorKind::Totp, _) => offers.totp = Some(code),
            (FactorKind::Hotp, _) => offers.hotp = Some(code),
            (FactorKind::Password, _) => offers.password = Some(code),
            (FactorKind::RecoveryCode, _) => offers.recovery = Some(code),
            // Not answered by anything that this page could ask for.
            (
                FactorKind::Passkey(_)
                | FactorKind::Certificate
                | FactorKind::Push(_) // shown by itself: several kinds are one offer
                | FactorKind::Idp(_)
                | FactorKind::PhoneCode(_)
                | FactorKind::EmailCode,
                _,
            ) => {}
        }
    }
    offers
}

fn sent_to(to: &CodeTo, now: Timestamp) -> SentTo {
    let sent = match to.sent {
        Some((_, CodeDelivery::Failed)) => Sent::Failed,
        Some((expires_at, _)) if now < expires_at => Sent::OnItsWay,
        _ => Sent::No,
    };
    SentTo { address: to.factor.to_string(), masked: to.masked.clone(), sent }
}

/// Approval on a device, whatever it counts as.
fn push(view: &ChallengeView, path: &str, last: &LastAnswer) -> Option<PushOffer> {
    let is_push = |kind: FactorKind| matches!(kind, FactorKind::Push(_));
    if last.locked.is_some_and(|(kind, _)| is_push(kind)) {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    for (kind, prompt) in &view.prompts {
        if let (true, Prompt::Devices { names: more }) = (is_push(*kind), prompt) {
            names.extend(more.iter().map(String::as_str));
        }
    }
    names.sort_unstable();
    names.dedup();
    let place = match names.as_slice() {
        [] => return None,
        [only] => shown(only, 40),
        _ => "one of your devices".to_owned(),
    };
    let asked = view.on_devices.as_ref().map(|(until, number)| OnDevices {
        number: (view.standing == Standing::Asked).then(|| words::in_groups(number, 3)),
        expires: Moment::of_today(instant(*until)),
    });
    let instead_of = last.instead_of.map(|id| id.to_string());
    Some(PushOffer { action: format!("{path}/push"), place, asked, instead_of })
}

fn locked(kind: FactorKind, until: Timestamp) -> LockedFactor {
    LockedFactor { name: your(kind), until: Moment::of_today(instant(until)) }
}

/// What would do but is not enrolled. It is never enrolled on the spot.
fn missing(ask: &Ask, asked: &Asked, home: &str) -> Vec<MissingFactor> {
    let alone = ask.ways.is_empty();
    // Who has nothing to prove a change of their factors with is not sent to change them: that would be a circle.
    if alone && asked.service == GATE_SERVICE && asked.action.starts_with("factors.") {
        return vec![MissingFactor {
            need: "You have nothing here yet to confirm this with.".to_owned(),
            how: "Ask your administrator for an enrolment link.".to_owned(),
            link: None,
            link_text: String::new(),
        }];
    }
    let one = |kind: &FactorKind| {
        let what = kind.means();
        let (need, how) = if alone {
            (format!("You need {what} for this."), "Add it in your account, then do this again.")
        } else {
            (format!("With {what} this would work, too."), "You can add it in your account.")
        };
        MissingFactor {
            need,
            how: how.to_owned(),
            link: Some(format!("{home}account")),
            link_text: "Go to your account".to_owned(),
        }
    };
    // Whoever is just changing their own factors needs no hint to change them.
    if !alone && asked.service == GATE_SERVICE {
        return Vec::new();
    }
    // Recovery codes are for emergencies: nobody is sent to get some for this.
    ask.not_enrolled.iter().filter(|kind| alone || kind.is_same_factor(FactorKind::PASSKEY)).map(one).collect()
}

fn number(view: &ChallengeView, typed: Option<String>) -> NumberMatch {
    match (view.standing, typed) {
        (Standing::Asked, _) => NumberMatch::Shown(words::in_groups(&view.challenge.number, 3)),
        (Standing::OtherSession, None) => NumberMatch::Asked,
        (Standing::OtherSession, Some(typed)) => NumberMatch::Typed(typed),
    }
}

fn technical(statement: &Statement) -> Technical {
    let header = |(name, value): (&String, &String)| Input { label: name.clone(), value: shown(value, SHOWN_MAX) };
    Technical {
        method: statement.method.clone(),
        url: shown(&statement.url, 2000),
        content_type: (!statement.content_type.is_empty()).then(|| shown(&statement.content_type, SHOWN_MAX)),
        inputs: all_inputs(statement.inputs.iter()),
        body_digest: words::in_groups(&statement.body_sha256, 8),
        headers: statement.headers.iter().map(header).collect(),
        statement_digest: statement.digest().ok().map(|digest| words::in_groups(&words::hex(&digest), 8)),
    }
}

#[cfg(test)]
mod tests {
    use stepgate_core::challenge::GrantKind;

    use super::*;

    #[test]
    fn what_the_title_says_whole_is_not_said_again() {
        let long = "x".repeat(81);
        let inputs = [("amount", "12000"), ("to", "bob"), ("note", &long), ("from", "a\u{202e}b")];
        let inputs = inputs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let told = |template: &str, confirmed: Option<&str>| {
            let title = Title::new(template);
            let filled = title.fill_with(|name: &str| BTreeMap::get(&inputs, name).cloned());
            super::told(&title, confirmed.unwrap_or(&filled), &inputs).join(" ")
        };
        assert_eq!(told("Send {amount} to {to}", None), "amount to");
        assert_eq!(told("Send {amount}", None), "amount", "to whom is said beside it");
        assert_eq!(told("Note {note} from {from}", None), "", "cut, or changed to be seen");
        assert_eq!(told("Send {amount} to {nobody}", None), "amount");
        assert_eq!(told("Send {amount} to {to}", Some("Pay 12000 to bob")), "", "the configuration has changed since");
    }

    #[test]
    fn inputs_are_named_for_people() {
        assert_eq!(label("amount"), "Amount");
        assert_eq!(label("id"), "ID");
        assert_eq!(label("new_owner"), "New owner");
        assert_eq!(label(""), "");
    }

    /// Somebody whom only the company's login knows was sent to their account for a passkey, and asked there for one.
    #[test]
    fn nobody_is_sent_in_a_circle() {
        let ask = Ask {
            grant: GrantKind::Confirmation,
            ways: Vec::new(),
            not_enrolled: vec![FactorKind::PASSKEY, FactorKind::Totp],
        };
        let asked = |service: &str, action: &str| Asked {
            service: service.to_owned(),
            action: action.to_owned(),
            resource: String::new(),
            resource_kind: String::new(),
            sensitivity: String::new(),
        };
        for (service, action, links) in [
            ("ledger", "payments.approve", 2),
            ("ledger", "factors.enrol", 2),
            (GATE_SERVICE, "evidence.export", 2),
            (GATE_SERVICE, "factors.enrol", 0),
            (GATE_SERVICE, "factors.remove", 0),
        ] {
            let missing = missing(&ask, &asked(service, action), "/");
            assert_eq!(missing.iter().filter(|one| one.link.is_some()).count(), links, "{service} {action}");
            let told = missing.iter().any(|one| one.how.contains("Ask your administrator"));
            assert_eq!(told, links == 0, "{service} {action}");
        }
    }
}
