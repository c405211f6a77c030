//! What each page shows, as values. A view holds words that are ready to be
//! read; it decides nothing.

mod account;
mod approver;
mod challenge;
mod enrol;
mod evidence;
mod outcome;
mod sign_in;

pub use account::{AccountPage, Activity, ActivityPage, AddFactor, Device, Factor, PersonView, Session};
pub use approver::{
    ApproverEnrolPage, ApproverInvitedPage, ApproverPage, DeviceQuestion, EnrolDevicePage, LastQuestion,
};
pub use challenge::{
    Asker, ChallengePage, CodeOffer, Grant, Input, LockedFactor, MissingFactor, NumberMatch, Offers, OnDevices,
    PushOffer, Reason, Sent, SentOffer, SentTo, ServiceView, Step, StepState, Technical,
};
pub use enrol::{
    AddressStep, EnrolAddressPage, EnrolLinkPage, EnrolPage, EnrolPasskeyPage, EnrolPasswordPage, EnrolTokenPage,
    EnrolTotpPage, FactorChoice, QrCode, RecoveryCodesPage,
};
pub use evidence::{Choice, EvidenceEntry, EvidenceForm, EvidencePage};
pub use outcome::OutcomePage;
pub use sign_in::{AwayPage, Destination, ProviderButton, SignInPage, SignOutPage};

use crate::assets::AssetBase;

/// What stands around every page.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The name people know this gate by.
    pub site: String,
    /// The gate's own root: `/`, or its origin with `/` for pages on other hosts.
    pub home: String,
    /// Where style and scripts come from.
    pub assets: AssetBase,
    /// Who is signed in, if anybody is.
    pub visitor: Option<Visitor>,
    /// Goes into every form, and is checked when one comes back.
    pub csrf: String,
    /// Names this answer in the ledger and in the logs.
    pub request_id: Option<String>,
}

/// Who is signed in.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The name to show.
    pub name: String,
}

/// The colour and sign of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something was done.
    Good,
    /// Something to know.
    Neutral,
    /// Something to heed.
    Warning,
    /// Something was refused or went wrong.
    Bad,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Neutral => "neutral",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Neutral => "i",
            Self::Warning => "!",
            Self::Bad => "×",
        }
    }
}

/// What the last answer led to, said at the top of the next page.
#[derive(Debug, Clone)]
pub struct Said {
    /// How it is coloured.
    pub tone: Tone,
    /// One short sentence.
    pub headline: String,
    /// What more there is to know; may be empty.
    pub detail: String,
}

impl Said {
    /// Something that was not right.
    #[must_use]
    pub fn bad(headline: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { tone: Tone::Bad, headline: headline.into(), detail: detail.into() }
    }

    /// Something that was done.
    #[must_use]
    pub fn good(headline: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { tone: Tone::Good, headline: headline.into(), detail: detail.into() }
    }
}

/// A WebAuthn ceremony that a page may start.
#[derive(Debug, Clone)]
pub struct PasskeyCall {
    /// Where the form goes; empty where the page has one action for all forms.
    pub action: String,
    /// The options as JSON (`PublicKeyCredentialRequestOptionsJSON` or
    /// `PublicKeyCredentialCreationOptionsJSON`, WebAuthn Level 3, section 5.1).
    pub options: String,
    /// Names the open ceremony; empty where the page's address does.
    pub ceremony: String,
}

/// A way on: a link with words.
#[derive(Debug, Clone)]
pub struct Way {
    /// What it says.
    pub text: String,
    /// Where it leads.
    pub href: String,
}

impl Way {
    /// A way on with these words to this place.
    #[must_use]
    pub fn new(text: impl Into<String>, href: impl Into<String>) -> Self {
        Self { text: text.into(), href: href.into() }
    }
}
