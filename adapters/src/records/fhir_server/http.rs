//! HTTP as this adapter needs it: answers within time, repeated patiently, never by a detour.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use ehi_core::ports::{Cause, SourceError};
use futures::future::{Either, select};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use url::Url;

use super::config::FhirServerConfig;
use super::retry::{Retries, retry_after};

/// How requests are sent.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    pub(super) retries: Retries,
    answer_timeout: Duration,
    read_timeout: Duration,
}

/// The server cannot answer now and may soon.
pub(super) struct Busy {
    /// How long it wants to be left alone.
    pub(super) asked: Option<Duration>,
    pub(super) cause: Cause,
}

impl Http {
    pub(super) fn new(config: &FhirServerConfig, retries: Retries) -> Result<Self, SourceError> {
        let client = Client::builder()
            .user_agent(concat!("ehi-server/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .pool_max_idle_per_host(config.concurrency)
            // A redirect would carry a token, or a patient's id, to where nobody configured.
            .redirect(reqwest::redirect::Policy::none())
            // Nothing but the configuration decides which way health records take.
            .no_proxy()
            .build()
            .map_err(|error| {
                SourceError::Broken(format!(
                    "the HTTP client for the FHIR server cannot be set up: {error}. Check that the system's certificates are installed"
                ))
            })?;
        Ok(Self {
            client,
            retries,
            answer_timeout: config.answer_timeout,
            read_timeout: config.read_timeout,
        })
    }

    /// A request to be filled in.
    pub(super) fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        self.client.request(method, url.clone())
    }

    /// What comes of it within that time, if anything.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        match select(pin!(work), self.retries.clock.sleep(limit)).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }

    /// Waits for its turn at something that others use, not for ever.
    pub(super) async fn turn<T>(&self, turn: impl Future<Output = T>) -> Result<T, SourceError> {
        let turn = self.within(self.retries.config.total, turn).await;
        turn.ok_or_else(|| {
            SourceError::unavailable("too many requests to the FHIR server are under way")
        })
    }

    /// Sends a request once.
    pub(super) async fn attempt(&self, request: RequestBuilder) -> Result<Response, Busy> {
        let response = match self.within(self.answer_timeout, request.send()).await {
            Some(Ok(response)) => response,
            // The URL names the patient.
            Some(Err(error)) => return Err(Busy::because(error.without_url())),
            None => return Err(Busy::because("no answer in time")),
        };
        let status = response.status();
        let is_busy = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if is_busy {
            return Err(Busy {
                asked: retry_after(response.headers(), self.retries.clock.now()),
                cause: format!("answered {status}").into(),
            });
        }
        Ok(response)
    }

    /// Sends what `request` makes, anew for each attempt.
    pub(super) async fn exchange(
        &self,
        request: impl Fn() -> Result<RequestBuilder, SourceError> + Send,
    ) -> Result<Response, SourceError> {
        let mut attempts = self.retries.start();
        loop {
            match self.attempt(request()?).await {
                Ok(response) => return Ok(response),
                Err(busy) if attempts.again(busy.asked).await => busy.log(),
                Err(busy) => return Err(SourceError::Unavailable(busy.cause)),
            }
        }
    }

    /// The next piece of a body; `None` at its end.
    pub(super) async fn chunk(
        &self,
        response: &mut Response,
    ) -> Result<Option<Bytes>, SourceError> {
        match self.within(self.read_timeout, response.chunk()).await {
            Some(chunk) => chunk.map_err(|error| SourceError::unavailable(error.without_url())),
            None => Err(SourceError::unavailable("the answer stopped in the middle")),
        }
    }

    /// A body as a whole, which is expected to be short.
    pub(super) async fn body(
        &self,
        mut response: Response,
        limit: usize,
    ) -> Result<Vec<u8>, SourceError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            if body.len() + chunk.len() > limit {
                return Err(SourceError::Broken(format!(
                    "an answer of the FHIR server is longer than {limit} bytes"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

impl Busy {
    fn because(cause: impl Into<Cause>) -> Self {
        Self {
            asked: None,
            cause: cause.into(),
        }
    }

    /// Says that it is tried again.
    pub(super) fn log(&self) {
        let mut causes = vec![self.cause.to_string()];
        let mut below = self.cause.source();
        while let Some(cause) = below {
            causes.push(cause.to_string());
            below = cause.source();
        }
        tracing::info!(
            cause = causes.join(": "),
            "the FHIR server is busy or away; trying again"
        );
    }
}

/// What it means when the server answers with such a status.
pub(super) fn refusal(status: StatusCode) -> SourceError {
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        return SourceError::unavailable(format!("answered {status}"));
    }
    let advice = match status.as_u16() {
        300..=399 => "Redirects are not followed: set the URL to where the server really is",
        401 | 403 => "Check the login that is configured, and what the server allows it to read",
        _ => "Check that the base URL is that of a FHIR R4 server",
    };
    SourceError::Broken(format!("the FHIR server answered {status}. {advice}"))
}

/// Whether a body says that it is JSON, or says nothing.
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), SourceError> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let text = content_type.to_str().unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    if media_type.ends_with("/json") || media_type.ends_with("+json") {
        return Ok(());
    }
    Err(SourceError::Broken(
        "the FHIR server answered something else than JSON. Check that the base URL is that of a FHIR R4 server that speaks application/fhir+json".to_owned(),
    ))
}
