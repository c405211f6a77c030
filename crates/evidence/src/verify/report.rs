//! What a verification found.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use stepgate_ledger::verify as ledger;

use super::logins::SigningKeys;

/// How many findings are listed; beyond that they are counted.
pub const MAX_FINDINGS: usize = 1000;

/// Something wrong with what an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The entry's place in the log.
    pub index: u64,
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
}

/// What can be wrong with what an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "problem", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Problem {
    /// The bytes are not an entry in the one spelling that it has.
    #[error("it cannot be read: {reason}")]
    NotAnEntry {
        /// Why.
        reason: String,
    },
    /// The log does not begin with its own opening, or is opened again later.
    #[error("the log does not begin where it should")]
    LogOpening,
    /// The opening names another log than the checkpoint.
    #[error("it opens the log {named}, the checkpoint is of another")]
    OtherLog {
        /// The log that it names.
        named: String,
    },
    /// What lies beside the entry is not what it commits to.
    #[error("the details beside it are not those that it commits to")]
    OtherDetails,
    /// Something lies beside an entry that commits to nothing.
    #[error("details lie beside it, and it commits to none")]
    UnexpectedDetails,
    /// A challenge was opened without keeping the statement that was to be confirmed.
    #[error("no statement is kept for it")]
    NoStatement,
    /// The statement does not hash to what the entry says.
    #[error("the statement beside it is not the one that was signed")]
    OtherStatement,
    /// The statement says something else than the entry.
    #[error("the statement and the entry differ in {field}")]
    StatementContradicts {
        /// In what.
        field: &'static str,
    },
    /// A passkey's proof without its assertion, or an assertion that no passkey gave.
    #[error("the proof and its assertion do not belong together")]
    ProofIncomplete,
    /// The assertion does not verify.
    #[error("the passkey's assertion does not verify: {reason}")]
    Assertion {
        /// Why.
        reason: String,
    },
    /// The credential was never enrolled.
    #[error("the passkey was not enrolled")]
    UnknownCredential,
    /// The credential was removed before.
    #[error("the passkey had been removed")]
    RemovedCredential,
    /// The credential is another person's, or enrolled under another id.
    #[error("the passkey is not the one that the entry names")]
    OtherCredential,
    /// An enrolled key that cannot be used.
    #[error("the enrolled key is none: {reason}")]
    BadKey {
        /// Why.
        reason: String,
    },
    /// A credential that is enrolled already.
    #[error("the passkey was enrolled already")]
    EnrolledTwice,
    /// A company login proves nothing.
    #[error("the company login does not verify: {reason}")]
    Login {
        /// Why.
        reason: String,
    },
    /// The token or the key of a company login is not among the details, which are there.
    #[error("no ID token and key are kept for the company login")]
    NoIdToken,
    /// A company login by a key that is not among those that were given of its provider.
    #[error("the company login is signed by {thumbprint}, which is none of the keys that were given of {issuer}")]
    ForeignKey {
        /// The provider.
        issuer: String,
        /// The key's thumbprint.
        thumbprint: String,
    },
    /// Who the person is at the provider was never said.
    #[error("the company login was not enrolled")]
    UnknownIdentity,
    /// Who the person is at the provider was taken back before.
    #[error("the company login had been removed")]
    RemovedIdentity,
    /// Enrolled for another person.
    #[error("the company login is another person's")]
    OtherIdentity,
    /// Who the person is at the provider is not among the details, which are there.
    #[error("it does not say who is enrolled")]
    NoIdentity,
    /// The same subject of the same provider is enrolled already.
    #[error("the company login was enrolled already")]
    IdentityTaken,
    /// The provider speaks of somebody else than at the enrolment or an earlier login.
    #[error("the provider speaks of another subject than before")]
    OtherSubject,
    /// Nobody was allowed to enrol or remove this factor.
    #[error("{authority} did not allow it")]
    NoAuthority {
        /// What the entry names as having allowed it.
        authority: String,
    },
    /// The proof was made for something else than the challenge.
    #[error("the proof is bound to something else")]
    BoundElsewhere,
    /// A proof that signed somebody in once was used again.
    #[error("the proof was used before")]
    ProofUsedTwice,
    /// No session of that id was started, or it was another person's.
    #[error("the session is not one of this person")]
    OtherSession,
    /// The same id again.
    #[error("the {what} was there before")]
    Again {
        /// What was.
        what: &'static str,
    },
    /// No challenge of that id was opened.
    #[error("the challenge was never opened")]
    UnknownChallenge,
    /// Another person's challenge.
    #[error("the challenge is another person's")]
    OtherPerson,
    /// The challenge was not in the state that this needs.
    #[error("the challenge was {state}")]
    ChallengeWas {
        /// What it was.
        state: &'static str,
    },
    /// What was granted is not what the statement says.
    #[error("it grants something else than the statement says")]
    OtherGrant,
    /// Answered or spent after its time.
    #[error("it came too late")]
    TooLate,
    /// What was sent is not what was confirmed.
    #[error("what was sent differs from what was confirmed in {field}")]
    SentSomethingElse {
        /// In what.
        field: &'static str,
    },
    /// An outcome of a request that was never sent.
    #[error("the request was never sent")]
    NeverSent,
}

/// Something that could not be checked, though nothing is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotChecked {
    /// The content was erased. Signatures over it were checked all the same.
    #[error("content that was erased")]
    ContentErased,
    /// The export does not have the content that the entry commits to.
    #[error("content that is not in the export")]
    ContentAbsent,
    /// A signature is valid over a digest, but what the digest is of was erased or is not there.
    #[error("what was confirmed, signature valid, content erased or absent")]
    SignedContentUnknown,
    /// The statement of a sign-in was erased or is absent: the signature is valid over its digest.
    #[error("the statements of sign-ins, signature valid")]
    SignInStatement,
    /// Company logins whose details were erased: nothing of them is left to be checked.
    #[error("company logins whose ID token was erased")]
    LoginErased,
    /// Company logins whose details are not in the export.
    #[error("company logins whose ID token is not in the export")]
    LoginAbsent,
    /// Verified company logins by keys with which nothing was compared.
    #[error("whether the keys that signed company logins are their providers': compare the thumbprints (RFC 7638)")]
    ProviderKeys,
    /// What a class of login counts as is configured, and the configuration is not in the log.
    #[error("what company logins count as: the gate's configuration said")]
    LoginWorth,
    /// For whom a company login was enrolled: erased or absent, so the first login says who it is.
    #[error("for whom company logins were enrolled, content erased or absent")]
    EnrolledIdentity,
    /// Passwords, codes: only the gate saw them.
    #[error("proofs by {0}: only the gate saw them")]
    Factor(String),
    /// Before the first node said what assertions are checked against.
    #[error("assertions before any node said its relying party")]
    NoRelyingParty,
    /// Attestations are kept, but not judged: that needs the manufacturers' roots.
    #[error("attestations of enrolled passkeys")]
    Attestation,
    /// A change allowed by something that this log does not show.
    #[error("changes of factors allowed from outside this log")]
    Authority,
    /// Requests that were sent, with no entry of how they ended.
    #[error("outcomes of requests that were sent: not recorded")]
    Outcome,
}

/// How much was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Entries read.
    pub entries: u64,
    /// Details that are those that their entry commits to.
    pub details: u64,
    /// Statements that hash to what their entry says.
    pub statements: u64,
    /// Passkey signatures that are valid.
    pub signatures: u64,
    /// Company logins whose token is what the entry says, signed by the key that lies beside it.
    pub logins: u64,
    /// Challenges that were passed.
    pub passed: u64,
    /// Requests that were sent after it.
    pub sent: u64,
}

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether these are the entries that were signed.
    pub ledger: ledger::Report,
    /// How much was checked.
    pub checked: Counts,
    /// The keys that signed company logins. Each has to be compared with those of its provider.
    #[serde(flatten)]
    pub signing_keys: SigningKeys,
    /// What is wrong with what they say, at most [`MAX_FINDINGS`] of it, in the order of the log.
    pub findings: Vec<Finding>,
    /// How many more findings there were.
    pub more_findings: u64,
    /// What could not be checked, and how often.
    #[serde(serialize_with = "as_list")]
    pub not_checked: BTreeMap<NotChecked, u64>,
}

fn as_list<S: serde::Serializer>(counts: &BTreeMap<NotChecked, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Counted<'a> {
        what: &'a NotChecked,
        count: u64,
    }
    serializer.collect_seq(counts.iter().map(|(what, count)| Counted { what, count: *count }))
}

impl Report {
    /// Whether nothing is wrong, neither with the log nor with what it says.
    pub const fn is_sound(&self) -> bool {
        self.ledger.is_intact() && self.findings.is_empty() && self.more_findings == 0
    }
}

/// For people: what was checked, what is wrong, what could not be checked.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        f.write_str(if self.is_sound() { "the log is sound" } else { "the log is NOT sound" })
    }
}

/// Longest text of an entry that a report repeats, in characters.
const MAX_REPEATED: usize = 200;

/// Whether a character would move the cursor, end the line or turn the direction of writing.
pub(crate) fn moves(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of an entry as a report may repeat it: shortened, with a dot for whatever would move the
/// cursor, end the line or turn the direction of writing.
pub(super) fn plain(text: &str) -> String {
    text.chars().take(MAX_REPEATED).map(|character| if moves(character) { '·' } else { character }).collect()
}

impl Report {
    fn lines(&self) -> Vec<String> {
        let Counts { entries, details, statements, signatures, logins, passed, sent } = self.checked;
        let mut lines = Vec::new();
        if let (Some(origin), Some(root)) = (&self.ledger.origin, &self.ledger.root) {
            lines.push(format!("log {origin}, {} entries, root {root}", self.ledger.size));
        }
        lines.extend(self.ledger.signed_by.iter().map(|key| format!("checkpoint signed by {key}")));
        lines.extend(self.ledger.believed.iter().filter_map(|believed| {
            let index = believed.announced_by?;
            Some(format!("{} is believed because entry {index} announces it", believed.key))
        }));
        lines.push(format!(
            "checked: {entries} entries, {details} details, {statements} statements, {signatures} passkey signatures, \
             {logins} company logins, {passed} passed challenges, {sent} requests sent"
        ));
        lines.extend(self.signing_keys.lines());
        lines.extend(self.ledger.findings.iter().map(|finding| format!("WRONG: {finding}")));
        let wrong = |Finding { index, problem }: &Finding| format!("WRONG: entry {index}: {problem}");
        lines.extend(self.findings.iter().map(wrong));
        let more = self.more_findings + self.ledger.more_findings;
        lines.extend((more > 0).then(|| format!("WRONG: and {more} more")));
        lines.extend(self.ledger.not_checked.iter().map(|what| format!("not checked: {what}")));
        lines.extend(self.not_checked.iter().map(|(what, count)| format!("not checked: {what} ({count})")));
        lines
    }
}

/// Collects findings up to the limit.
#[derive(Debug, Default)]
pub(super) struct Findings {
    listed: Vec<Finding>,
    more: u64,
    not_checked: BTreeMap<NotChecked, u64>,
}

impl Findings {
    pub(super) fn add(&mut self, index: u64, problem: Problem) {
        if self.listed.len() < MAX_FINDINGS {
            self.listed.push(Finding { index, problem });
        } else {
            self.more += 1;
        }
    }

    pub(super) fn not_checked(&mut self, what: NotChecked) {
        *self.not_checked.entry(what).or_default() += 1;
    }

    pub(super) fn into_report(mut self, ledger: ledger::Report, checked: Counts, signing_keys: SigningKeys) -> Report {
        self.listed.sort_by_key(|finding| finding.index);
        Report {
            ledger,
            checked,
            signing_keys,
            findings: self.listed,
            more_findings: self.more,
            not_checked: self.not_checked,
        }
    }
}
