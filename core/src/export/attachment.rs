//! Files that staff (or a record source) add to an export.

use std::collections::HashSet;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use uuid::Uuid;

use super::archive::ArchiveLook;
use super::links::PATH;
use super::{Archive, ExportJob};
use crate::fhir::{DocumentType, Period};
use crate::ports::{DocumentFormat, FileError, FileStore, FileWriter, random_uuid};

/// Why a text cannot name an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a file name has 1 to 200 characters, without '/', '\\' and control characters, and is not '.' or '..'"
)]
pub struct InvalidName;

/// The name of an attached file, kept as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttachmentName(String);

impl AttachmentName {
    /// Reads a name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let path_like = |c: char| matches!(c, '/' | '\\') || c.is_control();
        let blank = name.trim().is_empty() || matches!(name, "." | "..");
        (!blank && name.chars().count() <= 200 && !name.contains(path_like))
            .then(|| Self(name.to_owned()))
            .ok_or(InvalidName)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it stands at the end of the attachment's link.
    pub(super) fn in_link(&self) -> String {
        utf8_percent_encode(&self.0, PATH).to_string()
    }

    /// This name, or with the lowest number in front that no other file has: `1.a.png`.
    #[must_use]
    pub fn unlike(self, taken: &HashSet<Self>) -> Self {
        if !taken.contains(&self) {
            return self;
        }
        (1..u32::MAX)
            .map(|number| Self(format!("{number}.{}", self.0)))
            .find(|name| !taken.contains(name))
            .unwrap_or(self)
    }
}

impl fmt::Display for AttachmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AttachmentName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        Self::parse(&name)
    }
}

impl From<AttachmentName> for String {
    fn from(name: AttachmentName) -> Self {
        name.0
    }
}

/// A file that belongs to an export without being a FHIR resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The name it is known by, one of a kind within its job.
    pub title: AttachmentName,
    /// Media type.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// SHA-1 of the bytes in base64, as FHIR's `Attachment.hash` wants it.
    pub hash: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// What it is, in a sentence.
    pub description: String,
    /// How its bytes are to be read.
    pub format: DocumentFormat,
    /// What kind of document it is, where that is known.
    pub document_type: Option<DocumentType>,
    /// When its matter happened, where that is known.
    pub period: Option<Period>,
    /// Whether it is an archive that says what is in it.
    pub archive: Archive,
    /// The attempt that exported it; `None` for what staff added.
    pub attempt: Option<u32>,
    /// Names the stored file; a title never becomes a path.
    pub key: Uuid,
}

impl Attachment {
    /// An attachment that has no bytes yet.
    pub(super) fn new(
        title: AttachmentName,
        content_type: String,
        now: Timestamp,
        random: [u8; 32],
    ) -> Self {
        Self {
            description: title.to_string(),
            title,
            format: DocumentFormat::of_type(&content_type),
            document_type: None,
            period: None,
            content_type,
            size: 0,
            hash: String::new(),
            created_at: now,
            archive: Archive::No,
            attempt: None,
            key: random_uuid(random),
        }
    }
}

/// The titles of those attachments that are named: by title, or, since clients may know a file by
/// its link alone, as it stands there. A name that is a title means that file and no other.
pub(super) fn named(attachments: &[Attachment], names: &HashSet<&str>) -> HashSet<AttachmentName> {
    let titles = || attachments.iter().map(|attachment| &attachment.title);
    let exactly: HashSet<&str> = titles().map(AttachmentName::as_str).collect();
    let linked = |title: &AttachmentName| {
        let link = title.in_link();
        names.contains(link.as_str()) && !exactly.contains(link.as_str())
    };
    titles()
        .filter(|title| names.contains(title.as_str()) || linked(title))
        .cloned()
        .collect()
}

/// Writes the bytes of an attachment, and learns its size and hash on the way. Dropping it keeps
/// nothing.
pub(super) struct AttachmentWriter {
    attachment: Attachment,
    writer: Box<dyn FileWriter>,
    hash: Sha1,
    look: ArchiveLook,
}

impl AttachmentWriter {
    pub(super) async fn begin(
        files: &dyn FileStore,
        job: &ExportJob,
        attachment: Attachment,
    ) -> Result<Self, FileError> {
        Ok(Self {
            writer: files.writer(&job.attachment_path(&attachment)).await?,
            attachment,
            hash: Sha1::new(),
            look: ArchiveLook::new(),
        })
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), FileError> {
        self.attachment.size += bytes.len() as u64;
        self.hash.update(&bytes);
        self.look.pass(&bytes);
        self.writer.write(bytes).await
    }

    pub(super) async fn finish(mut self) -> Result<Attachment, FileError> {
        self.writer.finish().await?;
        self.attachment.archive = self.look.archive();
        self.attachment.hash = BASE64_STANDARD.encode(self.hash.finalize());
        Ok(self.attachment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path_and_no_header() {
        for good in [
            "a.png",
            "Röntgen 2019 (1).pdf",
            "…",
            ".profile",
            "a;b=\"c\".txt",
        ] {
            assert_eq!(AttachmentName::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            " ",
            ".",
            "..",
            "a/b",
            "..\\b",
            "a\r\nSet-Cookie: x",
            "a\0",
            &"x".repeat(201),
        ] {
            assert_eq!(AttachmentName::parse(bad), Err(InvalidName), "{bad:?}");
        }
    }

    #[test]
    fn a_second_file_of_the_same_name_gets_a_number() {
        let name = AttachmentName::parse("a.png").unwrap();
        let mut taken = HashSet::new();
        for expected in ["a.png", "1.a.png", "2.a.png"] {
            let next = name.clone().unlike(&taken);
            assert_eq!(next.as_str(), expected);
            taken.insert(next);
        }
    }
}
