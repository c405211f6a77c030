//! What an entry says, in the words that all formats share.
//!
//! There is one reading of an entry, the `match` below. A format never looks at an event again, so none
//! can say of it what another does not, and a new event does not compile before it is told here.

use stepgate_evidence::{Asked, Event, FactorProof, Outcome as Answer};

/// What part of security an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Somebody signed in, or tried to.
    SignIn,
    /// A session ended.
    SignOut,
    /// Somebody proved who they are for something, or did not.
    Proof,
    /// What a session may do became more or less.
    Privilege,
    /// An operation was asked for, sent or refused.
    Operation,
    /// A thing that is managed here changed.
    Managed(Change, Thing),
    /// The gate itself began.
    Start,
    /// The gate itself ended.
    Stop,
    /// The gate itself failed.
    Fault,
}

/// How a managed thing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Create,
    /// It was looked at.
    Read,
    /// It is another.
    Update,
    /// It is gone.
    Delete,
    /// A factor became somebody's.
    Enroll,
    /// A factor is nobody's any more.
    Unenroll,
    /// It counts again.
    Activate,
    /// It counts no more.
    Deactivate,
    /// It does not count for a time.
    Suspend,
}

/// What is managed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A person's account.
    Person,
    /// A group of people.
    Group,
    /// The set of policies.
    Policies,
    /// The configuration file.
    Configuration,
    /// What is published of models of authenticators.
    Authenticators,
    /// A factor of a person.
    Factor,
    /// A device of a person.
    Device,
    /// A link that lets somebody enrol.
    EnrolmentLink,
    /// Another system's account here.
    Machine,
    /// A stream of security events between systems.
    Stream,
    /// A system that is told the evidence.
    Sink,
    /// A key of the gate.
    Key,
    /// The evidence.
    Evidence,
}

impl Thing {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "User",
            Self::Group => "Group",
            Self::Policies => "Policy",
            Self::Configuration => "Configuration",
            Self::Authenticators => "Authenticator Metadata",
            Self::Factor => "Authentication Factor",
            Self::Device => "Device",
            Self::EnrolmentLink => "Enrolment Link",
            Self::Machine => "Machine",
            Self::Stream => "Signal Stream",
            Self::Sink => "Evidence Sink",
            Self::Key => "Key",
            Self::Evidence => "Evidence",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As was wanted.
    Success,
    /// Not as was wanted.
    Failure,
    /// It has not ended, or nobody knows.
    Unknown,
}

/// How much it matters to who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is to be done.
    Informational,
    /// Somebody may want to look.
    Low,
    /// Somebody should look.
    Medium,
    /// Somebody should look now.
    High,
}

/// What the gate did with what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It let it go on, after what it asked for.
    Approved,
    /// It asks for more.
    Challenged,
    /// It asks for more, and keeps the request meanwhile.
    Delayed,
    /// A policy refuses it.
    Blocked,
    /// It was refused before any policy was asked.
    Rejected,
    /// It could not be decided, so it is refused.
    Errored,
    /// It was sent; this is how it ended.
    Allowed,
}

/// What an entry says. Texts are empty where it says nothing of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fact<'e> {
    /// What it is about.
    pub area: Area,
    /// How it ended.
    pub outcome: Outcome,
    /// How much it matters.
    pub severity: Severity,
    /// What the gate did.
    pub disposition: Option<Disposition>,
    /// Who is concerned, by pseudonymous id.
    pub person: &'e str,
    /// Who did it, where that is somebody else: an administrator, a machine, a signal.
    pub by: &'e str,
    /// The session.
    pub session: &'e str,
    /// The agent that asked, if one did.
    pub agent: &'e str,
    /// What was asked for.
    pub asked: Option<&'e Asked>,
    /// The kind of factor.
    pub factor: &'e str,
    /// The challenge, which ties together all entries of one request.
    pub challenge: &'e str,
    /// The request that was sent.
    pub request: &'e str,
    /// The policies that decided.
    pub policies: &'e [String],
    /// The version of the policies.
    pub policy_version: &'e str,
    /// Why.
    pub reason: &'e str,
    /// How often, where entries are counted in a window.
    pub count: u32,
    /// The upstream's HTTP status.
    pub status: Option<u16>,
    /// The id or name of the managed thing.
    pub thing: &'e str,
}

const fn fact<'e>(area: Area, outcome: Outcome, severity: Severity) -> Fact<'e> {
    Fact {
        area,
        outcome,
        severity,
        disposition: None,
        person: "",
        by: "",
        session: "",
        agent: "",
        asked: None,
        factor: "",
        challenge: "",
        request: "",
        policies: &[],
        policy_version: "",
        reason: "",
        count: 1,
        status: None,
        thing: "",
    }
}

/// Something that is managed here changed, as somebody wanted.
const fn managed<'e>(change: Change, kind: Thing, thing: &'e str, by: &'e str) -> Fact<'e> {
    let base = fact(Area::Managed(change, kind), Outcome::Success, Severity::Informational);
    Fact { thing, by, ..base }
}

/// An account changed.
const fn account<'e>(change: Change, person: &'e str, by: &'e str) -> Fact<'e> {
    Fact { person, ..managed(change, Thing::Person, person, by) }
}

/// Something was proved.
fn proved<'e>(session: &'e str, person: &'e str, proof: &'e FactorProof) -> Fact<'e> {
    let base = fact(Area::Proof, Outcome::Success, Severity::Informational);
    Fact { session, person, factor: &proof.factor, ..base }
}

/// A challenge ended without being passed.
fn unproved<'e>(challenge: &'e str, session: &'e str, person: &'e str, reason: &'e str) -> Fact<'e> {
    let severity = match reason {
        "not_me" => Severity::High,
        "too_many_tries" => Severity::Medium,
        _ => Severity::Low,
    };
    Fact { challenge, session, person, reason, ..fact(Area::Proof, Outcome::Failure, severity) }
}

impl<'e> Fact<'e> {
    /// What this event says.
    #[expect(clippy::too_many_lines, reason = "one arm for each event: this is the table")]
    pub fn of(event: &'e Event) -> Self {
        use {Area as A, Change as C, Outcome as O, Severity as S, Thing as T};
        match event {
            Event::LogOpened { origin, .. } => managed(C::Create, T::Evidence, origin, ""),
            Event::NodeStarted { node, policy, .. } => {
                Self { thing: node, policy_version: policy, ..fact(A::Start, O::Success, S::Informational) }
            }
            Event::NodeStopped { node } => Self { thing: node, ..fact(A::Stop, O::Success, S::Informational) },
            Event::PolicyLoaded { policy, .. } => {
                Self { policy_version: policy, ..managed(C::Update, T::Policies, policy, "") }
            }
            Event::PolicyRefused { policy, kept } => Self {
                policy_version: kept,
                outcome: O::Failure,
                severity: S::Medium,
                reason: "did not load",
                ..managed(C::Update, T::Policies, policy, "")
            },
            Event::PoliciesCompared { policy, shadow, differing, .. } => Self {
                policy_version: policy,
                count: *differing,
                reason: "compared",
                ..managed(C::Read, T::Policies, shadow, "")
            },
            Event::ConfigLoaded { config } => managed(C::Update, T::Configuration, config, ""),
            Event::AuthenticatorsLoaded { number, .. } => {
                Self { reason: "loaded", ..managed(C::Update, T::Authenticators, number, "") }
            }
            Event::AuthenticatorsRefused { reason } => Self {
                outcome: O::Failure,
                severity: S::Medium,
                reason,
                ..managed(C::Update, T::Authenticators, "list", "")
            },
            Event::PlaintextAllowed { service } => {
                Self { severity: S::Low, reason: "plaintext", ..managed(C::Update, T::Configuration, service, "") }
            }
            Event::PersonAdded { person, by } => account(C::Create, person, by),
            Event::PersonChanged { person, by } => account(C::Update, person, by),
            Event::PersonRemoved { person, by } => account(C::Delete, person, by),
            Event::PersonDeactivated { person, by, .. } => account(C::Deactivate, person, by),
            Event::PersonActivated { person, by } => account(C::Activate, person, by),
            Event::GroupAdded { group, by } => managed(C::Create, T::Group, group, by),
            Event::GroupChanged { group, by } => managed(C::Update, T::Group, group, by),
            Event::GroupRemoved { group, by } => managed(C::Delete, T::Group, group, by),
            Event::GroupMembers { group, change, by, .. } => {
                Self { reason: change, ..managed(C::Update, T::Group, group, by) }
            }
            Event::MachineAdded { machine, by, .. } => managed(C::Create, T::Machine, machine, by),
            Event::MachineRemoved { machine, by } => managed(C::Delete, T::Machine, machine, by),
            Event::SignalReceived { transmitter, person, session, effect, .. } => Self {
                person,
                session,
                reason: effect,
                severity: match effect.as_str() {
                    "sessions_ended" | "proofs_dropped" | "risk" => S::Medium,
                    "not_its_own" => S::Low,
                    _ => S::Informational,
                },
                ..managed(C::Read, T::Stream, transmitter, "")
            },
            Event::SignalsCounted { transmitter, effect, count, .. } => {
                Self { reason: effect, count: *count, severity: S::Low, ..managed(C::Read, T::Stream, transmitter, "") }
            }
            Event::StreamChanged { stream, change, by, .. } => {
                let change_is = match change.as_str() {
                    "created" => C::Create,
                    "deleted" => C::Delete,
                    _ => C::Update,
                };
                Self { reason: change, ..managed(change_is, T::Stream, stream, by) }
            }
            Event::StreamSubject { stream, person, change, by } => {
                Self { person, reason: change, ..managed(C::Update, T::Stream, stream, by) }
            }
            Event::SignalRefused { stream, code, txn, .. } => Self {
                reason: code,
                challenge: txn,
                outcome: O::Failure,
                severity: S::Low,
                ..managed(C::Read, T::Stream, stream, "")
            },
            Event::LinkMade { link, person, by, .. } => {
                Self { person, ..managed(C::Create, T::EnrolmentLink, link, by) }
            }
            Event::LinkUsed { link, person } => Self { person, ..managed(C::Read, T::EnrolmentLink, link, "") },
            Event::FactorEnrolled { person, factor, factor_id, authority, .. } => {
                Self { person, factor, reason: authority, ..managed(C::Enroll, T::Factor, factor_id, "") }
            }
            Event::FactorRemoved { person, factor, factor_id, authority } => {
                Self { person, factor, reason: authority, ..managed(C::Unenroll, T::Factor, factor_id, "") }
            }
            Event::TokensImported { file, by, .. } => managed(C::Create, T::Factor, file, by),
            Event::TokenAssigned { token, person, change, by } => {
                Self { person, reason: change, ..managed(C::Update, T::Factor, token, by) }
            }
            Event::TokenRevoked { token, person, by } => Self { person, ..managed(C::Delete, T::Factor, token, by) },
            Event::CodeSent { person, factor, challenge, .. } => {
                Self { person, factor, challenge, ..fact(A::Proof, O::Unknown, S::Informational) }
            }
            Event::CodeDelivered { person, factor, .. } => {
                Self { person, factor, reason: "delivered", ..fact(A::Proof, O::Unknown, S::Informational) }
            }
            Event::CodeUndelivered { person, factor, reason, .. } => {
                Self { person, factor, reason, ..fact(A::Proof, O::Failure, S::Low) }
            }
            Event::FactorLocked { person, factor, whom, .. } => Self {
                person,
                factor,
                reason: whom,
                severity: if whom == "reported" { S::High } else { S::Medium },
                ..managed(C::Suspend, T::Factor, factor, "")
            },
            Event::PushSent { challenge, session, person, .. } => {
                Self { challenge, session, person, factor: "push", ..fact(A::Proof, O::Unknown, S::Informational) }
            }
            Event::PushWithdrawn { challenge, session, person } => Self {
                challenge,
                session,
                person,
                factor: "push",
                reason: "withdrawn",
                ..fact(A::Proof, O::Unknown, S::Informational)
            },
            Event::PushRefused { challenge, session, person, reason } => {
                Self { challenge, session, person, factor: "push", reason, ..fact(A::Proof, O::Failure, S::Low) }
            }
            Event::DeviceFollowed { person, authority } => {
                Self { person, reason: authority, ..managed(C::Read, T::EnrolmentLink, authority, "") }
            }
            Event::DeviceSubscription { person, factor_id, change, .. } => {
                Self { person, reason: change, ..managed(C::Update, T::Device, factor_id, "") }
            }
            Event::AttemptFailed { person, factor, purpose, challenge, reason, .. } => {
                let area = if purpose == "sign_in" { A::SignIn } else { A::Proof };
                Self { person, factor, challenge, reason, ..fact(area, O::Failure, S::Low) }
            }
            Event::SessionStarted { session, person, proof } => {
                Self { area: A::SignIn, ..proved(session, person, proof) }
            }
            Event::SessionEnded { session, person, reason, by } => {
                Self { session, person, reason, by, ..fact(A::SignOut, O::Success, S::Informational) }
            }
            Event::DeviceNamed { person, device, session } => {
                Self { person, session, ..managed(C::Update, T::Device, device, "") }
            }
            Event::DeviceForgotten { person, device, session } => {
                Self { person, session, ..managed(C::Delete, T::Device, device, "") }
            }
            Event::TokenReused { session, person } => {
                Self { session, person, reason: "token_reused", ..fact(A::Proof, O::Failure, S::High) }
            }
            Event::AssuranceDropped { session, person, former, by } => {
                Self { session, person, factor: former, by, ..fact(A::Privilege, O::Success, S::Low) }
            }
            Event::ChallengeOpened {
                challenge,
                session,
                person,
                agent,
                asked,
                policies,
                policy,
                offered,
                held,
                ..
            } => Self {
                challenge,
                session,
                person,
                agent: agent.as_ref().map_or("", |agent| agent.as_str()),
                asked: Some(asked),
                policies,
                policy_version: policy,
                reason: offered,
                disposition: Some(if *held { Disposition::Delayed } else { Disposition::Challenged }),
                ..fact(A::Operation, O::Unknown, S::Informational)
            },
            Event::ChallengeAnswered { challenge, session, person, proof } => {
                Self { challenge, reason: "more is needed", ..proved(session, person, proof) }
            }
            Event::ChallengePassed { challenge, session, person, asked, grants, proof } => {
                Self { challenge, asked: Some(asked), reason: grants, ..proved(session, person, proof) }
            }
            Event::ChallengeFailed { challenge, session, person, reason } => {
                unproved(challenge, session, person, reason)
            }
            Event::ChallengeExpired { challenge, session, person } => unproved(challenge, session, person, "expired"),
            Event::ChallengeCancelled { challenge, session, person, reason } => {
                unproved(challenge, session, person, reason)
            }
            Event::OperationSent { challenge, session, person, request, asked, policies, policy, .. } => Self {
                challenge,
                session,
                person,
                request,
                asked: Some(asked),
                policies,
                policy_version: policy,
                disposition: Some(Disposition::Approved),
                ..fact(A::Operation, O::Success, S::Informational)
            },
            Event::OperationFinished { challenge, request, outcome } => {
                let (outcome, severity, status, reason) = match outcome {
                    Answer::Answered { status } if *status < 400 => (O::Success, S::Informational, Some(*status), ""),
                    Answer::Answered { status } => (O::Failure, S::Low, Some(*status), "refused upstream"),
                    Answer::NotSent => (O::Failure, S::Low, None, "not sent"),
                    Answer::Unknown => (O::Unknown, S::Medium, None, "outcome unknown"),
                };
                let disposition = Some(Disposition::Allowed);
                Self { challenge, request, disposition, status, reason, ..fact(A::Operation, outcome, severity) }
            }
            Event::OperationRefused { person, agent, asked, policies, policy, count, .. } => Self {
                person,
                agent: agent.as_ref().map_or("", |agent| agent.as_str()),
                asked: Some(asked),
                policies,
                policy_version: policy,
                count: *count,
                disposition: Some(Disposition::Blocked),
                ..fact(A::Operation, O::Failure, S::Low)
            },
            Event::RequestRefused { code, count, .. } => Self {
                reason: code,
                count: *count,
                disposition: Some(Disposition::Rejected),
                ..fact(A::Operation, O::Failure, S::Low)
            },
            Event::DecisionErred { asked, policy, policies } => Self {
                asked: Some(asked),
                policies,
                policy_version: policy,
                reason: "policy error",
                disposition: Some(Disposition::Errored),
                ..fact(A::Operation, O::Failure, S::High)
            },
            Event::EvidenceSearched { by, .. } => managed(C::Read, T::Evidence, "search", by),
            Event::EvidenceExported { by, authority, .. } => {
                Self { reason: authority, severity: S::Low, ..managed(C::Read, T::Evidence, "export", by) }
            }
            Event::EvidenceErased { person, by, .. } => {
                Self { person, severity: S::Medium, ..managed(C::Delete, T::Evidence, "details", by) }
            }
            Event::KeyRotated { purpose, key, by, .. } => {
                Self { reason: purpose, ..managed(C::Update, T::Key, key, by) }
            }
            Event::CheckpointKeyAnnounced { key, by, .. } => {
                Self { reason: "checkpoint", ..managed(C::Update, T::Key, key, by) }
            }
            Event::SinkRefused { sink, reason, .. } => {
                Self { thing: sink, reason, ..fact(A::Fault, O::Failure, S::Medium) }
            }
            Event::SinkLate { sink, why, .. } => {
                Self { thing: sink, reason: why, ..fact(A::Fault, O::Failure, S::High) }
            }
            Event::SinkCaughtUp { sink } => Self { reason: "caught up", ..managed(C::Activate, T::Sink, sink, "") },
            Event::SinkForgotten { sink, by, .. } => {
                Self { severity: S::Medium, ..managed(C::Delete, T::Sink, sink, by) }
            }
            Event::ClockJumped { node, by_ms } => {
                Self { thing: node, reason: by_ms, ..fact(A::Fault, O::Failure, S::High) }
            }
            Event::Fault { node, what } => Self { thing: node, reason: what, ..fact(A::Fault, O::Failure, S::High) },
        }
    }

    /// Whether this is an event of its own beside what it is about: a proof that also made a session worth more.
    pub fn raises(&self) -> bool {
        self.area == Area::Proof && self.outcome == Outcome::Success && self.reason == "freshness"
    }
}
