//! What can be chosen about a store, with defaults.

use std::time::Duration;

use stepgate_ledger::Origin;

/// What can be chosen about a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the log, e.g. the gate's host. It counts when a database is
    /// opened for the first time; afterwards the log keeps the name that it has.
    pub origin: Origin,
    /// How long sessions are served from memory while the database does not answer.
    pub stale_for: Duration,
    /// How often other nodes' changes are looked for, where no notification comes.
    pub poll_every: Duration,
    /// Connections that read.
    pub readers: u32,
    /// Session tokens in memory.
    pub cached_tokens: usize,
    /// Changes that wait for the writer; more are refused as unavailable.
    pub queue: usize,
    /// What happens to an empty or older schema.
    pub schema: OlderSchema,
}

/// What happens to an empty or older schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OlderSchema {
    /// It is migrated when the database is opened.
    Migrate,
    /// The database is not opened.
    Refuse,
}

impl Options {
    /// The defaults, for a log of this name.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            stale_for: Duration::from_secs(30),
            poll_every: Duration::from_millis(300),
            readers: 6,
            cached_tokens: 200_000,
            queue: 4_096,
            schema: OlderSchema::Migrate,
        }
    }
}

/// Changes in one transaction.
pub(crate) const BATCH_MAX: usize = 256;
/// How long a batch may take before its commit begins.
pub(crate) const BATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a commit may take before its result counts as unknown.
pub(crate) const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one read may take.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long looking for other nodes' changes may take before the database counts as away.
pub(crate) const POLL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a change is tried again that another node's lock got in the way of.
pub(crate) const LOCK_TRIES: u32 = 4;
/// Batches after which a checkpoint is signed even if more changes wait.
pub(crate) const CHECKPOINT_EVERY: u32 = 32;
/// Rows of `changes` that are read at once.
pub(crate) const CHANGES_AT_ONCE: i64 = 1_000;
/// Rows of `changes` that are kept; a node that is further behind forgets all that it cached.
pub(crate) const CHANGES_KEPT: i64 = 20_000;
/// A session's use is written at most this often.
pub(crate) const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// How often uses that are to be written are written.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// Uses that wait to be written; more are forgotten until the session is used again.
pub(crate) const TOUCHES_MAX: usize = 50_000;
/// Uses in one transaction.
pub(crate) const TOUCHES_AT_ONCE: usize = 500;
/// How far apart two looks are at whether a session has ended by time.
pub(crate) const LOOKS_APART: Duration = Duration::from_millis(100);
/// How often a wait for a session's end looks whether it ended by time, where that is further off.
pub(crate) const ENDED_BY_TIME_EVERY: Duration = Duration::from_secs(15);
/// How long a node lives without a heartbeat.
pub(crate) const LEASE: Duration = Duration::from_secs(20);
/// Live sessions of one person.
pub(crate) const SESSIONS_PER_PERSON_MAX: i64 = 1_000;
/// Devices of one person that are remembered; the one that was not used for longest is forgotten.
pub(crate) const DEVICES_PER_PERSON_MAX: i64 = 50;
/// How long it is remembered that a network address was locked; longer than any of its locks.
pub(crate) const ADDRESSES_REMEMBERED: Duration = Duration::from_secs(2 * 24 * 3600);
/// Logins at identity providers that are on their way, from one network or session.
pub(crate) const PENDING_LOGINS_OF_ONE_MAX: i64 = 100;
/// Logins at identity providers that proved more in one session and are remembered.
pub(crate) const PROOFS_THERE_MAX: i64 = 50;
/// Logins at identity providers that are on their way, of all strangers together.
pub(crate) const PENDING_LOGINS_MAX: i64 = 10_000;
/// Factors of one person.
pub(crate) const FACTORS_PER_PERSON_MAX: i64 = 32;
/// Live tokens of one session.
pub(crate) const TOKENS_PER_SESSION_MAX: i64 = 1_000;
/// Browsers (and programs' cookie jars) of one session that have a token for one host; one more ends the oldest.
pub(crate) const BROWSERS_PER_HOST_MAX: i64 = 16;
/// Retired tokens of one session, host and browser by which a copy is known.
pub(crate) const RETIRED_TOKENS_KEPT: i64 = 8;
/// One-time codes of one session that wait to be redeemed.
pub(crate) const CODES_PER_SESSION_MAX: i64 = 1_000;
/// Proofs of one kind that a session keeps; the youngest decide.
pub(crate) const PROOFS_PER_KIND_MAX: i64 = 8;
/// Rows in one answer.
pub(crate) const ROWS_MAX: u32 = 1_000;
/// Rows that one statement of the purge deletes.
pub(crate) const PURGED_AT_ONCE: i64 = 500;
/// How long a session's row is kept after its end, so that its owner may sign in and go on.
pub(crate) const ENDED_SESSIONS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a closed challenge is kept, so that its page can say how it ended.
pub(crate) const CLOSED_CHALLENGES_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long an answered sign-in prompt is remembered: longer than any prompt lives.
pub(crate) const PROMPTS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long an assertion key is kept after the next one began to sign: longer than what it signed is
/// valid, with clocks that differ and nodes that have not heard of the next one yet.
pub(crate) const FORMER_ASSERTION_KEYS_KEPT: Duration = Duration::from_secs(3600);
/// How long a key for security events is published after the next one began to sign: as long as an
/// event is taken that happened long ago.
pub(crate) const FORMER_SIGNAL_KEYS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Sealed rows in one transaction while they are sealed anew.
pub(crate) const SEALED_AT_ONCE: i64 = 100;
/// People whose change one batch names one by one; for more, all is forgotten that is cached.
pub(crate) const CHANGES_NAMED_MAX: usize = 500;
/// People whom one entry names; of more, several tell.
pub(crate) const PEOPLE_IN_ENTRY_MAX: usize = 500;
/// Things of one person, or of one session of theirs, that one transmitter tells a risk of under one name
/// and that are kept apart; what it tells of more is kept together.
pub(crate) const RISK_SUBJECTS_MAX: i64 = 50;
/// How long a logout at a provider is remembered: longer than a login may be on its way.
pub(crate) const LOGOUTS_KEPT: Duration = Duration::from_secs(3600);
/// How long it is remembered that a security event was taken: longer than one may be old.
pub(crate) const RECEIVED_SETS_KEPT: Duration = Duration::from_secs(8 * 24 * 3600);
/// How long a profile is kept to which nothing was added: by then little of it is left.
pub(crate) const PROFILES_KEPT: Duration = Duration::from_secs(180 * 24 * 3600);
/// How long it is remembered what was put to people's devices: an hour is counted.
pub(crate) const PUSHES_KEPT: Duration = Duration::from_secs(2 * 3600);
