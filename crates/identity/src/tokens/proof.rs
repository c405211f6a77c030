//! DPoP: a proof that whoever presents a token has the key that it is bound to (RFC 9449).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stepgate_core::access::{NotAccepted, Presented};
use stepgate_core::secret::MacKey;
use stepgate_core::time::{Randomness, Timestamp};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::facts::CLOCKS_APART_MAX;
use super::header::PROOF_LEN_MAX;
use super::remembered::{Remembered, Seen};
use crate::jws::Jws;
use crate::keys::Key;

/// How long after it was made a proof is accepted.
pub const PROOF_ACCEPTED_FOR: Duration = Duration::from_secs(60);
/// How long one nonce is given out. It is accepted for as long again.
const NONCE_FOR: Duration = Duration::from_secs(5 * 60);
/// The longest `jti` of a proof.
const ID_LEN_MAX: usize = 256;

/// Checks proofs, and remembers them.
pub(super) struct Proofs {
    seen: Remembered,
    nonces: MacKey,
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proofs").field("seen", &self.seen).finish_non_exhaustive()
    }
}

/// What a proof must show.
#[derive(Clone, Copy)]
pub(super) struct Proving<'a> {
    pub(super) presented: Presented<'a>,
    pub(super) token: &'a str,
    pub(super) thumbprint: &'a str,
    pub(super) needs_nonce: bool,
}

impl Proofs {
    /// The nonces are this process's own: a proof with one is worthless at another node.
    pub(super) fn new(random: &dyn Randomness) -> Self {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        random.fill(key.as_mut());
        Self { seen: Remembered::default(), nonces: MacKey::new(&key) }
    }

    /// With room for so many in each part of the memory.
    #[cfg(test)]
    pub(super) fn with_room_for(mut self, at_most: usize) -> Self {
        self.seen = Remembered::with_room_for(at_most);
        self
    }

    /// Checks a proof (RFC 9449, section 4.3), and takes it, once.
    pub(super) fn check(&self, proof: Option<&str>, proving: Proving<'_>) -> Result<(), NotAccepted> {
        let Proving { presented, token, thumbprint, needs_nonce } = proving;
        let wrong = |what| NotAccepted::Proof { what };
        let now = presented.now;
        let proof = Jws::read(proof.ok_or(wrong("missing"))?, PROOF_LEN_MAX).map_err(|error| wrong(error.code()))?;
        if proof.kind().as_deref() != Some("dpop+jwt") {
            return Err(wrong("type"));
        }
        let jwk = proof.in_header("jwk").and_then(serde_json::Value::as_object).ok_or(wrong("key"))?;
        let key = Key::read(jwk).map_err(|_| wrong("key"))?;
        let of_key = key.thumbprint().ok_or(wrong("key"))?;
        let proof = proof.verify_by(key.into()).map_err(|_| wrong("signature"))?;
        if !bool::from(of_key.as_bytes().ct_eq(thumbprint.as_bytes())) {
            return Err(wrong("other_key"));
        }
        let text = |name: &'static str| proof.claims.text(name).ok().flatten();
        if text("htm") != Some(presented.method) {
            return Err(wrong("method"));
        }
        if !text("htu").is_some_and(|said| is_same_url(said, presented.url)) {
            return Err(wrong("url"));
        }
        let of_token = URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()));
        if !text("ath").is_some_and(|said| said.as_bytes().ct_eq(of_token.as_bytes()).into()) {
            return Err(wrong("other_token"));
        }
        let id = text("jti").filter(|id| !id.is_empty() && id.len() <= ID_LEN_MAX).ok_or(wrong("id"))?;
        let made_at = proof.claims.moment("iat").ok().flatten().ok_or(wrong("time"))?;
        let forgotten_at = made_at.plus(PROOF_ACCEPTED_FOR);
        if made_at > now.plus(CLOCKS_APART_MAX) || now >= forgotten_at {
            return Err(wrong("time"));
        }
        match text("nonce") {
            _ if !needs_nonce => {}
            Some(nonce) if self.is_ours(nonce, now) => {}
            _ => return Err(NotAccepted::UseNonce { nonce: self.nonce(now) }),
        }
        match self.seen.take(thumbprint, id, forgotten_at, now) {
            Seen::Never => Ok(()),
            Seen::Before => Err(wrong("replayed")),
            Seen::NobodyKnows => Err(NotAccepted::TooManyProofs),
        }
    }

    /// The nonce to use now.
    pub(super) fn nonce(&self, now: Timestamp) -> String {
        self.nonces.tag("dpop-nonce", &[&span(now).to_be_bytes()])
    }

    fn is_ours(&self, nonce: &str, now: Timestamp) -> bool {
        let is_of = |span: i64| self.nonces.is_tag("dpop-nonce", &[&span.to_be_bytes()], nonce);
        is_of(span(now)) || is_of(span(now).saturating_sub(1))
    }
}

fn span(now: Timestamp) -> i64 {
    now.as_ms().div_euclid(NONCE_FOR.as_millis().try_into().unwrap_or(i64::MAX))
}

/// Whether two URLs are one without query and fragment (RFC 9449, section 4.3, point 9):
/// scheme, host and port as browsers read them, the path as it stands.
fn is_same_url(said: &str, used: &str) -> bool {
    let (Ok(said), Ok(used)) = (Url::parse(said), Url::parse(used)) else { return false };
    let has_name = !said.username().is_empty() || said.password().is_some();
    !has_name && said.origin().is_tuple() && said.origin() == used.origin() && said.path() == used.path()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_compared_without_query_and_fragment_and_as_browsers_read_it() {
        let used = "https://api.example/pay/42";
        for same in [
            used,
            "HTTPS://API.example:443/pay/42",
            "https://api.example/pay/42?x=1#y",
            "https://api.example/pay/../pay/42",
        ] {
            assert!(is_same_url(same, used), "{same}");
        }
        for other in [
            "http://api.example/pay/42",
            "https://api.example:8443/pay/42",
            "https://api.example/pay/42/",
            "https://api.example/Pay/42",
            "https://api.example.evil/pay/42",
            "https://u@api.example/pay/42",
            "https://api.example@evil/pay/42",
            "/pay/42",
            "",
            "data:,x",
        ] {
            assert!(!is_same_url(other, used), "{other}");
        }
    }
}
