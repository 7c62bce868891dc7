//! How slow the other side may be.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How patient we are with the other side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long it may let us wait at most.
    pub longest: Duration,
    /// Who sends or takes fewer bytes a second uses up that time bit by bit.
    pub bytes_per_second: u64,
}

/// The time that the other side of a transfer may still let us wait. Every byte that moves earns
/// some, up to where it began; waiting uses it. So neither a standstill nor a trickle goes on for
/// ever, while a slow line that keeps going may take as long as it needs.
#[derive(Debug)]
pub struct Pace {
    patience: Patience,
    left: Duration,
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Nobody had to wait yet.
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            left: patience.longest,
            since: None,
            alarm: None,
        }
    }

    /// The other side did something: so many bytes moved.
    pub fn moved(&mut self, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        let rate = self.patience.bytes_per_second.max(1);
        let earned = (bytes as u64).saturating_mul(1_000_000_000) / rate;
        let earned = Duration::from_nanos(earned);
        self.left = (self.left + earned).min(self.patience.longest);
    }

    /// The other side lets us wait. Ready once that was too long.
    pub fn waits(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(now + self.left),
                none => *none = Some(Box::pin(sleep(self.left))),
            }
        }
        match &mut self.alarm {
            Some(alarm) => alarm.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::time::{advance, timeout};

    const PATIENCE: Patience = Patience {
        longest: Duration::from_secs(30),
        bytes_per_second: 1_000,
    };

    /// Lets it wait so long; whether that was too long.
    async fn waits(pace: &mut Pace, seconds: u64) -> bool {
        let wait = poll_fn(|context| pace.waits(context));
        timeout(Duration::from_secs(seconds), wait).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_standstill_ends() {
        let mut pace = Pace::new(PATIENCE);
        assert!(!waits(&mut pace, 29).await);
        assert!(waits(&mut pace, 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_and_a_slow_line_goes_on() {
        let mut pace = Pace::new(PATIENCE);
        let mut lasted = 0;
        while !waits(&mut pace, 10).await {
            lasted += 10;
            pace.moved(1);
            assert!(lasted < 100, "a byte every ten seconds goes on for ever");
        }
        let mut pace = Pace::new(PATIENCE);
        for _ in 0..1_000 {
            assert!(!waits(&mut pace, 10).await);
            pace.moved(10_000);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_time_is_not_theirs() {
        let mut pace = Pace::new(PATIENCE);
        for _ in 0..100 {
            assert!(!waits(&mut pace, 1).await);
            pace.moved(1_000);
            advance(Duration::from_mins(1)).await;
        }
    }
}
