//! The gate's own service: account and evidence, decided by the same engine as everything else.

use std::sync::Arc;

use stepgate_core::catalogue::{
    ActionName, Admits, CrossSite, Effect, Endpoint, GATE_SERVICE, Host, InputKind, InputSource, InputSpec,
    PathTemplate, SIGN_IN, Service, ServiceName, Title,
};

use super::service::default_endpoint;

/// The policies of the gate's own service. Policies beside the configuration may
/// forbid more; they cannot permit less than nothing here.
pub const GATE_POLICIES: &str = include_str!("../../../../policies/stepgate.cedar");
/// What it takes to change one's own factors.
pub const FACTOR_POLICIES: &str = include_str!("../../../../policies/factors.cedar");
/// What denies requests from the regions that the configuration names.
pub const DENIED_REGIONS_POLICIES: &str = include_str!("../../../../policies/denied-regions.cedar");
/// The same, where a company login may add a first one.
pub const FACTOR_POLICIES_BY_COMPANY_LOGIN: &str = include_str!("../../../../policies/factors-by-company-login.cedar");

struct Declared {
    on: (&'static str, &'static str),
    action: &'static str,
    title: &'static str,
    sensitivity: &'static str,
    inputs: &'static [(&'static str, Place)],
}

enum Place {
    Path,
    Query,
    Form,
}

const OPERATIONS: &[Declared] = &[
    Declared {
        on: ("GET", "/hand-off"),
        action: SIGN_IN,
        title: "Sign in to {service}",
        sensitivity: "normal",
        inputs: &[("service", Place::Query)],
    },
    Declared {
        on: ("GET", "/go-on/{challenge}"),
        action: SIGN_IN,
        title: "Sign in to {service}",
        sensitivity: "normal",
        inputs: &[("service", Place::Query)],
    },
    Declared {
        on: ("GET", "/account"),
        action: "account.view",
        title: "See your account",
        sensitivity: "low",
        inputs: &[],
    },
    Declared {
        on: ("GET", "/account/activity"),
        action: "account.activity",
        title: "See your recent activity",
        sensitivity: "normal",
        inputs: &[],
    },
    Declared {
        on: ("GET", "/account/{rest...}"),
        action: "account.view",
        title: "See your account",
        sensitivity: "low",
        inputs: &[],
    },
    Declared {
        on: ("POST", "/account/factors"),
        action: "factors.enrol",
        title: "Add a way to prove it is you: {kind}",
        sensitivity: "high",
        inputs: &[("kind", Place::Form)],
    },
    Declared {
        on: ("POST", "/account/factors/{id}/remove"),
        action: "factors.remove",
        title: "Remove a way to prove it is you",
        sensitivity: "high",
        inputs: &[("id", Place::Path)],
    },
    Declared {
        on: ("POST", "/account/approvals/unlock"),
        action: "factors.unlock",
        title: "Allow approvals on your devices again",
        sensitivity: "high",
        inputs: &[],
    },
    Declared {
        on: ("POST", "/account/sessions/{id}/end"),
        action: "sessions.end",
        title: "Sign out one of your sessions",
        sensitivity: "normal",
        inputs: &[("id", Place::Path)],
    },
    Declared {
        on: ("POST", "/account/sessions/end-others"),
        action: "sessions.end_others",
        title: "Sign out all of your other sessions",
        sensitivity: "normal",
        inputs: &[],
    },
    Declared {
        on: ("POST", "/account/devices/{id}/name"),
        action: "devices.name",
        title: "Name one of your devices",
        sensitivity: "low",
        inputs: &[("id", Place::Path)],
    },
    Declared {
        on: ("POST", "/account/devices/{id}/forget"),
        action: "devices.forget",
        title: "Have one of your devices forgotten",
        sensitivity: "normal",
        inputs: &[("id", Place::Path)],
    },
    Declared {
        on: ("POST", "/account/enrolments/{rest...}"),
        action: "account.enrolment",
        title: "Go on adding a way to prove it is you",
        sensitivity: "normal",
        inputs: &[],
    },
    Declared {
        on: ("GET", "/evidence"),
        action: "evidence.search",
        title: "Search the evidence",
        sensitivity: "high",
        inputs: &[],
    },
    Declared {
        on: ("POST", "/evidence/export"),
        action: "evidence.export",
        title: "Export the whole evidence",
        sensitivity: "critical",
        inputs: &[],
    },
];

/// The gate's own service. Its host is the gate's.
pub(super) fn service(origin: &str, host: &Host) -> Arc<Service> {
    let name = name();
    let mut endpoints: Vec<Arc<Endpoint>> = self::endpoints().map(Arc::new).collect();
    endpoints.sort_by(|a, b| a.path.specificity(&b.path));
    Arc::new(Service {
        title: "Stepgate".to_owned(),
        origin: origin.to_owned(),
        host: host.clone(),
        endpoints,
        read: Arc::new(default_endpoint(&name, Effect::Read)),
        write: Arc::new(default_endpoint(&name, Effect::Write)),
        tokens: None,
        name,
    })
}

/// The declared operations, in no order.
pub(super) fn endpoints() -> impl Iterator<Item = Endpoint> {
    OPERATIONS.iter().filter_map(endpoint)
}

fn name() -> ServiceName {
    #[expect(clippy::expect_used, reason = "a literal, covered by a test")]
    ServiceName::parse(GATE_SERVICE).expect("the gate's own name is a service name")
}

fn endpoint(declared: &Declared) -> Option<Endpoint> {
    let (method, path) = declared.on;
    let inputs = declared
        .inputs
        .iter()
        .map(|(name, place)| InputSpec {
            name: (*name).to_owned(),
            source: match place {
                Place::Query => InputSource::Query((*name).to_owned()),
                Place::Path => InputSource::Path((*name).to_owned()),
                Place::Form => InputSource::Form((*name).to_owned()),
            },
            kind: InputKind::String,
        })
        .collect();
    Some(Endpoint {
        resource: format!("{GATE_SERVICE} {method} {path}"),
        action: ActionName::parse(declared.action).ok()?,
        effect: if method == "GET" { Effect::Read } else { Effect::Write },
        kind: if declared.action.starts_with("evidence.") { "evidence" } else { "account" }.to_owned(),
        sensitivity: declared.sensitivity.to_owned(),
        title: Title::new(declared.title),
        methods: vec![method.to_owned()],
        path: PathTemplate::parse(path).ok()?,
        inputs,
        effect_headers: Vec::new(),
        admits: Admits::SignedIn,
        cross_site: CrossSite::Refuse,
        scopes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_the_gate_is_there() {
        let service = service("http://localhost:1", &Host::parse("localhost").unwrap());
        assert_eq!(service.endpoints.len(), OPERATIONS.len());
        let action = |method, segments: &[&str]| service.endpoint(method, segments).0.action.to_string();
        assert_eq!(action("GET", &["hand-off"]), "sign_in");
        assert_eq!(action("GET", &["go-on", "x"]), "sign_in");
        assert_eq!(action("GET", &["account"]), "account.view");
        assert_eq!(action("GET", &["account", "activity"]), "account.activity");
        assert_eq!(action("GET", &["evidence"]), "evidence.search");
        assert_eq!(action("POST", &["evidence", "export"]), "evidence.export");
        assert_eq!(action("GET", &["evidence", "export"]), "read");
        assert_eq!(action("POST", &["evidence"]), "write");
        assert_eq!(action("POST", &["account", "factors"]), "factors.enrol");
        assert_eq!(action("POST", &["account", "factors", "x", "remove"]), "factors.remove");
        assert_eq!(action("POST", &["account", "approvals", "unlock"]), "factors.unlock");
        assert_eq!(action("POST", &["account", "sessions", "x", "end"]), "sessions.end");
        assert_eq!(action("POST", &["account", "sessions", "end-others"]), "sessions.end_others");
        assert_eq!(action("POST", &["account", "enrolments", "x", "totp"]), "account.enrolment");
        assert_eq!(action("GET", &["account", "enrolments", "x"]), "account.view");
        assert_eq!(action("POST", &["account", "devices", "x", "name"]), "devices.name");
        assert_eq!(action("POST", &["account", "devices", "x", "forget"]), "devices.forget");
        assert_eq!(action("POST", &["account", "other"]), "write");
    }
}
