//! `[passkeys]`: which authenticators may hold one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stepgate_core::factor::Aaguid;
use stepgate_factors::{Demands, REFUSED_STATUSES, is_status};

use super::read::Table;

/// Which authenticators may hold a passkey.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasskeySettings {
    /// Models of authenticators that may be enrolled; empty: any.
    pub allowed_aaguids: Vec<Aaguid>,
    /// Files with the makers' certificates, PEM; empty: none is asked for.
    pub attestation_roots: Vec<PathBuf>,
    /// What is published of models.
    pub metadata: Option<MetadataSettings>,
}

/// What is published of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataSettings {
    /// The signed list.
    pub file: PathBuf,
    /// The certificate that its signature has to lead to, PEM.
    pub root: PathBuf,
    /// Files with revocation lists, PEM.
    pub crls: Vec<PathBuf>,
    /// What is demanded of authenticators that are enrolled.
    pub demands: Demands,
    /// Statuses of models that are not believed.
    pub refused: BTreeSet<String>,
}

pub(super) fn passkeys(table: Table<'_>, base: &Path) -> PasskeySettings {
    let mut allowed_aaguids = Vec::new();
    for at in table.texts("allowed_aaguids") {
        match at.value.parse() {
            Ok(aaguid) => allowed_aaguids.push(aaguid),
            Err(_) => table.mistake(at.span, "an AAGUID is a UUID like \"ee882879-721c-4913-9775-3dfcce97072a\""),
        }
    }
    let roots = table.texts("attestation_roots");
    let metadata = table.table("metadata").and_then(|table| metadata(table, base));
    if let Some(first) = roots.first()
        && allowed_aaguids.is_empty()
    {
        table.mistake(first.span.clone(), "roots are asked for only where `allowed_aaguids` names models");
    }
    table.finish();
    let attestation_roots = roots.into_iter().map(|at| base.join(at.value)).collect();
    PasskeySettings { allowed_aaguids, attestation_roots, metadata }
}

fn metadata(table: Table<'_>, base: &Path) -> Option<MetadataSettings> {
    let (file, root) = (table.required("file"), table.required("root"));
    let crls = table.texts("crls").into_iter().map(|at| base.join(at.value)).collect();
    let level = table.number("certification", 0..=3).and_then(|level| u8::try_from(level).ok()).unwrap_or_default();
    let demands = Demands {
        attestation: table.flag("demand_attestation"),
        level,
        accepts_stale: table.flag("danger_accept_stale"),
    };
    let mut refused: BTreeSet<String> = BTreeSet::new();
    let named = table.texts("refuse");
    for at in &named {
        if !is_status(&at.value) {
            table.mistake(at.span.clone(), "a status of FIDO's metadata is expected, such as \"REVOKED\"");
        }
        refused.insert(at.value.clone());
    }
    if named.is_empty() {
        refused = REFUSED_STATUSES.map(str::to_owned).into();
    }
    table.finish();
    Some(MetadataSettings { file: base.join(file?.value), root: base.join(root?.value), crls, demands, refused })
}
