//! The sweep: removes what expired, and what servers that died left behind.
//!
//! Nothing is deleted only because no job is known for it: the database may be older than its
//! files. What has to go is what the jobs themselves say.

mod memory;

use std::collections::HashMap;

use jiff::Timestamp;

pub(super) use self::memory::Memory;
use self::memory::Seen;
use super::deployment::belong_together;
use super::service::{ExportService, UseCaseError};
use super::{DeploymentError, ExportJob, JobId, Lifetimes, Status};
use crate::ports::{Action, By, FilePath, StoreError};

/// How many jobs are swept at a time.
const SWEPT_AT_ONCE: usize = 100;

/// How many ids of removed jobs are asked for at a time.
const REMOVED_AT_ONCE: usize = 1_000;

/// The folders of jobs that keep files.
type Folders = HashMap<JobId, FilePath>;

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
        let files = self.sweep_files().await;
        let unfinished = self.ports.files.sweep_unfinished().await?;
        if unfinished > 0 {
            tracing::info!(unfinished, "half-written files were deleted");
        }
        files.map(|()| removed)
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

    /// Deletes the files of jobs that were removed, and of attempts that came to nothing. A job is
    /// there before its first file, so none that begins meanwhile is touched.
    async fn sweep_files(&self) -> Result<(), UseCaseError> {
        let now = self.ports.clock.now();
        self.memory.pass(now);
        let folders: Folders = (self.ports.files.folders().await?.into_iter())
            .filter_map(|folder| Some((JobId::parse(folder.as_str())?, folder)))
            .collect();
        let mut outcome = Ok(());
        let mut unknown = Vec::new();
        for id in folders.keys().copied() {
            match self.memory.seen(id) {
                Some(Seen::Clean) => continue,
                Some(Seen::Unknown) => {
                    unknown.push(id);
                    continue;
                }
                None => {}
            }
            match self.ports.jobs.get(id).await {
                Ok(Some(job)) => outcome = outcome.and(self.sweep_attempts(&job, now).await),
                Ok(None) => unknown.push(id),
                // Whoever can read it sweeps it.
                Err(StoreError::Unreadable(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Asked for behind the jobs: one that was removed meanwhile is among them.
        let removed = self.removed().await?;
        if unknown.is_empty() && removed.is_empty() {
            return outcome;
        }
        // Where the files are not those of the jobs, an id here may be another job's there.
        if !self.owns_its_files().await? {
            tracing::error!(
                "the files are not marked as those of the database, so none is deleted. Start the server anew; it tells what to do"
            );
            return outcome;
        }
        unknown.retain(|id| removed.binary_search(id).is_err());
        self.tell_of_unknown(&unknown, now);
        outcome.and(self.sweep_removed(&removed, &folders, now).await)
    }

    /// The jobs whose files have to go, in order.
    async fn removed(&self) -> Result<Vec<JobId>, UseCaseError> {
        let mut all = Vec::new();
        loop {
            let after = all.last().copied();
            let page = self.ports.jobs.removed(after, REMOVED_AT_ONCE).await?;
            if page.is_empty() {
                all.sort_unstable();
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Deletes the files of jobs that were removed, and forgets those that have none any more.
    async fn sweep_removed(
        &self,
        removed: &[JobId],
        folders: &Folders,
        now: Timestamp,
    ) -> Result<(), UseCaseError> {
        let mut outcome = Ok(());
        for id in removed {
            if let Some(folder) = folders.get(id) {
                tracing::info!(job = %id, "files of an export that is over are deleted");
                outcome = outcome.and(self.delete_forsaken(*id, folder).await);
            }
        }
        let gone = removed.iter().filter(|id| !folders.contains_key(id));
        let settled = self.memory.settled(gone.copied(), now);
        if !settled.is_empty() {
            self.ports.jobs.forget(&settled).await?;
        }
        outcome
    }

    /// Leaves alone what the jobs do not know, and tells the operator now and then.
    fn tell_of_unknown(&self, unknown: &[JobId], now: Timestamp) {
        for id in unknown {
            self.memory.remember(*id, Seen::Unknown, now);
        }
        if !unknown.is_empty() && self.memory.may_tell(now) {
            tracing::warn!(
                exports = unknown.len(),
                "files of exports that the database does not know are left alone: the database may be older than they are, as after a restore. Where nobody needs them, 'ehi-server adopt-files' has them deleted"
            );
        }
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
            self.memory.remember(job.id, Seen::Clean, now);
        }
        outcome.and(strays.map(drop))
    }

    async fn owns_its_files(&self) -> Result<bool, UseCaseError> {
        let (jobs, files) = (&*self.ports.jobs, &*self.ports.files);
        match belong_together(jobs, files).await {
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
