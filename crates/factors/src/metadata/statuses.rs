//! What was reported of a model (FIDO Metadata Service 3.1, section 3.1.3 and 3.1.4).

use std::collections::BTreeSet;

use serde::Deserialize;

/// What makes a model not believed, unless the configuration says otherwise; what is worst comes first.
pub const REFUSED_STATUSES: [&str; 5] = [
    "REVOKED",
    "USER_KEY_REMOTE_COMPROMISE",
    "USER_VERIFICATION_BYPASS",
    "ATTESTATION_KEY_COMPROMISE",
    "USER_KEY_PHYSICAL_COMPROMISE",
];

/// What else may be reported. New ones may come: they are kept as they are.
const OTHER_STATUSES: [&str; 13] = [
    "NOT_FIDO_CERTIFIED",
    "FIDO_CERTIFIED",
    "FIDO_CERTIFIED_L1",
    "FIDO_CERTIFIED_L1plus",
    "FIDO_CERTIFIED_L2",
    "FIDO_CERTIFIED_L2plus",
    "FIDO_CERTIFIED_L3",
    "FIDO_CERTIFIED_L3plus",
    "FIPS140_CERTIFIED_L1",
    "UPDATE_AVAILABLE",
    "SELF_ASSERTION_SUBMITTED",
    "RETIRED",
    "unknown",
];

/// Whether this is a status that a list may report.
pub fn is_status(text: &str) -> bool {
    REFUSED_STATUSES.contains(&text) || OTHER_STATUSES.contains(&text)
}

/// One report.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) status: String,
    /// `2026-01-31`; reports without one are older than all others.
    pub(super) effective_date: Option<String>,
}

/// The reports, oldest first; those of one day in their order.
fn in_order(reports: &[Report]) -> Vec<&Report> {
    let mut reports: Vec<&Report> = reports.iter().collect();
    reports.sort_by(|a, b| a.effective_date.cmp(&b.effective_date));
    reports
}

/// The status that counts, and whether the model is refused for it. Which of a model's makings a passkey is of, nobody
/// knows, so an update that came later takes nothing back.
pub(super) fn status<'r>(reports: &'r [Report], refused: &BTreeSet<String>) -> (&'r str, bool) {
    let reports = in_order(reports);
    let against = |report: &&&Report| refused.contains(&report.status);
    let worst = |report: &&&Report| {
        REFUSED_STATUSES.iter().position(|one| *one == report.status).unwrap_or(REFUSED_STATUSES.len())
    };
    match (reports.iter().filter(against).min_by_key(worst), reports.last()) {
        (Some(report), _) => (&report.status, true),
        (None, Some(latest)) => (&latest.status, false),
        (None, None) => ("unknown", false),
    }
}

/// The level that the model is certified for; 0 if it is not, or not any more.
pub(super) fn level(reports: &[Report]) -> u8 {
    in_order(reports).into_iter().fold(0, |level, report| match report.status.as_str() {
        "NOT_FIDO_CERTIFIED" | "REVOKED" => 0,
        "FIDO_CERTIFIED" | "FIDO_CERTIFIED_L1" | "FIDO_CERTIFIED_L1plus" => level.max(1),
        "FIDO_CERTIFIED_L2" | "FIDO_CERTIFIED_L2plus" => level.max(2),
        "FIDO_CERTIFIED_L3" | "FIDO_CERTIFIED_L3plus" => level.max(3),
        _ => level,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports(list: &[(&str, &str)]) -> Vec<Report> {
        let one = |(date, status): &(&str, &str)| Report {
            status: (*status).to_owned(),
            effective_date: (!date.is_empty()).then(|| (*date).to_owned()),
        };
        list.iter().map(one).collect()
    }

    #[test]
    fn what_counts_against_a_model_counts_whatever_came_later() {
        let refused: BTreeSet<String> = REFUSED_STATUSES.map(str::to_owned).into();
        for (list, expected) in [
            (&[][..], ("unknown", false, 0)),
            (&[("2024-01-01", "FIDO_CERTIFIED_L1")][..], ("FIDO_CERTIFIED_L1", false, 1)),
            (
                &[("2025-01-01", "FIDO_CERTIFIED_L2"), ("2024-01-01", "FIDO_CERTIFIED_L1")][..],
                ("FIDO_CERTIFIED_L2", false, 2),
            ),
            (
                &[("2024-01-01", "FIDO_CERTIFIED_L3plus"), ("2025-01-01", "NOT_FIDO_CERTIFIED")][..],
                ("NOT_FIDO_CERTIFIED", false, 0),
            ),
            (
                &[("2024-01-01", "USER_VERIFICATION_BYPASS"), ("2025-01-01", "UPDATE_AVAILABLE")][..],
                ("USER_VERIFICATION_BYPASS", true, 0),
            ),
            (
                &[("2024-01-01", "USER_KEY_PHYSICAL_COMPROMISE"), ("2024-02-01", "REVOKED"), ("", "FIDO_CERTIFIED")][..],
                ("REVOKED", true, 0),
            ),
            (&[("2026-01-01", "SOMETHING_NEW")][..], ("SOMETHING_NEW", false, 0)),
        ] {
            let list = reports(list);
            let (name, is_refused) = status(&list, &refused);
            assert_eq!((name, is_refused, level(&list)), expected);
        }
        // What is refused is the configuration's to say.
        let list = reports(&[("2024-01-01", "REVOKED")]);
        assert_eq!(status(&list, &BTreeSet::new()), ("REVOKED", false));
    }
}
