//! Sessions, challenges, tries, passkeys and limits.

use super::{Key, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "[sessions]",
        "absolute",
        "duration",
        "\"24h\"",
        "A session ends after this, used or not (SP 800-63B-4 section 2.2.3).",
    ),
    key("[sessions]", "idle", "duration", "\"1h\"", "An unused session ends after this."),
    key("[challenges]", "answer_within", "duration", "\"10m\"", "How long a challenge waits for its answer."),
    key("[challenges]", "spend_within", "duration", "\"5m\"", "How long a confirmation that was given can be spent."),
    key("[challenges]", "wrong_answers", "number", "5", "Wrong answers after which a challenge fails."),
    key(
        "[challenges]",
        "pending_per_session",
        "number",
        "8",
        "Open challenges that a session may have at one service, or a program with a person's tokens; as many again of what other origins' pages asked.",
    ),
    key("[challenges]", "held_body", "size", "\"10MiB\"", "Largest body of a request that is held for a browser."),
    key(
        "[tries]",
        "before_lock",
        "number",
        "10",
        "Wrong tries of strangers, or from one known device, after which a factor of a person is locked for them (PCI DSS 8.3.4: at most 10). One address has half of them.",
    ),
    key("[tries]", "lock", "duration", "\"30m\"", "How long it stays locked (PCI DSS 8.3.4: at least 30 minutes)."),
    key(
        "[tries]",
        "before_reset",
        "number",
        "100",
        "Wrong tries in a row, from wherever, after which an administrator has to reset it (SP 800-63B-4 section 3.2.2: at most 100). Strangers have half of them.",
    ),
    key(
        "[passkeys]",
        "allowed_aaguids",
        "list of UUIDs",
        "[]",
        "Models of authenticators that may be enrolled; empty means any. With a list a passkey must attest its model, which most synced passkeys do not.",
    ),
    key(
        "[passkeys]",
        "attestation_roots",
        "list of files",
        "[]",
        "Certificates of the makers, PEM. Without them an attestation is checked for being whole, not for who made it.",
    ),
    key("[limits]", "connections", "number", "10000", "Connections at once."),
    key("[limits]", "body", "size", "\"1MiB\"", "Largest body that an operation reads its inputs from."),
    key("[limits]", "drain", "duration", "\"20s\"", "How long connections may finish when the gate stops."),
];
