//! Every store in a database: SQLite for one machine, PostgreSQL for many.
//!
//! | file | what it holds |
//! |---|---|
//! | `database` | which one, and who tells of changes |
//! | `pool` | its connections, and how long they are waited for |
//! | `schema` | the tables and their migrations |
//! | `backup` | a copy of a database that is in use |
//! | `deployment` | what the jobs and their files know each other by |
//! | `removed` | the jobs whose files have to go |
//! | `jobs`, `grants`, `sessions`, `audit` | one store each |
//! | `guesses` | wrong passwords |
//! | `keys` | the keys that sign tokens, sealed |
//! | `clients`, `staff` | who may ask, and who reviews |
//! | `registry` | changes of both |
//! | `unreadable` | rows that are passed over |
//!
//! The two databases understand the same statements; where they do not, [`Dialect`] says how.

mod audit;
mod backup;
mod clients;
mod database;
mod deployment;
mod grants;
mod guesses;
mod jobs;
mod keys;
mod pool;
mod registry;
mod removed;
mod schema;
mod sessions;
mod staff;
mod unreadable;

pub use audit::SqlAudit;
pub use backup::CopyError;
pub use clients::SqlClients;
pub use database::{Database, DatabaseError, DatabaseLimits, Dialect, Opening};
pub use grants::SqlGrants;
pub use guesses::SqlGuesses;
pub use jobs::SqlJobs;
pub use keys::{KeySecret, NoKeySecret, SqlKeys};
pub use registry::{RegistryError, take_over};
pub use sessions::SqlSessions;
pub use staff::SqlStaff;

use ehi_core::ports::StoreError;
use jiff::Timestamp;

/// An instant as the tables have it. Those after the year 2262 are as good as never.
fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH {
        i64::MIN
    } else {
        i64::MAX
    })
}

/// An instant of the tables.
fn instant(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::MAX)
}

/// A failure of the database: it may pass.
fn unavailable(error: impl Into<ehi_core::ports::Cause>) -> StoreError {
    StoreError::unavailable(error)
}

#[cfg(test)]
mod tests;
