//! A copy of a database that is in use.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ehi_core::ports::{Cause, StoreError};

use super::{Database, Dialect, unavailable};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// PostgreSQL has its own, and better, tools.
    #[error("a PostgreSQL database is copied by pg_dump, or by the backups of its server")]
    Postgres,
    /// The file cannot be made: it may be there already.
    #[error("{} cannot be made: name a file that is not there yet, in a folder that is", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The copy did not come to its end, and is gone.
    #[error("the copy could not be written")]
    Copy(#[source] StoreError),
    /// The copy is there, and may not outlive a power cut.
    #[error("the copy could not be made durable")]
    Sync(#[source] Cause),
}

impl Database {
    /// Writes the whole database, as it is at this instant, into a new file for nobody else to
    /// read. Nobody who uses the database waits for that.
    pub async fn copy_to(&self, file: &Path) -> Result<(), CopyError> {
        if self.dialect() != Dialect::Sqlite {
            return Err(CopyError::Postgres);
        }
        let failed = |error| CopyError::File(file.to_owned(), error);
        let Some(path) = file.to_str() else {
            return Err(failed(io::ErrorKind::InvalidFilename.into()));
        };
        let mut open = OpenOptions::new();
        let made = open.write(true).create_new(true).mode(0o600).open(file);
        let made = made.map_err(failed)?;
        let copied = async {
            let mut connection = self.pool().unbounded().await?;
            let copy = sqlx::query("VACUUM INTO $1").bind(path);
            copy.execute(&mut *connection).await
        };
        if let Err(error) = copied.await {
            // Half a copy is none.
            drop(std::fs::remove_file(file));
            return Err(CopyError::Copy(unavailable(error)));
        }
        let synced = tokio::task::spawn_blocking(move || made.sync_all()).await;
        match synced {
            Ok(synced) => synced.map_err(|error| CopyError::Sync(error.into())),
            Err(error) => Err(CopyError::Sync(error.into())),
        }
    }
}
