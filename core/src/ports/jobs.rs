//! Where export jobs live, and the queue workers take them from.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use super::StoreError;
use crate::auth::ClientId;
use crate::export::{Claim, DeploymentId, ExportJob, JobId, Progress, Status, WorkerId};
use crate::fhir::PatientId;

/// Keeps export jobs and hands each runnable one to exactly one worker.
///
/// Every job carries a [version](ExportJob::version). A write is accepted only when it was made
/// from the version that is stored, so an update is refused or kept, never silently lost.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait JobStore: Debug + Send + Sync + 'static {
    /// Adds a new job. `Conflict` when its id is taken.
    async fn insert(&self, job: &ExportJob) -> Result<(), StoreError>;

    /// The job as it is now, or `None`.
    async fn get(&self, id: JobId) -> Result<Option<ExportJob>, StoreError>;

    /// Replaces the job and returns it with its new version. `Conflict` when the stored version
    /// is not the given job's; `NotFound` when the job is gone.
    async fn update(&self, job: &ExportJob) -> Result<ExportJob, StoreError>;

    /// Jobs that match, newest first; jobs made in the same instant are ordered by id.
    async fn list(&self, filter: &JobFilter, page: Page) -> Result<Vec<ExportJob>, StoreError>;

    /// Removes the job and returns it as it last was. At the same instant its id comes among those
    /// of [removed](Self::removed) jobs: its files go even if whoever removed it dies. `Conflict`
    /// when the stored version is not the given job's; `NotFound` when it was gone already.
    async fn remove(&self, job: &ExportJob) -> Result<ExportJob, StoreError>;

    /// At most `limit` ids under which files have to go: of jobs that were removed, and what was
    /// [disowned](Self::disown), until they are [forgotten](Self::forget). In an order of the
    /// store's own; `after` is the last one of the page before.
    async fn removed(&self, after: Option<JobId>, limit: usize) -> Result<Vec<JobId>, StoreError>;

    /// Forgets that files under these ids have to go: none is left.
    async fn forget(&self, ids: &[JobId]) -> Result<(), StoreError>;

    /// Has files under these ids go, as if their jobs had been removed, but for those of jobs that
    /// are there. Returns how many ids have no job.
    async fn disown(&self, ids: &[JobId]) -> Result<usize, StoreError>;

    /// How many exports of this patient that this client asked for, and how many of this client's
    /// at all, are [open](Status::OPEN).
    async fn open_jobs(
        &self,
        patient: &PatientId,
        client: &ClientId,
    ) -> Result<OpenJobs, StoreError>;

    /// At most `limit` jobs that are in this status [since](ExportJob::since) `until` or longer,
    /// the longest first.
    async fn overdue(
        &self,
        status: Status,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<ExportJob>, StoreError>;

    /// Hands the runnable job whose turn is first to `worker` until `now + lease`.
    ///
    /// A job gets its [turn](crate::export::Turn) when it first becomes runnable, behind those of
    /// the same patient or client that wait or run at that moment, and keeps it for every further
    /// attempt: a flood of one does not keep others waiting, and nobody waits for ever. Jobs of
    /// the same turn are ordered by id.
    ///
    /// Runnable is what [`ExportJob::is_claimable`] says: requested, due, and not under a lease
    /// that still runs. Of many concurrent claims exactly one gets the job; its version moves on,
    /// so a worker whose lease ran out cannot write over the next one's work.
    async fn claim(
        &self,
        worker: &WorkerId,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<ExportJob>, StoreError>;

    /// Extends a claim and reports how far it got, leaving the version as it is. `Conflict` when
    /// the claim passed to somebody else or the job moved on; `NotFound` when the job is gone.
    async fn renew(
        &self,
        claim: &Claim,
        until: Timestamp,
        progress: Progress,
    ) -> Result<(), StoreError>;

    /// What these jobs and their files know each other by, or `None` while they have no place for
    /// files.
    async fn deployment(&self) -> Result<Option<DeploymentId>, StoreError>;

    /// Names these jobs and their files `new`, where they have no name yet. Returns the one that
    /// stands: from then on it is the same for everybody, as long as there are jobs.
    async fn name_deployment(&self, new: DeploymentId) -> Result<DeploymentId, StoreError>;

    /// Whether anything can be kept right now: writes something that changes nothing.
    async fn rehearse(&self) -> Result<(), StoreError>;

    /// Tells when something may have become runnable. A change between two looks is never
    /// missed; false alarms are allowed.
    fn subscribe(&self) -> watch::Receiver<()>;
}

/// How many exports are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenJobs {
    /// Of the patient, through the client.
    pub of_patient: u64,
    /// Of the client, whomever they are about.
    pub of_client: u64,
}

/// Which jobs to list. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only those in this status.
    pub status: Option<Status>,
    /// Only this patient's.
    pub patient: Option<PatientId>,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Page {
    /// How many at most; `None` for all.
    pub limit: Option<usize>,
    /// Only those behind this place in the order.
    pub after: Option<Cursor>,
}

/// A place in the list of jobs: the last job of the page before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// When that job was made.
    pub created_at: Timestamp,
    /// Its id.
    pub id: JobId,
}
