//! What a [`KeyStore`] promises.

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

use futures::future::join_all;
use secrecy::ExposeSecret;

use crate::ports::{Kept, KeyAge, KeyStore, StoredKey};

/// Makes the tests of a [`KeyStore`]: `key_store_contract!(fresh())`, where `fresh()` is a future of
/// a store without keys and of whatever has to live as long as it.
#[macro_export]
macro_rules! key_store_contract {
    ($fresh:expr) => {
        $crate::contract_tests!(
            key_store, $fresh,
            of_many_first_keys_at_once_one_stands
            keys_come_back_as_they_were_the_oldest_first
            the_stamp_is_another_whenever_a_key_comes_or_goes
        );
    };
}

type Store = Arc<dyn KeyStore>;

fn key(made: i64, text: &str) -> StoredKey {
    StoredKey {
        made: KeyAge(made),
        pem: text.to_owned().into(),
    }
}

async fn told(store: &Store) -> Vec<(i64, String)> {
    let keys = store.all().await.unwrap().into_iter();
    keys.map(|key| (key.made.0, key.pem.expose_secret().to_owned()))
        .collect()
}

pub async fn of_many_first_keys_at_once_one_stands(store: Store) {
    assert!(told(&store).await.is_empty());
    let crowd = (0..32).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let mine = format!("key {number}");
            let kept = store.keep(&key(0, &mine)).await.unwrap();
            (kept == Kept::Now).then_some(mine)
        })
    });
    let kept = join_all(crowd).await.into_iter();
    let kept: Vec<_> = kept.filter_map(Result::unwrap).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(told(&store).await, [(0, kept[0].clone())]);
}

pub async fn keys_come_back_as_they_were_the_oldest_first(store: Store) {
    let long = "-----BEGIN PRIVATE KEY-----\n".repeat(100);
    for (made, text) in [(1_700_000_000, "b"), (0, long.as_str()), (99, "c")] {
        assert_eq!(store.keep(&key(made, text)).await.unwrap(), Kept::Now);
    }
    assert_eq!(store.keep(&key(99, "d")).await.unwrap(), Kept::Before);
    let ages = [0, 99, 1_700_000_000].map(KeyAge);
    assert_eq!(store.ages().await.unwrap(), ages);
    let expected = [(0, long.as_str()), (99, "c"), (1_700_000_000, "b")];
    let expected = expected.map(|(made, text)| (made, text.to_owned()));
    assert_eq!(told(&store).await, expected);
    for _ in 0..2 {
        store.remove(KeyAge(99)).await.unwrap();
    }
    let [first, _, last] = expected;
    assert_eq!(told(&store).await, [first, last]);
}

pub async fn the_stamp_is_another_whenever_a_key_comes_or_goes(store: Store) {
    store.keep(&key(0, "a")).await.unwrap();
    let stamp = async || store.stamp().await.unwrap();
    let one = stamp().await;
    assert_eq!(stamp().await, one, "nothing has changed");
    store.keep(&key(7, "b")).await.unwrap();
    let two = stamp().await;
    assert_ne!(one, two);
    store.remove(KeyAge(0)).await.unwrap();
    assert_ne!(stamp().await, two);
}
