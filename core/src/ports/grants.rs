//! Authorization codes, refresh families, and the assertions that were used.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::auth::{ClientId, CodeGrant, GrantId, RefreshFamily, SecretHash};

/// Keeps what can be used once: authorization codes and refresh tokens. Atomic on every replica.
///
/// Only hashes of codes and tokens are stored.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait GrantStore: Debug + Send + Sync + 'static {
    /// Keeps a new authorization code.
    async fn insert_code(&self, code: SecretHash, grant: &CodeGrant) -> Result<(), StoreError>;

    /// Uses a code up. Of many concurrent calls exactly one gets [`CodeUse::First`].
    async fn use_code(&self, code: SecretHash) -> Result<CodeUse, StoreError>;

    /// Begins a refresh family with its first token. A grant that was revoked stays revoked:
    /// then nothing is kept.
    async fn insert_family(
        &self,
        token: SecretHash,
        family: &RefreshFamily,
    ) -> Result<(), StoreError>;

    /// Where a refresh token stands. Uses nothing up.
    async fn refresh_token(&self, token: SecretHash) -> Result<RefreshStanding, StoreError>;

    /// Trades a refresh token for the next one. Of many concurrent calls with the same token
    /// exactly one gets [`RefreshUse::Rotated`]; the others see [`RefreshUse::Replayed`].
    async fn rotate(&self, token: SecretHash, next: SecretHash) -> Result<RefreshUse, StoreError>;

    /// Uses the `jti` of a client's assertion up; kept until `until`, when the assertion has
    /// expired. Of many concurrent calls exactly one gets [`JtiUse::First`].
    async fn use_jti(
        &self,
        client: &ClientId,
        jti: SecretHash,
        until: Timestamp,
    ) -> Result<JtiUse, StoreError>;

    /// Ends a grant: its refresh tokens and access tokens are worth nothing from now on. Kept
    /// until `until`, when every token of the grant has expired anyway; called again, until the
    /// later of the two.
    async fn revoke(&self, grant: GrantId, until: Timestamp) -> Result<(), StoreError>;

    /// Whether a grant was revoked.
    async fn is_revoked(&self, grant: GrantId) -> Result<bool, StoreError>;

    /// Forgets what expired before `now`; of codes, what expired [`REMEMBER_CODES`] before.
    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;
}

/// How long a code is remembered beyond its end, so that a late second use is recognised.
pub const REMEMBER_CODES: Duration = Duration::from_hours(24);

/// What became of using a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeUse {
    /// The first use. The caller still checks expiry, client, redirect URI and verifier.
    First(CodeGrant),
    /// Used before: somebody may have stolen it. Revoke what the first use gave.
    Again(GrantId),
    /// No such code.
    Unknown,
}

/// What became of using a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshUse {
    /// The newest of its family; `next` took its place.
    Rotated(RefreshFamily),
    /// An older one of its family: somebody may have stolen it. Revoke the family.
    Replayed(RefreshFamily),
    /// No such token, or its family was revoked.
    Unknown,
}

/// Where a refresh token stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshStanding {
    /// The newest of its family.
    Newest(RefreshFamily),
    /// An older one of its family: somebody may have stolen it.
    Replaced(RefreshFamily),
    /// No such token, or its family was revoked.
    Unknown,
}

/// What became of using a `jti`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JtiUse {
    /// The first use.
    First,
    /// Used before: somebody replays the assertion.
    Again,
}
