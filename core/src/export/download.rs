//! What apps fetch: files with their token, or by links into the file store.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::manifest::{ATTACHMENTS_FILE, Announcement, announce};
use super::progress::JobStatus;
use super::service::{ExportService, UseCaseError};
use super::{ExportJob, JobId, Manifest, Status};
use crate::auth::Access;
use crate::ports::{Action, AuditEvent, DisclosedFile, FileBytes, FilePath, ShownAs};

/// How apps fetch the files of a released export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downloads {
    /// From this server, with their token.
    ByToken,
    /// From the file store itself, by links that live so long from the moment the manifest is
    /// asked for. Where the store offers no links, it stays with the token.
    ByLink(Duration),
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
    /// What the log has to say before any of it goes out.
    entry: AuditEvent,
}

#[derive(Debug, Clone)]
enum Content {
    Stored(FilePath),
    Made(Bytes),
}

/// The media type of exported records.
const NDJSON: &str = "application/fhir+ndjson";

/// Manifests with links that were handed out, as long as the links have half of their life before
/// them: an app that asks again gets the same one. Nothing new is disclosed by that, so nothing is
/// written for it.
#[derive(Debug, Default)]
pub(super) struct HandedOut(Mutex<HashMap<JobId, Arc<Handed>>>);

/// How many manifests are remembered at most; who asks for one that was forgotten gets new links.
const REMEMBERED: usize = 1_000;

#[derive(Debug)]
struct Handed {
    manifest: Box<Manifest>,
    /// When the first link is dead, or the files go.
    expires: Timestamp,
    /// When somebody who asks again gets new links.
    stale: Timestamp,
}

impl HandedOut {
    fn of(&self, job: JobId, now: Timestamp) -> Option<Arc<Handed>> {
        let handed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (handed.get(&job).cloned()).filter(|one| now < one.stale)
    }

    /// Forgets the links that are stale, and when there are too many, those that will be first.
    fn remember(&self, job: JobId, one: Arc<Handed>, now: Timestamp) {
        let mut handed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handed.retain(|_, one| now < one.stale);
        if handed.len() >= REMEMBERED {
            let oldest = handed.iter().min_by_key(|(_, one)| one.stale);
            if let Some(oldest) = oldest.map(|(job, _)| *job) {
                handed.remove(&oldest);
            }
        }
        handed.insert(job, one);
    }
}

/// Links to every file of an export, and when the first of them is dead.
struct Linked {
    files: Vec<String>,
    announcement: Option<String>,
    until: Timestamp,
}

impl ExportService {
    /// Where a job stands, for the app that asked for it. A manifest with links hands the files
    /// out, so each of them is in the audit log before.
    pub async fn report(
        &self,
        access: &Access,
        job: &ExportJob,
    ) -> Result<JobStatus, UseCaseError> {
        let status = self.status(job);
        let (JobStatus::Complete { expires, .. }, Downloads::ByLink(lifetime)) =
            (&status, self.settings.downloads)
        else {
            return Ok(status);
        };
        let now = self.ports.clock.now();
        let handed = match self.handed_out.of(job.id, now) {
            Some(handed) => handed,
            None => match self.hand_out(access, job, lifetime, *expires).await? {
                Some(handed) => handed,
                None => return Ok(status),
            },
        };
        Ok(JobStatus::Complete {
            manifest: handed.manifest.clone(),
            expires: handed.expires,
        })
    }

    async fn hand_out(
        &self,
        access: &Access,
        job: &ExportJob,
        lifetime: Duration,
        expires: Timestamp,
    ) -> Result<Option<Arc<Handed>>, UseCaseError> {
        let now = self.ports.clock.now();
        // No link outlives its export, and none is dead at once.
        let left = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
        let lifetime = lifetime.min(left).max(Duration::from_secs(1));
        let Some(linked) = self.link(job, lifetime).await? else {
            return Ok(None);
        };
        let documentation = self.settings.links.documentation();
        let (files, announcement) = (&linked.files, linked.announcement);
        let Some(manifest) = Manifest::by_link(job, documentation, files, announcement) else {
            return Ok(None);
        };
        self.audit_all_downloads(access, job).await?;
        let handed = Arc::new(Handed {
            manifest: Box::new(manifest),
            expires: expires.min(linked.until),
            stale: now.saturating_add(lifetime / 2).unwrap_or(Timestamp::MAX),
        });
        self.handed_out.remember(job.id, handed.clone(), now);
        Ok(Some(handed))
    }

    /// Links to every file of the job. What announces the attachments names their links, so it is
    /// stored anew with them.
    async fn link(
        &self,
        job: &ExportJob,
        lifetime: Duration,
    ) -> Result<Option<Linked>, UseCaseError> {
        let Some(export) = job.export() else {
            return Ok(None);
        };
        let files = &self.ports.files;
        let mut until = Timestamp::MAX;
        let mut link = async |path: &FilePath, name: &str, content_type: &str| {
            let shown_as = ShownAs {
                name: name.to_owned(),
                content_type: content_type.to_owned(),
            };
            let link = files.direct_link(path, &shown_as, lifetime).await?;
            Ok::<_, UseCaseError>(link.map(|link| {
                until = until.min(link.until);
                String::from(link.url)
            }))
        };
        let mut records = Vec::new();
        for file in &export.files {
            let path = job.file_path(export, file);
            match link(&path, file.name.as_str(), NDJSON).await? {
                Some(url) => records.push(url),
                None => return Ok(None),
            }
        }
        let mut attachments = Vec::new();
        for attachment in job.attachments() {
            let path = job.attachment_path(attachment);
            let (name, content_type) = (attachment.title.as_str(), &attachment.content_type);
            match link(&path, name, content_type).await? {
                Some(url) => attachments.push(url),
                None => return Ok(None),
            }
        }
        let announcement = if attachments.is_empty() {
            None
        } else {
            let path = job.announcement_path();
            self.store_announcement(job, &path, &attachments).await?;
            match link(&path, ATTACHMENTS_FILE, NDJSON).await? {
                Some(url) => Some(url),
                None => return Ok(None),
            }
        };
        Ok(Some(Linked {
            files: records,
            announcement,
            until,
        }))
    }

    async fn store_announcement(
        &self,
        job: &ExportJob,
        path: &FilePath,
        urls: &[String],
    ) -> Result<(), UseCaseError> {
        let text = self.announcement(job, urls).await?;
        let mut writer = self.ports.files.writer(path).await?;
        writer.write(text.into()).await?;
        Ok(writer.finish().await?)
    }

    /// What announces the attachments at these addresses, as the job's app needs it.
    async fn announcement(&self, job: &ExportJob, urls: &[String]) -> Result<String, UseCaseError> {
        let client = self.client_of(job).await?;
        let quirks = client.map(|client| client.quirks).unwrap_or_default();
        let documentation = self.settings.links.documentation();
        Ok(announce(
            job,
            &documentation,
            urls,
            Announcement::to(&quirks),
        ))
    }

    /// A file of the job that may be fetched. That it is there is told without an entry in the log.
    pub async fn file(
        &self,
        access: &Access,
        id: JobId,
        name: &str,
    ) -> Result<Download, UseCaseError> {
        let job = self.released(access, id).await?;
        let export = job.export().ok_or(UseCaseError::NotFound)?;
        let download = if name == ATTACHMENTS_FILE && !job.attachments().is_empty() {
            let urls: Vec<String> = (job.attachments().iter())
                .map(|attachment| self.settings.links.attachment(job.id, &attachment.title))
                .collect();
            let text = self.announcement(&job, &urls).await?;
            Download {
                name: name.to_owned(),
                content_type: NDJSON.to_owned(),
                size: text.len() as u64,
                etag: etag(text.as_bytes()),
                content: Content::Made(text.into()),
                entry: self.disclosure(access, &job, DisclosedFile::announcement()),
            }
        } else {
            let file = export.files.iter().find(|file| file.name.as_str() == name);
            let file = file.ok_or(UseCaseError::NotFound)?;
            let path = job.file_path(export, file);
            Download {
                name: name.to_owned(),
                content_type: NDJSON.to_owned(),
                size: file.size,
                // A stored file never changes, so its place tells its content.
                etag: etag(path.as_str().as_bytes()),
                content: Content::Stored(path),
                entry: self.disclosure(access, &job, DisclosedFile::records(&file.name)),
            }
        };
        Ok(download)
    }

    /// An attachment of the job that may be fetched. That it is there is told without an entry in
    /// the log.
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
        let file = DisclosedFile::attachment(attachment);
        Ok(Download {
            name: title.to_owned(),
            content_type: attachment.content_type.clone(),
            size: attachment.size,
            etag: etag(path.as_str().as_bytes()),
            content: Content::Stored(path),
            entry: self.disclosure(access, &job, file),
        })
    }

    /// Bytes of a file that may be fetched, to be sent: the download is in the log before the
    /// first of them is handed out, or none is.
    pub async fn read(
        &self,
        download: &Download,
        range: Range<u64>,
    ) -> Result<FileBytes, UseCaseError> {
        let bytes = match &download.content {
            Content::Stored(_) if range.is_empty() => stream::empty().boxed(),
            Content::Stored(path) => match self.ports.files.read(path, range).await? {
                Some(bytes) => bytes,
                None => return Err(self.missing(download, path).await),
            },
            Content::Made(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let start = place(range.start);
                let part = bytes.slice(start..place(range.end).max(start));
                stream::iter([Ok(part)]).boxed()
            }
        };
        self.ports.audit.append(&download.entry).await?;
        Ok(bytes)
    }

    /// Why a stored file is not there: its job went a moment ago, or it was lost.
    async fn missing(&self, download: &Download, path: &FilePath) -> UseCaseError {
        if let Some(id) = download.entry.job
            && let Err(gone) = self.live(id).await
        {
            return gone;
        }
        // As after a restore, of what was removed between the two copies. Whoever answers logs it.
        UseCaseError::Unavailable(
            format!("a file that the database names is not there: {path}").into(),
        )
    }

    fn disclosure(&self, access: &Access, job: &ExportJob, file: DisclosedFile) -> AuditEvent {
        AuditEvent {
            patient: Some(job.patient.id.clone()),
            job: Some(job.id),
            file: Some(file),
            ..(access.by()).did(Action::Download, self.ports.clock.now())
        }
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

    /// Everything of the job goes out at once.
    async fn audit_all_downloads(
        &self,
        access: &Access,
        job: &ExportJob,
    ) -> Result<(), UseCaseError> {
        let records = job.export().into_iter().flat_map(|export| &export.files);
        let records = records.map(|file| DisclosedFile::records(&file.name));
        let announced = (!job.attachments().is_empty()).then(DisclosedFile::announcement);
        let attachments = job.attachments().iter().map(DisclosedFile::attachment);
        let all = records.chain(announced).chain(attachments);
        // A log may flush together what comes together.
        stream::iter(all.map(Ok))
            .try_for_each_concurrent(8, async |file| {
                let entry = self.disclosure(access, job, file);
                Ok(self.ports.audit.append(&entry).await?)
            })
            .await
    }
}

/// A strong entity tag of what identifies a content.
fn etag(identity: &[u8]) -> String {
    format!(
        "\"{}\"",
        BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(identity)[..16])
    )
}
