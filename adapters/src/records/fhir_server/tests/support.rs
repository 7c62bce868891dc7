//! A small FHIR server on a port of its own, and clocks that need no waiting.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use ehi_core::ports::RecordError;
use ehi_core::testkit::{SeededEntropy, at, everything};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpListener;

use super::super::*;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Path and query.
    pub target: String,
    pub authorization: Option<String>,
    pub body: String,
    /// How many came before.
    pub number: usize,
    /// The server's own base URL, without a slash at its end.
    pub base: String,
}

/// A server that answers what the test says. Ends with the test.
pub struct Server {
    pub base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub async fn start<F>(answer: impl Fn(Asked) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/fhir", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (log, own) = (Arc::clone(&asked), base.clone());
        let router = Router::new().fallback(async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, 1 << 20).await.unwrap();
            let header = head.headers.get(AUTHORIZATION);
            let mut seen = Asked {
                target: head.uri.to_string(),
                authorization: header.map(|value| value.to_str().unwrap().to_owned()),
                body: String::from_utf8(body.to_vec()).unwrap(),
                number: 0,
                base: own,
            };
            {
                let mut log = log.lock().unwrap();
                seen.number = log.len();
                log.push(seen.clone());
            }
            answer(seen).await
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, asked }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Paths and queries below the base.
    pub fn targets(&self) -> Vec<String> {
        let asked = self.asked();
        asked
            .into_iter()
            .map(|asked| asked.target.replacen("/fhir", "", 1))
            .collect()
    }

    /// Usual settings, and time-outs beyond what a [`QuickClock`] sleeps through.
    pub fn config(&self) -> FhirServerConfig {
        let mut config = FhirServerConfig::new(self.base.parse().unwrap());
        config.answer_timeout = FOR_EVER;
        config.read_timeout = FOR_EVER;
        config.retries.total = FOR_EVER;
        config
    }

    pub async fn source(&self) -> FhirServer {
        open(self.config(), Arc::new(QuickClock::default())).await
    }
}

const FOR_EVER: Duration = Duration::from_hours(1);

pub async fn open(config: FhirServerConfig, clock: Arc<dyn Clock>) -> FhirServer {
    let entropy = Arc::new(SeededEntropy::default());
    FhirServer::open(config, clock, entropy).await.unwrap()
}

/// A clock on which waits pass at once and time-outs never come.
#[derive(Debug, Default)]
pub struct QuickClock {
    slept: Mutex<Vec<Duration>>,
}

impl QuickClock {
    /// The waits so far.
    pub fn slept(&self) -> Vec<Duration> {
        self.slept.lock().unwrap().clone()
    }

    pub fn pass(&self, duration: Duration) {
        self.slept.lock().unwrap().push(duration);
    }
}

#[async_trait]
impl Clock for QuickClock {
    fn now(&self) -> Timestamp {
        at(0) + self.slept().iter().sum::<Duration>()
    }

    async fn sleep(&self, duration: Duration) {
        if duration >= FOR_EVER {
            std::future::pending::<()>().await;
        }
        self.pass(duration);
    }
}

pub fn json_answer(body: impl Into<Body>) -> Response {
    ([("content-type", "application/fhir+json")], body.into()).into_response()
}

/// A body that comes to its end, or breaks off there.
pub fn pieces(pieces: &[&str], breaks: bool) -> Body {
    let mut items: Vec<Result<Bytes, &str>> = (pieces.iter())
        .map(|piece| Ok(Bytes::from((*piece).to_owned())))
        .collect();
    if breaks {
        items.push(Err("connection lost"));
    }
    // Each piece gets the time to be sent.
    Body::from_stream(stream::iter(items).then(async |item| {
        tokio::task::yield_now().await;
        item
    }))
}

/// A page of these resources, with the link to the next one.
pub fn page(resources: &[Value], next: Option<&str>) -> String {
    let entries: Vec<Value> = (resources.iter())
        .map(|resource| json!({"fullUrl": "urn:uuid:1", "resource": resource, "search": {"mode": "match"}}))
        .collect();
    let mut links = vec![json!({"relation": "self", "url": "http://elsewhere.example/"})];
    links.extend(next.map(|url| json!({"relation": "next", "url": url})));
    let bundle =
        json!({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries});
    serde_json::to_string_pretty(&bundle).unwrap()
}

pub fn patient(id: &str, family: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "birthDate": "1970-02-03", "name": [{"family": family}]})
}

pub fn observation(number: usize) -> Value {
    json!({"resourceType": "Observation", "id": format!("o{number}"), "note": [{"text": "x".repeat(900)}]})
}

pub fn id(text: &str) -> PatientId {
    PatientId::parse(text).unwrap()
}

pub async fn stream_of(source: &FhirServer) -> Result<RecordStream, SourceError> {
    source.records(&id("p"), &everything()).await
}

/// What the stream of patient `p` gives: records, and how it ends if not well.
pub async fn drain(source: &FhirServer) -> (Vec<Value>, Option<RecordError>) {
    let mut records = match stream_of(source).await {
        Ok(records) => records,
        Err(error) => return (Vec::new(), Some(error.into())),
    };
    let mut values = Vec::new();
    while let Some(item) = records.next().await {
        match item {
            Ok(record) => values.push(serde_json::from_slice(record.json()).unwrap()),
            Err(error) => {
                if matches!(error, RecordError::Source(_)) {
                    assert!(records.next().await.is_none(), "nothing follows");
                }
                return (values, Some(error));
            }
        }
    }
    (values, None)
}

/// Whether it is a passing failure; otherwise it has to say this.
pub fn is_unavailable(error: Option<&RecordError>) -> bool {
    matches!(
        error,
        Some(RecordError::Source(SourceError::Unavailable(_)))
    )
}

pub fn broken(error: Option<RecordError>) -> String {
    match error {
        Some(RecordError::Source(SourceError::Broken(what))) => what,
        other => panic!("not broken: {other:?}"),
    }
}

/// The most that were there at once.
#[derive(Default)]
pub struct Crowd {
    now: AtomicUsize,
    pub most: AtomicUsize,
}

impl Crowd {
    pub fn enter(self: &Arc<Self>) -> Inside {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Inside(Arc::clone(self))
    }
}

pub struct Inside(Arc<Crowd>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
