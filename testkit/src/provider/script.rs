//! What a test tells the provider.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use stepgate_core::time::Timestamp;

use crate::{Signer, signer};

/// A client that is registered there.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name.
    pub id: String,
    /// How it proves to be that.
    pub proof: ClientProof,
    /// Where browsers may be sent back to, exactly.
    pub redirect_uris: Vec<String>,
    /// Where browsers may be sent to after signing out.
    pub post_logout_redirect_uris: Vec<String>,
}

/// How a client proves who it is.
#[derive(Clone, Debug)]
pub enum ClientProof {
    /// By this secret in the header.
    Basic(String),
    /// By this secret in the form.
    Post(String),
    /// By a signature (ES256) of the key with this public point, uncompressed.
    Key(Vec<u8>),
    /// Not at all.
    Public,
}

impl Client {
    /// A client with a secret in the header and one place to come back to.
    pub fn with_secret(id: &str, secret: &str, redirect_uri: &str) -> Self {
        Self {
            id: id.to_owned(),
            proof: ClientProof::Basic(secret.to_owned()),
            redirect_uris: vec![redirect_uri.to_owned()],
            post_logout_redirect_uris: Vec::new(),
        }
    }
}

/// A person at the provider, and their login there.
#[derive(Clone, Debug)]
pub struct Somebody {
    /// `sub`.
    pub subject: String,
    /// `sid`.
    pub sid: String,
    /// Names, groups and whatever else stands in the token as it is.
    pub claims: Map<String, Value>,
    /// The class of the login.
    pub acr: Option<String>,
    /// Its authentication contexts, as Entra ID has them.
    pub acrs: Vec<String>,
    /// Its methods.
    pub amr: Vec<String>,
    /// The classes that the person reaches when they are asked for.
    pub can: Vec<String>,
    /// `auth_time`.
    pub logged_in_at: Timestamp,
}

impl Somebody {
    /// Somebody who logged in at this moment with a password (`acr` `pwd`).
    pub fn new(subject: &str, logged_in_at: Timestamp) -> Self {
        let claims = json!({ "preferred_username": "ada", "name": "Ada Lovelace", "email": "ada@example.com" });
        Self {
            subject: subject.to_owned(),
            sid: format!("sid-of-{subject}"),
            claims: claims.as_object().cloned().unwrap_or_default(),
            acr: Some(String::from("pwd")),
            acrs: Vec::new(),
            amr: vec![String::from("pwd")],
            can: Vec::new(),
            logged_in_at,
        }
    }

    /// Who reaches these classes when asked.
    #[must_use]
    pub fn who_can(mut self, classes: &[&str]) -> Self {
        self.can = classes.iter().map(|one| (*one).to_owned()).collect();
        self
    }

    /// With this claim.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.claims.insert(name.to_owned(), value);
        self
    }
}

/// A token before it leaves, to be changed by a test.
#[derive(Debug)]
pub struct Forged {
    /// The header.
    pub header: Value,
    /// What it says.
    pub claims: Value,
    /// What signs it.
    pub signer: Arc<Signer>,
    /// This text instead of all that.
    pub instead: Option<String>,
}

impl Forged {
    /// Says this of a name.
    pub fn say(&mut self, name: &str, value: impl Into<Value>) {
        self.claims[name] = value.into();
    }

    /// Says nothing of a name.
    pub fn omit(&mut self, name: &str) {
        if let Some(claims) = self.claims.as_object_mut() {
            claims.remove(name);
        }
    }

    /// Signed by nobody (`alg` `none`).
    pub fn unsigned(&mut self) {
        self.instead = Some(signer::unsigned(&self.claims));
    }

    /// Under a shared secret that everybody knows: the public key (key confusion).
    pub fn under_public_key(&mut self) {
        let secret = self.signer.jwk().to_string();
        self.instead = Some(signer::hs256(secret.as_bytes(), self.signer.id(), &self.claims));
    }

    pub(super) fn text(self) -> String {
        self.instead.unwrap_or_else(|| self.signer.sign_with(&self.header, &self.claims))
    }
}
