//! Time and randomness.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

/// The only source of time.
///
/// Tests set it by hand; nothing in the core asks the system.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// The current instant.
    fn now(&self) -> Timestamp;

    /// Returns once `duration` has passed on this clock.
    async fn sleep(&self, duration: Duration);
}

/// The only source of randomness. Must be cryptographically strong: tokens, codes and session
/// ids come from it.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
pub trait Entropy: Debug + Send + Sync + 'static {
    /// 32 bytes nobody can predict.
    fn bytes(&self) -> [u8; 32];
}

/// A random UUID (version 4) from such bytes.
pub(crate) fn random_uuid(bytes: [u8; 32]) -> Uuid {
    let mut half = [0; 16];
    half.copy_from_slice(&bytes[..16]);
    uuid::Builder::from_random_bytes(half).into_uuid()
}
