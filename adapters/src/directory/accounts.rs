//! User names, or ids of clients, with the hashes of their passwords or secrets.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use ehi_core::ports::{Credentials, LoginError};

use super::DirectoryError;
use crate::accounts::{is_argon2id, is_password};

/// User names with their password hashes, and who each of them is.
#[derive(Debug)]
pub(super) struct Accounts<T>(HashMap<String, (Arc<str>, T)>);

impl<T: Clone + Debug> Accounts<T> {
    pub(super) fn new(
        entries: impl Iterator<Item = (String, String, T)>,
    ) -> Result<Self, DirectoryError> {
        let mut accounts = HashMap::new();
        for (username, hash, who) in entries {
            if !is_argon2id(&hash) {
                return Err(DirectoryError::PasswordHash(username));
            }
            if accounts
                .insert(username.clone(), (hash.into(), who))
                .is_some()
            {
                return Err(DirectoryError::Twice(username));
            }
        }
        Ok(Self(accounts))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everybody, with the hash of their password.
    pub(super) fn all(&self) -> impl Iterator<Item = (&T, &str)> {
        self.0.values().map(|(hash, who)| (who, &**hash))
    }

    /// All of them.
    pub(super) fn by_name(&self) -> &HashMap<String, (Arc<str>, T)> {
        &self.0
    }

    /// Who has this name, proven or not.
    pub(super) fn get(&self, username: &str) -> Option<&T> {
        self.0.get(username).map(|(_, who)| who)
    }

    pub(super) async fn verify(&self, credentials: Credentials) -> Result<T, LoginError> {
        let account = self.0.get(&credentials.username);
        let hash = account.map(|(hash, _)| hash.clone());
        let matches = is_password(hash, credentials.password).await?;
        match account {
            Some((_, who)) if matches => Ok(who.clone()),
            _ => Err(LoginError::Refused),
        }
    }
}
