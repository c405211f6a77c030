//! The pages with one thing to say: refusals, ends, failures.
//!
//! Each says what happened, what became of the request, and the way on. None
//! tells a stranger more than that.

use std::time::Duration;

use http::StatusCode;

use crate::views::{Frame, Input, OutcomePage, Tone, Way};
use crate::words::{self, Moment};

/// One thing to say to a person, with all that its page needs.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The policy refuses, and no proof would change it.
    Denied {
        /// The operation in plain words, where it is known.
        operation: Option<String>,
        /// The `@reason` of each policy that refused.
        reasons: Vec<String>,
    },
    /// The challenge was not answered in time.
    Expired {
        /// Where asking again begins.
        again: Option<String>,
    },
    /// The challenge belongs to another session or person.
    ForeignChallenge,
    /// The challenge was failed: too many wrong answers, or a login that does not do.
    Failed {
        /// Why, in words.
        why: String,
        /// Where asking again begins.
        again: Option<String>,
    },
    /// The person said no.
    Cancelled {
        /// Where they were before.
        back: Option<String>,
        /// Whether they said that they had not asked.
        reported: Reported,
    },
    /// Passed, and its request is being sent.
    Sending {
        /// The operation in plain words.
        operation: String,
        /// Where the request was for.
        back: Option<String>,
    },
    /// Passed, and its request went on.
    WentOn {
        /// The operation in plain words.
        operation: String,
        /// How the service answered.
        answered: u16,
        /// Where the request was for.
        back: Option<String>,
    },
    /// Passed, but not used in time.
    Unspent {
        /// Where asking again begins.
        again: Option<String>,
    },
    /// Passed, and the asker is elsewhere.
    PassedElsewhere {
        /// The operation in plain words.
        operation: String,
    },
    /// Stepgate cannot decide or record now.
    Unavailable {
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// The confirmation was spent, but the service could not be reached.
    NotSent {
        /// The operation in plain words.
        operation: String,
        /// Where asking again begins.
        again: Option<String>,
    },
    /// The request may or may not have reached the service.
    Unknown {
        /// The operation in plain words.
        operation: String,
        /// When it was sent.
        sent: Moment,
        /// The service's own page, to look.
        service: Option<String>,
    },
    /// The factor is locked after too many wrong tries.
    FactorLocked {
        /// Its name at the head of a sentence.
        factor: String,
        /// When it opens again.
        until: Moment,
        /// Where the other ways are.
        others: Option<String>,
    },
    /// The request can be read in two ways.
    Ambiguous {
        /// The stable code of what is ambiguous.
        code: String,
    },
    /// The body is not what the operation declares.
    UnreadableBody {
        /// The stable code of what is wrong.
        code: String,
    },
    /// The request is for a host that this gate does not serve.
    UnknownHost,
    /// The request is larger than what is accepted.
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The form is too old, or came from another page than ours.
    StaleForm {
        /// The page to start from.
        again: Option<String>,
    },
    /// Too many tries or requests.
    TooMany {
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// The enrolment link is unknown, used, or too old.
    DeadLink,
    /// This browser is no approver device (any more).
    NoDevice,
    /// This browser is an approver device already.
    ApproverAlready,
    /// The browser that adds an approver device followed the link itself.
    ApproverAsksItself,
    /// There is no such page.
    NotFound,
    /// Signed out.
    SignedOut {
        /// Where to sign out at the identity provider, too.
        there: Option<String>,
    },
    /// Enrolled by a link; the way on is to sign in.
    Enrolled,
}

/// Whether a cancelled challenge was also reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// `Don't do this`.
    No,
    /// `This wasn't me`, of a request that another session asked for: that one is ended.
    NotMe,
    /// `This wasn't me`, of a request that this very session asked for: nobody is
    /// signed in here any more.
    NotMeHere,
}

impl Outcome {
    /// The HTTP status that the page goes out with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Denied { .. } | Self::ForeignChallenge | Self::StaleForm { .. } => StatusCode::FORBIDDEN,
            Self::Expired { .. } | Self::Failed { .. } | Self::DeadLink => StatusCode::GONE,
            Self::Unspent { .. } => StatusCode::GONE,
            Self::Sending { .. }
            | Self::WentOn { .. }
            | Self::Cancelled { .. }
            | Self::PassedElsewhere { .. }
            | Self::SignedOut { .. }
            | Self::Enrolled => StatusCode::OK,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown { .. } | Self::NotSent { .. } => StatusCode::BAD_GATEWAY,
            Self::FactorLocked { .. } | Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Ambiguous { .. } | Self::UnreadableBody { .. } => StatusCode::BAD_REQUEST,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound | Self::NoDevice => StatusCode::NOT_FOUND,
            Self::ApproverAlready | Self::ApproverAsksItself => StatusCode::CONFLICT,
        }
    }

    /// After how many seconds to try again, where that is known.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Unavailable { retry_after_s } | Self::TooMany { retry_after_s } => Some(*retry_after_s),
            _ => None,
        }
    }

    /// The page, in this frame.
    #[must_use]
    pub fn page(self, frame: Frame) -> OutcomePage {
        let status = self.status();
        let code = self.code();
        let closes = matches!(self, Self::PassedElsewhere { .. });
        let Words { tone, headline, paragraphs, facts, ways } = self.words(&frame.home);
        OutcomePage {
            frame,
            tone,
            headline,
            paragraphs,
            facts,
            ways,
            closes,
            status: code.is_some().then(|| status.as_u16()),
            code,
        }
    }

    /// The stable code that programs and helpers know it by; `None` where
    /// nothing went wrong.
    fn code(&self) -> Option<String> {
        let code = match self {
            Self::Ambiguous { code } | Self::UnreadableBody { code } => return Some(code.clone()),
            Self::Denied { .. } => "denied",
            Self::Expired { .. } => "challenge_expired",
            Self::ForeignChallenge => "challenge_not_yours",
            Self::Unspent { .. } => "confirmation_expired",
            Self::Failed { .. } => "challenge_failed",
            Self::Unavailable { .. } => "unavailable",
            Self::Unknown { .. } => "outcome_unknown",
            Self::NotSent { .. } => "not_sent",
            Self::FactorLocked { .. } => "factor_locked",
            Self::UnknownHost => "unknown_host",
            Self::TooLarge { .. } => "too_large",
            Self::StaleForm { .. } => "stale_form",
            Self::TooMany { .. } => "too_many",
            Self::DeadLink => "link_not_valid",
            Self::NotFound => "not_found",
            Self::NoDevice => "no_approver_device",
            Self::ApproverAlready => "approver_already",
            Self::ApproverAsksItself => "approver_asks_itself",
            Self::Sending { .. }
            | Self::WentOn { .. }
            | Self::Cancelled { .. }
            | Self::PassedElsewhere { .. }
            | Self::SignedOut { .. }
            | Self::Enrolled => return None,
        };
        Some(code.to_owned())
    }

    fn words(self, home: &str) -> Words {
        let account = || Way::new("Your account", format!("{home}account"));
        match self {
            Self::Denied { operation, reasons } => {
                let what = operation.map_or_else(
                    || "This is not allowed for you, and no proof would change that.".to_owned(),
                    |operation| {
                        format!("“{operation}” is not allowed for you, and no proof would change that.")
                    },
                );
                Words::bad("Not allowed")
                    .say(what)
                    .say_all(reasons)
                    .say("Nothing was sent to the service.")
            }
            Self::Expired { again } => Words::warn("This question has expired")
                .say("It was not answered in time, so the request was dropped. Nothing was sent to the service.")
                .way("Start again", again),
            Self::ForeignChallenge => Words::bad("This question is not for you")
                .say("It was opened by another session. Nobody else can answer it, and nothing has happened.")
                .say("If somebody sent you this link, they may have wanted you to confirm something for them.")
                .then(account()),
            Self::Sending { operation, back } => Words::neutral("It is being sent")
                .say(format!("“{operation}” was confirmed and is on its way to the service. It is sent once. Reload this page to see what came of it."))
                .way("Look at the service", back),
            Self::WentOn { operation, answered, back } => went_on(&operation, answered).way("Look at the service", back),
            Self::Unspent { again } => Words::warn("This confirmation was not used in time")
                .say("You confirmed it, but the request did not go on soon enough. Nothing was sent to the service.")
                .way("Start again", again),
            Self::Failed { why, again } => Words::bad("Not confirmed")
                .say(format!("{why}, so this question is closed and the request was dropped. Nothing was sent to the service."))
                .way("Start again", again),
            Self::Cancelled { back, reported } => match reported {
                Reported::No => Words::neutral("Nothing was done")
                    .say("The request was dropped and not sent to the service.")
                    .way("Back to where you were", back),
                Reported::NotMe => Words::warn("Refused, and that session is ended")
                    .say("The request was dropped. The session that asked for it was signed out at once, at every service, and your report is recorded.")
                    .say("Somebody else may have used it. Look through your sessions and what happened lately, change your password if others may know it, and tell your administrator.")
                    .then(account()),
                Reported::NotMeHere => Words::warn("Refused, and you are signed out here")
                    .say("The request was dropped. It came from this browser’s own session, so that session was ended at once, at every service, and your report is recorded.")
                    .say("Somebody else may have used it. Sign in again and look through your sessions and what happened lately, change your password if others may know it, and tell your administrator.")
                    .then(Way::new("Sign in again", format!("{home}sign-in"))),
            },
            Self::PassedElsewhere { operation } => Words::good("Confirmed")
                .say(format!("“{operation}” goes on where it was asked. You may close this page.")),
            Self::Unavailable { retry_after_s } => Words::warn("Not now, for a moment")
                .say("Stepgate cannot reach what it needs to decide and to keep evidence, so it lets nothing through that matters. Nothing was sent to the service.")
                .say(format!("Try again in {}.", words::span(Duration::from_secs(retry_after_s.into())))),
            Self::Unknown { operation, sent, service } => Words::warn("We do not know whether this went through")
                .say(format!("“{operation}” was confirmed and was being sent when the connection broke. It may have reached the service, or not. It will not be sent a second time."))
                .say("Look at the service before you do it again.")
                .fact("Sent", sent.plain().to_owned())
                .way("Look at the service", service),
            Self::NotSent { operation, again } => Words::warn("The service could not be reached")
                .say(format!("“{operation}” was confirmed, but nothing was sent. The confirmation is used up; you can do it again."))
                .way("Start again", again),
            Self::FactorLocked { factor, until, others } => Words::warn(format!("{factor} is locked for now"))
                .say("There were too many wrong tries. Your other ways still work, and nobody can lock those by guessing at this one.")
                .fact("Opens again", until.plain().to_owned())
                .way("Use another way", others),
            Self::Ambiguous { .. } => Words::bad("This request can be read in two ways")
                .say("Two servers could understand it differently, so it was refused before anything was decided. Ordinary browsers do not send such requests; a link may be damaged."),
            Self::UnreadableBody { .. } => Words::bad("What was sent could not be read")
                .say("This operation declares what it takes, and what came is something else. It was refused; nothing was sent to the service."),
            Self::UnknownHost => Words::bad("There is no such service here")
                .say("The address names a host that this gate does not serve. Look at its spelling."),
            Self::TooLarge { limit } => Words::bad("This is too large")
                .say(format!("At most {} are taken here. Nothing was sent to the service.", words::bytes(limit))),
            Self::StaleForm { again } => Words::warn("This form is too old")
                .say("It was open for too long, or you have signed in or out since, or it did not come from our own page. Nothing was done. Go back, reload the page, and try again.")
                .way("Open it afresh", again),
            Self::TooMany { retry_after_s } => Words::warn("Too many tries")
                .say(format!("Wait a little, then try again in {}.", words::span(Duration::from_secs(retry_after_s.into())))),
            Self::DeadLink => Words::warn("This link is no longer valid")
                .say("A link for enrolling works once and for a limited time. Ask your administrator for a new one."),
            Self::NoDevice => Words::neutral("This browser approves nothing")
                .say("To approve here what you ask for elsewhere, add it as an approver device: in your account, on the device where you are signed in."),
            Self::ApproverAlready => Words::warn("This browser is an approver device already")
                .say("It can be that for one account. Remove it there first, or use another browser. The link still works.")
                .then(Way::new("What is asked here", format!("{home}approver"))),
            Self::ApproverAsksItself => Words::warn("This browser asks; it cannot approve as well")
                .say("Open the link on another device: your phone, for instance. It still works there."),
            Self::NotFound => Words::neutral("There is no such page")
                .say("Look at the address, or go on from your account.")
                .then(account()),
            Self::SignedOut { there } => Words::good("You are signed out")
                .say("This browser’s session has ended, at every service behind this gate.")
                .way("Sign out at your company’s login, too", there)
                .then(Way::new("Sign in again", format!("{home}sign-in"))),
            Self::Enrolled => Words::good("You are set up")
                .say("The link is used up. From now on you sign in with what you just added.")
                .then(Way::new("Sign in", format!("{home}sign-in"))),
        }
    }
}

fn went_on(operation: &str, answered: u16) -> Words {
    let words = match answered {
        200..=399 => Words::good("This was confirmed and has gone on"),
        _ => Words::warn("This was confirmed and sent, and the service refused it"),
    };
    words.say(format!("“{operation}” was sent once, and the service answered {answered}. It is not sent again."))
}

struct Words {
    tone: Tone,
    headline: String,
    paragraphs: Vec<String>,
    facts: Vec<Input>,
    ways: Vec<Way>,
}

impl Words {
    fn new(tone: Tone, headline: impl Into<String>) -> Self {
        Self { tone, headline: headline.into(), paragraphs: Vec::new(), facts: Vec::new(), ways: Vec::new() }
    }

    fn good(headline: impl Into<String>) -> Self {
        Self::new(Tone::Good, headline)
    }

    fn neutral(headline: impl Into<String>) -> Self {
        Self::new(Tone::Neutral, headline)
    }

    fn warn(headline: impl Into<String>) -> Self {
        Self::new(Tone::Warning, headline)
    }

    fn bad(headline: impl Into<String>) -> Self {
        Self::new(Tone::Bad, headline)
    }

    fn say(mut self, paragraph: impl Into<String>) -> Self {
        self.paragraphs.push(paragraph.into());
        self
    }

    fn say_all(mut self, paragraphs: Vec<String>) -> Self {
        self.paragraphs.extend(paragraphs);
        self
    }

    fn fact(mut self, label: &str, value: String) -> Self {
        self.facts.push(Input { label: label.to_owned(), value });
        self
    }

    fn way(mut self, text: &str, href: Option<String>) -> Self {
        self.ways.extend(href.map(|href| Way::new(text, href)));
        self
    }

    fn then(mut self, way: Way) -> Self {
        self.ways.push(way);
        self
    }
}
