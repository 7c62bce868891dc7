//! What a [`SessionStore`] promises.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]
#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the names are the promises"
)]

use std::sync::Arc;

use crate::auth::{Secret, SecretHash, Session, SessionHolder};
use crate::ports::SessionStore;
use crate::testkit::{at, patient};

/// Makes the tests of a [`SessionStore`]: `session_store_contract!(fresh())`, where `fresh()` is a future of an empty store and of
/// whatever has to live as long as it.
#[macro_export]
macro_rules! session_store_contract {
    ($fresh:expr) => {
        $crate::contract_tests!(
            session_store, $fresh,
            a_session_is_found_by_its_key_alone
            a_removed_session_is_gone_and_stays_gone
            a_session_can_be_extended
            what_expired_is_forgotten_and_what_did_not_is_kept
        );
    };
}

type Store = Arc<dyn SessionStore>;

fn key(number: u8) -> SecretHash {
    Secret::from_random([number; 32]).hash()
}

fn session(expires: i64, ends: i64) -> Session {
    Session {
        holder: SessionHolder::Patient(patient().id),
        expires_at: at(expires),
        ends_at: at(ends),
    }
}

pub async fn a_session_is_found_by_its_key_alone(store: Store) {
    store.insert(key(1), &session(10, 20)).await.unwrap();
    assert_eq!(store.get(key(1)).await.unwrap(), Some(session(10, 20)));
    assert_eq!(store.get(key(2)).await.unwrap(), None);
}

pub async fn a_removed_session_is_gone_and_stays_gone(store: Store) {
    store.insert(key(1), &session(10, 20)).await.unwrap();
    store.remove(key(1)).await.unwrap();
    store.remove(key(1)).await.unwrap();
    store.extend(key(1), at(15)).await.unwrap();
    assert_eq!(store.get(key(1)).await.unwrap(), None);
}

pub async fn a_session_can_be_extended(store: Store) {
    store.insert(key(1), &session(10, 20)).await.unwrap();
    store.extend(key(1), at(15)).await.unwrap();
    assert_eq!(store.get(key(1)).await.unwrap(), Some(session(15, 20)));
}

pub async fn what_expired_is_forgotten_and_what_did_not_is_kept(store: Store) {
    store.insert(key(1), &session(10, 20)).await.unwrap();
    store.insert(key(2), &session(30, 40)).await.unwrap();
    store.insert(key(3), &session(30, 12)).await.unwrap();
    store.sweep(at(15)).await.unwrap();
    assert_eq!(store.get(key(1)).await.unwrap(), None);
    assert_eq!(store.get(key(2)).await.unwrap(), Some(session(30, 40)));
    assert_eq!(store.get(key(3)).await.unwrap(), None);
}
