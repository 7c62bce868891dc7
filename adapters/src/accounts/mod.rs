//! What clients and staff are known by, wherever that is kept: registrations of clients, and hashes
//! of passwords and secrets. No adapter itself: the directory file and the database share it.

mod passwords;
mod registration;
mod turns;

use ehi_core::auth::{ClientId, StaffName};

#[cfg(test)]
pub(crate) use passwords::NOBODY;
pub use passwords::hash_password;
pub(crate) use passwords::{is_argon2id, is_password};
pub use registration::{AuthMethod, Lifetime, Mistake, Registration};

/// Why clients or staff cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is such a client already.
    #[error("there is a client '{0}' already")]
    ClientTaken(ClientId),
    /// There is no such client.
    #[error("there is no client '{0}'")]
    NoClient(ClientId),
    /// The client has no secret.
    #[error("client '{0}' has no secret: it authenticates in another way")]
    NoSecret(ClientId),
    /// There is such a member of staff already.
    #[error("there is a member of staff '{0}' already")]
    StaffTaken(StaffName),
    /// There is no such member of staff.
    #[error("there is no member of staff '{0}'")]
    NoStaff(StaffName),
}
