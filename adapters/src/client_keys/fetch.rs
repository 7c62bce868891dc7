//! Fetching a JWK Set from a server that may be slow, broken or hostile.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ehi_core::auth::{ClientKeySet, JwkError, JwksUri};
use ehi_core::ports::{Cause, Clock};
use futures::future::{Either, select};
use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode};

/// The whole answer has to be there within this time.
const TIME: Duration = Duration::from_secs(5);

/// No honest JWK Set is longer, in bytes.
const LONGEST: usize = 64 << 10;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The server is away. It may be back soon.
    #[error("the server of a client's keys does not answer")]
    Away(#[source] Cause),
    /// It answers, and what it answers are no keys.
    #[error("the server of a client's keys answered {0}")]
    Answer(StatusCode),
    /// It sends more than anybody needs.
    #[error("the JWK Set of a client is longer than {LONGEST} bytes")]
    TooLong,
    /// It sends something else.
    #[error("what a client publishes is no JSON")]
    NoJson,
    /// It sends no keys that could be used.
    #[error("the keys that a client publishes cannot be used")]
    Keys(#[from] JwkError),
}

/// Fetches JWK Sets.
#[derive(Debug)]
pub(super) struct Fetch {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl Fetch {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Result<Self, Cause> {
        let client = Client::builder()
            .user_agent(concat!("ehi-server/", env!("CARGO_PKG_VERSION")))
            // A redirect could lead to what only this server can reach.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { client, clock })
    }

    /// The keys that are published there now.
    pub(super) async fn keys(&self, uri: &JwksUri) -> Result<ClientKeySet, FetchError> {
        match select(pin!(self.exchange(uri)), self.clock.sleep(TIME)).await {
            Either::Left((keys, _)) => keys,
            Either::Right(_) => Err(FetchError::Away("no answer in time".into())),
        }
    }

    async fn exchange(&self, uri: &JwksUri) -> Result<ClientKeySet, FetchError> {
        let away = |error: reqwest::Error| FetchError::Away(error.into());
        let request = self.client.get(uri.url().clone());
        let request = request.header(ACCEPT, "application/jwk-set+json, application/json");
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        let busy = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        if busy {
            return Err(FetchError::Away(format!("answered {status}").into()));
        }
        if status != StatusCode::OK {
            return Err(FetchError::Answer(status));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > LONGEST {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let set = serde_json::from_slice(&body).map_err(|_| FetchError::NoJson)?;
        Ok(ClientKeySet::published(set)?)
    }
}
