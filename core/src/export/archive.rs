//! Whether an archive describes what is in it.
//!
//! An attached ZIP archive should hold `document_reference.ndjson`, which tells what its other
//! files are. One of a record source that does not is given it (`describe`). What staff add stays
//! as they added it; they are warned of an archive that does not describe itself.
//!
//! Source: Argonaut EHI Export API 0.1.0, attachments.

mod describe;
mod directory;

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

pub(super) use self::describe::{About, Passing};

/// The file that describes an archive.
const DESCRIPTION: &[u8] = b"document_reference.ndjson";

/// How every ZIP archive with files in it begins.
const ZIP: &[u8] = b"PK\x03\x04";

/// What an attachment is, as far as archives go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// No archive.
    #[default]
    No,
    /// An archive that says what is in it.
    Described,
    /// An archive that does not.
    Undescribed,
}

/// Looks at the bytes of a file as they pass, and keeps but a few of them.
///
/// File names stand in an archive uncompressed, so looking for the name is enough. A file that
/// merely quotes it passes too; what is at stake is a warning.
#[derive(Debug)]
pub(super) struct ArchiveLook {
    name: Finder<'static>,
    /// The end of what passed, where the name may have begun.
    tail: Vec<u8>,
    begun_as_zip: Option<bool>,
    described: bool,
}

impl ArchiveLook {
    pub(super) fn new() -> Self {
        Self {
            name: Finder::new(DESCRIPTION),
            tail: Vec::new(),
            begun_as_zip: None,
            described: false,
        }
    }

    pub(super) fn pass(&mut self, bytes: &[u8]) {
        if self.described || self.begun_as_zip == Some(false) {
            return;
        }
        self.described = self.name.find(bytes).is_some();
        // What may span two pieces is at most a name long on either side.
        let reach = bytes.len().min(DESCRIPTION.len());
        self.tail.extend_from_slice(&bytes[..reach]);
        self.described |= self.name.find(&self.tail).is_some();
        if self.begun_as_zip.is_none() && self.tail.len() >= ZIP.len() {
            self.begun_as_zip = Some(self.tail.starts_with(ZIP));
        }
        if self.begun_as_zip.is_some() {
            self.tail.extend_from_slice(
                &bytes[reach..][(bytes.len() - reach).saturating_sub(DESCRIPTION.len())..],
            );
            let keep = self.tail.len().saturating_sub(DESCRIPTION.len());
            self.tail.drain(..keep);
        }
    }

    pub(super) fn archive(&self) -> Archive {
        match (self.begun_as_zip, self.described) {
            (Some(true), true) => Archive::Described,
            (Some(true), false) => Archive::Undescribed,
            _ => Archive::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(content: &[u8], piece: usize) -> Archive {
        let mut look = ArchiveLook::new();
        content.chunks(piece).for_each(|piece| look.pass(piece));
        look.archive()
    }

    #[test]
    fn an_archive_is_looked_through_whatever_pieces_it_comes_in() {
        let filler = [b'x'; 100];
        let zip = |inside: &[u8]| [ZIP, &filler, inside, &filler].concat();
        for piece in 1..240 {
            assert_eq!(
                look(&zip(DESCRIPTION), piece),
                Archive::Described,
                "{piece}"
            );
            assert_eq!(look(&zip(b"a.csv"), piece), Archive::Undescribed, "{piece}");
            assert_eq!(
                look(&[&filler, DESCRIPTION].concat(), piece),
                Archive::No,
                "{piece}"
            );
        }
        assert_eq!(look(b"", 1), Archive::No);
        assert_eq!(look(b"PK", 1), Archive::No);
    }
}
