//! Where exported files and attachments live.

use std::fmt::{self, Debug};
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use url::Url;

use super::Cause;

/// Keeps files of any size.
///
/// A file appears whole, when its writer finishes, and never changes afterwards.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait FileStore: Debug + Send + Sync + 'static {
    /// Begins a file. Nothing is visible at `path` before [`FileWriter::finish`]; a writer that is
    /// dropped leaves nothing behind. A file that is already there is replaced.
    async fn writer(&self, path: &FilePath) -> Result<Box<dyn FileWriter>, FileError>;

    /// The size in bytes, or `None` when there is no such file.
    async fn size(&self, path: &FilePath) -> Result<Option<u64>, FileError>;

    /// The bytes of `range` (cut to the file's end), or `None` when there is no such file.
    async fn read(
        &self,
        path: &FilePath,
        range: Range<u64>,
    ) -> Result<Option<FileBytes>, FileError>;

    /// Deletes every file below the folder. No file there is no error.
    async fn delete_prefix(&self, folder: &FilePath) -> Result<(), FileError>;

    /// The folders at the top, in any order: one for each job that keeps files.
    async fn folders(&self) -> Result<Vec<FilePath>, FileError>;

    /// Every file below the folder, in any order.
    async fn list(&self, folder: &FilePath) -> Result<Vec<FilePath>, FileError>;

    /// Removes what writers left that died without a word, and returns how many there were: none
    /// of it is visible, but it takes space. Never takes anything from a writer that lives,
    /// whichever process it lives in.
    ///
    /// A store in which unfinished files go by themselves has nothing to do.
    async fn sweep_unfinished(&self) -> Result<usize, FileError> {
        Ok(0)
    }

    /// A link by which whoever has it fetches the file from the store itself, until about
    /// `lifetime` from now. It is made without asking whether there is a file. `None` when this
    /// store offers no links.
    async fn direct_link(
        &self,
        path: &FilePath,
        shown_as: &ShownAs,
        lifetime: Duration,
    ) -> Result<Option<DirectLink>, FileError> {
        let _ = (path, shown_as, lifetime);
        Ok(None)
    }
}

/// What whoever follows a direct link is told of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownAs {
    /// The name to save it under.
    pub name: String,
    /// Its media type.
    pub content_type: String,
}

/// A link that opens one file for a time, without a token.
#[derive(Clone, PartialEq, Eq)]
pub struct DirectLink {
    /// Where the file is. A secret: whoever has it has the file.
    pub url: Url,
    /// When the link is dead, or a little earlier.
    pub until: Timestamp,
}

impl Debug for DirectLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectLink")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// Writes one file.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait FileWriter: Send + 'static {
    /// Appends bytes. Holds them no longer than it needs: memory stays bounded.
    async fn write(&mut self, bytes: Bytes) -> Result<(), FileError>;

    /// Makes the file durable and visible.
    async fn finish(self: Box<Self>) -> Result<(), FileError>;
}

/// The bytes of a file, in chunks.
pub type FileBytes = BoxStream<'static, Result<Bytes, FileError>>;

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// No space left. Somebody has to make room.
    #[error("no space left for files")]
    Full(#[source] Cause),
    /// The store cannot answer right now. Retry later.
    #[error("the file store is unavailable")]
    Unavailable(#[source] Cause),
}

/// Why a text is not a file path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a path of plain names: 1 to 128 letters, digits, '-', '_' or '.' each")]
pub struct InvalidPath;

/// A path of plain names: no root, no `.` and `..`, nothing a file system or URL reads twice.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(String);

impl FilePath {
    /// Reads a path of names separated by `/`.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        text.split('/')
            .all(is_plain)
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidPath)
    }

    /// A path of names that are plain by construction: ids, numbers, names of types.
    pub(crate) fn of<const N: usize>(names: [&str; N]) -> Self {
        debug_assert!(
            names.iter().all(|name| Self::parse(name).is_ok()),
            "{names:?}"
        );
        Self(names.join("/"))
    }

    /// The path one name deeper; the name is plain by construction.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self::of([self.as_str(), name])
    }

    /// The folder at the top that it is in.
    #[must_use]
    pub fn top(&self) -> Self {
        let top = self.0.split('/').next().unwrap_or_default();
        Self(top.to_owned())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `folder` or below it.
    pub fn is_below(&self, folder: &Self) -> bool {
        (self.0.strip_prefix(&folder.0))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Names start with a letter or digit: none is hidden, a flag, or `..`.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=128).contains(&name.len())
        && name.bytes().all(plain)
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

impl Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_its_folder() {
        for good in ["a", "job-1/2/Patient.ndjson", "a.b/c_d"] {
            assert_eq!(FilePath::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "", "/", "/a", "a/", "a//b", "..", "a/../b", ".", ".hidden", "a/.tmp", "a\\b", "a\0",
            "ä", "-rf", "a b",
        ] {
            assert_eq!(FilePath::parse(bad), Err(InvalidPath), "{bad:?}");
        }
    }

    #[test]
    fn below_means_whole_names() {
        let path = |text| FilePath::parse(text).unwrap();
        assert!(path("a/b").is_below(&path("a")) && path("a").is_below(&path("a")));
        assert!(!path("ab/c").is_below(&path("a")));
    }
}
