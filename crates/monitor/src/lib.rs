//! The evidence, as it grows, told to the systems that act on it.
//!
//! ```text
//! ledger ──► Pump (one for each sink) ──► Format ──► Sink ──► its receiver
//!              │  reads in order                        │
//!              └── cursor in the store ◄── taken ───────┘
//! ```
//!
//! A pump moves the cursor of its sink only when the receiver has what stands before it, or when what it refuses for
//! good lies in a file on disk. So each entry arrives at least once, with an id by which a receiver drops repeats; a
//! receiver that is away for a day loses nothing, and holds up nobody.
//!
//! *Architecture invariant:* nothing here decides anything or changes what is told. What an entry says is read once, in
//! [`fact`]; formats only put it into words.

pub mod fact;
mod format;
mod pump;
mod record;
mod refused;
mod sink;

pub use format::{Body, DATAGRAM_DOCUMENT_LEN_MAX, DOCUMENT_LEN_MAX, Document, Format, NoSuchFormat, OCSF_VERSION};
pub use pump::{BATCH_LEN_MAX, BATCH_MAX, Begin, PAUSE_MAX, Pump, PumpParts, REFUSED_IN_A_ROW_MAX, TURN};
pub use record::{Personal, Record};
pub use refused::{REFUSED_FILE_LEN_MAX, RefusedFile};
pub use sink::{
    Elasticsearch, File, NoTls, Otlp, Reason, Rotation, Sink, Splunk, Stdout, Syslog, SyslogTransport, Undelivered,
    Webhook,
};
