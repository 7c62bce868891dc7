//! Signing keys that several replicas share in one database.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]

use std::sync::Arc;
use std::time::Duration;

use ehi_adapters::keys::{OlderKeys, RotateError, RsaKeys, SigningKeys};
use ehi_adapters::sql::{Database, DatabaseLimits, KeySecret, SqlKeys};
use ehi_adapters::testing::TestDatabase;
use ehi_core::ports::{KeyError, TokenKeys};
use ehi_core::testkit::{FixedClock, at};
use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Tokens live an hour at most.
const HOUR: Duration = Duration::from_hours(1);

/// How long an older key verifies, in seconds.
const OVERLAP: i64 = 3600 + 60;

/// A database, and the time as its replicas have it.
struct House {
    database: Database,
    clock: Arc<FixedClock>,
    _kept: Box<dyn std::any::Any + Send + Sync>,
}

impl House {
    async fn open(url: &str, kept: impl std::any::Any + Send + Sync) -> Self {
        let limits = DatabaseLimits {
            patience: Duration::from_mins(2),
            ..DatabaseLimits::default()
        };
        Self {
            database: Database::open(url, limits).await.unwrap(),
            clock: Arc::new(FixedClock::at(at(0))),
            _kept: Box::new(kept),
        }
    }

    fn keys(&self) -> SigningKeys {
        self.keys_sealed_by(1)
    }

    fn keys_sealed_by(&self, secret: u8) -> SigningKeys {
        let secret = KeySecret::parse(&KeySecret::write([secret; 32])).unwrap();
        SigningKeys::new(Arc::new(SqlKeys::new(&self.database, secret)), HOUR)
    }

    async fn replica(&self) -> RsaKeys {
        let opened = RsaKeys::open(self.keys(), self.clock.clone());
        opened.await.unwrap()
    }
}

async fn sqlite() -> House {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("ehi.db").display());
    House::open(&url, folder).await
}

async fn postgres() -> House {
    let kept = TestDatabase::create().await;
    let url = kept.url();
    House::open(&url, kept).await
}

fn claims() -> Value {
    json!({"sub": "p"})
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

async fn replicas_that_start_at_once_agree_on_one_first_key(house: House) {
    let replicas = join_all((0..4).map(|_| house.replica())).await;
    let tokens = join_all(
        replicas
            .iter()
            .map(|keys| async { keys.sign(&claims()).await.unwrap() }),
    )
    .await;
    for token in &tokens {
        assert_eq!(kid(token), kid(&tokens[0]));
        for keys in &replicas {
            assert_eq!(keys.verify(token).await.unwrap(), claims());
        }
    }
    assert_eq!(house.keys().list(at(0)).await.unwrap().len(), 1);
}

async fn a_new_key_signs_everywhere_and_tokens_of_the_old_one_verify_to_their_end(house: House) {
    let (one, two) = (house.replica().await, house.replica().await);
    let old = one.sign(&claims()).await.unwrap();
    let fresh = house.keys().rotate(at(0), OlderKeys::Verify).await.unwrap();
    // One that has not looked yet knows the new key when it meets it.
    house.clock.set(at(1));
    let new = one.sign(&claims()).await.unwrap();
    assert_eq!(kid(&new), fresh);
    assert_eq!(two.verify(&new).await.unwrap(), claims());
    assert_eq!(kid(&two.sign(&claims()).await.unwrap()), fresh);
    house.clock.set(at(OVERLAP - 1));
    assert_eq!(two.verify(&old).await.unwrap(), claims());
    house.clock.set(at(OVERLAP));
    assert!(two.verify(&old).await.is_err());
    assert!(two.verify(&new).await.is_ok());
}

async fn keys_that_are_revoked_verify_nothing_anywhere(house: House) {
    let (one, two) = (house.replica().await, house.replica().await);
    let leaked = one.sign(&claims()).await.unwrap();
    assert!(two.verify(&leaked).await.is_ok());
    house
        .keys()
        .rotate(at(0), OlderKeys::Revoked)
        .await
        .unwrap();
    house.clock.set(at(1));
    for keys in [&one, &two] {
        let verified = keys.verify(&leaked).await;
        assert!(matches!(verified, Err(KeyError::Invalid)), "{verified:?}");
    }
}

async fn who_lost_the_secret_begins_anew(house: House) {
    let token = house.replica().await.sign(&claims()).await.unwrap();
    let keys = house.keys_sealed_by(2);
    assert!(keys.list(at(0)).await.is_err());
    let unchanged = keys.rotate(at(0), OlderKeys::Verify).await;
    assert!(
        matches!(unchanged, Err(RotateError::Unchanged(_))),
        "{unchanged:?}"
    );
    keys.rotate(at(0), OlderKeys::Revoked).await.unwrap();
    let anew = RsaKeys::open(keys, house.clock.clone()).await.unwrap();
    assert!(anew.verify(&token).await.is_err());
    let token = anew.sign(&claims()).await.unwrap();
    assert_eq!(anew.verify(&token).await.unwrap(), claims());
}

async fn many_rotations_at_once_leave_one_newest_key_for_all(house: House) {
    let replica = house.replica().await;
    let rotated = join_all((0..4).map(|_| async {
        let keys = house.keys();
        keys.rotate(at(0), OlderKeys::Verify).await.unwrap()
    }))
    .await;
    house.clock.set(at(1));
    let token = replica.sign(&claims()).await.unwrap();
    assert!(rotated.contains(&kid(&token)));
    assert_eq!(house.keys().list(at(1)).await.unwrap().len(), 5);
}

macro_rules! on {
    ($database:ident: $($promise:ident)+) => {
        mod $database {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $promise() {
                    super::$promise(super::$database().await).await;
                }
            )+

            async fn keys() -> (RsaKeys, House) {
                let house = super::$database().await;
                (house.replica().await, house)
            }

            ehi_core::token_keys_contract!(keys());
        }
    };
}

on!(sqlite:
    replicas_that_start_at_once_agree_on_one_first_key
    a_new_key_signs_everywhere_and_tokens_of_the_old_one_verify_to_their_end
    keys_that_are_revoked_verify_nothing_anywhere
    who_lost_the_secret_begins_anew
    many_rotations_at_once_leave_one_newest_key_for_all
);
on!(postgres:
    replicas_that_start_at_once_agree_on_one_first_key
    a_new_key_signs_everywhere_and_tokens_of_the_old_one_verify_to_their_end
    keys_that_are_revoked_verify_nothing_anywhere
    who_lost_the_secret_begins_anew
    many_rotations_at_once_leave_one_newest_key_for_all
);
