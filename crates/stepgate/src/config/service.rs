//! `[[service]]`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stepgate_core::catalogue::{
    ActionName, Admits, CrossSite, Effect, Endpoint, GATE_SERVICE, Host, PathTemplate, Service, ServiceName, Title,
};
use url::Url;

use super::client_certificates::Asks;
use super::gate::{is_loopback_name, origin};
use super::gate_service;
use super::operation::{Actions, DeclaredAction, endpoint};
use super::read::{At, Mistakes, Table};
use super::tokens::{Issues, rules};

/// How a service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Scheme, host and port.
    pub url: Url,
    /// Certificates to verify it by; the platform's if none.
    pub ca: Option<PathBuf>,
    /// Whether plain http beyond loopback is allowed.
    pub danger_plaintext: bool,
    /// When the signed assertion is added.
    pub assertion: Assertion,
    /// Whether the script is put into its HTML pages.
    pub inject_script: bool,
    /// Whether it gets its own host name in `Host`, not the browser's.
    pub own_host_header: bool,
}

/// When `Stepgate-Assertion` is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assertion {
    /// To every request of a signed-in person.
    Always,
    /// Only to requests that went on after a challenge.
    SteppedUp,
    /// Never.
    Never,
}

/// The gate's own origin and addresses, as far as services must differ from them or agree with them.
pub(super) struct GateAt<'a> {
    pub(super) origin: Option<&'a At<Url>>,
    pub(super) listen: &'a [At<SocketAddr>],
    pub(super) danger_plaintext: bool,
    pub(super) asks: Asks<'a>,
}

pub(super) fn services(
    top: &Table<'_>,
    gate: &GateAt<'_>,
    issuers: Option<&[Issues]>,
    base: &Path,
    mistakes: &Mistakes,
) -> Option<Vec<(Service, Upstream)>> {
    let tables = top.tables("service", "[[service]]");
    if tables.is_empty() {
        mistakes.add(top.span(), "the configuration needs at least one [[service]]");
        return None;
    }
    let mut names = BTreeSet::new();
    let mut hosts: BTreeSet<Host> =
        gate.origin.and_then(|origin| Host::parse(origin.value.host_str()?).ok()).into_iter().collect();
    let mut actions: Actions = gate_service::endpoints()
        .map(|endpoint| (endpoint.action.to_string(), DeclaredAction::of(&endpoint)))
        .collect();
    let mut whole = true;
    let mut read = Vec::new();
    for table in tables {
        match service(table, gate, issuers, &mut names, &mut hosts, &mut actions, base) {
            Some(service) => read.push(service),
            None => whole = false,
        }
    }
    whole.then_some(read)
}

fn service(
    table: Table<'_>,
    gate: &GateAt<'_>,
    issuers: Option<&[Issues]>,
    names: &mut BTreeSet<String>,
    hosts: &mut BTreeSet<Host>,
    actions: &mut Actions,
    base: &Path,
) -> Option<(Service, Upstream)> {
    let _ = table.required("name");
    let name = table.parsed("name", "a name of lower-case letters, digits and hyphens", ServiceName::parse);
    if let Some(name) = &name {
        if name.value.as_str() == GATE_SERVICE {
            table.mistake(name.span.clone(), "the name stepgate is the gate's own");
        } else if !names.insert(name.value.to_string()) {
            table.mistake(name.span.clone(), format!("there is another service {}", name.value));
        }
    }
    let title = table.text("title");
    let origin = origin(&table, "origin", gate.danger_plaintext);
    if let (Some(origin), Some(gate)) = (&origin, gate.origin)
        && origin.value.scheme() != gate.value.scheme()
    {
        table.mistake(
            origin.span.clone(),
            format!("the gate serves {} here: all its origins have the scheme of [gate] origin", gate.value.scheme()),
        );
    }
    let host = origin.as_ref().and_then(|at| Host::parse(at.value.host_str()?).ok());
    if let (Some(origin), Some(host)) = (&origin, &host)
        && !hosts.insert(host.clone())
    {
        table.mistake(
            origin.span.clone(),
            format!("the host {host} is taken by the gate or another service: each has a host of its own"),
        );
    }
    let upstream = upstream(&table, gate.listen, base);
    let tokens =
        table.table("tokens").map(|tokens| rules(tokens, origin.as_ref().map(|at| &at.value), issuers, &gate.asks));
    let operations = table.tables("operation", "[[service.operation]]");
    if tokens.is_none() {
        for scopes in operations.iter().filter_map(|operation| operation.value("scopes")) {
            let what = "`scopes` are of access tokens, and this service takes none: it has no [service.tokens]";
            table.mistake(scopes.span(), what);
        }
    }
    let service_name = name.as_ref().map_or("?", |at| at.value.as_str()).to_owned();
    let mut endpoints: Vec<(Arc<Endpoint>, std::ops::Range<usize>)> = Vec::new();
    for operation in operations {
        let span = operation.span();
        if let Some(endpoint) = endpoint(operation, &service_name, actions) {
            let twin = endpoints.iter().find(|(other, _)| {
                other.path.is_same_as(&endpoint.path) && other.methods.iter().any(|method| covers(&endpoint, method))
            });
            if let Some((other, _)) = twin {
                table.mistake(span.clone(), format!("matches the same requests as \"{}\"", other.resource));
            }
            endpoints.push((Arc::new(endpoint), span));
        }
    }
    table.finish();
    let mut endpoints: Vec<Arc<Endpoint>> = endpoints.into_iter().map(|(endpoint, _)| endpoint).collect();
    endpoints.sort_by(|a, b| a.path.specificity(&b.path));
    let (name, origin) = (name?.value, origin?.value);
    let service = Service {
        title: title.map_or_else(|| name.to_string(), |at| at.value),
        origin: origin.origin().ascii_serialization(),
        host: host?,
        endpoints,
        read: Arc::new(default_endpoint(&name, Effect::Read)),
        write: Arc::new(default_endpoint(&name, Effect::Write)),
        tokens: match tokens {
            None => None,
            Some(rules) => Some(rules?),
        },
        name,
    };
    Some((service, upstream?))
}

/// Whether an operation gets requests of this method. GET gets HEAD as well, so a
/// HEAD of its own beside a GET would be a twin.
fn covers(endpoint: &Endpoint, method: &str) -> bool {
    let as_get = |method: &str| if method == "HEAD" { "GET".to_owned() } else { method.to_owned() };
    endpoint.methods.iter().any(|own| as_get(own) == as_get(method))
}

/// What no operation names.
pub(super) fn default_endpoint(service: &ServiceName, effect: Effect) -> Endpoint {
    let (action, title) = match effect {
        Effect::Read => ("read", "Read"),
        Effect::Write => ("write", "Change something"),
    };
    Endpoint {
        resource: format!("{service} {action}"),
        #[expect(clippy::expect_used, reason = "two literals, covered by a test")]
        action: ActionName::parse(action).expect("a valid action name"),
        effect,
        kind: String::new(),
        sensitivity: "normal".to_owned(),
        title: Title::new(format!("{title} in {service}")),
        methods: Vec::new(),
        path: PathTemplate::any(),
        inputs: Vec::new(),
        effect_headers: Vec::new(),
        admits: Admits::SignedIn,
        cross_site: CrossSite::Refuse,
        scopes: Vec::new(),
    }
}

fn upstream(table: &Table<'_>, listen: &[At<SocketAddr>], base: &Path) -> Option<Upstream> {
    let danger_plaintext = table.flag("danger_plaintext");
    let _ = table.required("upstream");
    let url = table.parsed("upstream", "a URL like \"http://127.0.0.1:8080\"", |text| {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || has_user(&url) {
            return Err("only scheme, host and port".to_owned());
        }
        let host = url.host_str().ok_or("a host is missing")?;
        let is_own = |at: &At<SocketAddr>| {
            Some(at.value.port()) == url.port_or_known_default()
                && at.value.port() != 0
                && (is_loopback_name(host) || at.value.ip().to_string() == host)
        };
        if listen.iter().any(is_own) {
            return Err("the gate itself listens there".to_owned());
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_loopback_name(host) || danger_plaintext => Ok(url),
            "http" => {
                Err("http goes to loopback only; use https, or set danger_plaintext = true (it is recorded)".to_owned())
            }
            other => Err(format!("{other} is not spoken")),
        }
    });
    let ca = table.text("ca").map(|at| base.join(at.value));
    let assertion = table.parsed("assertion", "always, stepped_up or never", |text| match text {
        "always" => Ok(Assertion::Always),
        "stepped_up" => Ok(Assertion::SteppedUp),
        "never" => Ok(Assertion::Never),
        _ => Err(""),
    });
    let inject_script = table.flag("inject_script");
    let own_host_header = table.flag("own_host_header");
    Some(Upstream {
        url: url?.value,
        ca,
        danger_plaintext,
        assertion: assertion.map_or(Assertion::Always, |at| at.value),
        inject_script,
        own_host_header,
    })
}

/// Whether a URL carries a name or a password.
pub(super) fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}
