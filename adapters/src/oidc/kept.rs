//! What the provider publishes, kept for a while.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Fault;

/// So long what was fetched stands.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// So long it stands when nothing newer can be had.
const STALE: SignedDuration = SignedDuration::from_hours(24);
/// What does not fit is fetched anew, and not more often than this: anybody can send a token
/// that names a key which does not exist.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// So long nobody asks a provider that did not answer: many people waiting for it would not help.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// Something fetched, and how the last attempt went.
#[derive(Debug)]
pub(super) struct Kept<T> {
    value: Option<(Arc<T>, Timestamp)>,
    failed_at: Option<Timestamp>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            value: None,
            failed_at: None,
        }
    }
}

impl<T> Kept<T> {
    /// What is kept, fetched anew where it is old or does not fit. What is returned may not fit
    /// either.
    pub(super) async fn get(
        &mut self,
        now: Timestamp,
        fits: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Result<T, Fault>>,
    ) -> Result<Arc<T>, Fault> {
        if let Some(value) = self.younger_than(FRESH, now)
            && (fits(&value) || self.younger_than(AGAIN, now).is_some())
        {
            return Ok(value);
        }
        let failed = self
            .failed_at
            .is_some_and(|at| now.duration_since(at) < PAUSE);
        let fault = if failed {
            Fault::Away("it did not answer a moment ago".into())
        } else {
            match fetch.await {
                Ok(value) => {
                    let value = Arc::new(value);
                    self.value = Some((Arc::clone(&value), now));
                    self.failed_at = None;
                    return Ok(value);
                }
                Err(fault) => {
                    self.failed_at = Some(now);
                    fault
                }
            }
        };
        self.younger_than(STALE, now).ok_or(fault)
    }

    fn younger_than(&self, age: SignedDuration, now: Timestamp) -> Option<Arc<T>> {
        let (value, at) = self.value.as_ref()?;
        (now.duration_since(*at) < age).then(|| Arc::clone(value))
    }
}
