//! Logging in at the FHIR server as a backend service.
//!
//! Source: SMART App Launch 2, "Backend Services", and "Client Authentication: Asymmetric (public
//! key)"; RFC 7523.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ehi_core::ports::SourceError;
use jiff::Timestamp;
use reqwest::header::ACCEPT;
use reqwest::{Method, Response, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use url::Url;

use super::base::is_safe;
use super::config::BackendServicesConfig;
use super::http::{Http, check_json, refusal};
use super::key::SigningKey;

/// How long an assertion can be used. At most 5 minutes are allowed; a minute is left for clocks
/// that disagree.
const ASSERTION_LIFETIME: Duration = Duration::from_mins(4);

/// How long a token lives when the server does not say: what Backend Services recommends as the
/// longest.
const USUAL_LIFETIME: u64 = 300;

/// So long before its end a token is no longer used: a request takes its time to arrive.
const MARGIN: u64 = 30;

/// Far more than a token or a discovery document takes.
const BODY_LIMIT: usize = 256 * 1024;

/// Gets access tokens and keeps the current one.
pub(super) struct Login {
    http: Http,
    config: BackendServicesConfig,
    key: SigningKey,
    /// Where the server says where tokens come from.
    discovery: Url,
    allow_http: bool,
    current: Mutex<Option<Token>>,
    scope_was_told: AtomicBool,
}

struct Token {
    secret: Arc<SecretString>,
    renew_at: Timestamp,
}

/// The discovery document, as far as it matters here.
#[derive(Deserialize)]
struct SmartConfiguration {
    token_endpoint: Url,
}

/// RFC 6749, 5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
    scope: Option<String>,
}

/// RFC 6749, 5.2.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Login {
    pub(super) fn new(
        http: Http,
        config: BackendServicesConfig,
        key: SigningKey,
        discovery: Url,
        allow_http: bool,
    ) -> Self {
        Self {
            http,
            config,
            key,
            discovery,
            allow_http,
            current: Mutex::default(),
            scope_was_told: AtomicBool::new(false),
        }
    }

    /// A token that is good for a while. Whoever comes while one is being fetched waits for it.
    pub(super) async fn token(&self) -> Result<Arc<SecretString>, SourceError> {
        let mut current = self.http.turn(self.current.lock()).await?;
        let now = self.http.retries.clock.now();
        if let Some(token) = current.as_ref().filter(|token| now < token.renew_at) {
            return Ok(Arc::clone(&token.secret));
        }
        let token = self.fetch().await?;
        let secret = Arc::clone(&token.secret);
        *current = Some(token);
        Ok(secret)
    }

    /// Gives up a token that was refused, unless somebody has fetched another one meanwhile.
    pub(super) async fn forget(&self, refused: &Arc<SecretString>) -> Result<(), SourceError> {
        let mut current = self.http.turn(self.current.lock()).await?;
        if (current.as_ref()).is_some_and(|token| Arc::ptr_eq(&token.secret, refused)) {
            *current = None;
        }
        Ok(())
    }

    async fn fetch(&self) -> Result<Token, SourceError> {
        let url = self.token_url().await?;
        let asked_at = self.http.retries.clock.now();
        let response = self
            .http
            .exchange(|| {
                let assertion = self.assertion(&url)?;
                let form = [
                    ("grant_type", "client_credentials"),
                    ("scope", &self.config.scope),
                    (
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    ),
                    ("client_assertion", &assertion),
                ];
                let request = self.http.request(Method::POST, &url);
                Ok(request.header(ACCEPT, "application/json").form(&form))
            })
            .await?;
        match response.status() {
            StatusCode::OK => self.granted(response, asked_at).await,
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => Err(self.refused(response).await),
            status => Err(refusal(status)),
        }
    }

    async fn token_url(&self) -> Result<Url, SourceError> {
        if let Some(url) = &self.config.token_url {
            return Ok(url.clone());
        }
        let request = || {
            let request = self.http.request(Method::GET, &self.discovery);
            Ok(request.header(ACCEPT, "application/json"))
        };
        let response = self.http.exchange(request).await?;
        let status = response.status();
        if status.is_server_error() {
            return Err(refusal(status));
        }
        if status != StatusCode::OK {
            return Err(SourceError::Broken(format!(
                "the FHIR server answered {status} when asked where tokens come from (.well-known/smart-configuration). Check base_url, or set backend_services.token_url"
            )));
        }
        check_json(response.headers())?;
        let body = self.http.body(response, BODY_LIMIT).await?;
        let found = serde_json::from_slice::<SmartConfiguration>(&body).ok();
        found
            .map(|found| found.token_endpoint)
            .filter(|url| is_safe(url, self.allow_http))
            .ok_or_else(|| {
                SourceError::Broken(
                    "the FHIR server's .well-known/smart-configuration names no token_endpoint with an https URL. Set backend_services.token_url".to_owned(),
                )
            })
    }

    /// Proves who we are, for one request.
    fn assertion(&self, url: &Url) -> Result<String, SourceError> {
        let retries = &self.http.retries;
        let expires = retries.clock.now() + ASSERTION_LIFETIME;
        let claims = json!({
            "iss": self.config.client_id,
            "sub": self.config.client_id,
            "aud": url.as_str(),
            "exp": expires.as_second(),
            "jti": BASE64_URL_SAFE_NO_PAD.encode(retries.entropy.bytes()),
        });
        self.key.sign(&claims).map_err(SourceError::unavailable)
    }

    async fn granted(&self, response: Response, at: Timestamp) -> Result<Token, SourceError> {
        let body = self.http.body(response, BODY_LIMIT).await?;
        // What is wrong with it is not told: there may be a token in it.
        let granted: Granted =
            serde_json::from_slice(&body).map_err(|_| broken("its answer is no token response"))?;
        let printable =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !granted.token_type.eq_ignore_ascii_case("bearer") || !printable(&granted.access_token) {
            return Err(broken("it gives out something else than bearer tokens"));
        }
        if let Some(scope) = &granted.scope {
            self.tell_scope(scope);
        }
        let lifetime = granted.expires_in.unwrap_or(USUAL_LIFETIME);
        let good_for = lifetime.saturating_sub(MARGIN).max(lifetime / 2);
        let renew_at = at.saturating_add(Duration::from_secs(good_for));
        Ok(Token {
            secret: Arc::new(SecretString::from(granted.access_token)),
            renew_at: renew_at.unwrap_or(Timestamp::MAX),
        })
    }

    /// Tells once when the server grants something else: what cannot be read would be missing.
    fn tell_scope(&self, granted: &str) {
        let same = |text: &str| {
            let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.sort_unstable();
            words
        };
        if same(granted) != same(&self.config.scope)
            && !self.scope_was_told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                asked = %self.config.scope,
                granted = %granted.escape_debug(),
                "the FHIR server grants another scope than was asked for; records outside of it would be missing from exports"
            );
        }
    }

    async fn refused(&self, response: Response) -> SourceError {
        let body = match self.http.body(response, BODY_LIMIT).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        let is_code = |code: &String| {
            (1..=64).contains(&code.len())
                && code
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let code = serde_json::from_slice::<Refused>(&body)
            .ok()
            .map(|refused| refused.error);
        let code = code.filter(is_code);
        broken(&format!(
            "it refuses the login ({}). Check that client_id, scope, and the public key under kid are registered there, and that the clocks agree",
            code.as_deref().unwrap_or("without a reason")
        ))
    }
}

fn broken(what: &str) -> SourceError {
    SourceError::Broken(format!("the FHIR server's token endpoint: {what}"))
}
