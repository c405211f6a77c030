//! The flows that join decision, challenge and ports: ask → answer → pass → resume.
//!
//! Doors and pages share nothing but these. Each flow is one natural way from a
//! request to its evidence; none keeps state between calls.

mod answer;
mod approvals;
mod ask;
mod clear;
mod codes;
mod departures;
mod device_enrolment;
mod devices;
mod enrol;
mod evidence;
mod habits;
mod hardware;
mod housekeeping;
mod logins;
mod look;
mod people;
mod provision;
mod rate;
mod refusals;
mod refuse;
mod reports;
mod send;
mod shadow;
mod sign_in;
mod signals;
mod tokens;
mod transmit;
mod way_back;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use stepgate_evidence::{Asked, Details, Entry, Event, SALT_LEN, Salt};

pub use answer::{AnswerError, Answered, GoOn};
pub use approvals::{AskedDevices, DeviceAnswered, Devices, Place, PushLimits, Question};
pub use ask::{AskError, Asking, AskingBy, Step, may_hold_cross_site};
pub use clear::{ClearError, Cleared, Receipt};
pub use codes::{HeldForResume, Redeemed, ResumeError};
pub use departures::{DEPARTURES_MAX, DEPARTURES_OF_ONE_MAX, DEPARTURES_WINDOW, Departures};
pub use device_enrolment::{DeviceEnrolment, DeviceView};
pub use devices::DEVICE_NAME_LEN_MAX;
pub use enrol::{EnrolError, LinkView, TicketView};
pub use evidence::{Export, ExportError, ExportedEntry, Sought};
pub use habits::{Confirmed, Habits, WentThrough};
pub use hardware::{ImportedFrom, ReadToken, TokenError};
pub use housekeeping::Swept;
pub use logins::{LeaveToProve, LeaveToSignIn, LoginError, LogoutError, RENEWED_BESIDE, Return, Returned};
pub use look::{ChallengeView, NotAnswerable, Standing};
pub use people::{MadeLink, PeopleError};
pub use provision::{LinkedBy, ProvisionError, Provisioning, SubjectIs, Wanted, WantedGroup};
pub use refusals::Refusals;
pub use refuse::NotMe;
pub use reports::LastAsked;
pub use send::{CODE_DIGITS, CodeLimits, SendError, Undelivered};
pub use shadow::{Compared, KINDS_MAX, KINDS_PER_ENTRY, Shadow, WAITING_MAX};
pub use sign_in::{SignInAs, SignInAttempt, SignInError, SignInPrompt, SignedIn, SignedInGoesOn, is_sign_in_again};
pub use signals::{
    Arrivals, CREDENTIAL_CHANGE, DEVICE_NOT_COMPLIANT, EVENT_AGE_MAX, IDLE_SIGNALS_TOLD_MAX, NotTaken,
    SIGNALS_OF_ONE_MAX, SIGNALS_WINDOW, Signals, Taken,
};
pub use tokens::{
    BetterToken, LOOP_GUARD, LacksScope, Loops, NotEnough, SAME_CHALLENGES_MAX, SAME_CHALLENGES_WINDOW,
    WITHOUT_IAT_REFUSED_FOR,
};
pub use transmit::{Filled, TRANSMITTED, Transmitting, VERIFICATION_EVERY};

use crate::catalogue::Catalogue;
use crate::challenge::ChallengeLimits;
use crate::decide::{Asker, Decided, Situation, Verdict, decide};
use crate::factor::{Factor, FactorKind};
use crate::id::{Id, NodeId, kind};
use crate::operation::Operation;
use crate::policy::Policies;
use crate::ports::{Courier, HardwareTokens, Store, TryLimits};
use crate::provider::IdentityProviders;
use crate::secret::MacKey;
use crate::session::SessionLifetimes;
use crate::surroundings::{Environment, Surroundings};
use crate::time::{Clock, Randomness, Timestamp};

/// What can be reloaded, as one value: no request sees half of a change.
#[derive(Debug)]
pub struct Live {
    /// Services and operations.
    pub catalogue: Catalogue,
    /// Policies.
    pub policies: Policies,
    /// What is known of the world around: networks, places, calendars.
    pub environment: Environment,
    /// Limits of challenges.
    pub challenges: ChallengeLimits,
    /// Limits of tries.
    pub tries: TryLimits,
    /// Limits of codes that are sent.
    pub codes: CodeLimits,
    /// Lifetimes of sessions.
    pub sessions: SessionLifetimes,
    /// The identity providers.
    pub providers: Arc<dyn IdentityProviders>,
}

/// The flows, with everything that they need handed in.
#[derive(Debug)]
pub struct Flows {
    /// What can be reloaded.
    pub live: ArcSwap<Live>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The factors, by kind.
    pub factors: BTreeMap<FactorKind, Arc<dyn Factor>>,
    /// Sends codes to people.
    pub courier: Arc<dyn Courier>,
    /// Approving on devices; `None` where that is not offered.
    pub devices: Option<Devices>,
    /// Hardware tokens; `None` where they are not used.
    pub hardware: Option<Arc<dyn HardwareTokens>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Randomness>,
    /// Tags what goes through a browser; the same on every node.
    pub mac: MacKey,
    /// This process.
    pub node: NodeId,
    /// Refusals that are counted in windows.
    pub refusals: Refusals,
    /// A second set of policies, asked beside the live one.
    pub shadow: Shadow,
    /// Challenges to askers with access tokens, counted likewise.
    pub loops: Loops,
    /// How often strangers left for identity providers.
    pub departures: Departures,
    /// What is usual for people, and what failed lately.
    pub habits: Habits,
}

impl Flows {
    /// What is true now, for a request from this address.
    pub fn surroundings(&self, address: std::net::IpAddr, agent: &str) -> Surroundings {
        Surroundings::new(address, agent, self.clock.now(), &self.live.load().environment)
    }

    /// The decision on an everyday request: no store, no lock. Where there is a second set of policies, what was decided
    /// on waits to be put to it, unless too much waits already.
    pub fn decide(&self, operation: Operation, asker: Asker<'_>, surroundings: &Surroundings) -> Verdict {
        if !self.shadow.is_on() || !self.shadow.has_room() {
            return self.would_decide(operation, asker, surroundings);
        }
        let live = self.live.load();
        let situation = Situation::of(&operation, asker, surroundings);
        let verdict = decide(&live.policies, operation, asker, surroundings, &[]);
        self.shadow.wait(situation, Decided::of(&verdict, asker).said, live.policies.version());
        verdict
    }

    /// What the decision would be, for pages that show beforehand what is open to somebody: nobody asked for it, so it is
    /// compared with nothing.
    fn would_decide(&self, operation: Operation, asker: Asker<'_>, surroundings: &Surroundings) -> Verdict {
        decide(&self.live.load().policies, operation, asker, surroundings, &[])
    }

    fn factor(&self, kind: FactorKind) -> Option<&Arc<dyn Factor>> {
        self.factors.iter().find(|(verified, _)| verified.is_same_factor(kind)).map(|(_, factor)| factor)
    }

    fn id<T>(&self) -> Id<T> {
        Id::random(self.random.as_ref())
    }

    /// An entry about something that happened at `at`.
    pub fn entry(&self, at: Timestamp, event: Event) -> Entry {
        Entry { id: self.id::<kind::Entry>().to_string(), at_ms: at.as_ms(), event, details: None }
    }

    /// An entry with details beside the tree.
    pub fn entry_with(&self, at: Timestamp, event: Event, body: serde_json::Value) -> Entry {
        let mut salt = [0; SALT_LEN];
        self.random.fill(&mut salt);
        Entry { details: Some(Details { salt: Salt(salt), body }), ..self.entry(at, event) }
    }
}

/// What was asked, as it stands in entries.
pub fn asked(operation: &Operation) -> Asked {
    Asked {
        service: operation.service.name.to_string(),
        action: operation.endpoint.action.to_string(),
        resource: operation.endpoint.resource.clone(),
        resource_kind: operation.endpoint.kind.clone(),
        sensitivity: operation.endpoint.sensitivity.clone(),
    }
}
