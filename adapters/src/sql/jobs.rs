//! Export jobs, and the queue workers take them from.

use std::time::Duration;

use async_trait::async_trait;
use ehi_core::export::{Claim, ExportJob, JobId, JobState, Progress, WorkerId};
use ehi_core::ports::{JobFilter, JobStore, Page, StoreError};
use jiff::Timestamp;
use sqlx::{Any, Transaction};
use tokio::sync::watch;

use super::{Database, nanoseconds, unavailable};

/// Export jobs in a database.
#[derive(Debug, Clone)]
pub struct SqlJobs(Database);

impl SqlJobs {
    /// The jobs of this database.
    pub fn new(database: &Database) -> Self {
        Self(database.clone())
    }

    /// Replaces a job of which this version is stored; `false` when another one is, or none.
    async fn replace(
        transaction: &mut Transaction<'_, Any>,
        job: &ExportJob,
        version: u64,
    ) -> Result<bool, StoreError> {
        let written = sqlx::query(
            "UPDATE jobs SET version = $3, status = $4, runnable_at = $5, job = $6 WHERE id = $1 AND version = $2",
        )
        .bind(job.id.to_string())
        .bind(number(version))
        .bind(number(job.version()))
        .bind(job.status().as_str())
        .bind(runnable_at(job))
        .bind(serde_json::to_string(job).map_err(unavailable)?)
        .execute(&mut **transaction)
        .await
        .map_err(unavailable)?;
        Ok(written.rows_affected() == 1)
    }

    /// Whether a job is stored in any version.
    async fn exists(transaction: &mut Transaction<'_, Any>, id: JobId) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar::<_, i64>("SELECT version FROM jobs WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut **transaction)
            .await
            .map_err(unavailable)?;
        Ok(found.is_some())
    }
}

#[async_trait]
impl JobStore for SqlJobs {
    async fn insert(&self, job: &ExportJob) -> Result<(), StoreError> {
        let inserted = sqlx::query(
            "INSERT INTO jobs (id, version, status, patient, created_at, runnable_at, job) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(job.id.to_string())
        .bind(number(job.version()))
        .bind(job.status().as_str())
        .bind(job.patient.id.as_str())
        .bind(nanoseconds(job.created_at))
        .bind(runnable_at(job))
        .bind(serde_json::to_string(job).map_err(unavailable)?)
        .execute(self.0.pool())
        .await;
        match inserted {
            Ok(_) => {
                self.0.tell().await;
                Ok(())
            }
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(StoreError::Conflict)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn get(&self, id: JobId) -> Result<Option<ExportJob>, StoreError> {
        let found = sqlx::query_scalar::<_, String>("SELECT job FROM jobs WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.0.pool())
            .await
            .map_err(unavailable)?;
        found.as_deref().map(parsed).transpose()
    }

    async fn update(&self, job: &ExportJob) -> Result<ExportJob, StoreError> {
        let next = job.clone().next_version();
        let mut transaction = self.0.begin().await?;
        if !Self::replace(&mut transaction, &next, job.version()).await? {
            let there = Self::exists(&mut transaction, job.id).await?;
            return Err(if there {
                StoreError::Conflict
            } else {
                StoreError::NotFound
            });
        }
        transaction.commit().await.map_err(unavailable)?;
        if runnable_at(&next).is_some() {
            self.0.tell().await;
        }
        Ok(next)
    }

    async fn list(&self, filter: &JobFilter, page: Page) -> Result<Vec<ExportJob>, StoreError> {
        // One statement for each shape, so that each has its index.
        let of = match (filter.status, &filter.patient) {
            (None, None) => "",
            (Some(_), None) => "status = $4 AND ",
            (None, Some(_)) => "patient = $5 AND ",
            (Some(_), Some(_)) => "status = $4 AND patient = $5 AND ",
        };
        // Types are told by the first three parameters; the last two are only there where used.
        let statement = format!(
            "SELECT job FROM jobs WHERE {of}(created_at < $1 OR (created_at = $1 AND id < $2)) ORDER BY created_at DESC, id DESC LIMIT $3"
        );
        let statement = renumbered(&statement, filter);
        let limit = page.limit.and_then(|limit| i64::try_from(limit).ok());
        let (created_at, id) = match page.after {
            Some(after) => (nanoseconds(after.created_at), after.id.to_string()),
            // Behind every job: ids are hexadecimal.
            None => (i64::MAX, "g".to_owned()),
        };
        let mut query = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(statement))
            .bind(created_at)
            .bind(id)
            .bind(limit.unwrap_or(i64::MAX));
        if let Some(status) = filter.status {
            query = query.bind(status.as_str());
        }
        if let Some(patient) = &filter.patient {
            query = query.bind(patient.as_str().to_owned());
        }
        let jobs = query.fetch_all(self.0.pool()).await.map_err(unavailable)?;
        jobs.iter().map(|job| parsed(job)).collect()
    }

    async fn remove(&self, id: JobId) -> Result<Option<ExportJob>, StoreError> {
        let removed =
            sqlx::query_scalar::<_, String>("DELETE FROM jobs WHERE id = $1 RETURNING job")
                .bind(id.to_string())
                .fetch_optional(self.0.pool())
                .await
                .map_err(unavailable)?;
        removed.as_deref().map(parsed).transpose()
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<ExportJob>, StoreError> {
        let mut transaction = self.0.begin().await?;
        let oldest = self.0.by_dialect(
            "SELECT job FROM jobs WHERE runnable_at IS NOT NULL AND runnable_at <= $1 ORDER BY created_at, id LIMIT 1",
            // Whom another worker is claiming right now is passed over, not waited for.
            "SELECT job FROM jobs WHERE runnable_at IS NOT NULL AND runnable_at <= $1 ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED",
        );
        let found = sqlx::query_scalar::<_, String>(oldest)
            .bind(nanoseconds(now))
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let Some(mut job) = found.as_deref().map(parsed).transpose()? else {
            return Ok(None);
        };
        let version = job.version();
        let until = now.saturating_add(lease).unwrap_or(Timestamp::MAX);
        if job.claim(worker, now, until).is_err() {
            return Ok(None);
        }
        let job = job.next_version();
        if !Self::replace(&mut transaction, &job, version).await? {
            return Err(StoreError::Conflict);
        }
        transaction.commit().await.map_err(unavailable)?;
        Ok(Some(job))
    }

    async fn renew(
        &self,
        claim: &Claim,
        until: Timestamp,
        progress: Progress,
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin().await?;
        let locked = self.0.by_dialect(
            "SELECT job FROM jobs WHERE id = $1",
            "SELECT job FROM jobs WHERE id = $1 FOR UPDATE",
        );
        let found = sqlx::query_scalar::<_, String>(locked)
            .bind(claim.job.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let mut job = parsed(&found.ok_or(StoreError::NotFound)?)?;
        (job.renew(claim, until, progress)).map_err(|_| StoreError::Conflict)?;
        Self::replace(&mut transaction, &job, job.version()).await?;
        transaction.commit().await.map_err(unavailable)
    }

    fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// When a worker may claim a job.
fn runnable_at(job: &ExportJob) -> Option<i64> {
    match job.state() {
        JobState::Requested { due, claim, .. } => {
            let free = claim.as_ref().map_or(*due, |claim| claim.until.max(*due));
            Some(nanoseconds(free))
        }
        _ => None,
    }
}

fn parsed(job: &str) -> Result<ExportJob, StoreError> {
    serde_json::from_str(job).map_err(unavailable)
}

/// A version as the tables have it.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// Parameters are numbered without a gap: the patient's is the fourth when there is no status.
fn renumbered(statement: &str, filter: &JobFilter) -> String {
    match filter.status {
        Some(_) => statement.to_owned(),
        None => statement.replace("$5", "$4"),
    }
}
