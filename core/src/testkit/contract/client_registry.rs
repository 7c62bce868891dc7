//! What a [`ClientRegistry`] promises.

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
use std::time::{Duration, Instant};

use crate::auth::{Client, ClientAuthentication, ClientId, Scope};
use crate::ports::ClientRegistry;
use crate::testkit;

/// Makes the tests of a [`ClientRegistry`]: `client_registry_contract!(fresh())`, where `fresh()` is
/// a future of a registry that knows [`client`] and of whatever has to live as long as it.
#[macro_export]
macro_rules! client_registry_contract {
    ($fresh:expr) => {
        $crate::contract_tests!(
            client_registry, $fresh,
            a_client_is_known_as_it_was_registered
            an_id_is_known_to_the_letter
            a_client_without_a_secret_has_none_that_is_right
        );
    };
}

/// Makes the tests of a [`ClientRegistry`] that keeps secrets, and knows
/// [`client_with_secret`] with the secret [`SECRET`] as well.
#[macro_export]
macro_rules! client_secret_contract {
    ($fresh:expr) => {
        mod client_secret {
            use super::*;

            $crate::contract_tests!(
                client_registry, $fresh,
                only_the_right_secret_of_that_client_is_right
                an_unknown_client_takes_as_long_as_a_wrong_secret
            );
        }
    };
}

type Registry = Arc<dyn ClientRegistry>;

/// The secret of [`client_with_secret`].
pub const SECRET: &str = "the secret of a client";

/// A public client of any patient's app.
pub fn client() -> Client {
    let all = testkit::client();
    let scopes = Scope::ALL.iter().copied();
    Client {
        scopes: scopes
            .filter(|scope| *scope != Scope::SystemEhiExport)
            .collect(),
        ..all
    }
}

/// A client with a secret.
pub fn client_with_secret() -> Client {
    Client {
        id: id("with-secret"),
        authentication: ClientAuthentication::Secret,
        ..client()
    }
}

fn id(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

async fn is_right(registry: &Registry, client: &ClientId, secret: &str) -> bool {
    let secret = secret.to_owned().into();
    registry.verify_secret(client, &secret).await.unwrap()
}

pub async fn a_client_is_known_as_it_was_registered(registry: Registry) {
    let found = registry.client(&client().id).await.unwrap();
    assert_eq!(found, Some(client()));
}

pub async fn an_id_is_known_to_the_letter(registry: Registry) {
    let long = "x".repeat(128);
    for other in ["other", "TEST-APP", "test-ap", "test-app%", "'", &long] {
        assert_eq!(registry.client(&id(other)).await.unwrap(), None, "{other}");
    }
}

pub async fn a_client_without_a_secret_has_none_that_is_right(registry: Registry) {
    for client in [client().id, id("unknown")] {
        for secret in ["", SECRET] {
            let verified = is_right(&registry, &client, secret).await;
            assert!(!verified, "{client} {secret}");
        }
    }
}

pub async fn only_the_right_secret_of_that_client_is_right(registry: Registry) {
    let mine = client_with_secret();
    assert_eq!(registry.client(&mine.id).await.unwrap(), Some(mine.clone()));
    let long = "x".repeat(512);
    for (client, secret, right) in [
        (&mine.id, SECRET, true),
        (&mine.id, "", false),
        (&mine.id, "the secret of a clienT", false),
        (&mine.id, long.as_str(), false),
        (&client().id, SECRET, false),
        (&id("unknown"), SECRET, false),
    ] {
        let verified = is_right(&registry, client, secret).await;
        assert_eq!(verified, right, "{client} {secret}");
    }
}

pub async fn an_unknown_client_takes_as_long_as_a_wrong_secret(registry: Registry) {
    let quickest = async |client: &ClientId| {
        let mut quickest = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            assert!(!is_right(&registry, client, "wrong").await);
            quickest = quickest.min(begun.elapsed());
        }
        quickest
    };
    let known = quickest(&client_with_secret().id).await;
    for other in [client().id, id("unknown")] {
        let unknown = quickest(&other).await;
        assert!(
            unknown > known / 4 && known > unknown / 4,
            "{other}: {known:?}, {unknown:?}"
        );
    }
}
