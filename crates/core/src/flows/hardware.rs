//! Hardware tokens: an administrator imports and hands out, the holder activates.
//!
//! Whoever imports a seed knows it. So a token is a factor only once its holder, who proved otherwise who they are,
//! has shown a code of it.

use secrecy::SecretString;
use stepgate_evidence::{Entry, Event};

use super::Flows;
use super::enrol::{EnrolError, TicketView};
use crate::factor::{
    Answer, Binding, EnrolledFactor, FactorKind, FactorSecret, NotEnrolled, NotProved, OathKey, Proved,
};
use crate::id::{FactorId, PersonId};
use crate::person::Person;
use crate::ports::{
    ChangeError, HardwareToken, HardwareTokens, NewToken, StoreError, TicketThen, TokenState, Trier, Try,
};
use crate::surroundings::shown;
use crate::time::Timestamp;

/// A token as a file describes it.
#[derive(Clone, Debug)]
pub struct ReadToken {
    /// What is printed on it.
    pub serial: String,
    /// Who made it; may be empty.
    pub manufacturer: String,
    /// What makes its codes.
    pub key: OathKey,
    /// The counter of its next code; 0 for a clock.
    pub next: u64,
    /// When its maker says that it ends.
    pub until: Option<Timestamp>,
}

/// Where an import comes from, as it stands in the ledger.
#[derive(Clone, Debug)]
pub struct ImportedFrom {
    /// SHA-256 of the file, hex.
    pub file: String,
    /// `pskc` or `csv`.
    pub format: &'static str,
    /// Who imported it.
    pub by: String,
}

/// Why something was not done with a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The configuration does not use hardware tokens.
    #[error("hardware tokens are not configured: add the table [hardware_codes]")]
    NotOffered,
    /// There is no such token.
    #[error("there is no token with the serial number {0:?}")]
    Unknown(String),
    /// A serial number is there already.
    #[error("the token {0:?} is there already; nothing was imported")]
    Known(String),
    /// It is somebody's.
    #[error("the token is {0}: it has to be free")]
    NotFree(&'static str),
    /// It is nobody's.
    #[error("the token is {0}: it is nobody's")]
    Nobodys(&'static str),
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The person may not sign in.
    #[error("this person is not active")]
    Inactive,
    /// Something else was done with it at the same moment.
    #[error("it changed in the meantime")]
    Changed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ChangeError> for TokenError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => Self::Store(error),
            _ => Self::Changed,
        }
    }
}

impl Flows {
    /// Imports tokens: all or none, with one entry that says how many, from which file and by whom.
    pub async fn import_tokens(&self, read: Vec<ReadToken>, from: ImportedFrom) -> Result<(), TokenError> {
        let store = self.hardware()?;
        let at = self.clock.now();
        let event = Event::TokensImported {
            file: from.file,
            format: from.format.to_owned(),
            tokens: u32::try_from(read.len()).unwrap_or(u32::MAX),
            by: from.by,
        };
        let new = |one: &ReadToken| NewToken {
            id: self.id(),
            serial: one.serial.clone(),
            manufacturer: one.manufacturer.clone(),
            key: one.key.clone(),
            next: one.next,
            until: one.until,
        };
        match store.import_tokens(read.iter().map(new).collect(), at, self.entry(at, event)).await {
            Err(ChangeError::UsedBefore) => {}
            other => return Ok(other?),
        }
        // One of them is there already: which?
        for one in read {
            if store.token(&one.serial).await?.is_some() {
                return Err(TokenError::Known(one.serial));
            }
        }
        Err(TokenError::Changed)
    }

    /// The token with this serial number.
    pub async fn hardware_token(&self, serial: &str) -> Result<HardwareToken, TokenError> {
        self.hardware()?.token(serial).await?.ok_or_else(|| TokenError::Unknown(serial.to_owned()))
    }

    /// Hands a token out: it is the person's to activate.
    pub async fn assign_token(&self, token: &HardwareToken, person: &Person, by: &str) -> Result<(), TokenError> {
        match token.state {
            TokenState::Free => {}
            TokenState::Revoked => return Err(TokenError::Revoked),
            other => return Err(TokenError::NotFree(other.name())),
        }
        if !person.active {
            return Err(TokenError::Inactive);
        }
        let event = Event::TokenAssigned {
            token: token.id.to_string(),
            person: person.id.to_string(),
            change: "assigned".to_owned(),
            by: by.to_owned(),
        };
        let entry = self.entry_with(self.clock.now(), event, serde_json::json!({ "serial": token.serial }));
        Ok(self.hardware()?.assign_token(token.id, person.id, entry).await?)
    }

    /// Takes a token back: it is free, and no factor of anybody.
    pub async fn unassign_token(&self, token: &HardwareToken, by: &str) -> Result<(), TokenError> {
        let (person, removed) = match token.state {
            TokenState::Assigned(person) => (person, None),
            TokenState::Active(person, factor) => (person, Some(factor)),
            TokenState::Revoked => return Err(TokenError::Revoked),
            TokenState::Free => return Err(TokenError::Nobodys("free")),
        };
        let event = Event::TokenAssigned {
            token: token.id.to_string(),
            person: person.to_string(),
            change: "unassigned".to_owned(),
            by: by.to_owned(),
        };
        let entry = self.entry_with(self.clock.now(), event, serde_json::json!({ "serial": token.serial }));
        let removed = removed.map(|factor| (factor, self.token_removed(token, person, factor, by)));
        Ok(self.hardware()?.unassign_token(token.id, person, removed, entry).await?)
    }

    /// Puts a token out of use for good, whoever has it: lost, broken, or its seed is known to others.
    pub async fn revoke_token(&self, token: &HardwareToken, by: &str) -> Result<(), TokenError> {
        let removed = match token.state {
            TokenState::Revoked => return Err(TokenError::Revoked),
            TokenState::Active(person, factor) => Some((factor, self.token_removed(token, person, factor, by))),
            TokenState::Free | TokenState::Assigned(_) => None,
        };
        let event = Event::TokenRevoked {
            token: token.id.to_string(),
            person: token.state.person().map(|person| person.to_string()).unwrap_or_default(),
            by: by.to_owned(),
        };
        let entry = self.entry_with(self.clock.now(), event, serde_json::json!({ "serial": token.serial }));
        Ok(self.hardware()?.revoke_token(token.id, removed, entry).await?)
    }

    /// The tokens that this person can activate.
    pub async fn assigned_tokens(&self, person: &Person) -> Result<Vec<EnrolledFactor>, StoreError> {
        match &self.hardware {
            Some(store) => store.assigned_tokens(person.id).await,
            None => Ok(Vec::new()),
        }
    }

    /// Activates a handed-out token of the person with a code that it shows. A try is counted before it is verified,
    /// with those to answer with codes of its kind: activating gives nobody more tries.
    pub async fn activate_token(
        &self,
        view: &TicketView,
        name: &str,
        code: SecretString,
        from: Trier,
    ) -> Result<EnrolledFactor, EnrolError> {
        if !view.kinds.contains(&FactorKind::Hotp) {
            return Err(EnrolError::NotAllowed);
        }
        let store = self.hardware.as_ref().ok_or(EnrolError::NotAllowed)?;
        let assigned = store.assigned_tokens(view.person.id).await?;
        if assigned.is_empty() {
            return Err(refused("There is no token for you to activate. Ask your administrator."));
        }
        let (person, at) = (view.person.id, self.clock.now());
        if let Try::Locked { until } = self.begin_try(person, FactorKind::Hotp, from, at).await? {
            return Err(refused(&format!("There were too many wrong codes. Try again after {until}.")));
        }
        let proved = match self.prove_one(&assigned, &code, at).await {
            Ok(proved) => proved,
            Err(NotProved::Fault(fault)) => {
                self.store.take_back_try(person, FactorKind::Hotp, from).await?;
                return Err(NotEnrolled::Fault(fault).into());
            }
            Err(why) => {
                let event = Event::AttemptFailed {
                    person: person.to_string(),
                    factor: FactorKind::Hotp.name().to_owned(),
                    factor_id: None,
                    provider: None,
                    purpose: "enrolment".to_owned(),
                    challenge: String::new(),
                    reason: why.code().to_owned(),
                };
                self.store.record(vec![self.entry(self.clock.now(), event)]).await?;
                return Err(refused(
                    "That is not a code of your token. Press it twice, and type both codes one after \
                                    the other.",
                ));
            }
        };
        self.store.take_back_try(person, FactorKind::Hotp, from).await?;
        let Some(token) = assigned.into_iter().find(|one| one.id == proved.factor) else {
            return Err(EnrolError::Changed);
        };
        let name = shown(name.trim(), super::enrol::NAME_LEN_MAX);
        let enrolled = EnrolledFactor {
            id: self.id(),
            name: if name.is_empty() { token.name.clone() } else { name },
            enrolled_at: at,
            ..token
        };
        let then = if view.is_single() { TicketThen::Ends } else { TicketThen::Stays };
        let entry = self.activated(view, &enrolled, at);
        store.activate_token(view.digest(), then, person, &enrolled, proved.used, entry).await?;
        Ok(enrolled)
    }

    /// The token whose code this is, among these.
    async fn prove_one(
        &self,
        assigned: &[EnrolledFactor],
        code: &SecretString,
        at: Timestamp,
    ) -> Result<Proved, NotProved> {
        let mut failure = NotProved::NotEnrolled;
        for token in assigned {
            let kind = token.kind();
            let Some(factor) = self.factor(kind) else { continue };
            let answer = Answer::Text { kind, text: code.clone() };
            match factor.verify(std::slice::from_ref(token), &answer, Binding([0; 32]), at).await {
                Ok(proved) => return Ok(proved),
                Err(why) => failure = why,
            }
        }
        Err(failure)
    }

    fn activated(&self, view: &TicketView, factor: &EnrolledFactor, at: Timestamp) -> Entry {
        let event = Event::FactorEnrolled {
            person: view.person.id.to_string(),
            factor: factor.kind().name().to_owned(),
            factor_id: factor.id.to_string(),
            authority: view.authority().to_owned(),
            key: None,
        };
        let token = match &factor.secret {
            FactorSecret::Oath { token: Some(token), .. } => token.id.to_string(),
            _ => String::new(),
        };
        self.entry_with(at, event, serde_json::json!({ "name": factor.name, "token": token }))
    }

    fn token_removed(&self, token: &HardwareToken, person: PersonId, factor: FactorId, by: &str) -> Entry {
        let event = Event::FactorRemoved {
            person: person.to_string(),
            factor: token.kind.name().to_owned(),
            factor_id: factor.to_string(),
            authority: by.to_owned(),
        };
        self.entry(self.clock.now(), event)
    }

    fn hardware(&self) -> Result<&dyn HardwareTokens, TokenError> {
        self.hardware.as_deref().ok_or(TokenError::NotOffered)
    }
}

fn refused(why: &str) -> EnrolError {
    EnrolError::Refused(NotEnrolled::Refused(why.to_owned()))
}
