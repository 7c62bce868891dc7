//! HTTP as far as an identity provider needs it: short answers, in time, from where it was asked.

use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::{Fault, OidcConfigError};

/// People wait at the browser: so long for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Far more than metadata, keys or a token response take, in bytes.
const LONGEST: usize = 512 << 10;

#[derive(Debug, Clone)]
pub(super) struct Http(Client);

impl Http {
    pub(super) fn new() -> Result<Self, OidcConfigError> {
        let client = Client::builder()
            .user_agent(concat!("ehi-server/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            // A redirect would carry a code and the client's secret to where nobody configured.
            .redirect(Policy::none())
            // Nothing but the configuration decides which way they take.
            .no_proxy()
            .build();
        let client = client.map_err(|error| OidcConfigError::Http(error.into()))?;
        Ok(Self(client))
    }

    /// Fetches a document of the provider's.
    pub(super) async fn get<T: DeserializeOwned>(&self, url: &str, what: &str) -> Result<T, Fault> {
        let request = self.0.get(url).header(ACCEPT, "application/json");
        let (status, body) = self.send(request).await?;
        if status != StatusCode::OK {
            return Err(Fault::Broken(format!(
                "answered {status} when asked for its {what} at {url}"
            )));
        }
        serde_json::from_slice(&body).map_err(|error| {
            Fault::Broken(format!("has no {what} that make sense at {url}: {error}"))
        })
    }

    /// A POST to be filled in.
    pub(super) fn post(&self, url: &Url) -> RequestBuilder {
        let request = self.0.post(url.clone());
        request.header(ACCEPT, "application/json")
    }

    /// Sends a request and reads the answer to its end. One that says that the provider cannot
    /// answer now is none.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
    ) -> Result<(StatusCode, Vec<u8>), Fault> {
        let away = |error: reqwest::Error| Fault::Away(error.into());
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Fault::Away(format!("it answers {status}").into()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > LONGEST {
                return Err(Fault::Broken(format!("answers more than {LONGEST} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}
