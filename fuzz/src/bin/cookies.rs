//! Whatever cookies come in, none of ours goes on, and none of the others is lost.

#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use stepgate_gateway::canonical::{is_our_cookie, sets_our_cookie, without_our_cookies};

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let kept = without_our_cookies(&header);
    if let Some(kept) = &kept {
        assert!(names(kept).iter().all(|name| !is_our_cookie(name)), "{kept:?}");
        assert_eq!(without_our_cookies(kept).as_ref(), Some(kept), "taking ours out twice takes out more");
    }
    if std::str::from_utf8(bytes).is_ok() {
        let theirs = |header: &HeaderValue| {
            let names = names(header).into_iter();
            names.filter(|name| !name.is_empty() && !is_our_cookie(name)).collect::<Vec<_>>()
        };
        assert_eq!(theirs(&header), kept.as_ref().map(theirs).unwrap_or_default());
    }
    // What an upstream sets is kept from the browser if the browser would send it back as ours.
    let set = names(&header).into_iter().next().unwrap_or_default();
    if is_our_cookie(&set) {
        assert!(sets_our_cookie(&header), "{header:?}");
    }
});

/// The names in a Cookie header, as a server reads them.
fn names(header: &HeaderValue) -> Vec<String> {
    let text = String::from_utf8_lossy(header.as_bytes()).into_owned();
    text.split(';').map(|pair| pair.split('=').next().unwrap_or_default().trim().to_owned()).collect()
}
