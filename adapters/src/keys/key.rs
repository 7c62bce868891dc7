//! One RSA key.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ehi_core::ports::KeyError;
use jsonwebtoken::{DecodingKey, EncodingKey};
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rsa::traits::PublicKeyParts;
use rsa::{Generate, PrivateKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::unavailable;

/// An RSA key that signs and verifies.
pub(super) struct Key {
    kid: String,
    jwk: Value,
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// A new key of 2048 bits, in PEM. Takes a while.
    pub(super) fn make() -> Result<String, KeyError> {
        let key = PrivateKey::try_generate().map_err(unavailable)?;
        let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(unavailable)?;
        Ok(pem.as_str().to_owned())
    }

    pub(super) fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = PrivateKey::from_pkcs8_pem(pem).map_err(unavailable)?;
        let n = BASE64_URL_SAFE_NO_PAD.encode(key.n_bytes());
        let e = BASE64_URL_SAFE_NO_PAD.encode(key.e_bytes());
        // RFC 7638: the required members in alphabetical order, without white space.
        let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let kid = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(thumbprint));
        Ok(Self {
            jwk: json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e,
            }),
            signing: EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(unavailable)?,
            verifying: DecodingKey::from_rsa_components(&n, &e).map_err(unavailable)?,
            kid,
        })
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn jwk(&self) -> &Value {
        &self.jwk
    }

    pub(super) fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    pub(super) fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }
}
