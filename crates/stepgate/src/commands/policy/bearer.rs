//! Somebody who comes with an access token, and what the door would answer them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepgate_core::access::{Configuration, TokenView, VerifiedToken, Whose};
use stepgate_core::challenge::GrantKind;
use stepgate_core::decide::{Asker, Explanation};
use stepgate_core::flows::{BetterToken, Flows};
use stepgate_core::id::{AccessTokenId, PersonId};
use stepgate_core::operation::Operation;
use stepgate_core::person::{Agent, Login, Person};
use stepgate_core::time::Timestamp;
use stepgate_identity::provider::CheckedProvider;

use super::described::Who;
use crate::cli::BearerArgs;
use crate::commands::{Failure, wrong_input};
use crate::config::{Settings, parse_duration};

/// A token that is well made and known: what it says, and whose it is.
#[derive(Debug)]
pub(super) struct Bearer<'s> {
    view: TokenView,
    provider: &'s CheckedProvider,
}

/// What the door answers to a request with a token.
#[derive(Debug)]
pub(super) enum Answer {
    /// It goes to the application.
    Permit,
    /// 403: these are needed, and not all are there.
    InsufficientScope(Vec<String>),
    /// 401 with RFC 9470's challenge.
    BetterToken(BetterToken),
    /// 401 with a confirmation for the person, or the agent's owner.
    Confirmation {
        /// Who confirms.
        by: String,
        /// What suffices.
        summary: String,
    },
    /// 403.
    Deny,
}

impl<'s> Bearer<'s> {
    /// Reads the description; `None` if it is of no token.
    pub(super) fn read(
        args: &BearerArgs,
        settings: &'s Settings,
        operation: &Operation,
        who: &Who,
    ) -> Result<Option<Self>, Failure> {
        let (name, client) = match (&args.token, &args.agent) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(wrong_input("a token is a person's or an agent's, not both")),
            (Some(name), None) => (name.as_str(), None),
            (None, Some(agent)) => agent
                .split_once('/')
                .filter(|(_, client)| !client.is_empty())
                .map(|(name, client)| (name, Some(client)))
                .ok_or_else(|| wrong_input(format!("{agent:?} is not like corp/ci-deploy: PROVIDER/CLIENT")))?,
        };
        let service = &operation.service;
        let rules = service.tokens.as_ref().ok_or_else(|| {
            wrong_input(format!("{} takes no access tokens: it has no [service.tokens]", service.name))
        })?;
        let takes = &rules.accepted().providers;
        let provider = settings
            .providers
            .iter()
            .find(|one| one.provider().name.as_str() == name && takes.contains(&one.provider().name))
            .ok_or_else(|| {
                let known: Vec<_> = takes.iter().map(|name| name.as_str()).collect();
                wrong_input(format!("{} takes no tokens of {name:?}, but of {}", service.name, known.join(", ")))
            })?;
        let login = args.owner.as_deref().unwrap_or("somebody");
        let login = Login::parse(login).map_err(|error| wrong_input(format!("--owner {login}: {error}")))?;
        let auth_age = args
            .auth_age
            .as_deref()
            .map(|age| parse_duration(age).ok_or_else(|| wrong_input(format!("{age:?} is no duration like \"5m\""))));
        let ago = |age: Duration| {
            let ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_ms(who.at.as_ms().saturating_sub(ms))
        };
        let methods: Vec<&str> = args.amr.iter().map(String::as_str).collect();
        let mut scopes = args.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        let of = provider.provider();
        let agent = client.map(|client| {
            let mut groups = who.groups.clone();
            if groups.is_empty() {
                groups = rules.agent(&of.name, client).map(|agent| agent.groups.clone()).unwrap_or_default();
            }
            Arc::new(Agent { name: format!("{}/{client}", of.name).into(), groups })
        });
        let subject = login.as_str().to_owned();
        let whose = match &agent {
            None => Whose::Person { subject },
            Some(agent) => {
                Whose::Agent { subject: agent.name.to_string(), owner: subject, groups: agent.groups.clone() }
            }
        };
        let person = Person {
            id: PersonId::from_bytes([1; 16]),
            name: login.as_str().to_owned(),
            email: "somebody@example.com".to_owned(),
            // An agent's owner confirms; what they may do themselves is not asked.
            groups: if agent.is_some() { Vec::new() } else { who.groups.clone() },
            active: true,
            login,
        };
        let acr = args.acr.clone().unwrap_or_default();
        let token = VerifiedToken {
            id: AccessTokenId::from_bytes([3; 16]),
            provider: of.name.clone(),
            issuer: of.issuer.clone(),
            whose,
            client: client.unwrap_or("program").to_owned(),
            jti: None,
            scopes,
            strength: provider.worth(&acr, &methods),
            acr,
            amr: args.amr.clone(),
            auth_time: auth_age.transpose()?.map(ago),
            issued_at: Some(who.at),
            expires_at: who.at.plus(Duration::from_secs(3600)),
            bound_to: None,
            verified_by: Configuration::of(rules, &[0; 32]),
            signed_by: None,
        };
        let view = TokenView {
            token: Arc::new(token),
            agent,
            person: Arc::new(person),
            enrolled: who.enrolled.as_slice().into(),
            risks: Arc::new([]),
            host: service.host.clone(),
        };
        Ok(Some(Self { view, provider }))
    }

    pub(super) const fn view(&self) -> &TokenView {
        &self.view
    }

    /// Who asks, in words.
    pub(super) fn words(&self) -> String {
        let token = &self.view.token;
        match &self.view.agent {
            None => format!("somebody in {}, with a token of {}", groups(&self.view.person.groups), token.provider),
            Some(agent) => format!("the agent {} in {}", agent.name, groups(&agent.groups)),
        }
    }

    /// What the door answers where this was decided. The verdict is then the answer's; where a scope is
    /// missing, the door decides nothing, and what would have decided is taken out.
    pub(super) fn answer(&self, operation: &Operation, explanation: &mut Explanation) -> Answer {
        let decided = Flows::scopes_first(operation, Asker::Token(&self.view), |_| self.of_decision(explanation));
        let answer = decided.unwrap_or_else(|lacks| Answer::InsufficientScope(lacks.needed));
        if matches!(answer, Answer::InsufficientScope(_)) {
            *explanation = Explanation {
                ask: None,
                max_age: None,
                decided: Vec::new(),
                near: Vec::new(),
                steps: Vec::new(),
                ..explanation.clone()
            };
        }
        explanation.verdict = answer.verdict();
        answer
    }

    fn of_decision(&self, explanation: &Explanation) -> Answer {
        match (&explanation.ask, explanation.verdict.as_str()) {
            (Some(ask), _) if ask.grant == GrantKind::Freshness => {
                let levels = &self.provider.provider().levels;
                let (max_age, policies) = (explanation.max_age, explanation.decided.clone());
                Answer::BetterToken(BetterToken::of(ask, max_age, policies, levels))
            }
            (Some(ask), _) => {
                let by = match &self.view.agent {
                    Some(_) => format!("the agent's owner, {},", self.view.person.login),
                    None => "the person".to_owned(),
                };
                Answer::Confirmation { by, summary: ask.summary() }
            }
            (None, "permit") => Answer::Permit,
            (None, _) => Answer::Deny,
        }
    }
}

impl Answer {
    /// The verdict in one line, as `expect` says it: `permit`, `deny`, `insufficient_scope: ledger payments:approve`,
    /// `acr: phr | mfa`, `confirm: passkey`.
    pub(super) fn verdict(&self) -> String {
        match self {
            Self::Permit => "permit".to_owned(),
            Self::InsufficientScope(needed) => format!("insufficient_scope: {}", needed.join(" ")),
            Self::BetterToken(better) => format!("acr: {}", better.acr_values.join(" | ")),
            Self::Confirmation { summary, .. } => summary.clone(),
            Self::Deny => "deny".to_owned(),
        }
    }

    /// What the program is told, in words.
    pub(super) fn words(&self) -> String {
        let parameters = |better: &BetterToken| {
            let max_age = better.max_age.map(|age| format!(", max_age=\"{}\"", age.as_secs())).unwrap_or_default();
            format!("acr_values=\"{}\"{max_age}", better.acr_values.join(" "))
        };
        match self {
            Self::Permit => "it goes to the application".to_owned(),
            Self::InsufficientScope(needed) => format!("403 insufficient_scope, scope=\"{}\"", needed.join(" ")),
            Self::BetterToken(better) => format!("401 insufficient_user_authentication, {}", parameters(better)),
            Self::Confirmation { by, .. } => {
                format!("401 insufficient_user_authentication, with a challenge that {by} confirms")
            }
            Self::Deny => "403 denied".to_owned(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let step_up = "insufficient_user_authentication";
        match self {
            Self::Permit => json!({ "status": null }),
            Self::InsufficientScope(needed) => {
                json!({ "status": 403, "error": "insufficient_scope", "scope": needed })
            }
            Self::BetterToken(better) => json!({
                "status": 401, "error": step_up, "acr_values": better.acr_values,
                "max_age_s": better.max_age.map(|age| age.as_secs()),
            }),
            Self::Confirmation { by, .. } => json!({ "status": 401, "error": step_up, "confirmed_by": by }),
            Self::Deny => json!({ "status": 403, "error": null }),
        }
    }
}

fn groups(groups: &[String]) -> String {
    if groups.is_empty() { "no group".to_owned() } else { groups.join(", ") }
}
