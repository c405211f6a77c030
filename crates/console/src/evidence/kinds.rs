//! The kinds of entries, in words for a list to choose from.

use crate::views::Tone;

/// Each kind as it stands in an entry, in words, and how it is coloured.
pub(crate) const KINDS: [(&str, &str, Tone); 71] = [
    ("challenge.opened", "Challenge opened", Tone::Neutral),
    ("challenge.answered", "Challenge answered in part", Tone::Neutral),
    ("challenge.passed", "Challenge passed", Tone::Good),
    ("challenge.failed", "Challenge failed", Tone::Bad),
    ("challenge.expired", "Challenge expired", Tone::Neutral),
    ("challenge.cancelled", "Challenge refused by the person", Tone::Warning),
    ("operation.sent", "Operation sent", Tone::Neutral),
    ("operation.finished", "Operation finished", Tone::Neutral),
    ("operation.refused", "Operation denied", Tone::Warning),
    ("request.refused", "Request refused before a decision", Tone::Warning),
    ("session.started", "Signed in", Tone::Neutral),
    ("session.ended", "Session ended", Tone::Neutral),
    ("device.named", "Device named", Tone::Neutral),
    ("device.forgotten", "Device forgotten", Tone::Neutral),
    ("session.token_reused", "Old token shown again", Tone::Warning),
    ("assurance.dropped", "What was proved counts no more", Tone::Warning),
    ("attempt.failed", "Wrong try", Tone::Warning),
    ("factor.enrolled", "Factor enrolled", Tone::Warning),
    ("factor.removed", "Factor removed", Tone::Warning),
    ("factor.locked", "Factor locked", Tone::Bad),
    ("tokens.imported", "Hardware tokens imported", Tone::Warning),
    ("token.assigned", "Hardware token handed out or taken back", Tone::Neutral),
    ("token.revoked", "Hardware token revoked", Tone::Warning),
    ("code.sent", "Code sent", Tone::Neutral),
    ("code.delivered", "Code delivered", Tone::Neutral),
    ("code.undelivered", "Code not delivered", Tone::Warning),
    ("push.sent", "Devices asked to approve", Tone::Neutral),
    ("push.withdrawn", "Question to devices withdrawn", Tone::Neutral),
    ("push.refused", "Devices not asked", Tone::Warning),
    ("device.followed", "Link of a device followed", Tone::Neutral),
    ("device.subscription", "How a device is woken", Tone::Neutral),
    ("enrolment.link_made", "Enrolment link made", Tone::Warning),
    ("enrolment.link_used", "Enrolment link used", Tone::Neutral),
    ("person.added", "Person added", Tone::Neutral),
    ("person.changed", "Person changed", Tone::Neutral),
    ("person.removed", "Person removed", Tone::Warning),
    ("person.deactivated", "Person deactivated", Tone::Warning),
    ("person.activated", "Person activated", Tone::Neutral),
    ("group.added", "Group added", Tone::Neutral),
    ("group.changed", "Group changed", Tone::Neutral),
    ("group.members", "Group members changed", Tone::Neutral),
    ("group.removed", "Group removed", Tone::Warning),
    ("machine.added", "Machine got a token", Tone::Warning),
    ("machine.removed", "Machine's token revoked", Tone::Warning),
    ("signal.received", "Signal from another system", Tone::Neutral),
    ("signal.counted", "Security events without effect", Tone::Neutral),
    ("signal.refused", "Signal refused by its receiver", Tone::Warning),
    ("stream.changed", "Stream of signals changed", Tone::Warning),
    ("stream.subject", "Person left out of a stream of signals, or taken in", Tone::Warning),
    ("evidence.searched", "Evidence searched", Tone::Neutral),
    ("evidence.exported", "Evidence exported", Tone::Warning),
    ("evidence.erased", "Details erased", Tone::Warning),
    ("policy.loaded", "Policies loaded", Tone::Neutral),
    ("policy.refused", "Policies refused", Tone::Bad),
    ("policy.compared", "Policies compared", Tone::Neutral),
    ("config.loaded", "Configuration loaded", Tone::Neutral),
    ("authenticators.loaded", "List of authenticators loaded", Tone::Neutral),
    ("authenticators.refused", "List of authenticators refused", Tone::Bad),
    ("config.plaintext_allowed", "Upstream without TLS", Tone::Warning),
    ("key.rotated", "Key made", Tone::Neutral),
    ("key.announced", "Log goes on with another key", Tone::Warning),
    ("node.started", "Node started", Tone::Neutral),
    ("node.stopped", "Node stopped", Tone::Neutral),
    ("log.opened", "Log opened", Tone::Neutral),
    ("decision.erred", "Policy erred", Tone::Bad),
    ("sink.late", "Sink late", Tone::Bad),
    ("sink.refused", "Sink refused an entry", Tone::Bad),
    ("sink.caught_up", "Sink has everything again", Tone::Good),
    ("sink.forgotten", "Sink forgotten", Tone::Neutral),
    ("clock.jumped", "Clock jumped", Tone::Bad),
    ("fault", "Fault", Tone::Bad),
];

/// Whether there is such a kind.
pub(crate) fn is_one(kind: &str) -> bool {
    KINDS.iter().any(|(name, ..)| *name == kind)
}

/// A kind in words.
pub(crate) fn words(kind: &str) -> &'static str {
    KINDS.iter().find(|(name, ..)| *name == kind).map_or("Entry", |(_, words, _)| words)
}

/// How entries of a kind are coloured.
pub(crate) fn tone(kind: &str) -> Tone {
    KINDS.iter().find(|(name, ..)| *name == kind).map_or(Tone::Neutral, |(.., tone)| *tone)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use stepgate_evidence::Event;

    use super::*;

    #[test]
    fn every_kind_of_entry_can_be_chosen() {
        // Serde names all variants when it does not know one.
        let unknown = serde_json::from_value::<Event>(serde_json::json!({"kind": "?"})).unwrap_err().to_string();
        let known: BTreeSet<&str> = unknown.split('`').skip(3).step_by(2).collect();
        let listed: BTreeSet<&str> = KINDS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(listed, known);
    }
}
