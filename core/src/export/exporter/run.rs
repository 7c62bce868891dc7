//! The NDJSON files of one run while they are written.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::try_join_all;

use super::{Counter, ExportError, ExportLimits};
use crate::export::{ExportJob, ExportedFile, FileKind, FileName};
use crate::fhir::{IssueCode, OperationOutcome, Record, ResourceType};
use crate::ports::{FileError, FilePath, FileStore, FileWriter, RecordError};

/// What one run has open.
pub(super) struct Run<'a> {
    files: &'a dyn FileStore,
    folder: FilePath,
    limits: ExportLimits,
    open: BTreeMap<(FileKind, ResourceType), OpenFile>,
    done: Vec<ExportedFile>,
    pub(super) counter: &'a Counter,
}

/// A file that is being written.
struct OpenFile {
    file: ExportedFile,
    part: u32,
    writer: Box<dyn FileWriter>,
    buffer: BytesMut,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        files: &'a dyn FileStore,
        folder: FilePath,
        limits: ExportLimits,
        counter: &'a Counter,
    ) -> Self {
        Self {
            files,
            folder,
            limits,
            open: BTreeMap::new(),
            done: Vec::new(),
            counter,
        }
    }

    /// Reports a record or document that could not be read; passes on a source that broke down.
    pub(super) async fn spoiled(
        &mut self,
        job: &ExportJob,
        error: RecordError,
    ) -> Result<(), ExportError> {
        match error {
            RecordError::Unreadable(what) => {
                tracing::warn!(job = %job.id, place = what.place, reason = what.reason, "a record could not be read");
                Ok(self.error(&what.reason).await?)
            }
            RecordError::Source(error) => Err(error.into()),
        }
    }

    pub(super) async fn output(&mut self, record: &Record) -> Result<(), FileError> {
        self.line(FileKind::Output, record.resource_type(), record.json())
            .await?;
        self.counter.resource(record.json().len() + 1);
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
    pub(super) async fn finish(mut self) -> Result<Vec<ExportedFile>, FileError> {
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
