//! One run of an export: source → selection → NDJSON → files.

mod content;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;

use self::content::ContentLinks;
use self::run::Run;
use super::archive::{About, Passing};
use super::attachment::AttachmentWriter;
use super::{
    Attachment, AuthorizationKey, Export, ExportJob, Links, Progress, Rules, Selection, Verdict,
};
use crate::fhir::ResourceType;
use crate::ports::{
    Clock, Document, Entropy, FileError, FileStore, RecordError, RecordSource, SourceError,
};

/// Bounds of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportLimits {
    /// Bytes after which a type's file is closed and the next one begun.
    pub file_size: u64,
    /// Bytes collected before they are handed to the file store.
    pub chunk_size: usize,
}

impl Default for ExportLimits {
    fn default() -> Self {
        Self {
            file_size: 256 << 20,
            chunk_size: 128 << 10,
        }
    }
}

/// Why a run did not succeed. Another one may.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The records could not be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The files could not be kept.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The run ended in the middle: something in it panicked, or its worker died.
    #[error("the run was interrupted")]
    Interrupted,
    /// Nothing came for too long.
    #[error("nothing came from the source for too long")]
    Stalled,
}

impl ExportError {
    /// Whether another attempt may succeed.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Source(SourceError::Unavailable(_))
            | Self::Files(_)
            | Self::Interrupted
            | Self::Stalled => true,
            Self::Source(SourceError::NotFound | SourceError::Broken(_)) => false,
        }
    }
}

/// Runs exports.
#[derive(Debug, Clone)]
pub struct Exporter {
    /// Where records come from.
    pub source: Arc<dyn RecordSource>,
    /// Where files go.
    pub files: Arc<dyn FileStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Names of stored documents.
    pub entropy: Arc<dyn Entropy>,
    /// The server's URLs: archives name the page that explains their formats.
    pub links: Links,
    /// What it goes by.
    pub rules: Rules,
    /// Bounds.
    pub limits: ExportLimits,
}

/// How far a run got, readable while it runs.
#[derive(Debug, Default)]
pub struct Counter {
    /// What the source gave, wanted or not.
    read: AtomicU64,
    resources: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    /// How far the run got.
    pub fn progress(&self) -> Progress {
        Progress {
            resources: self.resources.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// A number that grows for as long as the run gets on, be it that nothing of what it reads goes
    /// in.
    pub(super) fn signs_of_life(&self) -> u64 {
        let read = self.read.load(Ordering::Relaxed);
        read.wrapping_add(self.bytes.load(Ordering::Relaxed))
    }

    fn read(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    fn resource(&self, bytes: usize) {
        self.resources.fetch_add(1, Ordering::Relaxed);
        self.bytes(bytes);
    }

    fn bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Exporter {
    /// Exports the job's patient below the folder of `attempt`. Dropping the future stops the run.
    pub async fn run(
        &self,
        job: &ExportJob,
        attempt: u32,
        counter: &Counter,
    ) -> Result<(Export, Vec<Attachment>), ExportError> {
        let transaction_time = self.clock.now();
        let selection = Selection::new(job.choices().clone(), self.rules.clone());
        let folder = job.attempt_folder(attempt);
        let mut run = Run::new(&*self.files, folder, self.limits, counter);
        let mut withheld = Withheld::default();
        let mut links = ContentLinks::default();

        let mut records = self.source.records(&job.patient.id, &selection).await?;
        while let Some(record) = records.next().await {
            counter.read();
            match record {
                Ok(record) if links.waits(&record) => {}
                Ok(record) => {
                    let verdict = selection.judge(&record);
                    links.note(&record, &verdict, &selection);
                    if withheld.allows(verdict) {
                        run.output(&record).await?;
                    }
                }
                Err(error) => run.spoiled(job, error).await?,
            }
        }
        drop(records);
        if links.met {
            self.content(job, &selection, &links, &mut run, &mut withheld)
                .await?;
        }
        let documents = self
            .documents(job, attempt, &selection, &mut run, &mut withheld)
            .await?;
        let export = Export {
            attempt,
            transaction_time,
            files: run.finish().await?,
            withheld: withheld.by_key,
            psychotherapy_notes: withheld.psychotherapy_notes,
        };
        Ok((export, documents))
    }

    /// The Binaries, which waited until all other records were judged.
    async fn content(
        &self,
        job: &ExportJob,
        selection: &Selection,
        links: &ContentLinks,
        run: &mut Run<'_>,
        withheld: &mut Withheld,
    ) -> Result<(), ExportError> {
        let mut records = self.source.records(&job.patient.id, selection).await?;
        while let Some(record) = records.next().await {
            run.counter.read();
            match record {
                Ok(record) if record.resource_type() == ResourceType::Binary => {
                    if withheld.allows(links.judge(&record, selection)) {
                        run.output(&record).await?;
                    }
                }
                // Reported in the first pass.
                Ok(_) | Err(RecordError::Unreadable(_)) => {}
                Err(RecordError::Source(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The source's documents that go in, kept as attachments. One that is spoiled is reported and
    /// does not stop the rest.
    async fn documents(
        &self,
        job: &ExportJob,
        attempt: u32,
        selection: &Selection,
        run: &mut Run<'_>,
        withheld: &mut Withheld,
    ) -> Result<Vec<Attachment>, ExportError> {
        let mut kept = Vec::new();
        let mut documents = self.source.documents(&job.patient.id, selection).await?;
        while let Some(document) = documents.next().await {
            run.counter.read();
            let document = match document {
                Ok(document) => document,
                Err(error) => {
                    run.spoiled(job, error).await?;
                    continue;
                }
            };
            if !withheld.allows(selection.judge_document(&document)) {
                continue;
            }
            match self.keep(job, attempt, document, run.counter).await? {
                Ok(attachment) => kept.push(attachment),
                Err(error) => run.spoiled(job, error).await?,
            }
        }
        Ok(kept)
    }

    /// Stores one document; the inner error spoils this document alone.
    async fn keep(
        &self,
        job: &ExportJob,
        attempt: u32,
        document: Document,
        counter: &Counter,
    ) -> Result<Result<Attachment, RecordError>, FileError> {
        let attachment = Attachment {
            attempt: Some(attempt),
            description: document.description,
            format: document.format,
            document_type: document.document_type,
            period: document.period,
            ..Attachment::new(
                document.name,
                document.content_type,
                self.clock.now(),
                self.entropy.bytes(),
            )
        };
        let (key, description) = (attachment.key, attachment.description.clone());
        let documentation = self.links.documentation();
        let about = About {
            key,
            patient: &job.patient.id,
            description: &description,
            documentation: &documentation,
            now: attachment.created_at,
        };
        let mut writer = AttachmentWriter::begin(&*self.files, job, attachment).await?;
        let (mut content, mut passing) = (document.content, Passing::new());
        while let Some(chunk) = content.next().await {
            match chunk {
                Ok(chunk) => {
                    counter.bytes(chunk.len());
                    if let Some(chunk) = passing.pass(chunk) {
                        writer.write(chunk).await?;
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        let end = passing.end();
        for piece in end.described(about) {
            writer.write(piece).await?;
        }
        Ok(Ok(writer.finish().await?))
    }
}

/// What stayed in the hospital, counted.
#[derive(Default)]
struct Withheld {
    by_key: BTreeMap<AuthorizationKey, u64>,
    psychotherapy_notes: u64,
}

impl Withheld {
    /// Whether the verdict lets it go in; counts what was asked for and stays.
    fn allows(&mut self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Included => return true,
            Verdict::NotAsked => {}
            Verdict::Withheld(missing) => {
                for key in missing {
                    *self.by_key.entry(key).or_default() += 1;
                }
            }
            Verdict::PsychotherapyNote => self.psychotherapy_notes += 1,
        }
        false
    }
}

#[cfg(test)]
mod tests;
