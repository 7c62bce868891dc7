//! The public keys by which clients prove themselves.

use std::collections::HashSet;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// How an assertion is signed. Source: SMART App Launch 2, asymmetric client authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    /// RSA with SHA-384.
    Rs384,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

impl SigningAlgorithm {
    /// Every algorithm.
    pub const ALL: &'static [Self] = &[Self::Rs384, Self::Es384];

    /// As it stands on the wire (RFC 7518 section 3.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs384 => "RS384",
            Self::Es384 => "ES384",
        }
    }
}

/// A public key, its numbers in base64url as in a JWK (RFC 7518 section 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// An RSA key of 2048 to 8192 bits.
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
    /// A point on P-384.
    P384 {
        /// One coordinate.
        x: String,
        /// The other.
        y: String,
    },
}

/// A client's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    kid: Option<String>,
    key: PublicKey,
}

impl ClientKey {
    /// The key itself.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The only algorithm it signs by.
    pub fn algorithm(&self) -> SigningAlgorithm {
        match self.key {
            PublicKey::Rsa { .. } => SigningAlgorithm::Rs384,
            PublicKey::P384 { .. } => SigningAlgorithm::Es384,
        }
    }
}

/// A client's public keys: at least one, at most [`MOST`](Self::MOST).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKeySet(Vec<ClientKey>);

/// Why a JWK Set cannot be a client's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// No JWK Set at all.
    #[error("jwks has to be a JWK Set: {{\"keys\": […]}}")]
    NoSet,
    /// No key that could be used.
    #[error("jwks holds no key for RS384 or ES384")]
    Empty,
    /// More keys than anybody needs.
    #[error("jwks holds more than {} keys", ClientKeySet::MOST)]
    TooMany,
    /// Two keys of one name.
    #[error("jwks holds two keys with the kid '{0}'")]
    Twice(String),
    /// Several keys, and one has no name to be told by.
    #[error("jwks holds several keys, so each needs a kid")]
    NoKid,
    /// A key that everybody can sign with now.
    #[error("jwks holds a private key: register the public one alone, and make a new pair")]
    Private,
    /// Another kind of key.
    #[error("jwks holds a key that is neither RSA nor on P-384")]
    Kind,
    /// A key that is too easy to break, or unreasonably long.
    #[error("jwks holds an RSA key of {0} bits: use one of 2048 to 8192")]
    Bits(usize),
    /// A key whose members are broken.
    #[error("jwks holds a key whose '{0}' is missing or no base64url of the right length")]
    Member(&'static str),
    /// A key for something else.
    #[error("jwks holds a key whose '{0}' says that it is not for signatures by RS384 or ES384")]
    Purpose(&'static str),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl ClientKeySet {
    /// How many keys a client may have.
    pub const MOST: usize = 20;

    /// Reads the keys of a registration: each has to be usable.
    pub fn registered(set: Value) -> Result<Self, JwkError> {
        let keys = read_set(set)?;
        let keys: Result<Vec<_>, _> = keys.iter().map(read_key).collect();
        Self::of(keys?)
    }

    /// Reads the keys a client publishes. Those for other purposes are passed over, as RFC 7517
    /// section 5 wants it.
    pub fn published(set: Value) -> Result<Self, JwkError> {
        let keys = read_set(set)?;
        Self::of(keys.iter().filter_map(|key| read_key(key).ok()).collect())
    }

    fn of(keys: Vec<ClientKey>) -> Result<Self, JwkError> {
        let mut kids = HashSet::new();
        for key in &keys {
            match &key.kid {
                Some(kid) if !kids.insert(kid.as_str()) => {
                    return Err(JwkError::Twice(kid.clone()));
                }
                None if keys.len() > 1 => return Err(JwkError::NoKid),
                _ => {}
            }
        }
        if keys.is_empty() {
            return Err(JwkError::Empty);
        }
        Ok(Self(keys))
    }

    /// The key that an assertion names. One that names none is meant for the only key of its
    /// algorithm.
    pub fn find(&self, kid: Option<&str>, algorithm: SigningAlgorithm) -> Option<&ClientKey> {
        let mut fitting = (self.0.iter()).filter(|key| key.algorithm() == algorithm);
        if let Some(kid) = kid {
            // A key without a name is alone, whatever name the client has for it.
            return fitting.find(|key| key.kid.as_deref().is_none_or(|own| own == kid));
        }
        let only = fitting.next()?;
        fitting.next().is_none().then_some(only)
    }
}

fn read_set(set: Value) -> Result<Vec<Value>, JwkError> {
    let set: Set = serde_json::from_value(set).map_err(|_| JwkError::NoSet)?;
    if set.keys.len() > ClientKeySet::MOST {
        return Err(JwkError::TooMany);
    }
    Ok(set.keys)
}

fn read_key(jwk: &Value) -> Result<ClientKey, JwkError> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    if private.iter().any(|name| jwk.get(name).is_some()) {
        return Err(JwkError::Private);
    }
    let key = match text("kty") {
        Some("RSA") => read_rsa(text("n"), text("e"))?,
        Some("EC") if text("crv") == Some("P-384") => PublicKey::P384 {
            x: coordinate(text("x"), "x")?,
            y: coordinate(text("y"), "y")?,
        },
        _ => return Err(JwkError::Kind),
    };
    let key = ClientKey {
        kid: text("kid").map(str::to_owned),
        key,
    };
    let named = |name: &str| jwk.get(name).is_some();
    if named("use") && text("use") != Some("sig") {
        return Err(JwkError::Purpose("use"));
    }
    if named("alg") && text("alg") != Some(key.algorithm().as_str()) {
        return Err(JwkError::Purpose("alg"));
    }
    if let Some(operations) = jwk.get("key_ops") {
        let verifies = operations.as_array().is_some_and(|operations| {
            (operations.iter()).any(|operation| operation.as_str() == Some("verify"))
        });
        if !verifies {
            return Err(JwkError::Purpose("key_ops"));
        }
    }
    if named("kid") && key.kid.is_none() {
        return Err(JwkError::Member("kid"));
    }
    Ok(key)
}

fn decoded(text: Option<&str>, name: &'static str) -> Result<(String, Vec<u8>), JwkError> {
    let text = text.ok_or(JwkError::Member(name))?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
    let bytes = bytes.map_err(|_| JwkError::Member(name))?;
    Ok((text.to_owned(), bytes))
}

fn read_rsa(n: Option<&str>, e: Option<&str>) -> Result<PublicKey, JwkError> {
    let (n, modulus) = decoded(n, "n")?;
    let (e, exponent) = decoded(e, "e")?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let bits = match modulus.get(zeros) {
        Some(first) => (modulus.len() - zeros) * 8 - first.leading_zeros() as usize,
        None => 0,
    };
    if !(2048..=8192).contains(&bits) {
        return Err(JwkError::Bits(bits));
    }
    // 3 and above, odd, and no longer than what libraries take.
    let sound = (1..=4).contains(&exponent.len())
        && exponent.last().is_some_and(|last| last % 2 == 1)
        && exponent != [1];
    sound
        .then_some(PublicKey::Rsa { n, e })
        .ok_or(JwkError::Member("e"))
}

fn coordinate(text: Option<&str>, name: &'static str) -> Result<String, JwkError> {
    let (text, bytes) = decoded(text, name)?;
    let whole = bytes.len() == 48;
    whole.then_some(text).ok_or(JwkError::Member(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rsa(kid: &str, bytes: usize) -> Value {
        let n = BASE64_URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        json!({"kty": "RSA", "kid": kid, "n": n, "e": "AQAB"})
    }

    fn p384(kid: &str) -> Value {
        let number = BASE64_URL_SAFE_NO_PAD.encode([7; 48]);
        json!({"kty": "EC", "crv": "P-384", "kid": kid, "x": number, "y": number})
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    fn without(mut key: Value, member: &str) -> Value {
        key.as_object_mut().unwrap().remove(member);
        key
    }

    #[test]
    fn an_assertion_names_its_key_and_may_leave_that_out_when_there_is_no_doubt() {
        let rs384 = SigningAlgorithm::Rs384;
        let es384 = SigningAlgorithm::Es384;
        let keys = json!({"keys": [rsa("a", 256), rsa("b", 384), p384("c")]});
        let keys = ClientKeySet::registered(keys).unwrap();
        let found = |kid, algorithm| {
            keys.find(kid, algorithm)
                .map(|key| key.kid.clone().unwrap())
        };
        assert_eq!(found(Some("a"), rs384).as_deref(), Some("a"));
        assert_eq!(found(Some("c"), es384).as_deref(), Some("c"));
        assert_eq!(found(None, es384).as_deref(), Some("c"), "the only one");
        assert_eq!(found(None, rs384), None, "there are two");
        assert_eq!(found(Some("x"), rs384), None);
        assert_eq!(found(Some("c"), rs384), None, "the algorithm is the key's");

        let alone = json!({"keys": [without(rsa("a", 256), "kid")]});
        let alone = ClientKeySet::registered(alone).unwrap();
        assert!(alone.find(None, rs384).is_some() && alone.find(Some("x"), rs384).is_some());
        assert!(alone.find(None, es384).is_none());
    }

    #[test]
    fn a_registration_with_a_bad_key_is_refused_and_says_why() {
        let many: Vec<_> = (0..21)
            .map(|number| rsa(&number.to_string(), 256))
            .collect();
        for (keys, error) in [
            (json!([]), JwkError::Empty),
            (json!(many), JwkError::TooMany),
            (json!([rsa("a", 255)]), JwkError::Bits(2040)),
            (json!([rsa("a", 2000)]), JwkError::Bits(16000)),
            (
                json!([rsa("a", 256), rsa("a", 384)]),
                JwkError::Twice("a".into()),
            ),
            (
                json!([rsa("a", 256), without(p384("b"), "kid")]),
                JwkError::NoKid,
            ),
            (
                json!([with(rsa("a", 256), "d", json!("AQAB"))]),
                JwkError::Private,
            ),
            (
                json!([with(p384("a"), "d", Value::Null)]),
                JwkError::Private,
            ),
            (json!([{"kty": "oct", "k": "c2VjcmV0"}]), JwkError::Private),
            (
                json!([with(p384("a"), "crv", json!("P-256"))]),
                JwkError::Kind,
            ),
            (json!([{}]), JwkError::Kind),
            (json!(["x"]), JwkError::Kind),
            (
                json!([with(p384("a"), "x", json!("AQAB"))]),
                JwkError::Member("x"),
            ),
            (json!([without(rsa("a", 256), "n")]), JwkError::Member("n")),
            (
                json!([with(rsa("a", 256), "e", json!("AQ"))]),
                JwkError::Member("e"),
            ),
            (
                json!([with(rsa("a", 256), "e", json!("AQAA"))]),
                JwkError::Member("e"),
            ),
            (
                json!([with(rsa("a", 256), "kid", json!(7))]),
                JwkError::Member("kid"),
            ),
            (
                json!([with(rsa("a", 256), "use", json!("enc"))]),
                JwkError::Purpose("use"),
            ),
            (
                json!([with(rsa("a", 256), "alg", json!("RS256"))]),
                JwkError::Purpose("alg"),
            ),
            (
                json!([with(p384("a"), "key_ops", json!(["sign"]))]),
                JwkError::Purpose("key_ops"),
            ),
        ] {
            let refused = ClientKeySet::registered(json!({"keys": keys}));
            assert_eq!(refused, Err(error), "{keys}");
        }
        assert_eq!(ClientKeySet::registered(json!([])), Err(JwkError::NoSet));
    }

    #[test]
    fn published_keys_for_other_purposes_are_passed_over() {
        let keys = json!({"keys": [
            with(rsa("a", 256), "use", json!("enc")),
            {"kty": "OKP", "crv": "Ed25519", "x": "AQAB"},
            with(rsa("b", 256), "d", json!("AQAB")),
            rsa("c", 256),
        ]});
        let keys = ClientKeySet::published(keys).unwrap();
        assert_eq!(keys.0.len(), 1);
        let none = json!({"keys": [{"kty": "OKP"}]});
        assert_eq!(ClientKeySet::published(none), Err(JwkError::Empty));
        let many: Vec<_> = (0..21).map(|_| json!({})).collect();
        let many = ClientKeySet::published(json!({"keys": many}));
        assert_eq!(many, Err(JwkError::TooMany));
    }
}
