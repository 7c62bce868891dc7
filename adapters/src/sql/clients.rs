//! Registered clients.

use async_trait::async_trait;
use ehi_core::auth::{Client, ClientId};
use ehi_core::ports::{ClientRegistry, StoreError};
use secrecy::SecretString;
use serde_aux::serde_introspection::serde_introspect;
use serde_json::{Map, Value};
use sqlx::{Any, Executor};

use super::unreadable::Row;
use super::{Database, RegistryError, unavailable};
use crate::accounts::{Refusal, Registration, is_password};

/// Clients in a database. Nothing is kept beside it: what changes counts at once, on every
/// replica.
#[derive(Debug, Clone)]
pub struct SqlClients(Database);

impl SqlClients {
    /// The clients of this database.
    pub fn new(database: &Database) -> Self {
        Self(database.clone())
    }

    /// Every client that can be read, by its id.
    pub async fn list(&self) -> Result<Vec<Client>, StoreError> {
        let found = sqlx::query_as::<_, (String, String)>(
            "SELECT id, registration FROM clients ORDER BY id",
        )
        .fetch_all(self.0.pool())
        .await
        .map_err(unavailable)?;
        let clients = found.iter().filter_map(|(id, text)| {
            let read =
                parsed(text).and_then(|client| client.client().map_err(StoreError::unreadable));
            self.0.readable(Row::Client, id, read)
        });
        Ok(clients.collect())
    }

    /// Whether there is any, be it one that cannot be read.
    pub async fn any(&self) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar::<_, String>("SELECT id FROM clients LIMIT 1")
            .fetch_optional(self.0.pool())
            .await
            .map_err(unavailable)?;
        Ok(found.is_some())
    }

    /// Whether this one is there, be it that it cannot be read.
    pub async fn is_there(&self, id: &ClientId) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar::<_, String>("SELECT id FROM clients WHERE id = $1")
            .bind(id.as_str().to_owned())
            .fetch_optional(self.0.pool())
            .await
            .map_err(unavailable)?;
        Ok(found.is_some())
    }

    /// A client as it is written down, or `None`.
    pub async fn registration(&self, id: &ClientId) -> Result<Option<Registration>, StoreError> {
        let found =
            sqlx::query_scalar::<_, String>("SELECT registration FROM clients WHERE id = $1")
                .bind(id.as_str().to_owned())
                .fetch_optional(self.0.pool())
                .await
                .map_err(unavailable)?;
        found.map(|text| parsed(&text)).transpose()
    }

    /// Adds a client. One that makes no sense, or whose id is taken, is refused.
    pub async fn add(&self, client: &Registration) -> Result<(), RegistryError> {
        insert(self.0.pool(), client).await
    }

    /// Removes a client.
    pub async fn remove(&self, id: &ClientId) -> Result<(), RegistryError> {
        let removed = sqlx::query("DELETE FROM clients WHERE id = $1")
            .bind(id.as_str().to_owned())
            .execute(self.0.pool())
            .await
            .map_err(unavailable)?;
        match removed.rows_affected() {
            0 => Err(Refusal::NoClient(id.clone()).into()),
            _ => Ok(()),
        }
    }

    /// Replaces the hash of a client's secret.
    pub async fn replace_secret(&self, id: &ClientId, hash: &str) -> Result<(), RegistryError> {
        let mut transaction = self.0.begin().await?;
        // Nobody else changes it until the end.
        let found = sqlx::query_scalar::<_, String>(
            "UPDATE clients SET registration = registration WHERE id = $1 RETURNING registration",
        )
        .bind(id.as_str().to_owned())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let found = found.ok_or_else(|| Refusal::NoClient(id.clone()))?;
        let client = parsed(&found)?;
        let fresh = Registration {
            secret_hash: client.secret_hash.as_ref().map(|_| hash.to_owned()),
            ..client
        };
        if fresh.secret_hash.is_none() {
            return Err(Refusal::NoSecret(id.clone()).into());
        }
        check(&fresh)?;
        // Whatever else a later version wrote into it stays.
        let mut members: Map<String, Value> =
            serde_json::from_str(&found).map_err(StoreError::unreadable)?;
        members.insert("secret_hash".to_owned(), hash.into());
        sqlx::query("UPDATE clients SET registration = $2 WHERE id = $1")
            .bind(id.as_str().to_owned())
            .bind(Value::from(members).to_string())
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        Ok(transaction.commit().await.map_err(unavailable)?)
    }
}

pub(super) async fn insert<'c>(
    on: impl Executor<'c, Database = Any>,
    client: &Registration,
) -> Result<(), RegistryError> {
    check(client)?;
    let kept = sqlx::query(
        "INSERT INTO clients (id, registration) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
    )
    .bind(client.id.as_str().to_owned())
    .bind(serde_json::to_string(client).map_err(unavailable)?)
    .execute(on)
    .await
    .map_err(unavailable)?;
    match kept.rows_affected() {
        0 => Err(Refusal::ClientTaken(client.id.clone()).into()),
        _ => Ok(()),
    }
}

/// Whether there could be such a client.
fn check(registration: &Registration) -> Result<(), RegistryError> {
    let client = registration.clone().client();
    client.map(drop).map_err(|mistake| RegistryError::Client {
        id: registration.id.clone(),
        mistake,
    })
}

/// A registration of this version or of a later one, whose new members mean nothing here.
fn parsed(json: &str) -> Result<Registration, StoreError> {
    let mut members: Map<String, Value> =
        serde_json::from_str(json).map_err(StoreError::unreadable)?;
    let known = serde_introspect::<Registration>();
    members.retain(|name, _| known.contains(&name.as_str()));
    serde_json::from_value(members.into()).map_err(unavailable)
}

#[async_trait]
impl ClientRegistry for SqlClients {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        let registration = self.registration(id).await?;
        let client = registration.map(Registration::client).transpose();
        client.map_err(unavailable)
    }

    async fn verify_secret(
        &self,
        id: &ClientId,
        secret: &SecretString,
    ) -> Result<bool, StoreError> {
        let registration = self.registration(id).await?;
        let hash = registration.and_then(|registration| registration.secret_hash);
        let verified = is_password(hash.map(Into::into), secret.clone()).await;
        verified.map_err(StoreError::unavailable)
    }
}
