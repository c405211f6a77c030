//! What services take for an access token, as `stepgate check` tells it.

use serde::Serialize;
use stepgate_core::access::{Forwarded, Nonces};
use stepgate_core::catalogue::Service;

use crate::config::Settings;

/// `[service.tokens]` of one service.
#[derive(Debug, Serialize)]
pub(super) struct Tokens {
    providers: Vec<Issuer>,
    audience: String,
    schemes: Vec<&'static str>,
    scopes: Vec<String>,
    dpop_nonces: bool,
    owner_claim: Option<String>,
    client_certificates: Vec<String>,
    forwarded: bool,
    agents: Vec<Agent>,
}

#[derive(Debug, Serialize)]
struct Issuer {
    name: String,
    issuer: String,
    /// Where it is asked about its tokens; `None`: they are JWTs, and its keys verify them.
    introspection: Option<String>,
}

#[derive(Debug, Serialize)]
struct Agent {
    /// As policies name it.
    principal: String,
    groups: Vec<String>,
}

/// What a service takes; `None`: no access tokens.
pub(super) fn of(settings: &Settings, service: &Service) -> Option<Tokens> {
    let accepted = service.tokens.as_ref()?.accepted();
    let issuer = |name: &_| Issuer {
        name: ToString::to_string(name),
        issuer: settings
            .providers
            .iter()
            .find(|one| one.provider().name == *name)
            .map(|one| one.provider().issuer.clone())
            .unwrap_or_default(),
        introspection: settings.introspection.get(name).map(|asked| asked.url.to_string()),
    };
    let agent = |rule: &stepgate_core::access::AgentRule| Agent {
        principal: format!("{}/{}", rule.provider, rule.client),
        groups: rule.groups.clone(),
    };
    Some(Tokens {
        providers: accepted.providers.iter().map(issuer).collect(),
        audience: accepted.audience.clone(),
        schemes: accepted.schemes.iter().map(|scheme| scheme.word()).collect(),
        scopes: accepted.scopes.clone(),
        dpop_nonces: accepted.nonces == Nonces::Demanded,
        owner_claim: accepted.owner_claim.clone(),
        client_certificates: accepted.certificates.iter().map(ToString::to_string).collect(),
        forwarded: accepted.forwarded == Forwarded::AsItCame,
        agents: accepted.agents.iter().map(agent).collect(),
    })
}

impl Tokens {
    /// Line by line.
    pub(super) fn lines(&self) -> Vec<String> {
        let nonces = if self.dpop_nonces { ", proofs with a nonce of the gate" } else { "" };
        let mut lines = vec![format!("access tokens for {}, as {}{nonces}", self.audience, self.schemes.join(" or "))];
        for Issuer { name, issuer, introspection } in &self.providers {
            lines.push(match introspection {
                None => format!("  of {name}, {issuer}: JWTs, verified with its keys"),
                Some(url) => format!("  of {name}, {issuer}: asked about at {url}"),
            });
        }
        if !self.scopes.is_empty() {
            lines.push(format!("  with the scopes {}", self.scopes.join(" ")));
        }
        if !self.client_certificates.is_empty() {
            lines.push(format!("  bound to client certificates of {}", self.client_certificates.join(", ")));
        }
        if let Some(claim) = &self.owner_claim {
            lines.push(format!("  an agent's owner is in the claim {claim}"));
        }
        for Agent { principal, groups } in &self.agents {
            let groups = if groups.is_empty() { "no group".to_owned() } else { groups.join(", ") };
            lines.push(format!("  Agent::\"{principal}\" in {groups}"));
        }
        if self.forwarded {
            lines.push("  passed on to the application as they come (danger_forward_token)".to_owned());
        }
        lines
    }
}
