//! Files in a folder on disk.

use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ehi_core::ports::{FileBytes, FileError, FilePath, FileStore, FileWriter};
use futures::{StreamExt, TryStreamExt};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// Files in a folder on disk, readable to the server's own user alone.
///
/// A file is written below a hidden folder first, forced to disk, and then moved to its name:
/// whoever reads a name sees the whole file or none. A process locks what it writes, so that what a
/// killed one left is known, and swept.
#[derive(Debug, Clone)]
pub struct FolderFiles {
    root: Arc<Path>,
    incoming: Arc<Path>,
}

/// How much is read at once.
const CHUNK: usize = 128 << 10;

impl FolderFiles {
    /// Opens the folder, and makes it when it is not there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, FileError> {
        let root = root.into();
        // No path of a stored file begins with a dot, so the two never meet.
        let incoming = root.join(".incoming");
        make_folder(&incoming).map_err(file_error)?;
        remove_abandoned(&incoming).map_err(file_error)?;
        Ok(Self {
            root: root.into(),
            incoming: incoming.into(),
        })
    }

    fn place(&self, path: &FilePath) -> PathBuf {
        self.root.join(path.as_str())
    }
}

#[async_trait]
impl FileStore for FolderFiles {
    async fn writer(&self, path: &FilePath) -> Result<Box<dyn FileWriter>, FileError> {
        let (incoming, place) = (self.incoming.clone(), self.place(path));
        let file = blocking(move || {
            let file = NamedTempFile::new_in(incoming)?;
            // A file system that knows no locks has its files swept by their age alone.
            let _ = file.as_file().lock();
            Ok(file)
        })
        .await?;
        Ok(Box::new(FolderWriter {
            file: Some(file),
            root: self.root.clone(),
            place,
        }))
    }

    async fn size(&self, path: &FilePath) -> Result<Option<u64>, FileError> {
        let place = self.place(path);
        blocking(move || {
            let metadata = found(place.metadata())?.filter(std::fs::Metadata::is_file);
            Ok(metadata.map(|metadata| metadata.len()))
        })
        .await
    }

    async fn read(
        &self,
        path: &FilePath,
        range: Range<u64>,
    ) -> Result<Option<FileBytes>, FileError> {
        let place = self.place(path);
        let opened = blocking(move || {
            let Some(mut file) = found(File::open(place))? else {
                return Ok(None);
            };
            if !file.metadata()?.is_file() {
                return Ok(None);
            }
            file.seek(SeekFrom::Start(range.start))?;
            Ok(Some((file, range.end.saturating_sub(range.start))))
        });
        Ok(opened.await?.map(|(file, length)| {
            let reader = tokio::fs::File::from_std(file).take(length);
            ReaderStream::with_capacity(reader, CHUNK)
                .map_err(file_error)
                .boxed()
        }))
    }

    async fn delete_prefix(&self, folder: &FilePath) -> Result<(), FileError> {
        let place = self.place(folder);
        blocking(move || {
            let Some(metadata) = found(place.symlink_metadata())? else {
                return Ok(());
            };
            let deleted = if metadata.is_dir() {
                std::fs::remove_dir_all(place)
            } else {
                std::fs::remove_file(place)
            };
            found(deleted).map(|_| ())
        })
        .await
    }

    async fn folders(&self) -> Result<Vec<FilePath>, FileError> {
        let root = self.root.clone();
        blocking(move || {
            let mut folders = Vec::new();
            for entry in std::fs::read_dir(root)? {
                // What has another kind of name is none of ours.
                let name = entry?.file_name();
                folders.extend(name.to_str().and_then(|name| FilePath::parse(name).ok()));
            }
            Ok(folders)
        })
        .await
    }

    async fn list(&self, folder: &FilePath) -> Result<Vec<FilePath>, FileError> {
        let (root, place) = (self.root.clone(), self.place(folder));
        blocking(move || {
            let mut found_files = Vec::new();
            let mut open = vec![place];
            while let Some(place) = open.pop() {
                let Some(metadata) = found(place.symlink_metadata())? else {
                    continue;
                };
                if metadata.is_dir() {
                    for entry in found(std::fs::read_dir(&place))?.into_iter().flatten() {
                        open.push(entry?.path());
                    }
                } else if let Some(path) = (place.strip_prefix(&root).ok())
                    .and_then(Path::to_str)
                    .and_then(|path| FilePath::parse(path).ok())
                {
                    found_files.push(path);
                }
            }
            Ok(found_files)
        })
        .await
    }

    async fn sweep_unfinished(&self) -> Result<usize, FileError> {
        let incoming = self.incoming.clone();
        blocking(move || remove_abandoned(&incoming)).await
    }
}

/// Writes below the hidden folder; dropping it deletes what was written.
struct FolderWriter {
    /// Away only while a write is under way.
    file: Option<NamedTempFile>,
    root: Arc<Path>,
    place: PathBuf,
}

impl FolderWriter {
    fn take(&mut self) -> Result<NamedTempFile, FileError> {
        // A write that failed, or whose future was dropped, took the file along.
        let gone = || FileError::Unavailable("an earlier write did not finish".into());
        self.file.take().ok_or_else(gone)
    }
}

#[async_trait]
impl FileWriter for FolderWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), FileError> {
        let mut file = self.take()?;
        let written = blocking(move || file.as_file_mut().write_all(&bytes).map(|()| file));
        self.file = Some(written.await?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), FileError> {
        let file = self.take()?;
        let (root, place) = (self.root, self.place);
        blocking(move || {
            let folder = place.parent().unwrap_or(&root);
            make_durable_folder(&root, folder)?;
            file.as_file().sync_all()?;
            file.persist(&place).map_err(|error| error.error)?;
            // The name itself has to outlive a power cut too.
            File::open(folder)?.sync_all()
        })
        .await
    }
}

/// A writer locks its file well within this time of making it.
const LOCKED_WITHIN: Duration = Duration::from_mins(1);
/// Where there are no locks: nobody writes that seldom.
const STALE: Duration = Duration::from_hours(24);

/// Removes what processes that died left half-written. Returns how many files there were.
fn remove_abandoned(incoming: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(incoming)? {
        let path = entry?.path();
        // Its writer may be faster, and give it its name.
        let Some(file) = found(File::open(&path))? else {
            continue;
        };
        if is_abandoned(&file)? && found(std::fs::remove_file(&path))?.is_some() {
            removed += 1;
        }
    }
    Ok(removed)
}

fn is_abandoned(file: &File) -> io::Result<bool> {
    let old_enough = match file.try_lock() {
        Ok(()) => LOCKED_WITHIN,
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(_)) => STALE,
    };
    let age = file.metadata()?.modified()?.elapsed();
    Ok(age.is_ok_and(|age| age > old_enough))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Makes a folder below the root. Its name, and those above, outlive a power cut.
fn make_durable_folder(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    make_folder(folder)?;
    let above = folder.ancestors().skip(1);
    above
        .take_while(|above| above.starts_with(root))
        .try_for_each(|above| File::open(above)?.sync_all())
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        // Below a file there is nothing either.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn file_error(error: io::Error) -> FileError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FileError::Full(error.into()),
        _ => FileError::Unavailable(error.into()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, FileError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(file_error),
        Err(error) => Err(FileError::Unavailable(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).unwrap()
    }

    fn fresh() -> (FolderFiles, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let files = FolderFiles::open(folder.path().join("files")).unwrap();
        (files, folder)
    }

    ehi_core::file_store_contract!(async { fresh() });

    async fn write(files: &FolderFiles, at: &str, content: &'static str) {
        let mut writer = files.writer(&path(at)).await.unwrap();
        for chunk in content.as_bytes().chunks(3) {
            writer.write(Bytes::from_static(chunk)).await.unwrap();
        }
        writer.finish().await.unwrap();
    }

    #[tokio::test]
    async fn a_writer_that_is_dropped_leaves_nothing_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let files = FolderFiles::open(folder.path()).unwrap();
        let mut writer = files.writer(&path("job/a")).await.unwrap();
        writer.write(Bytes::from_static(b"half")).await.unwrap();
        drop(writer);
        assert_eq!(
            std::fs::read_dir(folder.path().join(".incoming"))
                .unwrap()
                .count(),
            0
        );
        assert!(files.list(&path("job")).await.unwrap().is_empty());
    }

    /// Leaves a half-written file as a killed process does, last written to so long ago.
    fn left_behind(files: &FolderFiles, name: &str, age: Duration) -> PathBuf {
        let path = files.incoming.join(name);
        let file = File::create(&path).unwrap();
        let now = file.metadata().unwrap().modified().unwrap();
        file.set_modified(now - age).unwrap();
        path
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_swept_and_goes_at_the_next_start() {
        let (files, _folder) = fresh();
        let old = left_behind(&files, "old", Duration::from_secs(70));
        let new = left_behind(&files, "new", Duration::from_secs(5));
        assert_eq!(files.sweep_unfinished().await.unwrap(), 1);
        assert!(!old.exists(), "nobody holds it");
        assert!(new.exists(), "its writer may be about to lock it");
        let old = left_behind(&files, "old", Duration::from_secs(70));
        FolderFiles::open(&*files.root).unwrap();
        assert!(!old.exists());
    }

    #[tokio::test]
    async fn a_slow_writer_keeps_its_file_whoever_sweeps() {
        let (files, _folder) = fresh();
        let mut writer = files.writer(&path("job/a")).await.unwrap();
        writer.write(Bytes::from_static(b"half")).await.unwrap();
        for entry in std::fs::read_dir(&files.incoming).unwrap() {
            let file = File::open(entry.unwrap().path()).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            file.set_modified(now - Duration::from_hours(48)).unwrap();
        }
        let another = FolderFiles::open(&*files.root).unwrap();
        assert_eq!(another.sweep_unfinished().await.unwrap(), 0);
        writer.finish().await.unwrap();
        assert_eq!(files.size(&path("job/a")).await.unwrap(), Some(4));
    }

    #[tokio::test]
    async fn only_the_servers_user_can_read_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let files = FolderFiles::open(folder.path().join("files")).unwrap();
        write(&files, "job/a", "content").await;
        let mode = |at: &str| {
            folder
                .path()
                .join(at)
                .metadata()
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(
            (mode("files"), mode("files/job"), mode("files/job/a")),
            (0o700, 0o700, 0o600)
        );
    }
}
