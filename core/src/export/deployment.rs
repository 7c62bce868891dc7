//! Which jobs and which files belong together.
//!
//! A worker that writes somewhere else finishes exports that nobody can fetch, and whoever sweeps
//! the files of others does harm. So jobs and files know each other by an id: it is kept with the
//! jobs, and a small file among the files bears it too.
//!
//! A place is told apart from others before the jobs are named, so whatever bears no id of theirs
//! from then on is another one, however empty it is: a disk that is not mounted, or a folder of a
//! worker's own.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures::TryStreamExt;
use uuid::Uuid;

use super::{JobId, Status};
use crate::ports::{
    FileError, FilePath, FileStore, JobFilter, JobStore, Page, StoreError, random_uuid,
};

/// What jobs and their files know each other by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeploymentId(Uuid);

impl DeploymentId {
    /// What all jobs in memory go by whose files are in a folder of their own. They are gone with
    /// their server, so the next one has what they left deleted.
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
    /// It is not the place where these jobs have their files: none of theirs is there. Name the
    /// right place, or [adopt](Deployment::adopt) this one.
    #[error("the database has its files elsewhere: none of them is in this place")]
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

/// The folder of the file that bears the id. No job has one of this name.
const FOLDER: &str = "deployment";

/// The file that bears the id.
const MARKER: [&str; 2] = [FOLDER, "id"];

/// Bytes of it that are read.
const MARKER_LENGTH: u64 = 128;

/// How many jobs are disowned at a time.
const AT_ONCE: usize = 500;

impl Deployment {
    /// Makes sure that the files are those of the jobs. The place becomes theirs where they have
    /// none and nothing of theirs can be missing in it, and where an older version left a file of
    /// theirs.
    pub async fn join(&self) -> Result<(), DeploymentError> {
        match self.jobs.deployment().await? {
            Some(id) => self.join_as(id).await,
            None => self.begin().await,
        }
    }

    /// Makes the files those of the jobs, whatever they were before. Those of exports that the
    /// jobs do not know are deleted by the next sweep; returns how many exports these are.
    pub async fn adopt(&self) -> Result<usize, DeploymentError> {
        let id = self.jobs.name_deployment(self.new).await?;
        self.mark(id).await?;
        self.disown_unknown().await
    }

    /// Jobs that have no place for files yet.
    async fn begin(&self) -> Result<(), DeploymentError> {
        match owner(&*self.files, self.new).await? {
            // Known beforehand: what is here was left by others in memory before.
            Owner::These => {
                self.jobs.name_deployment(self.new).await?;
                self.disown_unknown().await.map(drop)
            }
            Owner::Nobody if self.is_new_or_known().await? => self.claim().await,
            Owner::Nobody => Err(DeploymentError::Unknown),
            Owner::Others => Err(DeploymentError::OfOthers),
        }
    }

    /// Claims the place, then names the jobs. Of several that do so at once one names them, and
    /// the others find its claim if they are in the same place. One that dies half-way either
    /// named nobody, or its claim is found by the next.
    async fn claim(&self) -> Result<(), DeploymentError> {
        let claim = claim(self.new);
        let writer = self.files.writer(&claim.child("claim")).await?;
        writer.finish().await?;
        let id = self.jobs.name_deployment(self.new).await?;
        let joined = self.join_as(id).await;
        self.files.delete_prefix(&claim).await?;
        joined
    }

    /// Jobs that have a place for files: this one, or another.
    async fn join_as(&self, id: DeploymentId) -> Result<(), DeploymentError> {
        // Looked for first: whoever claimed it takes that back once the marker is there.
        let claimed = !self.files.list(&claim(id)).await?.is_empty();
        match owner(&*self.files, id).await? {
            Owner::These => Ok(()),
            Owner::Others => Err(DeploymentError::OfOthers),
            Owner::Nobody if claimed => {
                self.mark(id).await?;
                Ok(self.files.delete_prefix(&claim(id)).await?)
            }
            Owner::Nobody if self.has_some_of(&self.exports().await?).await? => {
                Ok(self.mark(id).await?)
            }
            Owner::Nobody => Err(DeploymentError::Unknown),
        }
    }

    /// Whether nothing of these jobs can be missing here: there is some of theirs, or no export at
    /// all, neither here nor among them.
    async fn is_new_or_known(&self) -> Result<bool, DeploymentError> {
        let exports = self.exports().await?;
        if !exports.is_empty() {
            return self.has_some_of(&exports).await;
        }
        let one = Page {
            limit: Some(1),
            after: None,
        };
        for status in [Status::Retrieved, Status::Approved] {
            let exported = JobFilter {
                status: Some(status),
                patient: None,
            };
            if !self.jobs.list(&exported, one).await?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether one of these jobs is among those that have files here.
    async fn has_some_of(&self, exports: &[JobId]) -> Result<bool, DeploymentError> {
        for id in exports {
            match self.jobs.get(*id).await {
                Ok(None) => {}
                // What cannot be read is there.
                Ok(Some(_)) | Err(StoreError::Unreadable(_)) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Has the files deleted that the jobs do not know. Returns of how many exports they are.
    async fn disown_unknown(&self) -> Result<usize, DeploymentError> {
        let mut unknown = 0;
        for exports in self.exports().await?.chunks(AT_ONCE) {
            unknown += self.jobs.disown(exports).await?;
        }
        Ok(unknown)
    }

    /// The jobs that have files here, whosever they are.
    async fn exports(&self) -> Result<Vec<JobId>, FileError> {
        let folders = self.files.folders().await?;
        Ok((folders.iter())
            .filter_map(|folder| JobId::parse(folder.as_str()))
            .collect())
    }

    async fn mark(&self, id: DeploymentId) -> Result<(), FileError> {
        let mut writer = self.files.writer(&FilePath::of(MARKER)).await?;
        writer.write(format!("{id}\n").into()).await?;
        writer.finish().await
    }
}

/// Whether the files are those of the jobs.
pub(super) async fn belong_together(
    jobs: &dyn JobStore,
    files: &dyn FileStore,
) -> Result<bool, DeploymentError> {
    let Some(id) = jobs.deployment().await? else {
        return Ok(false);
    };
    Ok(owner(files, id).await? == Owner::These)
}

/// The folder by which a place is claimed before the jobs are named.
fn claim(id: DeploymentId) -> FilePath {
    FilePath::of([FOLDER, &id.to_string()])
}

async fn owner(files: &dyn FileStore, id: DeploymentId) -> Result<Owner, FileError> {
    let path = FilePath::of(MARKER);
    let Some(bytes) = files.read(&path, 0..MARKER_LENGTH).await? else {
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

#[cfg(test)]
mod tests;
