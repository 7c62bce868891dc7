//! What the keys of clients promise.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ehi_core::auth::JwksUri;
use ehi_core::testkit::{FixedClock, at, client_id};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use url::Url;

use super::*;

/// A P-384 key of a client.
struct Signer {
    signing: EncodingKey,
    jwk: Value,
}

fn p384() -> Signer {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = point[1..].split_at(48);
    Signer {
        signing: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()),
        jwk: json!({
            "kty": "EC", "crv": "P-384",
            "x": BASE64_URL_SAFE_NO_PAD.encode(x), "y": BASE64_URL_SAFE_NO_PAD.encode(y),
        }),
    }
}

impl Signer {
    fn sign(&self, kid: &str) -> String {
        let header = Header {
            kid: Some(kid.to_owned()),
            ..Header::new(Algorithm::ES384)
        };
        jsonwebtoken::encode(&header, &json!({"iss": "test-app"}), &self.signing).unwrap()
    }

    fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = kid.into();
        jwk
    }
}

fn house() -> (JwtAssertions, Arc<FixedClock>) {
    let clock = Arc::new(FixedClock::at(at(0)));
    (JwtAssertions::new(clock.clone()).unwrap(), clock)
}

ehi_core::client_assertions_contract!(async { house() });

async fn verified(house: &JwtAssertions, keys: &ClientKeys, assertion: &str) -> bool {
    match house.verify(&client_id(), keys, assertion).await {
        Ok(claims) => {
            assert_eq!(claims, json!({"iss": "test-app"}));
            true
        }
        Err(AssertionError::Invalid) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// A client's server of keys: what it answers, and how often it was asked.
#[derive(Debug, Default)]
struct KeyServer {
    body: Mutex<String>,
    status: AtomicU16,
    asked: AtomicUsize,
    /// Each answer waits for a word, where there is one to wait for.
    gate: Mutex<Option<Arc<Notify>>>,
}

impl KeyServer {
    async fn start(keys: &[Value]) -> (Arc<Self>, ClientKeys) {
        let server = Arc::new(Self::default());
        server.publish(keys);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/jwks.json", get(answer))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = Url::parse(&format!("http://{address}/jwks.json")).unwrap();
        (
            server,
            ClientKeys::Published(JwksUri::try_from(url).unwrap()),
        )
    }

    fn publish(&self, keys: &[Value]) {
        self.answer(200, &json!({"keys": keys}).to_string());
    }

    fn answer(&self, status: u16, body: &str) {
        body.clone_into(&mut self.body.lock().unwrap());
        self.status.store(status, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answer(State(server): State<Arc<KeyServer>>) -> Response {
    server.asked.fetch_add(1, Ordering::SeqCst);
    let gate = server.gate.lock().unwrap().clone();
    if let Some(gate) = gate {
        gate.notified().await;
    }
    let status = StatusCode::from_u16(server.status.load(Ordering::SeqCst)).unwrap();
    let body = server.body.lock().unwrap().clone();
    (status, [("location", "http://127.0.0.1:1/")], body).into_response()
}

#[tokio::test]
async fn published_keys_are_fetched_once_and_kept_until_they_are_old() {
    let (house, clock) = house();
    let key = p384();
    let (server, keys) = KeyServer::start(&[key.jwk("a")]).await;
    for _ in 0..3 {
        assert!(verified(&house, &keys, &key.sign("a")).await);
    }
    assert_eq!(server.asked(), 1);
    clock.set(at(599));
    assert!(verified(&house, &keys, &key.sign("a")).await);
    assert_eq!(server.asked(), 1);
    // A key that is withdrawn is not believed any more once the keys are fetched anew.
    server.publish(&[p384().jwk("b")]);
    clock.set(at(600));
    assert!(!verified(&house, &keys, &key.sign("a")).await);
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_a_minute() {
    let (house, clock) = house();
    let (old, new) = (p384(), p384());
    let (server, keys) = KeyServer::start(&[old.jwk("old")]).await;
    assert!(verified(&house, &keys, &old.sign("old")).await);
    server.publish(&[old.jwk("old"), new.jwk("new")]);
    clock.set(at(9));
    assert!(verified(&house, &keys, &new.sign("new")).await);
    assert!(verified(&house, &keys, &old.sign("old")).await);
    assert_eq!(server.asked(), 2);
    for second in [9, 68] {
        clock.set(at(second));
        for number in 0..10 {
            let guessed = new.sign(&number.to_string());
            assert!(!verified(&house, &keys, &guessed).await);
        }
        assert_eq!(server.asked(), 2, "too early");
    }
    clock.set(at(69));
    assert!(!verified(&house, &keys, &new.sign("guessed")).await);
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn whoever_hangs_up_brings_about_no_second_fetch() {
    let (house, _) = house();
    let house = Arc::new(house);
    let key = p384();
    let (server, keys) = KeyServer::start(&[key.jwk("a")]).await;
    let gate = Arc::new(Notify::new());
    *server.gate.lock().unwrap() = Some(gate.clone());
    let asks = || {
        let (house, keys, assertion) = (house.clone(), keys.clone(), key.sign("a"));
        tokio::spawn(async move { verified(&house, &keys, &assertion).await })
    };
    let gone = asks();
    while server.asked() == 0 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.notify_one();
    // A second fetch would wait for a word that never comes.
    let next = tokio::time::timeout(Duration::from_secs(10), asks()).await;
    assert!(next.unwrap().unwrap());
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn what_are_no_keys_proves_nothing_and_is_not_asked_for_at_once_again() {
    let key = p384();
    let many: Vec<_> = (0..21).map(|number| key.jwk(&number.to_string())).collect();
    let long = format!("{{\"x\":\"{}\",\"keys\":[]}}", "x".repeat(70_000));
    for (status, body) in [
        (404, String::new()),
        (301, json!({"keys": [key.jwk("a")]}).to_string()),
        (302, json!({"keys": [key.jwk("a")]}).to_string()),
        (200, "nonsense".into()),
        (200, json!({"keys": many}).to_string()),
        (200, json!({"keys": []}).to_string()),
        (
            200,
            json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string(),
        ),
        (200, long),
    ] {
        let (house, clock) = house();
        let (server, keys) = KeyServer::start(&[]).await;
        server.answer(status, &body);
        for _ in 0..3 {
            assert!(!verified(&house, &keys, &key.sign("a")).await);
        }
        assert_eq!(server.asked(), 1, "{status}");
        server.publish(&[key.jwk("a")]);
        clock.set(at(10));
        assert!(verified(&house, &keys, &key.sign("a")).await);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_a_passing_trouble_and_its_keys_outlive_it_for_an_hour() {
    let (house, clock) = house();
    let key = p384();
    let (server, keys) = KeyServer::start(&[]).await;
    server.answer(503, "");
    let unavailable = async || {
        let verified = house.verify(&client_id(), &keys, &key.sign("a")).await;
        matches!(verified, Err(AssertionError::Unavailable(_)))
    };
    assert!(unavailable().await && unavailable().await);
    assert_eq!(server.asked(), 1);
    clock.set(at(10));
    server.publish(&[key.jwk("a")]);
    assert!(verified(&house, &keys, &key.sign("a")).await);
    server.answer(500, "");
    clock.set(at(3600));
    assert!(verified(&house, &keys, &key.sign("a")).await);
    clock.set(at(3610));
    assert!(unavailable().await);
}

#[tokio::test]
async fn a_server_that_never_ends_its_answer_is_given_up() {
    let (house, clock) = house();
    let key = p384();
    let (server, keys) = KeyServer::start(&[key.jwk("a")]).await;
    *server.gate.lock().unwrap() = Some(Arc::new(Notify::new()));
    let waiting = tokio::spawn(async move {
        let assertion = key.sign("a");
        house.verify(&client_id(), &keys, &assertion).await
    });
    while server.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    clock.set(at(5));
    let verified = waiting.await.unwrap();
    assert!(matches!(verified, Err(AssertionError::Unavailable(_))));
}
