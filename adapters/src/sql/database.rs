//! The connections, the schema and its migrations, and who tells of changes.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ehi_core::ports::{Cause, StoreError};
use sqlx::Executor as _;
use sqlx::any::AnyConnectOptions;
use sqlx::postgres::PgListener;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::pool::{Pool, Transaction, in_time};
use super::schema::{self, Schema};
use super::unreadable::{Row, Unreadable};
use super::{jobs, unavailable};

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

/// Bounds of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseLimits {
    /// Connections at a time.
    pub connections: u32,
    /// How long to wait for a free one.
    pub patience: Duration,
    /// A statement that takes longer is given up (PostgreSQL).
    pub statement: Duration,
    /// A transaction in which nothing is said for so long is undone, so that nobody waits for what
    /// it holds: its process, or the way to it, may be frozen (PostgreSQL). A connection on which
    /// the database says nothing for so long, though it has nothing to do there, is closed.
    pub silence: Duration,
}

impl DatabaseLimits {
    /// How long a statement's answer is waited for: longer than a database that is well takes to
    /// give it up itself. Then it does not answer, and that connection is not used again.
    pub fn deadline(&self) -> Duration {
        self.statement + self.silence
    }
}

impl Default for DatabaseLimits {
    fn default() -> Self {
        Self {
            connections: 10,
            patience: Duration::from_secs(10),
            statement: Duration::from_secs(30),
            silence: Duration::from_secs(5),
        }
    }
}

/// What opening a database may do to its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Make them, and bring those of an earlier version up to this one: for servers.
    Migrate,
    /// Make them where there are none at all: for what an operator does before a server starts for
    /// the first time. Those of another version are refused: they may be in use.
    Make,
    /// Nothing. They have to be of this version.
    AsItIs,
    /// Nothing, whatever they are: for copies.
    Whatever,
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
    File(PathBuf, #[source] io::Error),
    /// It does not answer.
    #[error("the database cannot be reached")]
    Unreachable(#[source] Cause),
    /// It has no tables.
    #[error(
        "there is nothing of ehi-server in the database yet, or it is another one: 'ehi-server migrate' makes the tables, as a server does when it starts"
    )]
    Empty,
    /// Its tables are of an earlier version than this program, and maybe in use by that.
    #[error(
        "the database's tables are those of an earlier version of ehi-server: run 'ehi-server migrate' first, or start the server, which does that too"
    )]
    Older,
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
    pool: Pool,
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
        Self::open_for(Opening::Migrate, url, limits).await
    }

    /// Opens the database, and does no more to its tables than this.
    pub async fn open_for(
        opening: Opening,
        url: &str,
        limits: DatabaseLimits,
    ) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        let dialect = dialect(url)?;
        let makes = matches!(opening, Opening::Migrate | Opening::Make);
        // One process at a time makes the file and its tables: PostgreSQL sees to that itself.
        let alone = match dialect {
            Dialect::Sqlite if makes => Some(make_file(url).await?),
            _ => None,
        };
        let pool = Pool::connect(url, dialect, limits).await?;
        if opening != Opening::Whatever {
            match (schema::of(&pool, dialect).await?, opening) {
                (Schema::Current, _) => {}
                (Schema::Newer(version), _) => return Err(DatabaseError::Newer(version)),
                (Schema::Empty, Opening::Migrate | Opening::Make)
                | (Schema::Older, Opening::Migrate) => schema::migrate(url, dialect).await?,
                (Schema::Empty, _) => return Err(DatabaseError::Empty),
                (Schema::Older, _) => return Err(DatabaseError::Older),
            }
        }
        drop(alone);
        let changed = watch::Sender::new(());
        let listener = match dialect {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some(tokio::spawn(listen(
                url.to_owned(),
                limits,
                changed.clone(),
            ))),
        };
        let database = Self(Arc::new(Inner {
            pool,
            dialect,
            changed,
            listener,
            unreadable: Unreadable::default(),
        }));
        if opening == Opening::Migrate {
            jobs::fill_in(&database)
                .await
                .map_err(|error| DatabaseError::Migration(error.into()))?;
        }
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

    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Begins a transaction that is going to write.
    pub(super) async fn begin(&self) -> Result<Transaction, StoreError> {
        self.0.pool.begin().await.map_err(unavailable)
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

/// Makes the file when it is not there, and its folder, for nobody else to read. No other process
/// does that, or migrates, before what is returned is dropped.
async fn make_file(url: &str) -> Result<File, DatabaseError> {
    let file = file(url)?;
    let failed = |error| DatabaseError::File(file.clone(), error);
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut make = DirBuilder::new();
    make.recursive(true).mode(0o700);
    make.create(folder).map_err(failed)?;
    // A lock on the file itself would get into the way of SQLite's own.
    let folder = File::open(folder).map_err(failed)?;
    let locked = tokio::task::spawn_blocking(move || match folder.lock() {
        // Where there are no locks it goes without.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
        _ => Ok(folder),
    });
    let locked = (locked.await).map_err(|error| failed(error.into()))?;
    let locked = locked.map_err(failed)?;
    if !file.exists() {
        let mut open = OpenOptions::new();
        open.append(true).create(true).mode(0o600);
        open.open(&file).map(drop).map_err(failed)?;
    }
    Ok(locked)
}

/// How to reach it. SQLite's file has to be there.
pub(super) fn options(url: &str, dialect: Dialect) -> Result<AnyConnectOptions, DatabaseError> {
    let url = match dialect {
        Dialect::Sqlite if !url.contains('?') => format!("{url}?mode=rw"),
        _ => url.to_owned(),
    };
    url.parse().map_err(unreachable)
}

pub(super) fn unreachable(error: sqlx::Error) -> DatabaseError {
    DatabaseError::Unreachable(error.into())
}

/// Passes on what other replicas tell, for as long as the database is open.
async fn listen(url: String, limits: DatabaseLimits, changed: watch::Sender<()>) {
    loop {
        if let Err(error) = listen_until_lost(&url, limits, &changed).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "other replicas cannot be heard right now"
            );
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn listen_until_lost(
    url: &str,
    limits: DatabaseLimits,
    changed: &watch::Sender<()>,
) -> Result<(), sqlx::Error> {
    let listening = async {
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        sqlx::Result::Ok(listener)
    };
    let mut listener = in_time(limits.deadline(), listening).await?;
    loop {
        match timeout(limits.deadline(), listener.try_recv()).await {
            // `None`: the connection was lost and made anew, and something may have been missed.
            Ok(heard) => {
                heard?;
                changed.send_replace(());
            }
            // Nothing was told, or the database is gone without a word.
            Err(_) => {
                in_time(limits.silence, listener.execute("SELECT 1")).await?;
            }
        }
    }
}
