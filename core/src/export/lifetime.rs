//! When jobs and their files go.

use std::time::Duration;

use jiff::Timestamp;

use super::{ExportJob, JobState};

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
    /// When the job expires. `None` while an export is waiting for a worker or running: that ends
    /// by itself.
    pub fn expiry(&self, job: &ExportJob) -> Option<Timestamp> {
        let (since, lifetime) = match job.state() {
            JobState::AwaitingInput => (job.created_at, self.unfinished),
            JobState::Requested { .. } => return None,
            JobState::Retrieved { at, .. } => (*at, self.unreviewed),
            JobState::Approved { at, .. } => (*at, self.finished),
            JobState::Rejected { at, .. } | JobState::Failed { at, .. } => (*at, self.tombstone),
        };
        Some(since.saturating_add(lifetime).unwrap_or(Timestamp::MAX))
    }
}
