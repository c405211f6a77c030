//! An entry in one sentence, for people who read the log.

use crate::entry::{AgentName, Asked, Entry, Event, FactorProof, LoginProof, Outcome};
use crate::statement::NO_PERMIT;
use crate::verify::moves;

/// Longest text of a provider in a sentence, in characters.
const PROVIDER_TEXT_MAX: usize = 100;

impl Entry {
    /// What happened, in one line without control characters.
    ///
    /// Only what stands in the tree: no names, no addresses. A passkey's user
    /// verification is called `user verified`; how the authenticator did it (PIN,
    /// finger, face) is not known to anybody but the authenticator.
    pub fn sentence(&self) -> String {
        let text = sentence(&self.event);
        text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
    }
}

fn sentence(event: &Event) -> String {
    match event {
        Event::LogOpened { origin, version } => format!("log {origin} opened by Stepgate {version}"),
        Event::NodeStarted { node, version, policy, .. } => {
            format!("node {} started, version {version}, policies {}", short(node), short(policy))
        }
        Event::NodeStopped { node } => format!("node {} stopped", short(node)),
        Event::PolicyLoaded { policy, policies } => format!("{policies} policies loaded, version {}", short(policy)),
        Event::PolicyRefused { kept, .. } => {
            format!("configuration or policies did not load; version {} of the policies stays", short(kept))
        }
        Event::PoliciesCompared { shadow, decided, differing, dropped, .. } => {
            let dropped = if *dropped > 0 { format!(", {dropped} not compared") } else { String::new() };
            format!(
                "policies {} beside the live ones: of {decided} decisions {differing} would be otherwise{dropped}",
                short(shadow)
            )
        }
        Event::ConfigLoaded { config } => format!("configuration {} loaded", short(config)),
        Event::AuthenticatorsLoaded { number, models, refused, .. } => {
            format!("list {number} of {models} authenticators believed, {} of them refused", refused.len())
        }
        Event::AuthenticatorsRefused { reason } => format!("a list of authenticators was refused: {reason}"),
        Event::PlaintextAllowed { service } => {
            format!("the upstream of {service} is spoken to without TLS, as configured")
        }
        Event::PersonAdded { person, by } => format!("person {} added by {}", short(person), short(by)),
        Event::PersonChanged { person, by } => format!("person {} changed by {}", short(person), short(by)),
        Event::PersonRemoved { person, by } => format!("person {} removed by {}", short(person), short(by)),
        Event::PersonDeactivated { person, by, sessions, factors } => format!(
            "person {} deactivated by {}: {sessions} sessions ended, {factors} factors removed",
            short(person),
            short(by)
        ),
        Event::PersonActivated { person, by } => format!("person {} activated by {}", short(person), short(by)),
        Event::GroupAdded { group, by } => format!("group {} added by {}", short(group), short(by)),
        Event::GroupChanged { group, by } => format!("group {} changed by {}", short(group), short(by)),
        Event::GroupRemoved { group, by } => format!("group {} removed by {}", short(group), short(by)),
        Event::GroupMembers { group, change, people, by } => {
            let change = match change.as_str() {
                "came" => "came into",
                "went" => "went out of",
                _ => "are by another name in",
            };
            format!("{} people {change} group {} by {}", people.len(), short(group), short(by))
        }
        Event::MachineAdded { machine, scopes, by } => {
            format!("machine {machine} got a token for {} from {}", scopes.join(" and "), short(by))
        }
        Event::MachineRemoved { machine, by } => format!("token of machine {machine} revoked by {}", short(by)),
        Event::SignalReceived { transmitter, event, person, effect, .. } => {
            let about = match (effect.as_str(), person.as_str()) {
                ("not_its_own", _) => "somebody of whom it may not speak",
                ("verified" | "stream_enabled" | "stream_paused" | "stream_disabled", _) => "its stream to this gate",
                (_, "") => "nobody who is known here",
                (_, person) => short(person),
            };
            format!("{transmitter} signalled {event} about {about}: {effect}")
        }
        Event::SignalsCounted { transmitter, effect, count, .. } => {
            format!("{transmitter} signalled {} more: {effect}", times(*count))
        }
        Event::StreamChanged { stream, change, receiver, by, .. } => {
            let way = if receiver.is_empty() { "fetched".to_owned() } else { format!("posted to {receiver}") };
            format!("stream {} of signals, {way}: {change} by {}", short(stream), short(by))
        }
        Event::StreamSubject { stream, person, change, by } => {
            let change = if change == "left_out" { "left out of" } else { "taken into" };
            format!("person {} {change} stream {} of signals by {}", short(person), short(stream), short(by))
        }
        Event::SignalRefused { stream, set, event, code, .. } => {
            format!("signal {} ({event}) of stream {} refused by its receiver: {code}", short(set), short(stream))
        }
        Event::LinkMade { link, person, by, .. } => {
            format!("enrolment link {} made for person {} by {}", short(link), short(person), short(by))
        }
        Event::LinkUsed { link, person } => format!("enrolment link {} used for person {}", short(link), short(person)),
        Event::FactorEnrolled { person, factor, authority, .. } => {
            format!("person {} enrolled {} (authority {})", short(person), named(factor), authority)
        }
        Event::FactorRemoved { person, factor, authority, .. } => {
            format!("person {} removed {} (authority {})", short(person), named(factor), authority)
        }
        Event::TokensImported { file, format, tokens, by } => {
            format!(
                "{tokens} hardware tokens imported by {} from a file of {format}, SHA-256 {}",
                short(by),
                short(file)
            )
        }
        Event::TokenAssigned { token, person, change, by } => {
            let change = if change == "assigned" { "handed out to" } else { "taken back from" };
            format!("hardware token {} {change} person {} by {}", short(token), short(person), short(by))
        }
        Event::TokenRevoked { token, by, .. } => format!("hardware token {} revoked by {}", short(token), short(by)),
        Event::CodeSent { person, factor, code, challenge, .. } => {
            let what = if challenge.is_empty() {
                "to enrol it".to_owned()
            } else {
                format!("for challenge {}", short(challenge))
            };
            format!("{} {} is sent to person {} {what}", named(factor), short(code), short(person))
        }
        Event::CodeDelivered { factor, code, .. } => format!("{} {} was taken by a server", named(factor), short(code)),
        Event::CodeUndelivered { factor, code, reason, .. } => {
            format!("{} {} could not be sent: {}", named(factor), short(code), reason.replace('_', " "))
        }
        Event::FactorLocked { person, factor, whom, until_ms } => {
            let whom = match whom.as_str() {
                "device" => "one of their devices",
                "address" => "one network address",
                "strangers" => "devices that they have not used before",
                "reported" => {
                    return format!(
                        "{} of person {} locked: they said that it was not they who asked",
                        named(factor),
                        short(person)
                    );
                }
                _ => "everybody",
            };
            // The greatest time there is: no clock ends this lock.
            let stays = match until_ms.parse() {
                Ok(i64::MAX) => "; this lock does not end by itself",
                _ => "",
            };
            format!("{} of person {} locked for {whom} after too many wrong tries{stays}", named(factor), short(person))
        }
        Event::PushSent { challenge, person, devices, .. } => {
            let devices = if *devices == 1 { "one device".to_owned() } else { format!("{devices} devices") };
            format!("challenge {}: {devices} of person {} asked to approve", short(challenge), short(person))
        }
        Event::PushWithdrawn { challenge, person, .. } => {
            format!("challenge {}: withdrawn from the devices of person {}", short(challenge), short(person))
        }
        Event::PushRefused { challenge, person, reason, .. } => {
            let reason = reason.replace('_', " ");
            format!("challenge {}: the devices of person {} were not asked: {reason}", short(challenge), short(person))
        }
        Event::DeviceFollowed { person, .. } => {
            format!("a browser followed the link to become an approver device of person {}", short(person))
        }
        Event::DeviceSubscription { person, factor_id, change, .. } => {
            format!("Web Push to device {} of person {}: {change}", short(factor_id), short(person))
        }
        Event::AttemptFailed { person, factor, provider, purpose, challenge, reason, factor_id } => {
            let who =
                if person.is_empty() { "an unknown name".to_owned() } else { format!("person {}", short(person)) };
            let purpose = match purpose.as_str() {
                "challenge" if !challenge.is_empty() => format!("challenge {}", short(challenge)),
                purpose => purpose.replace('_', "-"),
            };
            let at = provider.as_ref().map(|provider| format!(" at {provider}")).unwrap_or_default();
            let which = factor_id.as_ref().map(|id| format!(" {}", short(id))).unwrap_or_default();
            format!("{who} did not prove {}{which}{at} for {purpose}: {}", named(factor), reason.replace('_', " "))
        }
        Event::SessionStarted { session, person, proof } => {
            format!("person {} signed in with {}, session {}", short(person), proved(proof), short(session))
        }
        Event::DeviceNamed { person, device, .. } => {
            format!("person {} named their device {}", short(person), short(device))
        }
        Event::DeviceForgotten { person, device, .. } => {
            format!("person {} had their device {} forgotten", short(person), short(device))
        }
        Event::TokenReused { session, person } => {
            format!("an old token of session {} of person {} was shown again", short(session), short(person))
        }
        Event::AssuranceDropped { session, former, by, .. } => {
            format!("what session {} proved ({former}) counts no more, by {}", short(session), short(by))
        }
        Event::SessionEnded { session, reason, .. } => format!("session {} ended: {reason}", short(session)),
        Event::ChallengeOpened { challenge, person, agent, asked, policies, offered, held, .. } => {
            let held = if *held { ", request held" } else { "" };
            let policies = policies.join(", ");
            format!(
                "challenge {}: {} asked for {} needs {offered}, because {policies}{held}",
                short(challenge),
                asker(person, agent.as_ref()),
                what(asked)
            )
        }
        Event::ChallengeAnswered { challenge, proof, .. } => {
            format!("challenge {}: one proof given with {}; more are needed", short(challenge), proved(proof))
        }
        Event::ChallengePassed { challenge, person, asked, grants, proof, .. } => format!(
            "challenge {} passed: person {} proved {} for {} (grants {grants})",
            short(challenge),
            short(person),
            proved(proof),
            what(asked)
        ),
        Event::ChallengeFailed { challenge, reason, .. } => format!("challenge {} failed: {reason}", short(challenge)),
        Event::ChallengeExpired { challenge, .. } => format!("challenge {} expired", short(challenge)),
        Event::ChallengeCancelled { challenge, reason, .. } => {
            format!("challenge {} refused by the person: {reason}", short(challenge))
        }
        Event::OperationSent { challenge, person, asked, request, .. } => format!(
            "challenge {} spent: {} of person {} is being sent, request {}",
            short(challenge),
            what(asked),
            short(person),
            short(request)
        ),
        Event::OperationFinished { challenge, outcome, .. } => {
            let outcome = match outcome {
                Outcome::Answered { status } => format!("the upstream answered {status}"),
                Outcome::NotSent => "nothing was sent".to_owned(),
                Outcome::Unknown => "outcome unknown; it is never sent again".to_owned(),
            };
            format!("challenge {}: {outcome}", short(challenge))
        }
        Event::OperationRefused { person, agent, asked, policies, count, .. } => {
            let who = asker(person, agent.as_ref());
            let why = match policies.as_slice() {
                [only] if only == NO_PERMIT => "no policy permits it".to_owned(),
                policies => policies.join(", "),
            };
            format!("request of {who} refused: {}, because {why} ({})", what(asked), times(*count))
        }
        Event::RequestRefused { code, count, .. } => {
            format!("request refused before any decision: {code} ({})", times(*count))
        }
        Event::DecisionErred { asked, policies, .. } => {
            format!("ALARM: policies erred on {}: {}; denied", what(asked), policies.join(", "))
        }
        Event::EvidenceSearched { by, query } => format!("evidence searched by {}: {query}", short(by)),
        Event::EvidenceExported { by, from_index, to_index, authority } => {
            let authority = if authority.is_empty() { String::new() } else { format!(" (authority {authority})") };
            format!("evidence from entry {from_index} to {to_index} exported by {}{authority}", short(by))
        }
        Event::EvidenceErased { person, entries, by } => {
            format!("details of {entries} entries of person {} erased by {}", short(person), short(by))
        }
        Event::KeyRotated { purpose, key, by, from_ms } => {
            let later = if from_ms.is_empty() { "" } else { ", published before it signs" };
            format!("{purpose} key {key} made by {}{later}", short(by))
        }
        Event::CheckpointKeyAnnounced { key, former, by } => {
            format!("from here on {key} signs the log, no longer {former}; changed by {}", short(by))
        }
        Event::SinkRefused { sink, index, reason } => format!("sink {sink} refused entry {index} for good: {reason}"),
        Event::SinkLate { sink, next_index, why, .. } => {
            format!("ALARM: sink {sink} takes nothing from entry {next_index} on: {}", cut(why))
        }
        Event::SinkCaughtUp { sink } => format!("sink {sink} has everything again"),
        Event::SinkForgotten { sink, next_index, by } => {
            format!("sink {sink} is not told any more, it stood before entry {next_index}; forgotten by {}", short(by))
        }
        Event::ClockJumped { node, by_ms } => format!("ALARM: the clock of node {} jumped by {by_ms} ms", short(node)),
        Event::Fault { node, what } => format!("ALARM: node {} failed: {what}", short(node)),
    }
}

/// Who asked. For what an agent asks a person answers, and did not ask it.
fn asker(person: &str, agent: Option<&AgentName>) -> String {
    let person =
        if person.is_empty() { "somebody not signed in".to_owned() } else { format!("person {}", short(person)) };
    let Some(agent) = agent else { return person };
    // Its provider chose this name: without spaces it reads as one word, and not as part of the sentence.
    let name: String = cut(agent.as_str()).chars().map(|c| if c.is_whitespace() { '·' } else { c }).collect();
    format!("agent {name} (answered for by {person})")
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn what(asked: &Asked) -> String {
    format!("{} ({})", asked.action, asked.resource)
}

fn named(factor: &str) -> &str {
    match factor {
        "totp" => "authenticator code",
        "hotp" => "hardware code",
        "recovery_code" => "recovery code",
        "idp" => "company login",
        "push" => "approval on a device",
        other => other,
    }
}

fn proved(proof: &FactorProof) -> String {
    match (&proof.login, proof.user_verified) {
        (Some(login), _) => at_provider(login),
        (None, Some(true)) => format!("{} (user verified)", named(&proof.factor)),
        (None, _) => named(&proof.factor).to_owned(),
    }
}

/// Where, of which class, and what that counts as here: the configuration's word, like the class that
/// is read off methods.
fn at_provider(login: &LoginProof) -> String {
    let class = match (login.acr.as_str(), login.methods.as_slice()) {
        ("", _) => "no class".to_owned(),
        (acr, []) => format!("class {}", cut(acr)),
        (acr, methods) => format!("class {} by {}", cut(acr), cut(&methods.join(" and "))),
    };
    let worth = match login.counts_as.as_slice() {
        [] => "counts as no more".to_owned(),
        all => format!("counts as {}", all.join(" and ").replace('_', " ")),
    };
    format!("company login at {} ({class}, {worth})", cut(&login.issuer))
}

/// What a provider calls itself or a class, cut and without signs that nobody sees.
fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(PROVIDER_TEXT_MAX).map(|c| if moves(c) { '·' } else { c }).collect();
    if text.chars().nth(PROVIDER_TEXT_MAX).is_some() {
        cut.push('…');
    }
    cut
}

/// The first digits of an id: enough for a reader to follow it through a page.
fn short(id: &str) -> &str {
    let is_id = id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id { id.get(..8).unwrap_or(id) } else { id }
}
