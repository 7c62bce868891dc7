//! Export jobs in memory.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use ehi_core::export::{Claim, ExportJob, JobId, Progress, WorkerId};
use ehi_core::ports::{JobFilter, JobStore, Page, StoreError};
use jiff::Timestamp;
use tokio::sync::watch;

use super::lock;

/// Export jobs in memory.
#[derive(Debug)]
pub struct MemoryJobs {
    jobs: Mutex<HashMap<JobId, ExportJob>>,
    changed: watch::Sender<()>,
}

impl Default for MemoryJobs {
    fn default() -> Self {
        Self {
            jobs: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

#[async_trait]
impl JobStore for MemoryJobs {
    async fn insert(&self, job: &ExportJob) -> Result<(), StoreError> {
        let mut jobs = lock(&self.jobs);
        if jobs.contains_key(&job.id) {
            return Err(StoreError::Conflict);
        }
        jobs.insert(job.id, job.clone());
        self.changed.send_replace(());
        Ok(())
    }

    async fn get(&self, id: JobId) -> Result<Option<ExportJob>, StoreError> {
        Ok(lock(&self.jobs).get(&id).cloned())
    }

    async fn update(&self, job: &ExportJob) -> Result<ExportJob, StoreError> {
        let mut jobs = lock(&self.jobs);
        let stored = jobs.get_mut(&job.id).ok_or(StoreError::NotFound)?;
        if stored.version() != job.version() {
            return Err(StoreError::Conflict);
        }
        *stored = job.clone().next_version();
        self.changed.send_replace(());
        Ok(stored.clone())
    }

    async fn list(&self, filter: &JobFilter, page: Page) -> Result<Vec<ExportJob>, StoreError> {
        let jobs = lock(&self.jobs);
        let mut matching: Vec<&ExportJob> = (jobs.values())
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

    async fn remove(&self, id: JobId) -> Result<Option<ExportJob>, StoreError> {
        Ok(lock(&self.jobs).remove(&id))
    }

    async fn claim(
        &self,
        worker: &WorkerId,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<ExportJob>, StoreError> {
        let mut jobs = lock(&self.jobs);
        let next = (jobs.values_mut())
            .filter(|job| job.is_claimable(now))
            .min_by_key(|job| job.cursor());
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
        let job = jobs.get_mut(&claim.job).ok_or(StoreError::NotFound)?;
        job.renew(claim, until, progress)
            .map_err(|_| StoreError::Conflict)
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
