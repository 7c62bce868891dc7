//! What the sweeps of a server remember of each other.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::export::JobId;

/// How long a folder is not looked into again in which nothing is left to sweep, or that nobody
/// knows, and how long the operator is not told again. Something changes when a job is removed,
/// and that is told by itself.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// How long no files of a removed job have been there when none will come any more: whoever was
/// still writing has noticed, or is dead.
const SETTLED: SignedDuration = SignedDuration::from_hours(1);

/// How many folders, and removed jobs, are remembered; the others are looked at each time.
const REMEMBERED: usize = 100_000;

/// What a sweep saw of the folder of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::export) enum Seen {
    /// Nothing is left to sweep.
    Clean,
    /// There is no such job.
    Unknown,
}

/// What sweeps remember.
#[derive(Debug, Default)]
pub(in crate::export) struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// With the time to look again.
    folders: HashMap<JobId, (Seen, Timestamp)>,
    /// Removed jobs, and since when there are no files of theirs.
    gone: HashMap<JobId, Timestamp>,
    /// When the operator may be told again.
    tell_again: Option<Timestamp>,
}

impl Memory {
    /// Forgets the folders that have to be looked into again.
    pub fn pass(&self, now: Timestamp) {
        self.lock().folders.retain(|_, (_, until)| now < *until);
    }

    /// What was seen not long ago.
    pub fn seen(&self, job: JobId) -> Option<Seen> {
        self.lock().folders.get(&job).map(|(seen, _)| *seen)
    }

    /// Remembers what was seen, for a while from then on.
    pub fn remember(&self, job: JobId, seen: Seen, now: Timestamp) {
        let mut memory = self.lock();
        if memory.folders.len() < REMEMBERED {
            let until = later(now, LOOK_AGAIN);
            memory.folders.entry(job).or_insert((seen, until));
        }
    }

    /// Of the removed jobs without files, those of which none will come any more.
    pub fn settled(&self, gone: impl Iterator<Item = JobId>, now: Timestamp) -> Vec<JobId> {
        let gone: HashSet<JobId> = gone.collect();
        let known = &mut self.lock().gone;
        // Of the others there are files again, or they are forgotten.
        known.retain(|id, _| gone.contains(id));
        let mut settled = Vec::new();
        for id in gone {
            match known.get(&id) {
                Some(since) if later(*since, SETTLED) <= now => settled.push(id),
                None if known.len() < REMEMBERED => drop(known.insert(id, now)),
                Some(_) | None => {}
            }
        }
        settled
    }

    /// Whether it is time to tell the operator, again. If so, it is not for a while.
    pub fn may_tell(&self, now: Timestamp) -> bool {
        let tell_again = &mut self.lock().tell_again;
        let may = tell_again.is_none_or(|again| again <= now);
        if may {
            *tell_again = Some(later(now, LOOK_AGAIN));
        }
        may
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::at;

    #[test]
    fn the_operator_is_told_once_an_hour() {
        let memory = Memory::default();
        let told: Vec<i64> = (0..10_000)
            .step_by(60)
            .filter(|second| memory.may_tell(at(*second)))
            .collect();
        assert_eq!(told, [0, 3_600, 7_200]);
    }

    #[test]
    fn a_removed_job_is_settled_when_no_file_came_for_an_hour() {
        let memory = Memory::default();
        let [late, other] = [1, 2].map(|number| JobId::from_random([number; 32]));
        let look = |gone: &[JobId], second| memory.settled(gone.iter().copied(), at(second));
        assert_eq!(look(&[late, other], 0), []);
        // There are files of the one once more.
        assert_eq!(look(&[other], 1_800), []);
        assert_eq!(look(&[late, other], 1_860), []);
        assert_eq!(look(&[late, other], 3_600), [other]);
        assert_eq!(look(&[late], 1_860 + 3_600), [late]);
    }
}
