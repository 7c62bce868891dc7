//! RSA keys that sign access tokens, kept in a folder.
//!
//! The newest key signs. The one before it is good as long as a token may live that it signed, so
//! that nobody notices when keys are changed.

mod folder;
mod key;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ehi_core::ports::{Cause, Clock, KeyError, TokenKeys};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde_json::{Value, json};

pub use folder::{KeyFolder, KeyState, ListedKey};
use folder::{Ring, Stamp};

/// An access token of ours is below 2 KiB; nothing longer is even parsed.
const LONGEST_TOKEN: usize = 8 << 10;

/// How often the folder is looked at, while keys are used.
const LOOK: Duration = Duration::from_secs(1);

/// RSA keys of 2048 bits that sign by RS256.
///
/// A key's id is the thumbprint of RFC 7638, so it is the same after every restart. Keys that are
/// [made](KeyFolder::rotate) while the server runs are used from about a second later.
pub struct RsaKeys {
    folder: KeyFolder,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    validation: Validation,
}

#[derive(Debug)]
struct State {
    ring: Arc<Ring>,
    seen: Option<Stamp>,
    looked: Timestamp,
}

impl std::fmt::Debug for RsaKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RsaKeys")
            .field("folder", &self.folder)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// When to look at the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// When it was not looked at for a while.
    NowAndThen,
    /// At once: somebody knows a key that is not known here.
    AtOnce,
}

impl RsaKeys {
    /// Reads the keys from the folder. When there is none yet, makes one and keeps it there,
    /// readable to the server's own user alone. `longest_token` is how long an access token may
    /// live.
    pub async fn open(
        folder: &Path,
        longest_token: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyError> {
        let folder = KeyFolder::new(folder, longest_token);
        let opened = folder.clone();
        // Making a key takes its time.
        let opened = tokio::task::spawn_blocking(move || opened.open());
        let (seen, ring) = opened.await.map_err(unavailable)??;
        let mut validation = Validation::new(Algorithm::RS256);
        // Expiry and audience are the core's to judge, by its own clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Ok(Self {
            state: Mutex::new(State {
                ring: Arc::new(ring),
                seen: Some(seen),
                looked: clock.now(),
            }),
            folder,
            clock,
            validation,
        })
    }

    fn ring(&self, look: Look) -> Arc<Ring> {
        // A panic while the lock was held cannot leave the state half-changed.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let early = state
            .looked
            .saturating_add(LOOK)
            .is_ok_and(|next| now < next);
        // A clock that was set back is no reason never to look again.
        if look == Look::NowAndThen && early && now >= state.looked {
            return state.ring.clone();
        }
        state.looked = now;
        let seen = self.folder.stamp().ok();
        if seen != state.seen {
            let read = self.folder.read();
            // What could not be read may be readable at the next look, unchanged as it is. What is
            // no key is told once.
            let unread = matches!(&read, Err(KeyError::Unavailable(cause)) if is_unread(cause));
            if seen.is_none() || !unread {
                state.seen = seen;
            }
            match read {
                Ok(ring) => {
                    tracing::info!(kid = ring.newest().kid(), "the signing keys were read anew");
                    state.ring = Arc::new(ring);
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the signing keys have changed and cannot be used: they stay as they were"
                    );
                }
            }
        }
        state.ring.clone()
    }
}

#[async_trait]
impl TokenKeys for RsaKeys {
    async fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let ring = self.ring(Look::NowAndThen);
        let key = ring.newest();
        let mut header = Header::new(Algorithm::RS256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(key.kid().to_owned());
        jsonwebtoken::encode(&header, claims, key.signing()).map_err(unavailable)
    }

    async fn verify(&self, token: &str) -> Result<Value, KeyError> {
        if token.len() > LONGEST_TOKEN {
            return Err(KeyError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| KeyError::Invalid)?;
        if header.typ.as_deref() != Some("at+jwt") || header.crit.is_some() {
            return Err(KeyError::Invalid);
        }
        let kid = header.kid.ok_or(KeyError::Invalid)?;
        let now = self.clock.now();
        let mut ring = self.ring(Look::NowAndThen);
        if !ring.knows(&kid) {
            // Another replica may have signed with a key that is newer than our last look.
            ring = self.ring(Look::AtOnce);
        }
        let key = ring.good(now).find(|key| key.kid() == kid);
        let key = key.ok_or(KeyError::Invalid)?;
        let decoded = jsonwebtoken::decode::<Value>(token, key.verifying(), &self.validation);
        decoded
            .map(|decoded| decoded.claims)
            .map_err(|_| KeyError::Invalid)
    }

    async fn jwks(&self) -> Result<Value, KeyError> {
        let now = self.clock.now();
        let ring = self.ring(Look::NowAndThen);
        let keys: Vec<_> = ring.good(now).map(|key| key.jwk().clone()).collect();
        Ok(json!({"keys": keys}))
    }
}

/// Whether this is trouble with reading, and not with what was read.
fn is_unread(cause: &Cause) -> bool {
    let error = cause.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() != io::ErrorKind::InvalidData)
}

fn unavailable(error: impl Into<Cause>) -> KeyError {
    KeyError::Unavailable(error.into())
}

#[cfg(test)]
mod tests;
