//! The system's clock and randomness.

use std::time::Duration;

use async_trait::async_trait;
use ehi_core::ports::{Clock, Entropy};
use jiff::Timestamp;

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place where time comes from"
        )]
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        if let Err(error) = getrandom::fill(&mut bytes) {
            // Going on without randomness would hand out guessable tokens.
            panic!("the operating system gives no randomness: {error}");
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    ehi_core::clock_contract!(std::future::ready((SystemClock, ())));
    ehi_core::entropy_contract!(std::future::ready((SystemEntropy, ())));
}
