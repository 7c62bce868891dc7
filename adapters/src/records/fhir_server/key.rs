//! The private key that proves who we are.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::jwk;

/// An RSA key that signs by RS384, or a P-384 key that signs by ES384: the two algorithms that
/// SMART requires servers to know.
pub(super) struct SigningKey {
    key: EncodingKey,
    header: Header,
}

/// What to do when the file is no such key.
const ADVICE: &str = "it holds no private key that can be used. It has to be an RSA key of 2048 bits or more or a P-384 key, as PEM (PKCS#8, or PKCS#1 for RSA; `openssl pkcs8 -topk8 -nocrypt` converts others) or as a single JWK";

impl SigningKey {
    /// Reads the content of a key file. The error says what to do, and nothing of the content.
    pub(super) fn read(text: &SecretString, kid: &str) -> Result<Self, &'static str> {
        let text = text.expose_secret().trim_start();
        let (algorithm, key) = if text.starts_with('{') {
            jwk::private_key(text)
        } else {
            let pem = text.as_bytes();
            let rsa = EncodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS384, key));
            rsa.or_else(|_| EncodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES384, key)))
                .ok()
        }
        .ok_or(ADVICE)?;
        let mut header = Header::new(algorithm);
        header.kid = Some(kid.to_owned());
        let key = Self { key, header };
        // Only now it is found out whether the key is strong enough and on the right curve.
        key.sign(&json!({})).map_err(|_| ADVICE)?;
        Ok(key)
    }

    /// A JWT with these claims.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.key)
    }
}
