//! Which apps may ask, and how they prove themselves.

use std::fmt::Debug;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::Value;

use super::{Cause, StoreError};
use crate::auth::{Client, ClientId, ClientKeys};

/// Knows the registered SMART clients.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait ClientRegistry: Debug + Send + Sync + 'static {
    /// The client with this id, or `None`.
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError>;

    /// Whether this is the secret of that client. A client that is unknown or has no secret has
    /// none that is right, and takes as long as one with a wrong secret.
    async fn verify_secret(&self, id: &ClientId, secret: &SecretString)
    -> Result<bool, StoreError>;
}

/// Checks the signatures of client assertions.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait ClientAssertions: Debug + Send + Sync + 'static {
    /// The claims of a compact JWS that one of the client's keys signed. The algorithm is the
    /// key's own, never the one the assertion names. Says nothing of expiry, audience or replay.
    ///
    /// Keys that the client publishes are fetched and kept for a while; all who ask at once share
    /// one fetch. A key it does not know yet is looked for anew, not more often than once a minute
    /// for each client.
    async fn verify(
        &self,
        client: &ClientId,
        keys: &ClientKeys,
        assertion: &str,
    ) -> Result<Value, AssertionError>;
}

/// Why an assertion proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssertionError {
    /// Not signed by one of the client's keys.
    #[error("the assertion is not signed by a key of the client")]
    Invalid,
    /// The client's keys cannot be fetched right now. Retry later.
    #[error("the keys of the client are unavailable")]
    Unavailable(#[source] Cause),
}
