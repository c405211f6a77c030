use askama::Template;

use super::{Frame, Said, Tone};
use crate::words::Moment;

/// A person's own account: factors, sessions, recent activity.
#[derive(Debug, Template)]
#[template(path = "account.html")]
pub struct AccountPage {
    /// What stands around the page.
    pub frame: Frame,
    /// Whose account it is.
    pub person: PersonView,
    /// The enrolled factors.
    pub factors: Vec<Factor>,
    /// The factors that can be added.
    pub add: Vec<AddFactor>,
    /// Where adding goes.
    pub add_action: String,
    /// The live sessions, this one first.
    pub sessions: Vec<Session>,
    /// The devices that are remembered, this one first.
    pub devices: Vec<Device>,
    /// The longest name of a device, in characters.
    pub device_name_len_max: usize,
    /// Where `sign out everywhere else` goes, if there is anything else.
    pub end_others_action: Option<String>,
    /// What happened lately, the newest first.
    pub activity: Vec<Activity>,
    /// Where more of it is.
    pub more_activity: Option<String>,
    /// Where approvals on devices are allowed again, if they are locked.
    pub unlock_approvals: Option<String>,
    /// Where the evidence is, for those who may see it.
    pub evidence: Option<String>,
    /// What the last step led to.
    pub said: Option<Said>,
}

/// A person.
#[derive(Debug, Clone)]
pub struct PersonView {
    /// The name to show.
    pub name: String,
    /// The e-mail address; may be empty.
    pub email: String,
}

/// An enrolled factor.
#[derive(Debug, Clone)]
pub struct Factor {
    /// The name that the person gave it.
    pub name: String,
    /// What it is, such as `passkey`.
    pub kind: String,
    /// What else is known, such as `backed up`.
    pub notes: Vec<String>,
    /// When it was added.
    pub added: Moment,
    /// When it was last used.
    pub last_used: Option<Moment>,
    /// From where, as it follows `from`.
    pub last_used_from: Option<String>,
    /// The kind to enrol anew in its place, if it is replaced rather than added to.
    pub replace_kind: Option<String>,
    /// Where removing it goes, if it can be removed.
    pub remove_action: Option<String>,
}

/// A factor that can be added.
#[derive(Debug, Clone)]
pub struct AddFactor {
    /// What the button says.
    pub text: String,
    /// The kind.
    pub kind: String,
}

/// A live session.
#[derive(Debug, Clone)]
pub struct Session {
    /// The browser and system, in words.
    pub device: String,
    /// Its network address or place.
    pub place: String,
    /// When it began.
    pub since: Moment,
    /// When it was last seen.
    pub last_seen: Moment,
    /// Whether it is the one that shows this page.
    pub is_this: bool,
    /// Where ending it goes.
    pub end_action: String,
}

/// A device that is remembered.
#[derive(Debug, Clone)]
pub struct Device {
    /// The browser and system, in words.
    pub what: String,
    /// What the person calls it; may be empty.
    pub name: String,
    /// The first sign-in.
    pub first_seen: Moment,
    /// The last one.
    pub last_used: Moment,
    /// Whether it is the one that shows this page.
    pub is_this: bool,
    /// Where naming it goes.
    pub name_action: String,
    /// Where forgetting it goes.
    pub forget_action: String,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Activity {
    /// In a few words.
    pub what: String,
    /// Where and how.
    pub detail: String,
    /// When.
    pub at: Moment,
    /// How it is coloured.
    pub tone: Tone,
}

/// All of one's own recent activity.
#[derive(Debug, Template)]
#[template(path = "activity.html")]
pub struct ActivityPage {
    /// What stands around the page.
    pub frame: Frame,
    /// What happened, the newest first.
    pub activity: Vec<Activity>,
    /// Where older activity is.
    pub older: Option<String>,
}
