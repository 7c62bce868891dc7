//! What [`ClientAssertions`] promise.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]
#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the names are the promises"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha384;
use url::Url;

use crate::auth::{ClientId, ClientKeySet, ClientKeys, JwksUri};
use crate::ports::{AssertionError, ClientAssertions};
use crate::testkit::client_id;

/// Makes the tests of [`ClientAssertions`]: `client_assertions_contract!(fresh())`, where `fresh()`
/// is a future of such that fetched nothing yet, and of whatever has to live as long as they.
#[macro_export]
macro_rules! client_assertions_contract {
    ($fresh:expr) => {
        $crate::contract_tests!(
            client_assertions, $fresh,
            what_a_registered_key_signed_is_believed
            an_assertion_that_names_no_key_is_checked_by_the_only_one_of_its_kind
            no_other_key_algorithm_or_trick_is_believed
            what_is_no_assertion_is_refused
            published_keys_are_fetched_once_by_however_many
            unknown_keys_bring_about_one_more_fetch_however_many_are_guessed
            a_key_of_one_client_proves_nothing_for_another
            where_keys_cannot_be_fetched_it_is_nobodys_fault
        );
    };
}

/// Keys and what they signed, made once for this. Nobody has the private parts any more.
const SIGNED: &str = include_str!("client_assertions.json");

fn made(kind: &str) -> Map<String, Value> {
    let Value::Object(kinds) = serde_json::from_str::<Value>(SIGNED).unwrap()[kind].take() else {
        panic!("{kind}")
    };
    kinds
}

fn signed(name: &str) -> String {
    made("signed")[name].as_str().unwrap().to_owned()
}

fn set(names: &[&str]) -> Value {
    let keys = made("keys");
    let keys: Vec<_> = names.iter().map(|name| keys[*name].clone()).collect();
    json!({ "keys": keys })
}

fn registered(names: &[&str]) -> ClientKeys {
    ClientKeys::Registered(ClientKeySet::registered(set(names)).unwrap())
}

/// Publishes keys on this machine, and counts who asks. Its thread ends with the tests.
struct KeyServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    fn start(names: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let body = set(names).to_string();
        let count = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                // Whoever hangs up misses the answer.
                let _ = answer(&stream.unwrap(), &body);
            }
        });
        Self { address, asked }
    }

    fn keys(&self) -> ClientKeys {
        published_at(self.address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: &TcpStream, body: &str) -> std::io::Result<()> {
    let head = BufReader::new(stream).lines();
    for line in head {
        if line?.is_empty() {
            break;
        }
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/jwk-set+json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

fn published_at(address: SocketAddr) -> ClientKeys {
    let url = Url::parse(&format!("http://{address}/jwks.json")).unwrap();
    ClientKeys::Published(JwksUri::try_from(url).unwrap())
}

async fn is_believed(assertions: &dyn ClientAssertions, keys: &ClientKeys, signed: &str) -> bool {
    is_believed_of(assertions, &client_id(), keys, signed).await
}

async fn is_believed_of(
    assertions: &dyn ClientAssertions,
    client: &ClientId,
    keys: &ClientKeys,
    signed: &str,
) -> bool {
    match assertions.verify(client, keys, signed).await {
        Ok(claims) => {
            assert_eq!(claims, json!({"iss": "test-app", "sub": "test-app"}));
            true
        }
        Err(AssertionError::Invalid) => false,
        Err(error) => panic!("{error:?}"),
    }
}

pub async fn what_a_registered_key_signed_is_believed(assertions: Arc<dyn ClientAssertions>) {
    let keys = registered(&["ec", "rsa"]);
    for by in ["ec", "rsa"] {
        assert!(is_believed(&*assertions, &keys, &signed(by)).await, "{by}");
    }
    assert!(!is_believed(&*assertions, &keys, &signed("other")).await);
}

pub async fn an_assertion_that_names_no_key_is_checked_by_the_only_one_of_its_kind(
    assertions: Arc<dyn ClientAssertions>,
) {
    let keys = registered(&["ec", "rsa"]);
    for by in ["ec_unnamed", "rsa_unnamed"] {
        assert!(is_believed(&*assertions, &keys, &signed(by)).await, "{by}");
    }
    let two = registered(&["ec", "other"]);
    assert!(!is_believed(&*assertions, &two, &signed("ec_unnamed")).await);
}

pub async fn no_other_key_algorithm_or_trick_is_believed(assertions: Arc<dyn ClientAssertions>) {
    let keys = registered(&["ec", "rsa"]);
    for (how, forged) in made("forged") {
        let forged = forged.as_str().unwrap();
        assert!(!is_believed(&*assertions, &keys, forged).await, "{how}");
    }

    let good = signed("ec");
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}")
    };
    let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let none = part(json!({"alg": "none", "kid": "ec"}));
    // What is public, taken for a secret: RFC 8725 section 2.1.
    let modulus = set(&["rsa"])["keys"][0]["n"].as_str().unwrap().to_owned();
    let symmetric = |secret: &[u8]| {
        let header = part(json!({"alg": "HS384", "kid": "rsa"}));
        let mut mac = Hmac::<Sha384>::new_from_slice(secret).unwrap();
        mac.update(format!("{header}.{claims}").as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        format!("{header}.{claims}.{signature}")
    };
    for forged in [
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{header}.{claims}."),
        format!("{header}.{}.{signature}", part(json!({"iss": "other"}))),
        format!("{header}.{claims}.{}", "A".repeat(128)),
        symmetric(b""),
        symmetric(modulus.as_bytes()),
        symmetric(&BASE64_URL_SAFE_NO_PAD.decode(&modulus).unwrap()),
    ] {
        assert!(!is_believed(&*assertions, &keys, &forged).await, "{forged}");
    }
    assert!(is_believed(&*assertions, &keys, &good).await);
}

pub async fn what_is_no_assertion_is_refused(assertions: Arc<dyn ClientAssertions>) {
    let server = KeyServer::start(&["ec"]);
    let long = "A".repeat(1 << 20);
    for keys in [registered(&["ec"]), server.keys()] {
        for nonsense in [
            "", ".", "..", "...", "nonsense", "\0.\0.\0", "{}.{}.{}", &long,
        ] {
            let believed = is_believed(&*assertions, &keys, nonsense).await;
            assert!(!believed, "{nonsense:.100}");
        }
    }
}

pub async fn published_keys_are_fetched_once_by_however_many(
    assertions: Arc<dyn ClientAssertions>,
) {
    let server = KeyServer::start(&["ec", "rsa"]);
    let crowd = (0..32).map(|number| {
        let (assertions, keys) = (assertions.clone(), server.keys());
        let signed = signed(["ec", "rsa"][number % 2]);
        tokio::spawn(async move { is_believed(&*assertions, &keys, &signed).await })
    });
    for believed in join_all(crowd).await {
        assert!(believed.unwrap());
    }
    assert_eq!(server.asked(), 1);
}

pub async fn unknown_keys_bring_about_one_more_fetch_however_many_are_guessed(
    assertions: Arc<dyn ClientAssertions>,
) {
    let server = KeyServer::start(&["ec", "rsa"]);
    assert!(is_believed(&*assertions, &server.keys(), &signed("ec")).await);
    let good = signed("ec");
    let (_, claims_and_signature) = good.split_once('.').unwrap();
    for number in 0..20 {
        let kid = format!("guess-{number}");
        let header = json!({"alg": "ES384", "kid": kid}).to_string();
        let header = BASE64_URL_SAFE_NO_PAD.encode(header);
        let guessed = format!("{header}.{claims_and_signature}");
        assert!(!is_believed(&*assertions, &server.keys(), &guessed).await);
    }
    assert!(server.asked() <= 2, "{}", server.asked());
    // Whoever guesses keeps nobody out.
    assert!(is_believed(&*assertions, &server.keys(), &signed("rsa")).await);
}

pub async fn a_key_of_one_client_proves_nothing_for_another(assertions: Arc<dyn ClientAssertions>) {
    let other = ClientId::parse("another-app").unwrap();
    let (ours, theirs) = (KeyServer::start(&["ec"]), KeyServer::start(&["other"]));
    for (client, keys, own) in [
        (client_id(), registered(&["ec"]), "ec"),
        (other.clone(), registered(&["other"]), "other"),
        (client_id(), ours.keys(), "ec"),
        (other, theirs.keys(), "other"),
    ] {
        for by in ["ec", "other"] {
            let believed = is_believed_of(&*assertions, &client, &keys, &signed(by)).await;
            assert_eq!(believed, by == own, "{client}: {by}");
        }
    }
}

pub async fn where_keys_cannot_be_fetched_it_is_nobodys_fault(
    assertions: Arc<dyn ClientAssertions>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = published_at(listener.local_addr().unwrap());
    drop(listener);
    for _ in 0..3 {
        let verified = assertions.verify(&client_id(), &gone, &signed("ec")).await;
        let unavailable = matches!(verified, Err(AssertionError::Unavailable(_)));
        assert!(unavailable, "{verified:?}");
    }
    // A client whose keys are elsewhere is not held up by it.
    let other = ClientId::parse("another-app").unwrap();
    let server = KeyServer::start(&["ec"]);
    assert!(is_believed_of(&*assertions, &other, &server.keys(), &signed("ec")).await);
}
