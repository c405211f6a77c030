//! ArcSight Common Event Format: a header of seven fields and an extension of `key=value`.
//!
//! In the header `\` and `|` are escaped, in values `\`, `=` and ends of lines (Implementing ArcSight CEF, revision 25,
//! "Character Encoding"). A line can therefore not be forged, nor a field put into it.

use crate::fact::{Outcome, Severity};
use crate::record::Record;

use super::{kind, obeyed};

/// Longest value, in characters: most fields of the dictionary take 1,023.
const VALUE_MAX: usize = 1_000;

pub(super) fn line(record: &Record, gate: &str) -> Result<String, serde_json::Error> {
    let (entry, fact) = (&record.recorded.entry, record.fact());
    let kind = kind(record)?;
    let name = entry.sentence();
    let mut line = format!(
        "CEF:0|Stepgate|Stepgate|{}|{}|{}|{}|",
        header(env!("CARGO_PKG_VERSION")),
        header(&kind),
        header(&name),
        severity(fact.severity)
    );
    let mut extension = Extension { line: &mut line, is_first: true };
    extension.put("rt", &entry.at_ms.to_string());
    extension.put("externalId", &entry.id);
    extension.put("dvchost", gate);
    extension.put("suid", fact.person);
    extension.put("suser", record.login.as_deref().unwrap_or_default());
    extension.put("src", record.address().filter(|address| is_v4(address)).unwrap_or_default());
    extension.put("requestClientApplication", record.user_agent().unwrap_or_default());
    extension.put("sourceServiceName", fact.agent);
    extension.put("duser", fact.by);
    if let Some(asked) = fact.asked {
        extension.put("destinationServiceName", &asked.service);
        extension.put("act", &asked.action);
        extension.put("request", &asked.resource);
    }
    extension.put("outcome", super::native::outcome(fact.outcome));
    extension.put("reason", fact.reason);
    if fact.count > 1 {
        extension.put("cnt", &fact.count.to_string());
    }
    extension.label("cs1", "policies", &fact.policies.join(" "));
    extension.label("cs2", "challenge", fact.challenge);
    extension.label("cs3", "session", fact.session);
    extension.label("cs4", "factor", fact.factor);
    extension.label("cs5", "policyVersion", fact.policy_version);
    extension.label("cs6", "request", fact.request);
    extension.label("cn1", "ledgerIndex", &record.recorded.index.to_string());
    if let Some(status) = fact.status {
        extension.label("cn2", "upstreamStatus", &status.to_string());
    }
    extension.label("c6a2", "source IPv6 address", record.address().filter(|text| !is_v4(text)).unwrap_or_default());
    extension.put("fname", fact.thing);
    if fact.outcome == Outcome::Failure {
        extension.put("cat", "failure");
    }
    Ok(line)
}

/// `src` is an IPv4 address; others have a field of their own.
fn is_v4(address: &str) -> bool {
    address.parse::<std::net::Ipv4Addr>().is_ok()
}

/// 0 to 10.
const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Informational => 1,
        Severity::Low => 4,
        Severity::Medium => 6,
        Severity::High => 8,
    }
}

struct Extension<'l> {
    line: &'l mut String,
    is_first: bool,
}

impl Extension<'_> {
    fn put(&mut self, key: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        if !std::mem::take(&mut self.is_first) {
            self.line.push(' ');
        }
        self.line.push_str(key);
        self.line.push('=');
        for c in text.chars().take(VALUE_MAX) {
            match c {
                '\\' => self.line.push_str("\\\\"),
                '=' => self.line.push_str("\\="),
                '\n' => self.line.push_str("\\n"),
                '\r' => self.line.push_str("\\r"),
                c if obeyed(c) => self.line.push('·'),
                c => self.line.push(c),
            }
        }
    }

    fn label(&mut self, key: &str, label: &str, text: &str) {
        if !text.is_empty() {
            self.put(&format!("{key}Label"), label);
            self.put(key, text);
        }
    }
}

fn header(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().take(VALUE_MAX) {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '|' => escaped.push_str("\\|"),
            c if obeyed(c) => escaped.push('·'),
            c => escaped.push(c),
        }
    }
    escaped
}
