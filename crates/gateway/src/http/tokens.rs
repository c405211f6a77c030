//! Programs that come with access tokens: who they are, and what they are told.
//!
//! Where both a session's cookie and a token come, the token alone says who asks. Nothing
//! of one adds to the other.

use std::sync::Arc;

use http::header::{HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};
use stepgate_core::access::{NotAccepted, Presented, Scheme, TokenRules, TokenView};
use stepgate_core::catalogue::{Endpoint, Service};
use stepgate_core::certificate::ShownCertificate;
use stepgate_core::decide::Challenged;
use stepgate_core::flows::{BetterToken, Flows, LacksScope, NotEnough};
use stepgate_core::operation::Operation;
use stepgate_core::ports::StoreError;
use stepgate_core::surroundings::Surroundings;

use super::answers::{self, quoted};
use super::asker::Reader;
use super::problem::problem;
use super::{Exchange, Inner};
use crate::body::Body;
use crate::canonical::CanonicalRequest;

/// RFC 9728, section 3.
pub(super) const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";
/// What proofs may be signed with.
const PROOF_ALGORITHMS: [&str; 5] = ["ES256", "ES384", "EdDSA", "RS256", "PS256"];
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

impl Inner {
    /// Who comes with a token; `None` if none came. What comes and is not accepted is an
    /// answer: whoever came with it is nobody, and no cookie makes up for it.
    pub(super) async fn bearer(
        &self,
        exchange: &Exchange,
        rules: &TokenRules,
        now: &Surroundings,
    ) -> Result<Option<Arc<TokenView>>, Response<Body>> {
        let request = &exchange.request;
        let service = &exchange.site.service;
        let url = format!("{}{}", service.origin, request.path().as_str());
        let presented = Presented {
            headers: request.headers(),
            method: request.method().as_str(),
            url: &url,
            certificate: shown(request),
            now: now.now,
        };
        let token = match self.tokens.verify(presented, rules).await {
            Ok(None) => return Ok(None),
            Ok(Some(token)) => token,
            Err(refused) => return Err(self.not_accepted(service, rules, &refused).await),
        };
        match self.flows.bearer(token, &service.host).await {
            Ok(Ok(view)) => Ok(Some(Arc::new(view))),
            Ok(Err(refused)) => Err(self.not_accepted(service, rules, &refused).await),
            Err(error) => Err(answers::store(Reader::Program, &error)),
        }
    }

    /// A token that was good when its request came, once more after a while and by the
    /// configuration of now: it may have run out, its person may have left or changed, its
    /// certificate may have been revoked, and a reload may have taken it away. The one rule for streams, waits and slow bodies.
    ///
    /// `Ok(Err(…))`: it is as good as none.
    pub(super) async fn bearer_again(
        &self,
        view: &TokenView,
        shown: Option<&dyn ShownCertificate>,
    ) -> Result<Result<Arc<TokenView>, NotAccepted>, StoreError> {
        let live = self.flows.live.load_full();
        let service = live.catalogue.by_host(&view.host);
        let rules = service.and_then(|service| service.tokens.as_deref());
        let now = self.flows.clock.now();
        if let Err(refused) = self.tokens.still(&view.token, rules, now).await {
            return Ok(Err(refused));
        }
        if let Err(what) = view.token.on(shown, now) {
            return Ok(Err(NotAccepted::Token { what, scheme: view.token.scheme() }));
        }
        Ok(self.flows.bearer(Arc::clone(&view.token), &view.host).await?.map(Arc::new))
    }

    /// The same for a request, whose operation it must still have the scopes for.
    pub(super) async fn still_bearer(
        &self,
        view: &TokenView,
        request: &CanonicalRequest,
        service: &Service,
    ) -> Result<Arc<TokenView>, Response<Body>> {
        let Some(rules) = &service.tokens else { return Err(answers::fault(Reader::Program)) };
        match self.bearer_again(view, shown(request)).await {
            Ok(Ok(view)) => Ok(view),
            Ok(Err(refused)) => Err(self.not_accepted(service, rules, &refused).await),
            Err(error) => Err(answers::store(Reader::Program, &error)),
        }
    }

    /// Whether the token has the scopes that an operation needs, by the configuration of now.
    pub(super) fn has_scopes_now(&self, operation: &Operation, view: &TokenView) -> bool {
        let live = self.flows.live.load();
        let Some(service) = live.catalogue.by_host(&view.host) else { return false };
        let mut now = operation.clone();
        now.service = Arc::clone(service);
        // An operation that is declared no more needs what it needed.
        let same = |endpoint: &&Arc<Endpoint>| endpoint.resource == operation.endpoint.resource;
        if let Some(endpoint) = service.endpoints.iter().find(same) {
            now.endpoint = Arc::clone(endpoint);
        }
        Flows::missing_scopes(&now, view).is_empty()
    }

    pub(super) async fn not_accepted(
        &self,
        service: &Service,
        rules: &TokenRules,
        refused: &NotAccepted,
    ) -> Response<Body> {
        self.flows.refused(&refused.code()).await;
        not_accepted(service, rules, refused)
    }

    /// 403 if the token lacks a scope that the operation needs (RFC 6750, section 3.1).
    pub(super) async fn lacks_scope(&self, lacks: LacksScope<'_, Operation>) -> Response<Body> {
        let LacksScope { operation, view, needed } = lacks;
        let needed = needed.join(" ");
        let challenge = Challenge::new(view.token.scheme(), &operation.service);
        self.flows.lacks_scope(operation, view).await;
        let text = "The token was not issued for this: it lacks a scope.";
        let mut response = problem(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "Not allowed with this token",
            text,
            json!({ "scope": needed }),
        );
        challenge.error("insufficient_scope", text).with("scope", &needed).put(&mut response);
        response
    }

    /// The decision asks for a better token: 401 with what it has to be (RFC 9470), or 403
    /// once the same has been asked too often.
    pub(super) async fn better_token(
        &self,
        challenged: Challenged,
        view: &TokenView,
        now: &Surroundings,
    ) -> Response<Body> {
        let service = Arc::clone(&challenged.operation.service);
        match self.flows.not_enough(challenged, view, now.now).await {
            NotEnough::Challenge(better) => step_up(&service, view.token.scheme(), &better),
            NotEnough::Refuse(denied) => {
                let away = answers::AwayFromDenied { has_start: false, account: None };
                answers::forbidden(Reader::Program, &denied.policies, away)
            }
        }
    }

    /// Protected resource metadata, where the service takes tokens (RFC 9728).
    pub(super) fn metadata(&self, exchange: &Exchange) -> Option<Response<Body>> {
        let rules = exchange.site.service.tokens.as_ref()?;
        let reads = matches!(*exchange.request.method(), Method::GET | Method::HEAD);
        if exchange.request.path().as_str() != METADATA_PATH || !reads {
            return None;
        }
        let accepted = rules.accepted();
        let live = self.flows.live.load();
        let issuer = |name| live.providers.named(name).map(|provider| provider.issuer.clone());
        let issuers: Vec<String> = accepted.providers.iter().filter_map(issuer).collect();
        let service = &exchange.site.service;
        let of_endpoints = service.endpoints.iter().flat_map(|endpoint| &endpoint.scopes);
        let mut scopes: Vec<&String> = accepted.scopes.iter().chain(of_endpoints).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let dpop = rules.takes(Scheme::Dpop);
        let members = json!({
            "resource": accepted.audience,
            "resource_name": service.title,
            "authorization_servers": issuers,
            "bearer_methods_supported": if rules.takes(Scheme::Bearer) { json!(["header"]) } else { json!([]) },
            "scopes_supported": scopes,
            "dpop_signing_alg_values_supported": if dpop { json!(PROOF_ALGORITHMS) } else { json!([]) },
            "tls_client_certificate_bound_access_tokens": !accepted.certificates.is_empty(),
            "dpop_bound_access_tokens_required": dpop && !rules.takes(Scheme::Bearer),
        });
        Some(answers::json(StatusCode::OK, &members))
    }
}

/// The certificate of the connection.
pub(super) fn shown(request: &CanonicalRequest) -> Option<&dyn ShownCertificate> {
    request.certificate().map(|certificate| &**certificate as &dyn ShownCertificate)
}

/// Adds to a 401 for who came with nothing what a program needs to get a token: no error,
/// since none was made (RFC 6750, section 3.1).
pub(super) fn how_to_get_a_token(response: &mut Response<Body>, service: &Service) {
    let Some(rules) = &service.tokens else { return };
    response.headers_mut().remove(WWW_AUTHENTICATE);
    for scheme in &rules.accepted().schemes {
        Challenge::new(*scheme, service).put(response);
    }
}

fn not_accepted(service: &Service, rules: &TokenRules, refused: &NotAccepted) -> Response<Body> {
    let code = refused.code();
    let problem =
        |status, name: &str, title: &str| problem(status, name, title, &refused.to_string(), json!({ "what": code }));
    let challenge = |scheme, error: &str| Challenge::new(scheme, service).error(error, &refused.to_string());
    let (mut response, challenges) = match refused {
        NotAccepted::Malformed { .. } => {
            let response = problem(StatusCode::BAD_REQUEST, "invalid_request", "The credentials cannot be read");
            (response, vec![challenge(first(rules), "invalid_request")])
        }
        NotAccepted::Scheme => {
            let response = problem(StatusCode::UNAUTHORIZED, "token_scheme", "These credentials are not for here");
            (response, rules.accepted().schemes.iter().map(|scheme| Challenge::new(*scheme, service)).collect())
        }
        NotAccepted::Token { scheme, .. } => {
            let response = problem(StatusCode::UNAUTHORIZED, "invalid_token", "The token is not accepted");
            // Where a bound token came as Bearer, what it takes is DPoP.
            let scheme = if rules.takes(*scheme) { *scheme } else { first(rules) };
            (response, vec![challenge(scheme, "invalid_token")])
        }
        NotAccepted::Proof { .. } => {
            let response = problem(StatusCode::UNAUTHORIZED, "invalid_dpop_proof", "The proof is not accepted");
            (response, vec![challenge(Scheme::Dpop, "invalid_dpop_proof")])
        }
        NotAccepted::UseNonce { nonce } => {
            let mut response = problem(StatusCode::UNAUTHORIZED, "use_dpop_nonce", "The proof needs a nonce");
            if let Ok(nonce) = HeaderValue::try_from(nonce.as_str()) {
                response.headers_mut().insert(DPOP_NONCE, nonce);
            }
            (response, vec![challenge(Scheme::Dpop, "use_dpop_nonce")])
        }
        NotAccepted::Away(_) | NotAccepted::TooManyProofs => return answers::unavailable(Reader::Program),
    };
    challenges.into_iter().for_each(|challenge| challenge.put(&mut response));
    response
}

fn first(rules: &TokenRules) -> Scheme {
    rules.accepted().schemes.first().copied().unwrap_or(Scheme::Bearer)
}

/// RFC 9470, section 3: a better token is needed.
fn step_up(service: &Service, scheme: Scheme, better: &BetterToken) -> Response<Body> {
    let reasons: Vec<&str> =
        better.policies.iter().map(|policy| policy.reason.as_str()).filter(|reason| !reason.is_empty()).collect();
    let detail = if reasons.is_empty() { "A better login is needed for this.".to_owned() } else { reasons.join(" ") };
    let refusing: Vec<Value> =
        better.policies.iter().map(|policy| json!({"id": policy.id, "reason": policy.reason})).collect();
    let classes = better.acr_values.join(" ");
    let max_age_s = better.max_age.map(|age| age.as_secs());
    let more = json!({ "step_up": { "acr_values": better.acr_values, "max_age_s": max_age_s, "policies": refusing } });
    let title = "A better token is needed for this request";
    let mut response = problem(StatusCode::UNAUTHORIZED, "insufficient_user_authentication", title, &detail, more);
    let mut challenge = Challenge::new(scheme, service).error("insufficient_user_authentication", &detail);
    if !classes.is_empty() {
        challenge = challenge.with("acr_values", &classes);
    }
    if let Some(max_age) = max_age_s {
        challenge = challenge.with("max_age", &max_age.to_string());
    }
    challenge.put(&mut response);
    response
}

/// `WWW-Authenticate`; each parameter once, each a quoted string.
pub(super) struct Challenge(String);

impl Challenge {
    pub(super) fn new(scheme: Scheme, service: &Service) -> Self {
        let this = Self(format!(r#"{} realm="{}""#, scheme.word(), quoted(service.name.as_str())));
        this.with("resource_metadata", &format!("{}{METADATA_PATH}", service.origin))
    }

    pub(super) fn error(self, error: &str, description: &str) -> Self {
        self.with("error", error).with("error_description", description)
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push_str(&format!(r#", {name}="{}""#, quoted(value)));
        self
    }

    pub(super) fn put(self, response: &mut Response<Body>) {
        match HeaderValue::try_from(self.0) {
            Ok(value) => {
                response.headers_mut().append(WWW_AUTHENTICATE, value);
            }
            Err(error) => tracing::error!(%error, "a challenge could not be written"),
        }
    }
}
