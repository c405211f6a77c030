use std::io::Write as _;

use async_trait::async_trait;

use super::{Reason, Sink, Undelivered};
use crate::format::Document;

/// One line each on standard output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdout;

#[async_trait]
impl Sink for Stdout {
    async fn deliver(&mut self, batch: &[Document]) -> Result<(), Undelivered> {
        let mut lines = String::new();
        for document in batch {
            lines.push_str(&document.body.line());
            lines.push('\n');
        }
        let written = tokio::task::spawn_blocking(move || {
            let mut out = std::io::stdout().lock();
            out.write_all(lines.as_bytes()).and_then(|()| out.flush())
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Undelivered::passing(Reason::Disk, format!("standard output: {error}"))),
            Err(_) => Err(Undelivered::passing(Reason::Disk, "standard output: the write was given up")),
        }
    }
}
