//! Policies are `*.cedar` files beside the configuration, added to the built-in ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stepgate_core::factor::{ApproverDevice, FactorKind};
use stepgate_core::policy::{Policies, PolicyMistake, PolicySource};
use stepgate_core::surroundings::Geography;

use crate::config::{
    DENIED_REGIONS_POLICIES, FACTOR_POLICIES, FACTOR_POLICIES_BY_COMPANY_LOGIN, GATE_POLICIES, Settings,
};

/// The name under which the built-in policies stand in messages.
const BUILT_IN: &str = "(built in) stepgate.cedar";

/// What is wrong with the policies: all of it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the policies have {} mistake{}; nothing was loaded", of.len(), if of.len() == 1 { "" } else { "s" })]
pub struct PolicyErrors {
    /// Each mistake, with its place.
    #[related]
    pub of: Vec<PolicyError>,
}

/// One mistake in a policy.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
pub struct PolicyError {
    message: String,
    #[source_code]
    text: miette::NamedSource<Arc<str>>,
    #[label("here")]
    span: miette::SourceSpan,
}

impl PolicyErrors {
    fn new(mistakes: Vec<PolicyMistake>, sources: &[PolicySource]) -> Self {
        let of = mistakes
            .into_iter()
            .map(|mistake| {
                let text = sources.iter().find(|source| source.name == mistake.source_name);
                let text = text.map(|source| source.text.as_str()).unwrap_or_default();
                PolicyError {
                    text: miette::NamedSource::new(&mistake.source_name, Arc::from(text)),
                    span: (mistake.span.start, mistake.span.len()).into(),
                    message: format!(
                        "{}:{}:{}: {}",
                        mistake.source_name, mistake.line, mistake.column, mistake.message
                    ),
                }
            })
            .collect();
        Self { of }
    }

    fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let message = format!("{} cannot be read: {error}", path.display());
        let text = miette::NamedSource::new(path.display().to_string(), Arc::from(""));
        Self { of: vec![PolicyError { message, text, span: (0, 0).into() }] }
    }
}

/// The `*.cedar` files of a directory, by name.
pub fn policy_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The built-in policies. A company login adds a first factor only where that is allowed, and regions are denied
/// only where some are named.
pub fn built_in(company_login_enrols: bool, regions_denied: bool) -> Vec<PolicySource> {
    let factors = if company_login_enrols {
        ("(built in) factors-by-company-login.cedar", FACTOR_POLICIES_BY_COMPANY_LOGIN)
    } else {
        ("(built in) factors.cedar", FACTOR_POLICIES)
    };
    let regions = regions_denied.then_some(("(built in) denied-regions.cedar", DENIED_REGIONS_POLICIES));
    [(BUILT_IN, GATE_POLICIES), factors]
        .into_iter()
        .chain(regions)
        .map(|(name, text)| PolicySource { name: name.to_owned(), text: text.to_owned() })
        .collect()
}

/// The kinds of factors that a gate with this configuration verifies.
pub(crate) fn verified(settings: &Settings) -> Vec<FactorKind> {
    let mut kinds: Vec<FactorKind> = FactorKind::BUILT_IN.into_iter().chain(settings.codes.kinds()).collect();
    if settings.hardware.is_some() {
        kinds.push(FactorKind::Hotp);
    }
    if settings.push.is_some() {
        kinds.extend([ApproverDevice::OUT_OF_BAND, ApproverDevice::SIGNING]);
    }
    kinds
}

/// Loads the built-in policies and those beside the configuration.
pub fn load_policies(settings: &Settings) -> Result<Policies, PolicyErrors> {
    load_policies_verifying(settings, verified(settings))
}

/// The same for a gate that verifies these kinds of factors, whatever the configuration says by now.
pub(super) fn load_policies_verifying(
    settings: &Settings,
    verified: impl IntoIterator<Item = FactorKind>,
) -> Result<Policies, PolicyErrors> {
    load_sources(settings, read_sources(&settings.policies)?, verified)
}

/// The texts of a directory's policies.
pub(crate) fn read_sources(directory: &Path) -> Result<Vec<PolicySource>, PolicyErrors> {
    let files = policy_files(directory).map_err(|error| PolicyErrors::unreadable(directory, &error))?;
    files.iter().map(|path| read_source(path)).collect()
}

/// The text of one file of policies.
pub(crate) fn read_source(path: &Path) -> Result<PolicySource, PolicyErrors> {
    let text = std::fs::read_to_string(path).map_err(|error| PolicyErrors::unreadable(path, &error))?;
    Ok(PolicySource { name: path.display().to_string(), text })
}

/// Loads the built-in policies and these, for a gate that verifies these kinds of factors.
pub(crate) fn load_sources(
    settings: &Settings,
    own: Vec<PolicySource>,
    verified: impl IntoIterator<Item = FactorKind>,
) -> Result<Policies, PolicyErrors> {
    let mut sources = built_in(settings.company_login_enrols, !settings.denied_regions.is_empty());
    sources.extend(own);
    let providers: Vec<_> = settings.providers.iter().map(|checked| checked.provider().clone()).collect();
    let environment = settings.environment(Geography::default());
    Policies::load_in(&settings.catalogue, &sources, &environment)
        .map(|policies| policies.with_providers(&providers).with_factors(verified))
        .map_err(|mistakes| PolicyErrors::new(mistakes, &sources))
}
