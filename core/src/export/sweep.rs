//! The sweep: removes what expired, and what servers that died left behind.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::service::{ExportService, UseCaseError};
use super::{Deployment, DeploymentError, DeploymentId, ExportJob, JobId, Lifetimes, Status};
use crate::ports::{Action, By, FilePath, StoreError};

/// How many jobs are swept at a time.
const SWEPT_AT_ONCE: usize = 100;

/// How long a folder in which nothing is left to sweep is not looked into again. Something is when
/// its job goes, and its files could not go along.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// How many such folders are remembered; the others are looked into each time.
const REMEMBERED: usize = 100_000;

/// The folders of jobs in which nothing is left to sweep, with the time to look again.
#[derive(Debug, Default)]
pub(super) struct Clean(Mutex<HashMap<JobId, Timestamp>>);

impl Clean {
    fn has(&self, job: JobId, now: Timestamp) -> bool {
        let clean = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clean.get(&job).is_some_and(|until| now < *until)
    }

    fn remember(&self, job: JobId, now: Timestamp) {
        let mut clean = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if clean.len() < REMEMBERED || clean.contains_key(&job) {
            let until = now.saturating_add(LOOK_AGAIN).unwrap_or(Timestamp::MAX);
            clean.insert(job, until);
        }
    }

    /// Forgets those that have to be looked into again.
    fn pass(&self, now: Timestamp) {
        let mut clean = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clean.retain(|_, until| now < *until);
    }
}

impl ExportService {
    /// Removes jobs that expired, and files that nobody can come for any more: a server may have
    /// died in the middle. Returns how many jobs expired. What could not be removed is left to
    /// the next sweep.
    pub async fn sweep(&self) -> Result<usize, UseCaseError> {
        let mut removed = 0;
        for status in Lifetimes::PASSING {
            removed += self.sweep_state(status).await?;
        }
        // What is in the way of the one is not in the way of the other.
        let orphans = self.sweep_orphans().await;
        let unfinished = self.ports.files.sweep_unfinished().await?;
        if unfinished > 0 {
            tracing::info!(unfinished, "half-written files were deleted");
        }
        orphans.map(|()| removed)
    }

    /// Removes the jobs that were in this state for too long.
    async fn sweep_state(&self, status: Status) -> Result<usize, UseCaseError> {
        let now = self.ports.clock.now();
        let lifetime = self.settings.lifetimes.in_state(status);
        let Some(until) = lifetime.and_then(|lifetime| now.checked_sub(lifetime).ok()) else {
            return Ok(0);
        };
        let mut removed = 0;
        loop {
            let found = self.ports.jobs.overdue(status, until, SWEPT_AT_ONCE);
            let jobs = found.await?;
            let mut gone = 0;
            for job in jobs.iter().filter(|job| self.is_expired(job, now)) {
                removed += self.expire(job).await?;
                gone += 1;
            }
            if gone == 0 || jobs.len() < SWEPT_AT_ONCE {
                return Ok(removed);
            }
        }
    }

    /// Removes a job that expired, unless somebody was faster. Returns how many were removed.
    ///
    /// It is written anew before: of replicas that sweep at the same time one goes on, and tells
    /// the audit log.
    async fn expire(&self, job: &ExportJob) -> Result<usize, UseCaseError> {
        let job = match self.ports.jobs.update(job).await {
            Err(StoreError::Conflict | StoreError::NotFound) => return Ok(0),
            updated => updated?,
        };
        self.audit(By::server(), Action::Expire, &job).await?;
        match self.ports.jobs.remove(&job).await {
            Err(StoreError::Conflict | StoreError::NotFound) => return Ok(0),
            removed => removed?,
        };
        self.empty(&job).await;
        Ok(1)
    }

    /// Deletes the files of jobs that are not there, and of attempts that came to nothing. A job
    /// is there before its first file, so none that begins meanwhile is touched.
    async fn sweep_orphans(&self) -> Result<(), UseCaseError> {
        let now = self.ports.clock.now();
        self.clean.pass(now);
        let mut outcome = Ok(());
        let mut orphans = Vec::new();
        for folder in self.ports.files.folders().await? {
            let Some(id) = JobId::parse(folder.as_str()) else {
                continue;
            };
            if self.clean.has(id, now) {
                continue;
            }
            match self.ports.jobs.get(id).await {
                Ok(Some(job)) => outcome = outcome.and(self.sweep_attempts(&job, now).await),
                Ok(None) => orphans.push((id, folder)),
                // Whoever can read it sweeps it.
                Err(StoreError::Unreadable(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if orphans.is_empty() {
            return outcome;
        }
        // Where the files are not those of the jobs, all of them look like orphans.
        if !self.owns_its_files().await? {
            tracing::error!(
                folders = orphans.len(),
                "files of exports that the database does not know are left alone: they are not marked as its own. Start the server anew; it tells what to do"
            );
            return outcome;
        }
        for (id, folder) in orphans {
            tracing::warn!(job = %id, "files whose export is gone are deleted");
            outcome = outcome.and(self.delete_forsaken(id, &folder).await);
        }
        outcome
    }

    /// Deletes the files of attempts that came to nothing. One that cannot be deleted does not keep
    /// the others.
    async fn sweep_attempts(&self, job: &ExportJob, now: Timestamp) -> Result<(), UseCaseError> {
        let mut outcome = Ok(());
        for folder in job.forsaken_folders() {
            outcome = outcome.and(self.delete_forsaken(job.id, &folder).await);
        }
        let strays = self.sweep_strays(job, now).await;
        let settled = matches!(job.status(), Status::Retrieved | Status::Approved);
        if outcome.is_ok() && matches!(strays, Ok(0)) && settled {
            self.clean.remember(job.id, now);
        }
        outcome.and(strays.map(drop))
    }

    async fn owns_its_files(&self) -> Result<bool, UseCaseError> {
        let deployment = Deployment {
            jobs: self.ports.jobs.clone(),
            files: self.ports.files.clone(),
            new: DeploymentId::from_random(self.ports.entropy.bytes()),
        };
        match deployment.is_whole().await {
            Ok(owns) => Ok(owns),
            Err(DeploymentError::Jobs(error)) => Err(error.into()),
            Err(DeploymentError::Files(error)) => Err(error.into()),
            Err(DeploymentError::OfOthers | DeploymentError::Unknown) => Ok(false),
        }
    }

    async fn delete_forsaken(&self, job: JobId, folder: &FilePath) -> Result<(), UseCaseError> {
        let deleted = self.ports.files.delete_prefix(folder).await;
        if let Err(error) = &deleted {
            tracing::warn!(job = %job, error = error as &dyn std::error::Error, "files that nobody can fetch remain");
        }
        Ok(deleted?)
    }
}

impl ExportJob {
    /// The folders whose files nobody can come for, whatever happens next: those of attempts that
    /// neither won nor run, and everything once there is nothing to release any more. An attempt
    /// that begins after this was asked is not among them.
    fn forsaken_folders(&self) -> Vec<FilePath> {
        use super::JobState::{Approved, AwaitingInput, Failed, Rejected, Requested, Retrieved};
        let attempts = match self.state() {
            AwaitingInput => 1..1,
            Requested {
                attempt,
                claim: Some(_),
                ..
            } => 1..*attempt,
            Requested {
                attempt,
                claim: None,
                ..
            } => 1..attempt + 1,
            // No attempt begins behind the one that won.
            Retrieved { export, .. } | Approved { export, .. } => 1..export.attempt,
            Rejected { .. } | Failed { .. } => return vec![self.folder()],
        };
        attempts
            .map(|attempt| self.attempt_folder(attempt))
            .collect()
    }
}
