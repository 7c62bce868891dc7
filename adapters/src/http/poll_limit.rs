//! Slows down clients that ask for a job's status without end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ehi_core::export::JobId;
use jiff::Timestamp;

/// What is real abuse: more than this many polls a second on one job, sustained.
const PER_SECOND: f64 = 10.0;

/// How many may come at once before that counts.
const BURST: f64 = 100.0;

/// A token bucket for each job that is being polled. Kept by each server for itself: it protects
/// the server, not a promise.
#[derive(Debug, Default)]
pub struct PollLimit(Mutex<HashMap<JobId, Bucket>>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Bucket {
    fn refill(&mut self, now: Timestamp) {
        let seconds = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.tokens = (self.tokens + seconds * PER_SECOND).min(BURST);
        self.at = now;
    }
}

impl PollLimit {
    /// Counts a poll. `false` when there were too many.
    pub fn allows(&self, job: JobId, now: Timestamp) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= 10_000 {
            // A bucket that is full again says nothing.
            buckets.retain(|_, bucket| {
                bucket.refill(now);
                bucket.tokens < BURST
            });
        }
        let full = Bucket {
            tokens: BURST,
            at: now,
        };
        let bucket = buckets.entry(job).or_insert(full);
        bucket.refill(now);
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_polls_a_second_go_on_for_ever_and_a_hundred_do_not() {
        let job = JobId::from_random([1; 32]);
        let start = Timestamp::from_second(1_000_000).unwrap();
        let at = |milliseconds| start + jiff::SignedDuration::from_millis(milliseconds);
        let limit = PollLimit::default();
        assert!((0..10_000).all(|poll| limit.allows(job, at(poll * 100))));
        let later = 10_000 * 100;
        assert!((0..1_000).any(|poll| !limit.allows(job, at(later + poll * 10))));
        assert!(
            limit.allows(JobId::from_random([2; 32]), at(later)),
            "other jobs are not affected"
        );
        assert!(limit.allows(job, at(later + 60_000)), "and it passes");
    }
}
