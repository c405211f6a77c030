//! Approving on devices.

use super::{Key, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "[push]",
        "per_hour",
        "number",
        "10",
        "How often one person's devices are asked within an hour. The table `[push]` alone, empty, offers approving on devices; without it nobody can add one.",
    ),
    key(
        "[push]",
        "short_number_when_signed",
        "true or false",
        "false",
        "Two digits instead of six are typed where all devices of a person sign what they approve: the signature carries the strength then.",
    ),
    key(
        "[push]",
        "web_push",
        "true or false",
        "true",
        "Devices that want it are woken through the push service of their browser's maker, which learns when, and nothing else. Without it, and where it fails, a device's page looks by itself while it is open.",
    ),
    key(
        "[push]",
        "contact",
        "URL",
        "the gate's host, with https",
        "`mailto:` or `https:`: whom a push service can ask about this gate (RFC 8292).",
    ),
    key(
        "[push]",
        "private_push_services",
        "true or false",
        "false",
        "Push services may also have private addresses by their names. A device says where its push service is, so this lets people make the gate call there.",
    ),
    key(
        "[push]",
        "danger_loopback",
        "true or false",
        "false",
        "Push services may also be on this machine, and without TLS there.",
    ),
];
