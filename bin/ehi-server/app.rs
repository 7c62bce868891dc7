//! The wiring: which adapter is plugged into which port.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use ehi_adapters::audit_folder::FolderAudit;
use ehi_adapters::client_keys::JwtAssertions;
use ehi_adapters::http::{App, FHIR_MOUNTS, HttpSettings, TestKickoffs};
use ehi_adapters::keys::RsaKeys;
use ehi_adapters::memory::{LoggedAudit, MemoryGrants, MemoryGuesses, MemoryJobs, MemorySessions};
use ehi_adapters::sql::{Database, SqlAudit, SqlGrants, SqlGuesses, SqlJobs, SqlSessions};
use ehi_adapters::system::{SystemClock, SystemEntropy};
use ehi_core::audit::AuditTrail;
use ehi_core::auth::{
    Audience, AuthPorts, AuthSettings, AuthorizationServer, Door, LoginGuard, PatientSessions,
    SessionLifetimes, StaffSessions,
};
use ehi_core::export::{
    Deployment, DeploymentId, Downloads, ExportLimits, ExportPorts, ExportService, ExportSettings,
    Exporter, Lifetimes, Links, OpenLimits, Rules, UploadLimits, Worker, WorkerId, WorkerSettings,
};
use ehi_core::ports::{
    AuditLog, ClientAssertions, ClientRegistry, Clock, Entropy, FileStore, GrantStore, GuessStore,
    JobStore, PatientLogin, RecordSource, SessionStore, StaffLogin, TokenKeys,
};
use url::Url;

use crate::database::Storage;
use crate::edge::RequestLimits;
use crate::files::FilesPlace;
use crate::keys::{KeyPlace, unusable};
use crate::{Failure, deployment};

/// What one deployment differs in from another.
pub struct Parts {
    /// Where jobs, grants, sessions and the audit log are kept.
    pub stores: Stores,
    /// Where files go.
    pub files: FilesPlace,
    /// How apps fetch them.
    pub downloads: Downloads,
    /// Where the signing keys are.
    pub keys: KeyPlace,
    /// The public URL.
    pub base: Url,
    /// Where records come from.
    pub source: Arc<dyn RecordSource>,
    /// Which apps may ask.
    pub clients: Arc<dyn ClientRegistry>,
    /// Who patients are.
    pub patient_login: Arc<dyn PatientLogin>,
    /// Who staff are.
    pub staff_login: Arc<dyn StaffLogin>,
    /// Where staff go once they logged in elsewhere.
    pub staff_home: Option<Url>,
    /// When things expire.
    pub lifetimes: Times,
    /// Test kick-offs.
    pub test_kickoffs: TestKickoffs,
    /// Origins whose pages may use cookies.
    pub allowed_origins: Vec<HeaderValue>,
    /// What exports go by.
    pub rules: Rules,
    /// How many exports run at a time.
    pub workers: usize,
    /// What is asked of requests.
    pub requests: RequestLimits,
    /// How many exports may be open.
    pub open: OpenLimits,
    /// How long exports that run may take to come to their end when the process has to.
    pub drain: Duration,
    /// How exports are worked on.
    pub working: WorkerSettings,
}

/// What processes that only export differ in from each other.
pub struct WorkerParts {
    /// Where the servers they work for keep jobs and the audit log.
    pub storage: Storage,
    /// Where files go.
    pub files: FilesPlace,
    /// The public URL of those.
    pub base: Url,
    /// Where records come from.
    pub source: Arc<dyn RecordSource>,
    /// What exports go by.
    pub rules: Rules,
    /// How many exports run at a time.
    pub workers: usize,
    /// How exports are worked on.
    pub working: WorkerSettings,
}

/// Every lifetime.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Of jobs.
    pub jobs: Lifetimes,
    /// How often what expired is removed.
    pub sweep: Duration,
    /// Of a patient's session that is not used.
    pub patient_session: Duration,
    /// Of a staff session that is not used.
    pub staff_session: Duration,
    /// Of every session, however much it is used.
    pub session_absolute: Duration,
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
    /// How often what expired is removed.
    pub sweep: Duration,
    /// How long exports that run may take to come to their end when the process has to.
    pub drain: Duration,
}

/// The folder of the audit log, below the data.
pub const AUDIT: &str = "audit";

/// An authorization code has to be used within this time.
const CODE: Duration = Duration::from_mins(2);

/// What staff may attach at once.
const UPLOADS: UploadLimits = UploadLimits {
    files: 50,
    bytes: 512 << 20,
};

/// Where the signing keys are.
pub fn key_folder(data: &Path) -> PathBuf {
    data.join("keys")
}

/// The stores of jobs, grants and sessions, and the audit log.
#[derive(Clone)]
pub struct Stores {
    jobs: Arc<dyn JobStore>,
    sessions: Arc<dyn SessionStore>,
    grants: Arc<dyn GrantStore>,
    guesses: Arc<dyn GuessStore>,
    /// The database they are all in, if they are in one: every other store that a process keeps
    /// there shares its connections.
    database: Option<Database>,
    /// Where it is kept who did what: by the server, and by its operator at the command line.
    pub audit: Arc<dyn AuditLog>,
}

impl Stores {
    /// Opens them; in memory, the audit log is in a folder below `data`.
    pub async fn open(storage: &Storage, data: &Path) -> Result<Self, Failure> {
        Ok(match storage {
            Storage::Memory => Self {
                jobs: Arc::new(MemoryJobs::default()),
                sessions: Arc::new(MemorySessions::default()),
                grants: Arc::new(MemoryGrants::default()),
                guesses: Arc::new(MemoryGuesses::default()),
                database: None,
                audit: logged(audit_folder(&data.join(AUDIT))?),
            },
            Storage::Database(place) => Self::of(place.open().await?),
        })
    }

    /// Those of a database.
    pub fn of(database: Database) -> Self {
        Self {
            jobs: Arc::new(SqlJobs::new(&database)),
            sessions: Arc::new(SqlSessions::new(&database)),
            grants: Arc::new(SqlGrants::new(&database)),
            guesses: Arc::new(SqlGuesses::new(&database)),
            audit: logged(SqlAudit::new(&database)),
            database: Some(database),
        }
    }

    /// Opens the place for their files, and makes sure that it is theirs.
    pub async fn open_files(
        &self,
        place: &FilesPlace,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Arc<dyn FileStore>, Failure> {
        let deployment = self.deployment(place, clock, entropy).await?;
        deployment::join(&deployment).await?;
        Ok(deployment.files)
    }

    /// The jobs and this place for their files.
    pub async fn deployment(
        &self,
        place: &FilesPlace,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Deployment, Failure> {
        Ok(Deployment {
            jobs: self.jobs.clone(),
            files: place.open(clock.clone(), entropy.clone()).await?,
            new: match (&self.database, place) {
                (None, FilesPlace::Folder(_)) => DeploymentId::IN_MEMORY,
                // A bucket may be somebody else's as well.
                (None, FilesPlace::S3(_)) | (Some(_), _) => {
                    DeploymentId::from_random(entropy.bytes())
                }
            },
        })
    }

    /// The database they are in.
    pub fn database(&self) -> Result<&Database, Failure> {
        (self.database.as_ref()).ok_or_else(|| {
            Failure::new("what is to be in the database needs one: name it, or use files instead")
        })
    }
}

fn audit_folder(folder: &Path) -> Result<FolderAudit, Failure> {
    FolderAudit::open(folder).map_err(|error| {
        let message = format!("the audit log in {} cannot be used", folder.display());
        Failure::because(message, error)
    })
}

/// The entries go into the server's own log as well.
fn logged(log: impl AuditLog) -> Arc<dyn AuditLog> {
    Arc::new(LoggedAudit(Arc::new(log)))
}

/// Plugs everything together; keys go below `data`.
pub async fn wire(parts: Parts, data: &Path) -> Result<Wired, Failure> {
    let plugged = Ports::open(&parts, data).await?;
    let settings = HttpSettings {
        test_kickoffs: parts.test_kickoffs,
        allowed_origins: parts.allowed_origins.clone(),
        strict_transport: parts.requests.strict_transport,
        rates: parts.requests.rates,
        staff_home: parts.staff_home.clone(),
        // Room for the boundaries and headers between the files.
        upload_bytes: usize::try_from(UPLOADS.bytes)
            .unwrap_or(usize::MAX)
            .saturating_add(1 << 20),
        version: env!("CARGO_PKG_VERSION"),
        started: plugged.clock.now(),
    };
    Ok(Wired {
        app: App {
            exports: plugged.exports(&parts),
            authorization: plugged.authorization(&parts),
            patients: plugged.patients(&parts),
            staff: plugged.staff(&parts),
            audit: plugged.trail(&parts),
            settings,
        },
        workers: plugged.workers(&parts),
        sweep: parts.lifetimes.sweep,
        drain: parts.drain,
    })
}

/// Plugs together what exports alone; files are below `data`.
pub async fn wire_workers(parts: WorkerParts, data: &Path) -> Result<Vec<Worker>, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let stores = Stores::open(&parts.storage, data).await?;
    let bench = Bench {
        stores: &stores,
        files: stores.open_files(&parts.files, &clock, &entropy).await?,
        source: parts.source,
        clock,
        entropy,
        working: parts.working,
        base: &parts.base,
        rules: &parts.rules,
    };
    Ok(bench.workers(parts.workers))
}

/// What workers need.
struct Bench<'a> {
    stores: &'a Stores,
    files: Arc<dyn FileStore>,
    source: Arc<dyn RecordSource>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    base: &'a Url,
    rules: &'a Rules,
    working: WorkerSettings,
}

impl Bench<'_> {
    fn workers(&self, count: usize) -> Vec<Worker> {
        // Other processes may work on the same queue.
        let [a, b, c, d, ..] = self.entropy.bytes();
        let process = u32::from_be_bytes([a, b, c, d]);
        let worker = |number| Worker {
            id: WorkerId(format!("worker-{process:08x}-{number}")),
            jobs: self.stores.jobs.clone(),
            audit: self.stores.audit.clone(),
            exporter: Exporter {
                source: self.source.clone(),
                files: self.files.clone(),
                clock: self.clock.clone(),
                entropy: self.entropy.clone(),
                links: Links::new(self.base),
                rules: self.rules.clone(),
                limits: ExportLimits::default(),
            },
            settings: self.working,
        };
        (1..=count).map(worker).collect()
    }
}

/// The adapters behind the ports.
struct Ports {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    stores: Stores,
    files: Arc<dyn FileStore>,
    keys: Arc<dyn TokenKeys>,
    assertions: Arc<dyn ClientAssertions>,
    source: Arc<dyn RecordSource>,
}

impl Ports {
    async fn open(parts: &Parts, data: &Path) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let longest_token = parts.lifetimes.access_token;
        let database = async || parts.stores.database().cloned();
        let keys = parts.keys.open(data, longest_token, database).await?;
        let keys = RsaKeys::open(keys, clock.clone()).await.map_err(unusable)?;
        let assertions = JwtAssertions::new(clock.clone())
            .map_err(|error| Failure::because("the keys of clients could not be fetched", error))?;
        Ok(Self {
            files: (parts.stores.open_files(&parts.files, &clock, &entropy)).await?,
            clock,
            entropy,
            stores: parts.stores.clone(),
            keys: Arc::new(keys),
            assertions: Arc::new(assertions),
            source: parts.source.clone(),
        })
    }

    fn exports(&self, parts: &Parts) -> ExportService {
        ExportService::new(
            ExportPorts {
                jobs: self.stores.jobs.clone(),
                files: self.files.clone(),
                source: self.source.clone(),
                clients: parts.clients.clone(),
                audit: self.stores.audit.clone(),
                clock: self.clock.clone(),
                entropy: self.entropy.clone(),
            },
            ExportSettings {
                links: Links::new(&parts.base),
                lifetimes: parts.lifetimes.jobs,
                uploads: UPLOADS,
                rules: parts.rules.clone(),
                downloads: parts.downloads,
                open: parts.open,
            },
        )
    }

    fn authorization(&self, parts: &Parts) -> AuthorizationServer {
        let links = Links::new(&parts.base);
        AuthorizationServer::new(
            AuthPorts {
                clients: parts.clients.clone(),
                assertions: self.assertions.clone(),
                grants: self.stores.grants.clone(),
                keys: self.keys.clone(),
                audit: self.stores.audit.clone(),
                clock: self.clock.clone(),
                entropy: self.entropy.clone(),
            },
            AuthSettings {
                issuer: links.base().to_owned(),
                resource: links.fhir(),
                audience: Audience::new(FHIR_MOUNTS.map(|mount| links.at(mount))),
                token_url: links.at("/auth/token"),
                code_lifetime: CODE,
                access_lifetime: parts.lifetimes.access_token,
                refresh_lifetime: parts.lifetimes.refresh_token,
                online_lifetime: parts.lifetimes.session_absolute,
            },
        )
    }

    fn patients(&self, parts: &Parts) -> PatientSessions {
        PatientSessions {
            login: parts.patient_login.clone(),
            guard: self.guard(Door::Patients, parts),
            source: self.source.clone(),
            sessions: self.stores.sessions.clone(),
            audit: self.stores.audit.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            lifetimes: SessionLifetimes {
                idle: parts.lifetimes.patient_session,
                absolute: parts.lifetimes.session_absolute,
            },
        }
    }

    fn guard(&self, door: Door, parts: &Parts) -> LoginGuard {
        LoginGuard::new(door, parts.requests.patience, self.stores.guesses.clone())
    }

    fn staff(&self, parts: &Parts) -> StaffSessions {
        StaffSessions {
            login: parts.staff_login.clone(),
            guard: self.guard(Door::Staff, parts),
            sessions: self.stores.sessions.clone(),
            audit: self.stores.audit.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            lifetimes: SessionLifetimes {
                idle: parts.lifetimes.staff_session,
                absolute: parts.lifetimes.session_absolute,
            },
        }
    }

    fn trail(&self, parts: &Parts) -> AuditTrail {
        AuditTrail {
            log: self.stores.audit.clone(),
            source: self.source.clone(),
            clients: parts.clients.clone(),
            clock: self.clock.clone(),
        }
    }

    fn workers(&self, parts: &Parts) -> Vec<Worker> {
        let bench = Bench {
            stores: &self.stores,
            files: self.files.clone(),
            source: self.source.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            base: &parts.base,
            rules: &parts.rules,
            working: parts.working,
        };
        bench.workers(parts.workers)
    }
}
