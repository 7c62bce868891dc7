//! The wiring: which adapter is plugged into which port.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use ehi_adapters::directory::Directory;
use ehi_adapters::fs::FolderFiles;
use ehi_adapters::http::{App, FHIR_MOUNTS, HttpSettings, TestKickoffs};
use ehi_adapters::keys::RsaKeys;
use ehi_adapters::memory::{LogAudit, MemoryGrants, MemoryJobs, MemorySessions};
use ehi_adapters::system::{SystemClock, SystemEntropy};
use ehi_core::auth::{
    Audience, AuthPorts, AuthSettings, AuthorizationServer, PatientSessions, StaffSessions,
};
use ehi_core::export::{
    ExportLimits, ExportPorts, ExportService, ExportSettings, Exporter, Lifetimes, Links,
    SensitivityRules, UploadLimits, Worker, WorkerId, WorkerSettings,
};
use ehi_core::ports::{
    AuditLog, Clock, Entropy, JobStore, PatientLogin, RecordSource, SessionStore,
};
use url::Url;

use crate::Failure;

/// What one deployment differs in from another.
pub struct Parts {
    /// The public URL.
    pub base: Url,
    /// Where records come from.
    pub source: Arc<dyn RecordSource>,
    /// Clients and staff.
    pub directory: Arc<Directory>,
    /// Who patients are.
    pub patient_login: Arc<dyn PatientLogin>,
    /// When things expire.
    pub lifetimes: Times,
    /// Test kick-offs.
    pub test_kickoffs: TestKickoffs,
    /// Origins whose pages may use cookies.
    pub allowed_origins: Vec<HeaderValue>,
    /// What is protected.
    pub rules: Arc<SensitivityRules>,
    /// How many exports run at a time.
    pub workers: usize,
}

/// Every lifetime.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Of jobs.
    pub jobs: Lifetimes,
    /// Of a patient's session.
    pub patient_session: Duration,
    /// Of a staff session that is not used.
    pub staff_session: Duration,
    /// Of access tokens.
    pub access_token: Duration,
    /// Of a patient's authorization.
    pub refresh_token: Duration,
}

/// The server, ready to run.
pub struct Wired {
    /// What requests need.
    pub app: App,
    /// What makes exports.
    pub workers: Vec<Worker>,
}

/// An authorization code has to be used within this time.
const CODE: Duration = Duration::from_mins(2);

/// What staff may attach at once.
const UPLOADS: UploadLimits = UploadLimits {
    files: 50,
    bytes: 512 << 20,
};

/// Plugs everything together; files and keys go below `data`.
pub async fn wire(parts: Parts, data: &Path) -> Result<Wired, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let audit: Arc<dyn AuditLog> = Arc::new(LogAudit);
    let jobs: Arc<dyn JobStore> = Arc::new(MemoryJobs::default());
    let sessions: Arc<dyn SessionStore> = Arc::new(MemorySessions::default());
    let cannot = |what: &str| format!("{what} in {} cannot be used", data.display());
    let files = FolderFiles::open(data.join("files"))
        .map_err(|error| Failure::because(cannot("the files"), error))?;
    let files = Arc::new(files);
    let keys = RsaKeys::open(&data.join("keys"))
        .await
        .map_err(|error| Failure::because(cannot("the signing key"), error))?;
    let links = Links::new(&parts.base);

    let exports = ExportService::new(
        ExportPorts {
            jobs: jobs.clone(),
            files: files.clone(),
            source: parts.source.clone(),
            clients: parts.directory.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        ExportSettings {
            links: links.clone(),
            lifetimes: parts.lifetimes.jobs,
            uploads: UPLOADS,
        },
    );
    let authorization = AuthorizationServer::new(
        AuthPorts {
            clients: parts.directory.clone(),
            grants: Arc::new(MemoryGrants::default()),
            keys: Arc::new(keys),
            audit: audit.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        AuthSettings {
            issuer: links.base().to_owned(),
            resource: links.fhir(),
            audience: Audience::new(FHIR_MOUNTS.map(|mount| links.at(mount))),
            code_lifetime: CODE,
            access_lifetime: parts.lifetimes.access_token,
            refresh_lifetime: parts.lifetimes.refresh_token,
        },
    );
    let patients = PatientSessions {
        login: parts.patient_login,
        source: parts.source.clone(),
        sessions: sessions.clone(),
        audit: audit.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        lifetime: parts.lifetimes.patient_session,
    };
    let staff = StaffSessions {
        login: parts.directory,
        sessions,
        audit,
        clock: clock.clone(),
        entropy: entropy.clone(),
        lifetime: parts.lifetimes.staff_session,
    };
    let settings = HttpSettings {
        test_kickoffs: parts.test_kickoffs,
        allowed_origins: parts.allowed_origins,
        // Room for the boundaries and headers between the files.
        upload_bytes: usize::try_from(UPLOADS.bytes)
            .unwrap_or(usize::MAX)
            .saturating_add(1 << 20),
        version: env!("CARGO_PKG_VERSION"),
        started: clock.now(),
    };
    let exporter = Exporter {
        source: parts.source,
        files,
        clock,
        entropy,
        rules: parts.rules,
        limits: ExportLimits::default(),
    };
    let workers = workers(&jobs, &exporter, parts.workers);
    Ok(Wired {
        app: App {
            exports,
            authorization,
            patients,
            staff,
            settings,
        },
        workers,
    })
}

/// This many workers on the queue.
fn workers(jobs: &Arc<dyn JobStore>, exporter: &Exporter, count: usize) -> Vec<Worker> {
    (1..=count)
        .map(|number| Worker {
            id: WorkerId(format!("worker-{number}")),
            jobs: jobs.clone(),
            exporter: exporter.clone(),
            settings: WorkerSettings::default(),
        })
        .collect()
}
