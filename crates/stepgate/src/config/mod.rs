//! The configuration: one TOML file. Unknown keys are refused, and all mistakes
//! are told at once with line and column.

mod gate_service;
mod read;
mod service;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use stepgate_core::catalogue::{Catalogue, Host};
use stepgate_core::challenge::ChallengeLimits;
use stepgate_core::ports::TryLimits;
use stepgate_core::session::SessionLifetimes;
use stepgate_core::surroundings::NamedNetwork;
use stepgate_core::web::Transport;
use toml::de::DeTable;
use url::Url;

pub use gate_service::GATE_POLICIES;
pub use read::{Mistake, parse_duration};
pub use service::{Assertion, Upstream};

use read::{At, Mistakes, Table};

/// A configuration that was read and checked.
#[derive(Debug)]
pub struct Settings {
    /// The directory of the file: relative paths start here.
    pub base: PathBuf,
    /// SHA-256 of the file, hex.
    pub digest: String,
    /// The gate's own origin.
    pub origin: Url,
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
    /// Where the master key is.
    pub master_key: MasterKey,
    /// Peers whose forwarded headers are believed.
    pub trusted_hops: Vec<IpNet>,
    /// Services and operations, the gate's own among them.
    pub catalogue: Catalogue,
    /// How each service is reached, by its name.
    pub upstreams: Vec<(String, Upstream)>,
    /// Named networks.
    pub networks: Vec<NamedNetwork>,
    /// Lifetimes of sessions.
    pub sessions: SessionLifetimes,
    /// Limits of challenges.
    pub challenges: ChallengeLimits,
    /// Limits of tries.
    pub tries: TryLimits,
    /// Authenticator models that may be enrolled; empty: any.
    pub allowed_aaguids: Vec<[u8; 16]>,
    /// Limits of the listener.
    pub limits: Limits,
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
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let base = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    parse(&text, &path.display().to_string(), base)
}

/// Checks the text of a configuration. `base` is where relative paths start.
pub fn parse(text: &str, name: &str, base: PathBuf) -> Result<Settings, ConfigError> {
    let mistakes = Mistakes::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        mistakes.add(error.span().unwrap_or(0..0), error.message().to_owned());
    }
    let settings = settings(&document, text, base, &mistakes);
    let mistakes = mistakes.into_sorted();
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
    let origin = origin(&gate, "origin", danger_plaintext);
    let listen = listen(&gate);
    let tls = gate.table("tls").map(|tls| tls_files(tls, &base)).unwrap_or_default();
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
    let store = store(&gate, &base);
    let policies = gate.text("policies").map_or_else(|| "policies".to_owned(), |at| at.value);
    let master_key = master_key(&gate, &base);
    let trusted_hops = gate.texts("trusted_hops").into_iter().filter_map(|at| network(&gate, &at)).collect::<Vec<_>>();
    gate.finish();

    let sessions = top.table("sessions").map(session_lifetimes).unwrap_or_default();
    let challenges = top.table("challenges").map(challenge_limits).unwrap_or_default();
    let tries = top.table("tries").map(try_limits).unwrap_or_default();
    let allowed_aaguids = top.table("passkeys").map(aaguids).unwrap_or_default();
    let limits = top.table("limits").map(listener_limits).unwrap_or_default();
    let networks = top.tables("network", "[[network]]").into_iter().filter_map(named_network).collect();
    let services = service::services(&top, origin.as_ref(), &base, mistakes);
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
            mistakes.add(0..0, format!("the services {one} and {other} have the same host"));
            return None;
        }
    };
    Some(Settings {
        digest: hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text)),
        transport: if origin.scheme() == "https" { Transport::Tls } else { Transport::Plain },
        origin,
        listen: listen.into_iter().map(|at| at.value).collect(),
        tls,
        danger_plaintext,
        operators,
        store: store?,
        policies: base.join(policies),
        master_key: master_key?,
        trusted_hops,
        catalogue,
        upstreams,
        networks,
        sessions,
        challenges,
        tries,
        allowed_aaguids,
        limits,
        base,
    })
}

/// An origin: scheme, host and port, nothing else. Plain http is for loopback
/// names only, because cookies and passkeys need a secure context.
fn origin(table: &Table<'_>, key: &'static str, danger_plaintext: bool) -> Option<At<Url>> {
    let _ = table.required(key)?;
    let parse = |text: &str| -> Result<Url, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err("only scheme, host and port".to_owned());
        }
        let host = url.host_str().ok_or("a host is missing")?;
        Host::parse(host).map_err(|error| error.to_string())?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_loopback_name(host) || danger_plaintext => Ok(url),
            "http" => Err("http is for localhost names only; use https".to_owned()),
            other => Err(format!("{other} is not served")),
        }
    };
    table.parsed(key, "an origin like \"https://gate.example\"", parse)
}

/// Names that browsers resolve to loopback and treat as a secure context.
fn is_loopback_name(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn listen(gate: &Table<'_>) -> Vec<At<SocketAddr>> {
    let texts = match gate.value("listen") {
        None => {
            gate.mistake(gate.span(), "[gate] needs `listen`");
            Vec::new()
        }
        Some(value) if value.get_ref().is_array() => gate.texts("listen"),
        Some(_) => gate.text("listen").into_iter().collect(),
    };
    let mut addresses = Vec::new();
    for At { value, span } in texts {
        match value.parse() {
            Ok(address) => addresses.push(At { value: address, span }),
            Err(_) => {
                gate.mistake(span, "`listen` must be an address and a port like \"127.0.0.1:4180\", or a list of them")
            }
        }
    }
    addresses
}

fn tls_files(tls: Table<'_>, base: &Path) -> Vec<(PathBuf, PathBuf)> {
    let certificate = tls.required("certificate");
    let key = tls.required("key");
    tls.finish();
    certificate.zip(key).map(|(c, k)| (base.join(c.value), base.join(k.value))).into_iter().collect()
}

fn store(gate: &Table<'_>, base: &Path) -> Option<String> {
    let by_name = gate.text("store");
    let by_env = gate.text("store_env");
    let (url, span) = match (by_name, by_env) {
        (Some(_), Some(env)) => {
            gate.mistake(env.span, "give `store` or `store_env`, not both");
            return None;
        }
        (None, None) => (At { value: "sqlite:stepgate.db".to_owned(), span: gate.span() }.value, gate.span()),
        (Some(at), None) => (at.value, at.span),
        (None, Some(env)) => match std::env::var(&env.value) {
            Ok(url) => (url, env.span),
            Err(_) => {
                gate.mistake(env.span, format!("the environment variable {} is not set", env.value));
                return None;
            }
        },
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Some(format!("sqlite:{}", base.join(path).display()));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Some(url);
    }
    gate.mistake(span, "the store must be \"sqlite:FILE\" or \"postgres://…\"");
    None
}

fn master_key(gate: &Table<'_>, base: &Path) -> Option<MasterKey> {
    match (gate.text("master_key_file"), gate.text("master_key_env")) {
        (Some(file), None) => Some(MasterKey::File(base.join(file.value))),
        (None, Some(env)) => Some(MasterKey::Env(env.value)),
        (None, None) => {
            gate.mistake(
                gate.span(),
                "[gate] needs `master_key_file` or `master_key_env`; `stepgate init` makes a key",
            );
            None
        }
        (Some(_), Some(env)) => {
            gate.mistake(env.span, "give `master_key_file` or `master_key_env`, not both");
            None
        }
    }
}

fn network(table: &Table<'_>, at: &At<String>) -> Option<IpNet> {
    let parsed = at.value.parse::<IpNet>().ok().or_else(|| at.value.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    if parsed.is_none() {
        table.mistake(at.span.clone(), format!("\"{}\" is no network like \"10.0.0.0/8\"", at.value));
    }
    parsed
}

fn named_network(table: Table<'_>) -> Option<NamedNetwork> {
    let name = table.required("name");
    let ranges = table.texts("ranges").iter().filter_map(|at| network(&table, at)).collect();
    table.finish();
    Some(NamedNetwork { name: name?.value, ranges })
}

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

fn session_lifetimes(table: Table<'_>) -> SessionLifetimes {
    let default = SessionLifetimes::default();
    let read = SessionLifetimes {
        absolute: table.duration("absolute", MINUTE..=30 * DAY).unwrap_or(default.absolute),
        idle: table.duration("idle", MINUTE..=30 * DAY).unwrap_or(default.idle),
    };
    table.finish();
    read
}

fn challenge_limits(table: Table<'_>) -> ChallengeLimits {
    let default = ChallengeLimits::default();
    let small = |number: Option<u64>, default: u32| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let read = ChallengeLimits {
        answer_within: table
            .duration("answer_within", Duration::from_secs(30)..=30 * MINUTE)
            .unwrap_or(default.answer_within),
        spend_within: table
            .duration("spend_within", Duration::from_secs(10)..=30 * MINUTE)
            .unwrap_or(default.spend_within),
        wrong_answers: small(table.number("wrong_answers", 1..=10), default.wrong_answers),
        pending_per_session: small(table.number("pending_per_session", 1..=100), default.pending_per_session),
        held_body: table.size("held_body", 1024..=100 << 20).unwrap_or(default.held_body),
    };
    table.finish();
    read
}

fn try_limits(table: Table<'_>) -> TryLimits {
    let default = TryLimits::default();
    let small = |number: Option<u64>, default: u32| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let read = TryLimits {
        before_lock: small(table.number("before_lock", 1..=100), default.before_lock),
        lock: table.duration("lock", MINUTE..=7 * DAY).unwrap_or(default.lock),
        // SP 800-63B-4 section 3.2.2: never more than 100.
        before_reset: small(table.number("before_reset", 1..=100), default.before_reset),
    };
    table.finish();
    read
}

fn aaguids(table: Table<'_>) -> Vec<[u8; 16]> {
    let mut read = Vec::new();
    for at in table.texts("allowed_aaguids") {
        let mut bytes = [0; 16];
        match hex::decode_to_slice(at.value.replace('-', ""), &mut bytes) {
            Ok(()) => read.push(bytes),
            Err(_) => table.mistake(at.span, "an AAGUID is a UUID like \"ee882879-721c-4913-9775-3dfcce97072a\""),
        }
    }
    table.finish();
    read
}

fn listener_limits(table: Table<'_>) -> Limits {
    let default = Limits::default();
    let size = |number: Option<u64>| number.and_then(|n| usize::try_from(n).ok());
    let read = Limits {
        connections: size(table.number("connections", 1..=1_000_000)).unwrap_or(default.connections),
        body: table.size("body", 1024..=100 << 20).unwrap_or(default.body),
        drain: table.duration("drain", Duration::from_secs(1)..=10 * MINUTE).unwrap_or(default.drain),
    };
    table.finish();
    read
}

#[cfg(test)]
mod tests;
