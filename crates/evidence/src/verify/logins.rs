//! Company logins: what lies beside an entry about one, whose they are, and the keys that signed them.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::Value;

use super::read::Content;
use super::report::{Problem, plain};
use super::rules::Key;
use crate::entry::{Event, FactorProof, LoginProof};
use crate::login::{LoginError, ProviderKeys, VerifiedLogin, identity_of, verify_login};

/// How many different keys, issuers and clients are listed; logins by further ones are counted.
pub const MAX_SIGNING_KEYS: usize = 1000;

/// What lies beside an entry about a company login, checked as far as the entry alone allows.
pub(super) enum Login {
    /// The token is what the entry says, and signed by the key beside it.
    Verified(VerifiedLogin),
    /// It is not.
    Wrong(LoginError),
    /// It was erased.
    Erased,
    /// It is not in the export.
    Absent,
    /// What is there is not what the entry commits to.
    NotTheirs,
    /// Of an enrolment: who the person is at the provider.
    EnrolledFor([u8; 32]),
    /// The entry needs none, or has none.
    NotHere,
}

impl Login {
    pub(super) fn read(event: &Event, content: Content, body: Option<&Value>) -> Self {
        let is_enrolled = matches!(event, Event::FactorEnrolled { factor, .. } if factor == "idp");
        let proof = proof_of(event);
        if !is_enrolled && proof.is_none() {
            return Self::NotHere;
        }
        match (content, body) {
            (Content::Wrong, _) => Self::NotTheirs,
            (Content::Erased, _) => Self::Erased,
            (Content::Absent, _) => Self::Absent,
            (Content::None, _) | (Content::Kept, None) => Self::NotHere,
            (Content::Kept, Some(body)) => match proof {
                None => enrolled_for(body).map_or(Self::NotHere, Self::EnrolledFor),
                Some((proof, said, place)) => verified(proof, said, body.get(place)),
            },
        }
    }
}

fn verified(proof: &FactorProof, said: &LoginProof, beside: Option<&Value>) -> Login {
    let member = |name| beside.and_then(|beside| beside.get(name));
    match (member("id_token").and_then(Value::as_str), member("key")) {
        (Some(token), Some(key)) => {
            verify_login(said, &proof.bound_to, token, key).map_or_else(Login::Wrong, Login::Verified)
        }
        _ => Login::NotHere,
    }
}

/// The proof by a company login, and where in the details its token lies.
fn proof_of(event: &Event) -> Option<(&FactorProof, &LoginProof, &'static str)> {
    let (proof, place) = match event {
        Event::SessionStarted { proof, .. } => (proof, "login_at_provider"),
        Event::ChallengeAnswered { proof, .. } | Event::ChallengePassed { proof, .. } => (proof, "login"),
        _ => return None,
    };
    Some((proof, proof.login.as_ref()?, place))
}

fn enrolled_for(body: &Value) -> Option<[u8; 32]> {
    let text = |name| body.get(name).and_then(Value::as_str);
    Some(identity_of(text("issuer")?, text("subject")?))
}

/// A key that signed company logins, as a report lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SigningKey {
    /// The provider, as the tokens name it.
    pub issuer: String,
    /// The key's thumbprint (RFC 7638, SHA-256, base64url).
    pub thumbprint: String,
    /// The client that the tokens were made for.
    pub client: String,
    /// How many logins it verified.
    pub logins: u64,
    /// Whether it is one of the keys that were given of this provider. If not, none were.
    pub given: bool,
}

/// The keys that signed company logins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SigningKeys {
    /// At most [`MAX_SIGNING_KEYS`], in the order of issuers.
    #[serde(rename = "provider_keys")]
    pub listed: Vec<SigningKey>,
    /// How many logins were verified by keys that are not listed.
    #[serde(rename = "logins_by_more_provider_keys")]
    pub more: u64,
    /// Issuers whose keys were given and of whom no login was verified.
    #[serde(rename = "provider_keys_not_used")]
    pub not_used: Vec<String>,
}

impl SigningKeys {
    /// For people, a line each.
    pub fn lines(&self) -> Vec<String> {
        let line = |key: &SigningKey| {
            let SigningKey { issuer, thumbprint, client, logins, given } = key;
            let (issuer, client) = (plain(issuer), plain(client));
            let signed = if *logins == 1 { "1 login".to_owned() } else { format!("{logins} logins") };
            let given = if *given { "; it is one of the keys that you gave" } else { "" };
            format!("{issuer}: key {thumbprint} signed {signed} for the client {client}{given}")
        };
        let mut lines: Vec<String> = self.listed.iter().map(line).collect();
        lines.extend((self.more > 0).then(|| format!("and {} logins by more keys", self.more)));
        let not_used = |issuer: &String| format!("keys of {} were given, and no login of it is here", plain(issuer));
        lines.extend(self.not_used.iter().map(not_used));
        lines
    }
}

/// Who somebody is at a provider.
struct Enrolled {
    person: Key,
    /// [`identity_of`] them, as it was enrolled or as their first login said.
    identity: Option<[u8; 32]>,
    removed: bool,
}

/// The company logins of a log as they are at the current entry.
#[derive(Default)]
pub(super) struct Logins {
    given: ProviderKeys,
    by_factor: HashMap<Key, Enrolled>,
    /// Who was enrolled, and as which factor last.
    factor_of: HashMap<[u8; 32], Key>,
    /// By issuer, thumbprint and client.
    signed: BTreeMap<(String, String, String), u64>,
    more: u64,
}

impl Logins {
    pub(super) fn knowing(given: ProviderKeys) -> Self {
        Self { given, ..Self::default() }
    }

    pub(super) fn enrol(&mut self, person: &str, factor: &str, identity: Option<[u8; 32]>) -> Result<(), Problem> {
        let factor = Key::of(factor);
        if self.by_factor.contains_key(&factor) {
            return Err(Problem::Again { what: "factor" });
        }
        self.by_factor.insert(factor, Enrolled { person: Key::of(person), identity, removed: false });
        let before = identity.and_then(|identity| self.factor_of.insert(identity, factor));
        let stands = |before| self.by_factor.get(&before).is_some_and(|enrolled| !enrolled.removed);
        if before.is_some_and(stands) { Err(Problem::IdentityTaken) } else { Ok(()) }
    }

    pub(super) fn remove(&mut self, factor: &str) {
        if let Some(enrolled) = self.by_factor.get_mut(&Key::of(factor)) {
            enrolled.removed = true;
        }
    }

    pub(super) fn remove_all_of(&mut self, person: &str) {
        let person = Key::of(person);
        self.by_factor.values_mut().filter(|enrolled| enrolled.person == person).for_each(|enrolled| {
            enrolled.removed = true;
        });
    }

    /// Whether this factor is a company login of this person.
    pub(super) fn is_of(&self, person: &str, factor: &str) -> Result<(), Problem> {
        let enrolled = self.by_factor.get(&Key::of(factor)).ok_or(Problem::UnknownIdentity)?;
        if enrolled.person != Key::of(person) {
            return Err(Problem::OtherIdentity);
        }
        if enrolled.removed { Err(Problem::RemovedIdentity) } else { Ok(()) }
    }

    /// Whether the provider speaks of the same subject as before; the first one is remembered.
    pub(super) fn is_same(&mut self, factor: &str, identity: [u8; 32]) -> Result<(), Problem> {
        let enrolled = self.by_factor.get_mut(&Key::of(factor)).ok_or(Problem::UnknownIdentity)?;
        if *enrolled.identity.get_or_insert(identity) == identity { Ok(()) } else { Err(Problem::OtherSubject) }
    }

    /// Counts a login for the key that signed it. Whether the key could be compared with those of
    /// the provider.
    pub(super) fn signed_by(&mut self, issuer: &str, login: &VerifiedLogin) -> Result<bool, Problem> {
        let VerifiedLogin { thumbprint, client, .. } = login;
        let known = self.given.have(issuer, thumbprint);
        if known == Some(false) {
            return Err(Problem::ForeignKey { issuer: plain(issuer), thumbprint: thumbprint.clone() });
        }
        let by = (issuer.to_owned(), thumbprint.clone(), client.clone());
        if self.signed.len() < MAX_SIGNING_KEYS || self.signed.contains_key(&by) {
            *self.signed.entry(by).or_default() += 1;
        } else {
            self.more += 1;
        }
        Ok(known.is_some())
    }

    pub(super) fn into_keys(self) -> SigningKeys {
        let Self { given, signed, more, .. } = self;
        let unused = |issuer: &&str| !signed.keys().any(|(signer, ..)| signer == issuer);
        let not_used = given.issuers().filter(unused).map(str::to_owned).collect();
        let listed = signed.into_iter().map(|((issuer, thumbprint, client), logins)| SigningKey {
            given: given.have(&issuer, &thumbprint).is_some(),
            issuer,
            thumbprint,
            client,
            logins,
        });
        SigningKeys { listed: listed.collect(), more, not_used }
    }
}
