use askama::Template;

use super::{Frame, Input, PasskeyCall, QrCode, Reason, Said, ServiceView};
use crate::words::Moment;

/// The page of an approver device: what it is asked, or that it is asked nothing.
#[derive(Debug, Template)]
#[template(path = "approver.html")]
pub struct ApproverPage {
    /// What stands around the page.
    pub frame: Frame,
    /// Whose device it is.
    pub person: String,
    /// What the person called it.
    pub device: String,
    /// What is asked, if anything.
    pub question: Option<DeviceQuestion>,
    /// What it was asked last, a short while ago, if it is asked nothing.
    pub last: Option<LastQuestion>,
    /// What to look at for what is asked next.
    pub watch: String,
    /// The key that the device can be woken with, in base64url, where it can be.
    pub web_push: Option<String>,
    /// What the last answer led to.
    pub said: Option<Said>,
}

/// What a device is asked.
#[derive(Debug, Clone)]
pub struct DeviceQuestion {
    /// The challenge's id.
    pub id: String,
    /// The service that the operation is for.
    pub service: ServiceView,
    /// The operation in plain words.
    pub title: String,
    /// What the operation takes and the title does not say.
    pub inputs: Vec<Input>,
    /// Why the person is asked.
    pub reasons: Vec<Reason>,
    /// The browser or program that asked, in words.
    pub asker: String,
    /// Since when it is signed in, and whether it was seen before, in words.
    pub since: Option<String>,
    /// Where from, in words.
    pub place: String,
    /// When.
    pub asked: Moment,
    /// When it closes here.
    pub expires: Moment,
    /// The same as a span from now.
    pub expires_in: String,
    /// Digits of the number that the asking screen shows.
    pub digits: usize,
    /// The passkey call, where the device signs.
    pub passkey: Option<PasskeyCall>,
    /// Whether an approval here does for it.
    pub suffices: bool,
    /// SHA-256 of what is confirmed, in groups.
    pub statement_digest: Option<String>,
}

/// What a device was asked a short while ago.
#[derive(Debug, Clone)]
pub struct LastQuestion {
    /// The challenge's id.
    pub id: String,
    /// The service that the operation was for.
    pub service: ServiceView,
    /// The operation in plain words.
    pub title: String,
    /// When it was asked.
    pub asked: Moment,
    /// What became of it, in words.
    pub became: &'static str,
}

/// The page that invites a device.
#[derive(Debug, Template)]
#[template(path = "approver_invited.html")]
pub struct ApproverInvitedPage {
    /// What stands around the page.
    pub frame: Frame,
    /// Whose device it is going to be.
    pub person: String,
    /// The gate's host.
    pub host: String,
    /// Where the form goes that uses the link up.
    pub action: String,
}

/// A device that is being enrolled.
#[derive(Debug, Template)]
#[template(path = "approver_enrol.html")]
pub struct ApproverEnrolPage {
    /// What stands around the page.
    pub frame: Frame,
    /// Whose device it is going to be.
    pub person: String,
    /// The passkey call, until it was made or done without.
    pub passkey: Option<PasskeyCall>,
    /// The number to type where the enrolment was begun, in groups, from then on.
    pub number: Option<String>,
    /// What to look at for the end of it.
    pub watch: Option<String>,
    /// What the last step led to.
    pub said: Option<Said>,
}

/// The page on which an approver device is added, in the browser of the person.
#[derive(Debug, Template)]
#[template(path = "enrol_device.html")]
pub struct EnrolDevicePage {
    /// What stands around the page.
    pub frame: Frame,
    /// What to scan, until a device has followed the link.
    pub qr: Option<QrCode>,
    /// The link itself.
    pub url: String,
    /// Where the number goes.
    pub action: String,
    /// The way back.
    pub back: String,
    /// What the last step led to.
    pub said: Option<Said>,
}
