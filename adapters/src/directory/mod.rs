//! Clients, staff and patients' logins from a TOML file.
//!
//! ```toml
//! [[client]]
//! id = "my-app"
//! name = "My app"
//! redirect_uris = ["https://app.example.org/callback"]
//!
//! [[client]]
//! id = "my-system"
//! name = "My system"
//! token_endpoint_auth_method = "private_key_jwt"
//! jwks_uri = "https://system.example.org/jwks.json"
//! scopes = ["system/$ehi-export"]
//!
//! [[staff]]
//! username = "ada"
//! password_hash = "$argon2id$…"      # made by `ehi-server hash-password`
//! role = "admin"                     # or "reviewer", as it is without it
//!
//! [[patient]]
//! username = "grace"
//! password_hash = "$argon2id$…"
//! patient = "6c5d9ca9-54d7-42f5-bfae-a7c19cd217f2"
//! ```

mod accounts;
mod changes;
mod edit;
mod live;
mod toml_mistake;

use std::collections::HashMap;

use async_trait::async_trait;
use ehi_core::auth::{
    Client, ClientId, Credential, LoginAttempt, StaffMember, StaffName, StaffRole,
};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    ClientRegistry, Credentials, LoginError, PatientAnswer, PatientLogin, PatientPrompt, Proof,
    StaffAnswer, StaffLogin, StaffPrompt, Standing, StoreError,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use accounts::Accounts;

use crate::accounts::{Mistake, Registration};

pub use edit::{DirectoryEdit, EditError};
pub use live::{DirectoryFile, DirectoryFileError};
pub use toml_mistake::TomlMistake;

/// Everybody the server knows by name.
#[derive(Debug)]
pub struct Directory {
    clients: HashMap<ClientId, Client>,
    registrations: Vec<Registration>,
    secrets: Accounts<ClientId>,
    staff: Accounts<StaffMember>,
    patients: Accounts<PatientId>,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Not TOML, or not in this shape.
    #[error("the directory file cannot be read: {0}")]
    Toml(TomlMistake),
    /// Two entries of one name.
    #[error("the directory file names '{0}' twice")]
    Twice(String),
    /// A client that cannot be registered so.
    #[error("client '{id}': {mistake}")]
    Client {
        /// Which.
        id: ClientId,
        /// What is wrong, and how it would be right.
        mistake: Mistake,
    },
    /// A password hash that is none.
    #[error(
        "the password_hash of '{0}' is no argon2id hash: make one with 'ehi-server hash-password'"
    )]
    PasswordHash(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    client: Vec<Registration>,
    #[serde(default)]
    staff: Vec<StaffEntry>,
    #[serde(default)]
    patient: Vec<PatientEntry>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StaffEntry {
    username: String,
    password_hash: String,
    #[serde(default = "reviewer")]
    role: StaffRole,
}

fn reviewer() -> StaffRole {
    StaffRole::Reviewer
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatientEntry {
    username: String,
    password_hash: String,
    patient: PatientId,
}

impl Directory {
    /// Reads the text of a directory file.
    pub fn parse(text: &str) -> Result<Self, DirectoryError> {
        let file: File = toml::from_str(text)
            .map_err(|error| DirectoryError::Toml(TomlMistake::of(text, &error)))?;
        let registrations = file.client.clone();
        let mut clients = HashMap::new();
        let mut secrets = Vec::new();
        for registration in file.client {
            let id = registration.id.clone();
            if let Some(hash) = &registration.secret_hash {
                secrets.push((id.to_string(), hash.clone(), id.clone()));
            }
            let client = match registration.client() {
                Ok(client) => client,
                Err(mistake) => return Err(DirectoryError::Client { id, mistake }),
            };
            if clients.insert(id.clone(), client).is_some() {
                return Err(DirectoryError::Twice(id.to_string()));
            }
        }
        let staff = (file.staff.into_iter()).map(|entry| {
            let member = StaffMember {
                name: StaffName::proven(&entry.username),
                role: entry.role,
            };
            (entry.username, entry.password_hash, member)
        });
        let patients = (file.patient.into_iter())
            .map(|entry| (entry.username, entry.password_hash, entry.patient));
        Ok(Self {
            clients,
            registrations,
            secrets: Accounts::new(secrets.into_iter())?,
            staff: Accounts::new(staff)?,
            patients: Accounts::new(patients)?,
        })
    }

    /// Every client, by its id.
    pub fn clients(&self) -> Vec<&Client> {
        let mut clients: Vec<_> = self.clients.values().collect();
        clients.sort_by(|one, other| one.id.cmp(&other.id));
        clients
    }

    /// Every client as it is written down, in the file's order.
    pub fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    /// Everybody who reviews, by name, with the hash of their password.
    pub fn staff(&self) -> Vec<(&StaffMember, &str)> {
        let mut staff: Vec<_> = self.staff.all().collect();
        staff.sort_by(|(one, _), (other, _)| one.name.as_str().cmp(other.name.as_str()));
        staff
    }

    /// Whether any client is registered.
    pub fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether any member of staff can log in.
    pub fn has_staff(&self) -> bool {
        !self.staff.is_empty()
    }

    /// Whether any patient can log in.
    pub fn has_patients(&self) -> bool {
        !self.patients.is_empty()
    }
}

#[async_trait]
impl ClientRegistry for Directory {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        Ok(self.clients.get(id).cloned())
    }

    async fn verify_secret(
        &self,
        id: &ClientId,
        secret: &SecretString,
    ) -> Result<bool, StoreError> {
        let credentials = Credentials {
            username: id.to_string(),
            password: secret.clone(),
        };
        match self.secrets.verify(credentials).await {
            Ok(_) => Ok(true),
            Err(LoginError::Refused) => Ok(false),
            Err(error) => Err(StoreError::unavailable(error)),
        }
    }
}

#[async_trait]
impl StaffLogin for Directory {
    async fn prompt(&self, _: &LoginAttempt, _: Proof) -> Result<StaffPrompt, LoginError> {
        Ok(StaffPrompt::Password)
    }

    async fn verify(&self, answer: StaffAnswer) -> Result<StaffMember, LoginError> {
        match answer {
            StaffAnswer::Password(credentials) => self.staff.verify(credentials).await,
            StaffAnswer::Returned(_) => Err(LoginError::Refused),
        }
    }

    async fn standing(&self, name: &StaffName) -> Result<Standing, LoginError> {
        let account = self.staff.by_name().get(name.as_str());
        Ok(account.map_or(Standing::Gone, |(hash, member)| {
            Standing::Has(member.role, Credential::of_hash(hash))
        }))
    }
}

#[async_trait]
impl PatientLogin for Directory {
    async fn prompt(&self, _: &LoginAttempt, _: Proof) -> Result<PatientPrompt, LoginError> {
        Ok(PatientPrompt::Password)
    }

    async fn verify(&self, answer: PatientAnswer) -> Result<PatientId, LoginError> {
        match answer {
            PatientAnswer::Password(credentials) => self.patients.verify(credentials).await,
            PatientAnswer::Picked(_) | PatientAnswer::Returned(_) => Err(LoginError::Refused),
        }
    }
}

#[cfg(test)]
mod tests;
