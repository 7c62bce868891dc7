//! Patience with wrong passwords: guessing becomes slow, and nobody is locked out for long.
//!
//! Source: OWASP ASVS 4, V2.2.1 (anti-automation).

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Network;
use crate::ports::LoginError;

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
const MEMORY: Duration = Duration::from_mins(30);

/// How many accounts and places are remembered.
const ENTRIES: usize = 20_000;

/// Makes guessing passwords slow.
///
/// After some wrong passwords for an account, the next attempt from the same place has to wait: one
/// second, two, four and so on up to a minute. Many places that guess together make one another wait
/// too, a few seconds at most; a place that has not guessed yet, or where the account's owner
/// logged in before, never waits for what others do. So an account can never be locked from outside. Unknown accounts are treated like
/// known ones. Kept in memory by each server for itself, of bounded size.
#[derive(Debug)]
pub struct LoginGuard {
    patience: Patience,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    here: HashMap<(Account, Option<Network>), Record>,
    everywhere: HashMap<Account, Record>,
}

/// A user name that somebody typed, as its hash: of bounded size, and whether or not it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Account([u8; 32]);

#[derive(Debug, Clone, Copy)]
struct Record {
    wrong: u32,
    last: Timestamp,
    /// Whether the owner logged in here.
    owners: bool,
}

impl Record {
    fn new(now: Timestamp) -> Self {
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

    fn is_old(&self, now: Timestamp) -> bool {
        Duration::try_from(now.duration_since(self.last)).is_ok_and(|age| age > MEMORY)
    }
}

/// An attempt to log in that may go on. It counts as wrong until it turned out right, so that many
/// at once are no way around.
#[derive(Debug)]
#[must_use = "what becomes of it has to be told"]
pub struct Attempt {
    account: Account,
    place: Option<Network>,
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

impl Default for LoginGuard {
    fn default() -> Self {
        Self::new(Patience::default())
    }
}

impl LoginGuard {
    /// A guard who saw nothing yet.
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            seen: Mutex::default(),
        }
    }

    /// Before a password is checked. The error is how long to wait first.
    pub fn begin(
        &self,
        username: &str,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Attempt, Duration> {
        let account = Account(Sha256::digest(username).into());
        let place = address.map(Network::site);
        let mut seen = self.seen();
        make_room(&mut seen.here, now);
        make_room(&mut seen.everywhere, now);
        let Seen { here, everywhere } = &mut *seen;
        let mine = here.entry((account, place)).or_insert(Record::new(now));
        let all = everywhere.entry(account).or_insert(Record::new(now));
        for record in [&mut *mine, &mut *all] {
            if record.is_old(now) {
                record.wrong = 0;
            }
        }
        let patience = self.patience;
        let wait = mine.wait(patience.free, patience.longest, now).or_else(|| {
            // What others guess elsewhere is no reason to keep out who did not guess here: it may
            // be the owner.
            let guessed_here = !mine.owners && mine.wrong > 0;
            let wait = all.wait(patience.free_everywhere, patience.longest_everywhere, now);
            wait.filter(|_| guessed_here)
        });
        if let Some(wait) = wait {
            return Err(wait);
        }
        for record in [mine, all] {
            record.wrong = record.wrong.saturating_add(1);
            record.last = now;
        }
        Ok(Attempt { account, place })
    }

    /// After the password was checked.
    #[expect(clippy::needless_pass_by_value, reason = "an attempt ends once")]
    pub fn end(&self, attempt: Attempt, verdict: Verdict) {
        let mut seen = self.seen();
        let Attempt { account, place } = attempt;
        match verdict {
            Verdict::Wrong => {}
            Verdict::Right => {
                if let Some(record) = seen.here.get_mut(&(account, place)) {
                    record.wrong = 0;
                    record.owners = true;
                }
                seen.everywhere.remove(&account);
            }
            Verdict::Undecided => {
                let Seen { here, everywhere } = &mut *seen;
                let records = [
                    here.get_mut(&(account, place)),
                    everywhere.get_mut(&account),
                ];
                for record in records.into_iter().flatten() {
                    record.wrong = record.wrong.saturating_sub(1);
                }
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room once there is none: first what is old goes, then what says little, then all.
fn make_room<K: Eq + Hash>(records: &mut HashMap<K, Record>, now: Timestamp) {
    if records.len() < ENTRIES {
        return;
    }
    let keep: [&dyn Fn(&Record) -> bool; 3] = [
        &|record| record.owners || !record.is_old(now),
        &|record| record.owners || record.wrong > 2,
        &|_| false,
    ];
    for keep in keep {
        records.retain(|_, record| keep(record));
        if records.len() <= ENTRIES / 4 * 3 {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
