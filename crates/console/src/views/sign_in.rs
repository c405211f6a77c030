use askama::Template;

use super::{Frame, PasskeyCall, Said};

/// Signing in, by passkey or by name and password.
#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    /// What stands around the page.
    pub frame: Frame,
    /// Where the person goes on to.
    pub destination: Option<Destination>,
    /// The place of ours to go on to, carried through the form.
    pub next: Option<String>,
    /// The challenge that waits for this sign-in, carried through the form.
    pub continues: Option<String>,
    /// Where the password form goes.
    pub action: String,
    /// The name typed before, shown again after a mistake.
    pub name: String,
    /// Who this browser is signed in as already; signing in replaces them.
    pub signed_in_as: Option<String>,
    /// The discoverable passkey call, where passkeys are in use.
    pub passkey: Option<PasskeyCall>,
    /// The identity providers where people sign in.
    pub logins: Vec<ProviderButton>,
    /// What the last try led to.
    pub said: Option<Said>,
}

/// An identity provider to sign in at, or to answer a challenge at.
#[derive(Debug, Clone)]
pub struct ProviderButton {
    /// Its name, as forms send it.
    pub name: String,
    /// What people call it.
    pub title: String,
}

impl ProviderButton {
    pub(crate) fn new(name: &impl ToString, title: &str) -> Self {
        Self { name: name.to_string(), title: title.to_owned() }
    }
}

/// Leads to an identity provider, without a form: browsers would apply the form's rules to
/// wherever the provider leads on to.
#[derive(Debug, Template)]
#[template(path = "away.html")]
pub struct AwayPage {
    /// What stands around the page.
    pub frame: Frame,
    /// What people call the provider.
    pub provider: String,
    /// Where it is.
    pub url: String,
    /// Whether it is asked to confirm something, rather than who somebody is.
    pub confirms: bool,
}

/// The service that the person goes on to.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name for people.
    pub name: String,
    /// Its host.
    pub host: String,
}

/// Asks whether to sign out.
#[derive(Debug, Template)]
#[template(path = "sign_out.html")]
pub struct SignOutPage {
    /// What stands around the page.
    pub frame: Frame,
    /// Where the form goes.
    pub action: String,
}
