//! The two databases, and the few words in which they differ.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use sqlx::any::{AnyArguments, AnyConnectOptions, AnyPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

/// How long SQLite waits for another process that writes.
const BUSY_TIMEOUT_MS: u32 = 5_000;
/// How long a read waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Place);

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

/// The text says of no database that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a database is sqlite:<path> or postgres://<user>@<host>/<name>; beyond this machine with ?sslmode=verify-full, \
     because secrets of everybody travel there"
)]
pub struct NotAStoreUrl;

/// Whether the connection stays on this machine: a socket, or a loopback address.
fn is_this_machine(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

impl StoreUrl {
    /// Reads `sqlite:<path>`, or a PostgreSQL URL as libpq writes it.
    ///
    /// A PostgreSQL that is not on this machine is spoken to by TLS whose certificate
    /// and host name are verified, or not at all.
    pub fn parse(text: &str) -> Result<Self, NotAStoreUrl> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() || path.contains(['?', '\0']) || path == ":memory:" {
                Err(NotAStoreUrl)
            } else {
                Ok(Self::sqlite(Path::new(path)))
            };
        }
        let postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if !postgres || AnyConnectOptions::from_str(text).is_err() {
            return Err(NotAStoreUrl);
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| NotAStoreUrl)?;
        if !is_this_machine(&options) && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
            return Err(NotAStoreUrl);
        }
        Ok(Self(Place::Postgres(text.to_owned())))
    }

    /// The SQLite database in this file.
    pub fn sqlite(path: &Path) -> Self {
        Self(Place::Sqlite(path.to_owned()))
    }

    /// The file of an SQLite database.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Sqlite(path) => Some(path),
            Place::Postgres(_) => None,
        }
    }

    pub(crate) fn backend(&self) -> Backend {
        match &self.0 {
            Place::Sqlite(_) => Backend::Sqlite,
            Place::Postgres(_) => Backend::Postgres,
        }
    }

    /// The URL as sqlx reads it. It may hold a password.
    pub(crate) fn exposed(&self) -> String {
        match &self.0 {
            Place::Sqlite(path) => {
                let path = percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
                format!("sqlite://{path}?mode=rwc")
            }
            Place::Postgres(url) => url.clone(),
        }
    }
}

/// A file of the database that others than its owner may read or write.
#[derive(Debug, thiserror::Error)]
#[error("{path} is open to others than its owner (mode {mode:o}): chmod 600")]
pub struct NotPrivate {
    /// The file.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
}

impl StoreUrl {
    /// Refuses an SQLite file, its log, its index and a gate's lock beside it where others than their owner may use
    /// them: addresses, sessions and the evidence stand there. What is not there, and a PostgreSQL, is private.
    pub fn look_at_modes(&self) -> Result<(), NotPrivate> {
        use std::os::unix::fs::PermissionsExt as _;
        let Some(database) = self.path() else { return Ok(()) };
        for end in ["", "-wal", "-shm", "-journal", ".lock"] {
            let mut path = database.as_os_str().to_owned();
            path.push(end);
            let path = PathBuf::from(path);
            let Ok(found) = std::fs::metadata(&path) else { continue };
            let mode = found.permissions().mode() & 0o7777;
            if found.is_file() && mode & 0o077 != 0 {
                return Err(NotPrivate { path, mode });
            }
        }
        Ok(())
    }
}

/// Shows the kind only: the URL may hold a password.
impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Sqlite(path) => write!(f, "StoreUrl(sqlite:{})", path.display()),
            Place::Postgres(_) => f.write_str("StoreUrl(postgres://…)"),
        }
    }
}

/// Which database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    /// Fills the words that differ into a migration's text.
    pub(crate) fn fill_in(self, text: &str) -> String {
        let words = match self {
            Self::Sqlite => [("{INT}", "INTEGER"), ("{BYTES}", "BLOB"), ("{SORTED}", "TEXT"), ("{STRICT}", "STRICT")],
            Self::Postgres => {
                [("{INT}", "BIGINT"), ("{BYTES}", "BYTEA"), ("{SORTED}", "TEXT COLLATE \"C\""), ("{STRICT}", "")]
            }
        };
        words.into_iter().fold(text.to_owned(), |text, (word, meaning)| text.replace(word, meaning))
    }

    /// How a writing transaction begins. SQLite takes its one lock at once, so
    /// that it never has to be upgraded.
    pub(crate) const fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    /// A `SELECT` whose rows stay as they are until the transaction ends.
    pub(crate) fn locked(self, select: &'static str) -> Query<'static, Any, AnyArguments> {
        match self {
            // There, the transaction itself is the lock.
            Self::Sqlite => sqlx::query(select),
            Self::Postgres => sqlx::query(AssertSqlSafe(format!("{select} FOR UPDATE"))),
        }
    }

    async fn prepare(self, connection: &mut AnyConnection, use_: Use) -> Result<(), sqlx::Error> {
        let words = match (self, use_) {
            (Self::Sqlite, Use::Write) => format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                 PRAGMA busy_timeout = {BUSY_TIMEOUT_MS};"
            ),
            (Self::Sqlite, Use::Read) => format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA query_only = ON;"),
            (Self::Postgres, Use::Write) => {
                "SET synchronous_commit = on; SET default_transaction_isolation = 'read committed'; \
                 SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s';"
                    .to_owned()
            }
            (Self::Postgres, Use::Read) => {
                "SET default_transaction_read_only = on; SET statement_timeout = '10s';".to_owned()
            }
        };
        connection.execute(sqlx::raw_sql(AssertSqlSafe(words))).await.map(|_| ())
    }
}

#[derive(Clone, Copy)]
enum Use {
    Read,
    Write,
}

/// A connection that may write. The writer has the only one of a process.
pub(crate) async fn connect_to_write(url: &StoreUrl) -> Result<AnyConnection, sqlx::Error> {
    sqlx::any::install_default_drivers();
    keep_private(url).map_err(sqlx::Error::Io)?;
    let mut connection = options(url)?.connect().await?;
    match url.backend().prepare(&mut connection, Use::Write).await {
        Ok(()) => Ok(connection),
        Err(error) => {
            let _ = connection.close().await;
            Err(error)
        }
    }
}

/// Connections that cannot write.
pub(crate) fn pool_to_read(url: &StoreUrl, connections: u32) -> Result<AnyPool, sqlx::Error> {
    let backend = url.backend();
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A read that meets a broken connection fails once; the ping would cost every read.
        .test_before_acquire(backend == Backend::Postgres)
        .after_connect(move |connection, _| Box::pin(backend.prepare(connection, Use::Read)));
    Ok(pool.connect_lazy_with(options(url)?))
}

fn options(url: &StoreUrl) -> Result<AnyConnectOptions, sqlx::Error> {
    let options = AnyConnectOptions::from_str(&url.exposed())?;
    Ok(options.disable_statement_logging())
}

/// A new SQLite file is its owner's alone; its log and index inherit that.
fn keep_private(url: &StoreUrl) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let Some(path) = url.path() else { return Ok(()) };
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{NotPrivate, StoreUrl};

    #[test]
    fn a_file_that_others_may_use_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::sqlite(&folder.path().join("stepgate.db"));
        url.look_at_modes().unwrap();
        for name in ["stepgate.db", "stepgate.db-wal", "stepgate.db-shm", "stepgate.db.lock"] {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            for mode in [0o644, 0o640, 0o660, 0o602] {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
                let found = url.look_at_modes();
                assert!(
                    matches!(&found, Err(NotPrivate { path: named, mode: said }) if *named == path && *said == mode),
                    "{name} {mode:o}: {found:?}"
                );
            }
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            url.look_at_modes().unwrap();
        }
        StoreUrl::parse("postgres://u@127.0.0.1/s").unwrap().look_at_modes().unwrap();
    }

    #[test]
    fn a_postgresql_elsewhere_is_reached_by_verified_tls_or_not_at_all() {
        for good in [
            "sqlite:stepgate.db",
            "postgres://u@127.0.0.1/s",
            "postgres://u@localhost:5433/s?sslmode=disable",
            "postgres://u@[::1]/s",
            "postgres:///s?host=/run/postgresql&user=u",
            "postgres://u@db.example/s?sslmode=verify-full",
        ] {
            assert!(StoreUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "postgres://u@db.example/s",
            "postgres://u@db.example/s?sslmode=prefer",
            "postgres://u@db.example/s?sslmode=require",
            "postgres://u@10.0.0.1/s?sslmode=disable",
            "postgres://u@localhost.example/s",
        ] {
            assert!(StoreUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
