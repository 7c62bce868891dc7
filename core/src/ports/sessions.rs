//! Browser sessions of patients and staff.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::auth::{SecretHash, Session};

/// Keeps browser sessions, by the hash of the secret in the cookie.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait SessionStore: Debug + Send + Sync + 'static {
    /// Keeps a new session.
    async fn insert(&self, key: SecretHash, session: &Session) -> Result<(), StoreError>;

    /// The session, or `None`. Expired ones may still be returned; the caller looks at the clock.
    async fn get(&self, key: SecretHash) -> Result<Option<Session>, StoreError>;

    /// Moves the end of a session. A session that is gone stays gone.
    async fn extend(&self, key: SecretHash, expires_at: Timestamp) -> Result<(), StoreError>;

    /// Ends a session. One that is gone is no error.
    async fn remove(&self, key: SecretHash) -> Result<(), StoreError>;

    /// Forgets what expired before `now`.
    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;
}
