//! `[[service]]` and `[[service.operation]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stepgate_core::catalogue::{
    ActionName, Admits, CrossSite, Effect, Endpoint, GATE_SERVICE, Host, InputKind, InputSource, InputSpec,
    PathTemplate, Service, ServiceName, Title,
};
use url::Url;

use super::read::{At, Mistakes, Table};
use super::{is_loopback_name, origin};

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

pub(super) fn services(
    top: &Table<'_>,
    gate: Option<&At<Url>>,
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
        gate.and_then(|gate| Host::parse(gate.value.host_str()?).ok()).into_iter().collect();
    let mut actions = BTreeMap::new();
    let mut whole = true;
    let mut read = Vec::new();
    for table in tables {
        match service(table, &mut names, &mut hosts, &mut actions, base) {
            Some(service) => read.push(service),
            None => whole = false,
        }
    }
    whole.then_some(read)
}

/// The types of an action's inputs: equal wherever the action is used.
type ActionInputs = BTreeMap<String, (BTreeMap<String, InputKind>, String)>;

fn service(
    table: Table<'_>,
    names: &mut BTreeSet<String>,
    hosts: &mut BTreeSet<Host>,
    actions: &mut ActionInputs,
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
    let origin = origin(&table, "origin", false);
    let host = origin.as_ref().and_then(|at| Host::parse(at.value.host_str()?).ok());
    if let (Some(origin), Some(host)) = (&origin, &host)
        && !hosts.insert(host.clone())
    {
        table.mistake(
            origin.span.clone(),
            format!("the host {host} is taken by the gate or another service: each has a host of its own"),
        );
    }
    let upstream = upstream(&table, base);
    let operations = table.tables("operation", "[[service.operation]]");
    let service_name = name.as_ref().map_or("?", |at| at.value.as_str()).to_owned();
    let mut endpoints: Vec<(Arc<Endpoint>, std::ops::Range<usize>)> = Vec::new();
    for operation in operations {
        let span = operation.span();
        if let Some(endpoint) = endpoint(operation, &service_name, actions) {
            let twin = endpoints.iter().find(|(other, _)| {
                other.path.is_same_as(&endpoint.path) && other.methods.iter().any(|m| endpoint.methods.contains(m))
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
        name,
    };
    Some((service, upstream?))
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
    }
}

fn upstream(table: &Table<'_>, base: &Path) -> Option<Upstream> {
    let danger_plaintext = table.flag("danger_plaintext");
    let _ = table.required("upstream");
    let url = table.parsed("upstream", "a URL like \"http://127.0.0.1:8080\"", |text| {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err("only scheme, host and port".to_owned());
        }
        let host = url.host_str().ok_or("a host is missing")?;
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

fn endpoint(table: Table<'_>, service: &str, actions: &mut ActionInputs) -> Option<Endpoint> {
    let on = table.required("on").and_then(|at| match on(&at.value) {
        Ok(on) => Some(on),
        Err(why) => {
            table.mistake(at.span, format!("`on` must be like \"POST /payments/{{id}}/approve\": {why}"));
            None
        }
    });
    let _ = table.required("action");
    let action = table.parsed("action", "a name like payments.approve", |text| match text {
        "read" | "write" => Err("read and write are the actions of what no operation names".to_owned()),
        _ => ActionName::parse(text).map_err(|error| error.to_string()),
    });
    let path = on.as_ref().map(|(_, path)| path);
    let inputs = table.table("inputs").map(|inputs| input_specs(inputs, path)).unwrap_or_default();
    if let Some(action) = &action {
        same_inputs(&table, action, &inputs, service, actions);
    }
    let title = table.required("title").map(|at| {
        let title = Title::new(at.value);
        for name in title.names() {
            if !inputs.iter().any(|input| input.name == name) {
                table.mistake(
                    at.span.clone(),
                    format!("the title names {{{name}}}, which is no input of this operation"),
                );
            }
        }
        title
    });
    let sensitivity = table.text("sensitivity").map_or_else(|| "normal".to_owned(), |at| at.value);
    let kind = table.text("kind").map(|at| at.value).unwrap_or_default();
    let mut effect_headers = Vec::new();
    for at in table.texts("effect_headers") {
        match http::HeaderName::from_bytes(at.value.as_bytes()) {
            Ok(name) => effect_headers.push(name.as_str().to_owned()),
            Err(_) => table.mistake(at.span, format!("\"{}\" is no header name", at.value)),
        }
    }
    effect_headers.sort();
    effect_headers.dedup();
    let admits = if table.flag("public") { Admits::Anyone } else { Admits::SignedIn };
    let cross_site = table.parsed("cross_site", "refuse or allow", |text| match text {
        "refuse" => Ok(CrossSite::Refuse),
        "allow" => Ok(CrossSite::Allow),
        _ => Err(""),
    });
    let declared = table.parsed("effect", "read or write", |text| match text {
        "read" => Ok(Effect::Read),
        "write" => Ok(Effect::Write),
        _ => Err(""),
    });
    table.finish();
    let (methods, path) = on?;
    let safe = methods.iter().all(|method| matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS"));
    let by_method = if safe { Effect::Read } else { Effect::Write };
    Some(Endpoint {
        resource: format!("{service} {} {}", methods.join("|"), path.as_str()),
        action: action?.value,
        effect: declared.map_or(by_method, |at| at.value),
        kind,
        sensitivity,
        title: title?,
        methods,
        path,
        inputs,
        effect_headers,
        admits,
        cross_site: cross_site.map_or(CrossSite::Refuse, |at| at.value),
    })
}

fn on(text: &str) -> Result<(Vec<String>, PathTemplate), String> {
    let (methods, path) = text.split_once(' ').ok_or("a method, a space, a path")?;
    let methods: Vec<String> = methods.split('|').map(str::to_owned).collect();
    for method in &methods {
        if !matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") {
            return Err(format!("{method:?} is no method that passes the gate (in capitals)"));
        }
    }
    let path = PathTemplate::parse(path.trim()).map_err(|error| error.to_string())?;
    Ok((methods, path))
}

fn input_specs(table: Table<'_>, path: Option<&PathTemplate>) -> Vec<InputSpec> {
    let mistake_at = table.span();
    let mut specs: Vec<InputSpec> = Vec::new();
    let mut wrong = Vec::new();
    // `free` eats the table; its mistakes are noted by itself.
    let mistakes = |span, message: String, wrong: &mut Vec<_>| wrong.push((span, message));
    let notes = table.notes();
    for (name, text) in table.free() {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.value.is_empty() || !name.value.bytes().all(good) {
            mistakes(name.span, "an input's name has letters, digits and _ only".to_owned(), &mut wrong);
            continue;
        }
        match input(&text.value) {
            Ok((source, kind)) => {
                if let (InputSource::Path(placeholder), Some(path)) = (&source, path)
                    && !path.names().any(|known| known == placeholder)
                {
                    mistakes(text.span, format!("the path has no {{{placeholder}}}"), &mut wrong);
                }
                specs.push(InputSpec { name: name.value, source, kind });
            }
            Err(why) => mistakes(text.span, why, &mut wrong),
        }
    }
    let json = specs.iter().any(|spec| matches!(spec.source, InputSource::Json(_)));
    let form = specs.iter().any(|spec| matches!(spec.source, InputSource::Form(_)));
    if json && form {
        mistakes(mistake_at, "a body is JSON or a form, not both".to_owned(), &mut wrong);
    }
    for (span, message) in wrong {
        notes.add(span, message);
    }
    specs
}

/// `json /amount as long`.
fn input(text: &str) -> Result<(InputSource, InputKind), String> {
    let form = || {
        "an input is like \"json /amount as long\": path, query, json or form; a name or pointer; as long, string, bool or decimal".to_owned()
    };
    let (source, kind) = text.rsplit_once(" as ").ok_or_else(form)?;
    let (place, name) = source.trim().split_once(' ').ok_or_else(form)?;
    let name = name.trim().to_owned();
    if name.is_empty() {
        return Err(form());
    }
    let source = match place {
        "path" => InputSource::Path(name),
        "query" => InputSource::Query(name),
        "json" if name.starts_with('/') => InputSource::Json(name),
        "json" => return Err("a JSON pointer starts with / (RFC 6901)".to_owned()),
        "form" => InputSource::Form(name),
        _ => return Err(form()),
    };
    let kind = match kind.trim() {
        "long" => InputKind::Long,
        "string" => InputKind::String,
        "bool" => InputKind::Bool,
        "decimal" => InputKind::Decimal,
        _ => return Err(form()),
    };
    Ok((source, kind))
}

fn same_inputs(
    table: &Table<'_>,
    action: &At<ActionName>,
    inputs: &[InputSpec],
    service: &str,
    actions: &mut ActionInputs,
) {
    let types: BTreeMap<String, InputKind> = inputs.iter().map(|input| (input.name.clone(), input.kind)).collect();
    match actions.get(action.value.as_str()) {
        None => {
            actions.insert(action.value.to_string(), (types, service.to_owned()));
        }
        Some((known, _)) if *known == types => {}
        Some((_, other)) => table.mistake(
            action.span.clone(),
            format!(
                "the action {} has other inputs in service {other}: one action has the same inputs everywhere",
                action.value
            ),
        ),
    }
}
