//! One gate to an SQLite file.
//!
//! Commands write beside a running gate, and that is well: the database orders them. A second *gate* is
//! a mistake: it would sweep, expire and purge beside the first, and be forgotten when that is stopped.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use stepgate_store::StoreUrl;

use super::error::StartError;

/// The lock of the one gate that runs on an SQLite file. The operating system takes it back when the
/// process ends, however it ends; the file beside the database stays.
#[derive(Debug)]
pub struct OnlyGate {
    _locked: Option<File>,
}

impl OnlyGate {
    /// Takes the lock, which is the file `<database>.lock` with this process's id in it. A PostgreSQL
    /// needs none: gates may share it.
    ///
    /// # Errors
    ///
    /// [`StartError::AnotherGate`] if another process has it, [`StartError::Lock`] if the file cannot
    /// be used.
    pub fn on(store: &StoreUrl) -> Result<Self, StartError> {
        let Some(database) = store.path() else { return Ok(Self { _locked: None }) };
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let failed = |source| StartError::Lock { path: path.clone(), source };
        // Beside a database that is its owner's alone: so is this, and who waits on it.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut said = String::new();
                // Whoever has it may not have written yet.
                let _ = file.take(20).read_to_string(&mut said);
                return Err(StartError::AnotherGate { path: database.to_owned(), pid: said.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(failed)?;
        Ok(Self { _locked: Some(file) })
    }
}

#[cfg(test)]
mod tests {
    use super::{OnlyGate, StartError};
    use stepgate_store::StoreUrl;

    #[test]
    fn the_second_gate_is_told_who_the_first_is_and_starts_once_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreUrl::sqlite(&folder.path().join("stepgate.db"));
        let first = OnlyGate::on(&store).unwrap();
        store.look_at_modes().unwrap();
        let second = OnlyGate::on(&store);
        assert!(
            matches!(second, Err(StartError::AnotherGate { pid: Some(pid), .. }) if pid == std::process::id()),
            "{second:?}"
        );
        drop(first);
        OnlyGate::on(&store).unwrap();
    }

    #[test]
    fn gates_share_a_postgresql() {
        let store = StoreUrl::parse("postgres://u@127.0.0.1/s").unwrap();
        let _first = OnlyGate::on(&store).unwrap();
        OnlyGate::on(&store).unwrap();
    }
}
