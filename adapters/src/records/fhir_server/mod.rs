//! Records from a FHIR server.

mod base;
mod client;
mod config;
mod everything;
mod http;
mod jwk;
mod key;
mod login;
mod pages;
mod retry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use ehi_core::export::Selection;
use ehi_core::fhir::{PatientId, Record};
use ehi_core::ports::{
    Clock, Entropy, PatientSearch, PatientSummary, RecordSource, RecordStream, SourceError,
};
use secrecy::SecretString;
use tokio::task::spawn_blocking;
use url::Url;

pub use config::{BackendServicesConfig, FhirServerConfig, RetryConfig};

use client::FhirClient;
use config::wrong;
use http::Http;
use key::SigningKey;
use login::Login;
use pages::Pages;
use retry::Retries;

/// Longest Patient resource that is read by itself. A photo may be in it.
const PATIENT_LIMIT: usize = 16 * 1024 * 1024;

/// No record has so many pages: a server that sends more does not know where to stop.
const MOST_PAGES: usize = 100_000;

/// Nobody looks through more pages of patients.
const MOST_SEARCH_PAGES: usize = 100;

/// A [`RecordSource`] over any FHIR R4 server that knows `Patient/{id}/$everything`.
///
/// - A patient's record is what `$everything` answers, read page by page and record by record as
///   it comes in: a window of 256 KiB is in memory for each export that runs, or one record where
///   that is longer. The exporter's selection is not passed on: what goes out is decided there,
///   on the whole record.
/// - Only the base URL and what lies below it is asked, and only that gets the token. A `next`
///   link that leads elsewhere ends the stream, and redirects are not followed. Proxies that the
///   environment names are not used.
/// - Another patient's Patient resource in the answer ends the stream as
///   [`Broken`](SourceError::Broken) before anything of that piece is handed out; so does an
///   answer without the patient's own. Resources that refer to others (a mother, a practitioner)
///   are the server's to decide: `$everything` is its compartment.
/// - A server that is busy or away is asked again, see [`RetryConfig`]. A page that breaks off is
///   not, as records of it are out already: the stream ends as
///   [`Unavailable`](SourceError::Unavailable), and the export is tried again as a whole.
/// - An `OperationOutcome` among the entries is not a record. One that reports a failure is told
///   like a record that cannot be read, as something is missing.
/// - Patients are searched by the server: `name` finds words that begin so in any name of the
///   patient, accents aside, also an earlier one.
///
/// Source: FHIR R4, "Operation `$everything` on Patient" and "Search"; SMART App Launch 2,
/// "Backend Services".
///
/// ```no_run
/// # use std::sync::Arc;
/// # use ehi_core::ports::{Clock, Entropy, SourceError};
/// use ehi_adapters::records::{FhirServer, FhirServerConfig};
///
/// # async fn open(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<(), Box<dyn std::error::Error>> {
/// let config = FhirServerConfig::new("https://fhir.example.org/r4".parse()?);
/// let source = FhirServer::open(config, clock, entropy).await?;
/// # Ok(()) }
/// ```
pub struct FhirServer {
    client: Arc<FhirClient>,
    page_size: u32,
    record_limit: usize,
}

impl FhirServer {
    /// Checks the configuration and reads the key. The server itself is not asked yet: it may be
    /// away while this one starts.
    ///
    /// Fails with [`SourceError::Broken`], which says what to change.
    pub async fn open(
        config: FhirServerConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SourceError> {
        let base = config.check()?;
        let retries = Retries {
            config: config.retries.clone(),
            clock,
            entropy,
        };
        let http = Http::new(&config, retries)?;
        let login = match config.backend_services {
            None => None,
            Some(login) => {
                let path = login.key_file.clone();
                let read = spawn_blocking(move || std::fs::read_to_string(path)).await;
                let text = read.map_err(SourceError::unavailable)?;
                let key = text
                    .map_err(|error| error.to_string())
                    .and_then(|text| {
                        let key = SigningKey::read(&SecretString::from(text), &login.kid);
                        key.map_err(str::to_owned)
                    })
                    .map_err(|reason| unusable(&login.key_file, &reason))?;
                let discovery = base.join(&[".well-known", "smart-configuration"]);
                let http = http.clone();
                Some(Login::new(http, login, key, discovery, config.allow_http))
            }
        };
        Ok(Self {
            client: Arc::new(FhirClient::new(base, http, login, config.concurrency)),
            page_size: config.page_size,
            record_limit: config.record_limit,
        })
    }

    async fn pages(&self, url: Url, most: usize) -> Result<Option<Pages>, SourceError> {
        Pages::open(Arc::clone(&self.client), url, self.record_limit, most).await
    }
}

fn unusable(key_file: &Path, reason: &str) -> SourceError {
    let name = key_file.display();
    wrong(format!("backend_services.key_file, {name}: {reason}"))
}

impl fmt::Debug for FhirServer {
    /// Holds no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FhirServer")
            .field("base_url", &self.client.base.url().as_str())
            .field("logs_in", &self.client.login.is_some())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl RecordSource for FhirServer {
    async fn patient(&self, id: &PatientId) -> Result<Option<PatientSummary>, SourceError> {
        let url = self.client.base.join(&["Patient", id.as_str()]);
        let Some(answer) = self.client.get(&url).await? else {
            return Ok(None);
        };
        let body = answer.whole(PATIENT_LIMIT).await?;
        let patient = Record::parse(&body).map_err(|reason| {
            SourceError::Broken(format!(
                "the FHIR server answered something else than a Patient: {reason}"
            ))
        })?;
        PatientSummary::of(&patient)
            .filter(|patient| patient.id == *id)
            .map(Some)
            .ok_or_else(|| {
                SourceError::Broken(
                    "the FHIR server answered something else than the Patient it was asked for"
                        .to_owned(),
                )
            })
    }

    async fn search(&self, search: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError> {
        let mut found = Vec::new();
        let url = self.search_url(search);
        let nowhere = || {
            SourceError::Broken(
                "the FHIR server does not know Patient. Check that the base URL is that of a FHIR R4 server".to_owned(),
            )
        };
        let mut pages = self
            .pages(url, MOST_SEARCH_PAGES)
            .await?
            .ok_or_else(nowhere)?;
        while found.len() < search.limit
            && let Some(items) = pages.next().await?
        {
            let patients = items.iter().flatten().filter_map(PatientSummary::of);
            // The server takes a year for every day in it.
            found.extend(patients.filter(|patient| {
                search.birth_date.is_none() || search.birth_date == patient.birth_date
            }));
        }
        found.truncate(search.limit);
        found.sort_by_cached_key(|patient| (patient.name.to_lowercase(), patient.id.clone()));
        Ok(found)
    }

    async fn records(
        &self,
        patient: &PatientId,
        _wanted: &Selection,
    ) -> Result<RecordStream, SourceError> {
        let path = ["Patient", patient.as_str(), "$everything"];
        let mut url = self.client.base.join(&path);
        url.query_pairs_mut()
            .append_pair("_count", &self.page_size.to_string());
        let pages = self.pages(url, MOST_PAGES).await?;
        let pages = pages.ok_or(SourceError::NotFound)?;
        Ok(everything::records(pages, patient.clone()))
    }
}

impl FhirServer {
    fn search_url(&self, search: &PatientSearch) -> Url {
        let mut url = self.client.base.join(&["Patient"]);
        let mut query = url.query_pairs_mut();
        // Each word has to be there: parameters that are repeated are joined by "and".
        for word in search.name.split_whitespace() {
            query.append_pair("name", &escaped(word));
        }
        if let Some(birth_date) = &search.birth_date {
            query.append_pair("birthdate", &birth_date.to_string());
        }
        let count = search.limit.min(self.page_size as usize).max(1);
        query.append_pair("_count", &count.to_string());
        drop(query);
        url
    }
}

/// A word as a search parameter takes it, without a special meaning of its characters.
///
/// Source: FHIR R4, "Search", 3.1.1.4.0.1.
fn escaped(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len());
    for letter in word.chars() {
        if matches!(letter, '\\' | ',' | '$' | '|') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}
