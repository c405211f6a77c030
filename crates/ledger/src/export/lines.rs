//! The lines of `details.jsonl`: one after the other, or the one of an entry.

use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::PathBuf;

use super::reader::at;
use super::source::{Part, Source};
use super::{DETAILS_FILE, Details, DetailsLine, MAX_DETAILS_LINE, ReadError};

/// Lines of `details.jsonl` with their numbers, counted from one.
#[derive(Debug)]
pub struct DetailsLines {
    source: Source,
    path: PathBuf,
    file: Option<BufReader<Part>>,
    line: u64,
}

impl DetailsLines {
    /// From the first on; none if the export has no such file.
    pub(super) fn open(source: &Source) -> Result<Self, ReadError> {
        let file = source.file(DETAILS_FILE)?.map(BufReader::new);
        Ok(Self { source: source.clone(), path: source.named(DETAILS_FILE), file, line: 0 })
    }

    /// What lies beside one entry, found by halving. Numbers of lines in errors count from anywhere.
    pub(super) fn beside(mut self, index: u64) -> Result<Option<Details>, ReadError> {
        let from = self.start_of(index)?;
        self.seek(from)?;
        let line = self.next().transpose()?;
        Ok(line.filter(|(_, line)| line.index == index).map(|(_, line)| line.details))
    }

    /// Where the line of the entry `index`, or the first one after it, begins in the file. The lines
    /// are in the order of entries, so it is found by halving.
    fn start_of(&mut self, index: u64) -> Result<u64, ReadError> {
        let Some(file) = self.file.as_mut() else { return Ok(0) };
        let (mut low, mut high) = (0, file.get_ref().length());
        // Invariant: the line that is looked for begins at or after `low`; at `high` or after it begins none before it.
        while low < high {
            let middle = low + (high - low) / 2;
            let begins = self.line_after(middle)?;
            self.seek(begins)?;
            match self.next().transpose()? {
                Some((_, line)) if line.index < index => low = self.position()?,
                _ => high = middle,
            }
        }
        self.line_after(low)
    }

    /// Where the first line begins that begins at this byte or after it.
    fn line_after(&mut self, byte: u64) -> Result<u64, ReadError> {
        let Some(before) = byte.checked_sub(1) else { return Ok(0) };
        self.seek(before)?;
        let Some(file) = self.file.as_mut() else { return Ok(byte) };
        let mut rest = Vec::new();
        file.take(MAX_DETAILS_LINE as u64 + 2).read_until(b'\n', &mut rest).map_err(at(&self.path))?;
        Ok(before + rest.len() as u64)
    }

    fn seek(&mut self, byte: u64) -> Result<(), ReadError> {
        if self.file.is_none() {
            self.file = self.source.file(DETAILS_FILE)?.map(BufReader::new);
        }
        match self.file.as_mut() {
            Some(file) => file.seek(io::SeekFrom::Start(byte)).map(|_| ()).map_err(at(&self.path)),
            None => Ok(()),
        }
    }

    fn position(&mut self) -> Result<u64, ReadError> {
        match self.file.as_mut() {
            Some(file) => file.stream_position().map_err(at(&self.path)),
            None => Ok(u64::MAX),
        }
    }
}

impl Iterator for DetailsLines {
    type Item = Result<(u64, DetailsLine), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let file = self.file.as_mut()?;
        let mut bytes = Vec::new();
        let read = file.take(MAX_DETAILS_LINE as u64 + 2).read_until(b'\n', &mut bytes);
        if let Err(source) = read {
            self.file = None;
            let path = self.path.clone();
            return Some(Err(ReadError::Io { path, source }));
        }
        if bytes.is_empty() {
            self.file = None;
            return None;
        }
        self.line += 1;
        if bytes.pop_if(|byte| *byte == b'\n').is_none() && bytes.len() > MAX_DETAILS_LINE {
            self.file = None;
            return Some(Err(ReadError::TooLarge(self.path.clone())));
        }
        let line = self.line;
        Some(DetailsLine::parse(&bytes).map(|read| (line, read)).map_err(|source| ReadError::Details { line, source }))
    }
}
