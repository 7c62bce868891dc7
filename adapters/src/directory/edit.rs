//! Changes to the directory file that leave everything else in it as it is, comments included.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use ehi_core::auth::{ClientId, StaffMember, StaffName};
use tempfile::NamedTempFile;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use super::{Directory, DirectoryError, StaffEntry};
use crate::accounts::{Refusal, Registration};

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
    /// Clients or staff are there in another form than the one that can be changed.
    #[error("the directory file has '{0}' in another form than [[{0}]]: change it by hand")]
    Form(&'static str),
    /// It makes no sense with what is there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It would make no sense any more.
    #[error("the change would break the directory: {0}")]
    Broken(#[from] DirectoryError),
}

/// Which entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Client,
    Staff,
}

impl Kind {
    fn key(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Staff => "staff",
        }
    }

    /// The member that tells which one it is.
    fn name(self) -> &'static str {
        match self {
            Self::Client => "id",
            Self::Staff => "username",
        }
    }
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
        if self.find(Kind::Client, client.id.as_str())?.is_some() {
            return Err(Refusal::ClientTaken(client.id.clone()).into());
        }
        self.push(
            Kind::Client,
            toml_edit::ser::to_document(client)?.as_table().clone(),
        )
    }

    /// Removes a client.
    pub fn remove(&mut self, id: &ClientId) -> Result<(), EditError> {
        let found = self
            .find(Kind::Client, id.as_str())?
            .map(|(index, _)| index);
        let index = found.ok_or_else(|| Refusal::NoClient(id.clone()))?;
        self.take_out(Kind::Client, index)
    }

    /// Replaces the hash of a client's secret.
    pub fn replace_secret(&mut self, id: &ClientId, hash: &str) -> Result<(), EditError> {
        let (_, client) =
            (self.find(Kind::Client, id.as_str())?).ok_or_else(|| Refusal::NoClient(id.clone()))?;
        let secret = client.get_mut("secret_hash");
        let secret = secret.ok_or_else(|| Refusal::NoSecret(id.clone()))?;
        *secret = toml_edit::value(hash);
        Ok(())
    }

    /// Adds a member of staff with the hash of their password.
    pub fn add_staff(&mut self, member: &StaffMember, hash: &str) -> Result<(), EditError> {
        if self.find(Kind::Staff, member.name.as_str())?.is_some() {
            return Err(Refusal::StaffTaken(member.name.clone()).into());
        }
        let entry = StaffEntry {
            username: member.name.as_str().to_owned(),
            password_hash: hash.to_owned(),
            role: member.role,
        };
        self.push(
            Kind::Staff,
            toml_edit::ser::to_document(&entry)?.as_table().clone(),
        )
    }

    /// Removes a member of staff.
    pub fn remove_staff(&mut self, name: &StaffName) -> Result<(), EditError> {
        let found = self
            .find(Kind::Staff, name.as_str())?
            .map(|(index, _)| index);
        let index = found.ok_or_else(|| Refusal::NoStaff(name.clone()))?;
        self.take_out(Kind::Staff, index)
    }

    /// Replaces the hash of a password of staff.
    pub fn replace_password(&mut self, name: &StaffName, hash: &str) -> Result<(), EditError> {
        let (_, member) = (self.find(Kind::Staff, name.as_str())?)
            .ok_or_else(|| Refusal::NoStaff(name.clone()))?;
        member.insert("password_hash", toml_edit::value(hash));
        Ok(())
    }

    /// The entries of a kind; `None` where there are none.
    fn entries(&mut self, kind: Kind) -> Result<Option<&mut ArrayOfTables>, EditError> {
        let Some(entries) = self.document.get_mut(kind.key()) else {
            return Ok(None);
        };
        let entries = entries.as_array_of_tables_mut();
        entries.map(Some).ok_or(EditError::Form(kind.key()))
    }

    fn push(&mut self, kind: Kind, mut entry: Table) -> Result<(), EditError> {
        entry.decor_mut().set_prefix("\n");
        let entries = self.document.entry(kind.key());
        let entries = entries.or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        entries
            .as_array_of_tables_mut()
            .ok_or(EditError::Form(kind.key()))?
            .push(entry);
        Ok(())
    }

    fn take_out(&mut self, kind: Kind, index: usize) -> Result<(), EditError> {
        let entries = self.entries(kind)?;
        entries.ok_or(EditError::Form(kind.key()))?.remove(index);
        Ok(())
    }

    fn find(&mut self, kind: Kind, name: &str) -> Result<Option<(usize, &mut Table)>, EditError> {
        let Some(entries) = self.entries(kind)? else {
            return Ok(None);
        };
        let mut entries = entries.iter_mut().enumerate();
        Ok(entries.find(|(_, entry)| {
            let own = entry.get(kind.name()).and_then(Item::as_str);
            own == Some(name)
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
