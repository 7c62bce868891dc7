//! A directory file that may change while the server runs.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ehi_core::auth::{Client, ClientId, LoginAttempt, StaffMember, StaffName};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    Action, AuditEvent, AuditLog, By, ClientRegistry, Clock, LoginError, PatientAnswer,
    PatientLogin, PatientPrompt, Proof, StaffAnswer, StaffLogin, StaffPrompt, Standing, StoreError,
};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::Mutex;

use super::changes::Change;
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

/// A directory file. What is changed in it counts from about a second later, once the audit log has
/// it; a change that makes no sense is told in the log, and the directory stays as it was.
#[derive(Debug)]
pub struct DirectoryFile {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditLog>,
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

impl Directory {
    /// Reads a directory file.
    pub fn read(path: &Path) -> Result<Self, DirectoryFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| DirectoryFileError::Read(path.to_owned(), error))?;
        Self::parse(&text).map_err(|error| DirectoryFileError::Directory(path.to_owned(), error))
    }
}

impl DirectoryFile {
    /// Reads the file.
    pub fn open(
        path: &Path,
        clock: Arc<dyn Clock>,
        audit: Arc<dyn AuditLog>,
    ) -> Result<Self, DirectoryFileError> {
        // The stamp first: a change in between is then noticed later.
        let seen =
            Stamp::of(path).map_err(|error| DirectoryFileError::Read(path.to_owned(), error))?;
        Ok(Self {
            state: Mutex::new(State {
                directory: Arc::new(Directory::read(path)?),
                seen: Some(seen),
                looked: clock.now(),
            }),
            path: path.to_owned(),
            clock,
            audit,
        })
    }

    /// The directory as the file has it now.
    pub async fn current(&self) -> Arc<Directory> {
        let mut state = self.state.lock().await;
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
            self.look(&mut state, stamp).await;
        }
        state.directory.clone()
    }

    async fn look(&self, state: &mut State, stamp: Option<Stamp>) {
        let read = Directory::read(&self.path);
        // What could not be read may be readable at the next look, unchanged as it is: nobody
        // who was removed stays for that. What makes no sense is told once.
        let unread = matches!(&read, Err(DirectoryFileError::Read(_, error)) if error.kind() != io::ErrorKind::InvalidData);
        let file = self.path.display();
        match read {
            Ok(directory) => {
                if let Err(error) = self.remember(&state.directory, &directory).await {
                    tracing::error!(%file, error = &error as &dyn std::error::Error, "the directory has changed and the audit log cannot be written: it stays as it was for now");
                    return;
                }
                state.directory = Arc::new(directory);
                tracing::info!(%file, "the directory has changed and was read anew");
            }
            Err(error) => {
                tracing::error!(%file, error = &error as &dyn std::error::Error, "the directory has changed and cannot be used: it stays as it was");
            }
        }
        if stamp.is_none() || !unread {
            state.seen = stamp;
        }
    }

    /// Writes into the audit log who is new, gone or another now.
    async fn remember(&self, before: &Directory, after: &Directory) -> Result<(), StoreError> {
        for change in before.changes(after) {
            let event = By::server().did(Action::ChangeDirectory, self.clock.now());
            let event = match change {
                Change::Client(client) => AuditEvent {
                    client: Some(client),
                    ..event
                },
                Change::Staff(name) => AuditEvent {
                    staff: Some(name),
                    ..event
                },
                Change::Patient(patient) => AuditEvent {
                    patient: Some(patient),
                    ..event
                },
            };
            self.audit.append(&event).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ClientRegistry for DirectoryFile {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.current().await.client(id).await
    }

    async fn verify_secret(
        &self,
        id: &ClientId,
        secret: &SecretString,
    ) -> Result<bool, StoreError> {
        self.current().await.verify_secret(id, secret).await
    }
}

#[async_trait]
impl StaffLogin for DirectoryFile {
    async fn prompt(
        &self,
        attempt: &LoginAttempt,
        proof: Proof,
    ) -> Result<StaffPrompt, LoginError> {
        StaffLogin::prompt(&*self.current().await, attempt, proof).await
    }

    async fn verify(&self, answer: StaffAnswer) -> Result<StaffMember, LoginError> {
        StaffLogin::verify(&*self.current().await, answer).await
    }

    async fn standing(&self, name: &StaffName) -> Result<Standing, LoginError> {
        self.current().await.standing(name).await
    }
}

#[async_trait]
impl PatientLogin for DirectoryFile {
    async fn prompt(
        &self,
        attempt: &LoginAttempt,
        proof: Proof,
    ) -> Result<PatientPrompt, LoginError> {
        PatientLogin::prompt(&*self.current().await, attempt, proof).await
    }

    async fn verify(&self, answer: PatientAnswer) -> Result<PatientId, LoginError> {
        PatientLogin::verify(&*self.current().await, answer).await
    }
}

#[cfg(test)]
mod tests {
    use ehi_core::ports::MockAuditLog;
    use ehi_core::testkit::{FixedClock, RecordedAudit, at};

    use super::*;

    #[tokio::test]
    async fn a_change_that_cannot_be_read_is_tried_again_and_one_that_makes_no_sense_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.toml");
        std::fs::write(&path, "").unwrap();
        let clock = Arc::new(FixedClock::at(at(0)));
        let live =
            DirectoryFile::open(&path, clock.clone(), Arc::new(RecordedAudit::default())).unwrap();
        let seen = async |second| {
            clock.set(at(second));
            live.current().await;
            live.state.lock().await.seen
        };
        let before = seen(1).await;
        // A folder in its place has a stamp and cannot be read.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(seen(2).await, before);
        std::fs::remove_dir(&path).unwrap();
        for (second, broken) in [(3, &b"nonsense ["[..]), (4, b"\xff")] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(seen(second).await, Stamp::of(&path).ok());
        }
    }

    const CLIENT: &str =
        "[[client]]\nid = 'one'\nname = 'One'\nredirect_uris = ['https://one.example/cb']\n";

    #[tokio::test]
    async fn whom_a_change_concerns_is_remembered_before_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.toml");
        std::fs::write(&path, "").unwrap();
        let clock = Arc::new(FixedClock::at(at(0)));
        let audit = Arc::new(RecordedAudit::default());
        let live = DirectoryFile::open(&path, clock.clone(), audit.clone()).unwrap();
        std::fs::write(&path, CLIENT).unwrap();
        clock.set(at(1));
        assert!(live.current().await.has_clients());
        std::fs::write(&path, "").unwrap();
        clock.set(at(2));
        assert!(!live.current().await.has_clients());
        let told =
            |event: &AuditEvent| (event.action, event.client.as_ref().map(ToString::to_string));
        let once = (Action::ChangeDirectory, Some("one".to_owned()));
        let events = audit.events();
        assert_eq!(
            events.iter().map(told).collect::<Vec<_>>(),
            [once.clone(), once]
        );
    }

    #[tokio::test]
    async fn a_change_that_cannot_be_remembered_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.toml");
        std::fs::write(&path, "").unwrap();
        let clock = Arc::new(FixedClock::at(at(0)));
        let mut audit = MockAuditLog::new();
        (audit.expect_append().times(1)).returning(|_| Err(StoreError::unavailable("disk full")));
        (audit.expect_append()).returning(|_| Ok(()));
        let live = DirectoryFile::open(&path, clock.clone(), Arc::new(audit)).unwrap();
        std::fs::write(&path, CLIENT).unwrap();
        clock.set(at(1));
        assert!(!live.current().await.has_clients());
        clock.set(at(2));
        assert!(live.current().await.has_clients());
    }
}
