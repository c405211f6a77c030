//! Telling what went wrong, to people at a terminal.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, Severity, SourceCode};

/// Prints a diagnostic, and after it each of those that belong to it.
pub fn tell(diagnostic: &dyn Diagnostic) {
    eprintln!("{:?}", Alone(diagnostic));
    for related in diagnostic.related().into_iter().flatten() {
        tell(related);
    }
}

/// A diagnostic without those that belong to it, which would each be printed after a line `Error:`.
struct Alone<'a>(&'a dyn Diagnostic);

impl fmt::Debug for Alone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use miette::ReportHandler as _;
        handler().debug(self, f)
    }
}

/// Paths, URLs and commands must survive copying, so lines are not wrapped.
fn handler() -> miette::MietteHandler {
    miette::MietteHandlerOpts::new().wrap_lines(false).build()
}

impl fmt::Display for Alone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)
    }
}

impl std::error::Error for Alone<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl Diagnostic for Alone<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.code()
    }

    fn severity(&self) -> Option<Severity> {
        self.0.severity()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help()
    }

    fn url<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.url()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.0.labels()
    }

    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        self.0.diagnostic_source()
    }
}
