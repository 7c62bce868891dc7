//! A copy of a database that is in use.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ehi_core::ports::{Cause, StoreError};
use tempfile::NamedTempFile;

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
    /// The copy could not be made to outlive a power cut.
    #[error("the copy could not be made durable")]
    Sync(#[source] Cause),
}

impl Database {
    /// Writes the whole database, as it is at this instant, into a new file for nobody else to
    /// read. Nobody who uses the database waits for that. The file gets its name when it is whole
    /// and durable: what a process leaves that dies meanwhile has another one, and ends in
    /// `.part`.
    pub async fn copy_to(&self, file: &Path) -> Result<(), CopyError> {
        if self.dialect() != Dialect::Sqlite {
            return Err(CopyError::Postgres);
        }
        let failed = |error| CopyError::File(file.to_owned(), error);
        // Told before the work is done as well.
        if file.symlink_metadata().is_ok() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let part = beside(file).map_err(failed)?;
        let Some(path) = part.path().to_str() else {
            return Err(failed(io::ErrorKind::InvalidFilename.into()));
        };
        let copied = async {
            let mut connection = self.pool().unbounded().await?;
            let copy = sqlx::query("VACUUM INTO $1").bind(path);
            copy.execute(&mut *connection).await
        };
        // Half a copy is none: it goes when it is dropped.
        copied
            .await
            .map_err(|error| CopyError::Copy(unavailable(error)))?;
        let file = file.to_owned();
        let named = tokio::task::spawn_blocking(move || name(part, &file));
        named.await.map_err(|error| CopyError::Sync(error.into()))?
    }
}

/// An empty file of another name in the folder of this one.
fn beside(file: &Path) -> io::Result<NamedTempFile> {
    let mut name = file
        .file_name()
        .ok_or(io::ErrorKind::InvalidFilename)?
        .to_owned();
    name.push(".");
    tempfile::Builder::new()
        .prefix(&name)
        .suffix(".part")
        .tempfile_in(folder_of(file))
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Gives a whole copy its name, unless something has it meanwhile.
fn name(part: NamedTempFile, file: &Path) -> Result<(), CopyError> {
    let sync = |error: io::Error| CopyError::Sync(error.into());
    part.as_file().sync_all().map_err(sync)?;
    part.persist_noclobber(file)
        .map_err(|error| CopyError::File(file.to_owned(), error.error))?;
    let folder = File::open(folder_of(file)).map_err(sync)?;
    folder.sync_all().map_err(sync)
}
