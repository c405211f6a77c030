//! Access tokens: `Authorization` and `DPoP` of a request, verified.
//!
//! A JWT (RFC 9068) is verified by its issuer's keys, any other token by asking its
//! issuer (RFC 7662), one that is bound to a key also by a proof of the key (RFC 9449), one that is bound to a
//! certificate by what the connection showed (RFC 8705).
//! What was verified is kept for a while, under a key that is a digest of the token and
//! of all that decides whose it is; proofs never are.

mod facts;
mod header;
mod introspection;
mod proof;
mod remembered;
mod verified;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use moka::sync::Cache;
use stepgate_core::access::{
    AccessTokens, BoundTo, Configuration, Nonces, NotAccepted, Presented, Scheme, TokenRules, VerifiedToken,
};
use stepgate_core::id::AccessTokenId;
use stepgate_core::provider::ProviderName;
use stepgate_core::time::{Randomness, Timestamp};

use crate::jws::{self, Jws, JwsError};
use crate::keys::{Algorithm, KeyError, Keys};
use crate::provider::{Issuer, LevelSettings, NoMetadata};
use facts::{Demands, Expected};
use introspection::Said;
use proof::{Proofs, Proving};
use verified::{Known as KnownHow, Verified};

pub use facts::CLOCKS_APART_MAX;
pub(crate) use facts::worth;
pub use header::{Credentials, PROOF_LEN_MAX, TOKEN_LEN_MAX, credentials};
pub use introspection::{
    Introspection, IntrospectionSettings, LIFE_WITHOUT_EXP, QUESTION_WAITS_FOR, QUESTIONS_AT_ONCE_MAX,
    QUESTIONS_WAITING_MAX, TokenType,
};
pub use proof::PROOF_ACCEPTED_FOR;
pub use verified::KEPT_MAX;

/// Tokens that their issuer does not know (any more), of which is remembered that.
const INACTIVE_KEPT_MAX: u64 = 10_000;
/// How long that is remembered: one that becomes active later works soon.
const INACTIVE_KEPT_FOR: Duration = Duration::from_secs(5);

/// An issuer whose tokens are verified.
#[derive(Debug)]
pub struct TokenIssuer {
    /// What the configuration calls it.
    pub name: ProviderName,
    /// Its issuer identifier, as it must stand in `iss`.
    pub issuer: String,
    /// What its classes count as.
    pub levels: Vec<LevelSettings>,
    /// How.
    pub by: VerifiedBy,
}

/// How an issuer's tokens are verified.
#[derive(Debug)]
pub enum VerifiedBy {
    /// They are JWTs, signed with one of its keys.
    Signature {
        /// Its keys.
        keys: KeysOf,
        /// What they may be signed with.
        algorithms: Vec<Algorithm>,
    },
    /// It is asked.
    Introspection(Introspection),
}

/// Where an issuer's keys are had.
#[derive(Clone, Debug)]
pub enum KeysOf {
    /// These.
    These(Keys),
    /// Where the issuer says.
    Issuer(Issuer),
}

impl KeysOf {
    async fn keys(&self, now: Timestamp) -> Result<Keys, NoMetadata> {
        match self {
            Self::These(keys) => Ok(keys.clone()),
            Self::Issuer(issuer) => issuer.metadata(now).await.map(|metadata| metadata.keys.clone()),
        }
    }

    /// Whether `keys` are had from where the issuer's are now.
    fn are(&self, keys: &Keys, now: Timestamp) -> bool {
        match self {
            Self::These(these) => these.are(keys),
            Self::Issuer(issuer) => issuer.has(keys, now),
        }
    }
}

/// Verifies access tokens.
#[derive(Debug)]
pub struct TokenVerifier {
    issuers: ArcSwap<Issuers>,
    kept: Verified<Kept>,
    inactive: Cache<[u8; 32], Timestamp>,
    proofs: Proofs,
    keeps: Keeps,
    /// Counts the configurations.
    replaced: AtomicU64,
}

/// Whether what was verified is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It is.
    Verified,
    /// Each token is verified each time; to measure what that costs.
    Nothing,
}

#[derive(Debug)]
struct Issuers {
    all: Vec<Known>,
    generation: u64,
}

/// An issuer, and the digest of what the configuration says of it.
#[derive(Debug)]
struct Known {
    issuer: TokenIssuer,
    fingerprint: [u8; 32],
}

/// A token that was verified.
#[derive(Debug)]
struct Kept {
    token: Arc<VerifiedToken>,
    until: Timestamp,
    /// The configuration that it was verified by.
    configuration: u64,
    /// What it was verified by, if it was signed.
    by: Option<ByKeys>,
}

/// An issuer's keys, as they were when one of them verified a token.
#[derive(Debug)]
struct ByKeys {
    of: KeysOf,
    keys: Keys,
    generation: u64,
}

impl ByKeys {
    /// Whether the issuer's keys are still these: at the same place, and none came or went there.
    fn still_are(&self, now: Timestamp) -> bool {
        self.of.are(&self.keys, now) && self.keys.still_are(self.generation, now)
    }
}

impl Kept {
    fn stands(&self, configuration: u64, now: Timestamp) -> bool {
        now < self.until && self.configuration == configuration && self.by.as_ref().is_none_or(|by| by.still_are(now))
    }
}

impl TokenVerifier {
    /// Verifies tokens of these issuers.
    pub fn new(issuers: Vec<TokenIssuer>, keeps: Keeps, random: &dyn Randomness) -> Self {
        Self {
            issuers: ArcSwap::from_pointee(Issuers::new(issuers, 0)),
            replaced: AtomicU64::new(0),
            kept: Verified::with_room_for(KEPT_MAX),
            inactive: Cache::new(INACTIVE_KEPT_MAX),
            proofs: Proofs::new(random),
            keeps,
        }
    }

    /// From now on verifies tokens of these issuers, and forgets what was verified. The
    /// proofs that were taken stay taken.
    pub fn replace(&self, issuers: Vec<TokenIssuer>) {
        let generation = self.replaced.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        self.issuers.store(Arc::new(Issuers::new(issuers, generation)));
        self.kept.forget_all();
        self.inactive.invalidate_all();
    }

    /// The token, from memory where it was verified before.
    async fn token(&self, asking: Asking<'_>) -> Result<Arc<VerifiedToken>, NotAccepted> {
        let key = digest(&[b"stepgate/verified/v1\0", asking.rules.fingerprint(), asking.text.as_bytes()]);
        let issuers = self.issuers.load_full();
        let asked = issuers.asked_for(asking.rules);
        let how = if asked.is_some() { KnownHow::ByAsking } else { KnownHow::BySignature };
        if let Some(kept) = self.kept.get(&key, how) {
            if kept.stands(issuers.generation, asking.now) {
                return Ok(Arc::clone(&kept.token));
            }
            self.kept.forget(&key);
        }
        let kept = match issuers.signer_of(asking) {
            Ok(signed) => signed.verify(asking, issuers.generation).await?,
            Err(what) => match asked {
                // What another issuer signed is nobody else's to see.
                Some((known, _))
                    if jws::named_issuer(asking.text).is_some_and(|named| named != known.issuer.issuer) =>
                {
                    return Err(asking.wrong(what));
                }
                Some((known, introspection)) => self.ask(key, known, introspection, asking, issuers.generation).await?,
                None => return Err(asking.wrong(what)),
            },
        };
        let token = Arc::clone(&kept.token);
        if self.keeps == Keeps::Verified && asking.now < kept.until {
            let how = if kept.by.is_some() { KnownHow::BySignature } else { KnownHow::ByAsking };
            self.kept.keep(key, kept, how);
        }
        Ok(token)
    }

    async fn ask(
        &self,
        key: [u8; 32],
        known: &Known,
        introspection: &Introspection,
        asking: Asking<'_>,
        configuration: u64,
    ) -> Result<Kept, NotAccepted> {
        let now = asking.now;
        if self.inactive.get(&key).is_some_and(|until| now < until) {
            return Err(asking.wrong("inactive"));
        }
        match introspection.ask(key, asking.text).await.map_err(|why| known.issuer.away(&why))?.as_ref() {
            Said::Inactive => {
                self.inactive.insert(key, now.plus(INACTIVE_KEPT_FOR));
                Err(asking.wrong("inactive"))
            }
            Said::NoAccessToken { what } => Err(asking.wrong(what)),
            Said::Active { kind, claims, keep_for } => {
                let demands = Demands::Introspection { without_exp: introspection.life_without_exp() };
                let token = facts::read(claims, demands, asking.expects(known)).map_err(|what| asking.wrong(what))?;
                // One that is said to be bound, and not to which key, is no bearer token.
                if token.scheme() != *kind {
                    return Err(asking.wrong("token_type"));
                }
                let until = token.expires_at.min(now.plus(*keep_for));
                Ok(Kept { until, token: Arc::new(token), configuration, by: None })
            }
        }
    }
}

#[async_trait]
impl AccessTokens for TokenVerifier {
    async fn verify(
        &self,
        presented: Presented<'_>,
        rules: &TokenRules,
    ) -> Result<Option<Arc<VerifiedToken>>, NotAccepted> {
        let Some(Credentials { scheme, token: text, proof }) = credentials(presented.headers)? else {
            return Ok(None);
        };
        if !rules.takes(scheme) {
            return Err(NotAccepted::Scheme);
        }
        let asking = Asking { text, scheme, rules, now: presented.now };
        let token = self.token(asking).await?;
        match (scheme, &token.bound_to) {
            (Scheme::Bearer, None) => {}
            (Scheme::Bearer, Some(BoundTo::Key(_))) => return Err(asking.wrong("bound_to_a_key")),
            // Looked at each time: the token is kept, the connection is another.
            (Scheme::Bearer, Some(BoundTo::Certificate(_))) => {
                token.on(presented.certificate, presented.now).map_err(|what| asking.wrong(what))?;
            }
            (Scheme::Dpop, None | Some(BoundTo::Certificate(_))) => return Err(asking.wrong("not_bound_to_a_key")),
            (Scheme::Dpop, Some(BoundTo::Key(thumbprint))) => {
                let needs_nonce = rules.accepted().nonces == Nonces::Demanded;
                self.proofs.check(proof, Proving { presented, token: text, thumbprint, needs_nonce })?;
            }
        }
        Ok(Some(token))
    }

    async fn still(
        &self,
        token: &VerifiedToken,
        rules: Option<&TokenRules>,
        now: Timestamp,
    ) -> Result<(), NotAccepted> {
        let issuers = self.issuers.load_full();
        let known = issuers.all.iter().find(|known| known.issuer.name == token.provider);
        token.holds(rules, known.map(|known| &known.fingerprint), now)?;
        match (&token.signed_by, known) {
            (Some(key), Some(Known { issuer, .. })) if !issuer.has(key, now).await? => {
                Err(NotAccepted::Token { what: "key_withdrawn", scheme: token.scheme() })
            }
            _ => Ok(()),
        }
    }
}

/// A token that is presented, before anybody knows whose it is.
#[derive(Clone, Copy)]
struct Asking<'a> {
    text: &'a str,
    scheme: Scheme,
    rules: &'a TokenRules,
    now: Timestamp,
}

impl Asking<'_> {
    const fn wrong(&self, what: &'static str) -> NotAccepted {
        NotAccepted::Token { what, scheme: self.scheme }
    }

    fn expects<'b>(&'b self, known: &'b Known) -> Expected<'b> {
        let Known { issuer, fingerprint } = known;
        let half = digest(&[b"stepgate/access-token/v1\0", self.text.as_bytes()]);
        let id =
            half.first_chunk().copied().map(AccessTokenId::from_bytes).unwrap_or(AccessTokenId::from_bytes([0; 16]));
        Expected {
            id,
            provider: &issuer.name,
            issuer: &issuer.issuer,
            levels: &issuer.levels,
            rules: self.rules,
            now: self.now,
            verified_by: Configuration::of(self.rules, fingerprint),
            signed_by: None,
        }
    }
}

/// A JWT, and the issuer whose it says it is.
struct Signed<'a> {
    jws: Jws<'a>,
    known: &'a Known,
    keys: &'a KeysOf,
    algorithms: &'a [Algorithm],
}

impl Signed<'_> {
    async fn verify(self, asking: Asking<'_>, configuration: u64) -> Result<Kept, NotAccepted> {
        let Self { jws, known, keys: of, algorithms } = self;
        let issuer = &known.issuer;
        let keys = of.keys(asking.now).await.map_err(|error| issuer.away(&error.to_string()))?;
        // Taken first: keys that change while the signature is looked at make this old at once.
        let generation = keys.generation();
        // An ID token, a logout token, an assertion: signed by the same keys, and no access token.
        if jws.kind().as_deref() != Some("at+jwt") {
            return Err(asking.wrong("type"));
        }
        let verified = jws.verify(&keys, algorithms, asking.now).await.map_err(|error| match error {
            JwsError::Key(error @ KeyError::Away(_)) => issuer.away(&error.to_string()),
            error => asking.wrong(error.code()),
        })?;
        let expected = Expected { signed_by: Some(verified.key.digest()), ..asking.expects(known) };
        let token = facts::read(&verified.claims, Demands::Jwt, expected);
        let token = Arc::new(token.map_err(|what| asking.wrong(what))?);
        let by = Some(ByKeys { of: of.clone(), keys, generation });
        Ok(Kept { until: token.expires_at, token, configuration, by })
    }
}

impl TokenIssuer {
    /// A digest of what the configuration says of it: another issuer, other classes or
    /// another way to verify, and what was verified is to be verified again.
    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Context::new(&SHA256);
        let mut part = |text: &str| {
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        part("stepgate/token-issuer/v1");
        part(self.name.as_str());
        part(&self.issuer);
        for level in &self.levels {
            part(&level.acr);
            part(&format!("{:?}", level.strength));
            level.amr.iter().for_each(|method| part(method));
            part("\0");
        }
        match &self.by {
            VerifiedBy::Signature { algorithms, .. } => {
                part("signature");
                algorithms.iter().for_each(|algorithm| part(&format!("{algorithm:?}")));
            }
            VerifiedBy::Introspection(introspection) => {
                part("introspection");
                introspection.parts().iter().for_each(|text| part(text));
            }
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.finish().as_ref());
        bytes
    }

    /// Whether this key is among those that it signs with now; of one that is asked none is.
    async fn has(&self, key: &[u8; 32], now: Timestamp) -> Result<bool, NotAccepted> {
        let VerifiedBy::Signature { keys, .. } = &self.by else { return Ok(false) };
        let keys = keys.keys(now).await.map_err(|error| self.away(&error.to_string()))?;
        keys.have(key, now).await.map_err(|error| self.away(&error.to_string()))
    }

    fn away(&self, why: &str) -> NotAccepted {
        tracing::warn!(provider = %self.name, why, "an issuer of access tokens cannot be asked");
        NotAccepted::Away(format!("{}: {why}", self.name))
    }
}

impl Issuers {
    fn new(issuers: Vec<TokenIssuer>, generation: u64) -> Self {
        let known = |issuer: TokenIssuer| Known { fingerprint: issuer.fingerprint(), issuer };
        Self { all: issuers.into_iter().map(known).collect(), generation }
    }

    fn accepted_by<'a>(&'a self, rules: &'a TokenRules) -> impl Iterator<Item = &'a Known> {
        self.all.iter().filter(|known| rules.accepted().providers.contains(&known.issuer.name))
    }

    /// The token as a JWT of one of the issuers that sign theirs, or why it is none.
    fn signer_of<'a>(&'a self, asking: Asking<'a>) -> Result<Signed<'a>, &'static str> {
        let jws = Jws::read(asking.text, TOKEN_LEN_MAX).map_err(|error| error.code())?;
        let said = jws.unverified_issuer().ok_or("issuer")?;
        let found = self.accepted_by(asking.rules).find_map(|known| match &known.issuer.by {
            VerifiedBy::Signature { keys, algorithms } if known.issuer.issuer == said => {
                Some((known, keys, algorithms))
            }
            _ => None,
        });
        let (known, keys, algorithms) = found.ok_or("issuer")?;
        Ok(Signed { jws, known, keys, algorithms })
    }

    /// The one issuer that is asked about everything that names no other.
    fn asked_for<'a>(&'a self, rules: &'a TokenRules) -> Option<(&'a Known, &'a Introspection)> {
        self.accepted_by(rules).find_map(|known| match &known.issuer.by {
            VerifiedBy::Introspection(introspection) => Some((known, introspection)),
            VerifiedBy::Signature { .. } => None,
        })
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    parts.iter().for_each(|part| hash.update(part));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests;
