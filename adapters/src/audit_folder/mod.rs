//! The audit log in a folder: files of one entry a line, each tied to the one before.
//!
//! ```text
//! audit/audit-000000000001.ndjson   {"number":1,"hash":"…","event":{…}}
//! audit/audit-000000031007.ndjson   named by its first entry; the newest one grows
//! audit/head                        the newest link: a cut-off end is noticed
//! audit/lock                        one process writes at a time
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `segment` | one of those files: its name, its lines, its end |
//! | `writer` | appends, many entries with one flush, whichever process comes first |

mod segment;
mod writer;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use ehi_core::audit::{ChainCheck, ChainError, Link};
use ehi_core::ports::{AuditEntry, AuditEvent, AuditFilter, AuditLog, AuditPage, StoreError};
use memchr::memmem;

use segment::{Line, Segment};
use writer::Writer;

/// The audit log in a folder, readable to the server's own user alone.
///
/// Several processes may use one folder on one machine: the server, and the commands of its
/// operator.
#[derive(Debug, Clone)]
pub struct FolderAudit {
    folder: Arc<Path>,
    writer: Writer,
}

impl FolderAudit {
    /// Opens the folder, and makes it when it is not there.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder: Arc<Path> = folder.into().into();
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(&folder)?;
        Ok(Self {
            writer: Writer::start(folder.clone())?,
            folder,
        })
    }
}

#[async_trait]
impl AuditLog for FolderAudit {
    async fn append(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let text = serde_json::to_string(event).map_err(StoreError::unavailable)?;
        self.writer.append(text).await
    }

    async fn list(
        &self,
        filter: &AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let (folder, filter) = (self.folder.clone(), filter.clone());
        let read = tokio::task::spawn_blocking(move || list(&folder, &filter, page));
        let read = read.await.map_err(StoreError::unavailable)?;
        read.map_err(StoreError::unavailable)
    }

    async fn verify(&self, known: Option<Link>) -> Result<Link, ChainError> {
        let folder = self.folder.clone();
        let checked = tokio::task::spawn_blocking(move || verify(&folder, known));
        checked
            .await
            .map_err(|error| ChainError::Unavailable(error.into()))?
    }
}

/// Reads file by file from the newest, so that one file is in memory at a time.
fn list(folder: &Path, filter: &AuditFilter, page: AuditPage) -> io::Result<Vec<AuditEntry>> {
    let before = page.before.unwrap_or(u64::MAX);
    // Most entries are about somebody else: their lines need not be understood.
    let patient = filter.patient.as_ref().map(|id| id.as_str().to_owned());
    let patient = patient.as_deref().map(memmem::Finder::new);
    let mut found = Vec::new();
    for segment in Segment::all(folder)?.iter().rev() {
        if segment.first() >= before {
            continue;
        }
        let text = segment.text()?;
        for line in text.lines().rev() {
            if found.len() >= page.limit {
                return Ok(found);
            }
            if (patient.as_ref()).is_some_and(|patient| patient.find(line.as_bytes()).is_none()) {
                continue;
            }
            match Line::parse(line).and_then(|line| line.entry()) {
                Ok(entry) if entry.number < before && filter.matches(&entry.event) => {
                    found.push(entry);
                }
                Ok(_) => {}
                // One that was tampered with must not hide the others.
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an audit entry cannot be read: verify the log"
                ),
            }
        }
    }
    Ok(found)
}

fn verify(folder: &Path, known: Option<Link>) -> Result<Link, ChainError> {
    let unreadable = |error: io::Error| ChainError::Unavailable(error.into());
    // What is written while we read is newer than this, so it does no harm.
    let head = segment::head(folder).map_err(unreadable)?;
    let mut check = ChainCheck::new(known);
    let mut number = 0;
    for segment in Segment::all(folder).map_err(unreadable)? {
        for line in segment.text().map_err(unreadable)?.lines() {
            number += 1;
            let line = Line::parse(line).map_err(|_| ChainError::Changed(number))?;
            check.follow(line.link(), line.event.get())?;
        }
    }
    check.end(head)
}

#[cfg(test)]
mod tests;
