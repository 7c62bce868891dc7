//! A directory file that may change while the server runs.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ehi_core::auth::{Client, ClientId, LoginAttempt, StaffMember, StaffName};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    ClientRegistry, Clock, LoginError, PatientAnswer, PatientLogin, PatientPrompt, Proof,
    StaffAnswer, StaffLogin, StaffPrompt, Standing, StoreError,
};
use jiff::Timestamp;
use secrecy::SecretString;

use super::{Directory, DirectoryError};

/// How often the file is looked at, while somebody asks.
const LOOK: Duration = Duration::from_secs(1);

/// Why a directory file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryFileError {
    /// It cannot be read.
    #[error("the directory cannot be read from {0}")]
    Read(PathBuf, #[source] io::Error),
    /// It makes no sense.
    #[error("{0}")]
    Directory(PathBuf, #[source] DirectoryError),
}

/// A directory file. What is changed in it counts from about a second later; a change that makes
/// no sense is told in the log, and the directory stays as it was.
#[derive(Debug)]
pub struct DirectoryFile {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    directory: Arc<Directory>,
    /// The file as it was read, or refused; `None` where it was gone.
    seen: Option<Stamp>,
    looked: Timestamp,
}

/// What changes with a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            modified: metadata.modified()?,
            length: metadata.len(),
            inode: metadata.ino(),
        })
    }
}

impl DirectoryFile {
    /// Reads the file.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, DirectoryFileError> {
        // The stamp first: a change in between is then noticed later.
        let seen =
            Stamp::of(path).map_err(|error| DirectoryFileError::Read(path.to_owned(), error))?;
        Ok(Self {
            state: Mutex::new(State {
                directory: Arc::new(read(path)?),
                seen: Some(seen),
                looked: clock.now(),
            }),
            path: path.to_owned(),
            clock,
        })
    }

    /// The directory as the file has it now.
    pub fn current(&self) -> Arc<Directory> {
        // A panic while the lock was held cannot leave the state half-changed.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let early = state
            .looked
            .saturating_add(LOOK)
            .is_ok_and(|next| now < next);
        // A clock that was set back is no reason never to look again.
        if early && now >= state.looked {
            return state.directory.clone();
        }
        state.looked = now;
        let stamp = Stamp::of(&self.path).ok();
        if stamp != state.seen {
            let read = read(&self.path);
            // What could not be read may be readable at the next look, unchanged as it is: nobody
            // who was removed stays for that. What makes no sense is told once.
            let unread = matches!(&read, Err(DirectoryFileError::Read(_, error)) if error.kind() != io::ErrorKind::InvalidData);
            if stamp.is_none() || !unread {
                state.seen = stamp;
            }
            match read {
                Ok(directory) => {
                    state.directory = Arc::new(directory);
                    tracing::info!(file = %self.path.display(), "the directory has changed and was read anew");
                }
                Err(error) => {
                    tracing::error!(file = %self.path.display(), error = &error as &dyn std::error::Error, "the directory has changed and cannot be used: it stays as it was");
                }
            }
        }
        state.directory.clone()
    }
}

fn read(path: &Path) -> Result<Directory, DirectoryFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| DirectoryFileError::Read(path.to_owned(), error))?;
    Directory::parse(&text).map_err(|error| DirectoryFileError::Directory(path.to_owned(), error))
}

#[async_trait]
impl ClientRegistry for DirectoryFile {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.current().client(id).await
    }

    async fn verify_secret(
        &self,
        id: &ClientId,
        secret: &SecretString,
    ) -> Result<bool, StoreError> {
        self.current().verify_secret(id, secret).await
    }
}

#[async_trait]
impl StaffLogin for DirectoryFile {
    async fn prompt(
        &self,
        attempt: &LoginAttempt,
        proof: Proof,
    ) -> Result<StaffPrompt, LoginError> {
        StaffLogin::prompt(&*self.current(), attempt, proof).await
    }

    async fn verify(&self, answer: StaffAnswer) -> Result<StaffMember, LoginError> {
        StaffLogin::verify(&*self.current(), answer).await
    }

    async fn standing(&self, name: &StaffName) -> Result<Standing, LoginError> {
        self.current().standing(name).await
    }
}

#[async_trait]
impl PatientLogin for DirectoryFile {
    async fn prompt(
        &self,
        attempt: &LoginAttempt,
        proof: Proof,
    ) -> Result<PatientPrompt, LoginError> {
        PatientLogin::prompt(&*self.current(), attempt, proof).await
    }

    async fn verify(&self, answer: PatientAnswer) -> Result<PatientId, LoginError> {
        PatientLogin::verify(&*self.current(), answer).await
    }
}

#[cfg(test)]
mod tests {
    use ehi_core::testkit::{FixedClock, at};

    use super::*;

    #[test]
    fn a_change_that_cannot_be_read_is_tried_again_and_one_that_makes_no_sense_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.toml");
        std::fs::write(&path, "").unwrap();
        let clock = Arc::new(FixedClock::at(at(0)));
        let live = DirectoryFile::open(&path, clock.clone()).unwrap();
        let seen = |second| {
            clock.set(at(second));
            live.current();
            live.state.lock().unwrap().seen
        };
        let before = seen(1);
        // A folder in its place has a stamp and cannot be read.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(seen(2), before);
        std::fs::remove_dir(&path).unwrap();
        for (second, broken) in [(3, &b"nonsense ["[..]), (4, b"\xff")] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(seen(second), Stamp::of(&path).ok());
        }
    }
}
