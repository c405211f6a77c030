//! The configuration: one TOML file. Unknown keys are refused, and all mistakes
//! are told at once with line and column.

mod behaviour;
mod client_certificates;
mod codes;
mod environment;
mod gate;
mod gate_service;
mod hardware;
mod limits;
mod machines;
mod operation;
mod passkeys;
mod provider;
mod push;
mod read;
mod reference;
mod service;
mod sinks;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use stepgate_core::catalogue::{Catalogue, Host};
use stepgate_core::challenge::ChallengeLimits;
use stepgate_core::ports::TryLimits;
use stepgate_core::provider::ProviderName;
use stepgate_core::session::SessionLifetimes;
use stepgate_core::surroundings::{Calendar, Environment, Geography, NamedNetwork, Region};
use stepgate_core::web::Transport;
use stepgate_factors::LookAhead;
use stepgate_gateway::server::{AskingHost, AuthoritySettings};
use stepgate_identity::provider::CheckedProvider;
use stepgate_identity::tokens::IntrospectionSettings;
use toml::de::DeTable;
use url::Url;

pub use behaviour::{Behaviour, ProfileMemory};
pub use codes::{CodeSettings, MailServer, PhoneSettings};
pub use environment::PlaceFiles;
pub(crate) use gate::parse_origin;
pub use gate_service::{DENIED_REGIONS_POLICIES, FACTOR_POLICIES, FACTOR_POLICIES_BY_COMPANY_LOGIN, GATE_POLICIES};
pub use machines::{MachinesSettings, ScimSettings, StreamsSettings, TransmitterSettings};
pub use passkeys::{MetadataSettings, PasskeySettings};
pub(crate) use provider::redirect_uri;
pub use push::{PushSettings, WebPushSettings};
pub use read::parse_duration;
pub use reference::{Key, reference};
pub use service::{Assertion, Upstream};
pub use sinks::{HttpKind, SinkPlace, SinkSettings, SyslogWay};

use read::{Mistake, Mistakes, Table};

/// A configuration that was read and checked.
pub struct Settings {
    /// The directory of the file: relative paths start here.
    pub base: PathBuf,
    /// SHA-256 of the file, hex.
    pub digest: String,
    /// The gate's own origin.
    pub origin: Url,
    /// Who vouches for client certificates.
    pub client_certificates: Vec<AuthoritySettings>,
    /// The hosts that ask for them.
    pub asking_hosts: Vec<AskingHost>,
    /// How browsers reach the gate.
    pub transport: Transport,
    /// Where the gate listens.
    pub listen: Vec<SocketAddr>,
    /// Certificate and key, if the gate speaks TLS itself.
    pub tls: Vec<(PathBuf, PathBuf)>,
    /// Whether it may listen in plain beyond loopback (something else ends TLS before it).
    pub danger_plaintext: bool,
    /// Where operators ask for health.
    pub operators: Option<SocketAddr>,
    /// The store's URL.
    pub store: String,
    /// The directory of policies.
    pub policies: PathBuf,
    /// The directory of a second set of policies, which is asked beside the live one and decides nothing.
    pub shadow_policies: Option<PathBuf>,
    /// Where the master key is.
    pub master_key: MasterKey,
    /// Peers whose forwarded headers are believed.
    pub trusted_hops: Vec<IpNet>,
    /// The header in which they tell of the client's device.
    pub posture_header: Option<http::HeaderName>,
    /// Services and operations, the gate's own among them.
    pub catalogue: Catalogue,
    /// How each service is reached, by its name.
    pub upstreams: Vec<(String, Upstream)>,
    /// Where people sign in with their company's login.
    pub providers: Vec<CheckedProvider>,
    /// How some of them are asked about access tokens, by name.
    pub introspection: BTreeMap<ProviderName, IntrospectionSettings>,
    /// Whether such a login may add a first factor.
    pub company_login_enrols: bool,
    /// Named networks.
    pub networks: Vec<NamedNetwork>,
    /// Databases of where addresses are.
    pub places: PlaceFiles,
    /// From where nobody is to come.
    pub denied_regions: Vec<Region>,
    /// Business calendars.
    pub calendars: Vec<Calendar>,
    /// What is unusual for people.
    pub behaviour: Behaviour,
    /// Lifetimes of sessions.
    pub sessions: SessionLifetimes,
    /// Limits of challenges.
    pub challenges: ChallengeLimits,
    /// Limits of tries.
    pub tries: TryLimits,
    /// Which authenticators may hold a passkey.
    pub passkeys: PasskeySettings,
    /// The zone of `context.time.hour`, `.minute` and `.weekday`.
    pub time_zone: TimeZone,
    /// Limits of the listener.
    pub limits: Limits,
    /// Codes that are sent.
    pub codes: CodeSettings,
    /// The mail server, if mail is sent.
    pub mail: Option<MailServer>,
    /// Approving on devices, if it is offered.
    pub push: Option<PushSettings>,
    /// How far ahead hardware tokens may be, if there are any.
    pub hardware: Option<LookAhead>,
    /// The machines' listener, if there is one.
    pub machines: Option<MachinesSettings>,
    /// The systems that are told the evidence.
    pub sinks: Vec<SinkSettings>,
}

impl Settings {
    /// What the configuration says of the world around requests.
    pub fn environment(&self, geography: Geography) -> Environment {
        Environment {
            networks: self.networks.clone(),
            geography: Arc::new(geography),
            zone: self.time_zone.clone(),
            calendars: self.calendars.clone(),
            behaviour: self.behaviour.settings.clone(),
            models: Arc::default(),
        }
    }
}

impl fmt::Debug for Settings {
    /// Without the store's URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("origin", &self.origin.as_str())
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// Where the master key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterKey {
    /// A file that only its owner may read.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// Limits of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Bytes of a body that an operation reads.
    pub body: usize,
    /// How long connections may finish when the gate stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, body: 1024 * 1024, drain: Duration::from_secs(20) }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {} cannot be read", path.display())]
    #[diagnostic(help("`stepgate init` writes one; `--config FILE` names another"))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It has mistakes; nothing was started.
    #[error("the configuration has {} mistake{}", mistakes.len(), if mistakes.len() == 1 { "" } else { "s" })]
    Mistakes {
        /// The file's text with its name.
        #[source_code]
        text: miette::NamedSource<Arc<str>>,
        /// All of them.
        #[label(collection)]
        mistakes: Vec<miette::LabeledSpan>,
    },
}

impl ConfigError {
    /// Each mistake as `line:column: message`, for programs and tests.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Unreadable { .. } => vec![self.to_string()],
            Self::Mistakes { text, mistakes } => mistakes
                .iter()
                .map(|mistake| {
                    let before = text.inner().get(..mistake.offset()).unwrap_or_default();
                    let line = before.matches('\n').count().saturating_add(1);
                    let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
                    format!("{line}:{column}: {}", mistake.label().unwrap_or_default())
                })
                .collect(),
        }
    }
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    parse(&read(path)?, &path.display().to_string(), base_of(path))
}

/// Reads and checks a configuration file, and more text behind it: a test table's own services.
pub(crate) fn load_with(path: &Path, more: &str, of: &Path) -> Result<Settings, ConfigError> {
    let mut text = read(path)?;
    text.push('\n');
    text.push_str(more);
    parse(&text, &format!("{} with the services of {}", path.display(), of.display()), base_of(path))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

/// Where relative paths start.
fn base_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Checks the text of a configuration. `base` is where relative paths start.
pub fn parse(text: &str, name: &str, base: PathBuf) -> Result<Settings, ConfigError> {
    read_with(text, name, base, &Mistakes::default())
}

fn read_with(text: &str, name: &str, base: PathBuf, mistakes: &Mistakes) -> Result<Settings, ConfigError> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        mistakes.add(error.span().unwrap_or(0..0), error.message().to_owned());
    }
    // What is no TOML cannot be read rightly: what would be said of the rest might not be so.
    let settings = if mistakes.sorted().is_empty() { settings(&document, text, base, mistakes) } else { None };
    let mistakes = mistakes.sorted();
    match settings {
        Some(settings) if mistakes.is_empty() => Ok(settings),
        _ => Err(ConfigError::Mistakes {
            text: miette::NamedSource::new(name, Arc::from(text)),
            mistakes: mistakes
                .into_iter()
                .map(|Mistake { span, message }| miette::LabeledSpan::new(Some(message), span.start, span.len()))
                .collect(),
        }),
    }
}

fn settings(document: &toml::Spanned<DeTable<'_>>, text: &str, base: PathBuf, mistakes: &Mistakes) -> Option<Settings> {
    // Mistakes about the whole file point at its first line.
    let top_span: Range<usize> = 0..text.find('\n').unwrap_or(text.len());
    let top = Table::new(document.get_ref(), "the configuration", top_span.clone(), mistakes);
    let gate = match top.table("gate") {
        Some(gate) => gate,
        None => {
            mistakes.add(top_span, "the configuration needs a table [gate]");
            top.finish();
            return None;
        }
    };
    let danger_plaintext = gate.flag("danger_plaintext");
    let origin = gate::origin(&gate, "origin", danger_plaintext);
    let listen = gate::listen(&gate);
    let tls = gate.table("tls").map(|tls| gate::tls_files(tls, &base)).unwrap_or_default();
    if let Some(origin) = &origin {
        let https = origin.value.scheme() == "https";
        if https && tls.is_empty() && !danger_plaintext {
            mistakes.add(
                origin.span.clone(),
                "an https origin needs [gate.tls]; or set danger_plaintext = true if something else ends TLS before the gate",
            );
        }
        if !https && !tls.is_empty() {
            mistakes.add(origin.span.clone(), "with [gate.tls] the origin must be https");
        }
    }
    for address in &listen {
        if tls.is_empty() && !danger_plaintext && !address.value.ip().is_loopback() {
            mistakes.add(
                address.span.clone(),
                "plain HTTP is spoken on loopback only; set [gate.tls], or danger_plaintext = true",
            );
        }
    }
    let operators = gate.parsed("operators", "an address like \"127.0.0.1:4181\"", str::parse).map(|at| at.value);
    let store = gate::store(&gate, &base);
    let policies = gate.text("policies").map_or_else(|| "policies".to_owned(), |at| at.value);
    let shadow_policies = gate.text("shadow_policies").map(|at| at.value);
    let master_key = gate::master_key(&gate, &base);
    let trusted_hops = gate::trusted_hops(&gate);
    let posture_header = gate::posture_header(&gate, &trusted_hops);
    let time_zone = gate::time_zone(&gate);
    let company_login_enrols = gate.flag("company_login_enrols");
    gate.finish();

    let sessions = top.table("sessions").map(limits::session_lifetimes).unwrap_or_default();
    let challenges = top.table("challenges").map(limits::challenge_limits).unwrap_or_default();
    let tries = top.table("tries").map(limits::try_limits).unwrap_or_default();
    let passkeys = top.table("passkeys").map(|table| passkeys::passkeys(table, &base)).unwrap_or_default();
    let limits = top.table("limits").map(limits::listener_limits).unwrap_or_default();
    let host = origin.as_ref().and_then(|origin| origin.value.host_str().map(str::to_owned)).unwrap_or_default();
    let push = top.table("push").map(|table| push::push(table, &host));
    let hardware = top.table("hardware_codes").map(hardware::hardware);
    let sinks = sinks::sinks(top.tables("sink", "[[sink]]"), &base);
    let mut named = Vec::new();
    let machines = top.table("machines").and_then(|table| machines::machines(table, &base, &mut named));
    let has_mail = top.value("mail").is_some();
    let mail = top.table("mail").and_then(|table| codes::mail(table, &base));
    let codes = top.table("codes").map(|table| codes::codes(table, &base, has_mail)).unwrap_or_default();
    let networks = gate::named_networks(top.tables("network", "[[network]]"));
    let (places, denied_regions) =
        top.table("places").map(|table| environment::places(table, &base)).unwrap_or_default();
    let behaviour = top.table("behaviour").map(behaviour::behaviour).unwrap_or_default();
    let calendars = environment::calendars(top.tables("calendar", "[[calendar]]"), &time_zone);
    let providers = provider::providers(top.tables("provider", "[[provider]]"), origin.as_ref(), &base);
    // Providers that could not be read were told already.
    if let Some(providers) = &providers {
        for (of, name) in named {
            if !providers.iter().any(|(provider, _)| provider.provider().name == name.value) {
                let what = format!("{of} names the provider `{}`, which is not configured", name.value);
                mistakes.add(name.span, what);
            }
        }
    }
    let client_certificates =
        client_certificates::authorities(top.tables("client_certificates", "[[client_certificates]]"), &base);
    let asks = client_certificates::Asks { authorities: &client_certificates, tls: !tls.is_empty() };
    let at = service::GateAt { origin: origin.as_ref(), listen: &listen, danger_plaintext, asks };
    let issues = providers.as_ref().map(|all| {
        let issues = |(provider, asked): &(CheckedProvider, Option<_>)| tokens::Issues {
            name: provider.provider().name.clone(),
            is_asked: asked.is_some(),
        };
        all.iter().map(issues).collect::<Vec<_>>()
    });
    let services = service::services(&top, &at, issues.as_deref(), &base, mistakes);
    top.finish();

    let origin = origin?.value;
    let gate_host = Host::parse(origin.host_str()?).ok()?;
    let gate_origin = origin.origin().ascii_serialization();
    let mut all = vec![gate_service::service(&gate_origin, &gate_host)];
    let mut upstreams = Vec::new();
    for (service, upstream) in services? {
        upstreams.push((service.name.to_string(), upstream));
        all.push(Arc::new(service));
    }
    let catalogue = match Catalogue::new(gate_origin, gate_host, all) {
        Ok(catalogue) => catalogue,
        Err((one, other)) => {
            // Where two origins stand that have the same host, it is told there.
            if mistakes.sorted().is_empty() {
                mistakes.add(0..0, format!("the services {one} and {other} have the same host"));
            }
            return None;
        }
    };
    let mut introspection = BTreeMap::new();
    let providers: Vec<CheckedProvider> = providers?
        .into_iter()
        .map(|(provider, asked)| {
            introspection.extend(asked.map(|asked| (provider.provider().name.clone(), asked)));
            provider
        })
        .collect();
    Some(Settings {
        digest: hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text)),
        transport: if origin.scheme() == "https" { Transport::Tls } else { Transport::Plain },
        origin,
        listen: listen.into_iter().map(|at| at.value).collect(),
        tls,
        client_certificates,
        asking_hosts: client_certificates::asking(&catalogue),
        danger_plaintext,
        operators,
        store: store?,
        policies: base.join(policies),
        shadow_policies: shadow_policies.map(|directory| base.join(directory)),
        master_key: master_key?,
        trusted_hops,
        posture_header,
        catalogue,
        upstreams,
        introspection,
        providers,
        company_login_enrols,
        networks,
        places,
        denied_regions,
        calendars,
        behaviour,
        sessions,
        challenges,
        tries,
        passkeys,
        time_zone,
        limits,
        codes,
        mail,
        push,
        hardware,
        machines,
        sinks,
        base,
    })
}

#[cfg(test)]
mod tests;
