//! One file of the log: its name, its lines, its end.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ehi_core::audit::{Link, LinkHash};
use ehi_core::ports::AuditEntry;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A line: an entry and its link.
#[derive(Serialize, Deserialize)]
pub(super) struct Line<'a> {
    pub number: u64,
    pub hash: LinkHash,
    /// As it is stored: the link is made over these very bytes.
    #[serde(borrow)]
    pub event: &'a RawValue,
}

impl<'a> Line<'a> {
    pub fn parse(line: &'a str) -> io::Result<Self> {
        serde_json::from_str(line).map_err(io::Error::from)
    }

    pub fn link(&self) -> Link {
        Link {
            number: self.number,
            hash: self.hash,
        }
    }

    pub fn entry(&self) -> io::Result<AuditEntry> {
        let event = serde_json::from_str(self.event.get())?;
        let number = self.number;
        Ok(AuditEntry { number, event })
    }

    /// The line of an entry with this text, which comes after `last`.
    pub fn append(last: Link, event: &str, lines: &mut String) -> io::Result<Link> {
        let link = last.next(event);
        let entry = Line {
            number: link.number,
            hash: link.hash,
            event: serde_json::from_str(event)?,
        };
        lines.push_str(&serde_json::to_string(&entry)?);
        lines.push('\n');
        Ok(link)
    }
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    first: u64,
    file: PathBuf,
}

impl Segment {
    /// The file that begins with this entry.
    pub fn new(folder: &Path, first: u64) -> Self {
        Self {
            first,
            file: folder.join(format!("audit-{first:012}.ndjson")),
        }
    }

    /// Every file of the log, oldest first.
    pub fn all(folder: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let first = name
                .to_str()
                .and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".ndjson"));
            if let Some(first) = first.and_then(|first| first.parse().ok()) {
                segments.push(Self::new(folder, first));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// The number of its first entry.
    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its whole lines. A last line without its end was never acknowledged: a machine died while
    /// it was written.
    pub fn text(&self) -> io::Result<String> {
        let mut bytes = std::fs::read(&self.file)?;
        bytes.truncate(memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1));
        String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }
}

/// The file that remembers the newest link.
pub(super) fn head_file(folder: &Path) -> PathBuf {
    folder.join("head")
}

/// The newest link that was remembered; `None` before the first entry.
pub(super) fn head(folder: &Path) -> io::Result<Option<Link>> {
    match std::fs::read_to_string(head_file(folder)) {
        Ok(text) => {
            let link = text.trim_end().parse();
            link.map(Some)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file that only the server's own user can read.
pub(super) fn private(file: &Path, options: &mut std::fs::OpenOptions) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600).open(file)
}
