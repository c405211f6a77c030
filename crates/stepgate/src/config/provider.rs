//! `[[provider]]`: where people sign in with their company's login.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use stepgate_core::factor::Strength;
use stepgate_core::web::gate_path;
use stepgate_identity::keys::Algorithm;
use stepgate_identity::provider::{CheckedProvider, ClientAuthMethod, LevelSettings, Preset, ProviderSettings};
use stepgate_identity::tokens::IntrospectionSettings;
use url::Url;

use super::read::{At, Table};
use super::tokens::introspection;

/// The longest that a login may stand without being asked about.
const RENEWS_EVERY_MAX: Duration = Duration::from_secs(24 * 3600);
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);
/// Longest secret, key or certificate that is read from a file, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// Where the provider sends browsers back to, by its name.
pub(crate) fn redirect_uri(gate_origin: &str, name: &str) -> String {
    format!("{gate_origin}{}/back/{name}", gate_path::SIGN_IN)
}

/// Reads all of them. `None` if one cannot be used; its mistakes are noted.
pub(super) fn providers(
    tables: Vec<Table<'_>>,
    origin: Option<&At<Url>>,
    base: &Path,
) -> Option<Vec<(CheckedProvider, Option<IntrospectionSettings>)>> {
    let mut names = BTreeSet::new();
    let mut whole = true;
    let mut read = Vec::new();
    for table in tables {
        match provider(table, origin, base, &mut names) {
            Some(provider) => read.push(provider),
            None => whole = false,
        }
    }
    whole.then_some(read)
}

fn provider(
    table: Table<'_>,
    origin: Option<&At<Url>>,
    base: &Path,
    names: &mut BTreeSet<String>,
) -> Option<(CheckedProvider, Option<IntrospectionSettings>)> {
    let name = table.required("name");
    if let Some(name) = &name
        && !names.insert(name.value.clone())
    {
        table.mistake(name.span.clone(), format!("there is another provider {}", name.value));
    }
    let issuer = table.required("issuer");
    let client_id = table.required("client_id");
    let title = table.text("title");
    let preset = table.parsed("preset", "a preset", Preset::from_str).map(|at| at.value).unwrap_or_default();
    let client_auth = table.parsed("client_auth", "a way to prove who we are", ClientAuthMethod::from_str);
    let client_secret = client_secret(&table, base);
    is_proved(&table, client_auth.as_ref());
    let client_key = table.text("client_key_file").and_then(|at| secret_file(&table, &at, base));
    let client_key_id = table.text("client_key_id");
    let scopes = table.value("scopes").map(|_| table.texts("scopes").into_iter().map(|at| at.value).collect());
    let levels = levels(table.tables("level", "[[provider.level]]"));
    let login_claim = table.text("login_claim");
    let groups_claim = table.text("groups_claim");
    let groups_prefix = table.text("groups_prefix");
    let groups = table.table("groups").map(groups).unwrap_or_default();
    let adds_people = table.flag("adds_people");
    let governs_groups = table.flag("governs_groups");
    let renews_every = table.duration("renews_every", Duration::from_secs(60)..=RENEWS_EVERY_MAX);
    let pushes = table.value("push_requests").is_none() || table.flag("push_requests");
    let algorithms = algorithms(&table);
    let danger_loopback = table.flag("danger_loopback");
    let introspection = table.table("introspection").map(|table| introspection(table, preset, danger_loopback, base));
    let clock_skew = table.duration("clock_skew", Duration::ZERO..=CLOCK_SKEW_MAX);
    let root_certificates = table.text("ca_file").and_then(|at| read_file(&table, &at, base));
    let (span, places) = (table.span(), Places::of(&table));
    let notes = table.notes();
    table.finish();

    let gate_origin = origin?.value.origin().ascii_serialization();
    let (name, issuer, client_id) = (name?, issuer?, client_id?);
    let back = redirect_uri(&gate_origin, &name.value);
    let mut settings = ProviderSettings::new(&name.value, &issuer.value, &client_id.value, &back);
    settings.post_logout_redirect_uri = Some(format!("{gate_origin}{}", gate_path::SIGN_IN));
    settings.title = title.map(|at| at.value);
    settings.preset = preset;
    settings.client_auth = client_auth.map(|at| at.value);
    settings.client_secret = client_secret;
    settings.client_key = client_key;
    settings.client_key_id = client_key_id.map(|at| at.value);
    settings.scopes = scopes;
    settings.levels = levels?;
    settings.login_claim = login_claim.map(|at| at.value);
    settings.groups_claim = groups_claim.map(|at| at.value);
    settings.groups_prefix = groups_prefix.map(|at| at.value);
    settings.groups = groups;
    settings.adds_people = adds_people;
    settings.governs_groups = governs_groups;
    settings.renews_every = renews_every;
    settings.pushes = pushes;
    settings.algorithms = algorithms;
    if let Some(skew) = clock_skew {
        settings.clock_skew_s = skew.as_secs();
    }
    settings.root_certificates = root_certificates;
    settings.danger_loopback = danger_loopback;
    match settings.check() {
        Ok(checked) => match introspection {
            None => Some((checked, None)),
            Some(read) => Some((checked, Some(read?))),
        },
        Err(mistakes) => {
            for mistake in mistakes {
                notes.add(places.find(mistake.field).unwrap_or_else(|| span.clone()), mistake.to_string());
            }
            None
        }
    }
}

/// Tells a client without a proof of its own that does not say that it wants none, and one with a secret that is
/// not used: either was forgotten, and would be noticed when the first person signs in.
fn is_proved(table: &Table<'_>, client_auth: Option<&At<ClientAuthMethod>>) {
    let secret = table.value("client_secret_file").or_else(|| table.value("client_secret_env"));
    match (client_auth.map(|at| at.value), secret) {
        (None, None) if table.value("client_auth").is_none() && table.value("client_key_file").is_none() => {
            table.mistake(
                table.span(),
                "[[provider]] needs `client_secret_file`, `client_secret_env` or `client_key_file`; \
                 a public client, which proves nothing, says `client_auth = \"none\"`",
            );
        }
        (Some(ClientAuthMethod::None), Some(secret)) => {
            table.mistake(
                secret.span(),
                "with `client_auth = \"none\"` this secret is never used: leave one of them away",
            );
        }
        _ => {}
    }
}

/// Where the keys stand that a check can complain of.
struct Places(BTreeMap<&'static str, std::ops::Range<usize>>);

impl Places {
    /// The keys of the file by the names that the checks use.
    const KEYS: [(&'static str, &'static str); 15] = [
        ("name", "name"),
        ("title", "title"),
        ("issuer", "issuer"),
        ("client_id", "client_id"),
        ("client_secret", "client_secret_env"),
        ("client_secret", "client_secret_file"),
        ("governs_groups", "governs_groups"),
        ("client_key_file", "client_key_file"),
        ("levels", "level"),
        ("scopes", "scopes"),
        ("login_claim", "login_claim"),
        ("groups_claim", "groups_claim"),
        ("groups", "groups"),
        ("groups_prefix", "groups_prefix"),
        ("ca_file", "ca_file"),
    ];

    fn of(table: &Table<'_>) -> Self {
        let place = |(field, key): (&'static str, &'static str)| Some((field, table.value(key)?.span()));
        Self(Self::KEYS.into_iter().filter_map(place).collect())
    }

    fn find(&self, field: &str) -> Option<std::ops::Range<usize>> {
        self.0.get(field).cloned()
    }
}

pub(super) fn client_secret(table: &Table<'_>, base: &Path) -> Option<SecretString> {
    match (table.text("client_secret_file"), table.text("client_secret_env")) {
        (Some(file), None) => secret_file(table, &file, base),
        (None, Some(env)) => match std::env::var(&env.value) {
            Ok(secret) => Some(SecretString::from(secret)),
            Err(_) => {
                table.mistake(env.span, format!("the environment variable {} is not set", env.value));
                None
            }
        },
        (None, None) => None,
        (Some(_), Some(env)) => {
            table.mistake(env.span, "give `client_secret_file` or `client_secret_env`, not both");
            None
        }
    }
}

/// The text of a file with a secret, without the line's end.
fn secret_file(table: &Table<'_>, at: &At<String>, base: &Path) -> Option<SecretString> {
    let bytes = read_file(table, at, base)?;
    let others_may = std::fs::metadata(base.join(&at.value)).is_ok_and(|about| about.mode() & 0o077 != 0);
    if others_may {
        table.mistake(at.span.clone(), format!("others may read {0}: `chmod 600 {0}`", base.join(&at.value).display()));
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(SecretString::from(text.trim_end_matches(['\n', '\r']).to_owned())),
        Err(_) => {
            table.mistake(at.span.clone(), format!("{} is no text", at.value));
            None
        }
    }
}

fn read_file(table: &Table<'_>, at: &At<String>, base: &Path) -> Option<Vec<u8>> {
    let path = base.join(&at.value);
    let read = std::fs::metadata(&path).and_then(|about| match about.len() {
        0..=FILE_MAX => std::fs::read(&path),
        _ => Err(std::io::Error::other("the file is too large")),
    });
    match read {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            table.mistake(at.span.clone(), format!("{} cannot be read: {error}", path.display()));
            None
        }
    }
}

fn levels(tables: Vec<Table<'_>>) -> Option<Vec<LevelSettings>> {
    let mut whole = true;
    let mut read = Vec::new();
    for table in tables {
        let acr = table.required("acr");
        let amr = table.texts("amr").into_iter().map(|at| at.value).collect();
        if table.value("counts_as").is_none() {
            table.mistake(table.span(), "[[provider.level]] needs `counts_as`: what a login of this class is worth");
            whole = false;
        }
        let mut strength = Strength::NONE;
        for name in table.texts("counts_as") {
            match Strength::named(&name.value) {
                Some(one) => strength = strength.and(one),
                None => {
                    whole = false;
                    let expected = "second_factor, phishing_resistant, knowledge or possession";
                    table.mistake(name.span, format!("nothing counts as \"{}\": {expected} is expected", name.value));
                }
            }
        }
        table.finish();
        match acr {
            Some(acr) => read.push(LevelSettings { acr: acr.value, strength, amr }),
            None => whole = false,
        }
    }
    whole.then_some(read)
}

fn groups(table: Table<'_>) -> BTreeMap<String, String> {
    table.free().into_iter().map(|(theirs, ours)| (theirs.value, ours.value)).collect()
}

fn algorithms(table: &Table<'_>) -> Vec<Algorithm> {
    let mut algorithms = Vec::new();
    for name in table.texts("algorithms") {
        match name.value.parse() {
            Ok(algorithm) => algorithms.push(algorithm),
            Err(_) => {
                let known = "RS256, PS256, ES256, ES384 or EdDSA";
                table.mistake(name.span, format!("\"{}\" is not accepted: {known} is expected", name.value));
            }
        }
    }
    algorithms
}
