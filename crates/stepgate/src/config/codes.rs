//! `[mail]` and `[codes]`: what is sent to people, and how.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stepgate_core::factor::{FactorKind, Strength};
use stepgate_core::flows::CodeLimits;
use stepgate_courier::Security;
use stepgate_identity::http::Reach;
use url::Url;

use super::read::Table;

const MINUTE: Duration = Duration::from_secs(60);

/// Codes that are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeSettings {
    /// How many, and for how long.
    pub limits: CodeLimits,
    /// Whether codes are sent by mail.
    pub email: bool,
    /// Codes to phones, if a gateway sends them.
    pub phone: Option<PhoneSettings>,
}

impl CodeSettings {
    /// The kinds of factors whose codes are sent, as each counts here.
    pub fn kinds(&self) -> Vec<FactorKind> {
        let phone = self.phone.as_ref().map(|phone| FactorKind::PhoneCode(phone.counts_as));
        self.email.then_some(FactorKind::EmailCode).into_iter().chain(phone).collect()
    }
}

/// A gateway to telephones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneSettings {
    /// Where codes are posted.
    pub webhook: Url,
    /// The file with the secret that signs them.
    pub secret: PathBuf,
    /// What a code to a phone counts as.
    pub counts_as: Strength,
    /// How far the gateway may be.
    pub reach: Reach,
}

/// A mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailServer {
    /// Its name.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub security: Security,
    /// The file with the certificates that alone are believed.
    pub ca: Option<PathBuf>,
    /// The account there, and the file with its password.
    pub account: Option<(String, PathBuf)>,
    /// The sender.
    pub from: String,
}

/// Reads `[mail]`.
pub(super) fn mail(table: Table<'_>, base: &Path) -> Option<MailServer> {
    let _ = (table.required("server"), table.required("from"));
    let is_name = |text: &str| {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if !text.is_empty() && text.bytes().all(sign) { Ok(text.to_owned()) } else { Err("not a name") }
    };
    let server = table.parsed("server", "the name of a mail server", is_name);
    let from = table.text("from");
    let danger_plaintext = table.flag("danger_plaintext");
    let read = |text: &str| match text {
        "starttls" => Ok(Security::StartTls),
        "tls" => Ok(Security::Tls),
        _ => Err("no such security"),
    };
    let security = table.parsed("security", "`starttls` or `tls`", read).map_or(Security::StartTls, |at| at.value);
    let security = if danger_plaintext { Security::DangerPlain } else { security };
    if let Some(server) = &server
        && danger_plaintext
        && !["localhost", "127.0.0.1", "::1"].contains(&server.value.as_str())
    {
        table.mistake(server.span.clone(), "mail goes in plain to this machine only: take `danger_plaintext` away");
    }
    let port = table.number("port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
    let port = port.unwrap_or(if security == Security::Tls { 465 } else { 587 });
    let ca = table.text("ca").map(|at| base.join(at.value));
    let account = match (table.text("username"), table.text("password_file")) {
        (Some(name), Some(file)) => Some((name.value, base.join(file.value))),
        (None, None) => None,
        (Some(at), None) | (None, Some(at)) => {
            table.mistake(at.span, "`username` and `password_file` go together");
            None
        }
    };
    table.finish();
    Some(MailServer { server: server?.value, port, security, ca, account, from: from?.value })
}

/// Reads `[codes]`.
pub(super) fn codes(table: Table<'_>, base: &Path, has_mail: bool) -> CodeSettings {
    let default = CodeLimits::default();
    let per_hour = table.number("per_hour", 1..=60).and_then(|number| u32::try_from(number).ok());
    let limits = CodeLimits {
        per_hour: per_hour.unwrap_or(default.per_hour),
        // SP 800-63B-4 section 3.1.3: ten minutes at most.
        lifetime: table.duration("lifetime", MINUTE..=10 * MINUTE).unwrap_or(default.lifetime),
    };
    let email = table.table("email").is_some_and(|email| {
        if !has_mail {
            table.mistake(email.span(), "[codes.email] needs [mail]: what sends the codes");
        }
        email.finish();
        true
    });
    let phone = table.table("phone").and_then(|phone_table| phone(phone_table, base));
    table.finish();
    CodeSettings { limits, email, phone }
}

fn phone(table: Table<'_>, base: &Path) -> Option<PhoneSettings> {
    let _ = (table.required("webhook"), table.required("secret_file"));
    let (private, loopback) = (table.flag("private_webhook"), table.flag("danger_loopback"));
    let reach = match (loopback, private) {
        (true, _) => Reach::DangerLoopback,
        (false, true) => Reach::Network,
        (false, false) => Reach::Public,
    };
    let url = |text: &str| {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        reach.check(&url).map_err(|error| error.to_string())?;
        Ok::<_, String>(url)
    };
    let webhook = table.parsed("webhook", "an https URL", url);
    let secret = table.text("secret_file").map(|at| base.join(at.value));
    let mut counts_as = Strength::NONE;
    for name in table.texts("counts_as") {
        match name.value.as_str() {
            "second_factor" => counts_as = counts_as.and(Strength::SECOND_FACTOR),
            "possession" => counts_as = counts_as.and(Strength::POSSESSION),
            other => {
                let expected = "second_factor or possession is expected";
                table.mistake(name.span, format!("a code to a phone does not count as \"{other}\": {expected}"));
            }
        }
    }
    table.finish();
    Some(PhoneSettings { webhook: webhook?.value, secret: secret?, counts_as, reach })
}
