//! Authorization codes, refresh families and used assertions.

use async_trait::async_trait;
use ehi_core::auth::{ClientId, CodeGrant, GrantId, RefreshFamily, SecretHash};
use ehi_core::ports::{
    CodeUse, GrantStore, JtiUse, REMEMBER_CODES, RefreshStanding, RefreshUse, StoreError,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::{Any, Executor};

use super::sessions::text;
use super::{Database, nanoseconds, unavailable};

/// Authorization codes, refresh families and used assertions in a database.
#[derive(Debug, Clone)]
pub struct SqlGrants(Database);

impl SqlGrants {
    /// The grants of this database.
    pub fn new(database: &Database) -> Self {
        Self(database.clone())
    }
}

fn parsed<T: DeserializeOwned>(json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(StoreError::unreadable)
}

/// Where a token stands.
async fn standing<'c>(
    on: impl Executor<'c, Database = Any>,
    token: &str,
) -> Result<RefreshStanding, StoreError> {
    let found = sqlx::query_as::<_, (String, String)>(
        "SELECT grants.newest, grants.family FROM refresh_tokens JOIN grants ON grants.id = refresh_tokens.grant_id WHERE refresh_tokens.token = $1 AND grants.newest IS NOT NULL",
    )
    .bind(token)
    .fetch_optional(on)
    .await
    .map_err(unavailable)?;
    Ok(match found {
        None => RefreshStanding::Unknown,
        Some((newest, family)) if newest == token => RefreshStanding::Newest(parsed(&family)?),
        Some((_, family)) => RefreshStanding::Replaced(parsed(&family)?),
    })
}

async fn keep_token<'c>(
    on: impl Executor<'c, Database = Any>,
    token: &str,
    grant: &str,
    expires_at: i64,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO refresh_tokens (token, grant_id, expires_at) VALUES ($1, $2, $3)")
        .bind(token)
        .bind(grant)
        .bind(expires_at)
        .execute(on)
        .await
        .map(drop)
        .map_err(unavailable)
}

#[async_trait]
impl GrantStore for SqlGrants {
    async fn insert_code(&self, code: SecretHash, grant: &CodeGrant) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO codes (code, used, expires_at, code_grant) VALUES ($1, 0, $2, $3)")
            .bind(text(code))
            .bind(nanoseconds(grant.expires_at))
            .bind(serde_json::to_string(grant).map_err(unavailable)?)
            .execute(self.0.pool())
            .await
            .map(drop)
            .map_err(unavailable)
    }

    async fn use_code(&self, code: SecretHash) -> Result<CodeUse, StoreError> {
        let first = sqlx::query_scalar::<_, String>(
            "UPDATE codes SET used = 1 WHERE code = $1 AND used = 0 RETURNING code_grant",
        )
        .bind(text(code))
        .fetch_optional(self.0.pool())
        .await
        .map_err(unavailable)?;
        if let Some(grant) = first {
            return Ok(CodeUse::First(parsed(&grant)?));
        }
        let used = sqlx::query_scalar::<_, String>("SELECT code_grant FROM codes WHERE code = $1")
            .bind(text(code))
            .fetch_optional(self.0.pool())
            .await
            .map_err(unavailable)?;
        Ok(match used {
            None => CodeUse::Unknown,
            Some(grant) => CodeUse::Again(parsed::<CodeGrant>(&grant)?.grant),
        })
    }

    async fn insert_family(
        &self,
        token: SecretHash,
        family: &RefreshFamily,
    ) -> Result<(), StoreError> {
        let (token, grant) = (text(token), family.grant.0.to_string());
        let expires_at = nanoseconds(family.expires_at);
        let mut transaction = self.0.begin().await?;
        let kept = sqlx::query(
            "INSERT INTO grants (id, expires_at, newest, family) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at, newest = excluded.newest, family = excluded.family WHERE grants.newest IS NOT NULL",
        )
        .bind(grant.clone())
        .bind(expires_at)
        .bind(token.clone())
        .bind(serde_json::to_string(family).map_err(unavailable)?)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        // None is when it was revoked.
        if kept.rows_affected() == 1 {
            keep_token(&mut *transaction, &token, &grant, expires_at).await?;
        }
        transaction.commit().await.map_err(unavailable)
    }

    async fn refresh_token(&self, token: SecretHash) -> Result<RefreshStanding, StoreError> {
        standing(self.0.pool(), &text(token)).await
    }

    async fn rotate(&self, token: SecretHash, next: SecretHash) -> Result<RefreshUse, StoreError> {
        let (token, next) = (text(token), text(next));
        let mut transaction = self.0.begin().await?;
        let rotated = sqlx::query_as::<_, (String, i64, String)>(
            "UPDATE grants SET newest = $2 WHERE newest = $1 RETURNING id, expires_at, family",
        )
        .bind(token.clone())
        .bind(next.clone())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let Some((grant, expires_at, family)) = rotated else {
            return Ok(match standing(&mut *transaction, &token).await? {
                RefreshStanding::Replaced(family) => RefreshUse::Replayed(family),
                // The newest now, though not a moment ago: it was not yet there.
                RefreshStanding::Unknown | RefreshStanding::Newest(_) => RefreshUse::Unknown,
            });
        };
        keep_token(&mut *transaction, &next, &grant, expires_at).await?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(RefreshUse::Rotated(parsed(&family)?))
    }

    async fn use_jti(
        &self,
        client: &ClientId,
        jti: SecretHash,
        until: Timestamp,
    ) -> Result<JtiUse, StoreError> {
        let kept = sqlx::query(
            "INSERT INTO jtis (client, jti, expires_at) VALUES ($1, $2, $3) ON CONFLICT (client, jti) DO NOTHING",
        )
        .bind(client.as_str().to_owned())
        .bind(text(jti))
        .bind(nanoseconds(until))
        .execute(self.0.pool())
        .await
        .map_err(unavailable)?;
        Ok(match kept.rows_affected() {
            1 => JtiUse::First,
            _ => JtiUse::Again,
        })
    }

    async fn revoke(&self, grant: GrantId, until: Timestamp) -> Result<(), StoreError> {
        let grant = grant.0.to_string();
        let mut transaction = self.0.begin().await?;
        sqlx::query(
            "INSERT INTO grants (id, expires_at, newest, family) VALUES ($1, $2, NULL, NULL) ON CONFLICT (id) DO UPDATE SET expires_at = CASE WHEN grants.newest IS NULL AND grants.expires_at > excluded.expires_at THEN grants.expires_at ELSE excluded.expires_at END, newest = NULL, family = NULL",
        )
        .bind(grant.clone())
        .bind(nanoseconds(until))
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        sqlx::query("DELETE FROM refresh_tokens WHERE grant_id = $1")
            .bind(grant)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)
    }

    async fn is_revoked(&self, grant: GrantId) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar::<_, String>(
            "SELECT id FROM grants WHERE id = $1 AND newest IS NULL",
        )
        .bind(grant.0.to_string())
        .fetch_optional(self.0.pool())
        .await
        .map_err(unavailable)?;
        Ok(found.is_some())
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let used_codes = now.saturating_sub(REMEMBER_CODES).unwrap_or(Timestamp::MIN);
        for (statement, before) in [
            ("DELETE FROM codes WHERE expires_at <= $1", used_codes),
            ("DELETE FROM grants WHERE expires_at <= $1", now),
            ("DELETE FROM refresh_tokens WHERE expires_at <= $1", now),
            ("DELETE FROM jtis WHERE expires_at <= $1", now),
        ] {
            sqlx::query(statement)
                .bind(nanoseconds(before))
                .execute(self.0.pool())
                .await
                .map_err(unavailable)?;
        }
        Ok(())
    }
}
