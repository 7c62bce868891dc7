//! Adds to an archive what tells what is in it, while its bytes pass.
//!
//! All bytes pass through as they are until the directory at the end: only there something is
//! inserted. An archive that describes itself, or that leaves room for doubt, stays as it is.

use bytes::{Bytes, BytesMut};
use crc32fast::Hasher;
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;
use uuid::Uuid;

use super::directory::{Added, Directory, DosTime, Entry, Unfit};
use super::{DESCRIPTION, ZIP};
use crate::export::links::PATH;
use crate::fhir::{AttachedFile, Documented, PatientId, document_reference};
use crate::ports::DocumentFormat;

/// How many bytes at the end of an archive are held back: the directory has to fit. That of some
/// 40,000 files does.
const HELD: usize = 4 << 20;
/// How many bytes of a description are handed on at a time; one line can be more.
const PIECE: usize = 64 << 10;

/// What is told of the files in an archive, beside what its directory tells.
#[derive(Debug, Clone, Copy)]
pub(in crate::export) struct About<'a> {
    /// The archive's own key: ids are made of it.
    pub(in crate::export) key: Uuid,
    /// Whose it is.
    pub(in crate::export) patient: &'a PatientId,
    /// What the archive is, in a sentence.
    pub(in crate::export) description: &'a str,
    /// The public page that explains the formats.
    pub(in crate::export) documentation: &'a str,
    /// When the description is made.
    pub(in crate::export) now: Timestamp,
}

/// A file on its way, and what is held back of it.
#[derive(Debug)]
pub(in crate::export) enum Passing {
    /// An archive, or too little to tell; with how much of it has passed.
    Held(BytesMut, u64),
    /// No archive: nothing is held back.
    Plain,
}

impl Passing {
    pub(in crate::export) fn new() -> Self {
        Self::Held(BytesMut::new(), 0)
    }

    /// Takes bytes of the file, and returns those that may go on.
    pub(in crate::export) fn pass(&mut self, bytes: Bytes) -> Option<Bytes> {
        let Self::Held(held, passed) = self else {
            return Some(bytes);
        };
        held.extend_from_slice(&bytes);
        let begins = &held[..held.len().min(ZIP.len())];
        if *passed == 0 && !ZIP.starts_with(begins) {
            let all = held.split().freeze();
            *self = Self::Plain;
            return Some(all);
        }
        let over = held.len().checked_sub(2 * HELD)?;
        let goes = held.split_to(over + HELD).freeze();
        *passed += goes.len() as u64;
        Some(goes)
    }

    /// What was held back, now that the file has ended.
    pub(in crate::export) fn end(self) -> End {
        match self {
            Self::Held(held, passed) => End {
                tail: held.freeze(),
                passed,
            },
            Self::Plain => End::default(),
        }
    }
}

/// The end of a file.
#[derive(Debug, Default)]
pub(in crate::export) struct End {
    tail: Bytes,
    passed: u64,
}

impl End {
    /// The bytes that end the file, in pieces: as they were, or with a description of the archive.
    pub(in crate::export) fn described<'a>(
        &'a self,
        about: About<'a>,
    ) -> Box<dyn Iterator<Item = Bytes> + Send + 'a> {
        let as_it_was = || Box::new(std::iter::once(self.tail.clone()));
        if !self.tail.starts_with(ZIP) && self.passed == 0 {
            return as_it_was();
        }
        match self.directory() {
            Ok(directory) if is_described(&directory) => as_it_was(),
            Ok(directory) => match insert(self, &directory, about) {
                Some(pieces) => Box::new(pieces),
                None => as_it_was(),
            },
            Err(unfit) => {
                tracing::warn!(key = %about.key, reason = %unfit, "an archive that does not say what is in it stays as it is");
                as_it_was()
            }
        }
    }

    fn directory(&self) -> Result<Directory<'_>, Unfit> {
        Directory::read(&self.tail, self.passed + self.tail.len() as u64)
    }
}

/// Whether it has a description already, at its root or in a folder.
fn is_described(directory: &Directory<'_>) -> bool {
    directory.entries().any(|entry| {
        let name = entry.name.rsplit('/').next().unwrap_or_default();
        name.as_bytes().eq_ignore_ascii_case(DESCRIPTION)
    })
}

/// The end of an archive with its description in it; `None` where there is nothing to describe.
/// The description is made twice, so that it need not be held: first for its size and CRC.
fn insert<'a>(
    end: &'a End,
    directory: &Directory<'a>,
    about: About<'a>,
) -> Option<impl Iterator<Item = Bytes> + Send + 'a> {
    let (mut crc, mut size) = (Hasher::new(), 0);
    for line in lines(directory, about) {
        crc.update(line.as_bytes());
        size += line.len() as u64;
    }
    let added = Added {
        name: std::str::from_utf8(DESCRIPTION).ok()?,
        size: u32::try_from(size)
            .ok()
            .filter(|size| (1..u32::MAX).contains(size))?,
        crc: crc.finalize(),
        time: DosTime::of(about.now),
    };
    // The last bytes of the last file; the directory is in the tail, so this is too.
    let files = usize::try_from(directory.offset() - end.passed).ok()?;
    let front = [
        end.tail.slice(..files),
        Directory::local_header(&added).freeze(),
    ];
    let back = [
        end.tail.slice_ref(directory.raw()),
        directory.closing(&added).freeze(),
    ];
    let mut lines = lines(directory, about);
    let description = std::iter::from_fn(move || {
        let mut piece = BytesMut::new();
        while piece.len() < PIECE
            && let Some(line) = lines.next()
        {
            piece.extend_from_slice(line.as_bytes());
        }
        (!piece.is_empty()).then(|| piece.freeze())
    });
    Some(front.into_iter().chain(description).chain(back))
}

/// One DocumentReference for each file, a line each.
fn lines<'a>(
    directory: &Directory<'a>,
    about: About<'a>,
) -> impl Iterator<Item = String> + Send + use<'a> {
    (directory.entries().zip(1_u64..))
        .filter(|(entry, _)| !entry.name.ends_with('/'))
        .map(move |(entry, number)| line(&entry, number, about))
}

fn line(entry: &Entry<'_>, number: u64, about: About<'_>) -> String {
    let parts: Vec<String> = (entry.name.split('/'))
        .map(|part| utf8_percent_encode(part, PATH).to_string())
        .collect();
    let content_type = content_type(&entry.name);
    let format = DocumentFormat::of_type(content_type);
    let file = AttachedFile {
        url: &parts.join("/"),
        content_type,
        size: entry.size,
        title: &entry.name,
        hash: None,
        created_at: None,
        format_code: &format.code,
        format_display: &format.display,
    };
    let document = Documented {
        id: &format!("{}-{number}", about.key),
        description: &format!("{}: {}", about.description, entry.name),
        document_type: None,
        date: Some(about.now),
        period: None,
        files: &[file],
    };
    let mut line = document_reference(about.patient, about.documentation, &document).to_string();
    line.push('\n');
    line
}

/// The media type by the file's extension, as far as that tells.
fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
        // Common in records, and not in the list of the web.
        "dcm" => "application/dicom",
        "hl7" => "x-application/hl7-v2+er7",
        "ndjson" => "application/x-ndjson",
        other => (mime_guess::from_ext(other).first_raw()).unwrap_or("application/octet-stream"),
    }
}

#[cfg(test)]
mod tests;
