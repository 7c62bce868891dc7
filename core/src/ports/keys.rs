//! Keys that sign access tokens.

use std::fmt::Debug;

use async_trait::async_trait;
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
