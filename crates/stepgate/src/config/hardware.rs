//! `[hardware_codes]`: hardware tokens that show one-time codes.

use stepgate_factors::LookAhead;

use super::read::Table;

/// Reads `[hardware_codes]`.
///
/// The bounds keep what a guess is worth: with six digits and a window of twenty codes it is right once in 50,000.
pub(super) fn hardware(table: Table<'_>) -> LookAhead {
    let default = LookAhead::default();
    let number = |name, range| table.number(name, range).and_then(|number| u32::try_from(number).ok());
    let (codes, resync) = (number("look_ahead", 1..=20), number("resync_window", 10..=1_000));
    table.finish();
    LookAhead { codes: codes.unwrap_or(default.codes), resync: resync.unwrap_or(default.resync) }
}
