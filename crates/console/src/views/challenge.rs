use std::time::Duration;

use askama::Template;

use super::{Frame, PasskeyCall, ProviderButton, Said};
use crate::words::{self, Moment};

/// The question itself: who asks, what for, why, what will be granted, and the
/// ways to answer.
#[derive(Debug, Template)]
#[template(path = "challenge.html")]
pub struct ChallengePage {
    /// What stands around the page.
    pub frame: Frame,
    /// The challenge's id.
    pub id: String,
    /// Where answers go.
    pub action: String,
    /// Where leaving for an identity provider begins.
    pub login_action: String,
    /// Where the forms go that have a code sent.
    pub send_action: String,
    /// Where a refusal goes.
    pub cancel_action: String,
    /// What to look at for an answer given elsewhere, if one can be.
    pub watch: Option<String>,
    /// The service that the operation is for.
    pub service: ServiceView,
    /// The front of that service, where what was asked for may be a download: the browser
    /// saves it then, and stays on this page.
    pub front: Option<String>,
    /// Who asked for the operation.
    pub asker: Asker,
    /// The operation in plain words, such as `Approve payment 42 of 12,000.00`.
    pub title: String,
    /// What the operation takes and the title does not say, each by name.
    pub inputs: Vec<Input>,
    /// Why the person is asked, one for each policy that asks.
    pub reasons: Vec<Reason>,
    /// What a passed challenge grants.
    pub grant: Grant,
    /// The head of the part that asks, such as `Confirm that it is you`.
    pub instruction: String,
    /// The proofs that are needed, where there is more than one.
    pub steps: Vec<Step>,
    /// The ways to answer now.
    pub offers: Offers,
    /// Factors that would do but are locked.
    pub locked: Vec<LockedFactor>,
    /// Factors that would do but are not enrolled.
    pub missing: Vec<MissingFactor>,
    /// The number that ties an answer from another device to the asker.
    pub number: NumberMatch,
    /// What the last answer led to.
    pub said: Option<Said>,
    /// When the question closes.
    pub expires: Moment,
    /// The same as a span from now.
    pub expires_in: String,
    /// The exact request.
    pub technical: Technical,
}

/// The service that an operation is for.
#[derive(Debug, Clone)]
pub struct ServiceView {
    /// Its name for people.
    pub name: String,
    /// Its host.
    pub host: String,
}

/// Who asked.
#[derive(Debug, Clone)]
pub enum Asker {
    /// The person, in the session that shows this page.
    ThisSession {
        /// The browser and system, in words.
        device: String,
    },
    /// The person, signed in on another device.
    OtherSession {
        /// The browser and system, in words.
        device: String,
        /// Its network address.
        address: String,
    },
    /// A program that is signed in as the person.
    Program {
        /// What it calls itself.
        name: String,
        /// Its network address.
        address: String,
    },
}

impl Asker {
    fn is_elsewhere(&self) -> bool {
        !matches!(self, Self::ThisSession { .. })
    }

    fn who(&self) -> &'static str {
        match self {
            Self::ThisSession { .. } => "You, in this browser",
            Self::OtherSession { .. } => "You, on another device",
            Self::Program { .. } => "A program signed in as you",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::ThisSession { device } => device.clone(),
            Self::OtherSession { device: name, address } | Self::Program { name, address } => {
                format!("{name}, from {address}")
            }
        }
    }
}

/// A name with a value.
#[derive(Debug, Clone)]
pub struct Input {
    /// The name for people.
    pub label: String,
    /// The value for people.
    pub value: String,
}

/// Why a policy asks.
#[derive(Debug, Clone)]
pub struct Reason {
    /// The policy's `@reason`.
    pub text: String,
    /// The policy's id.
    pub policy: String,
}

/// What a passed challenge grants.
#[derive(Debug, Clone, Copy)]
pub enum Grant {
    /// This request alone, once.
    ThisRequest {
        /// How long the confirmation may wait to be used.
        lifetime: Duration,
    },
    /// A fresh proof, for everything whose policy accepts its age.
    Freshness {
        /// How long the rules that asked accept it; `None` for as long as the session lives.
        counts_for: Option<Duration>,
    },
}

impl Grant {
    fn headline(&self) -> &'static str {
        match self {
            Self::ThisRequest { .. } => "This one request goes on, once",
            Self::Freshness { .. } => "You go on where you were",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::ThisRequest { lifetime } => {
                format!("It grants nothing else, and is void if unused for {}.", words::span(*lifetime))
            }
            Self::Freshness { counts_for: None } => {
                "For this, your proof counts for as long as you stay signed in.".to_owned()
            }
            Self::Freshness { counts_for: Some(Duration::ZERO) } => {
                "Your proof counts for this request; you are asked again for the next.".to_owned()
            }
            Self::Freshness { counts_for: Some(age) } => {
                format!("For this, your proof counts for {}; other rules may want a fresher one.", words::span(*age))
            }
        }
    }
}

/// The number that ties an answer from another device to the asker: the device
/// that asked shows it, the one that answers types it.
#[derive(Debug, Clone)]
pub enum NumberMatch {
    /// Neither: there is no other device.
    NotUsed,
    /// This device asked, and shows the number.
    Shown(String),
    /// This device answers, and has to type it first.
    Asked,
    /// This device has typed this; it is checked with the answer.
    Typed(String),
}

impl NumberMatch {
    fn is_asked(&self) -> bool {
        matches!(self, Self::Asked)
    }

    fn shown(&self) -> Option<&str> {
        match self {
            Self::Shown(number) => Some(number),
            _ => None,
        }
    }

    fn typed(&self) -> Option<&str> {
        match self {
            Self::Typed(number) => Some(number),
            _ => None,
        }
    }
}

/// One of several proofs that are needed.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is proved, such as `Your password`.
    pub name: String,
    /// Whether it is done.
    pub state: StepState,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// Already proved.
    Done,
    /// Asked for now.
    Now,
    /// Asked for next.
    Later,
}

impl StepState {
    fn class(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Now => "now",
            Self::Later => "later",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Now => "now",
            Self::Later => "next",
        }
    }

    fn is_now(self) -> bool {
        self == Self::Now
    }
}

/// The ways to answer now.
#[derive(Debug, Clone, Default)]
pub struct Offers {
    /// The passkey call.
    pub passkey: Option<PasskeyCall>,
    /// Identity providers.
    pub logins: Vec<ProviderButton>,
    /// Approval on a device.
    pub push: Option<PushOffer>,
    /// A code from an authenticator app.
    pub totp: Option<CodeOffer>,
    /// A code from a hardware token.
    pub hotp: Option<CodeOffer>,
    /// The password.
    pub password: Option<CodeOffer>,
    /// Codes that are sent, by kind.
    pub sent: Vec<SentOffer>,
    /// A recovery code.
    pub recovery: Option<CodeOffer>,
    /// The name that a password manager knows the person by.
    pub username: String,
}

impl Offers {
    fn has_other_than_passkey(&self) -> bool {
        !self.logins.is_empty() || self.has_typed() || self.recovery.is_some() || self.push.is_some()
    }

    /// Whether the person is expected at a device of theirs now.
    fn wait_elsewhere(&self) -> bool {
        self.push.as_ref().is_some_and(|push| push.asked.is_some())
    }

    fn has_typed(&self) -> bool {
        self.totp.is_some() || self.hotp.is_some() || self.password.is_some() || !self.sent.is_empty()
    }

    fn has_failed(&self) -> bool {
        let typed =
            [&self.totp, &self.hotp, &self.password, &self.recovery].into_iter().flatten().any(|offer| offer.failed);
        typed || self.sent.iter().any(|sent| sent.failed)
    }

    /// A code is on its way: the person goes on at its field.
    fn waits_for_code(&self) -> bool {
        self.sent.iter().any(|sent| sent.asked().is_some())
    }

    fn only_recovery(&self) -> bool {
        self.recovery.is_some()
            && self.passkey.is_none()
            && self.push.is_none()
            && self.logins.is_empty()
            && !self.has_typed()
    }

    fn is_empty(&self) -> bool {
        self.passkey.is_none() && !self.has_other_than_passkey()
    }
}

/// Approval on a device of the person's own.
#[derive(Debug, Clone)]
pub struct PushOffer {
    /// Where asking goes.
    pub action: String,
    /// Where, as it follows `Approve on`.
    pub place: String,
    /// What the devices were asked, if they were.
    pub asked: Option<OnDevices>,
    /// What is open there instead, if this session may withdraw it: the challenge's id.
    pub instead_of: Option<String>,
}

/// What the person's devices are asked.
#[derive(Debug, Clone)]
pub struct OnDevices {
    /// The number to type there, in groups; `None` where the asker is elsewhere and shows it.
    pub number: Option<String>,
    /// Until when.
    pub expires: Moment,
}

/// A factor that is typed.
#[derive(Debug, Clone, Default)]
pub struct CodeOffer {
    /// Said where an earlier try failed: `7 tries left.`
    pub tries_left: Option<String>,
    /// Whether the last try was with this factor and failed.
    pub failed: bool,
}

/// A kind of codes that are sent.
#[derive(Debug, Clone)]
pub struct SentOffer {
    /// Its name on the wire.
    pub factor: String,
    /// The addresses to which one can be sent.
    pub to: Vec<SentTo>,
    /// Whether the last try was with this factor and failed.
    pub failed: bool,
}

impl SentOffer {
    /// The address to which the code that is asked for was sent.
    fn asked(&self) -> Option<&SentTo> {
        self.to.iter().find(|to| to.sent == Sent::OnItsWay)
    }
}

/// An address to which a code can be sent.
#[derive(Debug, Clone)]
pub struct SentTo {
    /// The enrolled factor.
    pub address: String,
    /// The address, as its owner knows it.
    pub masked: String,
    /// What became of a code for this question.
    pub sent: Sent,
}

/// What became of a code for this question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// None was sent, or it counts no longer.
    No,
    /// It was sent, or is on its way.
    OnItsWay,
    /// It could not be sent.
    Failed,
}

/// A factor that would do but is locked.
#[derive(Debug, Clone)]
pub struct LockedFactor {
    /// Its name at the head of a sentence, such as `Your authenticator app`.
    pub name: String,
    /// When it opens again.
    pub until: Moment,
}

/// A factor that would do but is not enrolled.
#[derive(Debug, Clone)]
pub struct MissingFactor {
    /// What is needed, such as `You need a passkey for this.`
    pub need: String,
    /// How to come by it.
    pub how: String,
    /// Where to come by it, if the person can.
    pub link: Option<String>,
    /// The words of that link.
    pub link_text: String,
}

/// The exact request, for those who want to see it.
#[derive(Debug, Clone)]
pub struct Technical {
    /// The method.
    pub method: String,
    /// The full URL.
    pub url: String,
    /// The content type, where there is a body.
    pub content_type: Option<String>,
    /// What the operation takes, all of it.
    pub inputs: Vec<Input>,
    /// The digest of the body, in groups.
    pub body_digest: String,
    /// The headers that change what the operation does.
    pub headers: Vec<Input>,
    /// The digest of the statement that is confirmed, in groups.
    pub statement_digest: Option<String>,
}
