//! The keys in their order, and when each has had its day.

use std::sync::Arc;
use std::time::Duration;

use ehi_core::ports::{Kept, KeyAge, KeyError, KeyStore, KeyStoreError, StoredKey};
use jiff::Timestamp;
use secrecy::ExposeSecret;

use super::key::Key;
use super::unavailable;

/// The last tokens of a key are younger than its successor by as much as a running server needs to
/// notice that one, and the clocks of two servers may differ.
const GRACE: Duration = Duration::from_mins(1);

/// The signing keys of a server, wherever they are kept. When a key has had its day follows from
/// the keys' ages and from how long a token may live; nothing else is kept.
#[derive(Debug, Clone)]
pub struct SigningKeys {
    store: Arc<dyn KeyStore>,
    overlap: Duration,
}

/// A key of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// Its id.
    pub kid: String,
    /// When it was made; `None` for the first.
    pub made: Option<Timestamp>,
    /// What it is good for.
    pub state: KeyState,
}

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It signs tokens.
    Signs,
    /// Tokens it signed are good until this instant.
    VerifiesUntil(Timestamp),
    /// It has had its day.
    Retired,
}

/// What becomes of the keys before a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OlderKeys {
    /// They verify as long as tokens may live that they signed.
    Verify,
    /// They are worth nothing from now on: one of them may be in the wrong hands.
    Revoked,
}

/// Why keys were not rotated as they should have been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// There is no new key: everything is as it was.
    #[error("no new key could be made")]
    Unchanged(#[from] KeyError),
    /// The new key signs, but not all older ones could be deleted.
    #[error("{kid} signs from now on, but older keys remain and still verify: try again")]
    OldRemain {
        /// The new key's id.
        kid: String,
        /// Why.
        #[source]
        cause: KeyStoreError,
    },
}

/// The keys, the newest last; never empty.
#[derive(Debug)]
pub(super) struct Ring {
    older: Vec<(KeyAge, Key)>,
    newest: (KeyAge, Key),
    overlap: Duration,
}

impl Ring {
    /// The key that signs.
    pub(super) fn newest(&self) -> &Key {
        &self.newest.1
    }

    pub(super) fn knows(&self, kid: &str) -> bool {
        self.all().any(|(_, key)| key.kid() == kid)
    }

    /// Keys whose tokens are good, the one that signs first.
    pub(super) fn good(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        let mut good: Vec<_> = (self.all().zip(self.states(now)))
            .filter(|(_, state)| *state != KeyState::Retired)
            .map(|((_, key), _)| key)
            .collect();
        good.reverse();
        good.into_iter()
    }

    fn all(&self) -> impl Iterator<Item = &(KeyAge, Key)> {
        self.older.iter().chain([&self.newest])
    }

    /// The state of each key, in order.
    fn states(&self, now: Timestamp) -> impl Iterator<Item = KeyState> {
        let successors = self.all().skip(1).map(|(made, _)| Some(*made));
        successors.chain([None]).map(move |successor| {
            let Some(KeyAge(made)) = successor else {
                return KeyState::Signs;
            };
            let until = Timestamp::from_second(made)
                .and_then(|made| made.saturating_add(self.overlap))
                .unwrap_or(Timestamp::MAX);
            if now < until {
                KeyState::VerifiesUntil(until)
            } else {
                KeyState::Retired
            }
        })
    }
}

impl SigningKeys {
    /// The keys in this store, for tokens that live at most `longest_token`.
    pub fn new(store: Arc<dyn KeyStore>, longest_token: Duration) -> Self {
        Self {
            store,
            overlap: longest_token + GRACE,
        }
    }

    /// The keys there are, the newest last.
    pub async fn list(&self, now: Timestamp) -> Result<Vec<ListedKey>, KeyError> {
        let ring = self.read().await.map_err(unavailable)?;
        let listed = (ring.all().zip(ring.states(now))).map(|((made, key), state)| ListedKey {
            kid: key.kid().to_owned(),
            made: (made.0 > 0)
                .then(|| Timestamp::from_second(made.0).ok())
                .flatten(),
            state,
        });
        Ok(listed.collect())
    }

    /// Makes a new key, which signs from now on, and deletes those that have had their day, or all
    /// of those before it: these may be unreadable. Returns the new key's id. Takes a while.
    pub async fn rotate(&self, now: Timestamp, older: OlderKeys) -> Result<String, RotateError> {
        let ages = self.store.ages().await.map_err(unavailable)?;
        let newest = ages.last().ok_or_else(|| unavailable("there is no key"))?;
        let over = match older {
            OlderKeys::Revoked => ages.clone(),
            OlderKeys::Verify => {
                let before = self.read().await.map_err(unavailable)?;
                (before.all().zip(before.states(now)))
                    .filter(|(_, state)| *state == KeyState::Retired)
                    .map(|((made, _), _)| *made)
                    .collect()
            }
        };
        // Later than every other, whatever the clock says.
        let mut made = KeyAge(now.as_second().max(newest.0 + 1));
        let pem = make().await?;
        let kid = Key::from_pem(pem.as_str())?.kid().to_owned();
        let mut key = StoredKey {
            made,
            pem: pem.into(),
        };
        while self.store.keep(&key).await.map_err(unavailable)? == Kept::Before {
            made.0 += 1;
            key.made = made;
        }
        for old in over {
            let removed = self.store.remove(old).await;
            removed.map_err(|cause| RotateError::OldRemain {
                kid: kid.clone(),
                cause,
            })?;
        }
        Ok(kid)
    }

    /// Makes the first key where there is none.
    pub(super) async fn begin(&self) -> Result<(), KeyError> {
        if self.store.ages().await.map_err(unavailable)?.is_empty() {
            let first = StoredKey {
                made: KeyAge(0),
                pem: make().await?.into(),
            };
            // When two servers start at once, one of the two keys stands.
            self.store.keep(&first).await.map_err(unavailable)?;
        }
        Ok(())
    }

    pub(super) fn store(&self) -> &dyn KeyStore {
        &*self.store
    }

    pub(super) async fn read(&self) -> Result<Ring, KeyStoreError> {
        let mut keys = Vec::new();
        for StoredKey { made, pem } in self.store.all().await? {
            let key = Key::from_pem(pem.expose_secret());
            keys.push((
                made,
                key.map_err(|error| KeyStoreError::Damaged(error.into()))?,
            ));
        }
        let newest = keys.pop();
        let newest =
            newest.ok_or_else(|| KeyStoreError::Unavailable("there is no signing key".into()))?;
        Ok(Ring {
            older: keys,
            newest,
            overlap: self.overlap,
        })
    }
}

/// A new key, on a thread where it is in nobody's way.
async fn make() -> Result<String, KeyError> {
    let made = tokio::task::spawn_blocking(Key::make).await;
    made.map_err(unavailable)?
}
