//! The memory of wrong passwords.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::auth::{Attempt, Patience, Turn, Verdict};

/// Remembers who guessed passwords where, for every replica. What to make of it is a
/// [`Tally`](crate::auth::Tally)'s to say; a store reads one, lets it decide, and keeps what it
/// has become, while nobody else does the same for that account.
///
/// Bounded: where a crowd types names without end, what says least is forgotten first, and last
/// of all where owners logged in.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait GuessStore: Debug + Send + Sync + 'static {
    /// [Begins](crate::auth::Tally::begin) an attempt. Of many at once no more get through than
    /// would one after the other.
    async fn begin(
        &self,
        attempt: &Attempt,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Turn, StoreError>;

    /// [Ends](crate::auth::Tally::end) an attempt.
    async fn end(&self, attempt: Attempt, verdict: Verdict) -> Result<(), StoreError>;

    /// Forgets what [may go](crate::auth::Guesses::may_go).
    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;
}
