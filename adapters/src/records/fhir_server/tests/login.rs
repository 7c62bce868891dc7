//! Logging in as a backend service.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ehi_core::testkit::SeededEntropy;
use futures::future::join_all;
use jsonwebtoken::Validation;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tracing::field::{Field, Visit};

use super::super::*;
use super::keys::{self, Pair};
use super::support::*;

/// An authorization server that checks what SMART says must be checked.
#[derive(Clone)]
struct Issuer(Arc<Mutex<Issued>>, Arc<QuickClock>);

struct Issued {
    pair: Pair,
    jtis: HashSet<String>,
    tokens: usize,
    /// What is answered instead, one request each.
    instead: Vec<(u16, Value)>,
    /// Members of the token response that differ.
    response: Value,
}

impl Issuer {
    fn new(pair: Pair) -> Self {
        let issued = Issued {
            pair,
            jtis: HashSet::new(),
            tokens: 0,
            instead: Vec::new(),
            response: json!({}),
        };
        Self(Arc::new(Mutex::new(issued)), Arc::default())
    }

    fn tokens(&self) -> usize {
        self.0.lock().unwrap().tokens
    }

    fn token(&self, asked: &Asked) -> Response {
        let mut issued = self.0.lock().unwrap();
        let form: HashMap<String, String> = url::form_urlencoded::parse(asked.body.as_bytes())
            .into_owned()
            .collect();
        assert_eq!(form["grant_type"], "client_credentials");
        assert_eq!(form["scope"], "system/*.read");
        assert_eq!(
            form["client_assertion_type"],
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        assert_eq!(asked.authorization, None);
        let mut validation = Validation::new(issued.pair.algorithm);
        validation.set_audience(&[format!("{}/token", asked.base)]);
        validation.set_issuer(&["our-client"]);
        validation.sub = Some("our-client".to_owned());
        validation.set_required_spec_claims(&["aud", "iss", "sub", "exp"]);
        // The test's clock is not the system's.
        validation.validate_exp = false;
        let assertion = &form["client_assertion"];
        let proof = jsonwebtoken::decode::<Value>(assertion, &issued.pair.public, &validation);
        let proof = proof.unwrap();
        assert_eq!(proof.header.kid.as_deref(), Some("our-key"));
        assert_eq!(proof.header.typ.as_deref(), Some("JWT"));
        let lifetime = proof.claims["exp"].as_i64().unwrap() - self.1.now().as_second();
        assert!(lifetime > 0 && lifetime <= 300, "{lifetime}");
        let jti = proof.claims["jti"].as_str().unwrap().to_owned();
        assert!(jti.len() > 20 && issued.jtis.insert(jti), "each jti once");
        if let Some((status, body)) = issued.instead.pop() {
            return (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
        }
        issued.tokens += 1;
        let mut response = json!({"access_token": format!("hush-{}", issued.tokens),
            "token_type": "bearer", "expires_in": 300, "scope": "system/*.read"});
        for (name, value) in issued.response.as_object().unwrap() {
            response[name] = value.clone();
        }
        json_answer(response.to_string())
    }

    /// A FHIR server that takes the latest token only.
    async fn serve(&self) -> Server {
        let issuer = self.clone();
        Server::start(move |asked| {
            let answer = if asked.target == "/fhir/.well-known/smart-configuration" {
                assert_eq!(asked.authorization, None);
                let document = json!({"token_endpoint": format!("{}/token", asked.base), "x": []});
                json_answer(document.to_string())
            } else if asked.target == "/fhir/token" {
                issuer.token(&asked)
            } else if asked.authorization == Some(format!("Bearer hush-{}", issuer.tokens())) {
                json_answer(page(&[patient("p", "Crane")], None))
            } else {
                StatusCode::UNAUTHORIZED.into_response()
            };
            async { answer }
        })
        .await
    }
}

fn key_file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn config(server: &Server, key: &NamedTempFile) -> FhirServerConfig {
    let mut config = server.config();
    config.backend_services = Some(BackendServicesConfig {
        client_id: "our-client".to_owned(),
        key_file: key.path().to_owned(),
        kid: "our-key".to_owned(),
        scope: "system/*.read".to_owned(),
        token_url: None,
    });
    config
}

/// A server that wants a login, and a source that has one.
async fn logged_in(issuer: &Issuer) -> (Server, FhirServer, Arc<QuickClock>) {
    let server = issuer.serve().await;
    let key = key_file(&issuer.0.lock().unwrap().pair.pem);
    let clock = Arc::clone(&issuer.1);
    let source = open(config(&server, &key), clock.clone()).await;
    (server, source, clock)
}

async fn told(source: &FhirServer) -> SourceError {
    stream_of(source).await.err().unwrap()
}

#[tokio::test]
async fn every_kind_of_key_proves_who_we_are() {
    for (pair, as_jwk) in [
        (keys::rsa(), false),
        (keys::rsa(), true),
        (keys::p384(), false),
        (keys::p384(), true),
    ] {
        let key = key_file(&if as_jwk {
            format!("\n{:#}", pair.jwk)
        } else {
            pair.pem.clone()
        });
        let issuer = Issuer::new(pair);
        let server = issuer.serve().await;
        let source = open(config(&server, &key), issuer.1.clone()).await;
        let (records, error) = drain(&source).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(records, [patient("p", "Crane")]);
    }
}

#[tokio::test]
async fn a_key_that_cannot_sign_is_told_at_the_start() {
    let (rsa, ec) = (keys::rsa(), keys::p384());
    let mut half = rsa.jwk.clone();
    half.as_object_mut().unwrap().remove("q");
    let mut public = ec.jwk.clone();
    public.as_object_mut().unwrap().remove("d");
    let mut other_curve = ec.jwk.clone();
    other_curve["crv"] = json!("P-256");
    let mut wrong = ec.jwk.clone();
    wrong["d"] = json!("AAAA");
    let server = Issuer::new(ec).serve().await;
    for content in [
        "nonsense".to_owned(),
        String::new(),
        rsa.pem[..300].to_owned(),
        public.to_string(),
        half.to_string(),
        other_curve.to_string(),
        wrong.to_string(),
        json!({"keys": [rsa.jwk]}).to_string(),
        json!({"kty": "oct", "k": "c2VjcmV0"}).to_string(),
    ] {
        let key = key_file(&content);
        let entropy = Arc::new(SeededEntropy::default());
        let opened = FhirServer::open(
            config(&server, &key),
            Arc::new(QuickClock::default()),
            entropy,
        );
        let error = opened.await.unwrap_err().to_string();
        assert!(
            error.contains("key_file") && error.contains("P-384 key"),
            "{error}"
        );
        assert!(
            !error.contains("AAAA") && !error.contains("c2Vj"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_token_serves_until_shortly_before_its_end() {
    let issuer = Issuer::new(keys::p384());
    let (server, source, clock) = logged_in(&issuer).await;
    // However many come at once.
    let found = join_all((0..10).map(|_| drain(&source))).await;
    assert!(found.iter().all(|(_, error)| error.is_none()));
    assert_eq!(issuer.tokens(), 1);
    clock.pass(Duration::from_secs(269));
    assert!(drain(&source).await.1.is_none());
    assert_eq!(issuer.tokens(), 1);
    clock.pass(Duration::from_secs(1));
    assert!(drain(&source).await.1.is_none());
    assert_eq!(issuer.tokens(), 2);
    let count = |what: &str| {
        server
            .targets()
            .iter()
            .filter(|asked| asked.contains(what))
            .count()
    };
    assert_eq!(
        (count("everything"), count("token"), count("well-known")),
        (12, 2, 2)
    );
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let issuer = Issuer::new(keys::p384());
    let (server, source, _) = logged_in(&issuer).await;
    assert!(drain(&source).await.1.is_none());
    // The server forgets the token.
    issuer.0.lock().unwrap().tokens += 1;
    let found = join_all((0..4).map(|_| drain(&source))).await;
    assert!(found.iter().all(|(_, error)| error.is_none()), "{found:?}");
    assert_eq!(issuer.tokens(), 3);
    // It gives out tokens that it does not take.
    issuer.0.lock().unwrap().response = json!({"access_token": "useless"});
    issuer.0.lock().unwrap().tokens += 1;
    let before = server.targets().len();
    let error = told(&source).await.to_string();
    assert!(error.contains("401") && error.contains("login"), "{error}");
    assert_eq!(
        server.targets().len() - before,
        4,
        "asked, discovery, token, asked again"
    );
}

#[tokio::test]
async fn a_busy_token_endpoint_is_asked_again_with_another_proof() {
    let issuer = Issuer::new(keys::p384());
    issuer.0.lock().unwrap().instead = vec![(503, json!({})), (429, json!({}))];
    let (_, source, clock) = logged_in(&issuer).await;
    let (records, error) = drain(&source).await;
    assert!(error.is_none() && records.len() == 1);
    assert_eq!(clock.slept().len(), 2);
    assert_eq!(issuer.0.lock().unwrap().jtis.len(), 3);
}

#[tokio::test]
async fn a_refused_login_is_told_with_what_to_check() {
    for (status, body, expected) in [
        (400, json!({"error": "invalid_client"}), "invalid_client"),
        (
            401,
            json!({"error": "<b>Ada</b>", "error_description": "hush"}),
            "without a reason",
        ),
        (400, json!("hush"), "without a reason"),
    ] {
        let issuer = Issuer::new(keys::p384());
        issuer.0.lock().unwrap().instead = vec![(status, body)];
        let (_, source, _) = logged_in(&issuer).await;
        let error = told(&source).await;
        let message = error.to_string();
        assert!(
            matches!(error, SourceError::Broken(_)) && message.contains(expected),
            "{message}"
        );
        assert!(
            !message.contains("hush") && !message.contains("Ada"),
            "{message}"
        );
        assert!(
            drain(&source).await.1.is_none(),
            "the next one is another try"
        );
    }
}

#[tokio::test]
async fn only_a_bearer_token_is_a_token() {
    for response in [
        json!({"access_token": ""}),
        json!({"access_token": "two words"}),
        json!({"access_token": 7}),
        json!({"token_type": "mac"}),
        json!({"expires_in": "hush"}),
    ] {
        let issuer = Issuer::new(keys::p384());
        issuer.0.lock().unwrap().response = response;
        let (server, source, _) = logged_in(&issuer).await;
        let message = told(&source).await.to_string();
        assert!(
            message.contains("token endpoint") && !message.contains("hush"),
            "{message}"
        );
        assert_eq!(server.targets().len(), 2, "no request without a token");
    }
}

#[tokio::test]
async fn where_tokens_come_from_is_discovered_or_configured() {
    let issuer = Issuer::new(keys::p384());
    let (server, _, clock) = logged_in(&issuer).await;
    let key = key_file(&issuer.0.lock().unwrap().pair.pem);
    let mut configured = config(&server, &key);
    let token_url = format!("{}/token", server.base).parse().ok();
    configured.backend_services.as_mut().unwrap().token_url = token_url;
    assert!(
        drain(&open(configured, clock.clone()).await)
            .await
            .1
            .is_none()
    );
    assert!(
        !server
            .targets()
            .iter()
            .any(|asked| asked.contains("well-known"))
    );

    for document in [
        json!({}),
        json!({"token_endpoint": "http://a.example/token"}),
        json!({"token_endpoint": "/token"}),
        json!({"token_endpoint": "x".repeat(300_000)}),
    ] {
        let server = Server::start(move |_| {
            let body = document.to_string();
            async { json_answer(body) }
        })
        .await;
        let source = open(config(&server, &key), clock.clone()).await;
        assert!(matches!(told(&source).await, SourceError::Broken(_)));
        assert_eq!(server.targets().len(), 1);
    }
    let server = Server::start(|_| async { StatusCode::NOT_FOUND.into_response() }).await;
    let source = open(config(&server, &key), clock).await;
    assert!(told(&source).await.to_string().contains("token_url"));
}

/// Remembers all that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.lock().unwrap().push(format!("{field}={value:?}"));
    }
}

#[tokio::test]
async fn no_secret_is_shown_or_logged() {
    let log = Log::default();
    // With a single subscriber in the process, tracing asks only that of the thread that comes by
    // first, which may be another test's that has none. A second one makes it ask them all.
    let _second = tracing::Dispatch::new(log.clone());
    let _guard = tracing::subscriber::set_default(log.clone());
    let issuer = Issuer::new(keys::rsa());
    issuer.0.lock().unwrap().instead = vec![(503, json!({}))];
    issuer.0.lock().unwrap().response = json!({"scope": "system/Patient.rs"});
    let (_, source, _) = logged_in(&issuer).await;
    assert!(drain(&source).await.1.is_none());
    let shown = format!("{source:?} {:?}", source.client.http);
    issuer.0.lock().unwrap().tokens += 1;
    assert!(drain(&source).await.1.is_none());
    let shown = format!("{shown} {source:#?}");
    let logged = log.0.lock().unwrap().join("\n");
    assert!(shown.contains("logs_in: true"));
    assert!(
        logged.contains("trying again") && logged.contains("system/Patient.rs"),
        "{logged}"
    );
    assert_eq!(logged.matches("another scope").count(), 1, "told once");
    let key = issuer.0.lock().unwrap().pair.jwk["d"].as_str().unwrap()[..20].to_owned();
    for secret in ["hush", "Patient/p", "Crane", "eyJ", "PRIVATE", &key] {
        assert!(
            !shown.contains(secret) && !logged.contains(secret),
            "{secret} in {logged}"
        );
    }
}
