//! Keys that sign access tokens.

use std::fmt::Debug;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::Value;

use super::Cause;

/// Signs tokens and checks signatures. Knows nothing of what the tokens say.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait TokenKeys: Debug + Send + Sync + 'static {
    /// A compact JWS (RFC 7515) over the claims, signed with the current key, `kid` and `alg` of
    /// that key in its header, `typ` `at+jwt`.
    async fn sign(&self, claims: &Value) -> Result<String, KeyError>;

    /// The claims of a token that one of our keys signed. The algorithm is the key's own, never
    /// the one the token names. Says nothing of expiry or audience.
    async fn verify(&self, token: &str) -> Result<Value, KeyError>;

    /// The public keys as a JWK Set (RFC 7517).
    async fn jwks(&self) -> Result<Value, KeyError>;
}

/// Keeps the private keys that sign tokens, the same for every replica. What they are good for
/// follows from their order, and is for those to say who use them.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// When each key was made, the oldest first; of those that cannot be used, too.
    async fn ages(&self) -> Result<Vec<KeyAge>, KeyStoreError>;

    /// Every key, the oldest first.
    async fn all(&self) -> Result<Vec<StoredKey>, KeyStoreError>;

    /// Keeps a key, unless there is one of the same age: of many at once exactly one is
    /// [kept](Kept::Now).
    async fn keep(&self, key: &StoredKey) -> Result<Kept, KeyStoreError>;

    /// Deletes the key of this age. One that is gone is no error.
    async fn remove(&self, made: KeyAge) -> Result<(), KeyStoreError>;

    /// What is another whenever a key has come or gone. Asked often, so it has to be quick.
    async fn stamp(&self) -> Result<KeyStamp, KeyStoreError>;
}

/// When a key was made, in seconds since the epoch; 0 for the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyAge(pub i64);

/// A private key as it is kept.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// When it was made. There are no two of one age.
    pub made: KeyAge,
    /// The key, in PEM (PKCS #8).
    pub pem: SecretString,
}

/// Whether a key was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It was.
    Now,
    /// There was one already, and that stays.
    Before,
}

/// What tells one set of keys from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStamp(pub String);

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyStoreError {
    /// A key is there and is none: damaged, or sealed by another secret. Retrying does not help.
    #[error("a signing key cannot be used")]
    Damaged(#[source] Cause),
    /// They cannot be had right now. Retry later.
    #[error("the signing keys cannot be reached")]
    Unavailable(#[source] Cause),
}

/// Why there is no signature, or none to trust.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not signed by one of our keys.
    #[error("the signature is not ours")]
    Invalid,
    /// The keys cannot be used right now. Retry later.
    #[error("the signing keys are unavailable")]
    Unavailable(#[source] Cause),
}
