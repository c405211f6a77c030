//! What stands behind the gate: services and their operations, as configured.

mod names;
mod template;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::access::TokenRules;
use crate::session::Audience;

pub use names::{ActionName, GATE_SERVICE, Host, NotAName, SIGN_IN, ServiceName};
pub use template::{Formats, NotATemplate, PathTemplate, SHOWN_VALUE_MAX, Title};

/// A service behind the gate.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// What people read.
    pub title: String,
    /// Its origin as browsers see it, e.g. `https://ledger.example`, without trailing slash.
    pub origin: String,
    /// The host of the origin.
    pub host: Host,
    /// Its declared operations, the most specific template first.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What no operation names, by a safe method.
    pub read: Arc<Endpoint>,
    /// What no operation names, by another method.
    pub write: Arc<Endpoint>,
    /// The access tokens that it takes; `None`: `Authorization` is the application's own.
    pub tokens: Option<Arc<TokenRules>>,
}

/// Whether an operation changes something: the action group that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// `Action::"read"`.
    Read,
    /// `Action::"write"`.
    Write,
}

/// Who may be let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// Signed-in principals only.
    SignedIn,
    /// Also `Anonymous`, if a policy permits it by name.
    Anyone,
}

/// Whether a cross-site request with an effect may be held (it may launder CSRF).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossSite {
    /// It is refused.
    Refuse,
    /// It may be held, as this operation allows.
    Allow,
}

/// One declared operation of a service, or one of its two defaults.
#[derive(Debug)]
pub struct Endpoint {
    /// `ledger POST /payments/{id}/approve`: the Cedar id of the `Endpoint`.
    pub resource: String,
    /// The action.
    pub action: ActionName,
    /// Read or write.
    pub effect: Effect,
    /// Free text for policy and reports, e.g. `payment`; empty if not set.
    pub kind: String,
    /// `low`, `normal`, `high`, `critical`, or what the configuration says.
    pub sensitivity: String,
    /// What people read.
    pub title: Title,
    /// The methods; empty means any (defaults).
    pub methods: Vec<String>,
    /// The path.
    pub path: PathTemplate,
    /// Typed inputs.
    pub inputs: Vec<InputSpec>,
    /// Lower-case names of headers that change the effect; part of what is confirmed.
    pub effect_headers: Vec<String>,
    /// Who may be let through.
    pub admits: Admits,
    /// Whether cross-site requests with an effect may be held.
    pub cross_site: CrossSite,
    /// The scopes that an access token needs for it, beside those that the service always needs.
    pub scopes: Vec<String>,
}

impl Endpoint {
    /// Whether an input comes from the body, so that the body is read before the decision.
    pub fn reads_body(&self) -> bool {
        self.inputs.iter().any(|input| matches!(input.source, InputSource::Json(_) | InputSource::Form(_)))
    }
}

/// A declared input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Its name: `context.input.<name>`.
    pub name: String,
    /// Where it is read.
    pub source: InputSource,
    /// Its type.
    pub kind: InputKind,
}

/// Where an input is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputSource {
    /// A placeholder of the path template.
    Path(String),
    /// A query parameter: exactly one.
    Query(String),
    /// A JSON pointer (RFC 6901) into the body.
    Json(String),
    /// A field of an `application/x-www-form-urlencoded` body: exactly one.
    Form(String),
}

/// The type of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputKind {
    /// 64-bit integer.
    Long,
    /// Text.
    String,
    /// `true` or `false`.
    Bool,
    /// At most four digits after the point.
    Decimal,
}

impl Service {
    /// Finds the endpoint of a request, and the values of its path placeholders.
    ///
    /// `segments` are decoded. A declared path with a method that no operation
    /// names is one of the defaults.
    pub fn endpoint(&self, method: &str, segments: &[&str]) -> (&Arc<Endpoint>, BTreeMap<String, String>) {
        for endpoint in &self.endpoints {
            // An upstream answers HEAD as it answers GET, so a rule for GET covers HEAD.
            let named = |named: &String| named == method || (method == "HEAD" && named == "GET");
            if !endpoint.methods.iter().any(named) {
                continue;
            }
            if let Some(values) = endpoint.path.matches(segments) {
                return (endpoint, values);
            }
        }
        let safe = matches!(method, "GET" | "HEAD" | "OPTIONS");
        (if safe { &self.read } else { &self.write }, BTreeMap::new())
    }
}

impl Service {
    /// The declared operation that a lax upstream could take the request for and that
    /// [`Service::endpoint`] does not find, or passes over for a less specific one.
    ///
    /// Such a request is refused: the policy would judge one operation, and the
    /// upstream do another.
    pub fn almost_another(&self, method: &str, segments: &[&str]) -> Option<&Arc<Endpoint>> {
        let formats = match method {
            "GET" | "HEAD" | "OPTIONS" => Formats::Tell,
            _ => Formats::Ignored,
        };
        let named = |named: &String| named == method || (method == "HEAD" && named == "GET");
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.methods.iter().any(named))
            .take_while(|endpoint| endpoint.path.matches(segments).is_none())
            .find(|endpoint| endpoint.path.is_almost(segments, formats))
    }
}

/// A host that we answer for, and what every request to it needs to know.
#[derive(Debug)]
pub struct Site {
    /// The service that is there.
    pub service: Arc<Service>,
    /// Where tokens that are shown there have to be for.
    pub audience: Audience,
    /// The gate's own origin.
    pub gate_origin: Arc<str>,
    /// The port of the service's origin; `None` for an origin that has none which can be read.
    port: Option<u16>,
}

impl Site {
    fn new(service: Arc<Service>, gate_origin: Arc<str>) -> Self {
        let audience = match service.name.as_str() {
            GATE_SERVICE => Audience::Gate,
            _ => Audience::Host(service.host.clone()),
        };
        let port = port_of(&service.origin, &service.host);
        Self { service, audience, gate_origin, port }
    }
}

/// The port that an origin names, or that of its scheme.
fn port_of(origin: &str, host: &Host) -> Option<u16> {
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    match authority.get(host.as_str().len()..).unwrap_or_default().strip_prefix(':') {
        Some(own) => own.parse().ok(),
        None => Some(if scheme == "https" { 443 } else { 80 }),
    }
}

/// All services, and the gate's own.
#[derive(Debug)]
pub struct Catalogue {
    /// The gate's own origin, e.g. `https://gate.example`, without trailing slash.
    pub gate_origin: String,
    /// The host of the gate's origin: the relying party.
    pub gate_host: Host,
    /// The services by name; the gate's own (`stepgate`) among them.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    by_host: HashMap<Host, Arc<Site>>,
}

impl Catalogue {
    /// Whether an action is in the group [`SIGN_IN`]: it is declared by the gate's own service.
    pub fn is_of_sign_in(&self, action: &ActionName) -> bool {
        let gate =
            self.by_name(GATE_SERVICE).filter(|gate| gate.endpoints.iter().any(|one| one.action.as_str() == SIGN_IN));
        gate.is_some_and(|gate| gate.endpoints.iter().any(|one| one.action == *action))
    }

    /// A catalogue of services whose hosts are distinct.
    ///
    /// Gives back the two names if two services have one host.
    pub fn new(
        gate_origin: String,
        gate_host: Host,
        services: Vec<Arc<Service>>,
    ) -> Result<Self, (ServiceName, ServiceName)> {
        let origin: Arc<str> = Arc::from(gate_origin.as_str());
        let mut by_host: HashMap<Host, Arc<Site>> = HashMap::new();
        for service in &services {
            let site = Arc::new(Site::new(Arc::clone(service), Arc::clone(&origin)));
            if let Some(other) = by_host.insert(service.host.clone(), site) {
                return Err((other.service.name.clone(), service.name.clone()));
            }
        }
        let services = services.into_iter().map(|service| (service.name.clone(), service)).collect();
        Ok(Self { gate_origin, gate_host, services, by_host })
    }

    /// A catalogue without services.
    pub fn empty(gate_origin: String, gate_host: Host) -> Self {
        Self { gate_origin, gate_host, services: BTreeMap::new(), by_host: HashMap::new() }
    }

    /// The service with this host. Exact: no suffix, no wildcard.
    pub fn by_host(&self, host: &Host) -> Option<&Arc<Service>> {
        self.by_host.get(host).map(|site| &site.service)
    }

    /// The site with this host, in its one spelling, and this port, if one is named. Exact:
    /// no suffix, no wildcard.
    pub fn site(&self, host: &str, port: Option<u16>) -> Option<&Arc<Site>> {
        self.by_host.get(host).filter(|site| port.is_none() || site.port == port)
    }

    /// The service with this name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.iter().find(|(key, _)| key.as_str() == name).map(|(_, service)| service)
    }

    /// Whether a URL leads to one of our own origins: the only return URLs that are followed.
    ///
    /// Compares the parsed origin, never a prefix (attack B59).
    pub fn is_ours(&self, url: &url::Url) -> bool {
        let origin = url.origin().ascii_serialization();
        url.username().is_empty()
            && url.password().is_none()
            && (origin == self.gate_origin || self.services.values().any(|service| service.origin == origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, path: &[&str], expected: &str) {
        let template = PathTemplate::parse(template).unwrap();
        let found = match template.matches(path) {
            None => "no".to_owned(),
            Some(values) => values.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "),
        };
        assert_eq!(found, expected, "{} against {path:?}", template.as_str());
    }

    #[test]
    fn templates_match_whole_segments() {
        check("/payments/{id}/approve", &["payments", "42", "approve"], "id=42");
        check("/payments/{id}/approve", &["payments", "42", "approve", ""], "id=42");
        check("/payments/{id}/approve", &["payments", "42"], "no");
        check("/payments/{id}", &["payments", ""], "no");
        check("/wire", &["wiretap"], "no");
        check("/files/{path...}", &["files", "a", "b"], "path=a/b");
        check("/files/{path...}", &["files"], "no");
        check("/", &[], "");
        check("/", &["x"], "no");
    }

    #[test]
    fn b13_a_template_is_not_a_prefix() {
        check("/admin", &["administrators"], "no");
        check("/admin", &["", "admin"], "no");
    }

    #[test]
    fn b12_b42_lax_spellings_of_a_template_are_known() {
        let almost =
            |template: &str, path: &[&str], formats| PathTemplate::parse(template).unwrap().is_almost(path, formats);
        for path in [&["Flows"][..], &["FLOWS", ""], &["flows."], &["flows "], &["flows.json"]] {
            assert!(almost("/flows", path, Formats::Ignored), "{path:?}");
        }
        assert!(!almost("/flows", &["flows.json"], Formats::Tell));
        assert!(!almost("/flows", &["flowsx"], Formats::Ignored));
        assert!(!almost("/flows", &["flows.min.js"], Formats::Ignored));
        assert!(!almost("/flows", &["flows", "x"], Formats::Ignored));
        assert!(almost("/payments/{id}/approve", &["PAYMENTS", "42", "approve"], Formats::Tell));
        assert!(almost("/files/{path...}", &["Files", "a", "b"], Formats::Tell));
        assert!(!almost("/files/{path...}", &["Files"], Formats::Tell));
    }

    #[test]
    fn bad_templates_are_refused() {
        for bad in ["", "a", "//", "/a//b", "/{", "/{}", "/{a}/{a}", "/{a...}/b", "/a b", "/%41", "/..", "/a;b"] {
            assert!(PathTemplate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn b12_b14_b15_a_host_has_one_spelling() {
        for spelling in ["app.test", "APP.test", "app.test.", "App.Test."] {
            assert_eq!(Host::parse(spelling).unwrap().as_str(), "app.test", "{spelling}");
        }
        for bad in
            ["", ".", "a..b", "app.test..", "app.test:80", "u@app.test", "a b", "a/b", "appé.test", "[::1", "[x]"]
        {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Host::parse("[0:0::1]").unwrap().as_str(), "[::1]");
    }

    #[test]
    fn an_origin_has_one_port() {
        let port = |origin: &str, host: &str| port_of(origin, &Host::parse(host).unwrap());
        assert_eq!(port("https://app.test", "app.test"), Some(443));
        assert_eq!(port("http://app.test", "app.test"), Some(80));
        assert_eq!(port("http://app.test:8080", "app.test"), Some(8080));
        assert_eq!(port("http://[::1]:8080", "[::1]"), Some(8080));
        assert_eq!(port("http://app.test:x", "app.test"), None);
    }

    #[test]
    fn titles_are_filled_and_nothing_is_forged() {
        use crate::operation::{InputValue, Inputs};
        let inputs = Inputs::from([("id".to_owned(), InputValue::String("4\n2".into()))]);
        assert_eq!(Title::new("Approve {id} of {amount}").fill(&inputs), "Approve 4·2 of {amount}");
    }
}
