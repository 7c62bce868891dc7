//! What clients published, kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ehi_core::auth::{ClientId, ClientKey, ClientKeySet, JwksUri};
use ehi_core::ports::{AssertionError, Cause, Clock};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::Wanted;
use super::fetch::{Fetch, FetchError};

/// Keys are fetched anew after this time: a client that withdraws a key is heard.
const FRESH: Duration = Duration::from_mins(10);

/// While the client's server is away, its keys are good for this long.
const STALE: Duration = Duration::from_hours(1);

/// A key that is not there is looked for again after this time, not before.
const UNKNOWN_KEY: Duration = Duration::from_mins(1);

/// A server that failed is asked again after this time, not before.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What clients published.
#[derive(Debug)]
pub(super) struct Published {
    fetch: Arc<Fetch>,
    clock: Arc<dyn Clock>,
    /// One place for each client. Whoever fetches holds it, and the others wait for what comes.
    clients: std::sync::Mutex<HashMap<ClientId, Arc<Mutex<Place>>>>,
}

/// The keys of one client.
#[derive(Debug, Default)]
struct Place {
    uri: Option<JwksUri>,
    keys: Option<Kept>,
    tried: Option<Try>,
}

/// Keys that were fetched.
#[derive(Debug)]
struct Kept {
    set: ClientKeySet,
    at: Timestamp,
}

/// How the last fetch went.
#[derive(Debug, Clone, Copy)]
struct Try {
    at: Timestamp,
    why: Why,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// There were no keys yet, or old ones.
    Old,
    /// An assertion named a key that was not among them.
    UnknownKey,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Fetched,
    Away,
    Unusable,
}

impl Published {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Result<Self, Cause> {
        Ok(Self {
            fetch: Arc::new(Fetch::new(clock.clone())?),
            clock,
            clients: std::sync::Mutex::default(),
        })
    }

    /// The key that is wanted, fetched where need be.
    pub(super) async fn key(
        &self,
        client: &ClientId,
        uri: &JwksUri,
        wanted: Wanted<'_>,
    ) -> Result<ClientKey, AssertionError> {
        let place = self.place(client);
        let mut place = place.lock_owned().await;
        if place.uri.as_ref() != Some(uri) {
            *place = Place {
                uri: Some(uri.clone()),
                ..Place::default()
            };
        }
        let fresh = place.key_within(wanted, FRESH, self.clock.now());
        if let Some(key) = fresh {
            return Ok(key);
        }
        let outcome = if let Some(outcome) = place.recently_tried(self.clock.now()) {
            outcome
        } else {
            let (fetch, clock) = (self.fetch.clone(), self.clock.clone());
            let (client, uri) = (client.clone(), uri.clone());
            // Whoever asked may hang up. The fetch goes on and is remembered, so that nobody
            // brings about more of them that way.
            let fetched = tokio::spawn(async move {
                let outcome = place.fetch(&fetch, &*clock, &client, &uri).await;
                (place, outcome)
            });
            let fetched = fetched.await;
            let outcome;
            (place, outcome) =
                fetched.map_err(|error| AssertionError::Unavailable(error.into()))?;
            outcome
        };
        let kept_for = match outcome {
            Outcome::Fetched => FRESH,
            Outcome::Away | Outcome::Unusable => STALE,
        };
        let key = place.key_within(wanted, kept_for, self.clock.now());
        key.ok_or_else(|| match outcome {
            Outcome::Away => AssertionError::Unavailable(
                "the server that publishes the client's keys is away".into(),
            ),
            Outcome::Fetched | Outcome::Unusable => AssertionError::Invalid,
        })
    }

    fn place(&self, client: &ClientId) -> Arc<Mutex<Place>> {
        // A panic while the lock was held cannot leave the map half-changed.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.entry(client.clone()).or_default().clone()
    }
}

impl Place {
    async fn fetch(
        &mut self,
        fetch: &Fetch,
        clock: &dyn Clock,
        client: &ClientId,
        uri: &JwksUri,
    ) -> Outcome {
        let why = self.why(clock.now());
        let fetched = fetch.keys(uri).await;
        let at = clock.now();
        let outcome = match fetched {
            Ok(set) => {
                self.keys = Some(Kept { set, at });
                Outcome::Fetched
            }
            Err(error) => {
                // Once for each fetch, so nobody can flood the log by asking.
                tracing::warn!(client = %client, error = &error as &dyn std::error::Error, "the keys of a client cannot be fetched");
                match error {
                    FetchError::Away(_) => Outcome::Away,
                    _ => Outcome::Unusable,
                }
            }
        };
        self.tried = Some(Try { at, why, outcome });
        outcome
    }

    fn key_within(&self, wanted: Wanted<'_>, age: Duration, now: Timestamp) -> Option<ClientKey> {
        let kept = self.keys.as_ref()?;
        let young = is_within(kept.at, age, now);
        let key = kept.set.find(wanted.kid, wanted.algorithm);
        key.filter(|_| young).cloned()
    }

    fn why(&self, now: Timestamp) -> Why {
        let kept = self.keys.as_ref();
        if kept.is_some_and(|kept| is_within(kept.at, FRESH, now)) {
            Why::UnknownKey
        } else {
            Why::Old
        }
    }

    /// How the last fetch went, where it is too early for another one.
    fn recently_tried(&self, now: Timestamp) -> Option<Outcome> {
        let tried = self.tried?;
        let pause = match (tried.outcome, tried.why) {
            (Outcome::Fetched, Why::UnknownKey) => UNKNOWN_KEY,
            // The client may have changed its keys since.
            (Outcome::Fetched, Why::Old) => return None,
            (Outcome::Away | Outcome::Unusable, _) => AFTER_FAILURE,
        };
        is_within(tried.at, pause, now).then_some(tried.outcome)
    }
}

fn is_within(since: Timestamp, age: Duration, now: Timestamp) -> bool {
    since.saturating_add(age).is_ok_and(|until| now < until)
}
