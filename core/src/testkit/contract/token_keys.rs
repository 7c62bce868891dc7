//! What [`TokenKeys`] promise.

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

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::ports::{KeyError, TokenKeys};

/// Makes the tests of [`TokenKeys`]: `token_keys_contract!(fresh())`, where `fresh()` is a future of
/// keys and of whatever has to live as long as they.
#[macro_export]
macro_rules! token_keys_contract {
    ($fresh:expr) => {
        $crate::contract_tests!(
            token_keys, $fresh,
            what_is_signed_is_verified_and_says_what_it_said
            a_token_names_its_key_and_that_is_published
            no_private_part_is_published
            what_is_not_signed_by_these_keys_is_refused
            many_sign_and_verify_at_once
        );
    };
}

type Keys = Arc<dyn TokenKeys>;

fn claims() -> Value {
    json!({"sub": "p-1", "scope": "patient/$ehi-export", "exp": 0})
}

fn part(token: &str, place: usize) -> Value {
    let part = token.split('.').nth(place).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub async fn what_is_signed_is_verified_and_says_what_it_said(keys: Keys) {
    let token = keys.sign(&claims()).await.unwrap();
    assert_eq!(part(&token, 1), claims());
    // Whether it has expired is for others to say.
    assert_eq!(keys.verify(&token).await.unwrap(), claims());
}

pub async fn a_token_names_its_key_and_that_is_published(keys: Keys) {
    let header = part(&keys.sign(&claims()).await.unwrap(), 0);
    assert_eq!(header["typ"], "at+jwt");
    let jwks = keys.jwks().await.unwrap();
    let published = jwks["keys"].as_array().unwrap();
    let own = published.iter().find(|key| key["kid"] == header["kid"]);
    let own = own.unwrap_or_else(|| panic!("the key of a token is not published"));
    assert_eq!(own["alg"], header["alg"]);
}

pub async fn no_private_part_is_published(keys: Keys) {
    let jwks = keys.jwks().await.unwrap();
    for key in jwks["keys"].as_array().unwrap() {
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(key.get(private).is_none(), "{private}");
        }
    }
}

pub async fn what_is_not_signed_by_these_keys_is_refused(keys: Keys) {
    let token = keys.sign(&claims()).await.unwrap();
    let [header, body, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("{token}")
    };
    let encode = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let none = encode(json!({"alg": "none", "typ": "at+jwt", "kid": part(&token, 0)["kid"]}));
    let other = encode(json!({"sub": "p-2"}));
    let long = "A".repeat(1 << 20);
    for forged in [
        String::new(),
        ".".into(),
        "..".into(),
        "nonsense".into(),
        format!("{header}.{body}"),
        format!("{header}.{body}."),
        format!("{header}.{other}.{signature}"),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{header}.{long}.{signature}"),
    ] {
        let verified = keys.verify(&forged).await;
        assert!(matches!(verified, Err(KeyError::Invalid)), "{forged:.100}");
    }
}

pub async fn many_sign_and_verify_at_once(keys: Keys) {
    let crowd = (0..32).map(|number| {
        let keys = keys.clone();
        tokio::spawn(async move {
            let mine = json!({"sub": number});
            let token = keys.sign(&mine).await.unwrap();
            assert_eq!(keys.verify(&token).await.unwrap(), mine);
        })
    });
    for done in join_all(crowd).await {
        done.unwrap();
    }
}
