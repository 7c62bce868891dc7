//! Which jobs and which files belong together.
//!
//! Files whose job is not there are swept. In a place that belongs to other jobs that would be
//! every file, so jobs and files know each other by an id: it is kept with the jobs, and a small
//! file among the files bears it too.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures::TryStreamExt;
use uuid::Uuid;

use super::JobId;
use crate::ports::{FileError, FilePath, FileStore, JobStore, StoreError, random_uuid};

/// What jobs and their files know each other by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeploymentId(Uuid);

impl DeploymentId {
    /// What all jobs in memory go by whose files are in a folder of their own. They are gone with
    /// their server, so the next one sweeps what they left.
    pub const IN_MEMORY: Self = Self(Uuid::nil());

    /// An id made of randomness.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(random_uuid(bytes))
    }

    /// Reads an id as it was written.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::from_str(text.trim()).ok().map(Self)
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Jobs, and the place of their files.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Where jobs live.
    pub jobs: Arc<dyn JobStore>,
    /// Where files live.
    pub files: Arc<dyn FileStore>,
    /// What they will know each other by, where they have nothing yet.
    pub new: DeploymentId,
}

/// Why jobs and files do not go together. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// The files are those of other jobs. Name the right place, or [adopt](Deployment::adopt) it.
    #[error("the files belong to another database")]
    OfOthers,
    /// Files of exports lie there, and none is of these jobs. Name the right place, or
    /// [adopt](Deployment::adopt) it.
    #[error("there are files of exports that the database does not know")]
    Unknown,
    /// The jobs cannot be asked. Retry later.
    #[error("the jobs cannot be asked")]
    Jobs(#[from] StoreError),
    /// The files cannot be read or written. Retry later.
    #[error("the files cannot be used")]
    Files(#[from] FileError),
}

/// Whose a place for files is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    These,
    Others,
}

/// The file that bears the id. No job has a folder of this name.
const MARKER: [&str; 2] = ["deployment", "id"];

/// Bytes of it that are read.
const MARKER_LENGTH: u64 = 128;

impl Deployment {
    /// Makes sure that the files are those of the jobs. A place that is new becomes theirs, and
    /// so does one of an older version that has a file of theirs.
    pub async fn join(&self) -> Result<(), DeploymentError> {
        let id = self.id().await?;
        match self.owner(id).await? {
            Owner::These => Ok(()),
            Owner::Others => Err(DeploymentError::OfOthers),
            Owner::Nobody if self.is_new_or_known().await? => Ok(self.mark(id).await?),
            Owner::Nobody => Err(DeploymentError::Unknown),
        }
    }

    /// Makes the files those of the jobs, whatever they were before. The next sweep deletes what
    /// the jobs do not know.
    pub async fn adopt(&self) -> Result<(), DeploymentError> {
        let id = self.id().await?;
        Ok(self.mark(id).await?)
    }

    /// Whether the files are those of the jobs.
    pub(super) async fn is_whole(&self) -> Result<bool, DeploymentError> {
        let id = self.id().await?;
        Ok(self.owner(id).await? == Owner::These)
    }

    async fn id(&self) -> Result<DeploymentId, StoreError> {
        self.jobs.deployment(self.new).await
    }

    async fn owner(&self, id: DeploymentId) -> Result<Owner, FileError> {
        let path = FilePath::of(MARKER);
        let Some(bytes) = self.files.read(&path, 0..MARKER_LENGTH).await? else {
            return Ok(Owner::Nobody);
        };
        let chunks: Vec<_> = bytes.try_collect().await?;
        let bytes = chunks.concat();
        let marker = std::str::from_utf8(&bytes)
            .ok()
            .and_then(DeploymentId::parse);
        // One that cannot be read was not written by these.
        Ok(if marker == Some(id) {
            Owner::These
        } else {
            Owner::Others
        })
    }

    /// Whether no export has files here, or one of these jobs has.
    async fn is_new_or_known(&self) -> Result<bool, DeploymentError> {
        let mut new = true;
        for folder in self.files.folders().await? {
            let Some(id) = JobId::parse(folder.as_str()) else {
                continue;
            };
            if self.jobs.get(id).await?.is_some() {
                return Ok(true);
            }
            new = false;
        }
        Ok(new)
    }

    async fn mark(&self, id: DeploymentId) -> Result<(), FileError> {
        let mut writer = self.files.writer(&FilePath::of(MARKER)).await?;
        writer.write(format!("{id}\n").into()).await?;
        writer.finish().await
    }
}

#[cfg(test)]
mod tests;
