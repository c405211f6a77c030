//! Where a chunked body ends (RFC 9112, section 7.1).
//!
//! At least as strict as the HTTP library, so that the two never disagree on where
//! the next request begins: what is broken here ends the connection.

/// The most digits of a chunk's size: 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

/// How far a chunked body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunks(Place);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a chunk's size, after so many digits.
    Size {
        size: u64,
        digits: u8,
    },
    /// In the white space between a size and the `;` of its extension.
    SpaceAfterSize {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLineFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataLineFeed,
    /// At the beginning of a trailer line, or of the empty line that ends it all.
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    End,
}

/// The chunks break off: two servers could end the body at different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The bytes before what breaks.
    pub(crate) after: usize,
}

impl Chunks {
    /// Before the first chunk.
    pub(crate) const BEGINNING: Self = Self(Place::Size { size: 0, digits: 0 });

    /// Whether the body is over.
    pub(crate) fn is_over(self) -> bool {
        self.0 == Place::End
    }

    /// Follows the body through `bytes`, which come next, and gives how many of
    /// them are its own.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.is_over() {
                break;
            }
            if let Place::Data { left } = self.0 {
                let here = (bytes.len() - at) as u64;
                let taken = left.min(here);
                at += usize::try_from(taken).unwrap_or(usize::MAX);
                self.0 = match left - taken {
                    0 => Place::DataReturn,
                    left => Place::Data { left },
                };
                continue;
            }
            self.0 = self.0.after(*byte).ok_or(Broken { after: at })?;
            at += 1;
        }
        Ok(at)
    }
}

impl Place {
    /// The place after one byte of framing; `None` where that byte must not stand.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < MAX_SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return None,
            (Self::Size { size, .. }, b' ' | b'\t') => Self::SpaceAfterSize { size },
            (Self::SpaceAfterSize { .. }, b' ' | b'\t') => self,
            (Self::Size { size, .. } | Self::SpaceAfterSize { size }, b';') => Self::Extension { size },
            (Self::Size { size, .. } | Self::Extension { size }, b'\r') => Self::SizeLineFeed { size },
            (Self::Extension { .. }, _) if is_text(byte) => self,
            (Self::SizeLineFeed { size: 0 }, b'\n') => Self::TrailerLine,
            (Self::SizeLineFeed { size }, b'\n') => Self::Data { left: size },
            (Self::DataReturn, b'\r') => Self::DataLineFeed,
            (Self::DataLineFeed, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::TrailerLine, b'\r') => Self::LastLineFeed,
            (Self::TrailerLine | Self::TrailerName, _) if is_name(byte) => Self::TrailerName,
            (Self::TrailerName, b':') => Self::TrailerValue,
            (Self::TrailerValue, b'\r') => Self::TrailerLineFeed,
            (Self::TrailerValue, _) if is_text(byte) => self,
            (Self::TrailerLineFeed, b'\n') => Self::TrailerLine,
            (Self::LastLineFeed, b'\n') => Self::End,
            _ => return None,
        })
    }
}

/// What a line may consist of: no control but the tab, so no CR or LF of its own.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// What a header's name may consist of (RFC 9110, section 5.6.2).
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn ends(body: &str) {
        let bytes = [body.as_bytes(), b"GET / HTTP/1.1"].concat();
        let mut whole = Chunks::BEGINNING;
        assert_eq!(whole.follow(&bytes), Ok(body.len()), "{body:?}");
        assert!(whole.is_over(), "{body:?}");
        let mut byte_by_byte = Chunks::BEGINNING;
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(byte_by_byte.follow(&[*byte]), Ok(usize::from(at < body.len())), "{body:?} at {at}");
        }
    }

    #[track_caller]
    fn breaks(body: &str, after: usize) {
        let mut chunks = Chunks::BEGINNING;
        assert_eq!(chunks.follow(body.as_bytes()), Err(Broken { after }), "{body:?}");
    }

    #[test]
    fn a_body_ends_where_its_last_chunk_does() {
        ends("0\r\n\r\n");
        ends("5\r\nhello\r\n0\r\n\r\n");
        ends("1a;name=\"value\"\r\nabcdefghijklmnopqrstuvwxyz\r\n00 ;x\r\nX-Auth-User: root\r\nB: c\r\n\r\n");
        ends("4\r\n\r\n\r\n\r\n0\r\n\r\n");
    }

    #[test]
    fn b33_chunks_that_two_servers_end_differently_are_broken() {
        breaks("5;x\nhello\r\n0\r\n\r\n", 3);
        breaks("5;x\ry\r\n", 4);
        breaks("5\nhello", 1);
        breaks("5 \r\nhello", 2);
        breaks("0x1\r\na", 1);
        breaks("+1\r\na", 0);
        breaks("\r\n", 0);
        breaks(";x\r\n", 0);
        breaks("10000000000000000\r\n", 16);
        breaks("2\r\nabc\r\n", 5);
        breaks("2\r\nab\n0\r\n\r\n", 5);
        breaks("0\r\nX: a\nY: b\r\n\r\n", 7);
        breaks("0\r\nX: a\0\r\n\r\n", 7);
        breaks("0\r\nX\r\n\r\n", 4);
        breaks("0\r\n folded\r\n\r\n", 3);
        breaks("0\r\nX : a\r\n\r\n", 4);
        breaks("0\r\n\n", 3);
    }
}
