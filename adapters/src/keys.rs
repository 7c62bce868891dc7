//! RSA keys that sign access tokens, kept in a folder.

use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ehi_core::ports::{KeyError, TokenKeys};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rsa::traits::PublicKeyParts;
use rsa::{Generate, PrivateKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// The file within the folder.
const FILE: &str = "signing-key.pem";

/// An access token of ours is below 2 KiB; nothing longer is even parsed.
const LONGEST_TOKEN: usize = 8 << 10;

/// An RSA key of 2048 bits that signs by RS256.
///
/// Its id is the thumbprint of RFC 7638, so it is the same after every restart.
pub struct RsaKeys {
    kid: String,
    jwk: Value,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for RsaKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RsaKeys")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl RsaKeys {
    /// Reads the key from the folder. When there is none yet, makes one and keeps it there,
    /// readable to the server's own user alone.
    pub async fn open(folder: &Path) -> Result<Self, KeyError> {
        let folder = folder.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&folder));
        opened.await.map_err(unavailable)?
    }

    fn open_blocking(folder: &Path) -> Result<Self, KeyError> {
        let file = folder.join(FILE);
        let pem = match std::fs::read_to_string(&file) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut private = std::fs::DirBuilder::new();
                private.recursive(true).mode(0o700);
                private.create(folder).map_err(unavailable)?;
                let pem = PrivateKey::try_generate()
                    .map_err(unavailable)?
                    .to_pkcs8_pem(LineEnding::LF)
                    .map_err(unavailable)?;
                keep(&file, pem.as_bytes()).map_err(unavailable)?;
                // When two servers start at once, one of the two keys stands.
                std::fs::read_to_string(&file).map_err(unavailable)?
            }
            Err(error) => return Err(unavailable(error)),
        };
        Self::from_pem(&pem)
    }

    fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = PrivateKey::from_pkcs8_pem(pem).map_err(unavailable)?;
        let n = BASE64_URL_SAFE_NO_PAD.encode(key.n_bytes());
        let e = BASE64_URL_SAFE_NO_PAD.encode(key.e_bytes());
        // RFC 7638: the required members in alphabetical order, without white space.
        let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let kid = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(thumbprint));
        let mut validation = Validation::new(Algorithm::RS256);
        // Expiry and audience are the core's to judge, by its own clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Ok(Self {
            jwk: json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e,
            }),
            signing: EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(unavailable)?,
            verifying: DecodingKey::from_rsa_components(&n, &e).map_err(unavailable)?,
            kid,
            validation,
        })
    }
}

#[async_trait]
impl TokenKeys for RsaKeys {
    async fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let mut header = Header::new(Algorithm::RS256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(unavailable)
    }

    async fn verify(&self, token: &str) -> Result<Value, KeyError> {
        if token.len() > LONGEST_TOKEN {
            return Err(KeyError::Invalid);
        }
        let decoded = jsonwebtoken::decode::<Value>(token, &self.verifying, &self.validation)
            .map_err(|_| KeyError::Invalid)?;
        let header = decoded.header;
        let ours =
            header.kid.as_deref() == Some(&self.kid) && header.typ.as_deref() == Some("at+jwt");
        ours.then_some(decoded.claims).ok_or(KeyError::Invalid)
    }

    async fn jwks(&self) -> Result<Value, KeyError> {
        Ok(json!({"keys": [self.jwk]}))
    }
}

/// Writes a file that only the server's user can read, whole or not at all. One that is there
/// already stays.
fn keep(file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut temporary = NamedTempFile::new_in(folder)?;
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    match temporary.persist_noclobber(file) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

fn unavailable(error: impl Into<ehi_core::ports::Cause>) -> KeyError {
    KeyError::Unavailable(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn part(json: &Value) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
    }

    #[tokio::test]
    async fn a_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let keys = RsaKeys::open(&folder.path().join("keys")).await.unwrap();
        let token = keys.sign(&json!({"sub": "p"})).await.unwrap();
        let again = RsaKeys::open(&folder.path().join("keys")).await.unwrap();
        assert_eq!(again.verify(&token).await.unwrap(), json!({"sub": "p"}));
        assert_eq!(again.jwks().await.unwrap(), keys.jwks().await.unwrap());
        let mode = folder
            .path()
            .join("keys")
            .join(FILE)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let folder = folder.path().join("keys").metadata().unwrap();
        assert_eq!(folder.permissions().mode() & 0o777, 0o700);
        assert!(!keys.jwks().await.unwrap().to_string().contains("\"d\""));
    }

    #[tokio::test]
    async fn only_our_own_signature_counts() {
        let folder = tempfile::tempdir().unwrap();
        let keys = RsaKeys::open(&folder.path().join("a")).await.unwrap();
        let other = RsaKeys::open(&folder.path().join("b")).await.unwrap();
        let token = keys.sign(&json!({"sub": "p"})).await.unwrap();
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let kid = &keys.kid;
        let n = keys.jwk["n"].as_str().unwrap();
        let hs256 = jsonwebtoken::encode(
            &Header {
                kid: Some(kid.clone()),
                typ: Some("at+jwt".into()),
                ..Header::new(Algorithm::HS256)
            },
            &json!({"sub": "p"}),
            &EncodingKey::from_secret(n.as_bytes()),
        )
        .unwrap();
        let none = part(&json!({"alg": "none", "typ": "at+jwt", "kid": kid}));
        for forged in [
            String::new(),
            "..".to_owned(),
            format!("{header}.{claims}."),
            format!("{none}.{claims}."),
            format!("{none}.{claims}.{signature}"),
            format!("{header}.{}.{signature}", part(&json!({"sub": "q"}))),
            hs256,
            other.sign(&json!({"sub": "p"})).await.unwrap(),
            format!("{header}.{}.{signature}", "A".repeat(100_000)),
        ] {
            assert!(
                matches!(keys.verify(&forged).await, Err(KeyError::Invalid)),
                "{forged:.80}"
            );
        }
        assert!(keys.verify(&token).await.is_ok());
    }

    #[tokio::test]
    async fn a_broken_key_file_is_an_error_and_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "nonsense").unwrap();
        assert!(matches!(
            RsaKeys::open(folder.path()).await,
            Err(KeyError::Unavailable(_))
        ));
        assert_eq!(
            std::fs::read_to_string(folder.path().join(FILE)).unwrap(),
            "nonsense"
        );
    }
}
