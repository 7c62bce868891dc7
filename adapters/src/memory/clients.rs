//! Clients that are registered when the server starts.

use std::collections::HashMap;

use async_trait::async_trait;
use ehi_core::auth::{Client, ClientId};
use ehi_core::ports::{ClientRegistry, StoreError};
use secrecy::SecretString;

/// A fixed set of clients. It keeps no secrets: clients here are public or have a key.
#[derive(Debug, Default)]
pub struct MemoryClients(HashMap<ClientId, Client>);

impl FromIterator<Client> for MemoryClients {
    fn from_iter<I: IntoIterator<Item = Client>>(clients: I) -> Self {
        Self(
            clients
                .into_iter()
                .map(|client| (client.id.clone(), client))
                .collect(),
        )
    }
}

#[async_trait]
impl ClientRegistry for MemoryClients {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        Ok(self.0.get(id).cloned())
    }

    async fn verify_secret(&self, _: &ClientId, _: &SecretString) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use ehi_core::testkit::contract::client_registry::client;

    use super::*;

    ehi_core::client_registry_contract!(std::future::ready((
        MemoryClients::from_iter([client()]),
        ()
    )));
}
