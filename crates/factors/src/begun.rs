//! What is kept between the beginning and the end of an enrolment.

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stepgate_core::factor::{FactorKind, NotEnrolled};
use stepgate_core::id::PersonId;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun<T> {
    kind: String,
    person: String,
    begun: T,
}

/// Writes down what was begun, for this person and this kind only (attack B72:
/// neither subject nor secret is taken from who finishes).
pub(crate) fn keep<T: Serialize>(kind: FactorKind, person: PersonId, begun: T) -> Result<SecretString, NotEnrolled> {
    let begun = Begun { kind: kind.name().to_owned(), person: person.to_string(), begun };
    let text = serde_json::to_string(&begun).map_err(|error| NotEnrolled::Fault(error.to_string()))?;
    Ok(SecretString::from(text))
}

/// Reads what was begun for this person and this kind.
pub(crate) fn open<T: DeserializeOwned>(
    kind: FactorKind,
    person: PersonId,
    state: &SecretString,
) -> Result<T, NotEnrolled> {
    // The text of the error could quote the state, so it is not repeated.
    let begun: Begun<T> = serde_json::from_str(state.expose_secret())
        .map_err(|_| NotEnrolled::Fault("what was begun cannot be read".to_owned()))?;
    if begun.kind != kind.name() || begun.person != person.to_string() {
        return Err(NotEnrolled::Refused("this enrolment was begun for something or somebody else".to_owned()));
    }
    Ok(begun.begun)
}
