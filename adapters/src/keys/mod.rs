//! RSA keys that sign access tokens, kept in a folder or wherever else a
//! [`KeyStore`](ehi_core::ports::KeyStore) keeps them.
//!
//! The newest key signs. The one before it is good as long as a token may live that it signed, so
//! that nobody notices when keys are changed.

mod folder;
mod key;
mod ring;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ehi_core::ports::{Cause, Clock, KeyError, KeyStamp, KeyStoreError, TokenKeys};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde_json::{Value, json};

pub use folder::KeyFolder;
use ring::Ring;
pub use ring::{KeyState, ListedKey, OlderKeys, RotateError, SigningKeys};

/// An access token of ours is below 2 KiB; nothing longer is even parsed.
const LONGEST_TOKEN: usize = 8 << 10;

/// How often it is looked whether keys have come or gone, while keys are used.
const LOOK: Duration = Duration::from_secs(1);

/// RSA keys of 2048 bits that sign by RS256.
///
/// A key's id is the thumbprint of RFC 7638, so it is the same after every restart. Keys that are
/// [made](SigningKeys::rotate) while the server runs are used from about a second later.
#[derive(Debug)]
pub struct RsaKeys {
    watch: Arc<Watch>,
    clock: Arc<dyn Clock>,
    validation: Validation,
}

/// The keys as they were at the last look.
#[derive(Debug)]
struct Watch {
    keys: SigningKeys,
    state: Mutex<State>,
    /// Held by whoever looks.
    looks: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    ring: Arc<Ring>,
    seen: Option<KeyStamp>,
    looked: Timestamp,
    /// How many looks have begun.
    begun: u64,
}

impl RsaKeys {
    /// Reads the keys. When there is none yet, makes one.
    pub async fn open(keys: SigningKeys, clock: Arc<dyn Clock>) -> Result<Self, KeyError> {
        keys.begin().await?;
        // The stamp first: a change in between is then noticed later.
        let seen = keys.store().stamp().await.map_err(unavailable)?;
        let ring = keys.read().await.map_err(unavailable)?;
        let mut validation = Validation::new(Algorithm::RS256);
        // Expiry and audience are the core's to judge, by its own clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let state = State {
            ring: Arc::new(ring),
            seen: Some(seen),
            looked: clock.now(),
            begun: 0,
        };
        Ok(Self {
            watch: Arc::new(Watch {
                keys,
                state: Mutex::new(state),
                looks: tokio::sync::Mutex::default(),
            }),
            clock,
            validation,
        })
    }

    /// The keys, as they were a second ago at most.
    async fn ring(&self) -> Arc<Ring> {
        {
            let now = self.clock.now();
            let mut state = self.watch.state();
            let early = state
                .looked
                .saturating_add(LOOK)
                .is_ok_and(|next| now < next);
            // A clock that was set back is no reason never to look again.
            if early && now >= state.looked {
                return state.ring.clone();
            }
            // Whoever comes meanwhile goes by what there is.
            state.looked = now;
        }
        self.look().await
    }

    /// The keys as they are now. The look outlives whoever asks: nobody who goes away again and
    /// again keeps others from learning that a key was revoked.
    async fn look(&self) -> Arc<Ring> {
        let watch = self.watch.clone();
        let looked = tokio::spawn(async move { watch.look().await }).await;
        looked.unwrap_or_else(|_| self.watch.state().ring.clone())
    }
}

impl Watch {
    /// Those who ask at the same time share one look.
    async fn look(&self) -> Arc<Ring> {
        let asked = self.state().begun;
        let _looking = self.looks.lock().await;
        let before = {
            let mut state = self.state();
            if state.begun > asked {
                // Somebody began to look after this was asked, and has looked by now.
                return state.ring.clone();
            }
            state.begun += 1;
            state.seen.clone()
        };
        let seen = self.keys.store().stamp().await.ok();
        if seen != before {
            let read = self.keys.read().await;
            let mut state = self.state();
            // What could not be read may be readable at the next look, unchanged as it is. What is
            // no key is told once.
            if seen.is_none() || !matches!(read, Err(KeyStoreError::Unavailable(_))) {
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
        self.state().ring.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held cannot leave the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenKeys for RsaKeys {
    async fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let ring = self.ring().await;
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
        let mut ring = self.ring().await;
        if !ring.knows(&kid) {
            // Another replica may have signed with a key that is newer than our last look.
            ring = self.look().await;
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
        let ring = self.ring().await;
        let keys: Vec<_> = ring.good(now).map(|key| key.jwk().clone()).collect();
        Ok(json!({"keys": keys}))
    }
}

fn unavailable(error: impl Into<Cause>) -> KeyError {
    KeyError::Unavailable(error.into())
}

#[cfg(test)]
mod tests;
