//! Takes jobs from the queue and runs them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{self, Either};
use futures::{FutureExt, pin_mut};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::exporter::{Counter, Exporter};
use super::{Claim, ExportError, ExportJob, Patience, Status, WorkerId};
use crate::ports::{Action, AuditEvent, AuditLog, By, Clock, FileError, JobStore, StoreError};

/// How a worker works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerSettings {
    /// How long a claim holds without a sign of life.
    pub lease: Duration,
    /// How often a running export reports its progress, and learns whether it was taken back;
    /// well below the lease.
    pub heartbeat: Duration,
    /// How long an export may go without anything coming from its source.
    pub stall: SignedDuration,
    /// How often to look for work that nobody announced, such as a lease that ran out.
    pub poll: Duration,
    /// How often an export is tried.
    pub patience: Patience,
}

impl WorkerSettings {
    /// As usual, but for a claim that holds so long without a sign of life.
    pub fn with_lease(lease: Duration) -> Self {
        let usual = Self::default();
        Self {
            lease,
            heartbeat: usual.heartbeat.min(lease / 4),
            poll: usual.poll.min(lease),
            ..usual
        }
    }
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            // Twice within the second in which an export that was taken back has to stop.
            heartbeat: Duration::from_millis(500),
            stall: SignedDuration::from_mins(15),
            poll: Duration::from_secs(5),
            patience: Patience {
                attempts: 5,
                pause: Duration::from_secs(2),
            },
        }
    }
}

/// What a worker is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Take one job after the other.
    Work,
    /// Bring the export that runs to its end, and take no other.
    Finish,
    /// Give the export that runs back to the queue.
    Stop,
}

/// Runs one export after the other.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its name in claims and logs.
    pub id: WorkerId,
    /// The queue.
    pub jobs: Arc<dyn JobStore>,
    /// Who released what.
    pub audit: Arc<dyn AuditLog>,
    /// What runs an export.
    pub exporter: Exporter,
    /// How it works.
    pub settings: WorkerSettings,
}

/// Why a claim is not renewed any more.
enum End {
    Lost,
    Stalled,
}

/// What became of a running attempt.
enum Outcome<T> {
    Finished(T),
    /// The job was removed, declined, or claimed by somebody else.
    Lost,
    /// The worker has to stop.
    Stopped,
}

impl Worker {
    /// Works for as long as that is its duty.
    pub async fn run(&self, mut duty: watch::Receiver<Duty>) {
        let mut changes = self.jobs.subscribe();
        while is_to(&duty, Duty::Work) {
            match self.work(&mut duty).await {
                Ok(true) => {}
                Ok(false) => {
                    let poll = self.clock().sleep(self.settings.poll);
                    let work = changed(&mut changes);
                    let stopped = told(&mut duty, Duty::Finish);
                    pin_mut!(work, stopped);
                    future::select(future::select(poll, work), stopped).await;
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the queue cannot be reached"
                    );
                    let poll = self.clock().sleep(self.settings.poll);
                    let stopped = told(&mut duty, Duty::Finish);
                    pin_mut!(stopped);
                    future::select(poll, stopped).await;
                }
            }
        }
    }

    /// Takes one job and runs it. `false` when there is none.
    pub async fn work(&self, duty: &mut watch::Receiver<Duty>) -> Result<bool, StoreError> {
        let now = self.clock().now();
        let Some(job) = self.jobs.claim(&self.id, now, self.settings.lease).await? else {
            return Ok(false);
        };
        let Some(claim) = job.current_claim().cloned() else {
            return Ok(false);
        };
        if job.tries() > self.settings.patience.attempts {
            // Every attempt before ended without a word: this export takes its workers down.
            self.bury(job).await?;
            return Ok(true);
        }
        tracing::info!(job = %job.id, attempt = claim.attempt, "export begins");
        self.attempt(job, &claim, duty).await?;
        Ok(true)
    }

    /// Gives up a job whose attempts never came to an end.
    async fn bury(&self, mut job: ExportJob) -> Result<(), StoreError> {
        tracing::error!(job = %job.id, "no attempt of this export came to an end; it is given up");
        let reason = reason(&ExportError::Interrupted);
        if job.give_up(reason, self.clock().now()).is_err() {
            return Ok(());
        }
        match self.jobs.update(&job).await {
            Err(StoreError::Conflict | StoreError::NotFound) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn attempt(
        &self,
        mut job: ExportJob,
        claim: &Claim,
        duty: &mut watch::Receiver<Duty>,
    ) -> Result<(), StoreError> {
        let counter = Counter::default();
        let outcome = self.run_claimed(&job, claim, &counter, duty).await;
        let now = self.clock().now();
        let transition = match outcome {
            Outcome::Finished(Ok((export, documents))) => {
                tracing::info!(job = %job.id, files = export.files.len(), "export done");
                job.retrieved(export, documents, now)
            }
            Outcome::Finished(Err(error)) => {
                tracing::warn!(job = %job.id, attempt = claim.attempt, error = &error as &dyn std::error::Error, "export attempt failed");
                if error.may_pass() {
                    job.attempt_failed(reason(&error), self.settings.patience, now)
                } else {
                    job.give_up(reason(&error), now)
                }
            }
            Outcome::Stopped => {
                tracing::info!(job = %job.id, "export is given back to the queue");
                job.release(now)
            }
            Outcome::Lost => {
                tracing::info!(job = %job.id, "export was taken away");
                self.discard(&job, claim).await;
                return Ok(());
            }
        };
        // The job was claimed by us, so the transition applies; whether it still is ours is what
        // the store decides.
        if transition.is_err() || job.export().is_none() {
            self.discard(&job, claim).await;
        }
        match self.settle(&job, claim, &counter, duty).await {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict | StoreError::NotFound) => {
                self.discard(&job, claim).await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps what became of an attempt. `Conflict` or `NotFound` when somebody else has the job,
    /// or when it was kept already by a try that nobody answered.
    async fn settle(
        &self,
        job: &ExportJob,
        claim: &Claim,
        counter: &Counter,
        duty: &mut watch::Receiver<Duty>,
    ) -> Result<(), StoreError> {
        if job.status() == Status::Approved {
            // Nobody reviews it, and it is released all the same.
            let event = AuditEvent {
                patient: Some(job.patient.id.clone()),
                job: Some(job.id),
                ..By::server().did(Action::AutoApprove, self.clock().now())
            };
            let release = || self.audit.append(&event);
            self.persist(claim, counter, duty, release).await?;
        }
        let keep = || self.jobs.update(job);
        self.persist(claim, counter, duty, keep).await.map(drop)
    }

    /// Tries something again while the store is away: what was exported is worth waiting for. The
    /// claim is renewed meanwhile, and when that cannot be done for as long as it holds, or the
    /// worker has to stop, somebody else has to export anew.
    async fn persist<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        claim: &Claim,
        counter: &Counter,
        duty: &mut watch::Receiver<Duty>,
        attempt: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let holds = || (self.clock().now()).saturating_add(self.settings.lease);
        let mut until = holds().unwrap_or(Timestamp::MAX);
        loop {
            let cause = match attempt().await {
                Err(StoreError::Unavailable(cause)) => cause,
                done => return done,
            };
            tracing::warn!(job = %claim.job, error = &*cause as &dyn std::error::Error, "what became of an export cannot be kept right now; it is tried again");
            let pause = self.clock().sleep(self.settings.heartbeat);
            let stopped = told(duty, Duty::Stop);
            pin_mut!(stopped);
            if let Either::Right(_) = future::select(pause, stopped).await {
                return Err(StoreError::Unavailable(cause));
            }
            let next = holds().unwrap_or(Timestamp::MAX);
            match self.jobs.renew(claim, next, counter.progress()).await {
                Ok(()) => until = next,
                Err(StoreError::Unavailable(_)) if self.clock().now() < until => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs the export, with a sign of life now and then.
    async fn run_claimed(
        &self,
        job: &ExportJob,
        claim: &Claim,
        counter: &Counter,
        duty: &mut watch::Receiver<Duty>,
    ) -> Outcome<Result<(super::Export, Vec<super::Attachment>), ExportError>> {
        // The run is the largest part of a worker by far; on the heap it makes nobody else large.
        let export = Box::pin(self.exporter.run(job, claim.attempt, counter));
        // A source that panics spoils its own export, not the worker.
        let export = AssertUnwindSafe(export).catch_unwind();
        let alive = self.stay_alive(claim, counter);
        let stopped = told(duty, Duty::Stop);
        pin_mut!(alive, stopped);
        let interrupted = future::select(alive, stopped);
        match future::select(export, interrupted).await {
            Either::Left((Ok(result), _)) => Outcome::Finished(result),
            Either::Left((Err(_), _)) => Outcome::Finished(Err(ExportError::Interrupted)),
            Either::Right((Either::Left((End::Lost, _)), _)) => Outcome::Lost,
            Either::Right((Either::Left((End::Stalled, _)), _)) => {
                Outcome::Finished(Err(ExportError::Stalled))
            }
            Either::Right((Either::Right(_), _)) => Outcome::Stopped,
        }
    }

    /// Renews the claim until it is lost, or nothing was written for too long.
    async fn stay_alive(&self, claim: &Claim, counter: &Counter) -> End {
        let mut last = (counter.signs_of_life(), self.clock().now());
        loop {
            self.clock().sleep(self.settings.heartbeat).await;
            let now = self.clock().now();
            let signs = counter.signs_of_life();
            if signs != last.0 {
                last = (signs, now);
            } else if now.duration_since(last.1) >= self.settings.stall {
                return End::Stalled;
            }
            let Ok(until) = now.saturating_add(self.settings.lease) else {
                return End::Lost;
            };
            match self.jobs.renew(claim, until, counter.progress()).await {
                Ok(()) => {}
                Err(StoreError::Conflict | StoreError::NotFound | StoreError::Unreadable(_)) => {
                    return End::Lost;
                }
                // The store may come back before the lease runs out.
                Err(StoreError::Unavailable(error)) => {
                    tracing::warn!(job = %claim.job, error = &*error as &dyn std::error::Error, "progress could not be reported");
                }
            }
        }
    }

    /// Deletes what a lost or failed attempt wrote, and all there is when the job itself is over:
    /// then nobody else comes for what was written behind its back. An attempt that won after all
    /// keeps its files. What cannot be deleted now, or may not, is left to the sweep.
    async fn discard(&self, job: &ExportJob, claim: &Claim) {
        let folder = match self.jobs.get(job.id).await {
            Ok(None) => job.folder(),
            Ok(Some(stored)) if stored.status() == Status::Rejected => job.folder(),
            Ok(Some(stored)) if stored.is_won_by(claim) => return,
            Ok(Some(_)) => job.attempt_folder(claim.attempt),
            Err(_) => return,
        };
        if let Err(error) = self.exporter.files.delete_prefix(&folder).await {
            tracing::warn!(job = %job.id, error = &error as &dyn std::error::Error, "files of a lost attempt remain");
        }
    }

    fn clock(&self) -> &dyn Clock {
        &*self.exporter.clock
    }
}

impl ExportJob {
    /// Whether its files are those that this claim exported.
    fn is_won_by(&self, claim: &Claim) -> bool {
        (self.export()).is_some_and(|export| export.attempt == claim.attempt)
    }
}

/// Whether this is the duty still. Whoever could say otherwise being gone is as good as being told
/// to stop.
fn is_to(duty: &watch::Receiver<Duty>, what: Duty) -> bool {
    *duty.borrow() == what && duty.has_changed().is_ok()
}

/// Waits until this is the duty, or what goes beyond it.
async fn told(duty: &mut watch::Receiver<Duty>, what: Duty) {
    let _ = duty.wait_for(|duty| *duty >= what).await;
}

/// Waits until there may be work. A store that tells nothing any more leaves that to polling.
async fn changed(changes: &mut watch::Receiver<()>) {
    if changes.changed().await.is_err() {
        future::pending::<()>().await;
    }
}

/// What the app is told of a failed export.
fn reason(error: &ExportError) -> &'static str {
    match error {
        ExportError::Source(_) => "The hospital's record system could not deliver the record.",
        ExportError::Interrupted => "Gathering the record was interrupted again and again.",
        ExportError::Stalled => "The hospital's record system did not answer.",
        ExportError::Files(FileError::Full(_)) => {
            "The hospital's server has no room left for the exported files."
        }
        ExportError::Files(_) => "The exported files could not be stored.",
    }
}

#[cfg(test)]
mod tests;
