//! Export jobs, and the queue workers take them from.

use std::time::Duration;

use async_trait::async_trait;
use ehi_core::auth::ClientId;
use ehi_core::export::{
    Claim, DeploymentId, ExportJob, JobId, JobState, LastTurns, Progress, Status, Turn, WorkerId,
};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{JobFilter, JobStore, OpenJobs, Page, StoreError};
use jiff::Timestamp;
use tokio::sync::watch;

use super::pool::Transaction;
use super::unreadable::Row;
use super::{Database, Dialect, deployment, instant, nanoseconds, removed, unavailable};

/// A job behind the place of its row in an order: an instant and its id.
type Placed = (i64, String, String);

/// How many rows are read together where the first ones could not be read.
const BATCH: usize = 500;

/// For how long a job steps back in the queue that nobody here can claim: a worker of a later
/// version may be able to.
const STEP_BACK: Duration = Duration::from_mins(1);

/// What became of a look into the queue.
enum Look {
    Claimed(Box<ExportJob>),
    PassedOver,
    Nothing,
}

/// Export jobs in a database.
#[derive(Debug, Clone)]
pub struct SqlJobs(Database);

impl SqlJobs {
    /// The jobs of this database.
    pub fn new(database: &Database) -> Self {
        Self(database.clone())
    }

    /// Replaces a job of which this version is stored; `false` when another one is, or none. A
    /// turn that it has already stays.
    async fn replace(
        transaction: &mut Transaction,
        job: &ExportJob,
        version: u64,
        turn: Option<Turn>,
    ) -> Result<bool, StoreError> {
        let written = sqlx::query(
            "UPDATE jobs SET version = $3, status = $4, runnable_at = $5, job = $6, client = $7, since = $8, turn = COALESCE(turn, $9), client_turn = COALESCE(client_turn, $10) WHERE id = $1 AND version = $2",
        )
        .bind(job.id.to_string())
        .bind(number(version))
        .bind(number(job.version()))
        .bind(job.status().as_str())
        .bind(runnable_at(job))
        .bind(serde_json::to_string(job).map_err(unavailable)?)
        .bind(job.requester.client().to_string())
        .bind(nanoseconds(job.since()))
        .bind(turn.map(|turn| nanoseconds(turn.at)))
        .bind(turn.and_then(|turn| turn.of_client).map(nanoseconds))
        .execute(&mut **transaction)
        .await
        .map_err(unavailable)?;
        Ok(written.rows_affected() == 1)
    }

    /// The turn of a job that can be claimed for the first time.
    async fn turn(
        transaction: &mut Transaction,
        job: &ExportJob,
    ) -> Result<Option<Turn>, StoreError> {
        let Some(due) = job.first_due() else {
            return Ok(None);
        };
        let (of_client, of_patient) = sqlx::query_as::<_, (Option<i64>, Option<i64>)>(LAST_TURNS)
            .bind(job.requester.client().to_string())
            .bind(job.patient.id.as_str().to_owned())
            .fetch_one(&mut **transaction)
            .await
            .map_err(unavailable)?;
        let last = LastTurns {
            of_patient: of_patient.map(instant),
            of_client: of_client.map(instant),
        };
        Ok(Some(Turn::new(due, last)))
    }

    /// Takes the job whose turn is first, or has it step back: one that cannot be read, or of
    /// which only its row says that it can be claimed, must not keep the others.
    async fn look(
        &self,
        worker: &WorkerId,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Look, StoreError> {
        let mut transaction = self.0.begin().await?;
        let found = sqlx::query_as::<_, (String, String)>(next(self.0.dialect()))
            .bind(nanoseconds(now))
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let Some((id, job)) = found else {
            return Ok(Look::Nothing);
        };
        let until = now.saturating_add(lease).unwrap_or(Timestamp::MAX);
        let claimed = parsed(&job).ok().and_then(|mut job| {
            let version = job.version();
            job.claim(worker, now, until).ok()?;
            Some((job.next_version(), version))
        });
        if let Some((job, version)) = claimed
            && job.id.to_string() == id
            && Self::replace(&mut transaction, &job, version, None).await?
        {
            transaction.commit().await.map_err(unavailable)?;
            return Ok(Look::Claimed(Box::new(job)));
        }
        self.0.unreadable().tell(Row::Job, &id);
        let later = now.saturating_add(STEP_BACK).unwrap_or(Timestamp::MAX);
        sqlx::query("UPDATE jobs SET runnable_at = $2 WHERE id = $1")
            .bind(id)
            .bind(nanoseconds(later))
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(Look::PassedOver)
    }

    /// Adds the jobs of these rows that can be read, and tells where to go on: `None` where there
    /// were fewer rows than asked for.
    fn gather(
        &self,
        rows: Vec<Placed>,
        asked: usize,
        jobs: &mut Vec<ExportJob>,
    ) -> Option<(i64, String)> {
        let more = rows.len() >= asked;
        let mut last = None;
        for (at, id, job) in rows {
            jobs.extend(self.0.readable(Row::Job, &id, parsed(&job)));
            last = Some((at, id));
        }
        last.filter(|_| more)
    }

    /// Whether a job is stored in any version.
    async fn exists(transaction: &mut Transaction, id: JobId) -> Result<bool, StoreError> {
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
        let mut transaction = self.0.begin().await?;
        let turn = Self::turn(&mut transaction, job).await?;
        let inserted = sqlx::query(
            "INSERT INTO jobs (id, version, status, patient, created_at, runnable_at, job, client, since, turn, client_turn) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(job.id.to_string())
        .bind(number(job.version()))
        .bind(job.status().as_str())
        .bind(job.patient.id.as_str())
        .bind(nanoseconds(job.created_at))
        .bind(runnable_at(job))
        .bind(serde_json::to_string(job).map_err(unavailable)?)
        .bind(job.requester.client().to_string())
        .bind(nanoseconds(job.since()))
        .bind(turn.map(|turn| nanoseconds(turn.at)))
        .bind(turn.and_then(|turn| turn.of_client).map(nanoseconds))
        .execute(&mut *transaction)
        .await;
        match inserted {
            Ok(_) => {
                transaction.commit().await.map_err(unavailable)?;
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
        let turn = Self::turn(&mut transaction, &next).await?;
        if !Self::replace(&mut transaction, &next, job.version(), turn).await? {
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
        let wanted = page.limit.unwrap_or(usize::MAX);
        let mut place = match page.after {
            Some(after) => (nanoseconds(after.created_at), after.id.to_string()),
            // Behind every job: ids are hexadecimal.
            None => (i64::MAX, "g".to_owned()),
        };
        let mut jobs = Vec::new();
        let mut batch = wanted;
        while jobs.len() < wanted {
            let mut query = sqlx::query_as::<_, Placed>(listed(filter))
                .bind(place.0)
                .bind(place.1.clone())
                .bind(count(batch));
            if let Some(status) = filter.status {
                query = query.bind(status.as_str());
            }
            if let Some(patient) = &filter.patient {
                query = query.bind(patient.as_str().to_owned());
            }
            let rows = query.fetch_all(self.0.pool()).await.map_err(unavailable)?;
            let Some(next) = self.gather(rows, batch, &mut jobs) else {
                break;
            };
            place = next;
            batch = wanted.max(BATCH);
        }
        jobs.truncate(wanted);
        Ok(jobs)
    }

    async fn remove(&self, job: &ExportJob) -> Result<ExportJob, StoreError> {
        let mut transaction = self.0.begin().await?;
        let removed = sqlx::query_scalar::<_, String>(
            "DELETE FROM jobs WHERE id = $1 AND version = $2 RETURNING job",
        )
        .bind(job.id.to_string())
        .bind(number(job.version()))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let Some(removed) = removed else {
            let there = Self::exists(&mut transaction, job.id).await?;
            return Err(if there {
                StoreError::Conflict
            } else {
                StoreError::NotFound
            });
        };
        removed::keep(&mut transaction, job.id).await?;
        transaction.commit().await.map_err(unavailable)?;
        parsed(&removed)
    }

    async fn removed(&self, after: Option<JobId>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        removed::page(&self.0, after, count(limit)).await
    }

    async fn forget(&self, ids: &[JobId]) -> Result<(), StoreError> {
        removed::forget(&self.0, ids).await
    }

    async fn disown(&self, ids: &[JobId]) -> Result<usize, StoreError> {
        let mut transaction = self.0.begin().await?;
        let mut unknown = 0;
        for id in ids {
            if !Self::exists(&mut transaction, *id).await? {
                removed::keep(&mut transaction, *id).await?;
                unknown += 1;
            }
        }
        transaction.commit().await.map_err(unavailable)?;
        Ok(unknown)
    }

    async fn open_jobs(
        &self,
        patient: &PatientId,
        client: &ClientId,
    ) -> Result<OpenJobs, StoreError> {
        let (of_patient, of_client) = sqlx::query_as::<_, (i64, i64)>(OPEN)
            .bind(patient.as_str().to_owned())
            .bind(client.to_string())
            .fetch_one(self.0.pool())
            .await
            .map_err(unavailable)?;
        Ok(OpenJobs {
            of_patient: u64::try_from(of_patient).unwrap_or_default(),
            of_client: u64::try_from(of_client).unwrap_or_default(),
        })
    }

    async fn overdue(
        &self,
        status: Status,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<ExportJob>, StoreError> {
        // An older version may still be writing.
        fill_in(&self.0).await?;
        let mut jobs = Vec::new();
        let mut place = (i64::MIN, String::new());
        let mut batch = limit;
        while jobs.len() < limit {
            let rows = sqlx::query_as::<_, Placed>(OVERDUE)
                .bind(status.as_str())
                .bind(nanoseconds(until))
                .bind(place.0)
                .bind(place.1)
                .bind(count(batch))
                .fetch_all(self.0.pool())
                .await
                .map_err(unavailable)?;
            let Some(next) = self.gather(rows, batch, &mut jobs) else {
                break;
            };
            place = next;
            batch = limit.max(BATCH);
        }
        jobs.truncate(limit);
        Ok(jobs)
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<ExportJob>, StoreError> {
        loop {
            match self.look(worker, now, lease).await? {
                Look::Claimed(job) => return Ok(Some(*job)),
                Look::Nothing => return Ok(None),
                // It does not turn up again at this instant, so there is an end.
                Look::PassedOver => {}
            }
        }
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
        Self::replace(&mut transaction, &job, job.version(), None).await?;
        transaction.commit().await.map_err(unavailable)
    }

    async fn deployment(&self) -> Result<Option<DeploymentId>, StoreError> {
        deployment::known(&self.0).await
    }

    async fn name_deployment(&self, new: DeploymentId) -> Result<DeploymentId, StoreError> {
        deployment::named(&self.0, new).await
    }

    async fn rehearse(&self) -> Result<(), StoreError> {
        deployment::rehearse(&self.0).await
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
    serde_json::from_str(job).map_err(StoreError::unreadable)
}

/// A number of rows.
fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A version as the tables have it.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// The last turns of client `$1` and of patient `$2` among jobs that wait or run.
pub(super) const LAST_TURNS: &str = "SELECT \
    (SELECT MAX(client_turn) FROM jobs WHERE client = $1 AND runnable_at IS NOT NULL), \
    (SELECT MAX(turn) FROM jobs WHERE patient = $2 AND runnable_at IS NOT NULL)";

/// How many jobs of patient `$1` through client `$2`, and of that client's at all, are
/// [open](Status::OPEN): as the indexes say.
pub(super) const OPEN: &str = "SELECT \
    (SELECT COUNT(*) FROM jobs WHERE patient = $1 AND client = $2 AND status IN ('awaiting-input', 'requested', 'retrieved')), \
    (SELECT COUNT(*) FROM jobs WHERE client = $2 AND status IN ('awaiting-input', 'requested', 'retrieved'))";

/// At most `$5` jobs in state `$1` since `$2` or longer, behind the one since `$3` with id `$4`.
pub(super) const OVERDUE: &str = "SELECT since, id, job FROM jobs WHERE status = $1 AND since <= $2 AND (since, id) > ($3, $4) ORDER BY since, id LIMIT $5";

/// The job that may be claimed at `$1` and whose turn is first.
pub(super) fn next(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "SELECT id, job FROM jobs WHERE runnable_at IS NOT NULL AND runnable_at <= $1 ORDER BY turn, id LIMIT 1"
        }
        // Whom another worker is claiming right now is passed over, not waited for.
        Dialect::Postgres => {
            "SELECT id, job FROM jobs WHERE runnable_at IS NOT NULL AND runnable_at <= $1 ORDER BY turn, id LIMIT 1 FOR UPDATE SKIP LOCKED"
        }
    }
}

/// At most `$3` jobs behind the one made at `$1` with id `$2`; then the parameters of the filter.
/// One statement for each shape, so that each has its index.
pub(super) fn listed(filter: &JobFilter) -> &'static str {
    match (filter.status, &filter.patient) {
        (None, None) => {
            "SELECT created_at, id, job FROM jobs WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3"
        }
        (Some(_), None) => {
            "SELECT created_at, id, job FROM jobs WHERE (created_at, id) < ($1, $2) AND status = $4 ORDER BY created_at DESC, id DESC LIMIT $3"
        }
        (None, Some(_)) => {
            "SELECT created_at, id, job FROM jobs WHERE (created_at, id) < ($1, $2) AND patient = $4 ORDER BY created_at DESC, id DESC LIMIT $3"
        }
        (Some(_), Some(_)) => {
            "SELECT created_at, id, job FROM jobs WHERE (created_at, id) < ($1, $2) AND status = $4 AND patient = $5 ORDER BY created_at DESC, id DESC LIMIT $3"
        }
    }
}

/// Fills in what rows of an older version do not have. Such a version may still be writing.
pub(super) async fn fill_in(database: &Database) -> Result<(), StoreError> {
    let mut last = String::new();
    loop {
        let rows = sqlx::query_as::<_, (String, String)>(OLDER_VERSION)
            .bind(last)
            .fetch_all(database.pool())
            .await
            .map_err(unavailable)?;
        for (id, job) in &rows {
            let Some(job) = database.readable(Row::Job, id, parsed(job)) else {
                continue;
            };
            // Filled in for that version alone: the one that comes next fills it in itself.
            sqlx::query("UPDATE jobs SET client = $3, since = $4, turn = COALESCE(turn, runnable_at) WHERE id = $1 AND version = $2")
                .bind(id.as_str())
                .bind(number(job.version()))
                .bind(job.requester.client().to_string())
                .bind(nanoseconds(job.since()))
                .execute(database.pool())
                .await
                .map_err(unavailable)?;
        }
        match rows.into_iter().last() {
            Some((id, _)) => last = id,
            None => return Ok(()),
        }
    }
}

/// Some rows of an older version, behind the one with id `$1`.
pub(super) const OLDER_VERSION: &str =
    "SELECT id, job FROM jobs WHERE since IS NULL AND id > $1 ORDER BY id LIMIT 500";
