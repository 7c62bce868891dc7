//! What goes wrong with tables: at the start, told with what to do; later, told without content.

use ehi_core::ports::{RecordError, SourceError, Unreadable};
use sqlx::error::DatabaseError;

/// Why tables cannot be used. Told before there is any patient's data in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TablesError {
    /// Not TOML, or not in this shape.
    #[error("the file of queries cannot be read: {0}")]
    Toml(#[from] toml::de::Error),
    /// A limit that makes no sense.
    #[error("the limits of the queries are numbers from 1 to 86400")]
    Limits,
    /// Nothing to ask.
    #[error("the file of queries has none: write a [[query]], or leave the source out")]
    NoQuery,
    /// One query cannot be used.
    #[error("the query '{name}' cannot be used: {problem}")]
    Query {
        /// Its name.
        name: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The query for patients cannot be used.
    #[error("the [patient] query cannot be used: {0}")]
    Patient(String),
    /// No URL of a database.
    #[error("the database URL cannot be read: write postgres://user:password@host/database")]
    Url,
    /// The database does not answer.
    #[error("the database of the queries cannot be reached: check its URL and that it runs")]
    Database(#[source] sqlx::Error),
}

/// What a failed preparation says to whoever wrote the query.
pub(super) fn advice(error: &dyn DatabaseError) -> String {
    let message = error.message();
    match error.code().as_deref() {
        // No such operator: the one mistake everybody makes.
        Some("42883") => format!(
            "{message}. $patient is text: where it meets another type, cast it, such as $patient::integer"
        ),
        _ => format!("{message}. Correct its SQL"),
    }
}

/// A failure while tables are read. The database quotes values in its messages, so only the code
/// is passed on (PostgreSQL's documentation, appendix A, says what each means).
pub(super) fn record_error(table: &str, error: sqlx::Error) -> RecordError {
    let spoiled = |reason: String| {
        RecordError::Unreadable(Unreadable {
            place: format!("table {table}"),
            reason,
        })
    };
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            match code.get(..2).unwrap_or_default() {
                // Values that do not fit, and functions that refuse: this table's own trouble.
                "22" | "21" | "P0" => spoiled(format!(
                    "the database could not read the table's data (SQLSTATE {code})"
                )),
                _ => source_error(table, error).into(),
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            spoiled("a value in the table is no valid text".to_owned())
        }
        _ => source_error(table, error).into(),
    }
}

/// The same where there is no document to spoil.
pub(super) fn source_error(table: &str, error: sqlx::Error) -> SourceError {
    let sqlx::Error::Database(database) = &error else {
        return SourceError::unavailable(error);
    };
    let code = database.code().unwrap_or_default();
    match code.get(..2).unwrap_or_default() {
        _ if code == "57014" => SourceError::unavailable(format!(
            "the query '{table}' took too long: raise statement_seconds, or index what it filters by"
        )),
        _ if code == "25006" => SourceError::Broken(format!(
            "the query '{table}' writes, and may only read (SQLSTATE {code})"
        )),
        // The tables are no longer what they were at the start, or no longer ours to read.
        "42" | "0A" | "3F" | "21" | "22" | "P0" => SourceError::Broken(format!(
            "the database refuses the query '{table}' (SQLSTATE {code})"
        )),
        _ => SourceError::unavailable(format!(
            "the database failed at the query '{table}' (SQLSTATE {code})"
        )),
    }
}
