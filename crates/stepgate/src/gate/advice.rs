//! What to do about a store, a key or a port that cannot be used.

use std::error::Error;
use std::net::SocketAddr;

use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_store::{KeyringError, OpenError, SchemaError};

pub(super) fn listen_advice(source: &std::io::Error, address: &SocketAddr) -> String {
    let port = address.port();
    match source.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "something else listens there: `ss -ltnp 'sport = :{port}'` says what. Stop it, or change `[gate] listen` \
             (or `operators`, whichever names it, and the port of `origin`, unless something in front passes requests on)"
        ),
        std::io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 are the system's: give the program the right (`setcap cap_net_bind_service=+ep`, or \
             AmbientCapabilities=CAP_NET_BIND_SERVICE in its systemd unit), or change `[gate] listen` from {port} to a \
             higher port"
        ),
        std::io::ErrorKind::AddrNotAvailable => {
            format!("this machine does not have the address {}: `ip address` lists those it has", address.ip())
        }
        _ => "change `[gate] listen` or `operators`, whichever names it".to_owned(),
    }
}

pub(super) fn keyring_advice(error: &KeyringError) -> String {
    match error {
        KeyringError::NotAKey { .. } | KeyringError::Count => {
            "a key file is what `stepgate init` wrote: lines `<id>:<base64>`. If this one was damaged, put your copy in \
             its place; without the key that sealed the store nothing sealed in it can be read"
        }
        KeyringError::NotPrivate { .. } => "whoever reads this file can read every secret in the store",
        KeyringError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            "`[gate] master_key_file` names it. `stepgate init` makes one for a new deployment; for an existing store put \
             your copy there: without the key that sealed the store nothing sealed in it can be read"
        }
        KeyringError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "run this as the user whose file it is (for instance with `sudo -u`); nobody else may read it"
        }
        KeyringError::Io { .. } => "see that the file and its directory can be read and written by the gate's user",
    }
    .to_owned()
}

/// What to do about a store that others may read.
pub(super) const NOT_PRIVATE: &str = "whoever reads this file can read who everybody is and what they did, and whoever \
     writes it can change it: `chmod 600` it, and see who could until now. A copy made with another umask is the \
     usual reason";

pub(super) fn open_advice(error: &OpenError) -> String {
    match error {
        OpenError::NotPrivate(_) => NOT_PRIVATE.to_owned(),
        OpenError::Schema(SchemaError::Newer { .. }) => {
            "a newer Stepgate has migrated this store. Run that version; to go back, restore the backup that was made \
             before the upgrade"
                .to_owned()
        }
        OpenError::Schema(SchemaError::Older { .. }) => "back the store up, then `stepgate migrate`".to_owned(),
        OpenError::Schema(SchemaError::OtherHistory { .. }) => {
            "run the build that made this store; before the first release there is no way from one build's to another's. \
             `stepgate init` in an empty directory makes a new one"
                .to_owned()
        }
        OpenError::Ledger(_) => {
            "nothing is written to a log that contradicts itself. Was an old backup restored over a newer file, or one \
             table changed by hand? Restore a whole backup, and compare it with a checkpoint that was remembered \
             (`stepgate audit verify --remembered`)"
                .to_owned()
        }
        OpenError::Store(error) => store_advice(error),
        OpenError::Schema(SchemaError::Migration(source)) => driver_advice(source),
        OpenError::Unreachable(source) => driver_advice(source),
    }
}

pub(super) fn store_advice(error: &StoreError) -> String {
    match error {
        StoreError::Sealed { key } => format!(
            "the master key {key} sealed this store, and the configured one is another. Put the right key file in place \
             (`[gate] master_key_file` or `master_key_env`); after `stepgate keys rotate master`, the new file belongs on \
             every node"
        ),
        StoreError::Corrupt { .. } => {
            "the store was changed by hand or damaged: restore a backup, and keep the damaged files for whoever looks \
             into it"
                .to_owned()
        }
        StoreError::Unknown(_) => {
            "look whether it happened before doing it again: `stepgate audit tail` has an entry if it did".to_owned()
        }
        StoreError::Unavailable(source) => driver_advice(source.as_ref()),
    }
}

/// What to do about whatever of these stands in an error's chain.
pub(crate) fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let of_change = |error: &ChangeError| match error {
            ChangeError::Store(error) => Some(store_advice(error)),
            _ => None,
        };
        let of_store = || error.downcast_ref().map(store_advice);
        let of_open = || error.downcast_ref().map(open_advice);
        let of_keyring = || error.downcast_ref().map(keyring_advice);
        let found = error.downcast_ref().and_then(of_change).or_else(of_store).or_else(of_open).or_else(of_keyring);
        if found.is_some() {
            return found;
        }
        cause = error.source();
    }
    None
}

/// By what the database's driver said, in its own words and in those of its causes.
fn driver_advice(error: &(dyn Error + 'static)) -> String {
    let mut said = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        said.push_str(&error.to_string().to_lowercase());
        said.push('\n');
        cause = error.source();
    }
    let known = [
        (
            &["database is locked", "database table is locked"][..],
            "another program holds the SQLite file: a backup, a shell with an open transaction, a command. `fuser FILE` or \
             `lsof FILE` says which; end it and try again",
        ),
        (
            &["file is not a database", "file is encrypted"],
            "the file at `[gate] store` is no SQLite database: is the path right, and is it not a dump or another file?",
        ),
        (
            &["malformed", "disk image"],
            "the SQLite file is damaged: restore a backup, and keep the damaged file for whoever looks into it",
        ),
        (
            &["readonly", "read-only", "permission denied", "unable to open database", "code: 14"],
            "the gate's user must be able to write the SQLite file and its directory (for `-wal` and `-shm`): check the \
             path in `[gate] store`, its owner, and that the file system is not read-only",
        ),
        (&["disk is full", "no space left"], "make room on the disk: without evidence there is no access"),
        (
            &["password authentication failed", "authentication"],
            "PostgreSQL refuses this user or password: check the URL in `[gate] store` (or `store_env`)",
        ),
        (
            &["does not exist"],
            "make the database first, for instance `createdb --owner USER NAME`; `[gate] store` names it",
        ),
        (
            &["no such file"],
            "the file or socket that `[gate] store` names, or its directory, is not there: for `sqlite:` make the \
             directory, owned by the gate's user; for PostgreSQL see that it runs",
        ),
        (
            &["connection refused", "timed out", "failed to lookup"],
            "is the database running, and are host, port and path in `[gate] store` right?",
        ),
    ];
    let found = known.iter().find(|(words, _)| words.iter().any(|word| said.contains(word)));
    let advice = found.map(|(_, advice)| *advice);
    advice.unwrap_or("check `[gate] store` in the configuration, and that the database can be reached").to_owned()
}
