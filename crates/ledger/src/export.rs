//! An exported log: a directory, or a tar archive of it, that anybody can check with
//! [`crate::verify`].
//!
//! ```text
//! checkpoint                     the signed head (C2SP tlog-checkpoint)
//! tile/<level>/<number>[.p/<w>]  hashes of the tree, 256 to a file (C2SP tlog-tiles)
//! tile/entries/<number>[.p/<w>]  the entries, 256 to a file, each after its length as uint16
//! details.jsonl                  what lies beside the tree, one line for an entry that has it
//! handover/<size>                the head with which one signing key handed over to the next
//! ```
//!
//! The first three are what any C2SP monitor reads. The others are this crate's own: `details.jsonl`
//! holds what entries only commit to, so that it can be erased while the tree stays as it is. A
//! handover is the head of `<size>` entries whose last entry announces the next key, signed by the
//! former key and the next one: so that whoever knows the former one can follow.

pub mod archive;
pub mod bundle;
pub mod cutter;
pub mod details;
mod lines;
pub mod reader;
mod source;
pub mod writer;

pub use cutter::{CutError, Cutter, ExportFile, Piece};
pub use details::{Details, DetailsLine};
pub use lines::DetailsLines;
pub use reader::{ReadError, Reader, Record};
pub use writer::{WriteError, Writer};

/// Largest entry in bytes: its length is written in two bytes.
pub const MAX_ENTRY_LENGTH: usize = u16::MAX as usize;

/// Longest line of `details.jsonl` in bytes.
pub const MAX_DETAILS_LINE: usize = 1024 * 1024;

/// Most handovers in an export: a key that is changed every day for ten years has fewer.
pub const MAX_HANDOVERS: usize = 4096;

/// The file with the signed head; the last that is written.
pub const CHECKPOINT_FILE: &str = "checkpoint";
/// The file with what lies beside the tree.
pub const DETAILS_FILE: &str = "details.jsonl";
const HANDOVER_DIRECTORY: &str = "handover";
