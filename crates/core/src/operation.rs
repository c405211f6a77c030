//! What is asked: service, action, resource, inputs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::catalogue::{Endpoint, GATE_SERVICE, Service};
use crate::factor::FactorKind;

/// The value of a declared input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputValue {
    /// A 64-bit integer.
    Long(i64),
    /// Text.
    String(String),
    /// Yes or no.
    Bool(bool),
    /// A decimal with at most four digits after the point, in units of 1/10,000.
    Decimal(i64),
}

impl fmt::Display for InputValue {
    /// As it stands in statements.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long(value) => write!(f, "{value}"),
            Self::String(value) => f.write_str(value),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Decimal(value) => {
                let sign = if *value < 0 { "-" } else { "" };
                let (whole, part) = (value.unsigned_abs() / 10_000, value.unsigned_abs() % 10_000);
                write!(f, "{sign}{whole}.{part:04}")
            }
        }
    }
}

/// The inputs of an operation, by name. Every declared input is present.
pub type Inputs = BTreeMap<String, InputValue>;

/// One request as every door sees it.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The service that it goes to.
    pub service: Arc<Service>,
    /// The endpoint that it is.
    pub endpoint: Arc<Endpoint>,
    /// The declared inputs.
    pub inputs: Inputs,
    /// The method, as it leaves.
    pub method: String,
    /// The whole URL, as it leaves and as the person sees it.
    pub url: String,
    /// The content type; empty if there is no body.
    pub content_type: String,
    /// Headers that the endpoint declares as changing its effect, lower-case name to value.
    pub effect_headers: BTreeMap<String, String>,
}

impl Operation {
    /// The title as the person reads it: placeholders filled from the inputs. Where the gate's own
    /// operations are about a kind of factor, it has its name for people.
    pub fn title(&self) -> String {
        if self.service.name.as_str() != GATE_SERVICE {
            return self.endpoint.title.fill(&self.inputs);
        }
        self.endpoint.title.fill_with(|name| {
            let value = self.inputs.get(name)?.to_string();
            Some(value.parse::<FactorKind>().map_or(value, |kind| kind.title().to_owned()))
        })
    }

    /// This operation with the digest of its whole body: exactly one request.
    pub fn exactly(self, body: &[u8]) -> ExactOperation {
        let body_sha256 = Sha256::digest(body).into();
        let digest = digest(&self, &body_sha256);
        ExactOperation { operation: self, body_sha256, digest }
    }
}

/// An operation and its body's digest: what a confirmation is bound to.
#[derive(Clone, Debug)]
pub struct ExactOperation {
    operation: Operation,
    body_sha256: [u8; 32],
    digest: OperationDigest,
}

/// Two requests with the same digest are the same request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationDigest(pub [u8; 32]);

impl OperationDigest {
    /// Lower-case hex.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for OperationDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationDigest({})", self.to_hex())
    }
}

impl ExactOperation {
    /// The operation.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// SHA-256 of the body.
    pub fn body_sha256(&self) -> &[u8; 32] {
        &self.body_sha256
    }

    /// The digest over everything that a confirmation is bound to.
    pub fn digest(&self) -> OperationDigest {
        self.digest
    }
}

/// Each part is preceded by its length, so that no two different requests hash the same bytes.
fn digest(operation: &Operation, body_sha256: &[u8; 32]) -> OperationDigest {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(b"stepgate/operation/v1");
    part(operation.service.name.as_str().as_bytes());
    part(operation.endpoint.action.as_str().as_bytes());
    part(operation.endpoint.resource.as_bytes());
    part(operation.method.as_bytes());
    part(operation.url.as_bytes());
    part(operation.content_type.as_bytes());
    part(body_sha256);
    part(&(operation.inputs.len() as u64).to_be_bytes());
    for (name, value) in &operation.inputs {
        part(name.as_bytes());
        part(value.to_string().as_bytes());
    }
    part(&(operation.effect_headers.len() as u64).to_be_bytes());
    for (name, value) in &operation.effect_headers {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    OperationDigest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Effect, Title};
    use crate::policy::fixture::{endpoint, operation, service};

    #[test]
    fn a_kind_of_factor_has_its_name_for_people_in_the_gates_own_titles() {
        let titled = |name: &str, kind: &str| {
            let mut asked = operation("ledger read");
            let kind_of = endpoint(name, "POST /factors", "factors.enrol", Effect::Write, &[]);
            asked.endpoint = Arc::new(Endpoint { title: Title::new("Add: {kind}"), ..kind_of });
            asked.service = service(name, Vec::new());
            asked.inputs.insert("kind".to_owned(), InputValue::String(kind.to_owned()));
            asked.title()
        };
        assert_eq!(titled(GATE_SERVICE, "recovery_code"), "Add: recovery code");
        assert_eq!(titled(GATE_SERVICE, "totp"), "Add: authenticator code");
        assert_eq!(titled(GATE_SERVICE, "another"), "Add: another");
        assert_eq!(titled("ledger", "totp"), "Add: totp", "an application's own word is its own");
    }
}
