//! Whether the server can do its work right now.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use futures::pin_mut;

use super::ExportService;
use crate::ports::{Cause, FileError, FilePath, JobFilter, Page};

/// Why the server cannot do its work right now.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The store of jobs does not answer, or keeps nothing.
    #[error("the jobs cannot be read, or nothing can be written there")]
    Jobs(#[source] Cause),
    /// No file can be written.
    #[error("no file can be written")]
    Files(#[source] Cause),
}

/// Who does not answer within this time is not there.
const PATIENCE: Duration = Duration::from_secs(3);

impl ExportService {
    /// Whether jobs can be read and kept, and files written. Takes a few seconds at most.
    pub async fn ready(&self) -> Result<(), NotReady> {
        let one = Page {
            limit: Some(1),
            after: None,
        };
        let any = JobFilter::default();
        let jobs = async {
            self.ports.jobs.list(&any, one).await?;
            self.ports.jobs.rehearse().await
        };
        self.in_time(jobs).await.map_err(NotReady::Jobs)?;
        self.in_time(self.write()).await.map_err(NotReady::Files)
    }

    /// Looks for a file that is not there, since a store may take a small file without asking
    /// anybody, and writes one that never becomes visible, since it is not finished.
    async fn write(&self) -> Result<(), FileError> {
        let path = FilePath::of(["ready"]);
        self.ports.files.list(&path).await?;
        let mut file = self.ports.files.writer(&path).await?;
        file.write(Bytes::from_static(b"ready\n")).await
    }

    async fn in_time<T, E: Into<Cause>>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Cause> {
        let late = self.ports.clock.sleep(PATIENCE);
        pin_mut!(answer, late);
        match select(answer, late).await {
            Either::Left((answer, _)) => answer.map_err(Into::into),
            Either::Right(_) => Err("no answer in time".into()),
        }
    }
}
