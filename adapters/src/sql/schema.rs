//! The tables, of which version they are, and how they are brought up to this one.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyConnection, Connection};

use super::database::{DatabaseError, Dialect, options, unreachable};
use super::pool::Pool;

/// The steps from an empty database to the schema of this version. They only go forward.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Of which version the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// There are none.
    Empty,
    /// An earlier one: steps are missing.
    Older,
    /// This one.
    Current,
    /// A later one, which took this step.
    Newer(i64),
}

/// Looks of which version the tables are. Reading is all it needs a right to.
pub(super) async fn of(pool: &Pool, dialect: Dialect) -> Result<Schema, DatabaseError> {
    let there = match dialect {
        Dialect::Sqlite => "SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'",
        Dialect::Postgres => {
            "SELECT COUNT(*) FROM (SELECT to_regclass('_sqlx_migrations') AS found) AS looked WHERE found IS NOT NULL"
        }
    };
    let there = sqlx::query_scalar::<_, i64>(there).fetch_one(pool);
    if there.await.map_err(unreachable)? == 0 {
        return Ok(Schema::Empty);
    }
    let taken = sqlx::query_as::<_, (i64, Vec<u8>)>(
        "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
    )
    .fetch_all(pool)
    .await
    .map_err(unreachable)?;
    let known = |version| MIGRATIONS.iter().any(|step| step.version == version);
    let later = taken.iter().find(|(version, _)| !known(*version));
    if let Some((version, _)) = later {
        return Ok(Schema::Newer(*version));
    }
    // One that was changed afterwards is for the migrator to refuse.
    let whole = MIGRATIONS.iter().all(|step| {
        let same =
            |(version, sum): &(i64, Vec<u8>)| *version == step.version && **sum == *step.checksum;
        taken.iter().any(same)
    });
    Ok(match (taken.is_empty(), whole) {
        (true, _) => Schema::Empty,
        (false, true) => Schema::Current,
        (false, false) => Schema::Older,
    })
}

/// Brings the tables up to this version, on a connection of its own without bounds: an index of a
/// large table takes its time, and so does waiting for another replica that makes it.
pub(super) async fn migrate(url: &str, dialect: Dialect) -> Result<(), DatabaseError> {
    let options = options(url, dialect)?;
    let mut connection = AnyConnection::connect_with(&options)
        .await
        .map_err(unreachable)?;
    if dialect == Dialect::Postgres {
        // Whatever the role or the database has for its own.
        let unbound = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";
        (sqlx::raw_sql(unbound).execute(&mut connection).await).map_err(unreachable)?;
    }
    let migrated = MIGRATIONS.run(&mut connection).await;
    // A lock that a failed step left behind goes with the connection.
    let closed = connection.close().await;
    match migrated {
        Ok(()) => closed.map_err(unreachable),
        Err(MigrateError::VersionMissing(version)) => Err(DatabaseError::Newer(version)),
        Err(error) => Err(DatabaseError::Migration(error.into())),
    }
}
