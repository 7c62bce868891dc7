//! Changes of clients and staff.

use ehi_core::auth::{ClientId, StaffMember, StaffName};
use ehi_core::ports::StoreError;

use super::{Database, clients, staff, unavailable};
use crate::accounts::{Mistake, Refusal, Registration};

/// Why clients or staff were not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// It makes no sense with what is there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A client that cannot be registered so.
    #[error("client '{id}': {mistake}")]
    Client {
        /// Which.
        id: ClientId,
        /// What is wrong, and how it would be right.
        mistake: Mistake,
    },
    /// A password hash that is none.
    #[error("the password hash of '{0}' is no argon2id hash")]
    PasswordHash(StaffName),
    /// The database cannot be used right now. Retry later.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes all of these clients and staff, the latter with the hashes of their passwords, or, when
/// one of them is refused, nobody.
pub async fn take_over(
    database: &Database,
    clients: &[Registration],
    staff: &[(&StaffMember, &str)],
) -> Result<(), RegistryError> {
    let mut transaction = database.begin().await?;
    for client in clients {
        clients::insert(&mut *transaction, client).await?;
    }
    for (member, hash) in staff {
        staff::insert(&mut *transaction, member, hash).await?;
    }
    Ok(transaction.commit().await.map_err(unavailable)?)
}
