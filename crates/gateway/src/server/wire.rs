//! Where on an HTTP/1 connection each request's head begins.
//!
//! No input or output here: bytes in, and how many of them may go on.

use crate::canonical::{Ambiguous, Broken, Chunks, Follows, Framing, MAX_TARGET_BYTES, RawHead, inspect};

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The most empty lines before a request line. RFC 9112, section 2.2, asks for one
/// at least: some clients send one behind a body.
const MAX_EMPTY_LINES: u8 = 4;

/// How far a connection has come.
#[derive(Debug)]
pub(super) struct Wire {
    place: Place,
    heads: u64,
    max_head_bytes: usize,
}

#[derive(Debug)]
enum Place {
    /// Nothing has passed yet; HTTP/2 may begin.
    Beginning,
    Head(Head),
    Body {
        left: u64,
    },
    Chunks(Chunks),
    /// Where a body breaks off.
    Broken,
    /// Behind a head that offers an upgrade.
    Offer,
    /// HTTP/2, or what a connection was switched to.
    Other,
    /// Nothing passes any more.
    End,
}

/// What is known of a head that has not all come.
#[derive(Debug, Default)]
struct Head {
    empty_lines: u8,
    searched: usize,
    request_line: bool,
}

/// How many of the bytes may go on, and what of the rest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) pass: usize,
    pub(super) rest: Rest,
}

/// What is to be done with the bytes that may not go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// They are looked at again together with what comes next.
    Wait,
    /// They are a head that is refused.
    Refuse(Ambiguous),
    /// They break a body off.
    Break,
}

impl Wire {
    /// A new connection; a head may have `max_head_bytes`.
    pub(super) fn new(max_head_bytes: usize) -> Self {
        Self { place: Place::Beginning, heads: 0, max_head_bytes }
    }

    /// How many heads have passed.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether bytes that wait are the beginning of a head.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.place, Place::Beginning | Place::Head(_))
    }

    /// Whether it depends on an answer how what follows is to be read.
    pub(super) fn is_offered(&self) -> bool {
        matches!(self.place, Place::Offer)
    }

    /// Whether what follows is no HTTP/1.
    pub(super) fn is_other(&self) -> bool {
        matches!(self.place, Place::Other)
    }

    /// The offered upgrade was not taken.
    pub(super) fn stay(&mut self) {
        self.place = Place::Head(Head::default());
    }

    /// The offered upgrade was taken.
    pub(super) fn switch(&mut self) {
        self.place = Place::Other;
    }

    /// Lets nothing pass any more.
    pub(super) fn end(&mut self) {
        self.place = Place::End;
    }

    /// Follows the connection through `bytes`: what waited before, and what has
    /// come since.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Followed {
        let mut pass = 0;
        loop {
            let left = bytes.get(pass..).unwrap_or_default();
            match self.step(left) {
                Step::Pass(taken) => pass += taken,
                Step::Stop(rest) => return Followed { pass, rest },
            }
            if pass == bytes.len() {
                return Followed { pass, rest: Rest::Wait };
            }
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        match &mut self.place {
            Place::Beginning => {
                if bytes.starts_with(HTTP2_PREFACE) {
                    self.place = Place::Other;
                } else if HTTP2_PREFACE.starts_with(bytes) {
                    return Step::Stop(Rest::Wait);
                } else {
                    self.place = Place::Head(Head::default());
                }
                Step::Pass(0)
            }
            Place::Head(head) => match head.look(bytes, self.max_head_bytes) {
                Ok(Look::EmptyLine) => Step::Pass(2),
                Ok(Look::Incomplete) => Step::Stop(Rest::Wait),
                Ok(Look::Complete(head)) => {
                    self.heads += 1;
                    self.place = Place::behind(head);
                    Step::Pass(head.length)
                }
                Err(reason) => {
                    self.place = Place::End;
                    Step::Stop(Rest::Refuse(reason))
                }
            },
            Place::Body { left } => {
                let taken = (*left).min(bytes.len() as u64);
                *left -= taken;
                if *left == 0 {
                    self.place = Place::Head(Head::default());
                }
                Step::Pass(usize::try_from(taken).unwrap_or(usize::MAX))
            }
            Place::Chunks(chunks) => {
                let followed = chunks.follow(bytes);
                if chunks.is_over() {
                    self.place = Place::Head(Head::default());
                }
                Step::Pass(followed.unwrap_or_else(|Broken { after }| {
                    self.place = Place::Broken;
                    after
                }))
            }
            Place::Broken => Step::Stop(Rest::Break),
            Place::Offer | Place::End => Step::Stop(Rest::Wait),
            Place::Other => Step::Pass(bytes.len()),
        }
    }
}

enum Step {
    Pass(usize),
    Stop(Rest),
}

impl Place {
    fn behind(head: RawHead) -> Self {
        match (head.framing, head.follows) {
            (_, Follows::WhatIsAnswered) => Self::Offer,
            (Framing::Streamed, Follows::Request) => Self::Chunks(Chunks::BEGINNING),
            (Framing::Length(0) | Framing::None, Follows::Request) => Self::Head(Head::default()),
            (Framing::Length(left), Follows::Request) => Self::Body { left },
        }
    }
}

enum Look {
    EmptyLine,
    Incomplete,
    Complete(RawHead),
}

impl Head {
    fn look(&mut self, bytes: &[u8], max_bytes: usize) -> Result<Look, Ambiguous> {
        match bytes {
            [b'\r', b'\n', ..] => {
                self.empty_lines += 1;
                if self.empty_lines > MAX_EMPTY_LINES {
                    return Err(Ambiguous::RequestLine);
                }
                self.searched = 0;
                return Ok(Look::EmptyLine);
            }
            [] | [b'\r'] => return Ok(Look::Incomplete),
            [b'\r' | b'\n', ..] => return Err(Ambiguous::LineEnd),
            _ => {}
        }
        if self.is_worth_parsing(bytes)?
            && let Some(head) = inspect(bytes)?
        {
            return if head.length > max_bytes { Err(too_large(bytes)) } else { Ok(Look::Complete(head)) };
        }
        self.searched = bytes.len();
        if bytes.len() > max_bytes { Err(too_large(bytes)) } else { Ok(Look::Incomplete) }
    }

    /// A head that comes in many pieces is not parsed with each: only the first
    /// time, when its request line is there, and when its end is. Cheap to ask
    /// for what comes in one piece.
    fn is_worth_parsing(&mut self, bytes: &[u8]) -> Result<bool, Ambiguous> {
        if self.searched == 0 {
            return Ok(true);
        }
        let mut worth = false;
        for (at, byte) in bytes.iter().enumerate().skip(self.searched) {
            if *byte != b'\n' {
                continue;
            }
            let before = bytes.get(at.saturating_sub(3)..at).unwrap_or_default();
            if !before.ends_with(b"\r") {
                return Err(Ambiguous::LineEnd);
            }
            worth |= !self.request_line || before == b"\r\n\r";
            self.request_line = true;
        }
        Ok(worth)
    }
}

/// What of a head that is too large is at fault.
fn too_large(bytes: &[u8]) -> Ambiguous {
    match bytes.iter().take(MAX_TARGET_BYTES).any(|byte| *byte == b'\n') {
        true => Ambiguous::HeadersTooLarge,
        false => Ambiguous::TargetTooLong,
    }
}
