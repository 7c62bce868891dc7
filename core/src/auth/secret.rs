//! Tokens, codes and cookies: random texts of which only the hash is kept.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A random 256-bit secret in base64url. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A secret made of randomness.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// A secret that somebody presents. Anything of sensible length may be one.
    pub fn presented(text: &str) -> Option<Self> {
        (1..=512)
            .contains(&text.len())
            .then(|| Self(text.to_owned()))
    }

    /// The secret itself, to hand it out.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What a store keeps of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The SHA-256 of a [`Secret`]. The secret cannot be told from it, and 256 random bits cannot be
/// guessed, so a plain hash is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash as bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_logs() {
        let secret = Secret::from_random([7; 32]);
        assert_eq!(secret.expose().len(), 43);
        assert!(!format!("{secret:?}").contains(secret.expose()));
        assert_eq!(
            Secret::presented(secret.expose()).unwrap().hash(),
            secret.hash()
        );
        assert!(Secret::presented("").is_none() && Secret::presented(&"x".repeat(513)).is_none());
    }
}
