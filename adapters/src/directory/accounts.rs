//! User names, or ids of clients, with the hashes of their passwords or secrets.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use ehi_core::ports::{Credentials, LoginError};
use secrecy::ExposeSecret;

use super::DirectoryError;
use super::turns::{self, TURNS};

/// Whether this is a hash that can be verified.
pub(super) fn is_argon2id(hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id")
}

/// User names with their password hashes, and who each of them is.
#[derive(Debug)]
pub(super) struct Accounts<T> {
    by_name: HashMap<String, (Arc<str>, T)>,
    /// A hash nobody has the password of: an unknown name takes as long as a wrong password.
    nobody: Arc<str>,
}

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
        Ok(Self {
            by_name: accounts,
            nobody: NOBODY.into(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// All of them.
    pub(super) fn by_name(&self) -> &HashMap<String, (Arc<str>, T)> {
        &self.by_name
    }

    /// Who has this name, proven or not.
    pub(super) fn get(&self, username: &str) -> Option<&T> {
        self.by_name.get(username).map(|(_, who)| who)
    }

    pub(super) async fn verify(&self, credentials: Credentials) -> Result<T, LoginError> {
        let account = self.by_name.get(&credentials.username);
        let hash = account.map_or(&self.nobody, |(hash, _)| hash).clone();
        let matches = TURNS.take(move |blocks| {
            let password = credentials.password.expose_secret().as_bytes();
            turns::matches(password, &hash, blocks)
        });
        match (account, matches.await?) {
            (Some((_, who)), true) => Ok(who.clone()),
            _ => Err(LoginError::Refused),
        }
    }
}

/// The hash of a random password that was thrown away, with this version's default parameters.
pub(super) const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$ApPX4kuEwQgJ5IhMkk/2oQ$BpOlshzBA/diUvGIy8eXnItWU565jXhBnMvNjpZnjrc";
