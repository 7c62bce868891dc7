//! The connections, the schema and its migrations, and who tells of changes.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ehi_core::ports::{Cause, StoreError};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgListener;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Any, AnyPool, Connection, Executor, Transaction};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::unreadable::{Row, Unreadable};
use super::{jobs, unavailable};

/// The steps from an empty database to the schema of this version. They only go forward.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// What PostgreSQL tells its listeners by.
const CHANNEL: &str = "ehi_jobs";

/// Which of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// One file on one machine.
    Sqlite,
    /// A server for many replicas.
    Postgres,
}

impl Dialect {
    /// How a transaction begins that is going to write: in SQLite it takes the one writer's place
    /// at once, so that it never has to give up half-way.
    fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }
}

/// Bounds of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseLimits {
    /// Connections at a time.
    pub connections: u32,
    /// How long to wait for a free one.
    pub patience: Duration,
    /// A statement that takes longer is given up (PostgreSQL).
    pub statement: Duration,
}

impl Default for DatabaseLimits {
    fn default() -> Self {
        Self {
            connections: 10,
            patience: Duration::from_secs(10),
            statement: Duration::from_secs(30),
        }
    }
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The URL names no database this server knows.
    #[error("'{0}' is no database URL: write sqlite:FILE or postgres://USER@HOST/NAME")]
    Url(String),
    /// Each connection would have one of its own, and other processes could not see it.
    #[error(
        "a database in memory cannot be shared, not even with a worker: write sqlite:FILE or postgres://USER@HOST/NAME"
    )]
    InMemory,
    /// Its file cannot be made.
    #[error("the file {} of the database cannot be made", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// It does not answer.
    #[error("the database cannot be reached")]
    Unreachable(#[source] Cause),
    /// Its tables are of a later version than this program.
    #[error(
        "the database's schema is newer (migration {0}) than this version of ehi-server knows: use the version that made it, or a later one"
    )]
    Newer(i64),
    /// Its tables could not be brought up to this version.
    #[error("the database could not be migrated")]
    Migration(#[source] Cause),
}

/// A database, ready for its stores. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: AnyPool,
    dialect: Dialect,
    changed: watch::Sender<()>,
    listener: Option<JoinHandle<()>>,
    unreadable: Unreadable,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

impl Database {
    /// Opens the database at `sqlite:FILE` or `postgres://…`, and brings its tables up to this
    /// version.
    pub async fn open(url: &str, limits: DatabaseLimits) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        let dialect = dialect(url)?;
        if dialect == Dialect::Sqlite {
            make_file(url)?;
        }
        let pool = connect(url, dialect, limits).await?;
        migrate(&pool).await?;
        let changed = watch::Sender::new(());
        let listener = match dialect {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some(tokio::spawn(listen(url.to_owned(), changed.clone()))),
        };
        let database = Self(Arc::new(Inner {
            pool,
            dialect,
            changed,
            listener,
            unreadable: Unreadable::default(),
        }));
        jobs::fill_in(&database)
            .await
            .map_err(|error| DatabaseError::Migration(error.into()))?;
        Ok(database)
    }

    /// Whether there is something to open: the file of SQLite. Only opening tells of PostgreSQL.
    pub fn is_there(url: &str) -> Result<bool, DatabaseError> {
        Ok(match dialect(url)? {
            Dialect::Sqlite => file(url)?.is_file(),
            Dialect::Postgres => true,
        })
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        self.0.dialect
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.0.pool.acquire().await.map_err(unavailable)?;
        connection.ping().await.map_err(unavailable)
    }

    pub(super) fn pool(&self) -> &AnyPool {
        &self.0.pool
    }

    /// Begins a transaction that is going to write.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let begun = self.0.pool.begin_with(self.0.dialect.begin()).await;
        begun.map_err(unavailable)
    }

    /// One of two statements.
    pub(super) fn by_dialect(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.0.dialect {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        }
    }

    /// Who tells of rows that cannot be read.
    pub(super) fn unreadable(&self) -> &Unreadable {
        &self.0.unreadable
    }

    /// What could be read of a row. The log tells of one that could not, once.
    pub(super) fn readable<T, E>(&self, row: Row, id: &str, read: Result<T, E>) -> Option<T> {
        if read.is_err() {
            self.0.unreadable.tell(row, id);
        }
        read.ok()
    }

    /// Tells whoever waits, on every replica, that something may have become runnable.
    pub(super) async fn tell(&self) {
        self.0.changed.send_replace(());
        if self.0.dialect == Dialect::Postgres {
            let told = sqlx::query("SELECT pg_notify($1, '')")
                .bind(CHANNEL)
                .execute(&self.0.pool)
                .await;
            // They look by themselves now and then.
            if let Err(error) = told {
                tracing::debug!(error = &error as &dyn std::error::Error, "nobody was told");
            }
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }
}

fn dialect(url: &str) -> Result<Dialect, DatabaseError> {
    match url.split_once(':') {
        Some(("sqlite", _)) => Ok(Dialect::Sqlite),
        Some(("postgres" | "postgresql", _)) => Ok(Dialect::Postgres),
        // The rest may hold a password.
        _ => Err(DatabaseError::Url(scheme(url))),
    }
}

fn scheme(url: &str) -> String {
    url.split_once(':')
        .map_or_else(|| "…".to_owned(), |(scheme, _)| format!("{scheme}:…"))
}

/// The file of SQLite.
fn file(url: &str) -> Result<PathBuf, DatabaseError> {
    let refused = || DatabaseError::Url(scheme(url));
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(DatabaseError::InMemory);
    }
    let options: SqliteConnectOptions = url.parse().map_err(|_| refused())?;
    Ok(options.get_filename().to_owned())
}

/// Makes the file when it is not there, and its folder, for nobody else to read.
fn make_file(url: &str) -> Result<(), DatabaseError> {
    let file = &file(url)?;
    let failed = |error| DatabaseError::File(file.to_owned(), error);
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let mut make = DirBuilder::new();
        make.recursive(true).mode(0o700);
        make.create(folder).map_err(failed)?;
    }
    let mut open = OpenOptions::new();
    open.append(true).create(true).mode(0o600);
    open.open(file).map(drop).map_err(failed)
}

async fn connect(
    url: &str,
    dialect: Dialect,
    limits: DatabaseLimits,
) -> Result<AnyPool, DatabaseError> {
    let unreachable = |error: sqlx::Error| DatabaseError::Unreachable(error.into());
    let url = match dialect {
        Dialect::Sqlite if !url.contains('?') => format!("{url}?mode=rw"),
        _ => url.to_owned(),
    };
    let options: AnyConnectOptions = url.parse().map_err(unreachable)?;
    let statement = limits.statement.as_millis();
    let settings = match dialect {
        // WAL: readers do not wait for the writer. FULL: what was acknowledged outlives a power cut.
        Dialect::Sqlite => "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = ON;".to_owned(),
        Dialect::Postgres => format!("SET statement_timeout = {statement}; SET idle_in_transaction_session_timeout = {statement};"),
    };
    let settings: Arc<str> = settings.into();
    AnyPoolOptions::new()
        .max_connections(limits.connections)
        .acquire_timeout(limits.patience)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                let safe = sqlx::AssertSqlSafe(settings.to_string());
                connection.execute(sqlx::raw_sql(safe)).await.map(|_| ())
            })
        })
        // A transaction that the database itself took back, as SQLite does on a full disk, still
        // counts as open: the connection would never begin another one.
        .after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
        .connect_with(options)
        .await
        .map_err(unreachable)
}

async fn migrate(pool: &AnyPool) -> Result<(), DatabaseError> {
    match MIGRATIONS.run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => Err(DatabaseError::Newer(version)),
        Err(error) => Err(DatabaseError::Migration(error.into())),
    }
}

/// Passes on what other replicas tell, for as long as the database is open.
async fn listen(url: String, changed: watch::Sender<()>) {
    loop {
        if let Err(error) = listen_until_lost(&url, &changed).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "other replicas cannot be heard right now"
            );
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn listen_until_lost(url: &str, changed: &watch::Sender<()>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // `None`: the connection was lost and made anew, and something may have been missed.
        listener.try_recv().await?;
        changed.send_replace(());
    }
}
