//! Doubles for the tests of the use cases: a shelf of jobs behind a mock, and jobs in every state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use url::Url;
use uuid::Uuid;

use super::{
    Archive, Attachment, AttachmentName, Choices, DeploymentId, Downloads, Export, ExportJob,
    ExportPorts, ExportService, ExportSettings, ExportedFile, FileKind, FileName, Interaction,
    JobId, Lifetimes, Links, OpenLimits, Patience, Rules, Status, UploadLimits, WorkerId,
};
use crate::auth::{Access, PatientSession, StaffSession, Subject};
use crate::fhir::{PatientId, ResourceType};
use crate::ports::{
    AuditLog, Clock, DirectLink, DocumentFormat, FileBytes, FileError, FilePath, FileStore,
    FileWriter, MockAuditLog, MockClientRegistry, MockJobStore, MockRecordSource, OpenJobs, Origin,
    PatientSummary, ShownAs, StoreError,
};
use crate::testkit::{
    self, FixedClock, MemoryFiles, RecordedAudit, SeededEntropy, at, client, client_id, patient,
};

/// What a mock of a job store remembers.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    jobs: Arc<Mutex<BTreeMap<JobId, ExportJob>>>,
    removed: Arc<Mutex<BTreeSet<JobId>>>,
    changes: watch::Sender<()>,
}

impl Shelf {
    pub fn of(jobs: impl IntoIterator<Item = ExportJob>) -> Self {
        let shelf = Self::default();
        jobs.into_iter().for_each(|job| shelf.put(job));
        shelf
    }

    pub fn put(&self, job: ExportJob) {
        self.jobs.lock().unwrap().insert(job.id, job);
        self.changes.send_replace(());
    }

    pub fn get(&self, id: JobId) -> Option<ExportJob> {
        self.jobs.lock().unwrap().get(&id).cloned()
    }

    /// Tells when something was put on the shelf.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The job, when there is exactly one.
    pub fn job(&self) -> ExportJob {
        let jobs = self.jobs.lock().unwrap();
        assert_eq!(jobs.len(), 1);
        jobs.values().next().unwrap().clone()
    }

    pub fn take(&self, id: JobId) -> Option<ExportJob> {
        self.jobs.lock().unwrap().remove(&id)
    }

    /// Whose files have to go.
    pub fn removed(&self) -> Vec<JobId> {
        self.removed.lock().unwrap().iter().copied().collect()
    }

    /// A job is removed, and its files are left.
    pub fn remove(&self, id: JobId) -> Option<ExportJob> {
        self.removed.lock().unwrap().insert(id);
        self.take(id)
    }

    pub fn ids(&self) -> Vec<JobId> {
        self.jobs.lock().unwrap().keys().copied().collect()
    }

    /// Another write reaches the store first.
    pub fn overtake(&self, change: impl FnOnce(&mut ExportJob)) {
        let mut job = self.job();
        change(&mut job);
        self.put(job.next_version());
    }

    /// A mock that keeps the promises of a job store. What `mock` expects already comes first.
    pub fn behind(&self, mut mock: MockJobStore) -> MockJobStore {
        let jobs = self.clone();
        mock.expect_insert().returning(move |job| {
            jobs.put(job.clone());
            Ok(())
        });
        let jobs = self.clone();
        mock.expect_get().returning(move |id| Ok(jobs.get(id)));
        let jobs = self.clone();
        mock.expect_update().returning(move |job| {
            let stored = jobs.get(job.id).ok_or(StoreError::NotFound)?;
            if stored.version() != job.version() {
                return Err(StoreError::Conflict);
            }
            let next = job.clone().next_version();
            jobs.put(next.clone());
            Ok(next)
        });
        let jobs = self.clone();
        mock.expect_remove().returning(move |job| {
            let stored = jobs.get(job.id).ok_or(StoreError::NotFound)?;
            if stored.version() != job.version() {
                return Err(StoreError::Conflict);
            }
            jobs.remove(job.id).ok_or(StoreError::NotFound)
        });
        let jobs = self.clone();
        mock.expect_removed().returning(move |after, limit| {
            let all = jobs.removed().into_iter();
            let behind = all.filter(|id| after.is_none_or(|after| *id > after));
            Ok(behind.take(limit).collect())
        });
        let jobs = self.clone();
        mock.expect_forget().returning(move |ids| {
            jobs.removed.lock().unwrap().retain(|id| !ids.contains(id));
            Ok(())
        });
        let jobs = self.clone();
        mock.expect_disown().returning(move |ids| {
            let unknown: Vec<JobId> = (ids.iter().copied())
                .filter(|id| jobs.get(*id).is_none())
                .collect();
            jobs.removed.lock().unwrap().extend(&unknown);
            Ok(unknown.len())
        });
        let jobs = self.clone();
        mock.expect_list().returning(move |_, _| {
            let ids = jobs.ids().into_iter();
            Ok(ids.filter_map(|id| jobs.get(id)).collect())
        });
        let jobs = self.clone();
        mock.expect_open_jobs().returning(move |patient, client| {
            let all = jobs.ids().into_iter().filter_map(|id| jobs.get(id));
            let open = all.filter(|job| Status::OPEN.contains(&job.status()));
            let mut counts = OpenJobs::default();
            for job in open {
                let of_client = job.requester.client() == client;
                counts.of_patient += u64::from(of_client && job.patient.id == *patient);
                counts.of_client += u64::from(of_client);
            }
            Ok(counts)
        });
        let jobs = self.clone();
        mock.expect_overdue()
            .returning(move |status, until, limit| {
                let all = jobs.ids().into_iter().filter_map(|id| jobs.get(id));
                let overdue = all.filter(|job| job.status() == status && job.since() <= until);
                Ok(overdue.take(limit).collect())
            });
        let jobs = self.clone();
        mock.expect_claim().returning(move |worker, now, lease| {
            let mut all = jobs.ids().into_iter().filter_map(|id| jobs.get(id));
            let Some(mut job) = all.find(|job| job.is_claimable(now)) else {
                return Ok(None);
            };
            job.claim(worker, now, now + lease).unwrap();
            let claimed = job.next_version();
            jobs.put(claimed.clone());
            Ok(Some(claimed))
        });
        let jobs = self.clone();
        mock.expect_renew()
            .returning(move |claim, until, progress| {
                let mut job = jobs.get(claim.job).ok_or(StoreError::NotFound)?;
                job.renew(claim, until, progress)
                    .map_err(|_| StoreError::Conflict)?;
                jobs.put(job);
                Ok(())
            });
        (mock.expect_deployment()).returning(|| Ok(Some(deployment())));
        mock.expect_rehearse().returning(|| Ok(()));
        let changes = self.changes.clone();
        mock.expect_subscribe()
            .returning(move || changes.subscribe());
        mock
    }
}

/// The export use cases over doubles that a test may replace before [`service`](Self::service).
pub struct House {
    pub shelf: Shelf,
    pub jobs: MockJobStore,
    pub memory: Arc<MemoryFiles>,
    pub files: Arc<dyn FileStore>,
    pub clients: MockClientRegistry,
    pub source: MockRecordSource,
    pub audit: Arc<dyn AuditLog>,
    pub recorded: Arc<RecordedAudit>,
    pub clock: Arc<FixedClock>,
    pub downloads: Downloads,
    pub open: OpenLimits,
}

impl House {
    pub fn of(jobs: impl IntoIterator<Item = ExportJob>) -> Self {
        let memory = Arc::new(MemoryFiles::default());
        let recorded = Arc::new(RecordedAudit::default());
        Self {
            shelf: Shelf::of(jobs),
            jobs: MockJobStore::new(),
            files: memory.clone(),
            memory,
            clients: MockClientRegistry::new(),
            source: MockRecordSource::new(),
            audit: recorded.clone(),
            recorded,
            clock: Arc::new(FixedClock::at(at(20))),
            downloads: Downloads::ByToken,
            open: OpenLimits::NONE,
        }
    }

    /// Every entry of the audit log is refused.
    pub fn without_audit(mut self) -> Self {
        let mut audit = MockAuditLog::new();
        audit
            .expect_append()
            .returning(|_| Err(StoreError::unavailable("audit log full")));
        self.audit = Arc::new(audit);
        self
    }

    /// Keeps a file with this content.
    pub async fn keep(&self, path: &FilePath, content: &'static str) {
        let mut writer: Box<dyn FileWriter> = self.memory.writer(path).await.unwrap();
        writer.write(content.into()).await.unwrap();
        writer.finish().await.unwrap();
    }

    /// The files are those of the jobs.
    pub async fn joined(self) -> Self {
        let id = FilePath::parse("deployment/id").unwrap();
        let mut writer = self.memory.writer(&id).await.unwrap();
        writer.write(deployment().to_string().into()).await.unwrap();
        writer.finish().await.unwrap();
        self
    }

    pub fn service(self) -> ExportService {
        let mut source = self.source;
        source
            .expect_patient()
            .returning(|id| Ok((*id == patient().id).then(patient)));
        let mut clients = self.clients;
        clients
            .expect_client()
            .returning(|id| Ok((*id == client_id()).then(client)));
        let ports = ExportPorts {
            jobs: Arc::new(self.shelf.behind(self.jobs)),
            files: self.files,
            source: Arc::new(source),
            clients: Arc::new(clients),
            audit: self.audit,
            clock: self.clock,
            entropy: Arc::new(SeededEntropy::default()),
        };
        let settings = ExportSettings {
            links: links(),
            lifetimes: Lifetimes {
                unfinished: Duration::from_secs(100),
                unreviewed: Duration::from_secs(200),
                finished: Duration::from_mins(5),
                tombstone: Duration::from_secs(400),
            },
            uploads: UploadLimits {
                files: 2,
                bytes: 10,
            },
            rules: Rules::standard(),
            downloads: self.downloads,
            open: self.open,
        };
        ExportService::new(ports, settings)
    }
}

/// Files that can be fetched from elsewhere.
#[derive(Debug)]
pub struct LinkingFiles {
    pub files: Arc<MemoryFiles>,
    pub clock: Arc<FixedClock>,
}

#[async_trait]
impl FileStore for LinkingFiles {
    async fn writer(&self, path: &FilePath) -> Result<Box<dyn FileWriter>, FileError> {
        self.files.writer(path).await
    }

    async fn size(&self, path: &FilePath) -> Result<Option<u64>, FileError> {
        self.files.size(path).await
    }

    async fn read(
        &self,
        path: &FilePath,
        range: Range<u64>,
    ) -> Result<Option<FileBytes>, FileError> {
        self.files.read(path, range).await
    }

    async fn delete_prefix(&self, folder: &FilePath) -> Result<(), FileError> {
        self.files.delete_prefix(folder).await
    }

    async fn folders(&self) -> Result<Vec<FilePath>, FileError> {
        self.files.folders().await
    }

    async fn list(&self, folder: &FilePath) -> Result<Vec<FilePath>, FileError> {
        self.files.list(folder).await
    }

    async fn direct_link(
        &self,
        path: &FilePath,
        _: &ShownAs,
        lifetime: Duration,
    ) -> Result<Option<DirectLink>, FileError> {
        let until = self.clock.now() + lifetime;
        let url = Url::parse(&format!("https://store.example/{path}?until={until}")).unwrap();
        Ok(Some(DirectLink { url, until }))
    }
}

/// What the jobs on every shelf go by.
pub fn deployment() -> DeploymentId {
    DeploymentId::from_random([7; 32])
}

pub fn links() -> Links {
    Links::new(&Url::parse("https://ehi.example/").unwrap())
}

/// The token of the patient and app whose jobs these are.
pub fn access() -> Access {
    Access {
        client: client_id(),
        subject: Subject::Patient(patient().id),
        origin: Origin::default(),
    }
}

/// A patient at the browser.
pub fn at_browser_as(id: PatientId) -> PatientSession {
    PatientSession {
        patient: PatientSummary { id, ..patient() },
        origin: Origin::default(),
    }
}

pub fn other_patient() -> PatientId {
    PatientId::parse("p-2").unwrap()
}

pub fn grace() -> StaffSession {
    testkit::staff()
}

pub fn awaiting_input() -> ExportJob {
    testkit::job(Interaction::Form)
}

pub fn requested() -> ExportJob {
    testkit::job(Interaction::None)
}

pub fn claimed() -> ExportJob {
    let mut job = requested();
    job.claim(&WorkerId("w".into()), at(0), at(60)).unwrap();
    job
}

/// Retrieved at second 10, with one file of records, one of errors and these attachments.
pub fn retrieved_with(titles: &[&str]) -> ExportJob {
    let file = |name, kind, resource_type, count, size| ExportedFile {
        name,
        kind,
        resource_type,
        count,
        size,
    };
    let (patients, errors) = (
        FileName::output(ResourceType::Patient, 1),
        FileName::errors(1),
    );
    let export = Export {
        files: vec![
            file(patients, FileKind::Output, ResourceType::Patient, 1, 3),
            file(
                errors,
                FileKind::Error,
                ResourceType::OperationOutcome,
                2,
                5,
            ),
        ],
        ..testkit::export(1)
    };
    let mut job = claimed();
    let files = (titles.iter().zip(1..)).map(|(title, number)| attachment(title, number));
    job.retrieved(export, files.collect(), at(10)).unwrap();
    job
}

pub fn retrieved() -> ExportJob {
    retrieved_with(&[])
}

/// Approved at second 15.
pub fn approved_with(titles: &[&str]) -> ExportJob {
    let mut job = retrieved_with(titles);
    job.approve(at(15)).unwrap();
    job
}

pub fn approved() -> ExportJob {
    approved_with(&[])
}

/// Rejected at second 15.
pub fn rejected() -> ExportJob {
    let mut job = retrieved();
    job.reject(Some("ask your doctor".into()), at(15)).unwrap();
    job
}

/// Given up at second 15.
pub fn failed() -> ExportJob {
    let mut job = claimed();
    let patience = Patience {
        attempts: 1,
        pause: Duration::ZERO,
    };
    job.attempt_failed("the source is gone", patience, at(15))
        .unwrap();
    job
}

pub fn attachment(title: &str, number: u8) -> Attachment {
    Attachment {
        title: AttachmentName::parse(title).unwrap(),
        content_type: "image/png".to_owned(),
        size: 4,
        hash: "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=".to_owned(),
        created_at: at(9),
        description: format!("Picture {number}"),
        format: DocumentFormat::of_type("image/png"),
        document_type: None,
        period: None,
        archive: Archive::No,
        attempt: None,
        key: Uuid::from_bytes([number; 16]),
    }
}

/// The same job under another id.
pub fn another(mut job: ExportJob, number: u8) -> ExportJob {
    job.id = JobId::from_random([number; 32]);
    job
}

/// Choices that are nobody's default.
pub fn labs_only() -> Choices {
    let body = serde_json::json!({"parameters": {"labs": {"enabled": true}}});
    Choices::from_json(&body).unwrap()
}
