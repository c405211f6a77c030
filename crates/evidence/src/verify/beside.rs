//! Details as they stand beside an exported log.

use stepgate_ledger::export;

use crate::details::{Details, Salt};

/// Details that no commitment can be computed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the salt is not 16 bytes in hexadecimal digits")]
pub struct BadBeside;

/// Details as an export writes them: the salt in lower-case hexadecimal digits.
pub fn exported(details: &Details) -> export::Details {
    export::Details::Kept { salt: hex::encode(details.salt.0), body: details.body.clone() }
}

/// Details as an export has them; `None` where they were erased.
///
/// # Errors
///
/// [`BadBeside`] if the salt is not one.
pub fn imported(beside: export::Details) -> Result<Option<Details>, BadBeside> {
    let export::Details::Kept { salt, body } = beside else { return Ok(None) };
    let mut bytes = [0; crate::SALT_LEN];
    hex::decode_to_slice(&salt, &mut bytes).map_err(|_| BadBeside)?;
    if salt != hex::encode(bytes) {
        return Err(BadBeside);
    }
    Ok(Some(Details { salt: Salt(bytes), body }))
}
