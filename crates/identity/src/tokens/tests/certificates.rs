//! Tokens that are bound to a client certificate (RFC 8705, section 3).

use stepgate_core::certificate::{CertificateFault, HeldCertificate, Thumbprint};

use super::*;

/// RFC 8705, section 3.1: `x5t#S256` of its example, whose last character's spare bits are zero here.
pub(super) const THUMBPRINT: &str = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0";

/// A connection that showed this certificate, if it holds.
#[derive(Debug)]
struct Shown(Result<Thumbprint, CertificateFault>);

impl ShownCertificate for Shown {
    fn held(&self, now: Timestamp) -> Result<HeldCertificate, CertificateFault> {
        let thumbprint = self.0?;
        Ok(HeldCertificate { vouched_by: Arc::from("machines"), thumbprint, until: now })
    }
}

async fn with_certificate(verifier: &TokenVerifier, token: &str, shown: &Shown) -> String {
    let value = format!("Bearer {token}");
    match present_on(Some(shown), verifier, &rules(), &[("authorization", &value)], now()).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code(),
    }
}

#[tokio::test]
async fn b100_a_token_that_is_bound_to_a_certificate_is_good_on_its_connection_alone() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let bound = at_jwt(&key, &with(json!({ "cnf": { "x5t#S256": THUMBPRINT } })));
    let theirs = Thumbprint::parse(THUMBPRINT).unwrap();
    let other = Thumbprint::from_bytes([7; 32]);
    // Twice, because the second time the token is known.
    for _ in 0..2 {
        assert_eq!(code(&verifier, &bound).await, "token_certificate_missing");
        assert_eq!(with_certificate(&verifier, &bound, &Shown(Ok(other))).await, "token_certificate_other");
        for fault in [CertificateFault::Revoked, CertificateFault::Expired, CertificateFault::UnknownIssuer] {
            let said = with_certificate(&verifier, &bound, &Shown(Err(fault))).await;
            assert_eq!(said, format!("token_{}", fault.code()));
        }
        assert_eq!(with_certificate(&verifier, &bound, &Shown(Ok(theirs))).await, "ok");
    }
    // It is no DPoP token, and one that is bound to nothing needs no certificate.
    let value = format!("DPoP {bound}");
    let shown = Shown(Ok(theirs));
    let as_dpop = present_on(Some(&shown), &verifier, &rules(), &[("authorization", &value)], now()).await;
    assert_eq!(as_dpop.unwrap_err().code(), "token_not_bound_to_a_key");
    let unbound = at_jwt(&key, &claims());
    assert_eq!(with_certificate(&verifier, &unbound, &Shown(Err(CertificateFault::Revoked))).await, "ok");
}
