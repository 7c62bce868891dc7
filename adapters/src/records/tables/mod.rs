//! Tables of a legacy system as documents: one CSV file for each query that has rows.

mod column;
mod csv;
mod definition;
mod error;
mod plan;
mod session;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ehi_core::export::Selection;
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    DocumentStream, FormatDescription, PatientSearch, PatientSummary, RecordSource, RecordStream,
    SourceError,
};
use futures::{StreamExt, stream as streams};
use secrecy::SecretString;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;

pub use definition::TableQueries;
pub use error::TablesError;

use plan::{Plan, check_patient};
use session::Session;

/// A [`RecordSource`] over a PostgreSQL database: the rows of each [query](TableQueries) that are
/// the patient's become a CSV document. It has no records.
///
/// - Without a `[patient]` query it knows no patient by name: it finds none, and is of use beside
///   a source that does, in a federation.
/// - A query without rows gives no document. Queries whose part was not asked for are not run.
/// - CSV as in RFC 4180, UTF-8, with a header. NULL is an empty field, the empty text is `""`.
///   Numbers are exact as the database has them; booleans are `true` and `false`; dates, times and
///   intervals ISO 8601, with a time zone in UTC; bytes base64; `json`, `jsonb` and arrays are
///   JSON.
/// - The documents of one run are read in one read-only transaction: they show one moment. It
///   holds a connection until its last document is taken. A document's content has to be taken
///   or dropped before the next document is asked for; otherwise it ends with an error.
/// - Memory is bounded by a few chunks of 64 KiB and the longest row. Dropping the documents ends
///   the query that runs.
///
/// Values that the database cannot read (SQLSTATE classes 21, 22 and P0) spoil their document
/// alone. What passes (no connection, a time-out, a database that goes down) is
/// [`SourceError::Unavailable`]; tables that have changed since the start, and queries that
/// write, are [`SourceError::Broken`]. No error quotes a row: the database's own log does.
pub struct TableDocuments {
    pool: PgPool,
    patients: Option<String>,
    tables: Vec<Arc<Plan>>,
}

impl TableDocuments {
    /// Connects, prepares every query and holds its columns against the dictionary.
    ///
    /// The URL is `postgres://user:password@host/database`; `?sslmode=verify-full` and
    /// `sslrootcert` as libpq has them. A role that may only read these tables is best. A pooler
    /// in between has to keep a session on one connection: settings are made once for each.
    pub async fn connect(
        database_url: &SecretString,
        queries: &TableQueries,
    ) -> Result<Self, TablesError> {
        let pool = session::connect(database_url, &queries.limits).await?;
        let mut connection = pool.acquire().await.map_err(TablesError::Database)?;
        let patients = match &queries.patient {
            Some(query) => Some(check_patient(query, &mut connection).await?),
            None => None,
        };
        let mut tables = Vec::new();
        for query in &queries.queries {
            tables.push(Arc::new(Plan::check(query, &mut connection).await?));
        }
        drop(connection);
        Ok(Self {
            pool,
            patients,
            tables,
        })
    }

    /// Patients for whom the condition holds, in order.
    async fn patients(
        &self,
        condition: &str,
        values: (String, Vec<String>, i64),
    ) -> Result<Vec<PatientSummary>, SourceError> {
        let Some(patients) = &self.patients else {
            return Ok(Vec::new());
        };
        let sql = format!(
            "SELECT id, name, birth_date FROM ({patients}) AS p WHERE {condition} ORDER BY lower(name), id LIMIT $3"
        );
        let (text, words, limit) = values;
        let rows: Vec<(Option<String>, Option<String>, Option<String>)> =
            sqlx::query_as(AssertSqlSafe(sql))
                .bind(text)
                .bind(words)
                .bind(limit)
                .fetch_all(&self.pool)
                .await
                .map_err(|error| error::source_error("patient", error))?;
        let known = rows.into_iter().filter_map(|(id, name, birth_date)| {
            let Some(id) = id.and_then(|id| PatientId::parse(&id).ok()) else {
                tracing::warn!("the [patient] query returned an id that FHIR does not allow");
                return None;
            };
            let name = name.filter(|name| !name.trim().is_empty());
            Some(PatientSummary {
                name: name.unwrap_or_else(|| id.to_string()),
                birth_date: birth_date.and_then(|date| date.parse().ok()),
                id,
            })
        });
        Ok(known.collect())
    }
}

impl fmt::Debug for TableDocuments {
    /// Names no patient and no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableDocuments")
            .field("tables", &self.tables.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl RecordSource for TableDocuments {
    async fn patient(&self, id: &PatientId) -> Result<Option<PatientSummary>, SourceError> {
        let values = (id.to_string(), Vec::new(), 1);
        let condition = "id = $1 AND $2::text[] IS NOT NULL";
        Ok(self.patients(condition, values).await?.pop())
    }

    async fn search(&self, search: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError> {
        let words = search.name.split_whitespace().map(str::to_owned).collect();
        let born = (search.birth_date.as_ref()).map_or(String::new(), ToString::to_string);
        let limit = i64::try_from(search.limit).unwrap_or(i64::MAX);
        let condition = "($1 = '' OR birth_date = $1) AND NOT EXISTS (\
             SELECT FROM unnest($2::text[]) AS word WHERE position(lower(word) IN lower(coalesce(name, ''))) = 0)";
        self.patients(condition, (born, words, limit)).await
    }

    async fn records(&self, _: &PatientId, _: &Selection) -> Result<RecordStream, SourceError> {
        Ok(streams::empty().boxed())
    }

    async fn documents(
        &self,
        patient: &PatientId,
        wanted: &Selection,
    ) -> Result<DocumentStream, SourceError> {
        let tables: Vec<stream::Wanted> = (self.tables.iter())
            .filter_map(|plan| {
                let asked = wanted.choices().parameter(plan.dictionary.part)?;
                Some((Arc::clone(plan), asked.period()))
            })
            .collect();
        if tables.is_empty() {
            return Ok(streams::empty().boxed());
        }
        // Whatever keeps a connection from being had may pass.
        let session = Session::begin(&self.pool).await;
        let session = session.map_err(SourceError::unavailable)?;
        Ok(stream::documents(session, tables, patient.to_string()))
    }

    fn formats(&self) -> Vec<FormatDescription> {
        (self.tables.iter())
            .map(|plan| plan.dictionary.clone())
            .collect()
    }
}
