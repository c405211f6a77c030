//! `[service.tokens]` and `[provider.introspection]`: programs that come with access tokens.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stepgate_core::access::{Accepted, AgentRule, Forwarded, Nonces, Scheme, TokenRules};
use stepgate_core::provider::ProviderName;
use stepgate_identity::provider::Preset;
use stepgate_identity::tokens::{IntrospectionSettings, TokenType};
use url::Url;

use super::client_certificates::Asks;
use super::machines::read_url;
use super::operation::scopes;
use super::provider::client_secret;
use super::read::{At, Table};

/// The longest that an issuer's answer about a token is believed.
const KEPT_MAX: Duration = Duration::from_secs(600);
const KEPT: Duration = Duration::from_secs(60);

/// A provider, as far as services with tokens must agree with it.
#[derive(Clone, Debug)]
pub(super) struct Issues {
    pub(super) name: ProviderName,
    /// Whether it is asked about its tokens.
    pub(super) is_asked: bool,
}

/// Reads what a service takes. `issuers` is `None` if a provider could not be read.
pub(super) fn rules(
    table: Table<'_>,
    origin: Option<&Url>,
    issuers: Option<&[Issues]>,
    asks: &Asks<'_>,
) -> Option<Arc<TokenRules>> {
    let mut providers = Vec::new();
    let mut asked: Option<&ProviderName> = None;
    if table.value("providers").is_none() {
        table.mistake(table.span(), "[service.tokens] needs `providers`: whose tokens it takes");
    }
    let named = table.texts("providers");
    if named.is_empty()
        && let Some(list) = table.value("providers")
        && list.get_ref().as_array().is_some_and(|list| list.is_empty())
    {
        table.mistake(list.span(), "`providers` names nobody: whose tokens does this service take?");
    }
    for at in named {
        let Some(known) = issuer(&table, &at, issuers) else { continue };
        match (known.is_asked, asked) {
            (true, Some(other)) => {
                table.mistake(
                    at.span.clone(),
                    format!("{other} is asked about tokens already: a token is sent to one provider, never to several"),
                );
            }
            (true, None) => asked = Some(&known.name),
            (false, _) => {}
        }
        providers.push(known.name.clone());
    }
    let audience = table.text("audience");
    if let Some(audience) = &audience
        && (audience.value.is_empty() || audience.value.len() > 512 || audience.value.chars().any(char::is_control))
    {
        table.mistake(audience.span.clone(), "`audience` must be what the issuer puts into `aud` for this service");
    }
    let schemes = schemes(&table);
    let scopes = scopes(&table);
    let owner_claim = table.text("owner_claim");
    let nonces = if table.flag("dpop_nonces") { Nonces::Demanded } else { Nonces::NotAsked };
    let forwarded = if table.flag("danger_forward_token") { Forwarded::AsItCame } else { Forwarded::Never };
    let agents: Vec<Option<AgentRule>> =
        table.tables("agent", "[[service.tokens.agent]]").into_iter().map(|one| agent(one, &providers)).collect();
    if nonces == Nonces::Demanded && !schemes.contains(&Scheme::Dpop) {
        table.mistake(table.span(), "`dpop_nonces` asks for something that no token of these `schemes` has");
    }
    let certificates = asks.names(&table, "client_certificates", origin);
    table.finish();
    let agents: Vec<AgentRule> = agents.into_iter().collect::<Option<_>>()?;
    if providers.is_empty() {
        return None;
    }
    let audience = match audience {
        Some(at) => at.value,
        None => origin?.origin().ascii_serialization(),
    };
    let owner_claim = owner_claim.map(|at| at.value);
    let accepted =
        Accepted { providers, audience, schemes, scopes, owner_claim, agents, nonces, certificates, forwarded };
    Some(Arc::new(TokenRules::new(accepted)))
}

fn issuer<'i>(table: &Table<'_>, at: &At<String>, issuers: Option<&'i [Issues]>) -> Option<&'i Issues> {
    // Providers that could not be read were told already.
    let issuers = issuers?;
    let found = issuers.iter().find(|one| one.name.as_str() == at.value);
    if found.is_none() {
        table.mistake(at.span.clone(), format!("there is no [[provider]] {}", at.value));
    }
    found
}

fn schemes(table: &Table<'_>) -> Vec<Scheme> {
    let mut schemes = Vec::new();
    for at in table.texts("schemes") {
        match at.value.as_str() {
            "bearer" => schemes.push(Scheme::Bearer),
            "dpop" => schemes.push(Scheme::Dpop),
            other => table.mistake(at.span, format!("\"{other}\" is not spoken: bearer and dpop are")),
        }
    }
    schemes.sort_unstable();
    schemes.dedup();
    if schemes.is_empty() { vec![Scheme::Bearer, Scheme::Dpop] } else { schemes }
}

fn agent(table: Table<'_>, providers: &[ProviderName]) -> Option<AgentRule> {
    let client = table.required("client");
    let named = table.text("provider");
    let mut groups: Vec<String> = table.texts("groups").into_iter().map(|at| at.value).collect();
    groups.sort();
    groups.dedup();
    let provider = match (&named, providers) {
        (Some(at), _) => {
            let found = providers.iter().find(|name| name.as_str() == at.value);
            if found.is_none() {
                table.mistake(at.span.clone(), format!("{} is none of this service's `providers`", at.value));
            }
            found
        }
        (None, [only]) => Some(only),
        (None, _) => {
            table.mistake(
                table.span(),
                "[[service.tokens.agent]] needs `provider` where a service takes tokens of several",
            );
            None
        }
    };
    table.finish();
    Some(AgentRule { provider: provider?.clone(), client: client?.value, groups })
}

/// Reads how a provider is asked about its tokens.
pub(super) fn introspection(
    table: Table<'_>,
    preset: Preset,
    danger_loopback: bool,
    base: &Path,
) -> Option<IntrospectionSettings> {
    let ways = preset.ways();
    if !ways.tells_tokens_apart {
        let message = format!("{} answers for refresh tokens as for access tokens; use its JWTs", ways.title);
        table.mistake(table.span(), message);
    }
    let _ = table.required("url");
    let url = table.parsed("url", "a URL like \"https://id.example/introspect\"", |text| {
        let url = read_url(text, danger_loopback)?;
        if url.fragment().is_some() { Err("it has a fragment".to_owned()) } else { Ok(url) }
    });
    let client_id = table.required("client_id");
    let secret = client_secret(&table, base);
    if secret.is_none() && table.value("client_secret_file").is_none() && table.value("client_secret_env").is_none() {
        table.mistake(table.span(), "[provider.introspection] needs `client_secret_file` or `client_secret_env`");
    }
    let kept_at_most = table.duration("keep_at_most", Duration::ZERO..=KEPT_MAX).unwrap_or(KEPT);
    let token_type = match table.flag("danger_token_type_absent") {
        true => TokenType::DangerAbsent,
        false => TokenType::Said,
    };
    table.finish();
    let (url, client_id, client_secret) = (url?.value, client_id?.value, secret?);
    Some(IntrospectionSettings { url, client_id, client_secret, kept_at_most, token_type })
}
