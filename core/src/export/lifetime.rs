//! When jobs and their files go.

use std::time::Duration;

use jiff::Timestamp;

use super::{ExportJob, Status};

/// How long jobs live in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// A job whose form nobody filled in, from its kick-off.
    pub unfinished: Duration,
    /// An export nobody reviewed, from its retrieval.
    pub unreviewed: Duration,
    /// An approved export, from its approval.
    pub finished: Duration,
    /// What remains of a rejected or failed job, so that its app learns why.
    pub tombstone: Duration,
}

impl Lifetimes {
    /// The states that do not last.
    pub const PASSING: [Status; 5] = [
        Status::AwaitingInput,
        Status::Retrieved,
        Status::Approved,
        Status::Rejected,
        Status::Failed,
    ];

    /// How long a job lives in this state. `None` while an export is waiting for a worker or
    /// running: that ends by itself.
    pub fn in_state(&self, status: Status) -> Option<Duration> {
        match status {
            Status::AwaitingInput => Some(self.unfinished),
            Status::Requested => None,
            Status::Retrieved => Some(self.unreviewed),
            Status::Approved => Some(self.finished),
            Status::Rejected | Status::Failed => Some(self.tombstone),
        }
    }

    /// When the job expires; `None` where it does not.
    pub fn expiry(&self, job: &ExportJob) -> Option<Timestamp> {
        let lifetime = self.in_state(job.status())?;
        Some(
            job.since()
                .saturating_add(lifetime)
                .unwrap_or(Timestamp::MAX),
        )
    }
}
