//! The sweep: removes what expired, and what servers that died left behind.

use super::service::{ExportService, UseCaseError};
use super::{ExportJob, JobId};
use crate::ports::{Action, By, FilePath, JobFilter, Page};

impl ExportService {
    /// Removes jobs that expired, and files that nobody can come for any more: a server may have
    /// died in the middle. Returns how many jobs expired. What could not be removed is left to
    /// the next sweep.
    pub async fn sweep(&self) -> Result<usize, UseCaseError> {
        let removed = self.sweep_expired().await?;
        self.sweep_orphans().await?;
        let unfinished = self.ports.files.sweep_unfinished().await?;
        if unfinished > 0 {
            tracing::info!(unfinished, "half-written files were deleted");
        }
        Ok(removed)
    }

    async fn sweep_expired(&self) -> Result<usize, UseCaseError> {
        let now = self.ports.clock.now();
        let jobs = self
            .ports
            .jobs
            .list(&JobFilter::default(), Page::default())
            .await?;
        let mut removed = 0;
        for job in jobs.iter().filter(|job| self.is_expired(job, now)) {
            match self.remove_as(By::server(), Action::Expire, job).await {
                Ok(_) => removed += 1,
                // Somebody else was faster.
                Err(UseCaseError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Deletes the files of jobs that are not there, and of attempts that came to nothing. A job
    /// is there before its first file, so none that begins meanwhile is touched.
    async fn sweep_orphans(&self) -> Result<(), UseCaseError> {
        let mut outcome = Ok(());
        for folder in self.ports.files.folders().await? {
            let Some(id) = JobId::parse(folder.as_str()) else {
                continue;
            };
            let orphans = match self.ports.jobs.get(id).await? {
                Some(job) => job.forsaken_folders(),
                None => vec![folder],
            };
            for folder in orphans {
                // One that cannot be deleted does not keep the others.
                if let Err(error) = self.ports.files.delete_prefix(&folder).await {
                    tracing::warn!(job = %id, error = &error as &dyn std::error::Error, "files that nobody can fetch remain");
                    outcome = Err(error.into());
                }
            }
        }
        outcome
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
