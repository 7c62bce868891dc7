//! Connections that nobody waits on for ever.
//!
//! A server whose machine is gone says nothing, and neither does the way to it. So whatever is
//! asked here has a [deadline](super::DatabaseLimits::deadline), from getting a connection to the
//! end of a transaction, and a connection that missed one is closed, not used again. Stores have
//! no other way to the database than [`Pool`] and [`Transaction`].

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::any::{AnyPoolOptions, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::pool::PoolConnection;
use sqlx::{
    Any, AnyConnection, AnyPool, Connection as _, Describe, Either, Execute, Executor, SqlStr,
};
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::database::{DatabaseError, DatabaseLimits, Dialect, options, unreachable};

/// The connections of a database: each statement takes one for itself.
#[derive(Debug)]
pub(super) struct Pool {
    connections: AnyPool,
    begin: &'static str,
    limits: DatabaseLimits,
}

impl Pool {
    /// Connects, so that what is wrong with the URL shows now.
    pub async fn connect(
        url: &str,
        dialect: Dialect,
        limits: DatabaseLimits,
    ) -> Result<Self, DatabaseError> {
        let settings: Arc<str> = settings(dialect, limits).into();
        let connections = AnyPoolOptions::new()
            .max_connections(limits.connections)
            .acquire_timeout(limits.patience)
            // As below, where it has a bound.
            .test_before_acquire(false)
            .before_acquire(move |connection, _| {
                Box::pin(async move {
                    in_time(limits.silence, connection.ping()).await?;
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| {
                let settings = settings.clone();
                Box::pin(async move {
                    let safe = sqlx::AssertSqlSafe(settings.to_string());
                    connection.execute(sqlx::raw_sql(safe)).await.map(|_| ())
                })
            })
            .connect_with(options(url, dialect)?)
            .await
            .map_err(unreachable)?;
        Ok(Self {
            connections,
            begin: match dialect {
                // Takes the one writer's place at once, so that it never has to give up half-way.
                Dialect::Sqlite => "BEGIN IMMEDIATE",
                Dialect::Postgres => "BEGIN",
            },
            limits,
        })
    }

    /// A connection that answers.
    async fn acquire(&self) -> sqlx::Result<Connection> {
        Ok(Connection {
            live: Some(self.connections.acquire().await?),
            open: false,
            limits: self.limits,
        })
    }

    /// Begins a transaction that is going to write.
    pub async fn begin(&self) -> sqlx::Result<Transaction> {
        let mut connection = self.acquire().await?;
        connection.open = true;
        sqlx::raw_sql(self.begin).execute(&mut connection).await?;
        Ok(Transaction(connection))
    }

    /// A connection for what takes as long as it takes, which nothing on another machine may.
    pub async fn unbounded(&self) -> sqlx::Result<PoolConnection<Any>> {
        self.connections.acquire().await
    }
}

/// What each connection is told at its beginning.
fn settings(dialect: Dialect, limits: DatabaseLimits) -> String {
    let (statement, silence) = (limits.statement.as_millis(), limits.silence.as_millis());
    match dialect {
        // WAL: readers do not wait for the writer. FULL: what was acknowledged outlives a power cut.
        Dialect::Sqlite => "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = ON;".to_owned(),
        // What was acknowledged outlives a crash, whatever the database has for its own.
        Dialect::Postgres => format!("SET synchronous_commit = on; SET statement_timeout = {statement}; SET idle_in_transaction_session_timeout = {silence};"),
    }
}

/// What is answered within this time.
pub(super) async fn in_time<T>(
    bound: Duration,
    answer: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    timeout(bound, answer)
        .await
        .unwrap_or_else(|_| Err(silent()))
}

fn silent() -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the database does not answer").into()
}

/// A connection that is given back when it is dropped, or closed when it fell silent.
pub(super) struct Connection {
    /// Gone when it fell silent.
    live: Option<PoolConnection<Any>>,
    /// Whether a transaction may have begun that was not committed.
    open: bool,
    limits: DatabaseLimits,
}

impl Connection {
    fn live(&mut self) -> sqlx::Result<&mut AnyConnection> {
        self.live.as_deref_mut().ok_or_else(silent)
    }

    /// What was answered, if anything was in time. Otherwise this is the end of the connection.
    fn heard<T>(&mut self, answer: Result<sqlx::Result<T>, Elapsed>) -> sqlx::Result<T> {
        answer.unwrap_or_else(|_| {
            tracing::warn!("the database does not answer, and a connection is given up");
            if let Some(live) = self.live.take() {
                close(live);
            }
            Err(silent())
        })
    }
}

/// Closes a connection without a word: there is nobody who would hear it. A server that is there
/// after all undoes what was not committed.
fn close(connection: PoolConnection<Any>) {
    drop(connection.detach());
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(mut live) = self.live.take() else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            return close(live);
        };
        let (open, silence) = (self.open, self.limits.silence);
        runtime.spawn(async move {
            if open {
                // One that the database itself took back, as SQLite does on a full disk, cannot be
                // undone either.
                let undone = in_time(silence, live.execute(sqlx::raw_sql("ROLLBACK"))).await;
                if undone.is_err() {
                    return close(live);
                }
            }
            // Asks for an answer to whatever was left in the middle. Without one in time, what
            // this drops is the connection.
            drop(timeout(silence, live.return_to_pool()).await);
        });
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// A transaction; undone when it is dropped before it was committed.
#[derive(Debug)]
pub(super) struct Transaction(Connection);

impl Transaction {
    /// Makes all of it count. After an error it may count all the same: only the answer was lost.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("COMMIT").execute(&mut self.0).await?;
        self.0.open = false;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

type Answered = Either<AnyQueryResult, AnyRow>;

impl<'c> Executor<'c> for &'c mut Connection {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Answered>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let answers = async move {
            let deadline = self.limits.deadline();
            let answers = self.live()?.fetch_many(query).try_collect::<Vec<_>>();
            let answers = timeout(deadline, answers).await;
            self.heard(answers)
        };
        one_by_one(answers)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<AnyRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        Box::pin(async move {
            let deadline = self.limits.deadline();
            let row = timeout(deadline, self.live()?.fetch_optional(query)).await;
            self.heard(row)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<AnyStatement>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let deadline = self.limits.deadline();
            let statement = self.live()?.prepare_with(sql, parameters);
            let statement = timeout(deadline, statement).await;
            self.heard(statement)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Any>>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let deadline = self.limits.deadline();
            let described = timeout(deadline, self.live()?.describe(sql)).await;
            self.heard(described)
        })
    }
}

impl<'c> Executor<'c> for &'c Pool {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Answered>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let answers = async move {
            let mut connection = self.acquire().await?;
            connection.fetch_many(query).try_collect().await
        };
        one_by_one(answers)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<AnyRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        Box::pin(async move { self.acquire().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<AnyStatement>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Any>>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.acquire().await?.describe(sql).await })
    }
}

/// All answers of a statement, which came together.
fn one_by_one<'e>(
    answers: impl Future<Output = sqlx::Result<Vec<Answered>>> + Send + 'e,
) -> BoxStream<'e, sqlx::Result<Answered>> {
    let answers = stream::once(answers).map_ok(|all| stream::iter(all.into_iter().map(Ok)));
    answers.try_flatten().boxed()
}
