//! Changes to the directory file that leave everything else in it as it is, comments included.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use ehi_core::auth::ClientId;
use tempfile::NamedTempFile;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use super::{Directory, DirectoryError, Registration};

/// A directory file that is about to be changed. Nobody else changes it meanwhile; those who read
/// it see it as it was, until [`save`](Self::save).
#[derive(Debug)]
pub struct DirectoryEdit {
    path: PathBuf,
    document: DocumentMut,
    /// The file's folder, locked until the end.
    _lock: File,
}

/// Why a directory file was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It cannot be read, locked or written.
    #[error("{0} cannot be changed")]
    File(PathBuf, #[source] io::Error),
    /// It is no TOML.
    #[error("the directory file cannot be read: {0}")]
    Toml(#[from] toml_edit::TomlError),
    /// An entry cannot be written as TOML.
    #[error("the entry cannot be written: {0}")]
    Entry(#[from] toml_edit::ser::Error),
    /// Clients are there in another form than the one that can be changed.
    #[error("the directory file has 'client' in another form than [[client]]: change it by hand")]
    Form,
    /// There is such a client already.
    #[error("there is a client '{0}' already")]
    Taken(ClientId),
    /// There is no such client.
    #[error("there is no client '{0}'")]
    Unknown(ClientId),
    /// The client has no secret.
    #[error("client '{0}' has no secret: it authenticates in another way")]
    NoSecret(ClientId),
    /// It would make no sense any more.
    #[error("the change would break the directory: {0}")]
    Broken(#[from] DirectoryError),
}

impl DirectoryEdit {
    /// Reads the file and keeps others from changing it.
    pub fn open(path: &Path) -> Result<Self, EditError> {
        let failed = |error| EditError::File(path.to_owned(), error);
        // Behind a symbolic link the file itself is replaced, not the link.
        let path = fs::canonicalize(path).map_err(failed)?;
        let lock = File::open(folder(&path)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let document = fs::read_to_string(&path).map_err(failed)?.parse()?;
        Ok(Self {
            path,
            document,
            _lock: lock,
        })
    }

    /// Adds a client.
    pub fn add(&mut self, client: &Registration) -> Result<(), EditError> {
        if self.find(&client.id)?.is_some() {
            return Err(EditError::Taken(client.id.clone()));
        }
        let mut entry = toml_edit::ser::to_document(client)?.as_table().clone();
        entry.decor_mut().set_prefix("\n");
        let clients = self.document.entry("client");
        let clients = clients.or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        clients
            .as_array_of_tables_mut()
            .ok_or(EditError::Form)?
            .push(entry);
        Ok(())
    }

    /// Removes a client.
    pub fn remove(&mut self, id: &ClientId) -> Result<(), EditError> {
        let (index, _) = self
            .find(id)?
            .ok_or_else(|| EditError::Unknown(id.clone()))?;
        let clients = self.document.get_mut("client");
        let clients = clients.and_then(Item::as_array_of_tables_mut);
        clients.ok_or(EditError::Form)?.remove(index);
        Ok(())
    }

    /// Replaces the hash of a client's secret.
    pub fn replace_secret(&mut self, id: &ClientId, hash: &str) -> Result<(), EditError> {
        let (_, client) = self
            .find(id)?
            .ok_or_else(|| EditError::Unknown(id.clone()))?;
        let secret = client.get_mut("secret_hash");
        let secret = secret.ok_or_else(|| EditError::NoSecret(id.clone()))?;
        *secret = toml_edit::value(hash);
        Ok(())
    }

    fn find(&mut self, id: &ClientId) -> Result<Option<(usize, &mut Table)>, EditError> {
        let Some(clients) = self.document.get_mut("client") else {
            return Ok(None);
        };
        let clients = clients.as_array_of_tables_mut().ok_or(EditError::Form)?;
        let mut clients = clients.iter_mut().enumerate();
        Ok(clients.find(|(_, client)| {
            let own = client.get("id").and_then(Item::as_str);
            own == Some(id.as_str())
        }))
    }

    /// Replaces the file at once, its owner and mode kept, unless it would make no sense any more.
    pub fn save(self) -> Result<(), EditError> {
        let text = self.document.to_string();
        Directory::parse(&text)?;
        replace(&self.path, text.as_bytes()).map_err(|error| EditError::File(self.path, error))
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("."))
}

fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let before = fs::metadata(file)?;
    let mut temporary = NamedTempFile::new_in(folder(file))?;
    temporary.write_all(content)?;
    let own = temporary.as_file().metadata()?;
    if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
        fchown(temporary.as_file(), Some(before.uid()), Some(before.gid()))?;
    }
    temporary.as_file().set_permissions(before.permissions())?;
    temporary.as_file().sync_all()?;
    temporary.persist(file).map_err(|error| error.error)?;
    File::open(folder(file))?.sync_all()
}
