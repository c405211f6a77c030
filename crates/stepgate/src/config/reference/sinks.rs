//! Systems that are told the evidence.

use super::{Key, key};

const TABLE: &str = "[[sink]]";

pub(super) const KEYS: &[Key] = &[
    key(
        TABLE,
        "name",
        "a-z, 0-9, -",
        "required",
        "What it is called in entries and by `stepgate sinks`. Another name is another sink, which begins anew.",
    ),
    key(
        TABLE,
        "to",
        "`file`, `stdout`, `syslog`, `webhook`, `splunk`, `elasticsearch`, `otlp`",
        "required",
        "What it is. `elasticsearch` is OpenSearch too, `otlp` any OpenTelemetry collector.",
    ),
    key(
        TABLE,
        "format",
        "`native`, `ocsf`, `ecs`, `cef`",
        "native; ecs for `elasticsearch`",
        "The shape of what it is told. An index gives each field one type, so `elasticsearch` is told `ecs` alone.",
    ),
    key(
        TABLE,
        "withhold_personal",
        "true or false",
        "false",
        "Only what stands in the tree is told: pseudonymous ids, no names, addresses, places or inputs. What a sink was told is not erased there when it is erased here.",
    ),
    key(
        TABLE,
        "begin",
        "`first`, `now`",
        "first",
        "Where a sink that is new begins: with the first entry of the ledger, or with what happens from then on.",
    ),
    key(
        TABLE,
        "late_after",
        "duration",
        "5m",
        "After how long without success an entry says that it takes nothing. It is told everything later all the same.",
    ),
    key(
        TABLE,
        "refused_file",
        "path",
        "refused-by-NAME.jsonl",
        "Where documents are kept that it refuses for good, before it is told what follows them.",
    ),
    key(TABLE, "path", "path", "required for `file`", "The file that lines are added to; only its owner reads it."),
    key(TABLE, "rotate_at", "size", "never", "From which size on a `file` is put aside, as `path.1`."),
    key(TABLE, "keep", "number", "10", "How many files that were put aside are kept."),
    key(TABLE, "address", "host:port", "required for `syslog`", "The receiver of syslog."),
    key(
        TABLE,
        "transport",
        "`tls`, `tcp`, `udp`",
        "tls",
        "How syslog travels. Over TLS and TCP a batch counts as told when the receiver has read it to its end and closed; over UDP nobody knows.",
    ),
    key(TABLE, "danger_plaintext", "true or false", "false", "Syslog leaves this machine without TLS."),
    key(
        TABLE,
        "url",
        "URL",
        "required for what is called over HTTP",
        "Scheme, host and port; of a `webhook` the whole URL.",
    ),
    key(
        TABLE,
        "secret_file",
        "path",
        "required for `webhook` and `splunk`",
        "The file with the key that signs (`whsec_…`), Splunk's token, or for the others the whole value of `Authorization`, such as `ApiKey …`.",
    ),
    key(
        TABLE,
        "index",
        "name",
        "required for `elasticsearch`",
        "The index or data stream; of Splunk the index, if not the token's own.",
    ),
    key(
        TABLE,
        "ca",
        "path",
        "the platform's certificates",
        "The file with the certificates (PEM) that alone are believed.",
    ),
    key(
        TABLE,
        "private_receiver",
        "true or false",
        "false",
        "The receiver may also have a private address by its name.",
    ),
    key(
        TABLE,
        "danger_loopback",
        "true or false",
        "false",
        "The receiver may also be on this machine, and without TLS there.",
    ),
];
