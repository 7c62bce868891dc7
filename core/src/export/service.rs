//! The use cases of patients and apps: kick off, customise, status, download, delete; and the
//! sweep that removes what expired.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use url::Url;

use super::links::Links;
use super::manifest::{ATTACHMENTS_FILE, Announcement, announce};
use super::review::UploadLimits;
use super::{
    Choices, Crowd, ExportJob, Interaction, JobId, Kickoff, Lifetimes, NotApplicable, OpenLimits,
    Requester, Review, Rules, Status,
};
use crate::auth::{Access, Client, PatientSession, Subject};
use crate::fhir::PatientId;
use crate::ports::{
    Action, AuditEvent, AuditLog, By, ClientRegistry, Clock, DisclosedFile, Entropy, FileBytes,
    FileError, FilePath, FileStore, FormatDescription, JobStore, RecordSource, SourceError,
    StoreError,
};

/// The ports exports need.
#[derive(Debug, Clone)]
pub struct ExportPorts {
    /// Where jobs live.
    pub jobs: Arc<dyn JobStore>,
    /// Where files live.
    pub files: Arc<dyn FileStore>,
    /// Where records come from.
    pub source: Arc<dyn RecordSource>,
    /// Which apps may ask.
    pub clients: Arc<dyn ClientRegistry>,
    /// Who saw or released what.
    pub audit: Arc<dyn AuditLog>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// What a deployment says of its exports.
#[derive(Debug, Clone)]
pub struct ExportSettings {
    /// The server's URLs.
    pub links: Links,
    /// When things expire.
    pub lifetimes: Lifetimes,
    /// How much staff may attach.
    pub uploads: UploadLimits,
    /// What its exports go by.
    pub rules: Rules,
    /// How many may be open at a time.
    pub open: OpenLimits,
}

/// The use cases of exports.
#[derive(Debug, Clone)]
pub struct ExportService {
    pub(super) ports: ExportPorts,
    pub(super) settings: ExportSettings,
}

/// Why a use case did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum UseCaseError {
    /// No such thing, or one of somebody else: the two are told alike.
    #[error("not found")]
    NotFound,
    /// The token does not open this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// It does not apply to the state the job is in.
    #[error(transparent)]
    NotApplicable(#[from] NotApplicable),
    /// There are as many open exports as there may be: this many of this patient or app.
    #[error("{limit} exports of this {whose} are open, and more are not taken")]
    TooManyOpen {
        /// Whose they are.
        whose: Crowd,
        /// How many are too many.
        limit: u64,
        /// When it makes sense to ask again, if nothing else is done about it.
        retry_after: Duration,
    },
    /// A part of the server is unavailable. Retry later.
    #[error("a part of the server is unavailable")]
    Unavailable(#[source] crate::ports::Cause),
}

impl From<StoreError> for UseCaseError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound,
            other => Self::Unavailable(other.into()),
        }
    }
}

impl From<FileError> for UseCaseError {
    fn from(error: FileError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<SourceError> for UseCaseError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::NotFound => Self::NotFound,
            other => Self::Unavailable(other.into()),
        }
    }
}

/// What a kick-off asks for.
#[derive(Debug, Clone)]
pub struct KickoffRequest {
    /// Whose record.
    pub patient: PatientId,
    /// The URL that was called.
    pub request: Url,
    /// Who reviews.
    pub review: Review,
    /// Whether a form comes first.
    pub interaction: Interaction,
    /// What came along as Parameters: where the form starts, or what is taken without one.
    pub choices: Option<Choices>,
}

/// A file that may be fetched.
#[derive(Debug, Clone)]
pub struct Download {
    /// The name to save it under.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// A strong entity tag, quotes included.
    pub etag: String,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Stored(FilePath),
    Made(Bytes),
}

/// The media type of exported records.
const NDJSON: &str = "application/fhir+ndjson";

impl ExportService {
    /// The use cases over these ports.
    pub fn new(ports: ExportPorts, settings: ExportSettings) -> Self {
        Self { ports, settings }
    }

    /// The server's URLs.
    pub fn links(&self) -> &Links {
        &self.settings.links
    }

    /// The rules that exports go by, for the public documentation.
    pub fn rules(&self) -> &Rules {
        &self.settings.rules
    }

    /// The formats of the source's documents, for the public documentation.
    pub fn formats(&self) -> Vec<FormatDescription> {
        self.ports.source.formats()
    }

    /// The current instant.
    pub fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// An app asks for a patient's record: a new job.
    pub async fn kick_off(
        &self,
        access: &Access,
        asked: KickoffRequest,
    ) -> Result<ExportJob, UseCaseError> {
        let requester = match &access.subject {
            Subject::Patient(patient) if *patient == asked.patient => {
                Requester::Patient(access.client.clone())
            }
            Subject::Patient(_) => {
                let event = AuditEvent {
                    patient: Some(asked.patient),
                    ..(access.by()).was_refused(Action::KickOff, self.ports.clock.now())
                };
                self.ports.audit.append(&event).await?;
                return Err(UseCaseError::Forbidden(
                    "This token opens the record of another patient. Ask that patient to authorize the app.",
                ));
            }
            Subject::System => Requester::System(access.client.clone()),
        };
        self.require_room(access, &asked.patient).await?;
        let patient = self.ports.source.patient(&asked.patient).await?;
        let interaction = match &requester {
            Requester::Patient(_) => asked.interaction,
            // Nobody is at a browser.
            Requester::System(_) => Interaction::None,
        };
        let kickoff = Kickoff {
            patient: patient.ok_or(UseCaseError::NotFound)?,
            requester,
            request: asked.request,
            review: asked.review,
            interaction,
            choices: asked.choices.unwrap_or_else(|| match interaction {
                Interaction::Form => Choices::form_default(),
                Interaction::None => Choices::whole_record(),
            }),
        };
        let id = JobId::from_random(self.ports.entropy.bytes());
        let job = ExportJob::kick_off(id, kickoff, self.ports.clock.now());
        self.audit(access.by(), Action::KickOff, &job).await?;
        self.ports.jobs.insert(&job).await?;
        Ok(job)
    }

    /// The job, for the app that asked for it.
    pub async fn job(&self, access: &Access, id: JobId) -> Result<ExportJob, UseCaseError> {
        let job = self.live(id).await?;
        let theirs = match (&job.requester, &access.subject) {
            (Requester::Patient(client), Subject::Patient(patient)) => {
                *client == access.client && *patient == job.patient.id
            }
            (Requester::System(client), Subject::System) => *client == access.client,
            _ => false,
        };
        if theirs {
            Ok(job)
        } else {
            self.refuse(access.by(), &job).await
        }
    }

    /// The job, for its patient at a browser.
    pub async fn patients_job(
        &self,
        session: &PatientSession,
        id: JobId,
    ) -> Result<ExportJob, UseCaseError> {
        let job = self.live(id).await?;
        let own = job.patient.id == session.patient.id;
        if own && matches!(job.requester, Requester::Patient(_)) {
            Ok(job)
        } else {
            self.refuse(session.by(), &job).await
        }
    }

    /// The job, shown to its patient.
    pub async fn show_form(
        &self,
        session: &PatientSession,
        id: JobId,
    ) -> Result<ExportJob, UseCaseError> {
        let job = self.patients_job(session, id).await?;
        self.audit(session.by(), Action::View, &job).await?;
        Ok(job)
    }

    /// Whoever asks for a job of somebody else is told that there is none, and remembered.
    async fn refuse(&self, by: By, job: &ExportJob) -> Result<ExportJob, UseCaseError> {
        let event = AuditEvent {
            patient: Some(job.patient.id.clone()),
            job: Some(job.id),
            ..by.was_refused(Action::View, self.ports.clock.now())
        };
        self.ports.audit.append(&event).await?;
        Err(UseCaseError::NotFound)
    }

    /// The app that asked for this job. One that is no longer registered has no registration to
    /// go by.
    pub async fn client_of(&self, job: &ExportJob) -> Result<Option<Client>, UseCaseError> {
        Ok(self.ports.clients.client(job.requester.client()).await?)
    }

    /// Whoever may see `job` said what goes in: the export is requested.
    pub async fn customise(
        &self,
        job: &ExportJob,
        by: By,
        choices: Choices,
    ) -> Result<ExportJob, UseCaseError> {
        self.change(job.id, by, Action::Customise, |job, now| {
            job.customise(choices.clone(), now)
        })
        .await
        .map(|(job, ())| job)
    }

    /// A file of the job that may be fetched.
    pub async fn file(
        &self,
        access: &Access,
        id: JobId,
        name: &str,
    ) -> Result<Download, UseCaseError> {
        let job = self.released(access, id).await?;
        let export = job.export().ok_or(UseCaseError::NotFound)?;
        let (download, file) = if name == ATTACHMENTS_FILE && !job.attachments().is_empty() {
            let quirks = self
                .client_of(&job)
                .await?
                .map(|client| client.quirks)
                .unwrap_or_default();
            let text = announce(&job, &self.settings.links, Announcement::to(&quirks));
            let download = Download {
                name: name.to_owned(),
                content_type: NDJSON.to_owned(),
                size: text.len() as u64,
                etag: etag(text.as_bytes()),
                content: Content::Made(text.into()),
            };
            (download, DisclosedFile::announcement())
        } else {
            let file = export.files.iter().find(|file| file.name.as_str() == name);
            let file = file.ok_or(UseCaseError::NotFound)?;
            let path = job.file_path(export, file);
            let download = Download {
                name: name.to_owned(),
                content_type: NDJSON.to_owned(),
                size: file.size,
                // A stored file never changes, so its place tells its content.
                etag: etag(path.as_str().as_bytes()),
                content: Content::Stored(path),
            };
            (download, DisclosedFile::records(&file.name))
        };
        self.audit_download(access, &job, file).await?;
        Ok(download)
    }

    /// An attachment of the job that may be fetched.
    pub async fn attachment(
        &self,
        access: &Access,
        id: JobId,
        title: &str,
    ) -> Result<Download, UseCaseError> {
        let job = self.released(access, id).await?;
        let attachment = (job.attachments().iter())
            .find(|attachment| attachment.title.as_str() == title)
            .ok_or(UseCaseError::NotFound)?;
        let path = job.attachment_path(attachment);
        let download = Download {
            name: title.to_owned(),
            content_type: attachment.content_type.clone(),
            size: attachment.size,
            etag: etag(path.as_str().as_bytes()),
            content: Content::Stored(path),
        };
        let file = DisclosedFile::attachment(attachment);
        self.audit_download(access, &job, file).await?;
        Ok(download)
    }

    /// Bytes of a file that may be fetched.
    pub async fn read(
        &self,
        download: &Download,
        range: Range<u64>,
    ) -> Result<FileBytes, UseCaseError> {
        match &download.content {
            Content::Stored(path) => {
                let bytes = self.ports.files.read(path, range).await?;
                bytes.ok_or(UseCaseError::NotFound)
            }
            Content::Made(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let start = place(range.start);
                let part = bytes.slice(start..place(range.end).max(start));
                Ok(stream::iter([Ok(part)]).boxed())
            }
        }
    }

    /// The app (for the patient) takes the request back: the job and its files go, whatever state
    /// it is in.
    pub async fn delete(&self, access: &Access, id: JobId) -> Result<(), UseCaseError> {
        let job = self.job(access, id).await?;
        self.remove_as(access.by(), Action::Remove, &job).await?;
        Ok(())
    }

    /// Removes what expired, and files whose job is gone: a server may have died between the two.
    /// Returns how many jobs expired.
    pub async fn sweep(&self) -> Result<usize, UseCaseError> {
        let mut removed = 0;
        for status in Lifetimes::PASSING {
            removed += self.sweep_state(status).await?;
        }
        self.sweep_orphans().await?;
        Ok(removed)
    }

    /// Deletes the files of jobs that are not there. A job is there before its first file, so none
    /// that begins meanwhile is touched.
    async fn sweep_orphans(&self) -> Result<(), UseCaseError> {
        for folder in self.ports.files.folders().await? {
            let Some(id) = JobId::parse(folder.as_str()) else {
                continue;
            };
            if self.ports.jobs.get(id).await?.is_none() {
                tracing::info!(job = %id, "files of a job that is gone are deleted");
                self.ports.files.delete_prefix(&folder).await?;
            }
        }
        Ok(())
    }

    /// The job, unless it expired: from that moment on it is gone, even before the next sweep.
    pub(super) async fn live(&self, id: JobId) -> Result<ExportJob, UseCaseError> {
        let job = self
            .ports
            .jobs
            .get(id)
            .await?
            .ok_or(UseCaseError::NotFound)?;
        let expired = self.is_expired(&job, self.ports.clock.now());
        (!expired).then_some(job).ok_or(UseCaseError::NotFound)
    }

    pub(super) fn is_expired(&self, job: &ExportJob, now: Timestamp) -> bool {
        self.settings
            .lifetimes
            .expiry(job)
            .is_some_and(|expiry| expiry <= now)
    }

    /// Changes a job by a transition, anew from its newest version when somebody else was faster.
    pub(super) async fn change<T>(
        &self,
        id: JobId,
        by: By,
        action: Action,
        transition: impl Fn(&mut ExportJob, Timestamp) -> Result<T, NotApplicable>,
    ) -> Result<(ExportJob, T), UseCaseError> {
        let mut job = self.live(id).await?;
        let mut value = transition(&mut job, self.ports.clock.now())?;
        self.audit(by, action, &job).await?;
        loop {
            match self.ports.jobs.update(&job).await {
                Ok(job) => return Ok((job, value)),
                // Each round somebody else made progress, so this ends.
                Err(StoreError::Conflict) => {
                    job = self.live(id).await?;
                    value = transition(&mut job, self.ports.clock.now())?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes a job and its files; returns it as it last was.
    pub(super) async fn remove_as(
        &self,
        by: By,
        action: Action,
        job: &ExportJob,
    ) -> Result<ExportJob, UseCaseError> {
        self.audit(by, action, job).await?;
        let removed = self
            .ports
            .jobs
            .remove(job.id)
            .await?
            .ok_or(UseCaseError::NotFound)?;
        // From here on the job is gone for everybody; files that cannot be deleted now are no
        // reason to say otherwise.
        self.empty(job).await;
        Ok(removed)
    }

    /// Deletes every file of a job.
    pub(super) async fn empty(&self, job: &ExportJob) {
        if let Err(error) = self.ports.files.delete_prefix(&job.folder()).await {
            tracing::error!(job = %job.id, error = &error as &dyn std::error::Error, "files of a job that is over remain");
        }
    }

    pub(super) async fn audit(
        &self,
        by: By,
        action: Action,
        job: &ExportJob,
    ) -> Result<(), UseCaseError> {
        let event = AuditEvent {
            patient: Some(job.patient.id.clone()),
            job: Some(job.id),
            ..by.did(action, self.ports.clock.now())
        };
        Ok(self.ports.audit.append(&event).await?)
    }

    async fn audit_download(
        &self,
        access: &Access,
        job: &ExportJob,
        file: DisclosedFile,
    ) -> Result<(), UseCaseError> {
        let event = AuditEvent {
            patient: Some(job.patient.id.clone()),
            job: Some(job.id),
            file: Some(file),
            ..access.by().did(Action::Download, self.ports.clock.now())
        };
        Ok(self.ports.audit.append(&event).await?)
    }

    async fn released(&self, access: &Access, id: JobId) -> Result<ExportJob, UseCaseError> {
        let job = self.job(access, id).await?;
        if job.status() == Status::Approved {
            return Ok(job);
        }
        let event = AuditEvent {
            patient: Some(job.patient.id.clone()),
            job: Some(job.id),
            ..access
                .by()
                .was_refused(Action::Download, self.ports.clock.now())
        };
        self.ports.audit.append(&event).await?;
        Err(UseCaseError::NotFound)
    }
}

/// A strong entity tag of what identifies a content.
fn etag(identity: &[u8]) -> String {
    format!(
        "\"{}\"",
        BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(identity)[..16])
    )
}

#[cfg(test)]
mod tests;
