//! What a [`GrantStore`] promises.

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
use uuid::Uuid;

use crate::auth::{
    ClientId, CodeGrant, GrantId, PkceChallenge, RefreshFamily, Scope, Secret, SecretHash,
};
use crate::ports::{CodeUse, GrantStore, JtiUse, RefreshStanding, RefreshUse};
use crate::testkit::{at, client_id, patient};

/// Makes the tests of a [`GrantStore`]: `grant_store_contract!(fresh())`, where `fresh()` is a future of an empty store and of
/// whatever has to live as long as it.
#[macro_export]
macro_rules! grant_store_contract {
    ($fresh:expr) => {
        $crate::contract_tests!(
            grant_store, $fresh,
            of_many_uses_of_a_code_one_is_the_first
            of_many_uses_of_a_jti_one_is_the_first
            each_client_has_its_own_jtis
            looking_at_a_refresh_token_does_not_use_it_up
            a_refresh_token_is_good_once_and_its_replay_is_noticed
            of_many_rotations_at_once_one_wins
            a_revoked_family_is_gone_with_all_of_its_tokens
            a_revoked_grant_stays_revoked
            of_a_revocation_and_the_first_token_no_token_is_left
            a_late_revocation_does_not_shorten_an_earlier_one
            a_grant_is_revoked_alone
            what_expired_is_forgotten_and_what_did_not_is_kept
        );
    };
}

type Store = Arc<dyn GrantStore>;

const CROWD: u8 = 32;

fn hash(number: u8) -> SecretHash {
    Secret::from_random([number; 32]).hash()
}

fn grant(number: u8) -> GrantId {
    GrantId(Uuid::from_u128(number.into()))
}

fn code() -> CodeGrant {
    CodeGrant {
        grant: grant(1),
        client: client_id(),
        registration: None,
        patient: patient().id,
        scopes: [Scope::PatientEhiExport].into_iter().collect(),
        redirect_uri: "http://127.0.0.1/callback".to_owned(),
        challenge: PkceChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap(),
        expires_at: at(60),
    }
}

fn family(number: u8) -> RefreshFamily {
    RefreshFamily {
        grant: grant(number),
        client: client_id(),
        registration: None,
        patient: patient().id,
        scopes: [Scope::PatientEhiExport].into_iter().collect(),
        expires_at: at(1_000),
    }
}

/// How many times `first` is among what a crowd got that used the same at once.
async fn crowd<T, F>(attempt: impl Fn(u8) -> F, first: impl Fn(&T) -> bool) -> usize
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let attempts = (0..CROWD).map(|number| tokio::spawn(attempt(number)));
    let got = join_all(attempts).await;
    got.iter()
        .filter(|got| first(got.as_ref().unwrap()))
        .count()
}

pub async fn of_many_uses_of_a_code_one_is_the_first(store: Store) {
    store.insert_code(hash(1), &code()).await.unwrap();
    let used = |_| {
        let store = store.clone();
        async move { store.use_code(hash(1)).await.unwrap() }
    };
    let first = crowd(used, |used| {
        let again = *used == CodeUse::Again(grant(1));
        let first = *used == CodeUse::First(code());
        assert!(again || first, "{used:?}");
        first
    });
    assert_eq!(first.await, 1);
    assert_eq!(store.use_code(hash(2)).await.unwrap(), CodeUse::Unknown);
}

pub async fn of_many_uses_of_a_jti_one_is_the_first(store: Store) {
    let used = |_| {
        let store = store.clone();
        async move { store.use_jti(&client_id(), hash(1), at(60)).await.unwrap() }
    };
    assert_eq!(crowd(used, |used| *used == JtiUse::First).await, 1);
    // Whoever replays it cannot make it be forgotten earlier.
    let replayed = store.use_jti(&client_id(), hash(1), at(10)).await.unwrap();
    assert_eq!(replayed, JtiUse::Again);
    store.sweep(at(59)).await.unwrap();
    let kept = store.use_jti(&client_id(), hash(1), at(60)).await.unwrap();
    assert_eq!(kept, JtiUse::Again);
    store.sweep(at(60)).await.unwrap();
    let forgotten = store.use_jti(&client_id(), hash(1), at(99)).await.unwrap();
    assert_eq!(forgotten, JtiUse::First);
}

pub async fn each_client_has_its_own_jtis(store: Store) {
    let other = ClientId::parse("other").unwrap();
    for client in [client_id(), other] {
        let used = store.use_jti(&client, hash(1), at(60)).await.unwrap();
        assert_eq!(used, JtiUse::First, "{client}");
    }
}

pub async fn looking_at_a_refresh_token_does_not_use_it_up(store: Store) {
    let standing = async |number| store.refresh_token(hash(number)).await.unwrap();
    assert_eq!(standing(1).await, RefreshStanding::Unknown);
    store.insert_family(hash(1), &family(1)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(standing(1).await, RefreshStanding::Newest(family(1)));
    }
    store.rotate(hash(1), hash(2)).await.unwrap();
    assert_eq!(standing(1).await, RefreshStanding::Replaced(family(1)));
    assert_eq!(standing(2).await, RefreshStanding::Newest(family(1)));
}

pub async fn a_refresh_token_is_good_once_and_its_replay_is_noticed(store: Store) {
    let rotate = async |token, next| store.rotate(hash(token), hash(next)).await.unwrap();
    assert_eq!(rotate(1, 2).await, RefreshUse::Unknown);
    store.insert_family(hash(1), &family(1)).await.unwrap();
    assert_eq!(rotate(1, 2).await, RefreshUse::Rotated(family(1)));
    assert_eq!(rotate(1, 3).await, RefreshUse::Replayed(family(1)));
    assert_eq!(
        rotate(3, 4).await,
        RefreshUse::Unknown,
        "it was never given"
    );
    assert_eq!(rotate(2, 5).await, RefreshUse::Rotated(family(1)));
    assert_eq!(rotate(1, 6).await, RefreshUse::Replayed(family(1)));
}

pub async fn of_many_rotations_at_once_one_wins(store: Store) {
    store.insert_family(hash(200), &family(1)).await.unwrap();
    let rotate = |next| {
        let store = store.clone();
        async move { store.rotate(hash(200), hash(next)).await.unwrap() }
    };
    let won = crowd(rotate, |used| {
        let won = *used == RefreshUse::Rotated(family(1));
        assert!(won || *used == RefreshUse::Replayed(family(1)), "{used:?}");
        won
    });
    assert_eq!(won.await, 1);
    let newest = join_all((0..CROWD).map(|next| store.refresh_token(hash(next)))).await;
    let newest = newest
        .iter()
        .filter(|standing| *standing.as_ref().unwrap() == RefreshStanding::Newest(family(1)));
    assert_eq!(newest.count(), 1, "one next token was kept");
}

pub async fn a_revoked_family_is_gone_with_all_of_its_tokens(store: Store) {
    store.insert_family(hash(1), &family(1)).await.unwrap();
    store.rotate(hash(1), hash(2)).await.unwrap();
    assert!(!store.is_revoked(grant(1)).await.unwrap());
    store.revoke(grant(1), at(2_000)).await.unwrap();
    assert!(store.is_revoked(grant(1)).await.unwrap());
    for token in [1, 2] {
        let standing = store.refresh_token(hash(token)).await.unwrap();
        assert_eq!(standing, RefreshStanding::Unknown);
        let used = store.rotate(hash(token), hash(3)).await.unwrap();
        assert_eq!(used, RefreshUse::Unknown);
    }
}

pub async fn a_revoked_grant_stays_revoked(store: Store) {
    store.revoke(grant(1), at(2_000)).await.unwrap();
    store.insert_family(hash(1), &family(1)).await.unwrap();
    let standing = store.refresh_token(hash(1)).await.unwrap();
    assert_eq!(standing, RefreshStanding::Unknown);
    let used = store.rotate(hash(1), hash(2)).await.unwrap();
    assert_eq!(used, RefreshUse::Unknown);
    // Longer than its family would have lived.
    store.sweep(at(1_999)).await.unwrap();
    assert!(store.is_revoked(grant(1)).await.unwrap());
    store.sweep(at(2_000)).await.unwrap();
    assert!(!store.is_revoked(grant(1)).await.unwrap(), "kept for ever");
}

pub async fn of_a_revocation_and_the_first_token_no_token_is_left(store: Store) {
    let races = (0..CROWD).map(|number| {
        let (giving, taking) = (store.clone(), store.clone());
        let given = tokio::spawn(async move {
            giving
                .insert_family(hash(number), &family(number))
                .await
                .unwrap();
            giving
                .rotate(hash(number), hash(number + 100))
                .await
                .unwrap();
        });
        let taken = tokio::spawn(async move {
            taking.revoke(grant(number), at(2_000)).await.unwrap();
        });
        async move {
            given.await.unwrap();
            taken.await.unwrap();
        }
    });
    join_all(races).await;
    for number in 0..CROWD {
        assert!(store.is_revoked(grant(number)).await.unwrap());
        for token in [number, number + 100] {
            let standing = store.refresh_token(hash(token)).await.unwrap();
            assert_eq!(standing, RefreshStanding::Unknown, "{token}");
        }
    }
}

pub async fn a_late_revocation_does_not_shorten_an_earlier_one(store: Store) {
    store.revoke(grant(1), at(2_000)).await.unwrap();
    store.revoke(grant(1), at(500)).await.unwrap();
    store.sweep(at(1_999)).await.unwrap();
    assert!(store.is_revoked(grant(1)).await.unwrap());
}

pub async fn a_grant_is_revoked_alone(store: Store) {
    for number in [1, 2] {
        store
            .insert_family(hash(number), &family(number))
            .await
            .unwrap();
    }
    store.revoke(grant(1), at(2_000)).await.unwrap();
    assert!(!store.is_revoked(grant(2)).await.unwrap());
    let standing = store.refresh_token(hash(2)).await.unwrap();
    assert_eq!(standing, RefreshStanding::Newest(family(2)));
}

pub async fn what_expired_is_forgotten_and_what_did_not_is_kept(store: Store) {
    store.insert_code(hash(1), &code()).await.unwrap();
    store.use_code(hash(1)).await.unwrap();
    store.insert_family(hash(2), &family(1)).await.unwrap();
    store.sweep(at(999)).await.unwrap();
    let late = store.use_code(hash(1)).await.unwrap();
    assert_eq!(late, CodeUse::Again(grant(1)), "a late second use is seen");
    let kept = store.rotate(hash(2), hash(3)).await.unwrap();
    assert_eq!(kept, RefreshUse::Rotated(family(1)));
    store.sweep(at(1_000)).await.unwrap();
    for token in [2, 3] {
        let forgotten = store.refresh_token(hash(token)).await.unwrap();
        assert_eq!(forgotten, RefreshStanding::Unknown);
    }
    store.sweep(at(200_000)).await.unwrap();
    assert_eq!(store.use_code(hash(1)).await.unwrap(), CodeUse::Unknown);
}
