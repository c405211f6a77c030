//! `[gate]`.

use super::{Key, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "[gate]",
        "origin",
        "origin",
        "required",
        "The gate's own origin, as browsers see it: scheme, host and port. Its host is the relying party of all passkeys, so it cannot change later. `http` only for localhost names.",
    ),
    key(
        "[gate]",
        "listen",
        "address or list",
        "required",
        "Where the gate listens for all origins that it serves. Without TLS on loopback only.",
    ),
    key("[gate]", "tls", "table", "none", "Certificate and key, if the gate speaks TLS itself."),
    key(
        "[gate]",
        "danger_plaintext",
        "true or false",
        "false",
        "The gate speaks plain HTTP beyond loopback, because something before it ends TLS. Whoever reads that wire reads every session.",
    ),
    key("[gate]", "store", "text", "\"sqlite:stepgate.db\"", "`sqlite:FILE` beside this file, or `postgres://…`."),
    key(
        "[gate]",
        "store_env",
        "text",
        "none",
        "The environment variable that holds the store's URL, in place of `store`.",
    ),
    key("[gate]", "policies", "directory", "\"policies\"", "The directory of `*.cedar` files, beside this file."),
    key(
        "[gate]",
        "master_key_file",
        "file",
        "required, or the next",
        "The master key that seals secrets at rest; only its owner may read the file. `stepgate init` makes one.",
    ),
    key(
        "[gate]",
        "master_key_env",
        "text",
        "none",
        "The environment variable that holds the master key, in place of `master_key_file`.",
    ),
    key(
        "[gate]",
        "operators",
        "address",
        "none",
        "Where operators ask for health: `/healthz`, `/readyz`. Keep it on loopback or an inner network.",
    ),
    key(
        "[gate]",
        "trusted_hops",
        "list of networks",
        "[]",
        "Proxies before the gate whose `X-Forwarded-For` is believed; and, where TLS ends before the gate, their `X-Forwarded-Proto`.",
    ),
    key(
        "[gate]",
        "posture_header",
        "header",
        "none",
        "Where these proxies *set* what they know of the client's device: `compliant` or `not_compliant`. It is never passed on.",
    ),
    key(
        "[gate]",
        "time_zone",
        "text",
        "\"UTC\"",
        "The zone of `context.time.hour`, `.minute` and `.weekday` in policies (IANA name).",
    ),
    key(
        "[gate]",
        "company_login_enrols",
        "true or false",
        "false",
        "A login at the company's identity provider that counts as a second factor, made for this very change, may add a factor here: a first passkey needs no administrator then. Whoever takes over somebody's login there can add a key here.",
    ),
    key("[gate.tls]", "certificate", "file", "required", "The certificate chain, PEM."),
    key("[gate.tls]", "key", "file", "required", "Its private key, PEM."),
];
