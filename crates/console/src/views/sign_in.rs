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
    /// What the last try led to.
    pub said: Option<Said>,
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
