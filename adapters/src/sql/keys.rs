//! Signing keys, sealed: who has the database alone has no key.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ehi_core::ports::{Kept, KeyAge, KeyStamp, KeyStore, KeyStoreError, StoredKey};
use secrecy::{ExposeSecret, SecretString};

use super::Database;

/// The secret that keys are sealed by: 32 random bytes.
pub struct KeySecret(RandomizedNonceKey);

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(…)")
    }
}

/// A secret that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret has to be 32 random bytes in base64: 'ehi-server keys new-secret' makes one")]
pub struct NoKeySecret;

impl KeySecret {
    /// Reads a secret in base64; white space around it does not count.
    pub fn parse(text: &SecretString) -> Result<Self, NoKeySecret> {
        let bytes = BASE64_STANDARD.decode(text.expose_secret().trim());
        let bytes = bytes.map_err(|_| NoKeySecret)?;
        RandomizedNonceKey::new(&AES_256_GCM, &bytes)
            .map(Self)
            .map_err(|_| NoKeySecret)
    }

    /// A secret of these random bytes, as it is written down.
    pub fn write(bytes: [u8; 32]) -> SecretString {
        BASE64_STANDARD.encode(bytes).into()
    }

    /// Seals a key. Its age is bound in: sealed keys cannot change places.
    fn seal(&self, key: &StoredKey) -> Result<String, KeyStoreError> {
        let mut sealed = key.pem.expose_secret().as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(bound(key.made), &mut sealed)
            .map_err(|_| KeyStoreError::Unavailable("the key cannot be sealed".into()))?;
        sealed.splice(..0, *nonce.as_ref());
        Ok(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    fn open(&self, made: KeyAge, wrapped: &str) -> Option<SecretString> {
        let mut sealed = BASE64_URL_SAFE_NO_PAD.decode(wrapped).ok()?;
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let pem = self.0.open_in_place(nonce, bound(made), sealed).ok()?;
        Some(std::str::from_utf8(pem).ok()?.to_owned().into())
    }
}

fn bound(made: KeyAge) -> Aad<String> {
    Aad::from(format!("ehi-server signing key {}", made.0))
}

/// Signing keys in a database, sealed by AES-256-GCM.
#[derive(Debug)]
pub struct SqlKeys {
    database: Database,
    secret: KeySecret,
}

impl SqlKeys {
    /// The keys of this database, sealed by this secret: the same on each replica.
    pub fn new(database: &Database, secret: KeySecret) -> Self {
        Self {
            database: database.clone(),
            secret,
        }
    }
}

fn unread(error: sqlx::Error) -> KeyStoreError {
    KeyStoreError::Unavailable(error.into())
}

#[async_trait]
impl KeyStore for SqlKeys {
    async fn ages(&self) -> Result<Vec<KeyAge>, KeyStoreError> {
        let made = sqlx::query_scalar::<_, i64>("SELECT made FROM signing_keys ORDER BY made")
            .fetch_all(self.database.pool())
            .await
            .map_err(unread)?;
        Ok(made.into_iter().map(KeyAge).collect())
    }

    async fn all(&self) -> Result<Vec<StoredKey>, KeyStoreError> {
        let found = sqlx::query_as::<_, (i64, String)>(
            "SELECT made, wrapped FROM signing_keys ORDER BY made",
        )
        .fetch_all(self.database.pool())
        .await
        .map_err(unread)?;
        let keys = found.into_iter().map(|(made, wrapped)| {
            let made = KeyAge(made);
            let pem = self.secret.open(made, &wrapped).ok_or_else(|| {
                KeyStoreError::Damaged(
                    "a signing key in the database was sealed by another secret than key_secret, or was changed".into(),
                )
            })?;
            Ok(StoredKey { made, pem })
        });
        keys.collect()
    }

    async fn keep(&self, key: &StoredKey) -> Result<Kept, KeyStoreError> {
        let kept = sqlx::query(
            "INSERT INTO signing_keys (made, wrapped) VALUES ($1, $2) ON CONFLICT (made) DO NOTHING",
        )
        .bind(key.made.0)
        .bind(self.secret.seal(key)?)
        .execute(self.database.pool())
        .await
        .map_err(unread)?;
        Ok(match kept.rows_affected() {
            0 => Kept::Before,
            _ => Kept::Now,
        })
    }

    async fn remove(&self, made: KeyAge) -> Result<(), KeyStoreError> {
        sqlx::query("DELETE FROM signing_keys WHERE made = $1")
            .bind(made.0)
            .execute(self.database.pool())
            .await
            .map(drop)
            .map_err(unread)
    }

    async fn stamp(&self) -> Result<KeyStamp, KeyStoreError> {
        let ages = self.ages().await?;
        Ok(KeyStamp(format!("{ages:?}")))
    }
}
