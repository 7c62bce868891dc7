//! What the provider publishes, kept for a while.

use std::sync::Arc;

use ehi_core::ports::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

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

/// Something fetched, and how the last attempt went. Whoever fetches holds it, and the others wait
/// for what comes.
#[derive(Debug)]
pub(super) struct Kept<T> {
    state: Arc<Mutex<State<T>>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<(Arc<T>, Timestamp)>,
    failed_at: Option<Timestamp>,
}

impl<T: Send + Sync + 'static> Kept<T> {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            value: None,
            failed_at: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            clock,
        }
    }

    /// What is kept, fetched anew where it is old or does not fit. What is returned may not fit
    /// either.
    pub(super) async fn get(
        &self,
        fits: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<Arc<T>, Fault> {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let now = self.clock.now();
        if let Some(value) = state.younger_than(FRESH, now)
            && (fits(&value) || state.younger_than(AGAIN, now).is_some())
        {
            return Ok(value);
        }
        let failed = state
            .failed_at
            .is_some_and(|at| now.duration_since(at) < PAUSE);
        if failed {
            let fault = Fault::Away("it did not answer a moment ago".into());
            return state.younger_than(STALE, now).ok_or(fault);
        }
        let clock = Arc::clone(&self.clock);
        // Whoever asked may hang up. The fetch goes on and is remembered, so that nobody brings
        // about more of them that way.
        let fetched = tokio::spawn(async move {
            let fetched = fetch.await;
            // By now, those who waited meanwhile would wait as long again.
            state.take(fetched, clock.now())
        });
        fetched.await.map_err(|error| Fault::Away(error.into()))?
    }
}

impl<T> State<T> {
    /// Remembers how a fetch went.
    fn take(&mut self, fetched: Result<T, Fault>, now: Timestamp) -> Result<Arc<T>, Fault> {
        match fetched {
            Ok(value) => {
                let value = Arc::new(value);
                self.value = Some((Arc::clone(&value), now));
                self.failed_at = None;
                Ok(value)
            }
            Err(fault) => {
                self.failed_at = Some(now);
                self.younger_than(STALE, now).ok_or(fault)
            }
        }
    }

    fn younger_than(&self, age: SignedDuration, now: Timestamp) -> Option<Arc<T>> {
        let (value, at) = self.value.as_ref()?;
        (now.duration_since(*at) < age).then(|| Arc::clone(value))
    }
}

#[cfg(test)]
mod tests {
    use ehi_core::testkit::{FixedClock, at};
    use tokio::sync::oneshot;

    use super::*;

    fn away() -> Fault {
        Fault::Away("silent".into())
    }

    #[tokio::test]
    async fn those_who_wait_for_a_silent_provider_share_its_one_failure() {
        let clock = Arc::new(FixedClock::at(at(0)));
        let kept = Kept::<u8>::new(clock.clone());
        let first = kept.get(|_| true, async move {
            // It takes longer than the pause.
            clock.set(at(10));
            Err(away())
        });
        let second = kept.get(|_| true, async { Ok(2) });
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err() && second.is_err());
    }

    #[tokio::test]
    async fn whoever_hangs_up_brings_about_no_second_fetch() {
        let kept = Arc::new(Kept::<u8>::new(Arc::new(FixedClock::at(at(0)))));
        let (begun, begins) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let asking = Arc::clone(&kept);
        let gone = tokio::spawn(async move {
            let fetch = async move {
                begun.send(()).unwrap();
                answered.await.map_err(|_| away())
            };
            asking.get(|_| true, fetch).await
        });
        begins.await.unwrap();
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        let second = kept.get(|_| true, async { Ok(2) });
        let (sent, second) = tokio::join!(async { answer.send(1) }, second);
        assert_eq!((sent, *second.unwrap()), (Ok(()), 1));
    }
}
