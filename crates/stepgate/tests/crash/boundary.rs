//! Where a gate is killed: around every commit that what people do needs, on the way
//! of a request to the upstream, and at any moment.

use std::fmt;
use std::str::FromStr;

/// A method of the store that writes: each of its calls ends in a commit.
pub(crate) const COMMITS: [&str; 18] = [
    "start_session",
    "put_code",
    "redeem_code",
    "rotate_token",
    "open_challenge",
    "close_challenge",
    "begin_try",
    "answer_challenge",
    "spend",
    "finish",
    "heartbeat",
    "record",
    "adopt_challenge",
    "succeed_challenge",
    "end_session",
    "put_ticket",
    "begin_on_ticket",
    "enrol",
];

/// On which side of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Nothing of it was written.
    Before,
    /// It is durable; whoever asked for it does not know yet.
    After,
}

/// How far a request that was confirmed came, seen from the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Send {
    /// Its connection was accepted, nothing was read.
    Connected,
    /// The first bytes were read.
    Begun,
    /// All of it was read, nothing was answered.
    Arrived,
    /// Half of the answer's head was written.
    HalfAnswered,
    /// The whole answer was written.
    Answered,
}

/// How far a request came, in that order.
pub(crate) const SENDS: [Send; 5] = [Send::Connected, Send::Begun, Send::Arrived, Send::HalfAnswered, Send::Answered];

/// The moment of one kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Boundary {
    /// At a commit.
    Commit {
        /// One of [`COMMITS`].
        method: &'static str,
        /// Which side of it.
        side: Side,
    },
    /// On the way to the upstream.
    Send(Send),
}

impl Boundary {
    /// How often a short life comes here, at most.
    pub(crate) fn times_max(self) -> usize {
        match self {
            Self::Commit {
                method:
                    "put_code" | "redeem_code" | "rotate_token" | "open_challenge" | "begin_try" | "answer_challenge",
                ..
            }
            | Self::Send(_) => 3,
            Self::Commit { .. } => 1,
        }
    }

    /// All of them.
    pub(crate) fn all() -> Vec<Self> {
        let sides = |method| [Side::Before, Side::After].map(|side| Self::Commit { method, side });
        COMMITS.into_iter().flat_map(sides).chain(SENDS.map(Self::Send)).collect()
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit { method, side: Side::Before } => write!(f, "before {method}"),
            Self::Commit { method, side: Side::After } => write!(f, "after {method}"),
            Self::Send(Send::Connected) => f.write_str("upstream connected"),
            Self::Send(Send::Begun) => f.write_str("first bytes at the upstream"),
            Self::Send(Send::Arrived) => f.write_str("request at the upstream"),
            Self::Send(Send::HalfAnswered) => f.write_str("half an answer"),
            Self::Send(Send::Answered) => f.write_str("a whole answer"),
        }
    }
}

/// The gate's side of a boundary: which commit, and the how many-th call of it. Its
/// text goes to the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtCommit {
    /// One of [`COMMITS`].
    pub(crate) method: &'static str,
    /// Which side of it.
    pub(crate) side: Side,
    /// Counted from one.
    pub(crate) call: u32,
}

impl fmt::Display for AtCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.method, self.side, self.call)
    }
}

impl FromStr for AtCommit {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let named = words.next().ok_or(())?;
        let method = COMMITS.into_iter().find(|method| *method == named).ok_or(())?;
        let side = match words.next() {
            Some("Before") => Side::Before,
            Some("After") => Side::After,
            _ => return Err(()),
        };
        let call = words.next().and_then(|word| word.parse().ok()).ok_or(())?;
        Ok(Self { method, side, call })
    }
}

/// When one life of a gate ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    /// At the how many-th time that this happens.
    At(Boundary, u32),
    /// So long after its process was started, in microseconds: while it opens the store, mostly.
    /// One that is serving already dies so long after the round began.
    SinceStart(u64),
    /// So long after it began to serve, in microseconds.
    SinceServing(u64),
}
