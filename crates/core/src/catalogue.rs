//! What stands behind the gate: services and their operations, as configured.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::operation::Inputs;

/// The name of a service in configuration and policy: `[a-z0-9-]`, at most 63 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(String);

/// The name of an action in configuration and policy: `[a-z0-9_.-]`, at most 100 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionName(String);

/// A host in its one spelling: lower-case, without trailing dot, without port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(String);

/// The text is not a name of the kind that is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is expected, not {text:?}")]
pub struct NotAName {
    what: &'static str,
    text: String,
}

fn named(text: &str, what: &'static str, max: usize, extra: &[u8]) -> Result<String, NotAName> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || extra.contains(&b);
    if text.is_empty() || text.len() > max || !text.bytes().all(good) || text.starts_with(['-', '.']) {
        return Err(NotAName { what, text: crate::surroundings::shown(text, 100) });
    }
    Ok(text.to_owned())
}

/// The service that is the gate itself: its own operations are decided by the same engine.
pub const GATE_SERVICE: &str = "stepgate";

impl ServiceName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        named(text, "a service name of lower-case letters, digits and hyphens", 63, b"-").map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ActionName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        named(text, "an action name like payments.approve", 100, b"-_.").map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// Reads a host name or IP address. Folds case and one trailing dot; refuses
    /// ports, user information, empty labels and everything that is no host.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let wrong = || NotAName { what: "a host name", text: crate::surroundings::shown(text, 100) };
        let folded = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Some(inner) = folded.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: std::net::Ipv6Addr = inner.parse().map_err(|_| wrong())?;
            return Ok(Self(format!("[{address}]")));
        }
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if folded.is_empty() || folded.len() > 253 || !folded.split('.').all(label) {
            return Err(wrong());
        }
        Ok(Self(folded))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.0)
    }
}
impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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

/// A path template: literal segments, `{name}` for one segment, `{name...}` for
/// the rest (last only, at least one segment).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    segments: Vec<TemplateSegment>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TemplateSegment {
    // The order is the order of specificity.
    Literal(String),
    One(String),
    Rest(String),
}

/// The text is not a path template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATemplate {
    /// It starts with something else.
    #[error("a path template starts with /")]
    NoSlash,
    /// `//`, `.` or `..` inside, or a character that a path cannot have.
    #[error("the segment {0:?} cannot be part of a path")]
    Segment(String),
    /// `{` without `}`, an empty name, or a name used twice.
    #[error("the placeholder {0:?} is not of the form {{name}}, or its name is used twice")]
    Placeholder(String),
    /// `{name...}` is not the last segment.
    #[error("{{{0}...}} takes the rest of the path, so it must be the last segment")]
    RestNotLast(String),
}

impl PathTemplate {
    /// Reads a template like `/payments/{id}/approve`.
    pub fn parse(text: &str) -> Result<Self, NotATemplate> {
        let rest = text.strip_prefix('/').ok_or(NotATemplate::NoSlash)?;
        let mut segments = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        if !rest.is_empty() {
            for segment in rest.split('/') {
                if let Some(NotATemplate::RestNotLast(name)) = segments.last().and_then(|last| match last {
                    TemplateSegment::Rest(name) => Some(NotATemplate::RestNotLast(name.clone())),
                    _ => None,
                }) {
                    return Err(NotATemplate::RestNotLast(name));
                }
                segments.push(template_segment(segment, &mut names)?);
            }
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// The template that matches every path; used by a service's two defaults.
    pub fn any() -> Self {
        Self { text: "/*".to_owned(), segments: vec![TemplateSegment::Rest(String::new())] }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its placeholders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            TemplateSegment::One(name) | TemplateSegment::Rest(name) => Some(name.as_str()),
            TemplateSegment::Literal(_) => None,
        })
    }

    /// Matches decoded path segments (`/a/b` is `["a", "b"]`, `/` is `[]`, `/a/` is `["a", ""]`).
    ///
    /// A final empty segment (trailing slash) matches no placeholder: whether an
    /// upstream reads `/a/` as `/a` is not ours to guess, so a rule for `/a`
    /// covers `/a/` too: the final empty segment is ignored for literals and ends.
    pub fn matches(&self, segments: &[&str]) -> Option<BTreeMap<String, String>> {
        let segments = match segments {
            [rest @ .., ""] => rest,
            all => all,
        };
        let mut values = BTreeMap::new();
        let mut left = segments;
        for template in &self.segments {
            if let TemplateSegment::Rest(name) = template {
                if left.is_empty() && !name.is_empty() {
                    return None;
                }
                values.insert(name.clone(), left.join("/"));
                return Some(values);
            }
            let (first, rest) = left.split_first()?;
            match template {
                TemplateSegment::Literal(text) if text == first => {}
                TemplateSegment::One(name) if !first.is_empty() => {
                    values.insert(name.clone(), (*first).to_owned());
                }
                _ => return None,
            }
            left = rest;
        }
        left.is_empty().then_some(values)
    }

    /// Whether a server that is lax about spelling could take this path for one of
    /// this template although [`PathTemplate::matches`] does not: in another case
    /// (Express), with dots or blanks at the end of a segment (IIS), or with a format
    /// behind the last one (`approve.json` in Rails).
    pub fn is_almost(&self, segments: &[&str], formats: Formats) -> bool {
        let segments = match segments {
            [rest @ .., ""] => rest,
            all => all,
        };
        let mut left = segments;
        for template in &self.segments {
            let (first, rest) = match (template, left.split_first()) {
                (TemplateSegment::Rest(name), first) => return first.is_some() || name.is_empty(),
                (_, Some(first)) => first,
                (_, None) => return false,
            };
            let taken = match template {
                TemplateSegment::Literal(text) => is_lax_spelling(text, first, rest.is_empty(), formats),
                TemplateSegment::One(_) | TemplateSegment::Rest(_) => !first.is_empty(),
            };
            if !taken {
                return false;
            }
            left = rest;
        }
        left.is_empty()
    }

    /// Orders templates: the more specific comes first.
    pub fn specificity(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |segment: &TemplateSegment| match segment {
            TemplateSegment::Literal(_) => 0,
            TemplateSegment::One(_) => 1,
            TemplateSegment::Rest(_) => 2,
        };
        let key = |template: &Self| template.segments.iter().map(rank).collect::<Vec<_>>();
        key(self).cmp(&key(other)).then_with(|| self.text.cmp(&other.text))
    }

    /// Whether both match exactly the same paths, so that neither is more specific.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same = |(a, b): (&TemplateSegment, &TemplateSegment)| match (a, b) {
            (TemplateSegment::Literal(a), TemplateSegment::Literal(b)) => a == b,
            (TemplateSegment::One(_), TemplateSegment::One(_))
            | (TemplateSegment::Rest(_), TemplateSegment::Rest(_)) => true,
            _ => false,
        };
        self.segments.len() == other.segments.len() && self.segments.iter().zip(&other.segments).all(same)
    }
}

/// Whether a format behind the last segment counts as part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formats {
    /// `approve.json` is something else than `approve`, as for files that are read.
    Tell,
    /// `approve.json` may be taken for `approve`.
    Ignored,
}

fn is_lax_spelling(literal: &str, segment: &str, last: bool, formats: Formats) -> bool {
    let bare = |text: &str| text.trim_end_matches(['.', ' ']).to_lowercase();
    let (literal, segment) = (bare(literal), bare(segment));
    if literal == segment {
        return true;
    }
    let format = segment.strip_prefix(&literal).and_then(|rest| rest.strip_prefix('.'));
    last && formats == Formats::Ignored && format.is_some_and(|format| !format.contains('.'))
}

fn template_segment<'t>(segment: &'t str, names: &mut Vec<&'t str>) -> Result<TemplateSegment, NotATemplate> {
    let odd = || NotATemplate::Placeholder(segment.to_owned());
    if let Some(inner) = segment.strip_prefix('{') {
        let inner = inner.strip_suffix('}').ok_or_else(odd)?;
        let (name, rest) = match inner.strip_suffix("...") {
            Some(name) => (name, true),
            None => (inner, false),
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(good) || names.contains(&name) {
            return Err(odd());
        }
        names.push(name);
        let name = name.to_owned();
        return Ok(if rest { TemplateSegment::Rest(name) } else { TemplateSegment::One(name) });
    }
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '{' | '}' | '%' | '?' | '#' | '\\' | ';');
    if segment.is_empty() || segment == "." || segment == ".." || segment.contains(bad) {
        return Err(NotATemplate::Segment(segment.to_owned()));
    }
    Ok(TemplateSegment::Literal(segment.to_owned()))
}

/// A title for people, with placeholders: `Approve payment {id} of {amount}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

/// Longest value that is shown inside a title, in characters.
const SHOWN_VALUE_MAX: usize = 80;

impl Title {
    /// A title.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names of its placeholders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
    }

    /// Fills the placeholders. Values are shown with control characters removed and cut.
    pub fn fill(&self, inputs: &Inputs) -> String {
        let mut out = String::new();
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let Some((name, tail)) = after.split_once('}') else {
                out.push('{');
                rest = after;
                continue;
            };
            match inputs.get(name) {
                Some(value) => out.push_str(&crate::surroundings::shown(&value.to_string(), SHOWN_VALUE_MAX)),
                None => {
                    out.push('{');
                    out.push_str(name);
                    out.push('}');
                }
            }
            rest = tail;
        }
        out.push_str(rest);
        out
    }
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
    /// Whether a lax upstream could take the request for a declared operation that
    /// [`Service::endpoint`] does not find, or passes over for a less specific one.
    ///
    /// Such a request is refused: the policy would judge one operation, and the
    /// upstream do another.
    pub fn is_almost_another(&self, method: &str, segments: &[&str]) -> bool {
        let formats = match method {
            "GET" | "HEAD" | "OPTIONS" => Formats::Tell,
            _ => Formats::Ignored,
        };
        let named = |named: &String| named == method || (method == "HEAD" && named == "GET");
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.methods.iter().any(named))
            .take_while(|endpoint| endpoint.path.matches(segments).is_none())
            .any(|endpoint| endpoint.path.is_almost(segments, formats))
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
    by_host: std::collections::HashMap<Host, Arc<Service>>,
}

impl Catalogue {
    /// A catalogue of services whose hosts are distinct.
    ///
    /// Gives back the two names if two services have one host.
    pub fn new(
        gate_origin: String,
        gate_host: Host,
        services: Vec<Arc<Service>>,
    ) -> Result<Self, (ServiceName, ServiceName)> {
        let mut by_host: std::collections::HashMap<Host, Arc<Service>> = std::collections::HashMap::new();
        for service in &services {
            if let Some(other) = by_host.insert(service.host.clone(), Arc::clone(service)) {
                return Err((other.name.clone(), service.name.clone()));
            }
        }
        let services = services.into_iter().map(|service| (service.name.clone(), service)).collect();
        Ok(Self { gate_origin, gate_host, services, by_host })
    }

    /// A catalogue without services.
    pub fn empty(gate_origin: String, gate_host: Host) -> Self {
        Self { gate_origin, gate_host, services: BTreeMap::new(), by_host: std::collections::HashMap::new() }
    }

    /// The service with this host. Exact: no suffix, no wildcard.
    pub fn by_host(&self, host: &Host) -> Option<&Arc<Service>> {
        self.by_host.get(host)
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
    fn titles_are_filled_and_nothing_is_forged() {
        use crate::operation::InputValue;
        let inputs = Inputs::from([("id".to_owned(), InputValue::String("4\n2".into()))]);
        assert_eq!(Title::new("Approve {id} of {amount}").fill(&inputs), "Approve 4·2 of {amount}");
    }
}
