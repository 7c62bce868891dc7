//! Whatever comes over HTTP, to any route, with any token and cookie: it is answered, never with
//! a failure of ours, and with the headers that keep browsers safe.
//!
//! An input is a request as text: method and URL in the first line, headers up to an empty line,
//! then the body. `{job}` stands for an export that is waiting for its patient's choices,
//! `{patient}` and `{staff}` for cookies of sessions, `{system}` and `{token}` for tokens.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use ehi_adapters::http::{
    App, FHIR_MOUNTS, HttpSettings, RateLimits, StrictTransport, TestKickoffs, router,
};
use ehi_adapters::memory::{
    MemoryAudit, MemoryClients, MemoryFiles, MemoryGrants, MemoryJobs, MemorySessions,
};
use ehi_adapters::picker::PatientPicker;
use ehi_core::audit::AuditTrail;
use ehi_core::auth::{
    Audience, AuthPorts, AuthSettings, AuthorizationServer, Door, LoginAttempt, PatientSessions,
    Secret, Session, SessionHolder, SessionLifetimes, StaffHolder, StaffMember, StaffName,
    StaffRole, StaffSessions,
};
use ehi_core::export::{
    Downloads, ExportPorts, ExportService, ExportSettings, Interaction, Lifetimes, Links,
    OpenLimits, Rules, UploadLimits,
};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    Clock, JobStore, KeyError, LoginError, MockClientAssertions, PatientSearch, PatientSummary,
    Proof, RecordSource, RecordStream, SessionStore, SourceError, StaffAnswer, StaffLogin,
    StaffPrompt, TokenKeys,
};
use ehi_core::testkit::{FixedClock, SeededEntropy, at, client, guard, job, patient};
use futures::StreamExt;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tower::ServiceExt;
use url::Url;

const BASE: &str = "https://ehi.example";
const PATIENT_COOKIE: &str = "a-cookie-of-the-patient";
const STAFF_COOKIE: &str = "a-cookie-of-the-staff";
const DAY: Duration = Duration::from_hours(24);

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().expect("a runtime")
});

fuzz_target!(|input: &[u8]| {
    if let Some(request) = request(input) {
        RUNTIME.block_on(answer(request));
    }
});

fn request(input: &[u8]) -> Option<Request<Body>> {
    let head = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = input.split_at(head.unwrap_or(input.len()));
    let body = body.get(2..).unwrap_or_default().to_vec();
    let job = job(Interaction::Form).id.to_string();
    let head = std::str::from_utf8(head).ok()?;
    let head = head
        .replace("{job}", &job)
        .replace("{patient}", &format!("__Host-ehi_patient={PATIENT_COOKIE}"))
        .replace("{staff}", &format!("sid={STAFF_COOKIE}"));
    let mut lines = head.lines();
    let (method, uri) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(uri);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        request = request.header(name, value.trim());
    }
    if !request.headers_ref()?.contains_key("host") {
        request = request.header("host", "ehi.example");
    }
    request.body(Body::from(body)).ok()
}

async fn answer(request: Request<Body>) {
    let app = app().await;
    let Ok(response) = router(app).oneshot(request).await;
    let status = response.status();
    assert!(!status.is_server_error(), "{status}");
    let options = response.headers().get("x-content-type-options");
    assert!(
        options.is_some_and(|value| value == "nosniff"),
        "{response:?}"
    );
    let body = response.into_body().collect().await;
    body.expect("the body comes to its end");
}

async fn app() -> App {
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(at(0)));
    let entropy = Arc::new(SeededEntropy::default());
    let audit = Arc::new(MemoryAudit::default());
    let clients: Arc<MemoryClients> = Arc::new([client()].into_iter().collect());
    let source: Arc<dyn RecordSource> = Arc::new(OnePatient);
    let jobs = Arc::new(MemoryJobs::default());
    jobs.insert(&job(Interaction::Form)).await.expect("room");
    let sessions = Arc::new(MemorySessions::default());
    for (cookie, holder) in [
        (PATIENT_COOKIE, SessionHolder::Patient(patient().id)),
        (STAFF_COOKIE, SessionHolder::Staff(admin())),
    ] {
        let session = Session {
            holder,
            expires_at: at(1_000),
            ends_at: at(1_000),
        };
        let cookie = Secret::presented(cookie).expect("it is one");
        sessions
            .insert(cookie.hash(), &session)
            .await
            .expect("room");
    }
    let lifetimes = SessionLifetimes {
        idle: DAY,
        absolute: DAY,
    };
    let links = Links::new(&Url::parse(BASE).expect("it is one"));
    App {
        exports: ExportService::new(
            ExportPorts {
                jobs,
                files: Arc::new(MemoryFiles::default()),
                source: source.clone(),
                clients: clients.clone(),
                audit: audit.clone(),
                clock: clock.clone(),
                entropy: entropy.clone(),
            },
            ExportSettings {
                links: links.clone(),
                lifetimes: Lifetimes {
                    unfinished: DAY,
                    unreviewed: DAY,
                    finished: DAY,
                    tombstone: DAY,
                },
                uploads: UploadLimits {
                    files: 3,
                    bytes: 1_000,
                },
                rules: Rules::standard(),
                downloads: Downloads::ByToken,
                open: OpenLimits::NONE,
            },
        ),
        authorization: AuthorizationServer::new(
            AuthPorts {
                clients: clients.clone(),
                assertions: Arc::new(nothing_is_signed()),
                grants: Arc::new(MemoryGrants::default()),
                keys: Arc::new(TwoTokens),
                audit: audit.clone(),
                clock: clock.clone(),
                entropy: entropy.clone(),
            },
            AuthSettings {
                issuer: links.base().to_owned(),
                resource: links.fhir(),
                audience: Audience::new(FHIR_MOUNTS.map(|mount| links.at(mount))),
                token_url: links.at("/auth/token"),
                code_lifetime: DAY,
                access_lifetime: DAY,
                refresh_lifetime: DAY,
                online_lifetime: DAY,
            },
        ),
        patients: PatientSessions {
            login: Arc::new(PatientPicker::new(source.clone())),
            guard: guard(Door::Patients),
            source: source.clone(),
            sessions: sessions.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            lifetimes,
        },
        staff: StaffSessions {
            login: Arc::new(NobodyNew),
            guard: guard(Door::Staff),
            sessions,
            audit: audit.clone(),
            clock: clock.clone(),
            entropy,
            lifetimes,
        },
        audit: AuditTrail {
            log: audit,
            source,
            clients,
            clock,
        },
        settings: HttpSettings {
            test_kickoffs: TestKickoffs::On,
            allowed_origins: Vec::new(),
            strict_transport: StrictTransport::On,
            rates: RateLimits::generous(),
            staff_home: None,
            upload_bytes: 2_000,
            version: "0.0.0",
            started: at(0),
        },
    }
}

fn admin() -> StaffHolder {
    let member = StaffMember {
        name: StaffName::proven("grace"),
        role: StaffRole::Admin,
    };
    StaffHolder {
        member,
        credential: None,
    }
}

fn nothing_is_signed() -> MockClientAssertions {
    let mut assertions = MockClientAssertions::new();
    (assertions.expect_verify()).returning(|_, _, _| Err(ehi_core::ports::AssertionError::Invalid));
    assertions
}

/// Knows two tokens: one of the patient, and one of a system.
#[derive(Debug)]
struct TwoTokens;

#[async_trait]
impl TokenKeys for TwoTokens {
    async fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        Ok(claims.to_string())
    }

    async fn verify(&self, token: &str) -> Result<Value, KeyError> {
        let mut claims = json!({
            "iss": BASE, "aud": format!("{BASE}/fhir"), "client_id": "test-app", "sub": "p-1",
            "jti": uuid(1), "grant": uuid(2), "iat": at(0).as_second(), "exp": at(60).as_second(),
        });
        match token {
            "{token}" => {
                claims["scope"] = json!("patient/$ehi-export");
                claims["patient"] = json!("p-1");
            }
            "{system}" => claims["scope"] = json!("system/$ehi-export"),
            _ => return Err(KeyError::Invalid),
        }
        Ok(claims)
    }

    async fn jwks(&self) -> Result<Value, KeyError> {
        Ok(json!({"keys": []}))
    }
}

fn uuid(number: u8) -> String {
    format!("00000000-0000-4000-8000-0000000000{number:02}")
}

/// A source with one patient and no records.
#[derive(Debug)]
struct OnePatient;

#[async_trait]
impl RecordSource for OnePatient {
    async fn patient(&self, id: &PatientId) -> Result<Option<PatientSummary>, SourceError> {
        Ok((*id == patient().id).then(patient))
    }

    async fn search(&self, _: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError> {
        Ok(vec![patient()])
    }

    async fn records(
        &self,
        _: &PatientId,
        _: &ehi_core::export::Selection,
    ) -> Result<RecordStream, SourceError> {
        Ok(futures::stream::empty().boxed())
    }
}

/// A login that lets nobody in.
#[derive(Debug)]
struct NobodyNew;

#[async_trait]
impl StaffLogin for NobodyNew {
    async fn prompt(&self, _: &LoginAttempt, _: Proof) -> Result<StaffPrompt, LoginError> {
        Ok(StaffPrompt::Password)
    }

    async fn verify(&self, _: StaffAnswer) -> Result<StaffMember, LoginError> {
        Err(LoginError::Refused)
    }
}
