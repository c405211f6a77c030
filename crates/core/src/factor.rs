//! Factors: what a person can prove, and the port that verifies it.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use secrecy::SecretString;
use stepgate_evidence::{Assertion, EnrolledKey};

use crate::id::FactorId;
use crate::person::Person;
use crate::time::{Randomness, Timestamp};

/// A kind of factor.
///
/// In the order of trouble: what is asked first when several would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactorKind {
    /// A passkey or security key with user verification (WebAuthn).
    Passkey,
    /// A code from an authenticator app (RFC 6238).
    Totp,
    /// A password of a local account.
    Password,
    /// A recovery code (look-up secret of SP 800-63B-4): single use.
    RecoveryCode,
}

impl FactorKind {
    /// All kinds, least trouble first.
    pub const ALL: [Self; 4] = [Self::Passkey, Self::Totp, Self::Password, Self::RecoveryCode];

    /// The name in policy, configuration, evidence and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "totp",
            Self::Password => "password",
            Self::RecoveryCode => "recovery_code",
        }
    }

    /// What it is called on pages.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "authenticator code",
            Self::Password => "password",
            Self::RecoveryCode => "recovery code",
        }
    }

    /// The same with its article: `an authenticator code`.
    pub const fn one(self) -> &'static str {
        match self {
            Self::Passkey => "a passkey",
            Self::Totp => "an authenticator code",
            Self::Password => "a password",
            Self::RecoveryCode => "a recovery code",
        }
    }

    /// Whether it raises `context.age.second_factor`.
    pub const fn is_second_factor(self) -> bool {
        match self {
            Self::Passkey | Self::Totp | Self::RecoveryCode => true,
            Self::Password => false,
        }
    }

    /// Whether a password may be shorter beside it. Recovery codes are spares: who has lost
    /// everything else is left with the password alone.
    pub const fn stands_beside_a_password(self) -> bool {
        matches!(self, Self::Passkey | Self::Totp)
    }

    /// Whether it is phishing-resistant by verifier-name binding (SP 800-63B-4).
    pub const fn is_phishing_resistant(self) -> bool {
        matches!(self, Self::Passkey)
    }

    /// Something the person knows.
    pub const fn is_knowledge(self) -> bool {
        matches!(self, Self::Password)
    }

    /// Something the person has.
    pub const fn is_possession(self) -> bool {
        matches!(self, Self::Passkey | Self::Totp | Self::RecoveryCode)
    }

    /// Authentication method references (RFC 8176).
    pub const fn amr(self) -> &'static [&'static str] {
        match self {
            Self::Passkey => &["swk", "user", "mfa"],
            Self::Totp => &["otp"],
            Self::Password => &["pwd"],
            Self::RecoveryCode => &["kba"],
        }
    }
}

impl fmt::Display for FactorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no kind of factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a factor: passkey, totp, password or recovery_code is expected")]
pub struct NotAFactor;

impl FromStr for FactorKind {
    type Err = NotAFactor;

    fn from_str(text: &str) -> Result<Self, NotAFactor> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(NotAFactor)
    }
}

/// A factor that a person has enrolled.
#[derive(Clone, Debug)]
pub struct EnrolledFactor {
    /// Its id.
    pub id: FactorId,
    /// The name that the person gave it.
    pub name: String,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// When it last proved something.
    pub last_used_at: Option<Timestamp>,
    /// What verifies it.
    pub secret: FactorSecret,
}

impl EnrolledFactor {
    /// Its kind.
    pub fn kind(&self) -> FactorKind {
        self.secret.kind()
    }
}

/// What verifies a factor. The store seals it; it cannot be printed.
#[derive(Clone)]
pub enum FactorSecret {
    /// PHC string (argon2id), and what the password may stand for.
    Password { phc: SecretString, stands: PasswordStands },
    /// The shared secret, and the last step that was accepted (RFC 6238).
    Totp { seed: SecretString, last_step: Option<u64> },
    /// The public key and the counters.
    Passkey(Box<Passkey>),
    /// Digests of the codes that are left.
    RecoveryCodes { left: Vec<CodeDigest> },
}

impl FactorSecret {
    /// The kind it belongs to.
    pub const fn kind(&self) -> FactorKind {
        match self {
            Self::Password { .. } => FactorKind::Password,
            Self::Totp { .. } => FactorKind::Totp,
            Self::Passkey(_) => FactorKind::Passkey,
            Self::RecoveryCodes { .. } => FactorKind::RecoveryCode,
        }
    }
}

impl fmt::Debug for FactorSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FactorSecret::{}(..)", self.kind())
    }
}

/// Whether a password was long enough, when it was chosen, to be the only factor
/// (SP 800-63B-4 section 3.1.1.2: 15 characters alone, 8 beside another factor).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordStands {
    /// It may be the only factor.
    Alone,
    /// It is short: a passkey or an authenticator app has to stand beside it.
    BesideAnother,
}

/// A salted digest of one recovery code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeDigest(pub [u8; 32]);

/// The public half of a passkey.
#[derive(Clone, Debug)]
pub struct Passkey {
    /// The credential id.
    pub credential_id: Vec<u8>,
    /// COSE key.
    pub public_key: Vec<u8>,
    /// The user handle that was given to the authenticator.
    pub user_handle: Vec<u8>,
    /// The last signature counter.
    pub counter: u32,
    /// Whether it may be synced.
    pub backup_eligible: bool,
    /// Whether it was synced when last used.
    pub backed_up: bool,
    /// The authenticator's model.
    pub aaguid: [u8; 16],
    /// The attestation object, as the authenticator gave it.
    pub attestation: Vec<u8>,
}

/// What a proof changes in its factor; applied in the transaction that accepts
/// the proof, by compare-and-swap, so that a code counts once across all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactorUse {
    /// Nothing but the time of last use.
    Nothing,
    /// The step becomes the last accepted; refused unless it is greater.
    TotpStep(u64),
    /// The counter and backup state of a passkey; refused unless the counter is
    /// greater than the stored one or both are zero.
    PasskeyCounter { counter: u32, backed_up: bool },
    /// The code is spent; refused if it is not there any more.
    RecoveryCode(CodeDigest),
}

impl fmt::Debug for CodeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeDigest(..)")
    }
}

/// What an answer must be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding(pub [u8; 32]);

/// What a person answered.
pub enum Answer {
    /// A password, authenticator code or recovery code, as typed.
    Text { kind: FactorKind, text: SecretString },
    /// What a passkey signed.
    Passkey(Box<Assertion>),
}

impl Answer {
    /// The kind of factor that it claims to prove.
    pub fn kind(&self) -> FactorKind {
        match self {
            Self::Text { kind, .. } => *kind,
            Self::Passkey(_) => FactorKind::Passkey,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer::{}(..)", self.kind())
    }
}

/// A verified answer: the factor, what it changes, and the evidence.
#[derive(Clone, Debug)]
pub struct Proved {
    /// The enrolled factor that was proved.
    pub factor: FactorId,
    /// Its kind.
    pub kind: FactorKind,
    /// What the proof changes in the factor.
    pub used: FactorUse,
    /// For a passkey: the assertion.
    pub assertion: Option<Assertion>,
}

/// Why an answer proves nothing. `code()` stands in the evidence; the person
/// reads only that it was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProved {
    /// The person has no factor of this kind (or not this credential).
    #[error("no such factor is enrolled")]
    NotEnrolled,
    /// Wrong password, code or signature.
    #[error("the answer is wrong: {0}")]
    Wrong(String),
    /// The code was right and has been used before.
    #[error("the code has been used before")]
    UsedBefore {
        /// The factor whose last accepted code it is; `None` if it is an older one.
        last: Option<FactorId>,
    },
    /// The answer has not the form that this factor needs.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
    /// The verifier itself failed; nothing is proved.
    #[error("the factor could not be verified: {0}")]
    Fault(String),
}

impl NotProved {
    /// The stable code in the evidence.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotEnrolled => "not_enrolled",
            Self::Wrong(_) => "wrong",
            Self::UsedBefore { .. } => "used_before",
            Self::Malformed(_) => "malformed",
            Self::Fault(_) => "fault",
        }
    }
}

/// What the page needs to ask for a factor.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A field for text.
    Text,
    /// Options for `navigator.credentials.get` (WebAuthn L3 JSON form: the value of `publicKey`).
    Passkey { options: serde_json::Value },
}

/// What the page needs to enrol a factor, made by the verifier.
#[derive(Clone, Debug)]
pub enum EnrolmentOffer {
    /// Fields for a new password.
    Password,
    /// The secret for an authenticator app.
    Totp { uri: SecretString, secret_base32: SecretString, qr_svg: SecretString },
    /// Options for `navigator.credentials.create` (the value of `publicKey`).
    Passkey { options: serde_json::Value },
    /// Codes to keep; shown once.
    RecoveryCodes { codes: Vec<SecretString> },
}

/// A begun enrolment: what the page shows, and what the server keeps (sealed) until it is finished.
#[derive(Debug)]
pub struct BegunEnrolment {
    /// For the page.
    pub offer: EnrolmentOffer,
    /// For the store; only this verifier reads it.
    pub state: SecretString,
}

/// What the person sent to finish an enrolment.
pub enum EnrolmentAnswer {
    /// The new password, or the first code of the new authenticator app, or
    /// empty where nothing is asked (recovery codes: "I have kept them").
    Text(SecretString),
    /// `PublicKeyCredential.toJSON()` of the new passkey.
    Passkey(serde_json::Value),
}

impl fmt::Debug for EnrolmentAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentAnswer(..)")
    }
}

/// A finished enrolment.
#[derive(Debug)]
pub struct Enrolled {
    /// What will verify the factor.
    pub secret: FactorSecret,
    /// For a passkey: what stands in the evidence.
    pub key: Option<EnrolledKey>,
}

/// Why an enrolment was not finished; the text is for the person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEnrolled {
    /// What was sent does not fit (too short, wrong code, refused authenticator…).
    #[error("{0}")]
    Refused(String),
    /// The verifier itself failed.
    #[error("the factor could not be enrolled: {0}")]
    Fault(String),
}

/// One kind of factor: asks, verifies, enrols.
///
/// An implementation keeps nothing: what it needs is handed in, what changes is
/// handed back as [`FactorUse`]. Counting tries is the caller's.
#[async_trait]
pub trait Factor: Send + Sync + fmt::Debug {
    /// The kind that it verifies.
    fn kind(&self) -> FactorKind;

    /// What the page needs to ask. `enrolled` are the person's factors of this
    /// kind; empty for a sign-in where the person is not known yet.
    fn prompt(&self, enrolled: &[EnrolledFactor], binding: Binding) -> Prompt;

    /// Verifies an answer against the person's factors of this kind. Where there
    /// are none, it does the work of a verification that fails all the same.
    async fn verify(
        &self,
        enrolled: &[EnrolledFactor],
        answer: &Answer,
        binding: Binding,
        now: Timestamp,
    ) -> Result<Proved, NotProved>;

    /// Does the work of a verification that fails, so that an unknown name takes as long
    /// as a wrong answer; [`NotProved::Fault`] where that work could not be done, as
    /// [`Factor::verify`] would say at that moment.
    async fn verify_nobody(&self, answer: &Answer) -> Result<(), NotProved>;

    /// Begins an enrolment. All secrets are made here, never by the client.
    fn begin_enrolment(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        random: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled>;

    /// What the page shows again after an answer that did not fit, where the person
    /// has already acted on it (scanned a secret); `None` where it is begun anew.
    fn offer_again(&self, _person: &Person, _state: &SecretString) -> Option<EnrolmentOffer> {
        None
    }

    /// Finishes it. `existing` are all of the person's factors (a password may be
    /// shorter where it is not the only factor: SP 800-63B-4).
    async fn finish_enrolment(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        state: &SecretString,
        answer: &EnrolmentAnswer,
        now: Timestamp,
    ) -> Result<Enrolled, NotEnrolled>;
}
