//! Which apps may ask.

use std::fmt::Debug;

use async_trait::async_trait;

use super::StoreError;
use crate::auth::{Client, ClientId};

/// Knows the registered SMART clients.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait ClientRegistry: Debug + Send + Sync + 'static {
    /// The client with this id, or `None`.
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError>;
}
