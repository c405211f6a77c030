//! HTTP/1.1 requests read back from the very bytes that arrived.
//!
//! The reader is our own and strict, so that it shares no mistake with the
//! gate's: what it cannot read, a test should see.

use std::fmt;

/// The largest chunk-size line, in bytes.
const LONGEST_CHUNK_LINE: usize = 64;

/// One request as it arrived.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    /// From the first byte to the empty line, which is included.
    pub head: Vec<u8>,
    /// The content, without the framing of chunks.
    pub body: Vec<u8>,
    /// Every byte, framing included.
    pub raw: Vec<u8>,
}

impl RecordedRequest {
    /// The first word of the first line.
    pub fn method(&self) -> String {
        self.request_line(0)
    }

    /// The request target, exactly as it was sent.
    pub fn target(&self) -> String {
        self.request_line(1)
    }

    /// Names and values in the order and spelling in which they arrived.
    pub fn headers(&self) -> Vec<(String, String)> {
        headers(&self.head)
    }

    /// All values under a name, whatever its letters' case.
    pub fn values(&self, name: &str) -> Vec<String> {
        let headers = self.headers().into_iter();
        headers.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The value under a name that must not be there twice.
    ///
    /// # Panics
    ///
    /// When it is there twice.
    pub fn value(&self, name: &str) -> Option<String> {
        let mut values = self.values(name);
        assert!(values.len() < 2, "{name} is there {} times: {self:?}", values.len());
        values.pop()
    }

    fn request_line(&self, word: usize) -> String {
        let head = String::from_utf8_lossy(&self.head);
        head.lines().next().and_then(|line| line.split(' ').nth(word)).unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for RecordedRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.head.escape_ascii(), self.body.escape_ascii())
    }
}

/// What the bytes of a connection begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// A whole request.
    Whole(Box<RecordedRequest>),
    /// The beginning of one.
    Unfinished,
    /// Something that is no request, and why.
    Broken(&'static str),
}

/// Reads one request from the beginning of `bytes` (RFC 9112).
pub fn read_request(bytes: &[u8]) -> Reading {
    let Some(end) = position(bytes, b"\r\n\r\n") else {
        return Reading::Unfinished;
    };
    let (head, rest) = bytes.split_at(end + 4);
    let headers = headers(head);
    let values = |name: &str| -> Vec<&str> {
        headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    };
    let framing = (values("content-length"), values("transfer-encoding"));
    let body = match (framing.0.as_slice(), framing.1.as_slice()) {
        ([], []) => Some((Vec::new(), 0)),
        ([length], []) => match length.parse::<usize>() {
            Ok(length) if rest.len() < length => None,
            Ok(length) => Some((rest[..length].to_vec(), length)),
            Err(_) => return Reading::Broken("the content length is no number"),
        },
        ([], ["chunked"]) => match read_chunks(rest) {
            Ok(body) => body,
            Err(why) => return Reading::Broken(why),
        },
        _ => return Reading::Broken("the length of the body is told more than once"),
    };
    match body {
        None => Reading::Unfinished,
        Some((body, length)) => Reading::Whole(Box::new(RecordedRequest {
            head: head.to_vec(),
            body,
            raw: bytes[..head.len() + length].to_vec(),
        })),
    }
}

/// Reads every request of one connection; after an upgrade come no more.
///
/// # Panics
///
/// When there is something that is no request.
pub fn read_requests(mut bytes: &[u8]) -> Vec<RecordedRequest> {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        match read_request(bytes) {
            Reading::Whole(request) => {
                bytes = &bytes[request.raw.len()..];
                let is_last = !request.values("upgrade").is_empty();
                requests.push(*request);
                if is_last {
                    break;
                }
            }
            Reading::Unfinished => break,
            Reading::Broken(why) => panic!("{why}: {}", bytes.escape_ascii()),
        }
    }
    requests
}

/// The content and how many bytes it took with its framing; `None` if the end is not there yet.
fn read_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let Some(end) = position(rest, b"\r\n") else {
            return if rest.len() > LONGEST_CHUNK_LINE { Err("a chunk's size is no line") } else { Ok(None) };
        };
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or("a chunk's size is no number")?;
        let chunk = at + end + 2;
        let Some(ending) = bytes.get(chunk + size..chunk + size + 2) else {
            return Ok(None);
        };
        if ending != b"\r\n" {
            return Err(if size == 0 { "there are trailers" } else { "a chunk is longer than it says" });
        }
        body.extend_from_slice(&bytes[chunk..chunk + size]);
        at = chunk + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn headers(head: &[u8]) -> Vec<(String, String)> {
    let head = String::from_utf8_lossy(head);
    let lines = head.split("\r\n").skip(1).take_while(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
        })
        .collect()
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &str, expected: &str) {
        let read = match read_request(bytes.as_bytes()) {
            Reading::Whole(request) => format!(
                "{} {} body={} rest={}",
                request.method(),
                request.target(),
                String::from_utf8_lossy(&request.body),
                bytes.len() - request.raw.len()
            ),
            Reading::Unfinished => "unfinished".to_owned(),
            Reading::Broken(why) => why.to_owned(),
        };
        assert_eq!(read, expected, "of {bytes:?}");
    }

    #[test]
    fn requests() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", "GET / body= rest=3");
        check("POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", "POST /a body=hi rest=0");
        check("POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nhi", "unfinished");
        check("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "POST / body=hi rest=0");
        check("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", "unfinished");
    }

    #[test]
    fn what_is_no_request() {
        let both = "POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi";
        check(both, "the length of the body is told more than once");
        check("POST / HTTP/1.1\r\nContent-Length: two\r\n\r\nhi", "the content length is no number");
        let trailers = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n";
        check(trailers, "there are trailers");
        let long = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhi!\r\n0\r\n\r\n";
        check(long, "a chunk is longer than it says");
    }
}
