//! A folder of keys.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use ehi_core::ports::{Kept, KeyAge, KeyStamp, KeyStore, KeyStoreError, StoredKey};
use secrecy::ExposeSecret;
use tempfile::NamedTempFile;

/// What the files are called: the first `signing-key.pem`, later ones `signing-key-{seconds}.pem`
/// by when they were made.
const STEM: &str = "signing-key";

/// A folder of signing keys, readable to the server's own user alone.
#[derive(Debug, Clone)]
pub struct KeyFolder(PathBuf);

/// A key's file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    made: KeyAge,
    path: PathBuf,
}

impl KeyFolder {
    /// The folder at `path`. It is made with the first key.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The files, the newest last.
    fn files(&self) -> io::Result<Vec<File>> {
        let mut files = Vec::new();
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(made) = name.and_then(made) {
                files.push(File { made, path });
            }
        }
        files.sort();
        Ok(files)
    }

    fn file(&self, made: KeyAge) -> PathBuf {
        self.0.join(match made {
            KeyAge(0) => format!("{STEM}.pem"),
            KeyAge(made) => format!("{STEM}-{made}.pem"),
        })
    }
}

#[async_trait]
impl KeyStore for KeyFolder {
    async fn ages(&self) -> Result<Vec<KeyAge>, KeyStoreError> {
        let files = self.files().map_err(unread)?;
        Ok(files.into_iter().map(|file| file.made).collect())
    }

    async fn all(&self) -> Result<Vec<StoredKey>, KeyStoreError> {
        let files = self.files().map_err(unread)?;
        let keys = files.into_iter().map(|File { made, path }| {
            let pem = fs::read_to_string(path).map_err(unread)?;
            Ok(StoredKey {
                made,
                pem: pem.into(),
            })
        });
        keys.collect()
    }

    async fn keep(&self, key: &StoredKey) -> Result<Kept, KeyStoreError> {
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(&self.0).map_err(unread)?;
        let content = key.pem.expose_secret().as_bytes();
        keep(&self.file(key.made), content).map_err(unread)
    }

    async fn remove(&self, made: KeyAge) -> Result<(), KeyStoreError> {
        match fs::remove_file(self.file(made)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unread(error)),
            _ => Ok(()),
        }
    }

    async fn stamp(&self) -> Result<KeyStamp, KeyStoreError> {
        let stamp = || {
            let metadata = fs::metadata(&self.0)?;
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
            let modified = modified.map_or(0, |since| since.as_nanos());
            Ok(KeyStamp(format!("{modified} {}", metadata.ino())))
        };
        stamp().map_err(unread)
    }
}

/// When the key in a file of this name was made; `None` for other files.
fn made(name: &str) -> Option<KeyAge> {
    let rest = name.strip_prefix(STEM)?.strip_suffix(".pem")?;
    if rest.is_empty() {
        return Some(KeyAge(0));
    }
    let digits = rest.strip_prefix('-')?;
    // As it is written here, so that it is found again by its age.
    let made = digits.parse().ok().filter(|made| *made > 0)?;
    (i64::to_string(&made) == digits).then_some(KeyAge(made))
}

/// What is no text is no key; all else may pass.
fn unread(error: io::Error) -> KeyStoreError {
    match error.kind() {
        io::ErrorKind::InvalidData => KeyStoreError::Damaged(error.into()),
        _ => KeyStoreError::Unavailable(error.into()),
    }
}

/// Writes a file that only the server's user can read, whole or not at all.
fn keep(file: &Path, content: &[u8]) -> io::Result<Kept> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut temporary = NamedTempFile::new_in(folder)?;
    temporary.write_all(content)?;
    // The operator may make a key for a server that runs as another user.
    let (owner, own) = (fs::metadata(folder)?, temporary.as_file().metadata()?);
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) {
        fchown(temporary.as_file(), Some(owner.uid()), Some(owner.gid()))?;
    }
    temporary.as_file().sync_all()?;
    match temporary.persist_noclobber(file) {
        Ok(_) => Ok(Kept::Now),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(Kept::Before),
        Err(error) => Err(error.error),
    }
}
