//! The folder of keys: their files, their order, and when each has had its day.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ehi_core::ports::KeyError;
use jiff::Timestamp;
use tempfile::NamedTempFile;

use super::key::Key;
use super::unavailable;

/// What the files are called: the first `signing-key.pem`, later ones `signing-key-{seconds}.pem`
/// by when they were made.
const STEM: &str = "signing-key";

/// The last tokens of a key are younger than its successor by as much as a running server needs to
/// notice that one, and the clocks of two servers may differ.
const GRACE: Duration = Duration::from_mins(1);

/// A folder of signing keys. When a key has had its day follows from the names of the files and
/// from how long a token may live; nothing else is kept.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    path: PathBuf,
    overlap: Duration,
}

/// A key in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// Its id.
    pub kid: String,
    /// When it was made; `None` for the first.
    pub made: Option<Timestamp>,
    /// What it is good for.
    pub state: KeyState,
}

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It signs tokens.
    Signs,
    /// Tokens it signed are good until this instant.
    VerifiesUntil(Timestamp),
    /// It has had its day.
    Retired,
}

/// What changes when a file comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: SystemTime,
    inode: u64,
}

/// The keys, the newest last; never empty.
#[derive(Debug)]
pub(super) struct Ring {
    older: Vec<(File, Key)>,
    newest: (File, Key),
    overlap: Duration,
}

/// A key's file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    /// Seconds since the epoch; 0 for the first.
    made: i64,
    path: PathBuf,
}

impl Ring {
    /// The key that signs.
    pub(super) fn newest(&self) -> &Key {
        &self.newest.1
    }

    pub(super) fn knows(&self, kid: &str) -> bool {
        self.all().any(|(_, key)| key.kid() == kid)
    }

    /// Keys whose tokens are good, the one that signs first.
    pub(super) fn good(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        let mut good: Vec<_> = (self.all().zip(self.states(now)))
            .filter(|(_, state)| *state != KeyState::Retired)
            .map(|((_, key), _)| key)
            .collect();
        good.reverse();
        good.into_iter()
    }

    fn all(&self) -> impl Iterator<Item = &(File, Key)> {
        self.older.iter().chain([&self.newest])
    }

    /// The state of each key, in order.
    fn states(&self, now: Timestamp) -> impl Iterator<Item = KeyState> {
        let successors = self.all().skip(1).map(|(file, _)| Some(file.made));
        successors.chain([None]).map(move |successor| {
            let Some(made) = successor else {
                return KeyState::Signs;
            };
            let until = Timestamp::from_second(made)
                .and_then(|made| made.saturating_add(self.overlap))
                .unwrap_or(Timestamp::MAX);
            if now < until {
                KeyState::VerifiesUntil(until)
            } else {
                KeyState::Retired
            }
        })
    }
}

impl KeyFolder {
    /// The folder at `path`, for tokens that live at most `longest_token`.
    pub fn new(path: &Path, longest_token: Duration) -> Self {
        Self {
            path: path.to_owned(),
            overlap: longest_token + GRACE,
        }
    }

    /// The keys there are, the newest last.
    pub fn list(&self, now: Timestamp) -> Result<Vec<ListedKey>, KeyError> {
        let ring = self.read()?;
        let listed = (ring.all().zip(ring.states(now))).map(|((file, key), state)| ListedKey {
            kid: key.kid().to_owned(),
            made: (file.made > 0)
                .then(|| Timestamp::from_second(file.made).ok())
                .flatten(),
            state,
        });
        Ok(listed.collect())
    }

    /// Makes a new key, which signs from now on, and deletes those that have had their day.
    /// Returns the new key's id. Takes a while.
    pub fn rotate(&self, now: Timestamp) -> Result<String, KeyError> {
        let before = self.read()?;
        let pem = Key::make()?;
        // Later than every other, whatever the clock says.
        let mut made = now.as_second().max(before.newest.0.made + 1);
        let file = loop {
            let file = self.path.join(format!("{STEM}-{made}.pem"));
            if keep(&file, pem.as_ref()).map_err(unavailable)? == Kept::Now {
                break file;
            }
            made += 1;
        };
        for ((old, _), state) in before.all().zip(before.states(now)) {
            if state == KeyState::Retired {
                fs::remove_file(&old.path).map_err(unavailable)?;
            }
        }
        Ok(read_key(&file)?.kid().to_owned())
    }

    /// Reads the keys; makes the first one where there is none.
    pub(super) fn open(&self) -> Result<(Stamp, Ring), KeyError> {
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(&self.path).map_err(unavailable)?;
        if self.files()?.is_empty() {
            let first = self.path.join(format!("{STEM}.pem"));
            // When two servers start at once, one of the two keys stands.
            keep(&first, Key::make()?.as_ref()).map_err(unavailable)?;
        }
        // The stamp first: a change in between is then noticed later.
        let stamp = self.stamp().map_err(unavailable)?;
        Ok((stamp, self.read()?))
    }

    pub(super) fn stamp(&self) -> io::Result<Stamp> {
        let metadata = fs::metadata(&self.path)?;
        Ok(Stamp {
            modified: metadata.modified()?,
            inode: metadata.ino(),
        })
    }

    pub(super) fn read(&self) -> Result<Ring, KeyError> {
        let mut keys = Vec::new();
        for file in self.files()? {
            let key = read_key(&file.path)?;
            keys.push((file, key));
        }
        let newest = keys.pop();
        let newest = newest.ok_or_else(|| unavailable("there is no signing key in the folder"))?;
        Ok(Ring {
            older: keys,
            newest,
            overlap: self.overlap,
        })
    }

    /// The files, the newest last.
    fn files(&self) -> Result<Vec<File>, KeyError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(unavailable)? {
            let path = entry.map_err(unavailable)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(made) = name.and_then(made) {
                files.push(File { made, path });
            }
        }
        files.sort();
        Ok(files)
    }
}

/// When the key in a file of this name was made; `None` for other files.
fn made(name: &str) -> Option<i64> {
    let rest = name.strip_prefix(STEM)?.strip_suffix(".pem")?;
    if rest.is_empty() {
        return Some(0);
    }
    let digits = rest.strip_prefix('-')?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

fn read_key(file: &Path) -> Result<Key, KeyError> {
    let pem = fs::read_to_string(file).map_err(unavailable)?;
    Key::from_pem(&pem)
}

/// Whether a file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Now,
    /// There was one already, and it stays.
    Before,
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
