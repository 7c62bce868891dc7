//! Small fakes of ports whose tests need memory rather than expectations.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use jiff::Timestamp;

use crate::audit::{ChainError, Link};
use crate::auth::{
    Account, Attempt, Guesses, Network, Patience, SecretHash, Session, Tally, Turn, Verdict,
};
use crate::ports::{
    Action, AuditEntry, AuditEvent, AuditFilter, AuditLog, AuditPage, FileBytes, FileError,
    FilePath, FileStore, FileWriter, GuessStore, SessionStore, StoreError,
};

type Shared<K, V> = Arc<Mutex<BTreeMap<K, V>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Files in memory.
#[derive(Debug, Default)]
pub struct MemoryFiles(Shared<FilePath, Bytes>);

impl MemoryFiles {
    /// The content of a file; "" when there is none.
    pub fn text(&self, path: &FilePath) -> String {
        let files = lock(&self.0);
        let bytes = files
            .get(path)
            .map(|bytes| bytes.to_vec())
            .unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many files there are.
    pub fn count(&self) -> usize {
        lock(&self.0).len()
    }
}

#[async_trait]
impl FileStore for MemoryFiles {
    async fn writer(&self, path: &FilePath) -> Result<Box<dyn FileWriter>, FileError> {
        Ok(Box::new(MemoryWriter {
            files: self.0.clone(),
            path: path.clone(),
            bytes: BytesMut::new(),
        }))
    }

    async fn size(&self, path: &FilePath) -> Result<Option<u64>, FileError> {
        Ok(lock(&self.0).get(path).map(|bytes| bytes.len() as u64))
    }

    async fn read(
        &self,
        path: &FilePath,
        range: Range<u64>,
    ) -> Result<Option<FileBytes>, FileError> {
        Ok(lock(&self.0).get(path).map(|bytes| {
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            let part = bytes.slice(place(range.start)..place(range.end));
            stream::iter([Ok(part)]).boxed()
        }))
    }

    async fn delete_prefix(&self, folder: &FilePath) -> Result<(), FileError> {
        lock(&self.0).retain(|path, _| !path.is_below(folder));
        Ok(())
    }

    async fn folders(&self) -> Result<Vec<FilePath>, FileError> {
        let tops: BTreeSet<FilePath> = lock(&self.0).keys().map(FilePath::top).collect();
        Ok(tops.into_iter().collect())
    }

    async fn list(&self, folder: &FilePath) -> Result<Vec<FilePath>, FileError> {
        let files = lock(&self.0);
        Ok(files
            .keys()
            .filter(|path| path.is_below(folder))
            .cloned()
            .collect())
    }
}

struct MemoryWriter {
    files: Shared<FilePath, Bytes>,
    path: FilePath,
    bytes: BytesMut,
}

#[async_trait]
impl FileWriter for MemoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), FileError> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), FileError> {
        lock(&self.files).insert(self.path, self.bytes.freeze());
        Ok(())
    }
}

/// Sessions in memory.
#[derive(Debug, Default)]
pub struct Sessions(Shared<SecretHash, Session>);

#[async_trait]
impl SessionStore for Sessions {
    async fn insert(&self, key: SecretHash, session: &Session) -> Result<(), StoreError> {
        lock(&self.0).insert(key, session.clone());
        Ok(())
    }

    async fn get(&self, key: SecretHash) -> Result<Option<Session>, StoreError> {
        Ok(lock(&self.0).get(&key).cloned())
    }

    async fn extend(&self, key: SecretHash, expires_at: Timestamp) -> Result<(), StoreError> {
        if let Some(session) = lock(&self.0).get_mut(&key) {
            session.expires_at = expires_at;
        }
        Ok(())
    }

    async fn remove(&self, key: SecretHash) -> Result<(), StoreError> {
        lock(&self.0).remove(&key);
        Ok(())
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        lock(&self.0).retain(|_, session| session.expires_at > now);
        Ok(())
    }
}

/// Guesses in memory, never forgotten.
#[derive(Debug, Default)]
pub struct MemoryGuesses(Mutex<HashMap<(Account, Place), Guesses>>);

/// One place, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    One(Option<Network>),
    All,
}

impl MemoryGuesses {
    fn change<T>(
        &self,
        attempt: &Attempt,
        new: Timestamp,
        change: impl FnOnce(&mut Tally) -> T,
    ) -> T {
        let mut kept = lock(&self.0);
        let keys = [Place::One(attempt.place), Place::All].map(|place| (attempt.account, place));
        let [here, everywhere] =
            keys.map(|key| kept.get(&key).copied().unwrap_or(Guesses::none(new)));
        let mut tally = Tally { here, everywhere };
        let changed = change(&mut tally);
        kept.extend(keys.into_iter().zip([tally.here, tally.everywhere]));
        changed
    }
}

#[async_trait]
impl GuessStore for MemoryGuesses {
    async fn begin(
        &self,
        attempt: &Attempt,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Turn, StoreError> {
        Ok(self.change(attempt, now, |tally| tally.begin(patience, now)))
    }

    async fn end(&self, attempt: Attempt, verdict: Verdict) -> Result<(), StoreError> {
        self.change(&attempt, Timestamp::MIN, |tally| tally.end(verdict));
        Ok(())
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        lock(&self.0).retain(|_, guesses| !guesses.may_go(now));
        Ok(())
    }
}

/// An audit log that remembers what was done.
#[derive(Debug, Default)]
pub struct RecordedAudit(Mutex<Vec<AuditEvent>>);

impl RecordedAudit {
    /// The entries, in order.
    pub fn events(&self) -> Vec<AuditEvent> {
        lock(&self.0).clone()
    }

    /// What was done, in order.
    pub fn actions(&self) -> Vec<Action> {
        lock(&self.0).iter().map(|event| event.action).collect()
    }
}

#[async_trait]
impl AuditLog for RecordedAudit {
    async fn append(&self, event: &AuditEvent) -> Result<(), StoreError> {
        lock(&self.0).push(event.clone());
        Ok(())
    }

    async fn list(
        &self,
        filter: &AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let events = lock(&self.0);
        let entries = (1..).zip(events.iter()).collect::<Vec<_>>();
        let wanted = entries.into_iter().rev().filter(|(number, event)| {
            page.before.is_none_or(|before| *number < before) && filter.matches(event)
        });
        Ok((wanted.take(page.limit))
            .map(|(number, event)| AuditEntry {
                number,
                event: event.clone(),
            })
            .collect())
    }

    async fn verify(&self, _: Option<Link>) -> Result<Link, ChainError> {
        let texts = lock(&self.0);
        Ok(texts
            .iter()
            .fold(Link::START, |link, event| link.next(&format!("{event:?}"))))
    }
}
