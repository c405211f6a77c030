//! The small script that lets a page's own calls go on after a challenge.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};
use http_body::{Body as HttpBody, Frame};

use super::asker::Reader;
use crate::body::{Body, BodyError};

const SCRIPT: &str = include_str!("../../assets/stepgate.js");
const TAG: &[u8] = br#"<script src="/.stepgate/stepgate.js"></script>"#;
/// How far into a page `<head>` is looked for.
const SEARCHED_BYTES: usize = 64 * 1024;

/// Whether a service's pages get the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectScript {
    /// It is put into every HTML page of the service.
    IntoPages,
    /// Pages that want it name it themselves.
    No,
}

impl InjectScript {
    pub(super) fn wants(self, reader: Reader) -> bool {
        self == Self::IntoPages && reader == Reader::Person
    }
}

pub(super) fn answer() -> Response<Body> {
    let mut response = Response::new(Body::whole(SCRIPT));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Puts the script first into the head of an HTML page. What is compressed or has
/// no head is left as it is.
pub(super) fn inject(response: Response<Body>, wanted: InjectScript, reader: Reader) -> Response<Body> {
    let headers = response.headers();
    let page = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !wanted.wants(reader) || !page || headers.contains_key(CONTENT_ENCODING) {
        return response;
    }
    let mut response = response.map(|body| Body::local(Injecting { body, state: State::Searching(BytesMut::new()) }));
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.remove(ETAG);
    response
}

struct Injecting {
    body: Body,
    state: State,
}

enum State {
    Searching(BytesMut),
    Passing,
}

impl HttpBody for Injecting {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let polled = std::task::ready!(Pin::new(&mut this.body).poll_frame(cx));
            let State::Searching(gathered) = &mut this.state else {
                return Poll::Ready(polled);
            };
            match polled {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    gathered.extend_from_slice(&data);
                    let ready = match head_end(gathered) {
                        Some(end) => {
                            let rest = gathered.split_off(end);
                            gathered.extend_from_slice(TAG);
                            gathered.unsplit(rest);
                            true
                        }
                        None => gathered.len() > SEARCHED_BYTES,
                    };
                    if ready {
                        let all = std::mem::take(gathered).freeze();
                        this.state = State::Passing;
                        return Poll::Ready(Some(Ok(Frame::data(all))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let all = std::mem::take(gathered).freeze();
                    this.state = State::Passing;
                    return Poll::Ready((!all.is_empty()).then(|| Ok(Frame::data(all))));
                }
            }
        }
    }
}

/// The end of the start tag `<head …>`.
fn head_end(page: &[u8]) -> Option<usize> {
    let start = page.windows(5).position(|window| window.eq_ignore_ascii_case(b"<head"))?;
    let rest = page.get(start + 5..)?;
    match rest.first()? {
        b'>' | b' ' | b'\t' | b'\r' | b'\n' => rest.iter().position(|b| *b == b'>').map(|end| start + 5 + end + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn injected(kind: &str, page: &str) -> String {
        let mut response = Response::new(Body::whole(page.to_owned()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        let response = inject(response, InjectScript::IntoPages, Reader::Person);
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_script_comes_first_in_the_head() {
        let tag = std::str::from_utf8(TAG).unwrap();
        assert_eq!(
            injected("text/html; charset=utf-8", "<html><HEAD lang=en><title>x</title>").await,
            format!("<html><HEAD lang=en>{tag}<title>x</title>")
        );
        assert_eq!(injected("text/html", "<html><header>x").await, "<html><header>x");
        assert_eq!(injected("text/html", "<p>short").await, "<p>short");
        assert_eq!(injected("application/json", "<head>").await, "<head>");
    }
}
