//! Every key of the configuration, for people: `docs/configuration.md` is made from it.

use std::fmt::Write as _;

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The table that it stands in, e.g. `[gate]`.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What is written there.
    pub form: &'static str,
    /// What holds where it is left out; `required` if it cannot be.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

const fn key(
    table: &'static str,
    name: &'static str,
    form: &'static str,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key { table, name, form, default, about }
}

/// All keys, in the order in which they are explained.
pub const REFERENCE: &[Key] = &[
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
        "time_zone",
        "text",
        "\"UTC\"",
        "The zone of `context.time.hour` and `context.time.weekday` in policies (IANA name).",
    ),
    key("[gate.tls]", "certificate", "file", "required", "The certificate chain, PEM."),
    key("[gate.tls]", "key", "file", "required", "Its private key, PEM."),
    key(
        "[gate]",
        "company_login_enrols",
        "true or false",
        "false",
        "A login at the company's identity provider that counts as a second factor, made for this very change, may add a factor here: a first passkey needs no administrator then. Whoever takes over somebody's login there can add a key here.",
    ),
    key(
        "[[provider]]",
        "name",
        "text",
        "required",
        "What entries and URLs call it: `a-z`, `0-9` and `-`. The client there is registered with the redirect URI `<gate origin>/sign-in/back/<name>`, and with the back-channel logout URI `<gate origin>/sign-in/logout/<name>`.",
    ),
    key("[[provider]]", "title", "text", "the preset's", "What people call it: \"Sign in with …\"."),
    key(
        "[[provider]]",
        "preset",
        "text",
        "\"generic\"",
        "The ways of a provider: `generic`, `keycloak`, `entra`, `okta`, `auth0`, `google`, `authentik`, `zitadel`.",
    ),
    key(
        "[[provider]]",
        "issuer",
        "URL",
        "required",
        "Its issuer identifier, exactly as it writes it, the last slash included. Verified TLS; with the subject it is who somebody is.",
    ),
    key("[[provider]]", "client_id", "text", "required", "What it calls this gate."),
    key(
        "[[provider]]",
        "client_auth",
        "text",
        "by what there is",
        "How the gate proves that there: `client_secret_basic`, `client_secret_post`, `private_key_jwt` or `none`.",
    ),
    key(
        "[[provider]]",
        "client_secret_file",
        "file",
        "none",
        "The client's secret, in a file that only its owner may read.",
    ),
    key(
        "[[provider]]",
        "client_secret_env",
        "text",
        "none",
        "The environment variable that holds the secret, in place of the file.",
    ),
    key(
        "[[provider]]",
        "client_key_file",
        "file",
        "none",
        "The client's private key (PEM, PKCS #8), for `private_key_jwt`.",
    ),
    key("[[provider]]", "client_key_id", "text", "none", "What the provider calls that key."),
    key("[[provider]]", "scopes", "list", "the preset's", "Asked for beside `openid`."),
    key(
        "[[provider]]",
        "level",
        "list of tables",
        "none",
        "`[[provider.level]]`: what it can be asked to prove. Without any, people sign in there and it is never asked for more.",
    ),
    key(
        "[[provider]]",
        "login_claim",
        "text",
        "the preset's",
        "The claim with the name to sign in with, for people who are added. Nobody is found by it.",
    ),
    key(
        "[[provider]]",
        "groups_claim",
        "text",
        "the preset's",
        "The claim with groups or roles: its name, or a JSON pointer.",
    ),
    key(
        "[[provider]]",
        "groups",
        "table",
        "none",
        "`[provider.groups]`: their group to ours. A group that is not there is none, unless there is a prefix.",
    ),
    key(
        "[[provider]]",
        "groups_prefix",
        "text",
        "none",
        "Groups that the table does not name keep their name, with this before it.",
    ),
    key(
        "[[provider]]",
        "adds_people",
        "true or false",
        "false",
        "Somebody whom nobody knows yet is added when they sign in there.",
    ),
    key(
        "[[provider]]",
        "governs_groups",
        "true or false",
        "false",
        "Somebody's groups, name and address are what it says, at each sign-in and renewal.",
    ),
    key(
        "[[provider]]",
        "renews_every",
        "duration",
        "never",
        "How often it is asked whether a login still stands; one that ended there ends here.",
    ),
    key(
        "[[provider]]",
        "push_requests",
        "true or false",
        "true",
        "Requests are pushed (RFC 9126) where the provider offers it.",
    ),
    key(
        "[[provider]]",
        "algorithms",
        "list",
        "all that are accepted",
        "With what its tokens may be signed: `RS256`, `PS256`, `ES256`, `ES384`, `EdDSA`.",
    ),
    key(
        "[[provider]]",
        "clock_skew",
        "duration",
        "\"30s\"",
        "How far its clock and the gate's may be apart; at most five minutes.",
    ),
    key("[[provider]]", "ca_file", "file", "the platform's", "Root certificates (PEM) that alone are believed."),
    key(
        "[[provider]]",
        "danger_loopback",
        "true or false",
        "false",
        "It may be on this machine, without TLS. For tests and demonstrations.",
    ),
    key(
        "[[provider.level]]",
        "acr",
        "text",
        "required",
        "What the provider calls the class: a value of `acr` (of `acrs` at Entra ID).",
    ),
    key(
        "[[provider.level]]",
        "counts_as",
        "list",
        "required",
        "What a login of this class is worth: `second_factor`, `phishing_resistant`, `knowledge`, `possession`.",
    ),
    key(
        "[[provider.level]]",
        "amr",
        "list",
        "none",
        "Methods that prove it, all of them, whatever `acr` says: for providers that name no class.",
    ),
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
        "Open challenges that a session may have at one service; as many again of what other origins' pages asked.",
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
    key(
        "[machines]",
        "listen",
        "address",
        "required",
        "Where other systems call: provisioning and security events, each caller with a token of its own (`stepgate machines add`). Without `[machines]` there is no such listener.",
    ),
    key("[machines]", "origin", "origin", "required", "The listener's origin, as other systems call it."),
    key("[machines]", "tls", "table", "none", "Certificate and key, if this listener speaks TLS itself."),
    key(
        "[machines]",
        "danger_plaintext",
        "true or false",
        "false",
        "This listener speaks plain HTTP beyond loopback, because something before it ends TLS. Whoever reads that wire reads every token.",
    ),
    key("[machines]", "scim", "table", "none", "Serves provisioning (SCIM 2.0) at `/scim/v2`."),
    key(
        "[machines.tls]",
        "certificate",
        "file",
        "required",
        "The certificate chain, PEM. A new file is taken up by itself.",
    ),
    key("[machines.tls]", "key", "file", "required", "Its private key, PEM."),
    key("[[network]]", "name", "text", "required", "What `context.network.name` is for these addresses."),
    key(
        "[[network]]",
        "ranges",
        "list of networks",
        "[]",
        "The addresses, like `10.0.0.0/8`. The first network that holds an address names it.",
    ),
    key("[[service]]", "name", "name", "required", "`Service::\"name\"` in policies."),
    key("[[service]]", "title", "text", "the name", "What people read."),
    key(
        "[[service]]",
        "origin",
        "origin",
        "required",
        "The service's origin as browsers see it. Its host selects the service, so each has one of its own, which is not the gate's.",
    ),
    key("[[service]]", "upstream", "URL", "required", "Where requests go: scheme, host and port."),
    key(
        "[[service]]",
        "danger_plaintext",
        "true or false",
        "false",
        "Requests go to the upstream in plain HTTP beyond loopback. Whoever reads that wire reads them.",
    ),
    key("[[service]]", "ca", "file", "the platform's", "The certificates to verify the upstream by, PEM."),
    key(
        "[[service]]",
        "assertion",
        "always, stepped_up or never",
        "\"always\"",
        "When `Stepgate-Assertion`, the signed token that says who asks and what was proved, goes to the upstream.",
    ),
    key(
        "[[service]]",
        "inject_script",
        "true or false",
        "false",
        "Puts the script that opens challenges and repeats calls into the service's HTML pages.",
    ),
    key(
        "[[service]]",
        "own_host_header",
        "true or false",
        "false",
        "The upstream gets its own host name in `Host`, not the browser's.",
    ),
    key(
        "[[service]]",
        "operation",
        "list of tables",
        "none",
        "The operations that policies can name: `[[service.operation]]`.",
    ),
    key(
        "[[service.operation]]",
        "on",
        "\"METHODS /path\"",
        "required",
        "Which requests: methods parted by `|`, a space, and a path of literal segments, `{name}` for one segment and `{name...}` for the rest. GET covers HEAD. The most specific path wins.",
    ),
    key(
        "[[service.operation]]",
        "action",
        "name",
        "required",
        "`Action::\"name\"` in policies. One action has the same inputs and effect everywhere.",
    ),
    key(
        "[[service.operation]]",
        "title",
        "text",
        "required",
        "What the person reads when asked to confirm, with `{input}` for the value of an input.",
    ),
    key(
        "[[service.operation]]",
        "inputs",
        "table",
        "none",
        "What policies can judge: `amount = \"json /amount as long\"`. From `path`, `query`, `json` (a JSON pointer) or `form`; as `long`, `string`, `bool` or `decimal`. A request in which one is missing, given twice or of another type is refused.",
    ),
    key("[[service.operation]]", "sensitivity", "text", "\"normal\"", "`resource.sensitivity` in policies."),
    key("[[service.operation]]", "kind", "text", "\"\"", "`resource.kind` in policies."),
    key(
        "[[service.operation]]",
        "effect",
        "read or write",
        "by the methods",
        "Whether it is in `Action::\"read\"` or `Action::\"write\"`. GET, HEAD and OPTIONS read.",
    ),
    key(
        "[[service.operation]]",
        "effect_headers",
        "list of header names",
        "[]",
        "Headers that change what happens; they are part of what is confirmed.",
    ),
    key(
        "[[service.operation]]",
        "public",
        "true or false",
        "false",
        "Nobody has to be signed in, if a policy permits `Anonymous`.",
    ),
    key(
        "[[service.operation]]",
        "cross_site",
        "refuse or allow",
        "\"refuse\"",
        "Whether a request that another site makes with an effect may be held for a challenge.",
    ),
];

/// The reference as Markdown: one table for each table of the file.
pub fn reference() -> String {
    let mut text = String::new();
    let mut table = "";
    for key in REFERENCE {
        // Writing to a String cannot fail.
        if key.table != table {
            table = key.table;
            let _ = write!(text, "\n## `{table}`\n\n| key | form | default | what it does |\n|---|---|---|---|\n");
        }
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", key.name, cell(key.form), cell(key.default), cell(key.about));
    }
    text.trim_start().to_owned()
}
