//! What the guard of a connection lets pass, the HTTP library reads with the same framing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stepgate_gateway::server::fuzz_framing;

fuzz_target!(|bytes: &[u8]| {
    if let Err(broken) = fuzz_framing(bytes) {
        panic!("{broken}");
    }
});
