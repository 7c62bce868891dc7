//! The identity provider: what it publishes, and what it is asked.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ehi_core::auth::LoginAttempt;
use ehi_core::ports::{Brings, Clock, LoginReturn, Proof};
use jsonwebtoken::jwk::JwkSet;
use reqwest::header::AUTHORIZATION;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::config::{Client, Issuer, is_safe};
use super::http::Http;
use super::id_token::{Expected, Unproven};
use super::kept::Kept;
use super::{Fault, OidcConfigError};

/// Characters of a code, at most.
const LONGEST_CODE: usize = 4 << 10;

/// The provider, as one client sees it.
#[derive(Debug)]
pub(super) struct Provider {
    client: Client,
    http: Http,
    clock: Arc<dyn Clock>,
    metadata: Kept<Metadata>,
    keys: Kept<JwkSet>,
}

/// OpenID Connect Discovery, section 3, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    #[serde(default = "basic")]
    token_endpoint_auth_methods_supported: Vec<String>,
    /// RFC 9207, section 3.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What is supported where nothing is said of it.
fn basic() -> Vec<String> {
    vec!["client_secret_basic".to_owned()]
}

/// OpenID Connect Core, section 3.1.3.3. The access token is nothing to us.
#[derive(Deserialize)]
struct TokenAnswer {
    id_token: SecretString,
}

/// RFC 6749, section 5.2.
#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
}

impl Provider {
    pub(super) fn open(client: Client, clock: Arc<dyn Clock>) -> Result<Self, OidcConfigError> {
        Ok(Self {
            client,
            http: Http::new()?,
            metadata: Kept::new(Arc::clone(&clock)),
            keys: Kept::new(Arc::clone(&clock)),
            clock,
        })
    }

    /// Where the browser goes to log in (OpenID Connect Core section 3.1.2.1).
    pub(super) async fn authorization_url(
        &self,
        attempt: &LoginAttempt,
        proof: Proof,
    ) -> Result<Url, Fault> {
        let metadata = self.metadata().await?;
        let challenge = Sha256::digest(attempt.code_verifier());
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client.id),
            ("redirect_uri", self.client.callback.as_str()),
            ("scope", &self.client.scope),
            ("state", &attempt.state()),
            ("nonce", &attempt.nonce()),
            ("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(challenge)),
            ("code_challenge_method", "S256"),
        ]);
        if proof == Proof::Fresh {
            url.query_pairs_mut().append_pair("prompt", "login");
        }
        Ok(url)
    }

    /// The claims about whoever came back.
    pub(super) async fn prove(&self, back: &LoginReturn) -> Result<Value, Fault> {
        let metadata = self.metadata().await?;
        let answered_by = back.issuer.as_deref();
        let expected = match answered_by {
            Some(issuer) => issuer == self.client.issuer.as_str(),
            None => !metadata.authorization_response_iss_parameter_supported,
        };
        if !expected {
            return Err(Fault::Refused("the answer is by another issuer"));
        }
        let code = match &back.brings {
            Brings::Code(code) => code,
            Brings::Error(error) => return Err(refusal(error)),
        };
        let token = self.trade(&metadata, code, &back.attempt).await?;
        let token = Unproven::read(token.expose_secret())?;
        let keys = self.keys(&metadata, &token).await?;
        let unknown = Fault::Refused("the ID token is signed by a key that is not published");
        let key = token.key(&keys).ok_or(unknown)?;
        let expected = Expected {
            issuer: &self.client.issuer,
            client_id: &self.client.id,
            nonce: &back.attempt.nonce(),
            now: self.clock.now(),
        };
        token.prove(key, &expected)
    }

    /// Trades a code for an ID token (OpenID Connect Core section 3.1.3).
    async fn trade(
        &self,
        metadata: &Metadata,
        code: &SecretString,
        attempt: &LoginAttempt,
    ) -> Result<SecretString, Fault> {
        if code.expose_secret().len() > LONGEST_CODE {
            return Err(Fault::Refused("the code is too long"));
        }
        let verifier = attempt.code_verifier();
        let form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.expose_secret()),
            ("redirect_uri", self.client.callback.as_str()),
            ("code_verifier", &verifier),
        ];
        let request = self.http.post(&metadata.token_endpoint);
        let request = self.authenticated(metadata, request, form)?;
        let (status, body) = self.http.send(request).await?;
        if status == StatusCode::OK {
            // What is wrong with it is not told: there are tokens in it.
            let answer: TokenAnswer = serde_json::from_slice(&body)
                .map_err(|_| Fault::Broken("gives out no ID token".to_owned()))?;
            return Ok(answer.id_token);
        }
        let refusal = serde_json::from_slice::<TokenRefusal>(&body).ok();
        match refusal.as_ref().map(|refusal| refusal.error.as_str()) {
            Some("invalid_grant") => {
                Err(Fault::Refused("the code is wrong, expired or used already"))
            }
            told => Err(Fault::Broken(format!(
                "does not trade codes with this server ({status}, {}). Check client_id, client_secret_file and the redirect URI registered there",
                told.unwrap_or_default().escape_debug()
            ))),
        }
    }

    /// Says who is asking (OpenID Connect Core section 9).
    fn authenticated<'a>(
        &'a self,
        metadata: &Metadata,
        request: RequestBuilder,
        mut form: Vec<(&'a str, &'a str)>,
    ) -> Result<RequestBuilder, Fault> {
        let id = &self.client.id;
        let Some(secret) = &self.client.secret else {
            form.push(("client_id", id));
            return Ok(request.form(&form));
        };
        let secret = secret.expose_secret();
        let methods = &metadata.token_endpoint_auth_methods_supported;
        let can = |method: &str| methods.iter().any(|each| each == method);
        if can("client_secret_basic") {
            // RFC 6749, section 2.3.1: encoded first, whatever is in them.
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = BASE64_STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
            Ok(request
                .header(AUTHORIZATION, format!("Basic {pair}"))
                .form(&form))
        } else if can("client_secret_post") {
            form.extend([("client_id", id.as_str()), ("client_secret", secret)]);
            Ok(request.form(&form))
        } else {
            Err(Fault::Broken(
                "takes neither client_secret_basic nor client_secret_post".to_owned(),
            ))
        }
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, Fault> {
        let fetch = fetch_metadata(self.http.clone(), self.client.issuer.clone());
        self.metadata.get(|_| true, fetch).await
    }

    /// The provider's keys, fetched anew when the token's is not among them.
    async fn keys(&self, metadata: &Metadata, token: &Unproven<'_>) -> Result<Arc<JwkSet>, Fault> {
        let (http, uri) = (self.http.clone(), metadata.jwks_uri.clone());
        let fetch = async move { http.get(uri.as_str(), "keys").await };
        let has_key = |keys: &JwkSet| token.key(keys).is_some();
        self.keys.get(has_key, fetch).await
    }
}

async fn fetch_metadata(http: Http, issuer: Issuer) -> Result<Metadata, Fault> {
    let url = issuer.metadata();
    let metadata: Metadata = http.get(&url, "metadata").await?;
    if metadata.issuer != issuer.as_str() {
        return Err(Fault::Broken(format!(
            "at {url} calls itself '{}'. Set issuer to exactly that if it is the one you mean",
            metadata.issuer.escape_debug()
        )));
    }
    let endpoints = [
        &metadata.authorization_endpoint,
        &metadata.token_endpoint,
        &metadata.jwks_uri,
    ];
    if !endpoints.into_iter().all(is_safe) {
        let message = "names an endpoint that is not reached by https";
        return Err(Fault::Broken(message.to_owned()));
    }
    Ok(metadata)
}

/// What an error means that the browser brings back (OpenID Connect Core section 3.1.2.6).
fn refusal(error: &str) -> Fault {
    match error {
        "access_denied"
        | "login_required"
        | "interaction_required"
        | "consent_required"
        | "account_selection_required" => {
            Fault::Refused("nobody logged in, or somebody cancelled it")
        }
        "server_error" | "temporarily_unavailable" => {
            Fault::Away(format!("it sends people back with {error}").into())
        }
        other => Fault::Broken(format!(
            "sends people back with '{}'",
            other.chars().take(40).collect::<String>().escape_debug()
        )),
    }
}
