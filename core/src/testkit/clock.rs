//! Time and randomness under a test's control.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::ports::{Clock, Entropy};

/// A clock that stands until it is set.
#[derive(Debug)]
pub struct FixedClock(watch::Sender<Timestamp>);

impl FixedClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(watch::Sender::new(now))
    }

    /// Sets the clock. Whoever sleeps until then wakes up.
    pub fn set(&self, now: Timestamp) {
        self.0.send_replace(now);
    }
}

#[async_trait]
impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let until = self
            .now()
            .saturating_add(duration)
            .unwrap_or(Timestamp::MAX);
        // The sender lives as long as the clock, so this ends only when the time has come.
        let _ = self.0.subscribe().wait_for(|now| *now >= until).await;
    }
}

/// Randomness that repeats itself from run to run. Never for real secrets.
#[derive(Debug, Default)]
pub struct SeededEntropy(AtomicU64);

impl Entropy for SeededEntropy {
    fn bytes(&self) -> [u8; 32] {
        let step = self.0.fetch_add(1, Ordering::Relaxed);
        Sha256::digest(step.to_be_bytes()).into()
    }
}
