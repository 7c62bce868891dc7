//! Connections to the database: how they are set up, and one run's own.

use std::mem;

use secrecy::{ExposeSecret, SecretString};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Postgres, raw_sql};

use super::TablesError;
use super::definition::Limits;

/// Opens the pool. Waits for the first connection.
pub(super) async fn connect(url: &SecretString, limits: &Limits) -> Result<PgPool, TablesError> {
    let options: PgConnectOptions = (url.expose_secret().parse())
        // What is wrong with it may quote the password.
        .map_err(|_: sqlx::Error| TablesError::Url)?;
    let options = (options.application_name("ehi-server")).disable_statement_logging();
    let setup = setup(limits);
    PgPoolOptions::new()
        .max_connections(limits.connections())
        .acquire_timeout(limits.connect())
        .after_connect(move |connection, _| {
            let setup = AssertSqlSafe(setup.clone());
            Box::pin(async move { raw_sql(setup).execute(connection).await.map(drop) })
        })
        .connect_with(options)
        .await
        .map_err(TablesError::Database)
}

/// What every connection is told first: to only read, how to write values, how long to think,
/// and to keep notices, which may quote rows, out of our logs.
fn setup(limits: &Limits) -> String {
    format!(
        "SET default_transaction_read_only = on;
         SET TIME ZONE 'UTC';
         SET datestyle = 'ISO, YMD';
         SET intervalstyle = 'iso_8601';
         SET extra_float_digits = 1;
         SET client_min_messages = error;
         SET statement_timeout = {};
         -- Where the database has it (from version 14), a query ends soon after its client is gone.
         SELECT set_config(name, '1s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'",
        limits.statement().as_millis()
    )
}

/// One run's connection: all that is read through it is the record of one moment.
///
/// Unless it is [finished](Self::finish), dropping it cuts the connection, which ends a query that
/// still runs; a pool would wait for it.
pub(super) struct Session {
    connection: Option<PoolConnection<Postgres>>,
}

impl Session {
    pub(super) async fn begin(pool: &PgPool) -> sqlx::Result<Self> {
        let mut session = Self {
            connection: Some(pool.acquire().await?),
        };
        session
            .run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SAVEPOINT ehi")
            .await?;
        Ok(session)
    }

    /// The connection.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut PoolConnection<Postgres>> {
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Forgets cursors and failures, and keeps the moment.
    pub(super) async fn clear(&mut self) -> sqlx::Result<()> {
        self.run("ROLLBACK TO SAVEPOINT ehi").await
    }

    /// Gives the connection back.
    pub(super) async fn finish(mut self) -> sqlx::Result<()> {
        self.run("COMMIT").await?;
        drop(mem::take(&mut self.connection));
        Ok(())
    }

    async fn run(&mut self, sql: &'static str) -> sqlx::Result<()> {
        let connection = self.connection()?;
        raw_sql(sql).execute(&mut **connection).await.map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}
