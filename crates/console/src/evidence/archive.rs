//! An export as one tar archive, sent while it is made.
//!
//! The files are those that `stepgate audit export` writes, byte for byte, with the
//! public key and directions beside them. The checkpoint comes last, so an archive
//! that broke off has none, and says by that that it is not whole.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use stepgate_core::flows::{Export, ExportError};
use stepgate_core::time::Timestamp;
use stepgate_ledger::export::archive::{BLOCK, KEY_FILE, README_FILE, header};
use stepgate_ledger::export::{CHECKPOINT_FILE, CutError, Cutter, DETAILS_FILE, ExportFile};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufWriter};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Pieces that wait for the connection; the export is read no faster than it is taken.
const PIECES: usize = 4;
/// Bytes of a file's content in one piece.
const PIECE: usize = 64 * 1024;

/// Why an archive broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The log could not be read.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// What was read is not what was signed, or does not fit the format.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The temporary file failed, or a name does not fit a header.
    #[error("the archive cannot be written")]
    Io(#[from] io::Error),
    /// Whoever asked went away.
    #[error("nobody takes the archive any more")]
    Gone,
}

/// What an archive says of itself.
#[derive(Debug)]
pub(crate) struct Label {
    /// The directory that everything is in.
    pub(crate) folder: String,
    /// The log's name, as the checkpoint says it.
    pub(crate) log: String,
    /// The public key of the log.
    pub(crate) key: String,
    /// When it was made.
    pub(crate) at: Timestamp,
}

/// The archive as a body. It holds `place` as long as it is sent.
pub(crate) fn body(export: Export, label: Label, place: OwnedSemaphorePermit) -> Body {
    let (out, pieces) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let _place = place;
        let mut tar = Tar { out, folder: label.folder.clone(), at: label.at };
        match write(export, &label, &mut tar).await {
            Ok(()) => {}
            Err(Broken::Gone) => tracing::info!("an export was broken off by whoever asked for it"),
            Err(broken) => {
                tracing::error!(error = &broken as &dyn std::error::Error, "an export broke off");
                // The connection ends in the middle, so that nobody takes this for the whole.
                let _ = tar.out.send(Err(broken)).await;
            }
        }
    });
    Body::from_stream(stream::unfold(pieces, async |mut pieces: mpsc::Receiver<Piece>| {
        pieces.recv().await.map(|piece| (piece, pieces))
    }))
}

/// What is sent next, or why nothing more is.
type Piece = Result<Bytes, Broken>;

async fn write(mut export: Export, label: &Label, tar: &mut Tar) -> Result<(), Broken> {
    let readme = readme(label, export.size());
    tar.file(README_FILE, readme.as_bytes()).await?;
    tar.file(KEY_FILE, format!("{}\n", label.key).as_bytes()).await?;
    let mut cutter = Cutter::default();
    // A file's length stands before its content, and this one's is known only at the
    // end: it waits in a file without a name, which nobody else can open.
    let mut details = BufWriter::new(File::from_std(tempfile::tempfile()?));
    let mut length: u64 = 0;
    loop {
        let page = export.next_page().await?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            let piece = cutter.append(&entry.bytes, entry.details.as_ref())?;
            if let Some(line) = piece.details_line {
                details.write_all(line.as_bytes()).await?;
                length = length.saturating_add(line.len() as u64);
            }
            tar.files(&piece.files).await?;
        }
    }
    tar.files(&cutter.finish(export.checkpoint())?).await?;
    details.flush().await?;
    let mut details = details.into_inner();
    details.rewind().await?;
    for handover in &export.keys().handovers {
        tar.files(&[ExportFile::handover(handover)]).await?;
    }
    tar.copy(DETAILS_FILE, length, &mut details).await?;
    tar.file(CHECKPOINT_FILE, export.checkpoint().text().as_bytes()).await?;
    tar.end().await
}

/// A tar archive that is sent as it is written.
struct Tar {
    out: mpsc::Sender<Piece>,
    folder: String,
    at: Timestamp,
}

impl Tar {
    fn header(&self, path: &str, length: u64) -> Result<Vec<u8>, Broken> {
        let mtime_s = u64::try_from(self.at.as_ms() / 1000).unwrap_or_default();
        Ok(header(&format!("{}/{path}", self.folder), length, mtime_s)?.to_vec())
    }

    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Broken> {
        self.out.send(Ok(Bytes::from(bytes))).await.map_err(|_| Broken::Gone)
    }

    async fn files(&mut self, files: &[ExportFile]) -> Result<(), Broken> {
        for file in files {
            self.file(&file.path, &file.bytes).await?;
        }
        Ok(())
    }

    async fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), Broken> {
        let mut piece = self.header(path, bytes.len() as u64)?;
        piece.extend_from_slice(bytes);
        piece.resize(piece.len().next_multiple_of(BLOCK), 0);
        self.send(piece).await
    }

    /// A file of exactly `length` bytes.
    async fn copy(&mut self, path: &str, length: u64, from: &mut File) -> Result<(), Broken> {
        let header = self.header(path, length)?;
        self.send(header).await?;
        let mut from = from.take(length);
        let mut sent: u64 = 0;
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            (&mut from).take(PIECE as u64).read_to_end(&mut piece).await?;
            if piece.is_empty() {
                break;
            }
            sent = sent.saturating_add(piece.len() as u64);
            self.send(piece).await?;
        }
        if sent != length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let rest = usize::try_from(length % BLOCK as u64).unwrap_or_default();
        if rest > 0 { self.send(vec![0; BLOCK.saturating_sub(rest)]).await } else { Ok(()) }
    }

    /// Two blocks of zeros: the end of the archive.
    async fn end(&mut self) -> Result<(), Broken> {
        self.send(vec![0; 2 * BLOCK]).await
    }
}

fn readme(label: &Label, size: u64) -> String {
    let Label { folder, log, key, at } = label;
    format!(
        "# Evidence of {log}\n\n\
         Exported at {at}: {size} entries. The last one says who took this export.\n\n\
         ## How to check it\n\n\
         You need this directory (or the archive as it came), the program `stepgate` from a source that\n\
         you trust, and the public key of the log. No configuration, no database and no network.\n\n\
         ```sh\n\
         stepgate audit verify {folder} --key '{key}'\n\
         ```\n\n\
         It says `SOUND` and exits with 0, or says which entry is wrong and exits with 3.\n\n\
         The key above, and in the file `{KEY_FILE}`, came with the export: whoever could forge the export\n\
         could forge it, too. **Compare it with the key that you kept**, from `stepgate audit key` or from\n\
         the day when the gate was set up. With a checkpoint that you kept earlier, `--remembered FILE`\n\
         also shows that nothing was cut or rewritten since.\n\n\
         ## What is in it\n\n\
         - `{CHECKPOINT_FILE}`: the signed head of the log (C2SP tlog-checkpoint).\n\
         - `tile/`: the entries, and the hashes of the tree (C2SP tlog-tiles).\n\
         - `handover/`, if the key was ever changed: how each key handed over to the next.\n\
         - `{DETAILS_FILE}`: names, addresses and statements, which the tree only commits to. It is\n  \
           **personal data**: hand it on with care, or leave it out. Without it the log still verifies.\n\
         - `{KEY_FILE}`, and this text.\n"
    )
}
