//! `[[client_certificates]]`: who vouches for client certificates, and where they are asked for.

use std::path::Path;
use std::sync::Arc;

use stepgate_core::catalogue::{Catalogue, Service};
use stepgate_gateway::server::{AskingHost, AuthoritySettings, PastNextUpdate, Protocols, RevocationLists, Vouches};
use url::{Host, Url};

use super::read::Table;

/// The longest name.
const NAME_LEN_MAX: usize = 64;

/// What decides whether a host can ask for certificates.
pub(super) struct Asks<'a> {
    /// Who vouches.
    pub(super) authorities: &'a [AuthoritySettings],
    /// Whether the gate speaks TLS itself.
    pub(super) tls: bool,
}

impl Asks<'_> {
    /// Reads the names of those who vouch on the host of `origin`; empty where none are asked.
    pub(super) fn names(&self, table: &Table<'_>, key: &'static str, origin: Option<&Url>) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        for at in table.texts(key) {
            let Some(known) = self.authorities.iter().find(|one| *one.name == *at.value) else {
                table.mistake(at.span, format!("there is no [[client_certificates]] {}", at.value));
                continue;
            };
            if !self.tls {
                table.mistake(
                    at.span.clone(),
                    "a certificate is shown in TLS, which ends before the gate here: set [gate.tls]",
                );
            }
            if origin.is_some_and(|origin| !matches!(origin.host(), Some(Host::Domain(_)))) {
                table.mistake(at.span, "a client names no address in TLS, so only a host with a name can ask");
            }
            if !names.contains(&known.name) {
                names.push(Arc::clone(&known.name));
            }
        }
        names
    }
}

/// The hosts that ask, by what the services say.
pub(super) fn asking(catalogue: &Catalogue) -> Vec<AskingHost> {
    let asks = |service: &Arc<Service>| {
        let authorities = service.tokens.as_ref()?.accepted().certificates.clone();
        let asks = AskingHost { name: service.host.to_string(), authorities, protocols: Protocols::All };
        (!asks.authorities.is_empty()).then_some(asks)
    };
    catalogue.services.values().filter_map(asks).collect()
}

pub(super) fn authorities(tables: Vec<Table<'_>>, base: &Path) -> Vec<AuthoritySettings> {
    let mut all: Vec<AuthoritySettings> = Vec::new();
    for table in tables {
        let span = table.span();
        let Some(one) = authority(&table, base) else {
            table.finish();
            continue;
        };
        if all.iter().any(|other| other.name == one.name) {
            table.mistake(span, format!("each has a name of its own, and `{}` is taken", one.name));
        } else {
            all.push(one);
        }
        table.finish();
    }
    all
}

fn authority(table: &Table<'_>, base: &Path) -> Option<AuthoritySettings> {
    let name = table.required("name");
    if let Some(name) = &name
        && (name.value.is_empty() || name.value.len() > NAME_LEN_MAX || name.value.chars().any(char::is_control))
    {
        table.mistake(name.span.clone(), format!("`name` must be 1 to {NAME_LEN_MAX} characters"));
        return None;
    }
    let files = |key| table.texts(key).into_iter().map(|at| base.join(at.value)).collect::<Vec<_>>();
    let (anchors, crls) = (files("anchors"), files("crls"));
    let without_lists = table.flag("danger_no_crls");
    let stale = table.flag("danger_stale_crls");
    let key_alone = table.flag("key_alone");
    let vouches = if key_alone {
        if !anchors.is_empty() || !crls.is_empty() || without_lists || stale {
            table.mistake(table.span(), "with `key_alone` nobody vouches: no `anchors`, and no lists of anybody's");
            return None;
        }
        Vouches::Nobody
    } else {
        if anchors.is_empty() {
            table.mistake(
                table.span(),
                "[[client_certificates]] needs `anchors`, files of the certificates that are believed; or key_alone = true",
            );
            return None;
        }
        let lists = match (crls.is_empty(), without_lists) {
            (false, false) => {
                let past_next_update = if stale { PastNextUpdate::DangerBelieve } else { PastNextUpdate::Refuse };
                RevocationLists::Files { files: crls, past_next_update }
            }
            (true, true) if !stale => RevocationLists::DangerNone,
            (true, false) => {
                table.mistake(
                    table.span(),
                    "[[client_certificates]] needs `crls`, files of revocation lists; or danger_no_crls = true, and nothing is ever revoked",
                );
                return None;
            }
            _ => {
                table.mistake(
                    table.span(),
                    "`danger_no_crls` says that there are no lists: no `crls`, none that is stale",
                );
                return None;
            }
        };
        Vouches::Anchors { anchors, lists }
    };
    Some(AuthoritySettings { name: Arc::from(name?.value), vouches })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::parse;

    /// The mistakes of a gate with this table, whose service asks for `names` at `origin`.
    fn mistakes(table: &str, names: &str, origin: &str, tls: &str) -> String {
        let (scheme, danger) = if tls.is_empty() { ("http", "") } else { ("https", tls) };
        let text = format!(
            r#"
[gate]
origin = "{scheme}://localhost:4180"
listen = "127.0.0.1:4180"
master_key_file = "master.key"
{danger}
[[service]]
name = "api"
origin = "{scheme}://{origin}"
upstream = "http://127.0.0.1:9001"
[service.tokens]
providers = ["corp"]
client_certificates = [{names}]
[[provider]]
name = "corp"
issuer = "https://id.example"
client_id = "gate"
client_auth = "none"
[[client_certificates]]
{table}
"#
        );
        match parse(&text, "stepgate.toml", PathBuf::from("/etc/stepgate")) {
            Ok(_) => String::new(),
            Err(error) => error.lines().join("\n"),
        }
    }

    const TLS: &str = "[gate.tls]\ncertificate = \"c\"\nkey = \"k\"";

    #[test]
    fn who_vouches_and_what_is_revoked_has_to_be_said() {
        for (table, expected) in [
            ("name = \"machines\"\nanchors = [\"ca.pem\"]\ncrls = [\"a.crl\"]", ""),
            ("name = \"machines\"\nanchors = [\"ca.pem\"]\ncrls = [\"a.crl\"]\ndanger_stale_crls = true", ""),
            ("name = \"machines\"\nanchors = [\"ca.pem\"]\ndanger_no_crls = true", ""),
            ("name = \"machines\"\nkey_alone = true", ""),
            ("anchors = [\"ca.pem\"]\ncrls = [\"a.crl\"]", "needs `name`"),
            ("name = \"\"\nkey_alone = true", "1 to 64 characters"),
            ("name = \"machines\"", "needs `anchors`"),
            ("name = \"machines\"\ncrls = [\"a.crl\"]", "needs `anchors`"),
            ("name = \"machines\"\nanchors = [\"ca.pem\"]", "needs `crls`"),
            ("name = \"machines\"\nanchors = [\"ca.pem\"]\ndanger_stale_crls = true", "needs `crls`"),
            ("name = \"machines\"\nanchors = [\"ca.pem\"]\ncrls = [\"a.crl\"]\ndanger_no_crls = true", "no lists"),
            ("name = \"machines\"\nkey_alone = true\nanchors = [\"ca.pem\"]", "nobody vouches"),
            (
                "name = \"machines\"\nkey_alone = true\n[[client_certificates]]\nname = \"machines\"\nkey_alone = true",
                "is taken",
            ),
            ("name = \"others\"\nkey_alone = true", "there is no [[client_certificates]] machines"),
        ] {
            let found = mistakes(table, "\"machines\"", "api.localhost:4180", TLS);
            match expected {
                "" => assert_eq!(found, "", "{table}"),
                _ => assert!(found.contains(expected), "{table}: expected {expected:?}, found {found:?}"),
            }
        }
    }

    #[test]
    fn a_host_asks_only_where_the_gate_speaks_tls_and_the_hello_has_a_name() {
        let table = "name = \"machines\"\nkey_alone = true";
        let found = mistakes(table, "\"machines\"", "api.localhost:4180", "");
        assert!(found.contains("set [gate.tls]"), "{found}");
        let found = mistakes(table, "\"machines\"", "127.0.0.1:4180", TLS);
        assert!(found.contains("names no address in TLS"), "{found}");
        assert_eq!(mistakes(table, "", "127.0.0.1:4180", TLS), "");
    }
}
