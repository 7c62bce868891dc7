//! The use cases of patients and apps: kick off, customise, status, delete.

use std::sync::Arc;

use jiff::Timestamp;
use url::Url;

use super::download::{Downloads, HandedOut};
use super::links::Links;
use super::review::UploadLimits;
use super::stray::Strays;
use super::sweep::Memory;
use super::{
    Attachment, Choices, Crowd, ExportJob, Interaction, JobId, Kickoff, Lifetimes, NotApplicable,
    OpenLimits, Requester, Review, Rules,
};
use crate::auth::{Access, Client, PatientSession, Subject};
use crate::fhir::PatientId;
use crate::ports::{
    Action, AuditEvent, AuditLog, By, ClientRegistry, Clock, DisclosedFile, Entropy, FileError,
    FileStore, FormatDescription, JobStore, RecordSource, SourceError, StoreError,
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
    /// How apps fetch files.
    pub downloads: Downloads,
    /// How many may be open at a time.
    pub open: OpenLimits,
}

/// The use cases of exports.
#[derive(Debug, Clone)]
pub struct ExportService {
    pub(super) ports: ExportPorts,
    pub(super) settings: ExportSettings,
    pub(super) handed_out: Arc<HandedOut>,
    pub(super) memory: Arc<Memory>,
    pub(super) strays: Arc<Strays>,
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
    /// There is no room left for files. Somebody has to make some.
    #[error("no room is left for files")]
    Full(#[source] crate::ports::Cause),
    /// There are as many open exports as there may be: this many of this patient or app. When
    /// there will be fewer cannot be told: people review them.
    #[error("{limit} exports of this {whose} are open, and more are not taken")]
    TooManyOpen {
        /// Whose they are.
        whose: Crowd,
        /// How many are too many.
        limit: u64,
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
        match error {
            FileError::Full(cause) => Self::Full(cause),
            other => Self::Unavailable(other.into()),
        }
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

/// A job that was not changed, as far as is known.
#[derive(Debug)]
pub(super) enum Unchanged {
    /// It was not.
    Surely(UseCaseError),
    /// The store was asked and did not say: it may have been.
    Perhaps(UseCaseError),
}

impl From<UseCaseError> for Unchanged {
    fn from(error: UseCaseError) -> Self {
        Self::Surely(error)
    }
}

impl From<Unchanged> for UseCaseError {
    fn from(unchanged: Unchanged) -> Self {
        match unchanged {
            Unchanged::Surely(error) | Unchanged::Perhaps(error) => error,
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

/// What a change of a job came to, as far as the audit log names it.
pub(super) trait Change {
    /// The files it is about.
    fn files(&self) -> Vec<DisclosedFile> {
        Vec::new()
    }
}

impl Change for () {}

impl Change for Vec<Attachment> {
    fn files(&self) -> Vec<DisclosedFile> {
        self.iter().map(DisclosedFile::attachment).collect()
    }
}

impl ExportService {
    /// The use cases over these ports.
    pub fn new(ports: ExportPorts, settings: ExportSettings) -> Self {
        Self {
            ports,
            settings,
            handed_out: Arc::default(),
            memory: Arc::default(),
            strays: Arc::default(),
        }
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
        let customise = |job: &mut ExportJob, now| job.customise(choices.clone(), now);
        let (job, ()) = self
            .change(job.id, by, Action::Customise, customise)
            .await?;
        Ok(job)
    }

    /// The app (for the patient) takes the request back: the job and its files go, whatever state
    /// it is in.
    pub async fn delete(&self, access: &Access, id: JobId) -> Result<(), UseCaseError> {
        let job = self.job(access, id).await?;
        self.remove_as(access.by(), Action::Remove, &job).await?;
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
    pub(super) async fn change<T: Change>(
        &self,
        id: JobId,
        by: By,
        action: Action,
        transition: impl Fn(&mut ExportJob, Timestamp) -> Result<T, NotApplicable>,
    ) -> Result<(ExportJob, T), Unchanged> {
        let begin = async || {
            let mut job = self.live(id).await?;
            let value = transition(&mut job, self.ports.clock.now())?;
            Ok::<_, UseCaseError>((job, value))
        };
        let (mut job, mut value) = begin().await?;
        self.audit_change(by, action, &job, &value.files()).await?;
        loop {
            match self.ports.jobs.update(&job).await {
                Ok(job) => return Ok((job, value)),
                // Each round somebody else made progress, so this ends.
                Err(StoreError::Conflict) => (job, value) = begin().await?,
                Err(StoreError::NotFound) => return Err(UseCaseError::NotFound.into()),
                Err(error) => return Err(Unchanged::Perhaps(error.into())),
            }
        }
    }

    /// Removes a job and its files, whatever others make of it meanwhile; returns it as it last
    /// was.
    pub(super) async fn remove_as(
        &self,
        by: By,
        action: Action,
        job: &ExportJob,
    ) -> Result<ExportJob, UseCaseError> {
        self.audit(by, action, job).await?;
        let mut newest = None;
        let removed = loop {
            let job = newest.as_ref().unwrap_or(job);
            match self.ports.jobs.remove(job).await {
                // Each round somebody else made progress, so this ends.
                Err(StoreError::Conflict) => newest = Some(self.live(job.id).await?),
                removed => break removed?,
            }
        };
        // From here on the job is gone for everybody; files that cannot be deleted now are no
        // reason to say otherwise.
        self.empty(&removed).await;
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

    /// One entry for each of the files a change is about, or one for the job.
    async fn audit_change(
        &self,
        by: By,
        action: Action,
        job: &ExportJob,
        files: &[DisclosedFile],
    ) -> Result<(), UseCaseError> {
        if files.is_empty() {
            return self.audit(by, action, job).await;
        }
        for file in files {
            self.audit_file(by.clone(), action, job, file.clone())
                .await?;
        }
        Ok(())
    }

    pub(super) async fn audit_file(
        &self,
        by: By,
        action: Action,
        job: &ExportJob,
        file: DisclosedFile,
    ) -> Result<(), UseCaseError> {
        let event = AuditEvent {
            patient: Some(job.patient.id.clone()),
            job: Some(job.id),
            file: Some(file),
            ..by.did(action, self.ports.clock.now())
        };
        Ok(self.ports.audit.append(&event).await?)
    }
}

#[cfg(test)]
mod tests;
