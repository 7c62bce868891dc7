//! Slows down clients that come too often: 429 with an honest `Retry-After` (RFC 6585 section 4).
//!
//! Kept by each server for itself: it protects the process, not a promise. The waits after wrong
//! passwords, which every replica shares, are [`LoginGuard`](ehi_core::auth::LoginGuard)'s.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use ehi_core::auth::{ClientId, Network};
use ehi_core::export::JobId;
use ehi_core::fhir::PatientId;
use jiff::Timestamp;

use super::Shared;
use super::error::{Problem, by_path};
use super::extract::ClientAddress;
use super::refusals::{REMEMBERED, REMEMBERED_OF_ALL, Refused};

/// How often something may be done: so many times at once, and again so many each minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// At once.
    pub burst: u32,
    /// Each minute, on and on.
    pub a_minute: u32,
}

impl Quota {
    /// As many at once as each minute.
    pub const fn a_minute(times: u32) -> Self {
        Self {
            burst: times,
            a_minute: times,
        }
    }
}

/// How often a client may come, for what is costly or worth guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Logins of patients and staff, from one address. How often for one account: see
    /// [`LoginGuard`](ehi_core::auth::LoginGuard).
    pub logins_per_address: Quota,
    /// Token requests from one address.
    pub tokens_per_address: Quota,
    /// Tokens for one client: only those it got, as anybody can name it.
    pub tokens_per_client: Quota,
    /// Kick-offs from one address.
    pub kick_offs_per_address: Quota,
    /// Kick-offs for one patient.
    pub kick_offs_per_patient: Quota,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            logins_per_address: Quota::a_minute(60),
            tokens_per_address: Quota::a_minute(300),
            tokens_per_client: Quota::a_minute(6_000),
            kick_offs_per_address: Quota::a_minute(120),
            kick_offs_per_patient: Quota::a_minute(20),
        }
    }
}

impl RateLimits {
    /// For demonstrations and tests of apps: nothing that a test does is too often.
    pub const fn generous() -> Self {
        let often = Quota::a_minute(100_000);
        Self {
            logins_per_address: often,
            tokens_per_address: often,
            tokens_per_client: often,
            kick_offs_per_address: often,
            kick_offs_per_patient: often,
        }
    }
}

/// Real abuse of one job's status: more than ten polls a second, sustained.
const POLLS: Quota = Quota {
    burst: 100,
    a_minute: 600,
};

/// It was too often. It may be tried again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOften(pub Duration);

/// What the handlers count.
#[derive(Debug)]
pub struct Throttle {
    /// Polls of a job's status.
    pub polls: Buckets<JobId>,
    /// Tokens for a client.
    pub clients: Buckets<ClientId>,
    /// Kick-offs for a patient.
    pub patients: Buckets<PatientId>,
    /// Refusals of one place that are remembered.
    pub refusals: Buckets<Network>,
    /// Refusals of all places together that are.
    pub all_refusals: Buckets<()>,
}

impl Throttle {
    /// Nobody came yet.
    pub fn new(limits: &RateLimits) -> Self {
        Self {
            polls: Buckets::new(POLLS),
            clients: Buckets::new(limits.tokens_per_client),
            patients: Buckets::new(limits.kick_offs_per_patient),
            refusals: Buckets::new(REMEMBERED),
            all_refusals: Buckets::new(REMEMBERED_OF_ALL),
        }
    }
}

/// How many buckets there may be.
const BUCKETS: usize = 20_000;

/// For each of those who come, until when what they did is paid for: one time takes its share of a
/// minute, and the burst may be ahead of the clock (the generic cell rate algorithm). Of bounded
/// size.
#[derive(Debug)]
pub struct Buckets<K> {
    quota: Quota,
    paid: Mutex<HashMap<K, Timestamp>>,
}

impl<K: Eq + Hash> Buckets<K> {
    /// Nobody came yet.
    pub fn new(quota: Quota) -> Self {
        Self {
            quota,
            paid: Mutex::default(),
        }
    }

    /// Counts one who comes.
    pub fn take(&self, key: K, now: Timestamp) -> Result<(), TooOften> {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if paid.len() >= BUCKETS {
            self.make_room(&mut paid, now);
        }
        let until = paid.entry(key).or_insert(now);
        self.may(*until, now)?;
        let one = (*until).max(now).saturating_add(self.share());
        *until = one.unwrap_or(Timestamp::MAX);
        Ok(())
    }

    /// Whether one may come now; nothing is counted.
    pub fn check(&self, key: &K, now: Timestamp) -> Result<(), TooOften> {
        let paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let until = paid.get(key).copied().unwrap_or(now);
        self.may(until, now)
    }

    fn may(&self, until: Timestamp, now: Timestamp) -> Result<(), TooOften> {
        let wait = ahead(until, now).saturating_sub(self.most_ahead());
        if wait.is_zero() {
            Ok(())
        } else {
            Err(TooOften(wait))
        }
    }

    /// Who is not ahead has nothing to be remembered. Where that makes no room, those go who are
    /// little ahead, and at last all: whoever has so many addresses is not to be stopped here.
    fn make_room(&self, paid: &mut HashMap<K, Timestamp>, now: Timestamp) {
        for little in [Duration::ZERO, self.most_ahead() / 2, Duration::MAX] {
            paid.retain(|_, until| ahead(*until, now) > little);
            if paid.len() <= BUCKETS / 4 * 3 {
                return;
            }
        }
    }

    fn share(&self) -> Duration {
        Duration::from_mins(1) / self.quota.a_minute.max(1)
    }

    fn most_ahead(&self) -> Duration {
        self.share()
            .saturating_mul(self.quota.burst.saturating_sub(1))
    }
}

/// How far an instant is in the future.
fn ahead(instant: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(instant.duration_since(now)).unwrap_or_default()
}

impl TooOften {
    /// How it is told, and remembered.
    pub fn problem(self, refused: Refused) -> Problem {
        let Self(wait) = self;
        Problem::too_often(wait).remembered(refused)
    }
}

/// What is counted by address.
pub type Counted = (Shared, Arc<Buckets<Network>>);

/// Counts something by address.
pub fn counted(app: &Shared, quota: Quota) -> Counted {
    (app.clone(), Arc::new(Buckets::new(quota)))
}

/// Counts those who come, by their address: before anything of the request is read.
pub async fn by_address(
    State((app, buckets)): State<Counted>,
    request: Request,
    next: Next,
) -> Response {
    let address = request.extensions().get::<ClientAddress>();
    let taken = address.map_or(Ok(()), |&ClientAddress(address)| {
        buckets.take(Network::of(address), app.exports.now())
    });
    match taken {
        Ok(()) => next.run(request).await,
        Err(too_often) => by_path(request.uri().path(), too_often.problem(Refused::unknown())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn ten_polls_a_second_go_on_for_ever_and_a_hundred_do_not() {
        let job = JobId::from_random([1; 32]);
        let polls = Buckets::new(POLLS);
        assert!((0..10_000).all(|poll| polls.take(job, at(poll * 100)).is_ok()));
        let later = 10_000 * 100;
        assert!((0..1_000).any(|poll| polls.take(job, at(later + poll * 10)).is_err()));
        let other = JobId::from_random([2; 32]);
        assert_eq!(
            polls.take(other, at(later)),
            Ok(()),
            "others are not affected"
        );
        assert_eq!(polls.take(job, at(later + 60_000)), Ok(()), "and it passes");
    }

    #[test]
    fn whoever_waits_as_long_as_told_gets_in_and_not_before() {
        let buckets = Buckets::new(Quota::a_minute(2));
        for _ in 0..2 {
            buckets.take(1, at(0)).unwrap();
        }
        let TooOften(wait) = buckets.take(1, at(0)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(30));
        assert!(buckets.take(1, at(29_900)).is_err());
        assert_eq!(buckets.take(1, at(30_000)), Ok(()));
        assert!(buckets.take(1, at(30_000)).is_err());
    }

    #[test]
    fn memory_is_bounded_whoever_comes_and_who_came_often_is_remembered() {
        let buckets = Buckets::new(Quota::a_minute(10));
        while buckets.take(0, at(0)).is_ok() {}
        for key in 1..100_000 {
            buckets.take(key, at(0)).unwrap();
            assert!(buckets.paid.lock().unwrap().len() <= BUCKETS);
        }
        assert!(buckets.take(0, at(0)).is_err());
    }
}
