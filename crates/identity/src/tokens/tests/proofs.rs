//! DPoP (RFC 9449).

use serde_json::{Value, json};

use super::mint::{Hs256, Unsigned, mint, thumbprint};
use super::*;
use crate::tokens::{Proofs, Proving};

const URL: &str = "https://api.example/pay/42";

struct Rig {
    verifier: TokenVerifier,
    /// Of the client.
    key: Signer,
    token: String,
}

impl Rig {
    fn new() -> Self {
        let (issuer, key) = (es256("k1"), es256(""));
        let token = at_jwt(&issuer, &with(json!({ "cnf": { "jkt": thumbprint(&key) } })));
        Self { verifier: verifier(&[issuer.jwk()]), key, token }
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.key.bare_jwk() })
    }

    fn says(&self, id: &str) -> Value {
        json!({ "jti": id, "htm": "POST", "htu": URL, "iat": NOW_S, "ath": hash(&self.token) })
    }

    async fn present(&self, proof: &str) -> String {
        self.present_at(proof, now(), &rules()).await
    }

    async fn present_at(&self, proof: &str, now: Timestamp, rules: &TokenRules) -> String {
        let value = format!("DPoP {}", self.token);
        match present(&self.verifier, rules, &[("authorization", &value), ("dpop", proof)], now).await {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.code(),
        }
    }
}

fn hash(token: &str) -> String {
    use base64::Engine as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}

fn changed(mut value: Value, name: &str, to: Value) -> Value {
    match to {
        Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
        to => value[name] = to,
    }
    value
}

#[tokio::test]
async fn a_proof_is_taken_once() {
    let rig = Rig::new();
    let proof = mint(&rig.header(), &rig.says("1"), &rig.key);
    assert_eq!(rig.present(&proof).await, "ok");
    assert_eq!(rig.present(&proof).await, "dpop_replayed");
    // Signed anew, it is the same proof.
    assert_eq!(rig.present(&mint(&rig.header(), &rig.says("1"), &rig.key)).await, "dpop_replayed");
    assert_eq!(rig.present(&mint(&rig.header(), &rig.says("2"), &rig.key)).await, "ok");
}

#[tokio::test]
async fn a_proof_that_nobody_could_remember_is_not_taken() {
    let mut rig = Rig::new();
    // A key has a quarter of the room.
    rig.verifier.proofs = Proofs::new(&Chance).with_room_for(8);
    for (id, expected) in [("1", "ok"), ("2", "ok"), ("3", "dpop_too_many_proofs"), ("2", "dpop_replayed")] {
        assert_eq!(rig.present(&mint(&rig.header(), &rig.says(id), &rig.key)).await, expected, "{id}");
    }
    // The former are over, and so is their time.
    let later = NOW_S + 60;
    let proof = mint(&rig.header(), &changed(rig.says("3"), "iat", json!(later)), &rig.key);
    assert_eq!(rig.present_at(&proof, at(later), &rules()).await, "ok");
}

#[tokio::test]
async fn each_lie_in_a_proof_is_named() {
    let rig = Rig::new();
    let (other, rsa) = (es256(""), Signer::new("RS256", ""));
    let fresh = std::cell::Cell::new(0);
    let says = || {
        fresh.set(fresh.get() + 1);
        rig.says(&format!("lie-{}", fresh.get()))
    };
    for (name, value, expected) in [
        ("htm", json!("GET"), "method"),
        ("htm", json!("post"), "method"),
        ("htm", Value::Null, "method"),
        ("htu", json!("https://api.example/pay/43"), "url"),
        ("htu", json!("https://other.example/pay/42"), "url"),
        ("htu", json!("http://api.example/pay/42"), "url"),
        ("htu", json!(["https://api.example/pay/42"]), "url"),
        ("htu", Value::Null, "url"),
        ("ath", Value::Null, "other_token"),
        ("ath", json!(hash("another token")), "other_token"),
        ("ath", json!(rig.token), "other_token"),
        ("jti", Value::Null, "id"),
        ("jti", json!(""), "id"),
        ("jti", json!("x".repeat(257)), "id"),
        ("iat", Value::Null, "time"),
        ("iat", json!(NOW_S.to_string()), "time"),
        ("iat", json!(NOW_S - 60), "time"),
        ("iat", json!(NOW_S + 31), "time"),
    ] {
        let proof = mint(&rig.header(), &changed(says(), name, value.clone()), &rig.key);
        assert_eq!(rig.present(&proof).await, format!("dpop_{expected}"), "{name} {value}");
    }
    let mut private = rig.key.bare_jwk();
    private["d"] = json!("AAAA");
    for (name, value, expected) in [
        ("typ", json!("JWT"), "type"),
        ("typ", Value::Null, "type"),
        ("jwk", Value::Null, "key"),
        ("jwk", json!("x"), "key"),
        ("jwk", private, "key"),
        ("jwk", json!({ "kty": "oct", "k": "AAAA" }), "key"),
        ("alg", json!("none"), "algorithm"),
        ("alg", json!("HS256"), "algorithm"),
        ("alg", json!("RS256"), "signature"),
        ("jwk", other.bare_jwk(), "signature"),
        ("crit", json!(["x"]), "critical"),
    ] {
        let proof = mint(&changed(rig.header(), name, value.clone()), &says(), &rig.key);
        assert_eq!(rig.present(&proof).await, format!("dpop_{expected}"), "{name} {value}");
    }
    let of_other = changed(rig.header(), "jwk", other.bare_jwk());
    assert_eq!(rig.present(&mint(&of_other, &says(), &other)).await, "dpop_other_key");
    let mut of_rsa = changed(rig.header(), "jwk", rsa.jwk());
    of_rsa["alg"] = json!("RS256");
    assert_eq!(rig.present(&mint(&of_rsa, &says(), &rsa)).await, "dpop_other_key");
    assert_eq!(rig.present(&mint(&rig.header(), &says(), &Unsigned)).await, "dpop_signature");
    assert_eq!(rig.present(&mint(&rig.header(), &says(), &Hs256(b"x".to_vec()))).await, "dpop_signature");
    assert_eq!(rig.present("a.b").await, "dpop_malformed");
    assert_eq!(
        rig.present(&mint(&rig.header(), &changed(says(), "jti", json!("x".repeat(256))), &rig.key)).await,
        "ok"
    );
    // What was refused took nothing: a good proof is taken, at the edges of its time too.
    assert_eq!(rig.present(&mint(&rig.header(), &changed(says(), "iat", json!(NOW_S - 59)), &rig.key)).await, "ok");
    assert_eq!(rig.present(&mint(&rig.header(), &changed(says(), "iat", json!(NOW_S + 30)), &rig.key)).await, "ok");
    let with_query = changed(says(), "htu", json!("https://API.example:443/pay/42?a=b#c"));
    assert_eq!(rig.present(&mint(&rig.header(), &with_query, &rig.key)).await, "ok");
}

#[tokio::test]
async fn a_bound_token_is_no_bearer_token_and_the_other_way() {
    let rig = Rig::new();
    assert_eq!(code(&rig.verifier, &rig.token).await, "token_bound_to_a_key");
    let proof = mint(&rig.header(), &rig.says("1"), &rig.key);
    let bearer = format!("Bearer {}", rig.token);
    let both = [("authorization", bearer.as_str()), ("dpop", proof.as_str())];
    let refused = present(&rig.verifier, &rules(), &both, now()).await.unwrap_err();
    assert_eq!(refused.code(), "token_bound_to_a_key");
    let alone = format!("DPoP {}", rig.token);
    let refused = present(&rig.verifier, &rules(), &[("authorization", &alone)], now()).await.unwrap_err();
    assert_eq!(refused.code(), "dpop_missing");
    let issuer = es256("k2");
    let verifier = verifier(&[issuer.jwk()]);
    let unbound = at_jwt(&issuer, &claims());
    let says = json!({ "jti": "9", "htm": "POST", "htu": URL, "iat": NOW_S, "ath": hash(&unbound) });
    let (proof, value) = (mint(&rig.header(), &says, &rig.key), format!("DPoP {unbound}"));
    let refused = present(&verifier, &rules(), &[("authorization", &value), ("dpop", &proof)], now()).await;
    assert_eq!(refused.unwrap_err().code(), "token_not_bound_to_a_key");
}

#[tokio::test]
async fn a_scheme_that_a_service_does_not_take_is_refused() {
    let rig = Rig::new();
    let bearer_only = TokenRules::new(Accepted { schemes: vec![Scheme::Bearer], ..accepted() });
    let proof = mint(&rig.header(), &rig.says("1"), &rig.key);
    assert_eq!(rig.present_at(&proof, now(), &bearer_only).await, "token_scheme");
    let dpop_only = TokenRules::new(Accepted { schemes: vec![Scheme::Dpop], ..accepted() });
    assert_eq!(rig.present_at(&proof, now(), &dpop_only).await, "ok");
    let value = format!("Bearer {}", rig.token);
    let refused = present(&rig.verifier, &dpop_only, &[("authorization", &value)], now()).await.unwrap_err();
    assert_eq!(refused, NotAccepted::Scheme);
}

#[tokio::test]
async fn where_nonces_are_demanded_a_proof_without_one_is_told_which() {
    let rig = Rig::new();
    let demanding = TokenRules::new(Accepted { nonces: Nonces::Demanded, ..accepted() });
    let value = format!("DPoP {}", rig.token);
    let proof = mint(&rig.header(), &rig.says("1"), &rig.key);
    let told = present(&rig.verifier, &demanding, &[("authorization", &value), ("dpop", &proof)], now()).await;
    let Err(NotAccepted::UseNonce { nonce }) = told else { panic!("{told:?}") };
    let with = |id: &str, nonce: &str, at: i64| {
        let says = changed(changed(rig.says(id), "nonce", json!(nonce)), "iat", json!(at));
        mint(&rig.header(), &says, &rig.key)
    };
    assert_eq!(rig.present_at(&with("1", &nonce, NOW_S), now(), &demanding).await, "ok", "it was not taken before");
    assert_eq!(rig.present_at(&with("1", &nonce, NOW_S), now(), &demanding).await, "dpop_replayed");
    assert_eq!(rig.present_at(&with("2", "x", NOW_S), now(), &demanding).await, "dpop_nonce");
    // Another node's is another: a proof that was taken here is worth nothing there.
    let there = Rig { verifier: Rig::new().verifier, ..Rig::new() };
    let Err(NotAccepted::UseNonce { nonce: other }) = there.verifier.proofs.check(
        Some(&proof),
        Proving {
            presented: Presented {
                headers: &HeaderMap::new(),
                method: "POST",
                url: URL,
                certificate: None,
                now: now(),
            },
            token: &rig.token,
            thumbprint: &thumbprint(&rig.key),
            needs_nonce: true,
        },
    ) else {
        panic!("no nonce")
    };
    assert_ne!(nonce, other);
    // Old ones are no longer taken: the next spans are 5 minutes each.
    let later = NOW_S + 601;
    let said = rig.verifier.proofs.nonce(at(later));
    assert_ne!(said, nonce);
    let proving = |proof: &str| {
        let headers = HeaderMap::new();
        let presented = Presented { headers: &headers, method: "POST", url: URL, certificate: None, now: at(later) };
        let of_key = thumbprint(&rig.key);
        let proving = Proving { presented, token: &rig.token, thumbprint: &of_key, needs_nonce: true };
        rig.verifier.proofs.check(Some(proof), proving).map_err(|error| error.code())
    };
    assert_eq!(proving(&with("3", &nonce, later)), Err("dpop_nonce".into()));
    assert_eq!(proving(&with("3", &said, later)), Ok(()));
}

/// RFC 9449, section 7.1: the request to a protected resource.
#[tokio::test]
async fn the_proof_of_the_standard_holds() {
    const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    const PROOF: &str = concat!(
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0Rs",
        "cEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2",
        "In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90",
        "ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFF",
        "byJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
    );
    /// RFC 9449, section 6.1: `cnf` of the token that is bound to the key of the examples.
    const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let proofs = Proofs::new(&Chance);
    let headers = HeaderMap::new();
    let check = |url: &str, seconds: i64| {
        let presented = Presented { headers: &headers, method: "GET", url, certificate: None, now: at(seconds) };
        let proving = Proving { presented, token: TOKEN, thumbprint: THUMBPRINT, needs_nonce: false };
        proofs.check(Some(PROOF), proving).map_err(|error| error.code())
    };
    assert_eq!(check("https://resource.example.org/other", 1_562_262_618), Err("dpop_url".into()));
    assert_eq!(check("https://resource.example.org/protectedresource", 1_562_262_678), Err("dpop_time".into()));
    assert_eq!(check("https://resource.example.org/protectedresource", 1_562_262_618), Ok(()));
    assert_eq!(check("https://resource.example.org/protectedresource", 1_562_262_618), Err("dpop_replayed".into()));
}
