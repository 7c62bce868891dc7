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
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use ehi_core::export::{Choices, Interaction, Status};
    use ehi_core::testkit::{at, job, kickoff};

    fn numbered(number: u8, made: i64) -> ExportJob {
        ExportJob::kick_off(
            JobId::from_random([number; 32]),
            kickoff(Interaction::None),
            at(made),
        )
    }

    const LEASE: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_lost_update_is_refused() {
        let store = MemoryJobs::default();
        let first = job(Interaction::Form);
        store.insert(&first).await.unwrap();
        assert!(matches!(
            store.insert(&first).await,
            Err(StoreError::Conflict)
        ));
        let mut second = store.get(first.id).await.unwrap().unwrap();
        second.customise(Choices::whole_record(), at(1)).unwrap();
        let stored = store.update(&second).await.unwrap();
        assert!(matches!(
            store.update(&first).await,
            Err(StoreError::Conflict)
        ));
        assert!(matches!(
            store.update(&second).await,
            Err(StoreError::Conflict)
        ));
        assert!(store.update(&stored).await.is_ok());
        assert_eq!(
            store.remove(first.id).await.unwrap().unwrap().status(),
            Status::Requested
        );
        assert!(matches!(
            store.update(&stored).await,
            Err(StoreError::NotFound)
        ));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_workers_get_each_job_exactly_once() {
        let store = Arc::new(MemoryJobs::default());
        for number in 0..100 {
            store
                .insert(&numbered(number, number.into()))
                .await
                .unwrap();
        }
        let worker = |number: u8| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut got = Vec::new();
                let name = WorkerId(format!("w{number}"));
                while let Some(job) = store.claim(&name, at(1_000), LEASE).await.unwrap() {
                    got.push(job.id);
                }
                got
            })
        };
        let workers: Vec<_> = (0..16).map(worker).collect();
        let mut got = Vec::new();
        for worker in workers {
            got.extend(worker.await.unwrap());
        }
        assert_eq!(
            (got.len(), got.iter().collect::<HashSet<_>>().len()),
            (100, 100)
        );
    }

    #[tokio::test]
    async fn a_lease_that_ran_out_passes_on_and_the_late_worker_is_refused() {
        let store = MemoryJobs::default();
        store.insert(&numbered(1, 0)).await.unwrap();
        let (slow, fast) = (WorkerId("slow".into()), WorkerId("fast".into()));
        let late = store.claim(&slow, at(0), LEASE).await.unwrap().unwrap();
        assert!(store.claim(&fast, at(59), LEASE).await.unwrap().is_none());
        let claim = late.current_claim().unwrap();
        store
            .renew(
                claim,
                at(90),
                Progress {
                    resources: 5,
                    bytes: 50,
                },
            )
            .await
            .unwrap();
        assert!(store.claim(&fast, at(89), LEASE).await.unwrap().is_none());
        store.claim(&fast, at(90), LEASE).await.unwrap().unwrap();
        assert!(matches!(
            store.renew(claim, at(200), Progress::default()).await,
            Err(StoreError::Conflict)
        ));
        assert!(matches!(
            store.update(&late).await,
            Err(StoreError::Conflict)
        ));
    }

    #[tokio::test]
    async fn renewing_does_not_get_in_the_way_of_the_result() {
        let store = MemoryJobs::default();
        store.insert(&numbered(1, 0)).await.unwrap();
        let job = store
            .claim(&WorkerId("w".into()), at(0), LEASE)
            .await
            .unwrap()
            .unwrap();
        store
            .renew(job.current_claim().unwrap(), at(100), Progress::default())
            .await
            .unwrap();
        assert!(store.update(&job).await.is_ok());
    }

    #[tokio::test]
    async fn the_oldest_job_is_claimed_first_and_the_newest_listed_first() {
        let store = MemoryJobs::default();
        for (number, made) in [(1, 20), (2, 10), (3, 30)] {
            store.insert(&numbered(number, made)).await.unwrap();
        }
        let all = store
            .list(&JobFilter::default(), Page::default())
            .await
            .unwrap();
        assert_eq!(
            all.iter().map(|job| job.created_at).collect::<Vec<_>>(),
            [at(30), at(20), at(10)]
        );
        let page = Page {
            limit: Some(2),
            after: None,
        };
        let first = store.list(&JobFilter::default(), page).await.unwrap();
        let page = Page {
            after: Some(first[1].cursor()),
            ..page
        };
        let second = store.list(&JobFilter::default(), page).await.unwrap();
        assert_eq!(
            (first.len(), second.len(), second[0].created_at),
            (2, 1, at(10))
        );
        let claimed = store
            .claim(&WorkerId("w".into()), at(40), LEASE)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(claimed.created_at, at(10));
        let waiting = JobFilter {
            status: Some(Status::AwaitingInput),
            patient: None,
        };
        assert!(
            store
                .list(&waiting, Page::default())
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_new_job_wakes_whoever_waits() {
        let store = MemoryJobs::default();
        let mut changes = store.subscribe();
        store.insert(&numbered(1, 0)).await.unwrap();
        changes.changed().await.unwrap();
    }
}
