//! Where clients and staff are, in the directory file or in the database, and how the operator
//! changes them: first it is written down that they do, then it is done.

use std::path::Path;
use std::sync::Arc;

use ehi_adapters::accounts::{Refusal, Registration};
use ehi_adapters::directory::{Directory, DirectoryEdit, DirectoryFile, DirectoryFileError};
use ehi_adapters::sql::{Opening, RegistryError, SqlClients, SqlStaff, take_over};
use ehi_adapters::system::SystemClock;
use ehi_core::auth::{Client, ClientId, StaffMember, StaffName};
use ehi_core::ports::{Action, Actor, AuditEvent, By, ClientRegistry, Clock, Origin, StoreError};

use crate::Failure;
use crate::app::Stores;
use crate::config::Config;

/// Who may ask and who reviews, as a server looks them up.
#[derive(Debug, Clone)]
pub enum People {
    /// In the directory file.
    File(Arc<DirectoryFile>),
    /// In the database.
    Database {
        /// Who may ask.
        clients: SqlClients,
        /// Who reviews.
        staff: SqlStaff,
    },
}

impl People {
    /// Opens what the configuration names. What is changed in a file by hand is written into the
    /// audit log.
    pub fn open(config: &Config, stores: &Stores) -> Result<Self, Failure> {
        if let Some(file) = &config.directory {
            let audit = stores.audit.clone();
            let file = DirectoryFile::open(file, Arc::new(SystemClock), audit).map_err(unusable)?;
            return Ok(Self::File(Arc::new(file)));
        }
        let database = stores.database()?;
        Ok(Self::Database {
            clients: SqlClients::new(database),
            staff: SqlStaff::new(database),
        })
    }

    /// Tells when nobody could do anything: of a file it is a mistake, and in a database they may
    /// be added while the server runs.
    pub async fn check(&self, config: &Config) -> Result<(), Failure> {
        match self {
            Self::File(file) if file.current().await.has_clients() => Ok(()),
            Self::File(_) => {
                let file = config.directory.as_deref().unwrap_or(Path::new(""));
                Err(Failure::new(format!(
                    "{} has no [[client]]: no app could ask for anything",
                    file.display()
                )))
            }
            Self::Database { clients, staff } => {
                if !clients.any().await.map_err(unread)? {
                    tracing::warn!(
                        "no client is registered: 'ehi-server client add' registers one, 'ehi-server directory import' takes over those of a file"
                    );
                }
                let passwords = config.staff_login.is_none();
                if passwords && !staff.any().await.map_err(unread)? {
                    tracing::warn!(
                        "nobody can release an export: 'ehi-server staff add' adds a member of staff"
                    );
                }
                Ok(())
            }
        }
    }

    /// Who may ask.
    pub fn clients(&self) -> Arc<dyn ClientRegistry> {
        match self {
            Self::File(file) => file.clone(),
            Self::Database { clients, .. } => Arc::new(clients.clone()),
        }
    }
}

/// Every client, by its id.
pub async fn list_clients(config: &Config) -> Result<Vec<Client>, Failure> {
    if let Some(file) = &config.directory {
        let directory = Directory::read(file).map_err(unusable)?;
        return Ok(directory.clients().into_iter().cloned().collect());
    }
    let clients = SqlClients::new(&config.database().open_for(Opening::AsItIs).await?);
    clients.list().await.map_err(unread)
}

/// Everybody who reviews, by name.
pub async fn list_staff(config: &Config) -> Result<Vec<StaffMember>, Failure> {
    if let Some(file) = &config.directory {
        let directory = Directory::read(file).map_err(unusable)?;
        let staff = directory.staff().into_iter();
        return Ok(staff.map(|(member, _)| member.clone()).collect());
    }
    let staff = SqlStaff::new(&config.database().open_for(Opening::AsItIs).await?);
    staff.list().await.map_err(unread)
}

/// A change of clients or staff.
#[derive(Debug)]
pub enum Change {
    /// A new client.
    AddClient(Box<Registration>),
    /// A client less.
    RemoveClient(ClientId),
    /// A new secret of a client, by its hash.
    ReplaceSecret(ClientId, String),
    /// A new member of staff, with the hash of their password.
    AddStaff(StaffMember, String),
    /// A member of staff less.
    RemoveStaff(StaffName),
    /// A new password of staff, by its hash.
    ReplacePassword(StaffName, String),
}

impl Change {
    /// The entry of the audit log.
    fn event(&self) -> AuditEvent {
        let about = |action, client: Option<&ClientId>, staff: Option<&StaffName>| AuditEvent {
            client: client.cloned(),
            staff: staff.cloned(),
            ..operator(action)
        };
        match self {
            Self::AddClient(client) => about(Action::AddClient, Some(&client.id), None),
            Self::RemoveClient(id) => about(Action::RemoveClient, Some(id), None),
            Self::ReplaceSecret(id, _) => about(Action::RotateClientSecret, Some(id), None),
            Self::AddStaff(member, _) => about(Action::AddStaff, None, Some(&member.name)),
            Self::RemoveStaff(name) => about(Action::RemoveStaff, None, Some(name)),
            Self::ReplacePassword(name, _) => about(Action::ChangeStaffPassword, None, Some(name)),
        }
    }

    fn in_file(&self, edit: &mut DirectoryEdit) -> Result<(), Failure> {
        let edited = match self {
            Self::AddClient(client) => edit.add(client),
            Self::RemoveClient(id) => edit.remove(id),
            Self::ReplaceSecret(id, hash) => edit.replace_secret(id, hash),
            Self::AddStaff(member, hash) => edit.add_staff(member, hash),
            Self::RemoveStaff(name) => edit.remove_staff(name),
            Self::ReplacePassword(name, hash) => edit.replace_password(name, hash),
        };
        edited.map_err(|error| Failure::new(error.to_string()))
    }

    /// Why it makes no sense in this database, so that nobody reads of it in the audit log.
    async fn refusal(
        &self,
        clients: &SqlClients,
        staff: &SqlStaff,
    ) -> Result<Option<Refusal>, StoreError> {
        Ok(match self {
            Self::AddClient(client) => (clients.is_there(&client.id).await?)
                .then(|| Refusal::ClientTaken(client.id.clone())),
            Self::RemoveClient(id) => {
                (!clients.is_there(id).await?).then(|| Refusal::NoClient(id.clone()))
            }
            Self::ReplaceSecret(id, _) => match clients.registration(id).await? {
                None => Some(Refusal::NoClient(id.clone())),
                Some(client) if client.secret_hash.is_none() => Some(Refusal::NoSecret(id.clone())),
                Some(_) => None,
            },
            Self::AddStaff(member, _) => (staff.is_there(&member.name).await?)
                .then(|| Refusal::StaffTaken(member.name.clone())),
            Self::RemoveStaff(name) | Self::ReplacePassword(name, _) => {
                (!staff.is_there(name).await?).then(|| Refusal::NoStaff(name.clone()))
            }
        })
    }

    async fn in_database(
        self,
        clients: &SqlClients,
        staff: &SqlStaff,
    ) -> Result<(), RegistryError> {
        match self {
            Self::AddClient(client) => clients.add(&client).await,
            Self::RemoveClient(id) => clients.remove(&id).await,
            Self::ReplaceSecret(id, hash) => clients.replace_secret(&id, &hash).await,
            Self::AddStaff(member, hash) => staff.add(&member, &hash).await,
            Self::RemoveStaff(name) => staff.remove(&name).await,
            Self::ReplacePassword(name, hash) => staff.replace_password(&name, &hash).await,
        }
    }

    /// Writes the audit entry, then makes the change, wherever clients and staff are.
    pub async fn make(self, config: &Config) -> Result<(), Failure> {
        if let Self::AddClient(client) = &self {
            let client = Registration::clone(client).client();
            client
                .map_err(|error| Failure::because("the client cannot be registered so", error))?;
        }
        let unchanged = |error: Box<dyn std::error::Error + Send + Sync>| {
            Failure::because("everything stays as it was", error)
        };
        let Some(file) = &config.directory else {
            let database = config.database().open_for(Opening::Make).await?;
            let (clients, staff) = (SqlClients::new(&database), SqlStaff::new(&database));
            if let Some(refusal) = self.refusal(&clients, &staff).await.map_err(unread)? {
                return Err(Failure::new(refusal.to_string()));
            }
            record(config, &[self.event()]).await?;
            let made = self.in_database(&clients, &staff).await;
            return made.map_err(|error| unchanged(error.into()));
        };
        let mut edit = DirectoryEdit::open(file)
            .map_err(|error| Failure::because("the directory cannot be changed", error))?;
        self.in_file(&mut edit)?;
        record(config, &[self.event()]).await?;
        edit.save().map_err(|error| unchanged(error.into()))
    }
}

/// Takes the clients and staff of a directory file into the database; how many of each, and how
/// many patients stay behind.
pub async fn import(config: &Config, file: &Path) -> Result<(usize, usize), Failure> {
    if config.directory.is_some() {
        return Err(Failure::new(
            "the configuration names a directory: this server would not look into the database. Take that line out first",
        ));
    }
    let directory = Directory::read(file).map_err(unusable)?;
    let (clients, staff) = (directory.registrations(), directory.staff());
    let database = config.database().open_for(Opening::Make).await?;
    let mut events = Vec::new();
    let stores = (SqlClients::new(&database), SqlStaff::new(&database));
    let new = (clients.iter().cloned())
        .map(|client| Change::AddClient(Box::new(client)))
        .chain(staff.iter().map(|(member, hash)| {
            Change::AddStaff(StaffMember::clone(member), (*hash).to_owned())
        }));
    for change in new {
        if let Some(refusal) = change.refusal(&stores.0, &stores.1).await.map_err(unread)? {
            return Err(Failure::new(format!("{refusal}: nobody was taken over")));
        }
        events.push(change.event());
    }
    record(config, &events).await?;
    take_over(&database, clients, &staff)
        .await
        .map_err(|error| Failure::because("nobody was taken over", error))?;
    Ok((clients.len(), staff.len()))
}

fn unusable(error: DirectoryFileError) -> Failure {
    Failure::because("the directory cannot be used", error)
}

fn unread(error: StoreError) -> Failure {
    Failure::because("clients and staff cannot be looked up", error)
}

/// What the operator is about to do, for the audit log.
pub(crate) fn operator(action: Action) -> AuditEvent {
    let operator = By {
        actor: Actor::Operator,
        origin: Origin::default(),
    };
    operator.did(action, SystemClock.now())
}

/// Remembers what the operator is about to do.
pub(crate) async fn record(config: &Config, events: &[AuditEvent]) -> Result<(), Failure> {
    let stores = Stores::of(config.database().open_for(Opening::Make).await?);
    for event in events {
        (stores.audit.append(event))
            .await
            .map_err(|error| Failure::because("the audit log cannot be written", error))?;
    }
    Ok(())
}
