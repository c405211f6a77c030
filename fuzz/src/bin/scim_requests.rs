//! Whatever a provisioning system writes as a filter, a path or a PATCH, it is read, or refused with words:
//! no panic, no hang, and what is not the directory's to change stays as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| stepgate_machines::fuzz(bytes));
