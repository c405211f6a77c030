//! `[gate]` and `[[network]]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::tz::TimeZone;
use stepgate_core::catalogue::Host;
use stepgate_core::surroundings::NamedNetwork;
use url::Url;

use super::read::{At, Table};
use super::{MasterKey, service};

/// An origin: scheme, host and port, nothing else. Plain http is for loopback
/// names only, because cookies and passkeys need a secure context.
pub(super) fn origin(table: &Table<'_>, key: &'static str, danger_plaintext: bool) -> Option<At<Url>> {
    let _ = table.required(key)?;
    table.parsed(key, "an origin like \"https://gate.example\"", |text| parse_origin(text, danger_plaintext))
}

/// Reads an origin; an error is why it is none that can be served.
pub(crate) fn parse_origin(text: &str, danger_plaintext: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => "the scheme is missing".to_owned(),
        error => error.to_string(),
    })?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{} is no scheme that is served", url.scheme()));
    }
    if !bare || service::has_user(&url) {
        return Err("only scheme, host and port".to_owned());
    }
    let host = url.host_str().ok_or("a host is missing")?;
    Host::parse(host).map_err(|error| error.to_string())?;
    if url.scheme() == "http" && !is_loopback_name(host) && !danger_plaintext {
        return Err("http is for localhost names only; use https".to_owned());
    }
    Ok(url)
}

/// Names that browsers resolve to loopback and treat as a secure context.
pub(super) fn is_loopback_name(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn listen(gate: &Table<'_>) -> Vec<At<SocketAddr>> {
    let texts = match gate.value("listen") {
        None => {
            gate.mistake(gate.span(), "[gate] needs `listen`");
            Vec::new()
        }
        Some(value) if value.get_ref().as_array().is_some_and(|list| list.is_empty()) => {
            gate.mistake(value.span(), "`listen` is empty: the gate would listen nowhere");
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

pub(super) fn tls_files(tls: Table<'_>, base: &Path) -> Vec<(PathBuf, PathBuf)> {
    let certificate = tls.required("certificate");
    let key = tls.required("key");
    tls.finish();
    certificate.zip(key).map(|(c, k)| (base.join(c.value), base.join(k.value))).into_iter().collect()
}

pub(super) fn store(gate: &Table<'_>, base: &Path) -> Option<String> {
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
    match stepgate_store::StoreUrl::parse(&url) {
        Ok(_) => Some(url),
        Err(error) => {
            gate.mistake(span, format!("the store must be \"sqlite:FILE\" or \"postgres://…\": {error}"));
            None
        }
    }
}

pub(super) fn master_key(gate: &Table<'_>, base: &Path) -> Option<MasterKey> {
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

pub(super) fn network(table: &Table<'_>, at: &At<String>) -> Option<IpNet> {
    let parsed = at.value.parse::<IpNet>().ok().or_else(|| at.value.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    if parsed.is_none() {
        table.mistake(at.span.clone(), format!("\"{}\" is no network like \"10.0.0.0/8\"", at.value));
    }
    parsed
}

/// The header in which the hops tell of the client's device. Without hops nobody would be believed.
pub(super) fn posture_header(gate: &Table<'_>, hops: &[IpNet]) -> Option<http::HeaderName> {
    let At { value, span } = gate.text("posture_header")?;
    match http::HeaderName::try_from(&value) {
        Ok(_) if hops.is_empty() => gate.mistake(span, "nobody is believed in it: name the proxies in trusted_hops"),
        Ok(name) if !has_a_meaning(&name) => return Some(name),
        _ => gate.mistake(span, "the name of a header of its own is expected, like \"x-device-posture\""),
    }
    None
}

/// Headers that say something else already: they would be taken away from every request. The request fields of the
/// registry of HTTP field names, and those that browsers, proxies and this gate use beside it.
const TAKEN: [&str; 50] = [
    "a-im",
    "age",
    "allow",
    "alt-svc",
    "alt-used",
    "authentication-info",
    "authorization",
    "baggage",
    "cache-control",
    "capsule-protocol",
    "connection",
    "date",
    "dav",
    "depth",
    "destination",
    "dnt",
    "downlink",
    "dpop",
    "dpop-nonce",
    "early-data",
    "ect",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "from",
    "host",
    "idempotency-key",
    "keep-alive",
    "last-event-id",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "origin",
    "overwrite",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "rtt",
    "save-data",
    "te",
    "timeout",
    "trailer",
    "traceparent",
    "tracestate",
    "upgrade",
    "via",
];
/// The same, by how their names begin.
const TAKEN_FAMILIES: [&str; 25] = [
    "accept",
    "access-control-",
    "client-cert",
    "content-",
    "cookie",
    "device-memory",
    "http2-",
    "if-",
    "last-",
    "origin-agent-",
    "ping-",
    "proxy-",
    "repr-",
    "sec-",
    "service-worker",
    "set-cookie",
    "signature",
    "stepgate-",
    "transfer-",
    "upgrade-",
    "user-agent",
    "want-",
    "x-forwarded",
    "x-http-method",
    "x-real-",
];

fn has_a_meaning(name: &http::HeaderName) -> bool {
    let name = name.as_str();
    TAKEN.contains(&name) || TAKEN_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Peers that are believed. A range of everybody would let each asker say where it
/// comes from (attack B17), so it is refused.
pub(super) fn trusted_hops(gate: &Table<'_>) -> Vec<IpNet> {
    let mut hops = Vec::new();
    for at in gate.texts("trusted_hops") {
        match network(gate, &at) {
            Some(range) if range.prefix_len() == 0 => {
                gate.mistake(at.span, "everybody would be believed: name the addresses of your own proxies");
            }
            range => hops.extend(range),
        }
    }
    hops
}

pub(super) fn time_zone(gate: &Table<'_>) -> TimeZone {
    let read = gate.parsed("time_zone", "a time zone like \"UTC\" or \"Europe/Zurich\"", TimeZone::get);
    read.map_or(TimeZone::UTC, |at| at.value)
}

pub(super) fn named_networks(tables: Vec<Table<'_>>) -> Vec<NamedNetwork> {
    let mut networks: Vec<NamedNetwork> = Vec::new();
    for table in tables {
        let name = table.required("name");
        let ranges: Vec<IpNet> = table.texts("ranges").iter().filter_map(|at| network(&table, at)).collect();
        if let Some(name) = name {
            if name.value.is_empty() || networks.iter().any(|other| other.name == name.value) {
                table.mistake(name.span, "each network has a name of its own; outside all of them it is empty");
            } else {
                networks.push(NamedNetwork { name: name.value, ranges });
            }
        }
        table.finish();
    }
    networks
}
