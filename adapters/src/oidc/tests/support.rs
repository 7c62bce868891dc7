//! A provider on a port of its own, keys to sign with, and a login at it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ehi_core::auth::{LoginAttempt, Secret};
use ehi_core::ports::{Brings, LoginReturn};
use ehi_core::testkit::{FixedClock, at};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tokio::net::TcpListener;

use super::super::*;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
    pub form: HashMap<String, String>,
}

/// What the provider says.
#[derive(Debug)]
pub struct Says {
    pub metadata: Value,
    pub keys: Vec<Value>,
    pub token: (u16, Value),
    /// Answered to everything instead.
    pub instead: Option<(u16, String)>,
}

/// A provider that answers what the test says. Ends with the test.
pub struct Provider {
    pub base: String,
    pub says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let says = Arc::new(Mutex::new(Says {
            metadata: json!({
                "issuer": base,
                "authorization_endpoint": format!("{base}/authorize?tenant=1"),
                "token_endpoint": format!("{base}/token"),
                "jwks_uri": format!("{base}/keys"),
            }),
            keys: Vec::new(),
            token: (400, json!({"error": "invalid_grant"})),
            instead: None,
        }));
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (said, log) = (Arc::clone(&says), Arc::clone(&asked));
        let router = Router::new().fallback(async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, 1 << 20).await.unwrap();
            let path = head.uri.path().to_owned();
            let authorization = head.headers.get(AUTHORIZATION);
            log.lock().unwrap().push(Asked {
                path: path.clone(),
                authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
                form: url::form_urlencoded::parse(&body).into_owned().collect(),
            });
            said.lock().unwrap().answer(&path)
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, says, asked }
    }

    /// How often this path was asked for.
    pub fn count(&self, path: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.path == path).count()
    }

    /// The last request to this path.
    pub fn last(&self, path: &str) -> Asked {
        let asked = self.asked.lock().unwrap();
        let last = asked.iter().rfind(|asked| asked.path == path);
        last.unwrap().clone()
    }

    /// A login of patients here.
    pub fn patients(&self, clock: &Arc<FixedClock>, more: &str) -> OidcPatients {
        let config = format!(
            "issuer = '{}'\nclient_id = 'ehi'\npatient_claim = 'patient'\n{more}",
            self.base
        );
        let config = toml::from_str(&config).unwrap();
        let callback = "https://ehi.example/patient-login/callback";
        OidcPatients::open(config, callback.parse().unwrap(), clock.clone()).unwrap()
    }

    /// A login of staff here.
    pub fn staff(&self, clock: &Arc<FixedClock>, more: &str) -> OidcStaff {
        let config = format!(
            "issuer = '{}'\nclient_id = 'ehi'\nrole_claim = 'groups'\n\
             roles = {{ him = 'reviewer', him-admins = 'admin' }}\n{more}",
            self.base
        );
        let config = toml::from_str(&config).unwrap();
        let callback = "https://ehi.example/admin/login/callback";
        OidcStaff::open(config, callback.parse().unwrap(), clock.clone()).unwrap()
    }
}

impl Says {
    fn answer(&self, path: &str) -> Response {
        let (status, body) = match (&self.instead, path) {
            (Some((status, body)), _) => (*status, body.clone()),
            (None, "/.well-known/openid-configuration") => (200, self.metadata.to_string()),
            (None, "/keys") => (200, json!({"keys": self.keys}).to_string()),
            (None, "/token") => (self.token.0, self.token.1.to_string()),
            _ => (404, String::new()),
        };
        (StatusCode::from_u16(status).unwrap(), body).into_response()
    }

    /// Gives out this ID token for every code.
    pub fn give(&mut self, id_token: &str) {
        self.token = (
            200,
            json!({"access_token": "a", "token_type": "Bearer", "id_token": id_token}),
        );
    }
}

/// A key to sign with.
pub struct Key {
    pub header: Header,
    pub jwk: Value,
    private: EncodingKey,
}

impl Key {
    pub fn ec(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let private = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self::new(Algorithm::ES256, private, kid)
    }

    pub fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let text = BASE64_STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        let private = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self::new(Algorithm::RS256, private, kid)
    }

    fn new(algorithm: Algorithm, private: EncodingKey, kid: &str) -> Self {
        let jwk = Jwk::from_encoding_key(&private, algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = kid.into();
        let mut header = Header::new(algorithm);
        header.kid = Some(kid.to_owned());
        Self {
            header,
            jwk,
            private,
        }
    }

    pub fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.private).unwrap()
    }

    /// Signs under another header.
    pub fn sign_as(&self, change: impl FnOnce(&mut Header), claims: &Value) -> String {
        let mut header = self.header.clone();
        change(&mut header);
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

/// A provider with a key, patients who log in at it, and one of them on the way back.
pub struct Scene {
    pub provider: Provider,
    pub key: Key,
    pub clock: Arc<FixedClock>,
    pub patients: OidcPatients,
    pub attempt: LoginAttempt,
}

impl Scene {
    pub async fn new() -> Self {
        Self::with(Key::ec("k1")).await
    }

    pub async fn with(key: Key) -> Self {
        let provider = Provider::start().await;
        provider.says.lock().unwrap().keys = vec![key.jwk.clone()];
        let clock = Arc::new(FixedClock::at(at(0)));
        Self {
            patients: provider.patients(&clock, ""),
            provider,
            key,
            clock,
            attempt: attempt(1),
        }
    }

    /// The claims of a flawless ID token.
    pub fn claims(&self) -> Value {
        let now = at(0).as_second();
        json!({
            "iss": self.provider.base, "aud": "ehi", "sub": "u1", "iat": now - 5, "exp": now + 300,
            "nonce": self.attempt.nonce(), "patient": "p-1",
        })
    }

    /// The claims with others in their place; null takes one away.
    pub fn claims_with(&self, others: &Value) -> Value {
        let mut claims = self.claims();
        let all = claims.as_object_mut().unwrap();
        for (name, value) in others.as_object().unwrap() {
            all.insert(name.clone(), value.clone());
        }
        all.retain(|_, value| !value.is_null());
        claims
    }

    pub fn back(&self) -> LoginReturn {
        LoginReturn {
            attempt: self.attempt.clone(),
            issuer: None,
            brings: Brings::Code("the-code".to_owned().into()),
        }
    }

    /// Comes back and is given this ID token.
    pub async fn come_back_with(&self, id_token: &str) -> Result<PatientId, LoginError> {
        self.provider.says.lock().unwrap().give(id_token);
        let back = PatientAnswer::Returned(self.back());
        self.patients.verify(back).await
    }
}

pub fn attempt(byte: u8) -> LoginAttempt {
    LoginAttempt::begin(Secret::from_random([byte; 32]), "job=1").unwrap()
}
