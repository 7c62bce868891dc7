//! Requests to the FHIR server: below its base only, with a token, a few at a time.

use std::sync::Arc;

use bytes::Bytes;
use ehi_core::ports::SourceError;
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use secrecy::ExposeSecret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::base::Base;
use super::http::{Http, check_json, refusal};
use super::login::Login;

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");

/// Asks the FHIR server.
pub(super) struct FhirClient {
    pub(super) base: Base,
    pub(super) http: Http,
    pub(super) login: Option<Login>,
    permits: Arc<Semaphore>,
}

/// A JSON answer that is coming in. As long as it does, it counts as a request under way.
pub(super) struct Answer {
    http: Http,
    response: Response,
    _permit: OwnedSemaphorePermit,
}

impl FhirClient {
    pub(super) fn new(base: Base, http: Http, login: Option<Login>, concurrency: usize) -> Self {
        Self {
            base,
            http,
            login,
            permits: Arc::new(Semaphore::new(concurrency)),
        }
    }

    /// Asks for JSON; `None` where there is none (404, 410).
    ///
    /// Nothing outside of the base is ever asked, whoever put the URL together.
    pub(super) async fn get(&self, url: &Url) -> Result<Option<Answer>, SourceError> {
        if !self.base.contains(url) {
            return Err(SourceError::Broken(
                "the FHIR server refers to a place outside of its base URL, which is not fetched. Configure that server to know the address by which it is reached, or set base_url to the one it gives out".to_owned(),
            ));
        }
        let mut attempts = self.http.retries.start();
        let mut renewed = false;
        loop {
            let mut request = self
                .http
                .request(Method::GET, url)
                .header(ACCEPT, FHIR_JSON);
            let token = match &self.login {
                Some(login) => Some((login, login.token().await?)),
                None => None,
            };
            if let Some((_, token)) = &token {
                request = request.bearer_auth(token.expose_secret());
            }
            let permit = Arc::clone(&self.permits).acquire_owned();
            let permit = self.http.turn(permit).await?;
            let permit = permit.map_err(SourceError::unavailable)?;
            let response = match self.http.attempt(request).await {
                Ok(response) => response,
                Err(busy) => {
                    // Others may ask meanwhile.
                    drop(permit);
                    if attempts.again(busy.asked).await {
                        busy.log();
                        continue;
                    }
                    return Err(SourceError::Unavailable(busy.cause));
                }
            };
            match (response.status(), token) {
                (StatusCode::OK, _) => {
                    check_json(response.headers())?;
                    return Ok(Some(Answer {
                        http: self.http.clone(),
                        response,
                        _permit: permit,
                    }));
                }
                (StatusCode::NOT_FOUND | StatusCode::GONE, _) => return Ok(None),
                // The server may have forgotten the token before its time.
                (StatusCode::UNAUTHORIZED, Some((login, token))) if !renewed => {
                    login.forget(&token).await?;
                    renewed = true;
                }
                (status, _) => return Err(refusal(status)),
            }
        }
    }
}

impl Answer {
    /// The next piece; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        self.http.chunk(&mut self.response).await
    }

    /// All of it, which is expected to be short.
    pub(super) async fn whole(self, limit: usize) -> Result<Vec<u8>, SourceError> {
        self.http.body(self.response, limit).await
    }
}
