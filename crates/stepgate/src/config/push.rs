//! `[push]`: approving on devices.

use stepgate_core::flows::PushLimits;
use stepgate_identity::http::Reach;
use url::Url;

use super::read::Table;

/// Approving on devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSettings {
    /// How often, and by how long a number.
    pub limits: PushLimits,
    /// How devices are woken; `None`: they look by themselves.
    pub web_push: Option<WebPushSettings>,
}

/// How devices are woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebPushSettings {
    /// Whom a push service can ask about this gate (RFC 8292, section 2.1).
    pub contact: String,
    /// How far push services are called. Devices name them, so no further than has to be.
    pub reach: Reach,
}

/// Reads `[push]`. `host` is the gate's.
pub(super) fn push(table: Table<'_>, host: &str) -> PushSettings {
    let default = PushLimits::default();
    let per_hour = table.number("per_hour", 1..=100).and_then(|number| u32::try_from(number).ok());
    let limits = PushLimits {
        per_hour: per_hour.unwrap_or(default.per_hour),
        short_number_when_signed: table.flag("short_number_when_signed"),
    };
    let is_off = table.value("web_push").is_some() && !table.flag("web_push");
    let contact = table.parsed("contact", "a URL like \"mailto:security@example.com\"", contact);
    let (private, loopback) = (table.flag("private_push_services"), table.flag("danger_loopback"));
    let reach = match (loopback, private) {
        (true, _) => Reach::DangerLoopback,
        (false, true) => Reach::Network,
        (false, false) => Reach::Public,
    };
    table.finish();
    let contact = contact.map_or_else(|| format!("https://{host}"), |at| at.value);
    PushSettings { limits, web_push: (!is_off).then_some(WebPushSettings { contact, reach }) }
}

fn contact(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "mailto" | "https") => Ok(text.to_owned()),
        _ => Err("it begins with mailto: or https:".to_owned()),
    }
}
