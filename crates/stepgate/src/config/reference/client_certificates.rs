//! `[[client_certificates]]`.

use super::{Key, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "[[client_certificates]]",
        "name",
        "text",
        "required",
        "What other tables and entries call those who vouch for these client certificates.",
    ),
    key(
        "[[client_certificates]]",
        "anchors",
        "list of files",
        "required, or the last",
        "The certificates that are believed, PEM. A change is seen within a second, without a restart.",
    ),
    key(
        "[[client_certificates]]",
        "crls",
        "list of files",
        "required, or the next",
        "Revocation lists, PEM or DER, of every issuer in a chain. A change is seen within a second, without a restart. A certificate whose issuer has no list here is refused.",
    ),
    key(
        "[[client_certificates]]",
        "danger_no_crls",
        "true or false",
        "false",
        "There are no revocation lists: a certificate is good until it expires, whoever has its key.",
    ),
    key(
        "[[client_certificates]]",
        "danger_stale_crls",
        "true or false",
        "false",
        "A list is believed beyond its next update. What was revoked since then is not known.",
    ),
    key(
        "[[client_certificates]]",
        "key_alone",
        "true or false",
        "false",
        "Nobody vouches: any certificate whose key is proved and whose time is now, self-signed ones among them. For access tokens alone, whose issuer puts the certificate's digest into them.",
    ),
];
