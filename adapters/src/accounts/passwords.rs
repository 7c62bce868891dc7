//! Passwords and secrets, and the argon2id hashes they are kept by.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use ehi_core::ports::LoginError;
use secrecy::{ExposeSecret, SecretString};

use super::turns::{self, TURNS};

/// The hash of a random password that was thrown away, with this version's default parameters.
pub(crate) const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$ApPX4kuEwQgJ5IhMkk/2oQ$BpOlshzBA/diUvGIy8eXnItWU565jXhBnMvNjpZnjrc";

/// The argon2id hash of a password, to be kept in its place.
pub fn hash_password(password: &SecretString) -> Result<String, LoginError> {
    let hash = Argon2::default().hash_password(password.expose_secret().as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| LoginError::Unavailable(error.to_string().into()))
}

/// Whether this is a hash that can be verified.
pub(crate) fn is_argon2id(hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id")
}

/// Whether this is the password of that hash. Where there is none, because nobody has that name,
/// it is not, and to find that out takes as long. Checks take turns, in the whole process.
pub(crate) async fn is_password(
    hash: Option<Arc<str>>,
    password: SecretString,
) -> Result<bool, LoginError> {
    let known = hash.is_some();
    let hash = hash.unwrap_or_else(|| NOBODY.into());
    let matches = TURNS
        .take(move |blocks| turns::matches(password.expose_secret().as_bytes(), &hash, blocks));
    Ok(matches.await? && known)
}
