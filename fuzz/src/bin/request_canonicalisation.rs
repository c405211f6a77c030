//! A raw request head is refused, or it has one reading that survives being read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stepgate_gateway::canonical::fuzz_read;

fuzz_target!(|bytes: &[u8]| {
    if let Err(broken) = fuzz_read(bytes) {
        panic!("{broken}");
    }
});
