//! Clients that prove who they are: their keys, what they sign, and how they are registered.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::app::token;
use crate::browser::{Answer, http, send};
use crate::patients::Records;
use crate::server::Server;

/// The type every assertion is sent with.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key of a client.
pub struct Key {
    /// What it signs by.
    pub algorithm: Algorithm,
    /// Its name.
    pub kid: String,
    /// Its public half.
    pub jwk: Value,
    signing: EncodingKey,
}

impl Key {
    /// A fresh key that signs by ES384.
    pub fn p384(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(48);
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Self {
            algorithm: Algorithm::ES384,
            kid: kid.to_owned(),
            jwk: json!({"kty": "EC", "crv": "P-384", "kid": kid, "x": encode(x), "y": encode(y)}),
            signing: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()),
        }
    }

    /// A fresh key that signs by RS384.
    pub fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // In DER, 2048 bits stand behind headers of fixed length.
        let n = BASE64_URL_SAFE_NO_PAD.encode(&pair.public_key().as_ref()[9..9 + 256]);
        Self {
            algorithm: Algorithm::RS384,
            kid: kid.to_owned(),
            jwk: json!({"kty": "RSA", "kid": kid, "n": n, "e": "AQAB"}),
            signing: EncodingKey::from_rsa_der(&der.as_ref()[26..]),
        }
    }

    /// An assertion with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(|_| (), claims)
    }

    /// The same with another header.
    pub fn sign_with(&self, change: impl FnOnce(&mut Header), claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.clone());
        change(&mut header);
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap()
    }
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// The claims of a flawless assertion, different from every other one.
pub fn claims(server: &Server, client: &str) -> Value {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    json!({
        "iss": client,
        "sub": client,
        "aud": server.url("/auth/token"),
        "exp": now() + 240,
        "jti": format!("assertion-{number}"),
    })
}

/// The claims with one of them replaced or, by null, left out.
pub fn with(mut claims: Value, name: &str, value: Value) -> Value {
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

/// Asks for a token for a system by this assertion.
pub async fn ask(server: &Server, assertion: &str) -> Answer {
    ask_for(server, "system/$ehi-export", assertion).await
}

/// Asks for a token of this scope by this assertion.
pub async fn ask_for(server: &Server, scope: &str, assertion: &str) -> Answer {
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", scope),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion),
    ];
    token(server, &fields).await
}

/// The entry of a system with these keys.
pub fn system(id: &str, keys: &[&Key]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| inline(&key.jwk)).collect();
    let jwks = format!("jwks = {{ keys = [{}] }}", keys.join(", "));
    system_with(id, &jwks)
}

/// The entry of a system whose keys are told like this.
pub fn system_with(id: &str, keys: &str) -> String {
    format!(
        "[[client]]\nid = '{id}'\nname = 'System {id}'\nscopes = ['system/$ehi-export']\n\
         token_endpoint_auth_method = 'private_key_jwt'\n{keys}\n"
    )
}

/// An object of strings, in TOML.
fn inline(object: &Value) -> String {
    let members = object.as_object().unwrap().iter();
    let members: Vec<String> = members
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    format!("{{ {} }}", members.join(", "))
}

/// A demo that knows these clients, too.
pub fn demo(entries: &str) -> Server {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), entries).unwrap();
    let path = file.path().to_str().unwrap();
    // The file has been read when the server is ready.
    Server::demo_with(&Records::small(), &["--client", path])
}

/// Sends a form to an endpoint with HTTP Basic.
pub async fn post_as(
    server: &Server,
    path: &str,
    who: (&str, &str),
    form: &[(&str, &str)],
) -> Answer {
    let request = http().post(server.url(path)).basic_auth(who.0, Some(who.1));
    send(request.form(form)).await
}
