//! What is kept of an enrolled factor, and what a proof changes in it.

use std::fmt;
use std::net::IpAddr;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Aaguid, Backup, Binding, Destination, FactorKind, OathKey, PasskeySort, Strength, TokenOf};
use crate::id::{FactorId, SentCodeId};
use crate::provider::ProviderName;
use crate::secret::TokenDigest;
use crate::time::Timestamp;

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
    /// The network address from which it did.
    pub last_used_from: Option<IpAddr>,
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
    /// What makes one-time codes, and the last counter or step whose code was accepted. Of a hardware token, which one.
    Oath { key: OathKey, last: Option<u64>, token: Option<TokenOf> },
    /// The public key and the counters.
    Passkey(Box<Passkey>),
    /// Digests of the codes that are left.
    RecoveryCodes { left: Vec<CodeDigest> },
    /// Who the person is at an identity provider.
    Idp(Identity),
    /// A device of theirs where they approve what another one asks.
    Push(Box<ApproverDevice>),
    /// Where codes are sent, and the newest one: no other is good for anything.
    Address { to: Destination, newest: Option<OpenCode> },
}

/// A code that was sent. Of the code itself there is a digest only, which names what it was sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCode {
    /// Its id, in entries and towards whoever delivers it.
    pub id: SentCodeId,
    /// What it was sent for: it proves nothing else.
    pub binding: Binding,
    /// [`OpenCode::digest_of`] binding and code.
    pub digest: CodeDigest,
    /// When it is no longer accepted.
    pub expires_at: Timestamp,
    /// Whether it was accepted already.
    pub is_used: bool,
    /// What became of sending it.
    pub delivery: CodeDelivery,
}

/// What became of sending a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeDelivery {
    /// It is on its way, or the node that sent it died.
    Sending,
    /// A server took it.
    Taken,
    /// No server took it.
    Failed,
}

impl CodeDelivery {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sending, Self::Taken, Self::Failed];

    /// The name in rows and entries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Taken => "taken",
            Self::Failed => "failed",
        }
    }
}

impl OpenCode {
    /// The digest of a code that was sent for this.
    pub fn digest_of(binding: Binding, code: &SecretString) -> CodeDigest {
        let hash = Sha256::new_with_prefix(b"stepgate/sent-code/v1\0").chain_update(binding.0);
        CodeDigest(hash.chain_update(code.expose_secret()).finalize().into())
    }

    /// Whether it is the code that was sent for this, in constant time.
    pub fn is(&self, binding: Binding, code: &SecretString) -> bool {
        Self::digest_of(binding, code).0.ct_eq(&self.digest.0).into()
    }
}

impl FactorSecret {
    /// An authenticator app with this seed.
    pub const fn app(seed: SecretString, last: Option<u64>) -> Self {
        Self::Oath { key: OathKey::of_app(seed), last, token: None }
    }

    /// The kind it belongs to.
    pub fn kind(&self) -> FactorKind {
        match self {
            Self::Password { .. } => FactorKind::Password,
            Self::Oath { key, .. } => key.kind(),
            Self::Passkey(passkey) => passkey.kind(),
            Self::RecoveryCodes { .. } => FactorKind::RecoveryCode,
            Self::Idp(_) => FactorKind::Idp(Strength::NONE),
            Self::Address { to, .. } => to.kind(),
            Self::Push(device) => device.kind(),
        }
    }
}

impl fmt::Debug for FactorSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FactorSecret::{}(..)", self.kind())
    }
}

/// Who somebody is at an identity provider: issuer and subject, nothing else
/// (OpenID Connect Core, section 5.7).
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// What the configuration calls the provider.
    pub provider: ProviderName,
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
}

impl Identity {
    /// SHA-256 over issuer and subject: what it is found by.
    pub fn digest(&self) -> [u8; 32] {
        identity_digest(&self.issuer, &self.subject)
    }
}

/// SHA-256 over issuer and subject.
pub fn identity_digest(issuer: &str, subject: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"stepgate/identity/v1\0");
    hash.update((issuer.len() as u64).to_be_bytes());
    hash.update(issuer);
    hash.update(subject);
    hash.finalize().into()
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, ..)", self.provider)
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

/// A digest of a code that is kept nowhere: of a recovery code with a salt, of one that was sent with
/// what it was sent for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeDigest(pub [u8; 32]);

impl fmt::Debug for CodeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeDigest(..)")
    }
}

/// A browser where a person approves what another one asks: a phone in most cases.
#[derive(Clone, Debug)]
pub struct ApproverDevice {
    /// The cookie that it is known by.
    pub token: TokenDigest,
    /// The passkey that was made there for approving, if it could make one. It signs nobody in.
    pub passkey: Option<Passkey>,
}

impl ApproverDevice {
    /// Out-of-band by itself (SP 800-63B-4 section 3.1.3); where it signs what is approved, it cannot be phished.
    pub const OUT_OF_BAND: FactorKind = FactorKind::Push(Strength::SECOND_FACTOR.and(Strength::POSSESSION));
    /// The same with a passkey.
    pub const SIGNING: FactorKind =
        FactorKind::Push(Strength::SECOND_FACTOR.and(Strength::POSSESSION).and(Strength::PHISHING_RESISTANT));

    /// What an approval there counts as.
    pub const fn kind(&self) -> FactorKind {
        if self.passkey.is_some() { Self::SIGNING } else { Self::OUT_OF_BAND }
    }
}

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
    /// The authenticator's model: proved if attested, or else what the client said.
    pub aaguid: Aaguid,
    /// Whether an attestation that leads to a trusted root proved the model.
    pub is_attested: bool,
    /// The attestation object, as the authenticator gave it.
    pub attestation: Vec<u8>,
}

impl Passkey {
    /// Its kind, with its sort.
    pub const fn kind(&self) -> FactorKind {
        self.kind_if(self.backed_up)
    }

    /// The same, if it is synced, or not, by now.
    pub const fn kind_if(&self, is_backed_up: bool) -> FactorKind {
        let backup = Backup::of_flags(self.backup_eligible, is_backed_up);
        FactorKind::Passkey(PasskeySort { backup, is_attested: self.is_attested, aaguid: self.aaguid })
    }
}

/// What a proof changes in its factor; applied in the transaction that accepts
/// the proof, by compare-and-swap, so that a code counts once across all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactorUse {
    /// Nothing but the time of last use.
    Nothing,
    /// The counter (RFC 4226) or step (RFC 6238) becomes the last accepted; refused unless it is greater.
    Moved(u64),
    /// The counter and backup state of a passkey, or of a device's; refused unless the counter is
    /// greater than the stored one or both are zero.
    PasskeyCounter { counter: u32, backed_up: bool },
    /// The code is spent; refused if it is not there any more.
    RecoveryCode(CodeDigest),
    /// The code that was sent is used up; refused if it was before, or a newer one was sent.
    SentCode(SentCodeId),
}
