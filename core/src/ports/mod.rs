//! Every trait an adapter can implement, one file each.
//!
//! To plug in your own system, implement the one port that differs and keep the rest. Most
//! integrators need only [`RecordSource`].
//!
//! | port | what it promises |
//! |---|---|
//! | [`RecordSource`] | finds patients and streams their records and documents |
//! | [`JobStore`] | keeps export jobs, hands each runnable one to exactly one worker |
//! | [`FileStore`] | keeps exported files; a half-written file is never visible |
//! | [`ClientRegistry`] | knows the apps that may ask |
//! | [`ClientAssertions`] | checks what clients sign with their keys |
//! | [`GrantStore`] | authorization codes, refresh families and assertions, one use each |
//! | [`SessionStore`] | browser sessions of patients and staff |
//! | [`GuessStore`] | remembers wrong passwords |
//! | [`PatientLogin`], [`StaffLogin`] | prove who is at the browser |
//! | [`TokenKeys`] | signs and verifies access tokens |
//! | [`KeyStore`] | keeps the keys that do |
//! | [`AuditLog`] | remembers who saw or released what |
//! | [`Clock`], [`Entropy`] | the only sources of time and of randomness |
//!
//! All ports are object safe and shared as `Arc<dyn Port>`. Look-ups return `Ok(None)` for what
//! is not there; errors say what the caller can do. Feature `testkit` brings a mock of each.

mod audit;
mod clients;
mod clock;
mod files;
mod grants;
mod guesses;
mod jobs;
mod keys;
mod login;
mod records;
mod sessions;

pub use audit::*;
pub use clients::*;
pub use clock::*;
pub use files::*;
pub use grants::*;
pub use guesses::*;
pub use jobs::*;
pub use keys::*;
pub use login::*;
pub use records::*;
pub use sessions::*;

/// The cause of an [`Unavailable`](StoreError::Unavailable) error, for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong in a store of jobs, grants, sessions, clients or audit entries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What should be changed is not there. Do not retry.
    #[error("not found")]
    NotFound,
    /// Somebody else changed it first. Read it again and decide anew.
    #[error("changed by somebody else meanwhile")]
    Conflict,
    /// The store cannot answer right now. Retry later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Cause),
    /// What is kept there makes no sense here: a later version wrote it, or it is damaged. A later
    /// version may read it; this one cannot.
    #[error("what the store keeps cannot be read")]
    Unreadable(#[source] Cause),
}

impl StoreError {
    /// Wraps a passing failure of the technology below.
    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable(cause.into())
    }

    /// Wraps what is wrong with what is kept.
    pub fn unreadable(cause: impl Into<Cause>) -> Self {
        Self::Unreadable(cause.into())
    }
}
