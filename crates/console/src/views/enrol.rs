use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Frame, PasskeyCall, Said};

/// The first page behind a one-time enrolment link. Looking at it uses nothing up.
#[derive(Debug, Template)]
#[template(path = "enrol_link.html")]
pub struct EnrolLinkPage {
    /// What stands around the page.
    pub frame: Frame,
    /// Who enrols.
    pub person: String,
    /// What can be enrolled, in words.
    pub kinds: String,
    /// Where the form goes that uses the link up.
    pub action: String,
}

/// The factors to choose from, and those that are there.
#[derive(Debug, Template)]
#[template(path = "enrol.html")]
pub struct EnrolPage {
    /// What stands around the page.
    pub frame: Frame,
    /// The names of what is enrolled already.
    pub enrolled: Vec<String>,
    /// The factors to choose from, the recommended one first.
    pub choices: Vec<FactorChoice>,
    /// Whether something is there that a person can sign in with: only then it can be finished.
    pub can_sign_in: bool,
    /// Where finishing goes.
    pub end_action: String,
    /// What the last step led to.
    pub said: Option<Said>,
}

/// A factor to choose.
#[derive(Debug, Clone)]
pub struct FactorChoice {
    /// Its name.
    pub name: String,
    /// What it is, in a sentence.
    pub text: String,
    /// Where the choice leads.
    pub href: String,
    /// Whether it is the one we would take.
    pub is_recommended: bool,
}

/// Making a passkey.
#[derive(Debug, Template)]
#[template(path = "enrol_passkey.html")]
pub struct EnrolPasskeyPage {
    /// What stands around the page.
    pub frame: Frame,
    /// Where the form goes.
    pub action: String,
    /// The creation call.
    pub passkey: PasskeyCall,
    /// The host that the passkey will answer to.
    pub relying_party: String,
    /// A name to start from.
    pub suggested_name: String,
    /// The way back.
    pub back: String,
    /// What the last try led to.
    pub said: Option<Said>,
}

/// Adding an authenticator app.
#[derive(Template)]
#[template(path = "enrol_totp.html")]
pub struct EnrolTotpPage {
    /// What stands around the page.
    pub frame: Frame,
    /// Where the form goes.
    pub action: String,
    /// The provisioning URI as a picture.
    pub qr: QrCode,
    /// The provisioning URI itself, for an app on the device that shows the page.
    pub uri: String,
    /// The account name that the app will show.
    pub account: String,
    /// The secret in base32, in groups.
    pub secret_text: String,
    /// The way back.
    pub back: String,
    /// What the last try led to.
    pub said: Option<Said>,
}

// The secret is in it.
impl std::fmt::Debug for EnrolTotpPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolTotpPage").field("account", &self.account).finish_non_exhaustive()
    }
}

/// Activating a hardware token that was handed out.
#[derive(Debug, Template)]
#[template(path = "enrol_token.html")]
pub struct EnrolTokenPage {
    /// What stands around the page.
    pub frame: Frame,
    /// Where the form goes.
    pub action: String,
    /// The tokens that wait for it, by the ends of their serial numbers.
    pub tokens: Vec<String>,
    /// The way back.
    pub back: String,
    /// What the last try led to.
    pub said: Option<Said>,
}

/// Adding an address to which codes are sent.
#[derive(Debug, Template)]
#[template(path = "enrol_address.html")]
pub struct EnrolAddressPage {
    /// What stands around the page.
    pub frame: Frame,
    /// `Add an e-mail address`.
    pub heading: String,
    /// What such a code is worth, in a sentence.
    pub worth: String,
    /// Where the forms go.
    pub action: String,
    /// What is asked now.
    pub step: AddressStep,
    /// The way back.
    pub back: String,
    /// What the last try led to.
    pub said: Option<Said>,
}

/// What is asked of somebody who adds an address.
#[derive(Debug, Clone)]
pub enum AddressStep {
    /// The address itself, with a hint of its form.
    Type(String),
    /// That a code is sent there.
    Send(String),
    /// The code that was sent there.
    Code(String),
}

/// A QR code as an SVG document.
///
/// It is shown as an image, never as markup of the page, so nothing in it can run.
#[derive(Clone)]
pub struct QrCode {
    svg: String,
}

impl QrCode {
    /// From the text of an SVG document.
    #[must_use]
    pub fn from_svg(svg: String) -> Self {
        Self { svg }
    }

    pub(super) fn as_data_url(&self) -> String {
        format!("data:image/svg+xml;base64,{}", STANDARD.encode(&self.svg))
    }
}

// The picture is the secret.
impl std::fmt::Debug for QrCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QrCode(…)")
    }
}

/// Setting or changing a password.
#[derive(Debug, Template)]
#[template(path = "enrol_password.html")]
pub struct EnrolPasswordPage {
    /// What stands around the page.
    pub frame: Frame,
    /// `Set a password` or `Change your password`.
    pub heading: String,
    /// Where the form goes.
    pub action: String,
    /// The name that a password manager should keep it under.
    pub username: String,
    /// Shorter ones are not sent. The factor judges; it may want more.
    pub minimum_length: usize,
    /// What a good one is, in a sentence or two.
    pub advice: String,
    /// The way back.
    pub back: String,
    /// What the last try led to.
    pub said: Option<Said>,
}

/// Recovery codes, shown once.
#[derive(Template)]
#[template(path = "recovery_codes.html")]
pub struct RecoveryCodesPage {
    /// What stands around the page.
    pub frame: Frame,
    /// The codes.
    pub codes: Vec<String>,
    /// Where the form goes that says that they are kept.
    pub action: String,
}

// The codes are secrets.
impl std::fmt::Debug for RecoveryCodesPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecoveryCodesPage").field("codes", &self.codes.len()).finish_non_exhaustive()
    }
}
