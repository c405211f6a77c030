//! Whatever stands in a body or query, the inputs of an operation are read as an
//! ordinary reader reads them, or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| stepgate_core::inputs::fuzz(bytes));
