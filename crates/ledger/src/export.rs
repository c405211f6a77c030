//! An exported log: a directory that anybody can check with [`crate::verify`].
//!
//! ```text
//! checkpoint                     the signed head (C2SP tlog-checkpoint)
//! tile/<level>/<number>[.p/<w>]  hashes of the tree, 256 to a file (C2SP tlog-tiles)
//! tile/entries/<number>[.p/<w>]  the entries, 256 to a file, each after its length as uint16
//! details.jsonl                  what lies beside the tree, one line for an entry that has it
//! ```
//!
//! The first three are what any C2SP monitor reads. `details.jsonl` is this crate's own: it holds
//! what entries only commit to, so that it can be erased while the tree stays as it is.

pub mod bundle;
pub mod details;
pub mod reader;
pub mod writer;

pub use details::{Details, DetailsLine};
pub use reader::{ReadError, Reader, Record};
pub use writer::{WriteError, Writer};

/// Largest entry in bytes: its length is written in two bytes.
pub const MAX_ENTRY_LENGTH: usize = u16::MAX as usize;

/// Longest line of `details.jsonl` in bytes.
pub const MAX_DETAILS_LINE: usize = 1024 * 1024;

const CHECKPOINT_FILE: &str = "checkpoint";
const DETAILS_FILE: &str = "details.jsonl";
