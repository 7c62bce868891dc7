//! One run of an export: source → selection → NDJSON → files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::future::try_join_all;
use sha1::{Digest, Sha1};

use super::{
    Attachment, AttachmentName, Choices, Export, ExportJob, ExportedFile, FileKind, FileName,
    Progress, Selection, Verdict,
};
use crate::fhir::{IssueCode, OperationOutcome, Record, ResourceType};
use crate::ports::{
    Clock, Document, Entropy, FileError, FilePath, FileStore, FileWriter, RecordError,
    RecordSource, SourceError,
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
    /// Bounds.
    pub limits: ExportLimits,
}

/// How far a run got, readable while it runs.
#[derive(Debug, Default)]
pub struct Counter {
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

    fn add(&self, bytes: usize) {
        self.resources.fetch_add(1, Ordering::Relaxed);
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
        let selection = Selection::new(job.choices().clone());
        let mut run = Run {
            files: &*self.files,
            folder: job.attempt_folder(attempt),
            limits: self.limits,
            open: BTreeMap::new(),
            done: Vec::new(),
            counter,
        };
        let mut export = Export {
            attempt,
            transaction_time,
            files: Vec::new(),
            withheld: BTreeMap::new(),
            psychotherapy_notes: 0,
        };

        let mut records = self.source.records(&job.patient.id, &selection).await?;
        while let Some(record) = records.next().await {
            match record {
                Ok(record) => match selection.judge(&record) {
                    Verdict::Included => run.output(&record).await?,
                    Verdict::NotAsked => {}
                    Verdict::Withheld(missing) => {
                        for key in missing {
                            *export.withheld.entry(key).or_default() += 1;
                        }
                    }
                    Verdict::PsychotherapyNote => export.psychotherapy_notes += 1,
                },
                Err(RecordError::Unreadable(what)) => {
                    tracing::warn!(job = %job.id, place = what.place, reason = what.reason, "a record could not be read");
                    run.error(&what.reason).await?;
                }
                Err(RecordError::Source(error)) => return Err(error.into()),
            }
        }
        drop(records);
        export.files = run.finish().await?;

        let documents = self.documents(job, &selection).await?;
        Ok((export, documents))
    }

    /// The source's documents, kept as attachments. Documents are part of "everything else".
    async fn documents(
        &self,
        job: &ExportJob,
        selection: &Selection,
    ) -> Result<Vec<Attachment>, ExportError> {
        let mut kept = Vec::new();
        if !wants_documents(selection.choices()) {
            return Ok(kept);
        }
        let mut documents = self.source.documents(&job.patient.id, selection).await?;
        while let Some(document) = documents.next().await {
            kept.push(self.keep(job, document?).await?);
        }
        Ok(kept)
    }

    async fn keep(&self, job: &ExportJob, document: Document) -> Result<Attachment, ExportError> {
        let title = AttachmentName::parse(&document.name).map_err(|error| {
            SourceError::Broken(format!("a document's name cannot be used: {error}"))
        })?;
        let mut attachment = Attachment {
            title,
            content_type: document.content_type,
            size: 0,
            hash: String::new(),
            created_at: self.clock.now(),
            description: document.description,
            key: uuid::Builder::from_random_bytes(first_half(self.entropy.bytes())).into_uuid(),
        };
        let mut writer = self.files.writer(&job.attachment_path(&attachment)).await?;
        let mut hash = Sha1::new();
        let mut content = document.content;
        while let Some(chunk) = content.next().await {
            let chunk = chunk?;
            hash.update(&chunk);
            attachment.size += chunk.len() as u64;
            writer.write(chunk).await?;
        }
        writer.finish().await?;
        attachment.hash = BASE64_STANDARD.encode(hash.finalize());
        Ok(attachment)
    }
}

fn wants_documents(choices: &Choices) -> bool {
    choices
        .parameter(super::ParameterKey::MedicalRecord)
        .is_some()
}

pub(super) fn first_half(bytes: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&bytes[..16]);
    half
}

/// What one run has open.
struct Run<'a> {
    files: &'a dyn FileStore,
    folder: FilePath,
    limits: ExportLimits,
    open: BTreeMap<(FileKind, ResourceType), OpenFile>,
    done: Vec<ExportedFile>,
    counter: &'a Counter,
}

/// A file that is being written.
struct OpenFile {
    file: ExportedFile,
    part: u32,
    writer: Box<dyn FileWriter>,
    buffer: BytesMut,
}

impl Run<'_> {
    async fn output(&mut self, record: &Record) -> Result<(), FileError> {
        self.line(FileKind::Output, record.resource_type(), record.json())
            .await?;
        self.counter.add(record.json().len() + 1);
        Ok(())
    }

    /// Tells the app that a record is missing, without telling where the hospital keeps it.
    async fn error(&mut self, reason: &str) -> Result<(), FileError> {
        let outcome = OperationOutcome::error(
            IssueCode::Incomplete,
            format!(
                "A record could not be read and is missing from this export: {reason}. \
                 Please ask the hospital's health information department for it."
            ),
        );
        let line = Bytes::from(outcome.to_json().to_string());
        self.line(FileKind::Error, ResourceType::OperationOutcome, &line)
            .await
    }

    /// Appends one resource to the open file of its kind.
    async fn line(
        &mut self,
        kind: FileKind,
        resource_type: ResourceType,
        json: &[u8],
    ) -> Result<(), FileError> {
        let length = json.len() as u64 + 1;
        let key = (kind, resource_type);
        let begins = match self.open.get(&key) {
            None => Some(1),
            Some(open) if open.file.size + length > self.limits.file_size => Some(open.part + 1),
            Some(_) => None,
        };
        if let Some(part) = begins {
            self.close(key).await?;
            let opened = self.begin(kind, resource_type, part).await?;
            self.open.insert(key, opened);
        }
        let Some(open) = self.open.get_mut(&key) else {
            return Ok(());
        };
        open.buffer.reserve(json.len() + 1);
        open.buffer.put_slice(json);
        open.buffer.put_u8(b'\n');
        open.file.count += 1;
        open.file.size += length;
        if open.buffer.len() >= self.limits.chunk_size {
            let chunk = open.buffer.split().freeze();
            open.writer.write(chunk).await?;
        }
        Ok(())
    }

    async fn begin(
        &mut self,
        kind: FileKind,
        resource_type: ResourceType,
        part: u32,
    ) -> Result<OpenFile, FileError> {
        let name = match kind {
            FileKind::Output => FileName::output(resource_type, part),
            FileKind::Error => FileName::errors(part),
        };
        let path = self.folder.child(name.as_str());
        Ok(OpenFile {
            writer: self.files.writer(&path).await?,
            buffer: BytesMut::new(),
            part,
            file: ExportedFile {
                name,
                kind,
                resource_type,
                count: 0,
                size: 0,
            },
        })
    }

    async fn close(&mut self, key: (FileKind, ResourceType)) -> Result<(), FileError> {
        if let Some(open) = self.open.remove(&key) {
            self.done.push(open.close().await?);
        }
        Ok(())
    }

    /// Closes what is open, all at once: making files durable is mostly waiting.
    async fn finish(mut self) -> Result<Vec<ExportedFile>, FileError> {
        let closing = self.open.into_values().map(OpenFile::close);
        self.done.extend(try_join_all(closing).await?);
        self.done
            .sort_by(|a, b| (a.kind, a.name.as_str()).cmp(&(b.kind, b.name.as_str())));
        Ok(self.done)
    }
}

impl OpenFile {
    async fn close(mut self) -> Result<ExportedFile, FileError> {
        if !self.buffer.is_empty() {
            self.writer.write(self.buffer.freeze()).await?;
        }
        self.writer.finish().await?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{Interaction, JobState};
    use crate::ports::{MockRecordSource, Unreadable};
    use crate::testkit::{self, FixedClock, MemoryFiles, SeededEntropy, at, record};
    use futures::stream;
    use serde_json::{Value, json};

    fn exporter(
        source: MockRecordSource,
        files: &Arc<MemoryFiles>,
        limits: ExportLimits,
    ) -> Exporter {
        Exporter {
            source: Arc::new(source),
            files: files.clone(),
            clock: Arc::new(FixedClock::at(at(100))),
            entropy: Arc::new(SeededEntropy::default()),
            limits,
        }
    }

    fn source(records: Vec<Result<Value, RecordError>>) -> MockRecordSource {
        let mut source = MockRecordSource::new();
        let records: Vec<_> = records
            .into_iter()
            .map(|item| item.map(|r| record(&r)))
            .collect();
        source
            .expect_records()
            .return_once(move |_, _| Ok(stream::iter(records).boxed()));
        source
            .expect_documents()
            .returning(|_, _| Ok(stream::empty().boxed()));
        source
    }

    fn patient() -> Value {
        json!({"resourceType": "Patient", "id": "p"})
    }

    #[tokio::test]
    async fn every_record_is_one_line_in_the_file_of_its_type() {
        let conditions =
            (0..3).map(|n| Ok(json!({"resourceType": "Condition", "id": format!("c{n}")})));
        let files = Arc::new(MemoryFiles::default());
        let exporter = exporter(
            source([Ok(patient())].into_iter().chain(conditions).collect()),
            &files,
            ExportLimits::default(),
        );
        let job = testkit::job(Interaction::None);
        let counter = Counter::default();
        let (export, _) = exporter.run(&job, 1, &counter).await.unwrap();
        let told: Vec<_> = export
            .files
            .iter()
            .map(|f| (f.name.as_str(), f.count))
            .collect();
        assert_eq!(told, [("Condition.ndjson", 3), ("Patient.ndjson", 1)]);
        for file in &export.files {
            let text = files.text(&job.file_path(&export, file));
            assert_eq!(text.len() as u64, file.size);
            assert_eq!(text.lines().count() as u64, file.count);
            assert!(text.ends_with('\n'));
        }
        assert_eq!(counter.progress().resources, 4);
        assert_eq!(export.transaction_time, at(100));
    }

    #[tokio::test]
    async fn large_files_are_split_between_lines() {
        let many = (0..10)
            .map(|n| Ok(json!({"resourceType": "Condition", "id": format!("c{n}")})))
            .collect();
        let files = Arc::new(MemoryFiles::default());
        let limits = ExportLimits {
            file_size: 120,
            chunk_size: 50,
        };
        let job = testkit::job(Interaction::None);
        let (export, _) = exporter(source(many), &files, limits)
            .run(&job, 1, &Counter::default())
            .await
            .unwrap();
        assert_eq!(export.files.len(), 4);
        assert_eq!(export.files.iter().map(|f| f.count).sum::<u64>(), 10);
        assert!(export.files.iter().all(|f| f.size <= 120));
        let ids: Vec<String> = export
            .files
            .iter()
            .flat_map(|f| {
                files
                    .text(&job.file_path(&export, f))
                    .lines()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(ids.len(), 10);
    }

    #[tokio::test]
    async fn a_broken_record_is_reported_and_does_not_stop_the_rest() {
        let broken = RecordError::Unreadable(Unreadable {
            place: "secret-folder/lemke.json, entry 3".into(),
            reason: "not valid JSON".into(),
        });
        let files = Arc::new(MemoryFiles::default());
        let job = testkit::job(Interaction::None);
        let records = vec![
            Ok(patient()),
            Err(broken),
            Ok(json!({"resourceType": "Condition"})),
        ];
        let (export, _) = exporter(source(records), &files, ExportLimits::default())
            .run(&job, 1, &Counter::default())
            .await
            .unwrap();
        let errors: Vec<_> = export
            .files
            .iter()
            .filter(|f| f.kind == FileKind::Error)
            .collect();
        assert_eq!(
            (errors.len(), errors[0].count, export.files.len()),
            (1, 1, 3)
        );
        let text = files.text(&job.file_path(&export, errors[0]));
        assert!(
            text.contains("not valid JSON") && !text.contains("lemke"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_source_that_breaks_down_leaves_no_file() {
        let files = Arc::new(MemoryFiles::default());
        let down = Err(RecordError::Source(SourceError::unavailable("gone")));
        let outcome = exporter(
            source(vec![Ok(patient()), down]),
            &files,
            ExportLimits::default(),
        )
        .run(&testkit::job(Interaction::None), 1, &Counter::default())
        .await;
        assert!(matches!(outcome, Err(ExportError::Source(_))));
        assert_eq!(files.count(), 0);
    }

    #[tokio::test]
    async fn what_is_withheld_is_counted_and_not_written() {
        let labelled = |code: &str| {
            Ok(json!({"resourceType": "Condition", "meta": {"security": [
            {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code}]}}))
        };
        let files = Arc::new(MemoryFiles::default());
        let mut job = testkit::job(Interaction::Form);
        job.customise(Choices::form_default(), at(0)).unwrap();
        assert!(matches!(job.state(), JobState::Requested { .. }));
        let records = vec![
            Ok(patient()),
            labelled("HIV"),
            labelled("HIV"),
            labelled("PSYTHPN"),
        ];
        let (export, _) = exporter(source(records), &files, ExportLimits::default())
            .run(&job, 1, &Counter::default())
            .await
            .unwrap();
        assert_eq!(
            export.withheld,
            BTreeMap::from([(super::super::AuthorizationKey::Hiv, 2)])
        );
        assert_eq!((export.psychotherapy_notes, export.files.len()), (1, 1));
    }

    #[tokio::test]
    async fn documents_of_the_source_become_attachments() {
        let mut mock = MockRecordSource::new();
        mock.expect_records()
            .return_once(|_, _| Ok(stream::empty().boxed()));
        mock.expect_documents().return_once(|_, _| {
            let document = Document {
                name: "scan.pdf".into(),
                content_type: "application/pdf".into(),
                description: "A scan".into(),
                content: stream::iter([
                    Ok(Bytes::from_static(b"ab")),
                    Ok(Bytes::from_static(b"c")),
                ])
                .boxed(),
            };
            Ok(stream::iter([Ok(document)]).boxed())
        });
        let files = Arc::new(MemoryFiles::default());
        let job = testkit::job(Interaction::None);
        let (_, documents) = exporter(mock, &files, ExportLimits::default())
            .run(&job, 1, &Counter::default())
            .await
            .unwrap();
        assert_eq!(
            (documents[0].title.as_str(), documents[0].size),
            ("scan.pdf", 3)
        );
        assert_eq!(documents[0].hash, "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
        assert_eq!(files.text(&job.attachment_path(&documents[0])), "abc");
    }
}
