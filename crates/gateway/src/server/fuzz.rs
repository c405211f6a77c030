//! One function for fuzzers: what the guard lets pass, the HTTP library reads with
//! the same framing.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use parking_lot::Mutex;

use super::wire::{Rest, Wire};
use crate::canonical::{Framing, MAX_HEADERS, inspect};

/// Enough for every input that a fuzzer makes to be read to its end.
const MAX_POLLS: usize = 1_000_000;
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What became of fuzzed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramingOutcome {
    /// How many heads passed.
    pub heads: u64,
    /// Whether nothing passes any more.
    pub ended: bool,
}

/// Follows the bytes of a connection, whole and byte by byte, and gives what
/// passed to the HTTP library.
///
/// # Errors
///
/// A sentence that names the invariant which does not hold: how bytes are cut into
/// segments changes nothing; the library answers nothing by itself; it makes the
/// same requests of the bytes, as many and with the same targets, and finds a body
/// whole where the guard does.
pub fn fuzz_framing(bytes: &[u8]) -> Result<FramingOutcome, &'static str> {
    let whole = follow(bytes, bytes.len().max(1));
    let pieces = follow(bytes, 1);
    // A head that is refused may be known for one before its end has come.
    let not_ended = if whole.ended { &pieces } else { &whole };
    let same_end = whole.ended == pieces.ended || not_ended.is_in_head;
    if whole.passed != pieces.passed || whole.heads != pieces.heads || !same_end {
        return Err("how the bytes are cut into segments changes what passes");
    }
    let outcome = FramingOutcome { heads: whole.heads, ended: whole.ended };
    if whole.is_other {
        return Ok(outcome);
    }
    let read = read(&whole.passed)?;
    if read.said.windows(12).any(|said| said.starts_with(b"HTTP/1.") && said.get(9) == Some(&b'4')) {
        return Err("the library refuses by itself what passed");
    }
    let says = |sought: &[u8]| read.said.windows(sought.len()).any(|said| said == sought);
    let closes = says(b"connection: close") || says(b"HTTP/1.0 ");
    // The library limits chunk extensions and trailers; what follows it does not read.
    let breaks = read.requests.last().is_some_and(|request| request.body == LibraryBody::Breaks);
    if read.requests.len() as u64 != whole.heads && !closes && !breaks {
        return Err("the library does not find as many requests as passed");
    }
    let mut heads = whole.heads_seen.iter();
    for (number, request) in read.requests.iter().enumerate() {
        let Some(head) = heads.next().filter(|head| head.target == request.target) else {
            return Err("the library reads another target than passed");
        };
        let is_in_body = whole.in_body && number as u64 + 1 == whole.heads;
        let same_end = match request.body {
            LibraryBody::Waits => is_in_body,
            LibraryBody::Whole => !is_in_body,
            LibraryBody::Breaks => head.is_chunked,
        };
        if !same_end {
            return Err("the library ends a body elsewhere");
        }
    }
    Ok(outcome)
}

/// A head as the guard saw it.
struct SeenHead {
    target: String,
    is_chunked: bool,
}

/// What the guard made of the bytes.
struct Seen {
    passed: Vec<u8>,
    heads: u64,
    heads_seen: Vec<SeenHead>,
    is_in_head: bool,
    in_body: bool,
    is_other: bool,
    ended: bool,
}

fn follow(bytes: &[u8], segment: usize) -> Seen {
    let mut wire = Wire::new(MAX_HEAD_BYTES);
    let (mut passed, mut held, mut heads_seen) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ended, mut broken) = (false, false);
    for piece in bytes.chunks(segment) {
        held.extend_from_slice(piece);
        let followed = wire.follow(&held);
        passed.extend(held.drain(..followed.pass));
        broken |= followed.rest == Rest::Break;
        ended |= followed.rest != Rest::Wait;
        if ended {
            break;
        }
    }
    // The heads again, from what passed: byte by byte, so that each passes alone.
    let mut again = Wire::new(MAX_HEAD_BYTES);
    let mut at = 0;
    for end in 0..=passed.len() {
        let before = again.heads();
        let pass = again.follow(passed.get(at..end).unwrap_or_default()).pass;
        if again.heads() > before {
            let head = passed.get(at..at + pass).unwrap_or_default();
            let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            let found = inspect(head).ok().flatten();
            heads_seen.push(SeenHead {
                target: String::from_utf8_lossy(target).into_owned(),
                is_chunked: found.is_some_and(|found| found.framing == Framing::Streamed),
            });
        }
        at += pass;
    }
    let in_body = broken || !(wire.is_in_head() || wire.is_offered() || ended);
    let (heads, is_in_head, is_other) = (wire.heads(), wire.is_in_head(), wire.is_other());
    Seen { passed, heads, heads_seen, is_in_head, in_body, is_other, ended }
}

/// What the library made of the bytes.
struct LibraryRead {
    requests: Vec<LibraryRequest>,
    said: Vec<u8>,
}

#[derive(Clone)]
struct LibraryRequest {
    target: String,
    body: LibraryBody,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LibraryBody {
    /// It has not ended.
    Waits,
    Whole,
    Breaks,
}

fn read(bytes: &[u8]) -> Result<LibraryRead, &'static str> {
    let requests = Arc::new(Mutex::new(Vec::<LibraryRequest>::new()));
    let said = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let requests = Arc::clone(&requests);
        service_fn(move |request: Request<Incoming>| {
            let requests = Arc::clone(&requests);
            let number = {
                let mut requests = requests.lock();
                let target = request.uri().to_string();
                requests.push(LibraryRequest { target, body: LibraryBody::Waits });
                requests.len() - 1
            };
            async move {
                let body = match request.into_body().collect().await {
                    Ok(_) => LibraryBody::Whole,
                    Err(_) => LibraryBody::Breaks,
                };
                if let Some(request) = requests.lock().get_mut(number) {
                    request.body = body;
                }
                Ok::<_, std::convert::Infallible>(Response::new(Empty::<bytes::Bytes>::new()))
            }
        })
    };
    let memory = Memory { left: bytes.to_vec(), at: 0, said: Arc::clone(&said) };
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.header_read_timeout(None).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES + 64);
    let mut connection = pin!(builder.serve_connection(memory, service));
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    for _ in 0..MAX_POLLS {
        // Nobody wakes it: it waits for bytes that do not come.
        let waits = !woken.0.swap(false, Ordering::Relaxed);
        if waits || connection.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            let (requests, said) = (requests.lock().clone(), said.lock().clone());
            return Ok(LibraryRead { requests, said });
        }
    }
    Err("the library does not come to an end")
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection that says what it was given and then neither speaks nor ends.
struct Memory {
    left: Vec<u8>,
    at: usize,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Read for Memory {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let left = this.left.get(this.at..).unwrap_or_default();
        let given = left.get(..left.len().min(buf.remaining())).unwrap_or_default();
        if given.is_empty() {
            return Poll::Pending;
        }
        buf.put_slice(given);
        this.at += given.len();
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.said.lock().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces that are plausible next to each other, and next to something odd.
    fn connections() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "POST /h HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n",
            "POST /i HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0001 ;x\r\na\r\n",
            "POST /j HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /d HTTP/1.1\r\n",
            "GET http://a/e HTTP/1.0\r\n",
            "Content-Length: 4\r\n",
            "Content-Length: 0\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: keep-alive\r\n",
            "Connection: close\r\n",
            "Expect: 100-continue\r\n",
            "Upgrade: websocket\r\n",
            "X: y\r\n",
            " folded\r\n",
            "X : y\n",
            "\r\n",
            "\n",
            "\r",
            "4\r\nabcd\r\n",
            "4;x=y\r\nabcd\r\n",
            "4 ;x\r\nabcd\r\n",
            "2 \r\nab\r\n",
            "00\r\n",
            "0\r\n\r\n",
            "0\r\nTrailer: x\r\n\r\n",
            "#",
            "GET /f#g HTTP/1.1\r\n\r\n",
            "abcd",
            "PRI * HTTP/2.0\r\n\r\n",
            "\0",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
    }

    #[test]
    fn everyday_connections_pass_whole() {
        let bytes = "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
                     PUT /l?x=y HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(fuzz_framing(bytes.as_bytes()), Ok(FramingOutcome { heads: 3, ended: false }));
        let refused = format!("{bytes}GET /#x HTTP/1.1\r\n\r\n");
        assert_eq!(fuzz_framing(refused.as_bytes()), Ok(FramingOutcome { heads: 3, ended: true }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn the_library_reads_what_passes_as_the_guard_does(bytes in connections()) {
            let outcome = fuzz_framing(&bytes).map(|_| ());
            prop_assert_eq!(outcome, Ok(()), "{:?}", String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let outcome = fuzz_framing(&bytes).map(|_| ());
            prop_assert_eq!(outcome, Ok(()), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
