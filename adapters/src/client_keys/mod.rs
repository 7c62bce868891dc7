//! The keys by which clients prove themselves: in their registration, or fetched from where they
//! publish them.
//!
//! Sources: RFC 7515, RFC 7517, RFC 7523; SMART App Launch 2, asymmetric client authentication.

mod fetch;
mod published;

use std::sync::Arc;

use async_trait::async_trait;
use ehi_core::auth::{ClientId, ClientKey, ClientKeys, PublicKey, SigningAlgorithm};
use ehi_core::ports::{AssertionError, Cause, ClientAssertions, Clock};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use published::Published;

/// Checks assertions against the clients' keys.
#[derive(Debug)]
pub struct JwtAssertions {
    published: Published,
}

impl JwtAssertions {
    /// Sets up the HTTP client that fetches published keys. Fails where the system's certificates
    /// cannot be used.
    pub fn new(clock: Arc<dyn Clock>) -> Result<Self, Cause> {
        Ok(Self {
            published: Published::new(clock)?,
        })
    }
}

/// Which key an assertion wants to be checked by.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    kid: Option<&'a str>,
    algorithm: SigningAlgorithm,
}

#[async_trait]
impl ClientAssertions for JwtAssertions {
    async fn verify(
        &self,
        client: &ClientId,
        keys: &ClientKeys,
        assertion: &str,
    ) -> Result<Value, AssertionError> {
        let header = jsonwebtoken::decode_header(assertion).map_err(|_| AssertionError::Invalid)?;
        let algorithm = match header.alg {
            Algorithm::RS384 => SigningAlgorithm::Rs384,
            Algorithm::ES384 => SigningAlgorithm::Es384,
            _ => return Err(AssertionError::Invalid),
        };
        // What a `crit` demands is not understood here (RFC 7515 section 4.1.11).
        if header.crit.is_some() {
            return Err(AssertionError::Invalid);
        }
        let wanted = Wanted {
            kid: header.kid.as_deref(),
            algorithm,
        };
        match keys {
            ClientKeys::Registered(set) => {
                let key = set.find(wanted.kid, wanted.algorithm);
                check(assertion, key.ok_or(AssertionError::Invalid)?)
            }
            ClientKeys::Published(uri) => {
                let key = self.published.key(client, uri, wanted).await?;
                check(assertion, &key)
            }
        }
    }
}

/// The claims, where this key signed them.
fn check(assertion: &str, key: &ClientKey) -> Result<Value, AssertionError> {
    let decoding = match key.key() {
        PublicKey::Rsa { n, e } => DecodingKey::from_rsa_components(n, e),
        PublicKey::P384 { x, y } => DecodingKey::from_ec_components(x, y),
    };
    let decoding = decoding.map_err(|_| AssertionError::Invalid)?;
    let mut validation = Validation::new(match key.algorithm() {
        SigningAlgorithm::Rs384 => Algorithm::RS384,
        SigningAlgorithm::Es384 => Algorithm::ES384,
    });
    // What the claims say is the core's to judge, by its own clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let decoded = jsonwebtoken::decode::<Value>(assertion, &decoding, &validation);
    decoded
        .map(|decoded| decoded.claims)
        .map_err(|_| AssertionError::Invalid)
}

#[cfg(test)]
mod tests;
