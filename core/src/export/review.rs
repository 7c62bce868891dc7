//! The use cases of staff: list, look, approve, reject, attach, detach, remove.

use std::collections::HashSet;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::attachment::AttachmentWriter;
use super::service::{ExportService, Unchanged, UseCaseError};
use super::{Attachment, AttachmentName, ExportJob, InvalidName, JobId, NotApplicable, Status};
use crate::auth::StaffSession;
use crate::ports::{Action, AuditEvent, Cursor, FileError, JobFilter, Page};

/// How many jobs are read at a time where all are asked for.
const AT_A_TIME: usize = 200;

/// How much staff may attach at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// Files.
    pub files: usize,
    /// Bytes of all of them together.
    pub bytes: u64,
}

/// Why files were not attached. Nothing of them is kept.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// A file has no name, or one that is no file name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// No file came.
    #[error("no file was sent: choose at least one and send it in the field 'attachments'")]
    Empty,
    /// Too many files.
    #[error("at most {0} files can be attached at once")]
    TooMany(usize),
    /// Too many bytes.
    #[error("at most {0} bytes can be attached at once")]
    TooLarge(u64),
    /// The files could not be kept, or the job is in another state.
    #[error(transparent)]
    UseCase(#[from] UseCaseError),
}

impl From<FileError> for AttachError {
    fn from(error: FileError) -> Self {
        Self::UseCase(error.into())
    }
}

/// A part of the list of jobs.
#[derive(Debug, Clone)]
pub struct JobPage {
    /// The jobs. Those that expired and wait for the sweep are left out.
    pub jobs: Vec<ExportJob>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<Cursor>,
}

/// Files on their way to a job. Dropping it keeps none of them.
pub struct Upload {
    job: ExportJob,
    files: Vec<AttachmentWriter>,
    bytes: u64,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("job", &self.job.id)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl ExportService {
    /// Jobs that match, newest first.
    pub async fn jobs(
        &self,
        staff: &StaffSession,
        filter: &JobFilter,
        page: Page,
    ) -> Result<JobPage, UseCaseError> {
        self.audit_list(staff, filter).await?;
        self.page(filter, page).await
    }

    /// All jobs that match, newest first, some at a time: there may be more than memory has room
    /// for.
    pub async fn every_job(
        &self,
        staff: &StaffSession,
        filter: JobFilter,
        after: Option<Cursor>,
    ) -> Result<BoxStream<'static, Result<Vec<ExportJob>, UseCaseError>>, UseCaseError> {
        let limit = Some(AT_A_TIME);
        self.audit_list(staff, &filter).await?;
        let first = self.page(&filter, Page { limit, after }).await?;
        let service = self.clone();
        let rest = stream::try_unfold(first.next, move |after| {
            let (service, filter) = (service.clone(), filter.clone());
            async move {
                if after.is_none() {
                    return Ok(None);
                }
                let page = service.page(&filter, Page { limit, after }).await?;
                Ok(Some((page.jobs, page.next)))
            }
        });
        Ok(stream::iter([Ok(first.jobs)]).chain(rest).boxed())
    }

    async fn audit_list(
        &self,
        staff: &StaffSession,
        filter: &JobFilter,
    ) -> Result<(), UseCaseError> {
        let event = AuditEvent {
            patient: filter.patient.clone(),
            ..(staff.by()).did(Action::ListExports, self.ports.clock.now())
        };
        Ok(self.ports.audit.append(&event).await?)
    }

    async fn page(&self, filter: &JobFilter, page: Page) -> Result<JobPage, UseCaseError> {
        // One more than asked for tells whether there is a next page.
        let one_more = Page {
            limit: page.limit.map(|limit| limit.saturating_add(1)),
            ..page
        };
        let mut jobs = self.ports.jobs.list(filter, one_more).await?;
        let more = page.limit.is_some_and(|limit| jobs.len() > limit);
        jobs.truncate(page.limit.unwrap_or(usize::MAX));
        let next = jobs.last().filter(|_| more).map(ExportJob::cursor);
        let now = self.ports.clock.now();
        jobs.retain(|job| !self.is_expired(job, now));
        Ok(JobPage { jobs, next })
    }

    /// One job, shown to a member of staff.
    pub async fn view(&self, staff: &StaffSession, id: JobId) -> Result<ExportJob, UseCaseError> {
        let job = self.live(id).await?;
        self.audit(staff.by(), Action::View, &job).await?;
        Ok(job)
    }

    /// One job, before something is done to it.
    pub async fn staff_job(&self, id: JobId) -> Result<ExportJob, UseCaseError> {
        self.live(id).await
    }

    /// Releases a retrieved export to its app.
    pub async fn approve(
        &self,
        staff: &StaffSession,
        id: JobId,
    ) -> Result<ExportJob, UseCaseError> {
        let (job, ()) = self
            .change(id, staff.by(), Action::Approve, ExportJob::approve)
            .await?;
        Ok(job)
    }

    /// Declines an export; what was exported goes.
    pub async fn reject(
        &self,
        staff: &StaffSession,
        id: JobId,
        reason: Option<String>,
    ) -> Result<ExportJob, UseCaseError> {
        let decline = |job: &mut ExportJob, now| job.reject(reason.clone(), now);
        let (job, ()) = self.change(id, staff.by(), Action::Reject, decline).await?;
        // Nobody can fetch them any more; what cannot be deleted now goes with the job.
        self.empty(&job).await;
        Ok(job)
    }

    /// Begins to attach files to a retrieved export.
    pub async fn begin_upload(&self, id: JobId) -> Result<Upload, UseCaseError> {
        let job = self.live(id).await?;
        if job.status() != Status::Retrieved {
            return Err(NotApplicable(job.status()).into());
        }
        Ok(Upload {
            job,
            files: Vec::new(),
            bytes: 0,
        })
    }

    /// Begins the next file of an upload.
    pub async fn upload_file(
        &self,
        upload: &mut Upload,
        name: &str,
        content_type: &str,
    ) -> Result<(), AttachError> {
        let limit = self.settings.uploads.files;
        if upload.files.len() == limit {
            return Err(AttachError::TooMany(limit));
        }
        let attachment = Attachment {
            description: format!("{name}, added by the hospital"),
            ..Attachment::new(
                AttachmentName::parse(name)?,
                content_type.to_owned(),
                self.ports.clock.now(),
                self.ports.entropy.bytes(),
            )
        };
        let files = &*self.ports.files;
        let writer = AttachmentWriter::begin(files, &upload.job, attachment).await?;
        upload.files.push(writer);
        Ok(())
    }

    /// Appends bytes to the file an upload is at.
    pub async fn upload_bytes(&self, upload: &mut Upload, bytes: Bytes) -> Result<(), AttachError> {
        let limit = self.settings.uploads.bytes;
        upload.bytes += bytes.len() as u64;
        if upload.bytes > limit {
            return Err(AttachError::TooLarge(limit));
        }
        if let Some(file) = upload.files.last_mut() {
            file.write(bytes).await?;
        }
        Ok(())
    }

    /// Attaches all files of an upload.
    pub async fn attach(
        &self,
        staff: &StaffSession,
        upload: Upload,
    ) -> Result<ExportJob, AttachError> {
        if upload.files.is_empty() {
            return Err(AttachError::Empty);
        }
        let mut attachments = Vec::new();
        for file in upload.files {
            match file.finish().await {
                Ok(attachment) => attachments.push(attachment),
                Err(error) => {
                    self.forget(&upload.job, &attachments).await;
                    return Err(error.into());
                }
            }
        }
        let add = |job: &mut ExportJob, _| {
            job.attach(attachments.clone())?;
            Ok(attachments.clone())
        };
        match self
            .change(upload.job.id, staff.by(), Action::Attach, add)
            .await
        {
            Ok((job, _)) => Ok(job),
            Err(Unchanged::Surely(error)) => {
                self.forget(&upload.job, &attachments).await;
                Err(error.into())
            }
            // They are attached where only the answer was lost; the sweep finds out.
            Err(Unchanged::Perhaps(error)) => Err(error.into()),
        }
    }

    /// Takes attachments away again, named by their titles or as their links name them. Names
    /// that are not there are ignored.
    pub async fn detach(
        &self,
        staff: &StaffSession,
        id: JobId,
        names: &HashSet<&str>,
    ) -> Result<ExportJob, UseCaseError> {
        let take = |job: &mut ExportJob, _| job.detach(names);
        let (job, gone) = self.change(id, staff.by(), Action::Detach, take).await?;
        self.forget(&job, &gone).await;
        Ok(job)
    }

    /// Removes a job and its files; returns it as it last was.
    pub async fn remove(&self, staff: &StaffSession, id: JobId) -> Result<ExportJob, UseCaseError> {
        let job = self.live(id).await?;
        self.remove_as(staff.by(), Action::Remove, &job).await
    }

    /// Deletes stored attachments. What cannot be deleted now is swept.
    async fn forget(&self, job: &ExportJob, attachments: &[Attachment]) {
        for attachment in attachments {
            let path = job.attachment_path(attachment);
            if let Err(error) = self.ports.files.delete_prefix(&path).await {
                tracing::warn!(job = %job.id, error = &error as &dyn std::error::Error, "an attachment remains");
            }
        }
    }
}

#[cfg(test)]
mod tests;
