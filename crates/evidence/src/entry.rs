use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepgate_ledger::jcs;

use crate::assertion::Assertion;
use crate::details::{Details, DetailsError};

/// Stands before the id of an access token where an entry names the session that asked:
/// who comes with a token has none.
pub const TOKEN_PREFIX: &str = "token:";

/// One thing that happened, as it stands in the ledger.
///
/// The leaf of the tree is [`Entry::to_leaf`]: pseudonymous ids, digests,
/// assertions. No secret, code, body, token, name or address is ever in it;
/// what may be erased lies in [`Entry::details`].
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// 128 bits, hex.
    pub id: String,
    /// Wall clock, milliseconds since 1970.
    pub at_ms: i64,
    /// What happened.
    pub event: Event,
    /// What lies beside the tree.
    pub details: Option<Details>,
}

/// How a factor was proved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactorProof {
    /// `password`, `totp`, `passkey`, `push`, `recovery_code`, `idp`.
    pub factor: String,
    /// The enrolled factor's id.
    pub factor_id: String,
    /// For a passkey, or a device that signs what is approved there: the assertion as the browser gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<Assertion>,
    /// For a passkey: whether the authenticator verified the user (PIN or biometric).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_verified: Option<bool>,
    /// For a login at an identity provider: what it said. Its token lies in the details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginProof>,
    /// Hex SHA-256 that the proof is bound to: [`crate::Statement::digest`] or
    /// [`crate::SignInStatement::digest`].
    pub bound_to: String,
}

/// What an identity provider said about a login; its `nonce` is what the proof is bound to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginProof {
    /// `iss`.
    pub issuer: String,
    /// Its class: in the token's `acr` or `acrs` word for word, unless `methods` say otherwise; empty if it
    /// said none.
    pub acr: String,
    /// Where the class is read off how the person logged in: the `amr` that make it. Empty elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What the configuration said that this class is worth.
    pub counts_as: Vec<String>,
    /// `auth_time`, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time_ms: Option<String>,
    /// Hex SHA-256 of the ID token that lies in the details.
    pub id_token_sha256: String,
}

/// The public half of an enrolled passkey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolledKey {
    /// base64url.
    pub credential_id: String,
    /// COSE key, base64url.
    pub public_key: String,
    /// The user handle given to the authenticator, base64url.
    pub user_handle: String,
    /// Signature counter at enrolment.
    pub counter: u32,
    /// Whether the passkey may be synced.
    pub backup_eligible: bool,
    /// Whether it was synced at enrolment.
    pub backed_up: bool,
    /// Authenticator model, UUID form; all zero if not told. It is what the client said, unless attested.
    pub aaguid: String,
    /// Whether an attestation that leads to a root which the gate trusts proved the model.
    pub is_attested: bool,
    /// SHA-256 of the attestation object, hex; the object itself lies in the details.
    pub attestation_sha256: String,
}

/// What was asked: stands in each challenge's entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The service's name.
    pub service: String,
    /// The action.
    pub action: String,
    /// Service and path template.
    pub resource: String,
    /// The resource's kind, from the configuration.
    pub resource_kind: String,
    /// The resource's sensitivity, from the configuration.
    pub sensitivity: String,
}

/// An agent's name: the provider's name in the configuration and the agent's `client_id`
/// there, `corp/robot`. A program is no person, so it stands in the tree as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentName(String);

impl From<&str> for AgentName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl AgentName {
    /// `provider/client_id`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the upstream answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// The upstream answered with this status.
    Answered {
        /// HTTP status.
        status: u16,
    },
    /// Nothing was sent: the connection could not be made.
    NotSent,
    /// It may have been sent; whether it took effect is not known. It is never sent again.
    Unknown,
}

/// What happened. `kind` on the wire.
///
/// Ids are pseudonymous. Digests are hex SHA-256.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Event {
    /// The first entry of a log.
    #[serde(rename = "log.opened")]
    LogOpened { origin: String, version: String },
    /// A node began to serve. `relying_party` and `origins` are what assertions are checked against.
    #[serde(rename = "node.started")]
    NodeStarted {
        node: String,
        version: String,
        config: String,
        policy: String,
        relying_party: String,
        origins: Vec<String>,
    },
    /// A node stopped in order.
    #[serde(rename = "node.stopped")]
    NodeStopped { node: String },
    /// Policies were loaded.
    #[serde(rename = "policy.loaded")]
    PolicyLoaded { policy: String, policies: u32 },
    /// Policies did not load; the old ones stay.
    #[serde(rename = "policy.refused")]
    PolicyRefused { policy: String, kept: String },
    /// A second set of policies (`shadow`, by its version) was asked beside the live one about what doors decided, in a
    /// window. Who was asked or refused otherwise, and by which rules, lies in the details. Of a long window several
    /// entries tell, and the first has the counts: decisions, those that differ, those of them whose kind is not
    /// told, and decisions that it was not asked about because too many waited.
    #[serde(rename = "policy.compared")]
    PoliciesCompared {
        node: String,
        policy: String,
        shadow: String,
        decided: u32,
        differing: u32,
        untold: u32,
        dropped: u32,
        window_s: u32,
    },
    /// The configuration changed.
    #[serde(rename = "config.loaded")]
    ConfigLoaded { config: String },
    /// Another list of what is published of authenticators is believed: its number, SHA-256 of what was signed, and the
    /// models of which nothing is believed because of it, each with its status.
    #[serde(rename = "authenticators.loaded")]
    AuthenticatorsLoaded { number: String, sha256: String, next_update_ms: String, models: u32, refused: Vec<String> },
    /// A list of authenticators is not believed; the old one stays.
    #[serde(rename = "authenticators.refused")]
    AuthenticatorsRefused { reason: String },
    /// A service's upstream is spoken to without TLS, as the configuration allows.
    #[serde(rename = "config.plaintext_allowed")]
    PlaintextAllowed { service: String },
    /// A person was added. Names lie in the details.
    #[serde(rename = "person.added")]
    PersonAdded { person: String, by: String },
    /// A person's groups, name or address changed.
    #[serde(rename = "person.changed")]
    PersonChanged { person: String, by: String },
    /// A person was removed; sessions and factors with them.
    #[serde(rename = "person.removed")]
    PersonRemoved { person: String, by: String },
    /// A person may not sign in any more. So many sessions ended with it and so many factors went;
    /// each has an entry of its own in the same commit.
    #[serde(rename = "person.deactivated")]
    PersonDeactivated { person: String, by: String, sessions: u32, factors: u32 },
    /// A person may sign in again, once they have enrolled factors.
    #[serde(rename = "person.activated")]
    PersonActivated { person: String, by: String },
    /// A group was added by a provisioning system. Its name lies in the details.
    #[serde(rename = "group.added")]
    GroupAdded { group: String, by: String },
    /// A provisioned group's name or members changed.
    #[serde(rename = "group.changed")]
    GroupChanged { group: String, by: String },
    /// A provisioned group was removed; nobody is in it any more.
    #[serde(rename = "group.removed")]
    GroupRemoved { group: String, by: String },
    /// Who came into a provisioned group (`came`), went (`went`), or is in it by its new name (`renamed`). Of many
    /// people several entries tell, in the commit of the change.
    #[serde(rename = "group.members")]
    GroupMembers { group: String, change: String, people: Vec<String>, by: String },
    /// A machine got a token for the machines' listener. `scopes`: what it may say there.
    #[serde(rename = "machine.added")]
    MachineAdded { machine: String, scopes: Vec<String>, by: String },
    /// A machine's token was revoked.
    #[serde(rename = "machine.removed")]
    MachineRemoved { machine: String, by: String },
    /// Another system told of a security event (SSF, CAEP), and it was believed. `set`: SHA-256 of
    /// issuer and `jti`. `person` and `session` are empty where it concerned nobody who is known here.
    #[serde(rename = "signal.received")]
    SignalReceived {
        transmitter: String,
        event: String,
        set: String,
        person: String,
        session: String,
        /// What came of it: `sessions_ended`, `proofs_dropped`, `risk`, `nothing` …; `not_its_own` where it
        /// spoke of somebody of whom this transmitter may not speak, and did nothing; `verified` where it showed that
        /// its stream to this gate works, as it was asked to, and `stream_paused` or the like where it changed that.
        effect: String,
    },
    /// Security events of a transmitter that did nothing, beyond those of a window that have entries of their
    /// own. `effect`: as there.
    #[serde(rename = "signal.counted")]
    SignalsCounted { transmitter: String, effect: String, count: u32, window_s: u32 },
    /// A stream of signals to a subscriber changed: `created`, `updated`, `deleted`, or its new status; paused because
    /// its machine's token expired (`token_expired`), or resumed because that has another (`token_renewed`).
    #[serde(rename = "stream.changed")]
    StreamChanged {
        stream: String,
        change: String,
        /// `poll`, or `push`.
        delivery: String,
        /// Where it is posted by now: scheme, host and port. Empty if it is fetched.
        receiver: String,
        /// SHA-256 of the whole URL in hex, which may hold a secret. Empty if it is fetched.
        endpoint: String,
        by: String,
    },
    /// A subscriber is told no longer of a person (`left_out`), or is told again (`taken_in`).
    #[serde(rename = "stream.subject")]
    StreamSubject { stream: String, person: String, change: String, by: String },
    /// A subscriber refused a signal that waited for it: it is not told again.
    #[serde(rename = "signal.refused")]
    SignalRefused {
        stream: String,
        /// `jti`.
        set: String,
        /// The last part of its type.
        event: String,
        /// What it came of: a challenge or an entry.
        txn: String,
        /// The subscriber's code.
        code: String,
    },
    /// A one-time enrolment link was made.
    #[serde(rename = "enrolment.link_made")]
    LinkMade { link: String, person: String, by: String, expires_at_ms: String },
    /// A one-time enrolment link was opened for the first time.
    #[serde(rename = "enrolment.link_used")]
    LinkUsed { link: String, person: String },
    /// A factor was enrolled. `authority`: the link or challenge that allowed it.
    #[serde(rename = "factor.enrolled")]
    FactorEnrolled {
        person: String,
        factor: String,
        factor_id: String,
        authority: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<EnrolledKey>,
    },
    /// A factor was removed.
    #[serde(rename = "factor.removed")]
    FactorRemoved { person: String, factor: String, factor_id: String, authority: String },
    /// Hardware tokens were imported, all that the file holds. `file`: SHA-256 of it; `format`: `pskc` or `csv`.
    /// Whoever has that file, or made it, may know their seeds.
    #[serde(rename = "tokens.imported")]
    TokensImported { file: String, format: String, tokens: u32, by: String },
    /// A hardware token was handed out (`assigned`) or taken back (`unassigned`). Its serial number lies in the details.
    #[serde(rename = "token.assigned")]
    TokenAssigned { token: String, person: String, change: String, by: String },
    /// A hardware token was put out of use for good. `person` is empty where it was nobody's.
    #[serde(rename = "token.revoked")]
    TokenRevoked { token: String, person: String, by: String },
    /// A code is about to be sent to somebody, for a challenge, or to enrol its factor (`challenge` is empty).
    /// What became of it is an entry that names the same `code`.
    #[serde(rename = "code.sent")]
    CodeSent { person: String, factor: String, factor_id: String, code: String, challenge: String },
    /// A server took the code that was sent.
    #[serde(rename = "code.delivered")]
    CodeDelivered { person: String, factor: String, code: String },
    /// No server took it.
    #[serde(rename = "code.undelivered")]
    CodeUndelivered { person: String, factor: String, code: String, reason: String },
    /// Too many wrong tries: this factor of this person is locked until then, for `whom`:
    /// `device` (one that the person used before), `address`, `strangers` or `all`; or, without wrong tries, for
    /// everybody because the person `reported` that it was not they who asked.
    #[serde(rename = "factor.locked")]
    FactorLocked { person: String, factor: String, whom: String, until_ms: String },
    /// A person's devices were asked to approve. `session`: which wanted it.
    #[serde(rename = "push.sent")]
    PushSent { challenge: String, session: String, person: String, devices: u32 },
    /// A session withdrew what it had asked a person's devices, to ask something else.
    #[serde(rename = "push.withdrawn")]
    PushWithdrawn { challenge: String, session: String, person: String },
    /// A session wanted to ask a person's devices, and they were not asked: `another_is_open`, `too_many` or `locked`.
    /// The first of a kind within a window has an entry of its own.
    #[serde(rename = "push.refused")]
    PushRefused { challenge: String, session: String, person: String, reason: String },
    /// A browser followed the link of somebody who adds an approver device. `authority`: the link or challenge that
    /// allowed it. Where from lies in the details.
    #[serde(rename = "device.followed")]
    DeviceFollowed { person: String, authority: String },
    /// How a device is woken was `set`, or forgotten: `gone` (its push service says so) or `dropped`. `endpoint`:
    /// SHA-256 of its address at the push service, in hex.
    #[serde(rename = "device.subscription")]
    DeviceSubscription { person: String, factor_id: String, change: String, endpoint: String },
    /// Somebody tried to prove something and did not. `person` is empty where the name is not known.
    /// Of a login at a provider, `issuer` and `subject` lie in the details, where the provider signed whose it was.
    #[serde(rename = "attempt.failed")]
    AttemptFailed {
        person: String,
        factor: String,
        /// Where, if it was a login at a provider.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
        purpose: String,
        challenge: String,
        reason: String,
        /// The factor that was tried, where it is known which: a device that answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        factor_id: Option<String>,
    },
    /// A sign-in.
    #[serde(rename = "session.started")]
    SessionStarted { session: String, person: String, proof: FactorProof },
    /// A session ended: `sign_out`, `revoked`, `expired`, `person_removed`.
    #[serde(rename = "session.ended")]
    SessionEnded { session: String, person: String, reason: String, by: String },
    /// A person named one of their devices. `device`: SHA-256 of its cookie; the name lies in the details.
    #[serde(rename = "device.named")]
    DeviceNamed { person: String, device: String, session: String },
    /// A person had one of their devices forgotten: it is new again.
    #[serde(rename = "device.forgotten")]
    DeviceForgotten { person: String, device: String, session: String },
    /// A token of a session was shown again long after its successor was used: somebody has a copy. It was
    /// worth nothing; the session is decided with `session.token_reuse` from now on.
    #[serde(rename = "session.token_reused")]
    TokenReused { session: String, person: String },
    /// What a session proved counts no more; the session stays. `former`: the factor that counted most of it.
    #[serde(rename = "assurance.dropped")]
    AssuranceDropped { session: String, person: String, former: String, by: String },
    /// A challenge was opened. The statement lies in the details.
    #[serde(rename = "challenge.opened")]
    ChallengeOpened {
        challenge: String,
        session: String,
        /// Who is asked: who asked, or who answers for `agent`.
        person: String,
        /// Who asked, if it was an agent; a person otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentName>,
        asked: Asked,
        /// The policies that refused, by id.
        policies: Vec<String>,
        policy: String,
        /// What would suffice, e.g. `confirm: passkey | totp`.
        offered: String,
        /// [`crate::Statement::digest`].
        statement: String,
        /// Whether the request is held here.
        held: bool,
        /// The challenge that this one succeeds, if the decision at resume asked anew.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        succeeds: String,
    },
    /// One of several proofs was given; more remain.
    #[serde(rename = "challenge.answered")]
    ChallengeAnswered { challenge: String, session: String, person: String, proof: FactorProof },
    /// A challenge was passed.
    #[serde(rename = "challenge.passed")]
    ChallengePassed {
        challenge: String,
        session: String,
        person: String,
        asked: Asked,
        /// `freshness` or `confirmation`.
        grants: String,
        proof: FactorProof,
    },
    /// A challenge ended without being passed: `too_many_tries`.
    #[serde(rename = "challenge.failed")]
    ChallengeFailed { challenge: String, session: String, person: String, reason: String },
    /// Nobody answered in time.
    #[serde(rename = "challenge.expired")]
    ChallengeExpired { challenge: String, session: String, person: String },
    /// The person refused it.
    #[serde(rename = "challenge.cancelled")]
    ChallengeCancelled { challenge: String, session: String, person: String, reason: String },
    /// A confirmation or held request was spent, and its request is about to be sent.
    /// Written before the first byte leaves.
    #[serde(rename = "operation.sent")]
    OperationSent {
        challenge: String,
        session: String,
        person: String,
        request: String,
        asked: Asked,
        policies: Vec<String>,
        policy: String,
        /// Digest of the statement that was confirmed.
        statement: String,
        body_sha256: String,
    },
    /// How the upstream answered.
    #[serde(rename = "operation.finished")]
    OperationFinished { challenge: String, request: String, outcome: Outcome },
    /// A decision denied, counted in a window. Each kind of refusal has a first entry at once.
    #[serde(rename = "operation.refused")]
    OperationRefused {
        /// Who asked, or who answers for `agent`; empty for nobody signed in.
        person: String,
        /// Who asked, if it was an agent; a person otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentName>,
        asked: Asked,
        policies: Vec<String>,
        policy: String,
        count: u32,
        window_s: u32,
    },
    /// Requests that were refused before any decision, counted in a window.
    #[serde(rename = "request.refused")]
    RequestRefused { code: String, count: u32, window_s: u32 },
    /// A policy erred while it was evaluated: denied, and an alarm.
    #[serde(rename = "decision.erred")]
    DecisionErred { asked: Asked, policy: String, policies: Vec<String> },
    /// Evidence was searched.
    #[serde(rename = "evidence.searched")]
    EvidenceSearched { by: String, query: String },
    /// Evidence was exported.
    #[serde(rename = "evidence.exported")]
    EvidenceExported {
        by: String,
        from_index: String,
        to_index: String,
        /// What allowed it, such as `challenge:…`; empty for the command line, which needs no decision.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        authority: String,
    },
    /// Somebody's personal data was erased from the details.
    #[serde(rename = "evidence.erased")]
    EvidenceErased { person: String, by: String, entries: u32 },
    /// A key was made or rotated: `master`, `assertion`. `from_ms`: when it begins to sign, for a key
    /// that is published before.
    #[serde(rename = "key.rotated")]
    KeyRotated {
        purpose: String,
        key: String,
        by: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        from_ms: String,
    },
    /// From here on another key signs the log's heads. `key` and `former` are verifier keys (C2SP
    /// signed-note); the head that ends with this entry is signed by both.
    #[serde(rename = "key.announced")]
    CheckpointKeyAnnounced { key: String, former: String, by: String },
    /// A system that is told the evidence refused this entry for good: it lies in the file of refused ones.
    #[serde(rename = "sink.refused")]
    SinkRefused { sink: String, index: String, reason: String },
    /// A system that is told the evidence has taken nothing for too long. Nothing is lost: it is told later.
    #[serde(rename = "sink.late")]
    SinkLate { sink: String, next_index: String, since_ms: String, why: String },
    /// It has everything again.
    #[serde(rename = "sink.caught_up")]
    SinkCaughtUp { sink: String },
    /// It is not told any more, and where it stood is forgotten.
    #[serde(rename = "sink.forgotten")]
    SinkForgotten { sink: String, next_index: String, by: String },
    /// The wall clock moved against the monotonic one.
    #[serde(rename = "clock.jumped")]
    ClockJumped { node: String, by_ms: String },
    /// Stepgate itself failed at something that matters.
    #[serde(rename = "fault")]
    Fault { node: String, what: String },
}

/// Why bytes are not an entry, or an entry cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// It is not JSON of the form that entries have.
    #[error("not an entry")]
    NotAnEntry(#[source] serde_json::Error),
    /// The bytes are an entry, but not in canonical form: two spellings of one entry.
    #[error("the entry is not in canonical form")]
    NotInCanonicalForm,
    /// It has no canonical form.
    #[error("the entry has no canonical form")]
    NotCanonical(#[source] jcs::NotCanonical),
    /// Its details cannot be committed to.
    #[error("the entry's details cannot be committed to")]
    Details(#[source] DetailsError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaf {
    id: String,
    at_ms: String,
    #[serde(default)]
    details: Option<String>,
    event: Event,
}

impl Entry {
    /// The bytes of the leaf: JCS of `{id, at_ms, event, details?}` where
    /// `details` is the commitment.
    pub fn to_leaf(&self) -> Result<Vec<u8>, EntryError> {
        let commitment = match &self.details {
            None => None,
            Some(details) => Some(details.commitment().map_err(EntryError::Details)?),
        };
        leaf(&self.id, self.at_ms, &self.event, commitment)
    }

    /// Reads a leaf. Gives the entry without details, and the commitment to them.
    ///
    /// Refuses bytes that are not exactly what [`Entry::to_leaf`] writes, so that
    /// one entry has one spelling.
    pub fn from_leaf(bytes: &[u8]) -> Result<(Self, Option<String>), EntryError> {
        let parsed: Leaf = serde_json::from_slice(bytes).map_err(EntryError::NotAnEntry)?;
        let at_ms: i64 = parsed.at_ms.parse().map_err(|_| EntryError::NotInCanonicalForm)?;
        if leaf(&parsed.id, at_ms, &parsed.event, parsed.details.clone())? != bytes {
            return Err(EntryError::NotInCanonicalForm);
        }
        let entry = Self { id: parsed.id, at_ms, event: parsed.event, details: None };
        Ok((entry, parsed.details))
    }
}

fn leaf(id: &str, at_ms: i64, event: &Event, commitment: Option<String>) -> Result<Vec<u8>, EntryError> {
    let mut object = Map::new();
    object.insert("id".into(), Value::from(id));
    object.insert("at_ms".into(), Value::from(at_ms.to_string()));
    object.insert("event".into(), serde_json::to_value(event).map_err(EntryError::NotAnEntry)?);
    if let Some(commitment) = commitment {
        object.insert("details".into(), Value::from(commitment));
    }
    jcs::canonical(&Value::Object(object)).map_err(EntryError::NotCanonical)
}
