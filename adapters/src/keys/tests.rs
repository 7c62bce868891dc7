//! What the signing keys promise.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ehi_core::testkit::{FixedClock, at};
use jsonwebtoken::EncodingKey;
use tempfile::TempDir;

use super::*;

const FILE: &str = "signing-key.pem";

/// Tokens live an hour at most.
const HOUR: Duration = Duration::from_hours(1);

/// How long an older key verifies, in seconds.
const OVERLAP: i64 = 3600 + 60;

fn part(json: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

/// A folder of keys that is not there yet, and a server's view of it.
struct House {
    _folder: TempDir,
    path: PathBuf,
    clock: Arc<FixedClock>,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            path: folder.path().join("keys"),
            _folder: folder,
            clock: Arc::new(FixedClock::at(at(0))),
        }
    }

    async fn keys(&self) -> RsaKeys {
        RsaKeys::open(self.folder(), self.clock.clone())
            .await
            .unwrap()
    }

    fn folder(&self) -> SigningKeys {
        SigningKeys::new(Arc::new(KeyFolder::new(&self.path)), HOUR)
    }
}

fn claims() -> Value {
    json!({"sub": "p"})
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

async fn published(keys: &RsaKeys) -> Vec<String> {
    let jwks = keys.jwks().await.unwrap();
    let keys = jwks["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_key_is_made_once_and_kept() {
    let house = House::new();
    let keys = house.keys().await;
    let token = keys.sign(&claims()).await.unwrap();
    let again = house.keys().await;
    assert_eq!(again.verify(&token).await.unwrap(), claims());
    assert_eq!(again.jwks().await.unwrap(), keys.jwks().await.unwrap());
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(house.path.join(FILE)), 0o600);
    assert_eq!(mode(house.path.clone()), 0o700);
    assert!(!keys.jwks().await.unwrap().to_string().contains("\"d\""));
}

#[tokio::test]
async fn only_our_own_signature_counts() {
    let house = House::new();
    let keys = house.keys().await;
    let other = House::new();
    let other = other.keys().await;
    let token = keys.sign(&claims()).await.unwrap();
    let [header, body, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let jwk = keys.jwks().await.unwrap()["keys"][0].clone();
    let (kid, n) = (jwk["kid"].as_str().unwrap(), jwk["n"].as_str().unwrap());
    let pem = fs::read(house.path.join(FILE)).unwrap();
    let signed = |header: Header, key: &EncodingKey| {
        let header = Header {
            kid: Some(header.kid.unwrap_or_else(|| kid.to_owned())),
            typ: Some(
                header
                    .typ
                    .filter(|typ| typ != "JWT")
                    .unwrap_or("at+jwt".into()),
            ),
            ..header
        };
        jsonwebtoken::encode(&header, &claims(), key).unwrap()
    };
    let hs256 = |secret: &[u8]| {
        signed(
            Header::new(Algorithm::HS256),
            &EncodingKey::from_secret(secret),
        )
    };
    let rsa = EncodingKey::from_rsa_pem(&pem).unwrap();
    let with = |change: fn(&mut Header)| {
        let mut header = Header::new(Algorithm::RS256);
        change(&mut header);
        signed(header, &rsa)
    };
    let none = part(&json!({"alg": "none", "typ": "at+jwt", "kid": kid}));
    for forged in [
        String::new(),
        "..".to_owned(),
        format!("{header}.{body}."),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{header}.{}.{signature}", part(&json!({"sub": "q"}))),
        hs256(n.as_bytes()),
        hs256(&pem),
        with(|header| header.alg = Algorithm::RS512),
        with(|header| header.kid = Some("other".into())),
        with(|header| header.kid = Some(String::new())),
        with(|header| header.typ = Some("other+jwt".into())),
        with(|header| header.crit = Some(vec!["exp".into()])),
        other.sign(&claims()).await.unwrap(),
        format!("{header}.{}.{signature}", "A".repeat(100_000)),
    ] {
        assert!(
            matches!(keys.verify(&forged).await, Err(KeyError::Invalid)),
            "{forged:.200}"
        );
    }
    assert!(keys.verify(&token).await.is_ok());
    assert!(
        keys.verify(&with(|_| ())).await.is_ok(),
        "the rest is right"
    );
}

#[tokio::test]
async fn a_broken_key_file_is_an_error_and_is_not_replaced() {
    let house = House::new();
    fs::create_dir(&house.path).unwrap();
    fs::write(house.path.join(FILE), "nonsense").unwrap();
    let opened = RsaKeys::open(house.folder(), house.clock.clone()).await;
    assert!(matches!(opened, Err(KeyError::Unavailable(_))));
    let kept = fs::read_to_string(house.path.join(FILE)).unwrap();
    assert_eq!(kept, "nonsense");
}

#[tokio::test]
async fn a_new_key_signs_while_the_tokens_of_the_old_one_are_good_to_their_end() {
    let house = House::new();
    let keys = house.keys().await;
    let old = keys.sign(&claims()).await.unwrap();
    house.clock.set(at(100));
    let fresh = house
        .folder()
        .rotate(at(100), OlderKeys::Verify)
        .await
        .unwrap();
    let new = keys.sign(&claims()).await.unwrap();
    assert_eq!(kid(&new), fresh);
    assert_ne!(kid(&old), fresh);
    for second in [100, 100 + OVERLAP - 1] {
        house.clock.set(at(second));
        assert_eq!(keys.verify(&old).await.unwrap(), claims());
        assert_eq!(keys.verify(&new).await.unwrap(), claims());
        assert_eq!(published(&keys).await, [fresh.clone(), kid(&old)]);
    }
    house.clock.set(at(100 + OVERLAP));
    assert!(keys.verify(&old).await.is_err());
    assert_eq!(keys.verify(&new).await.unwrap(), claims());
    assert_eq!(published(&keys).await, [fresh]);
}

#[tokio::test]
async fn a_running_server_looks_for_new_keys_once_a_second_or_when_one_is_needed() {
    let house = House::new();
    let (one, two) = (house.keys().await, house.keys().await);
    let fresh = house
        .folder()
        .rotate(at(0), OlderKeys::Verify)
        .await
        .unwrap();
    let early = one.sign(&claims()).await.unwrap();
    assert_ne!(kid(&early), fresh, "not looked at yet");
    house.clock.set(at(1));
    let new = one.sign(&claims()).await.unwrap();
    assert_eq!(kid(&new), fresh);
    // The other has looked within this second as well, and then another key comes.
    assert_eq!(kid(&two.sign(&claims()).await.unwrap()), fresh);
    house
        .folder()
        .rotate(at(1), OlderKeys::Verify)
        .await
        .unwrap();
    house.clock.set(at(2));
    let newest = one.sign(&claims()).await.unwrap();
    house.clock.set(at(1));
    assert_eq!(
        two.verify(&newest).await.unwrap(),
        claims(),
        "looked for at once"
    );
}

#[tokio::test]
async fn keys_that_are_broken_while_the_server_runs_change_nothing() {
    let house = House::new();
    let keys = house.keys().await;
    let old = keys.sign(&claims()).await.unwrap();
    fs::write(house.path.join("signing-key-9999999999.pem"), "nonsense").unwrap();
    house.clock.set(at(5));
    let still = keys.sign(&claims()).await.unwrap();
    assert_eq!(kid(&still), kid(&old));
    assert!(keys.verify(&old).await.is_ok());
}

#[tokio::test]
async fn a_new_key_that_could_not_be_read_at_once_is_used_as_soon_as_it_can_be() {
    let house = House::new();
    let keys = house.keys().await;
    let target = house.path.parent().unwrap().join("target.pem");
    // The folder has changed, and what the link leads to cannot be read yet.
    let link = house.path.join("signing-key-9999999999.pem");
    std::os::unix::fs::symlink(&target, link).unwrap();
    house.clock.set(at(1));
    let old = keys.sign(&claims()).await.unwrap();
    let other = House::new();
    other.keys().await;
    // The folder stays as it is.
    fs::copy(other.path.join(FILE), &target).unwrap();
    house.clock.set(at(2));
    let new = keys.sign(&claims()).await.unwrap();
    assert_ne!(kid(&new), kid(&old));
}

#[tokio::test]
async fn keys_are_listed_and_deleted_once_they_have_had_their_day() {
    let house = House::new();
    house.keys().await;
    let folder = house.folder();
    let states = async |now| {
        let listed = folder.list(now).await.unwrap().into_iter();
        listed.map(|key| (key.made, key.state)).collect::<Vec<_>>()
    };
    assert_eq!(states(at(0)).await, [(None, KeyState::Signs)]);
    folder.rotate(at(0), OlderKeys::Verify).await.unwrap();
    // The clock was set back: the new key is the newest all the same.
    folder.rotate(at(-50), OlderKeys::Verify).await.unwrap();
    let until = |made| KeyState::VerifiesUntil(at(made + OVERLAP));
    let expected = [
        (None, until(0)),
        (Some(at(0)), until(1)),
        (Some(at(1)), KeyState::Signs),
    ];
    assert_eq!(states(at(5)).await, expected);
    assert_eq!(states(at(OVERLAP)).await[0].1, KeyState::Retired);
    folder.rotate(at(OVERLAP), OlderKeys::Verify).await.unwrap();
    let expected = [
        (Some(at(0)), until(1)),
        (Some(at(1)), until(OVERLAP)),
        (Some(at(OVERLAP)), KeyState::Signs),
    ];
    assert_eq!(states(at(OVERLAP)).await, expected);
    assert!(!house.path.join(FILE).exists());
}

#[tokio::test]
async fn keys_that_are_revoked_verify_nothing_within_a_second() {
    let house = House::new();
    let keys = house.keys().await;
    let leaked = keys.sign(&claims()).await.unwrap();
    (house.folder())
        .rotate(at(0), OlderKeys::Verify)
        .await
        .unwrap();
    house.clock.set(at(1));
    let second = keys.sign(&claims()).await.unwrap();
    assert!(keys.verify(&leaked).await.is_ok());
    let fresh = (house.folder())
        .rotate(at(1), OlderKeys::Revoked)
        .await
        .unwrap();
    house.clock.set(at(2));
    for token in [&leaked, &second] {
        let verified = keys.verify(token).await;
        assert!(matches!(verified, Err(KeyError::Invalid)), "{verified:?}");
    }
    let new = keys.sign(&claims()).await.unwrap();
    assert_eq!(kid(&new), fresh);
    assert_eq!(published(&keys).await, [fresh]);
    assert_eq!(house.folder().list(at(2)).await.unwrap().len(), 1);
}

fn fresh_folder() -> (KeyFolder, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (KeyFolder::new(&folder.path().join("keys")), folder)
}

ehi_core::key_store_contract!(std::future::ready(fresh_folder()));

async fn fresh_keys() -> (RsaKeys, House) {
    let house = House::new();
    (house.keys().await, house)
}

ehi_core::token_keys_contract!(fresh_keys());
