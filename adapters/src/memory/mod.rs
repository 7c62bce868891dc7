//! Every store in memory: for tests, the demo, and servers that may forget.

mod audit;
mod clients;
mod files;
mod grants;
mod guesses;
mod jobs;
mod sessions;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use audit::{LoggedAudit, MemoryAudit};
pub use clients::MemoryClients;
pub use files::MemoryFiles;
pub use grants::MemoryGrants;
pub use guesses::MemoryGuesses;
pub use jobs::MemoryJobs;
pub use sessions::MemorySessions;

/// Locks. A panic while the lock was held cannot leave these maps half-changed: each change is
/// one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
