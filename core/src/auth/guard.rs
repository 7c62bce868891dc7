//! Patience with wrong passwords: guessing becomes slow, and nobody is locked out for long.
//!
//! Source: OWASP ASVS 4, V2.2.1 (anti-automation).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Network, SessionError};
use crate::ports::{GuessStore, LoginError, StoreError};

/// How patient a [`LoginGuard`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Wrong passwords for one account from one place before anybody has to wait.
    pub free: u32,
    /// Wrong passwords for one account from all places together before those that guessed before
    /// have to wait for one another.
    pub free_everywhere: u32,
    /// The longest wait for the place the wrong passwords come from.
    pub longest: Duration,
    /// The longest wait for all places that guessed, however many they are.
    pub longest_everywhere: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            free: 5,
            free_everywhere: 30,
            longest: Duration::from_mins(1),
            longest_everywhere: Duration::from_secs(4),
        }
    }
}

/// After this time without another wrong password all is forgotten.
pub const REMEMBER_GUESSES: Duration = Duration::from_mins(30);

/// How long it is remembered that an account's owner logged in at a place, without another login.
pub const REMEMBER_OWNERS: Duration = Duration::from_hours(24 * 90);

/// Makes guessing passwords slow.
///
/// After some wrong passwords for an account, the next attempt from the same place has to wait: one
/// second, two, four and so on up to a minute. Many places that guess together make one another wait
/// too, a few seconds at most; a place that has not guessed yet, or where the account's owner
/// logged in before, never waits for what others do. So an account can never be locked from outside.
/// Unknown accounts are treated like known ones. What was guessed is in a [`GuessStore`], so that
/// guessing at many replicas is no faster than at one.
#[derive(Debug, Clone)]
pub struct LoginGuard {
    door: Door,
    patience: Patience,
    guesses: Arc<dyn GuessStore>,
}

/// Where somebody logs in: a patient and a member of staff of one name are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The patients' login.
    Patients,
    /// That of staff.
    Staff,
}

/// A user name that somebody typed, as its hash: of bounded size, and whether or not it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account([u8; 32]);

impl Account {
    /// The account of this name behind this door.
    pub fn of(door: Door, username: &str) -> Self {
        let door: &[u8] = match door {
            Door::Patients => b"patient\0",
            Door::Staff => b"staff\0",
        };
        let digest = Sha256::new().chain_update(door).chain_update(username);
        Self(digest.finalize().into())
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What is remembered of an account at one place, or at all places together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guesses {
    /// Wrong passwords, and those that nobody has judged yet.
    pub wrong: u32,
    /// When the last one came.
    pub last: Timestamp,
    /// Whether the owner logged in here.
    pub owners: bool,
}

impl Guesses {
    /// Nothing yet.
    pub fn none(now: Timestamp) -> Self {
        Self {
            wrong: 0,
            last: now,
            owners: false,
        }
    }

    /// How long the next attempt has to wait from now on.
    fn wait(&self, free: u32, longest: Duration, now: Timestamp) -> Option<Duration> {
        let doublings = self.wrong.checked_sub(free)?;
        let wait = Duration::from_secs(1 << doublings.min(20)).min(longest);
        let over = self.last.saturating_add(wait).unwrap_or(Timestamp::MAX);
        let left = Duration::try_from(over.duration_since(now)).ok()?;
        (!left.is_zero()).then_some(left)
    }

    /// Whether it has had its day.
    pub fn is_old(&self, now: Timestamp) -> bool {
        self.is_older_than(REMEMBER_GUESSES, now)
    }

    /// Whether nothing of it needs to be kept.
    pub fn may_go(&self, now: Timestamp) -> bool {
        let kept = if self.owners {
            REMEMBER_OWNERS
        } else {
            REMEMBER_GUESSES
        };
        self.is_older_than(kept, now)
    }

    fn is_older_than(&self, span: Duration, now: Timestamp) -> bool {
        Duration::try_from(now.duration_since(self.last)).is_ok_and(|age| age > span)
    }
}

/// What is remembered of an account where an attempt comes from, and of all places together. What
/// a [`GuessStore`] does with it, it does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Where the attempt comes from.
    pub here: Guesses,
    /// All places together.
    pub everywhere: Guesses,
}

impl Tally {
    /// Counts an attempt as wrong, unless it has to wait.
    pub fn begin(&mut self, patience: Patience, now: Timestamp) -> Turn {
        for guesses in [&mut self.here, &mut self.everywhere] {
            if guesses.is_old(now) {
                guesses.wrong = 0;
            }
        }
        let (here, everywhere) = (&self.here, &self.everywhere);
        let wait = here.wait(patience.free, patience.longest, now).or_else(|| {
            // What others guess elsewhere is no reason to keep out who did not guess here: it may
            // be the owner.
            let guessed_here = !here.owners && here.wrong > 0;
            let (free, longest) = (patience.free_everywhere, patience.longest_everywhere);
            everywhere.wait(free, longest, now).filter(|_| guessed_here)
        });
        if let Some(wait) = wait {
            return Turn::Wait(wait);
        }
        for guesses in [&mut self.here, &mut self.everywhere] {
            guesses.wrong = guesses.wrong.saturating_add(1);
            guesses.last = now;
        }
        Turn::Now
    }

    /// Makes good what was counted, unless it was wrong.
    pub fn end(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Wrong => {}
            Verdict::Right => {
                self.here.wrong = 0;
                self.here.owners = true;
                self.everywhere.wrong = 0;
            }
            Verdict::Undecided => {
                for guesses in [&mut self.here, &mut self.everywhere] {
                    guesses.wrong = guesses.wrong.saturating_sub(1);
                }
            }
        }
    }
}

/// Whether an attempt may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It may, and was counted.
    Now,
    /// Not before this time is over.
    Wait(Duration),
}

/// An attempt to log in that may go on. It counts as wrong until it turned out right, so that many
/// at once are no way around.
#[derive(Debug)]
#[must_use = "what becomes of it has to be told"]
pub struct Attempt {
    /// For which account.
    pub account: Account,
    /// From where, as far as that is known.
    pub place: Option<Network>,
}

/// How an attempt turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The password was right.
    Right,
    /// The password was wrong.
    Wrong,
    /// Nobody could tell.
    Undecided,
}

impl Verdict {
    /// How it turned out, by what the login said.
    pub fn of<T>(proven: &Result<T, LoginError>) -> Self {
        match proven {
            Ok(_) => Self::Right,
            Err(LoginError::Refused) => Self::Wrong,
            Err(_) => Self::Undecided,
        }
    }
}

impl LoginGuard {
    /// A guard at this door, who remembers by this store.
    pub fn new(door: Door, patience: Patience, guesses: Arc<dyn GuessStore>) -> Self {
        Self {
            door,
            patience,
            guesses,
        }
    }

    /// Before a password is checked. Whoever has to wait is told [how long](SessionError::TooMany).
    pub async fn begin(
        &self,
        username: &str,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Attempt, SessionError> {
        let attempt = Attempt {
            account: Account::of(self.door, username),
            place: address.map(Network::site),
        };
        match self.guesses.begin(&attempt, self.patience, now).await? {
            Turn::Now => Ok(attempt),
            Turn::Wait(wait) => Err(SessionError::TooMany(wait)),
        }
    }

    /// After the password was checked.
    pub async fn end(&self, attempt: Attempt, verdict: Verdict) -> Result<(), StoreError> {
        match verdict {
            // It was counted so from the beginning.
            Verdict::Wrong => Ok(()),
            Verdict::Right | Verdict::Undecided => self.guesses.end(attempt, verdict).await,
        }
    }

    /// Forgets what is old.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        self.guesses.sweep(now).await
    }
}

#[cfg(test)]
mod tests;
