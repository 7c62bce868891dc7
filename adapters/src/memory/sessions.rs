//! Browser sessions in memory.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use ehi_core::auth::{SecretHash, Session};
use ehi_core::ports::{SessionStore, StoreError};
use jiff::Timestamp;

use super::lock;

/// Browser sessions in memory.
#[derive(Debug, Default)]
pub struct MemorySessions(Mutex<HashMap<SecretHash, Session>>);

#[async_trait]
impl SessionStore for MemorySessions {
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
        lock(&self.0).retain(|_, session| now < session.expires_at && now < session.ends_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    ehi_core::session_store_contract!(async { (MemorySessions::default(), ()) });
}
