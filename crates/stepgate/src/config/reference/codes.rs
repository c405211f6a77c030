//! `[mail]` and `[codes]`.

use super::{Key, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "[mail]",
        "server",
        "name",
        "required",
        "The mail server that takes what the gate sends. Without `[mail]` no mail is sent.",
    ),
    key("[mail]", "port", "1 to 65535", "587, or 465 with `tls`", "Its port."),
    key(
        "[mail]",
        "security",
        "starttls or tls",
        "\"starttls\"",
        "TLS after STARTTLS, or from the first byte. A server that offers no TLS gets no mail.",
    ),
    key("[mail]", "ca", "file", "the platform's", "Certificates (PEM) that alone are believed of the server."),
    key("[mail]", "username", "text", "none", "The account there; needs `password_file`."),
    key("[mail]", "password_file", "file", "none", "The file with its password."),
    key("[mail]", "from", "sender", "required", "Whom mail is from: `\"Stepgate <no-reply@example.com>\"`."),
    key(
        "[mail]",
        "danger_plaintext",
        "true or false",
        "false",
        "Mail goes without TLS, to a server on this machine: whoever reads that wire reads every code.",
    ),
    key(
        "[codes]",
        "per_hour",
        "1 to 60",
        "6",
        "Codes of one kind that one person is sent within an hour, and codes that one address is sent, whoever asks.",
    ),
    key("[codes]", "lifetime", "1m to 10m", "\"10m\"", "How long a code counts (SP 800-63B-4: ten minutes at most)."),
    key(
        "[codes]",
        "email",
        "table",
        "none",
        "Codes by e-mail (`email_code`), to the address that the directory has of a person. They prove that address and are no factor. The table is empty: `[codes.email]`.",
    ),
    key("[codes]", "phone", "table", "none", "Codes to phones (`phone_code`), through a gateway."),
    key(
        "[codes.phone]",
        "webhook",
        "https URL",
        "required",
        "Where codes are posted, signed as Standard Webhooks has it.",
    ),
    key(
        "[codes.phone]",
        "secret_file",
        "file",
        "required",
        "The file with the secret that signs them: `whsec_` and 24 to 64 bytes in base64.",
    ),
    key(
        "[codes.phone]",
        "counts_as",
        "list of second_factor, possession",
        "[]",
        "What a code to a phone counts as. Numbers are taken over, so SP 800-63B-4 restricts the telephone network: by default a rule that accepts one has to name it.",
    ),
    key(
        "[codes.phone]",
        "private_webhook",
        "true or false",
        "false",
        "The gateway may also be at a name that stands for a private address.",
    ),
    key(
        "[codes.phone]",
        "danger_loopback",
        "true or false",
        "false",
        "The gateway may be on this machine, without TLS.",
    ),
];
