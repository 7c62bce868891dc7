//! How a FHIR server is reached, as the operator writes it.

use std::path::PathBuf;
use std::time::Duration;

use ehi_core::fhir::RecordReader;
use ehi_core::ports::SourceError;
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};
use url::Url;

use super::base::{Base, is_safe};

/// A FHIR R4 server to take records from, usable as a section of a configuration file.
///
/// Durations are written like `30s`, `2 min` or `1h`. Only the base URL has to be given:
///
/// ```toml
/// base_url = "https://fhir.example.org/r4"
///
/// [backend_services]
/// client_id = "ehi-export"
/// key_file = "/etc/ehi/fhir-client.pem"
/// kid = "2024"
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FhirServerConfig {
    /// The service base URL: what stands in front of `/Patient`. Redirects are not followed, so
    /// it has to be the real one.
    pub base_url: Url,
    /// Whether unencrypted HTTP is taken from other machines as well. On a loopback address it
    /// always is.
    #[serde(default)]
    pub allow_http: bool,
    /// How many resources to ask for at a time (`_count`); 1 to 10,000. A server may give fewer.
    #[serde(default = "defaults::page_size")]
    pub page_size: u32,
    /// How many requests for records may be under way at once, over all exports; 1 to 1,000. A
    /// page counts until it has been read to its end; others wait for up to `retries.total`.
    #[serde(default = "defaults::concurrency")]
    pub concurrency: usize,
    /// The longest single resource to take, in bytes; a longer one is reported as unreadable.
    #[serde(default = "defaults::record_limit")]
    pub record_limit: usize,
    /// How long it may take to connect.
    #[serde(default = "defaults::connect_timeout", deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// How long the server may take to begin its answer, connecting included. Some gather the
    /// whole record first.
    #[serde(default = "defaults::answer_timeout", deserialize_with = "duration")]
    pub answer_timeout: Duration,
    /// How long the server may be silent in the middle of an answer.
    #[serde(default = "defaults::read_timeout", deserialize_with = "duration")]
    pub read_timeout: Duration,
    /// What to do while the server is busy or away.
    #[serde(default)]
    pub retries: RetryConfig,
    /// How to log in; absent for a server that asks for nothing.
    #[serde(default)]
    pub backend_services: Option<BackendServicesConfig>,
}

/// How often and how patiently a request is repeated after 429, 502, 503, 504, a failure to
/// connect or a time-out.
///
/// The wait doubles from time to time and is cut by up to a half at random, so that many exports
/// do not come back at the same moment. A `Retry-After` of the server goes before.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// How often a request is sent at most, the first time included; 1 to 20.
    pub attempts: u32,
    /// The wait behind the first attempt.
    #[serde(deserialize_with = "duration")]
    pub first_wait: Duration,
    /// The longest wait, also where the server asks for a longer one.
    #[serde(deserialize_with = "duration")]
    pub longest_wait: Duration,
    /// After this time no further attempt begins.
    #[serde(deserialize_with = "duration")]
    pub total: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
            total: Duration::from_mins(5),
        }
    }
}

/// How to log in as a backend service with an asymmetric key.
///
/// Source: SMART App Launch 2, Backend Services and "Client Authentication: Asymmetric".
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendServicesConfig {
    /// The id under which the server knows us.
    pub client_id: String,
    /// The file of the private key: PEM or JWK. An RSA key signs by RS384, a P-384 key by ES384.
    pub key_file: PathBuf,
    /// The `kid` of the public key in the JWK set that is registered with the server.
    pub kid: String,
    /// What to ask for.
    #[serde(default = "defaults::scope")]
    pub scope: String,
    /// Where tokens come from. Unless it is given, the server is asked
    /// (`{base_url}/.well-known/smart-configuration`).
    #[serde(default)]
    pub token_url: Option<Url>,
}

mod defaults {
    use super::{Duration, RecordReader};

    pub(super) fn page_size() -> u32 {
        200
    }

    pub(super) fn concurrency() -> usize {
        4
    }

    pub(super) fn record_limit() -> usize {
        RecordReader::DEFAULT_LIMIT
    }

    pub(super) fn connect_timeout() -> Duration {
        Duration::from_secs(10)
    }

    pub(super) fn answer_timeout() -> Duration {
        Duration::from_mins(2)
    }

    pub(super) fn read_timeout() -> Duration {
        Duration::from_mins(1)
    }

    pub(super) fn scope() -> String {
        "system/*.read".to_owned()
    }
}

impl FhirServerConfig {
    /// A server that asks for no login, with everything else as it usually is.
    pub fn new(base_url: Url) -> Self {
        Self {
            base_url,
            allow_http: false,
            page_size: defaults::page_size(),
            concurrency: defaults::concurrency(),
            record_limit: defaults::record_limit(),
            connect_timeout: defaults::connect_timeout(),
            answer_timeout: defaults::answer_timeout(),
            read_timeout: defaults::read_timeout(),
            retries: RetryConfig::default(),
            backend_services: None,
        }
    }

    /// Checks what can be checked without looking elsewhere.
    pub(super) fn check(&self) -> Result<Base, SourceError> {
        let base = Base::new(&self.base_url)?;
        self.check_safe("base_url", &self.base_url)?;
        let within = |name: &str, value: usize, most: usize| {
            (1..=most)
                .contains(&value)
                .then_some(())
                .ok_or_else(|| wrong(format!("{name} is {value}: choose between 1 and {most}")))
        };
        within("page_size", self.page_size as usize, 10_000)?;
        within("concurrency", self.concurrency, 1_000)?;
        within("retries.attempts", self.retries.attempts as usize, 20)?;
        within("record_limit", self.record_limit, 1 << 30)?;
        for (name, value) in [
            ("connect_timeout", self.connect_timeout),
            ("answer_timeout", self.answer_timeout),
            ("read_timeout", self.read_timeout),
            ("retries.first_wait", self.retries.first_wait),
            ("retries.longest_wait", self.retries.longest_wait),
            ("retries.total", self.retries.total),
        ] {
            if value.is_zero() || value > LONGEST {
                return Err(wrong(format!(
                    "{name} is {value:?}: choose more than 0s and at most 24h"
                )));
            }
        }
        if let Some(login) = &self.backend_services {
            for (name, value) in [
                ("client_id", &login.client_id),
                ("kid", &login.kid),
                ("scope", &login.scope),
            ] {
                if value.trim().is_empty() {
                    return Err(wrong(format!(
                        "backend_services.{name} is empty: put in what is registered with the server"
                    )));
                }
            }
            if let Some(token_url) = &login.token_url {
                self.check_safe("backend_services.token_url", token_url)?;
            }
        }
        Ok(base)
    }

    fn check_safe(&self, name: &str, url: &Url) -> Result<(), SourceError> {
        if is_safe(url, self.allow_http) {
            return Ok(());
        }
        Err(wrong(format!(
            "{name} has to be https: health records and tokens must not travel in the clear. Use https, or set allow_http where the network itself is encrypted"
        )))
    }
}

/// Longer is surely a mistake.
const LONGEST: Duration = Duration::from_hours(24);

pub(super) fn wrong(what: impl std::fmt::Display) -> SourceError {
    SourceError::Broken(format!("the FHIR server's configuration is wrong: {what}"))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = text.parse::<SignedDuration>().ok();
    read.and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| {
            de::Error::custom(format!(
                "'{text}' is no duration: write it like '30s', '2 min' or '1h'"
            ))
        })
}
