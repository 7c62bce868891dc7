//! Waiting for what will come, with an end to patience.

use std::time::{Duration, Instant};

/// How often to look: well below ten times a second, above which the server may refuse.
const PAUSE: Duration = Duration::from_millis(200);
/// How long to wait at most.
const PATIENCE: Duration = Duration::from_mins(1);

/// Looks until there is something.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let deadline = Instant::now() + PATIENCE;
    async move {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < deadline, "still waiting for {what}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
