//! `[places]`, `[[calendar]]`.

use super::{Key, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "[places]",
        "file",
        "file",
        "none",
        "A database of countries, or of countries, regions and cities, in MaxMind's format (GeoLite2, GeoIP2, DB-IP …): `context.network.country`, `.region`, `.city`. It is read into memory; a newer file is taken within a minute.",
    ),
    key("[places]", "systems_file", "file", "none", "A database of autonomous systems: `context.network.asn`."),
    key(
        "[places]",
        "anonymizers_file",
        "file",
        "none",
        "A database of what hides people: `context.network.anonymizer`.",
    ),
    key(
        "[places]",
        "denied",
        "list of texts",
        "[]",
        "Countries (`\"KP\"`, ISO 3166-1) and regions (`\"UA-43\"`, ISO 3166-2) from where nothing is permitted, by a built-in policy; `\"ZZ\"` is every address whose country nobody knows, also those of inner networks.",
    ),
    key("[[calendar]]", "name", "text", "required", "Its name in `context.time.open` and `context.time.holidays`."),
    key(
        "[[calendar]]",
        "days",
        "list of texts",
        "all",
        "The weekdays on which it is open: `\"monday\"` … `\"sunday\"`.",
    ),
    key("[[calendar]]", "from", "text", "\"00:00\"", "From this time of day on."),
    key("[[calendar]]", "to", "text", "\"24:00\"", "Until this time of day, which is outside."),
    key(
        "[[calendar]]",
        "holidays",
        "list of texts",
        "[]",
        "Days on which it is closed, like `\"2026-12-25\"`. Name those of years to come in time: no day is a holiday by itself.",
    ),
    key("[[calendar]]", "time_zone", "text", "that of `[gate]`", "Its zone (IANA name)."),
];
