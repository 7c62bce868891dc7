//! Export jobs in memory.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use ehi_core::auth::ClientId;
use ehi_core::export::{
    Claim, DeploymentId, ExportJob, JobId, LastTurns, Progress, Status, Turn, WorkerId,
};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{JobFilter, JobStore, OpenJobs, Page, StoreError};
use jiff::Timestamp;
use tokio::sync::watch;

use super::lock;

/// Export jobs in memory.
#[derive(Debug)]
pub struct MemoryJobs {
    jobs: Mutex<Jobs>,
    deployment: OnceLock<DeploymentId>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Jobs {
    by_id: HashMap<JobId, ExportJob>,
    /// The place in the queue of each job that waits for a worker, or did.
    turns: HashMap<JobId, Turn>,
    /// Whose files have to go.
    removed: BTreeSet<JobId>,
}

impl Jobs {
    /// Keeps a job, and gives it its turn when it has to have one.
    fn keep(&mut self, job: ExportJob) {
        if let Some(due) = job
            .first_due()
            .filter(|_| !self.turns.contains_key(&job.id))
        {
            let mut last = LastTurns::default();
            let waiting = (self.by_id.values()).filter(|job| job.status() == Status::Requested);
            for other in waiting {
                let Some(turn) = self.turns.get(&other.id) else {
                    continue;
                };
                if other.patient.id == job.patient.id {
                    last.of_patient = last.of_patient.max(Some(turn.at));
                }
                if other.requester.client() == job.requester.client() {
                    last.of_client = last.of_client.max(turn.of_client);
                }
            }
            self.turns.insert(job.id, Turn::new(due, last));
        }
        self.by_id.insert(job.id, job);
    }
}

impl Default for MemoryJobs {
    fn default() -> Self {
        Self {
            jobs: Mutex::default(),
            deployment: OnceLock::new(),
            changed: watch::Sender::new(()),
        }
    }
}

#[async_trait]
impl JobStore for MemoryJobs {
    async fn insert(&self, job: &ExportJob) -> Result<(), StoreError> {
        let mut jobs = lock(&self.jobs);
        if jobs.by_id.contains_key(&job.id) {
            return Err(StoreError::Conflict);
        }
        jobs.keep(job.clone());
        self.changed.send_replace(());
        Ok(())
    }

    async fn get(&self, id: JobId) -> Result<Option<ExportJob>, StoreError> {
        Ok(lock(&self.jobs).by_id.get(&id).cloned())
    }

    async fn update(&self, job: &ExportJob) -> Result<ExportJob, StoreError> {
        let mut jobs = lock(&self.jobs);
        let stored = jobs.by_id.get(&job.id).ok_or(StoreError::NotFound)?;
        if stored.version() != job.version() {
            return Err(StoreError::Conflict);
        }
        let next = job.clone().next_version();
        jobs.keep(next.clone());
        self.changed.send_replace(());
        Ok(next)
    }

    async fn list(&self, filter: &JobFilter, page: Page) -> Result<Vec<ExportJob>, StoreError> {
        let jobs = lock(&self.jobs);
        let mut matching: Vec<&ExportJob> = (jobs.by_id.values())
            .filter(|job| filter.status.is_none_or(|status| job.status() == status))
            .filter(|job| {
                filter
                    .patient
                    .as_ref()
                    .is_none_or(|patient| job.patient.id == *patient)
            })
            .filter(|job| page.after.is_none_or(|after| job.cursor() < after))
            .collect();
        matching.sort_unstable_by_key(|job| Reverse(job.cursor()));
        matching.truncate(page.limit.unwrap_or(usize::MAX));
        Ok(matching.into_iter().cloned().collect())
    }

    async fn remove(&self, job: &ExportJob) -> Result<ExportJob, StoreError> {
        let mut jobs = lock(&self.jobs);
        let stored = jobs.by_id.get(&job.id).ok_or(StoreError::NotFound)?;
        if stored.version() != job.version() {
            return Err(StoreError::Conflict);
        }
        jobs.turns.remove(&job.id);
        jobs.removed.insert(job.id);
        jobs.by_id.remove(&job.id).ok_or(StoreError::NotFound)
    }

    async fn removed(&self, after: Option<JobId>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let behind = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let jobs = lock(&self.jobs);
        Ok((jobs.removed.range(behind)).take(limit).copied().collect())
    }

    async fn forget(&self, ids: &[JobId]) -> Result<(), StoreError> {
        let mut jobs = lock(&self.jobs);
        for id in ids {
            jobs.removed.remove(id);
        }
        Ok(())
    }

    async fn disown(&self, ids: &[JobId]) -> Result<usize, StoreError> {
        let mut jobs = lock(&self.jobs);
        let Jobs { by_id, removed, .. } = &mut *jobs;
        let unknown: BTreeSet<JobId> = (ids.iter().copied())
            .filter(|id| !by_id.contains_key(id))
            .collect();
        removed.extend(&unknown);
        Ok(unknown.len())
    }

    async fn open_jobs(
        &self,
        patient: &PatientId,
        client: &ClientId,
    ) -> Result<OpenJobs, StoreError> {
        let jobs = lock(&self.jobs);
        let mut open = OpenJobs::default();
        for job in jobs.by_id.values() {
            if Status::OPEN.contains(&job.status()) {
                let of_client = job.requester.client() == client;
                open.of_patient += u64::from(of_client && job.patient.id == *patient);
                open.of_client += u64::from(of_client);
            }
        }
        Ok(open)
    }

    async fn overdue(
        &self,
        status: Status,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<ExportJob>, StoreError> {
        let jobs = lock(&self.jobs);
        let mut overdue: Vec<&ExportJob> = (jobs.by_id.values())
            .filter(|job| job.status() == status && job.since() <= until)
            .collect();
        overdue.sort_unstable_by_key(|job| job.since());
        overdue.truncate(limit);
        Ok(overdue.into_iter().cloned().collect())
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<ExportJob>, StoreError> {
        let mut jobs = lock(&self.jobs);
        let Jobs { by_id, turns, .. } = &mut *jobs;
        let next = (by_id.values_mut())
            .filter(|job| job.is_claimable(now))
            .min_by_key(|job| (turns.get(&job.id).map(|turn| turn.at), job.id));
        let Some(job) = next else {
            return Ok(None);
        };
        let until = now.saturating_add(lease).unwrap_or(Timestamp::MAX);
        let mut claimed = job.clone();
        if claimed.claim(worker, now, until).is_err() {
            return Ok(None);
        }
        *job = claimed.next_version();
        Ok(Some(job.clone()))
    }

    async fn renew(
        &self,
        claim: &Claim,
        until: Timestamp,
        progress: Progress,
    ) -> Result<(), StoreError> {
        let mut jobs = lock(&self.jobs);
        let job = jobs.by_id.get_mut(&claim.job).ok_or(StoreError::NotFound)?;
        job.renew(claim, until, progress)
            .map_err(|_| StoreError::Conflict)
    }

    async fn deployment(&self) -> Result<Option<DeploymentId>, StoreError> {
        Ok(self.deployment.get().copied())
    }

    async fn name_deployment(&self, new: DeploymentId) -> Result<DeploymentId, StoreError> {
        Ok(*self.deployment.get_or_init(|| new))
    }

    async fn rehearse(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    ehi_core::job_store_contract!(async { (MemoryJobs::default(), ()) });
}
