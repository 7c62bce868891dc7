//! Browser sessions.

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ehi_core::auth::{SecretHash, Session};
use ehi_core::ports::{SessionStore, StoreError};
use jiff::Timestamp;

use super::{Database, nanoseconds, unavailable};

/// Browser sessions in a database.
#[derive(Debug, Clone)]
pub struct SqlSessions(Database);

impl SqlSessions {
    /// The sessions of this database.
    pub fn new(database: &Database) -> Self {
        Self(database.clone())
    }
}

/// A hash as the tables have it.
pub(super) fn text(hash: SecretHash) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(hash.as_bytes())
}

#[async_trait]
impl SessionStore for SqlSessions {
    async fn insert(&self, key: SecretHash, session: &Session) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sessions (key, expires_at, ends_at, session) VALUES ($1, $2, $3, $4)",
        )
        .bind(text(key))
        .bind(nanoseconds(session.expires_at))
        .bind(nanoseconds(session.ends_at))
        .bind(serde_json::to_string(session).map_err(unavailable)?)
        .execute(self.0.pool())
        .await
        .map_err(unavailable)?;
        Ok(())
    }

    async fn get(&self, key: SecretHash) -> Result<Option<Session>, StoreError> {
        let found = sqlx::query_as::<_, (i64, String)>(
            "SELECT expires_at, session FROM sessions WHERE key = $1",
        )
        .bind(text(key))
        .fetch_optional(self.0.pool())
        .await
        .map_err(unavailable)?;
        let Some((expires_at, session)) = found else {
            return Ok(None);
        };
        let mut session: Session =
            serde_json::from_str(&session).map_err(StoreError::unreadable)?;
        session.expires_at = Timestamp::from_nanosecond(expires_at.into()).map_err(unavailable)?;
        Ok(Some(session))
    }

    async fn extend(&self, key: SecretHash, expires_at: Timestamp) -> Result<(), StoreError> {
        sqlx::query("UPDATE sessions SET expires_at = $2 WHERE key = $1")
            .bind(text(key))
            .bind(nanoseconds(expires_at))
            .execute(self.0.pool())
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn remove(&self, key: SecretHash) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sessions WHERE key = $1")
            .bind(text(key))
            .execute(self.0.pool())
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sessions WHERE expires_at <= $1 OR ends_at <= $1")
            .bind(nanoseconds(now))
            .execute(self.0.pool())
            .await
            .map_err(unavailable)?;
        Ok(())
    }
}
