//! Migrations: one text for both databases, embedded, applied in order.

use sqlx::migrate::{Migrate as _, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AssertSqlSafe, SqlSafeStr as _};

use crate::backend::Backend;

/// The migrations, oldest first. An applied one never changes: its checksum is kept in the database.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "begin", include_str!("../migrations/0001_begin.sql"))];

const TABLE: &str = "_sqlx_migrations";

/// The version of the schema that this program works with.
pub const SCHEMA_VERSION: i64 = 1;

/// Why a database does not have the schema that is needed.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A newer program has migrated it; this one would not keep its promises.
    #[error("the database has schema {found}, this program knows {SCHEMA_VERSION}: use a newer program")]
    Newer {
        /// The version found.
        found: i64,
    },
    /// It is older than this program, or empty, and migrating was not asked for.
    #[error("the database has schema {found}, this program needs {SCHEMA_VERSION}: migrate it first")]
    Older {
        /// The version found; 0 for an empty database.
        found: i64,
    },
    /// What was applied to it is not what this program would have applied.
    #[error("another build of this program made the database: migration {migration} is not the one that is known here")]
    OtherHistory {
        /// The migration that differs.
        migration: i64,
    },
    /// A migration broke.
    #[error("the database cannot be migrated")]
    Migration(#[source] MigrateError),
}

/// Brings the schema to [`SCHEMA_VERSION`]. Each migration is one transaction, and
/// processes that start together wait for one another.
pub(crate) async fn migrate(connection: &mut AnyConnection, backend: Backend) -> Result<(), SchemaError> {
    if version(connection).await? > SCHEMA_VERSION {
        return check(connection).await;
    }
    migrator(backend).run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMismatch(migration) | MigrateError::VersionMissing(migration) => {
            SchemaError::OtherHistory { migration }
        }
        error => SchemaError::Migration(error),
    })
}

/// Refuses any other version than [`SCHEMA_VERSION`].
pub(crate) async fn check(connection: &mut AnyConnection) -> Result<(), SchemaError> {
    let found = version(connection).await?;
    match found.cmp(&SCHEMA_VERSION) {
        std::cmp::Ordering::Less => Err(SchemaError::Older { found }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(SchemaError::Newer { found }),
    }
}

async fn version(connection: &mut AnyConnection) -> Result<i64, SchemaError> {
    connection.lock().await.map_err(SchemaError::Migration)?;
    let applied = match connection.ensure_migrations_table(TABLE).await {
        Ok(()) => connection.list_applied_migrations(TABLE).await,
        Err(error) => Err(error),
    };
    connection.unlock().await.map_err(SchemaError::Migration)?;
    let applied = applied.map_err(SchemaError::Migration)?;
    Ok(applied.iter().map(|migration| migration.version).max().unwrap_or(0))
}

fn migrator(backend: Backend) -> Migrator {
    let migration = |(version, name, text): (i64, &'static str, &str)| {
        let text = backend.fill_in(text);
        let sql = AssertSqlSafe(text).into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(migration).collect())
}
