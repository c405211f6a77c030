use askama::Template;

use super::{Frame, Input, Tone, Way};

/// A page with one thing to say: a refusal, an end, a failure.
#[derive(Debug, Template)]
#[template(path = "outcome.html")]
pub struct OutcomePage {
    /// What stands around the page.
    pub frame: Frame,
    /// How it is coloured.
    pub tone: Tone,
    /// What happened, in one sentence without a full stop.
    pub headline: String,
    /// What it means, and what to do.
    pub paragraphs: Vec<String>,
    /// What else is known.
    pub facts: Vec<Input>,
    /// The ways on, the best one first.
    pub ways: Vec<Way>,
    /// Whether the window has done its work, and may close itself where a script opened it.
    pub closes: bool,
    /// A stable code for programs and for those who help.
    pub code: Option<String>,
    /// The HTTP status, where it is worth saying.
    pub status: Option<u16>,
}
