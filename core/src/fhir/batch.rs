//! Records that are read together and share their memory.

use std::ops::Range;

use bytes::Bytes;

use super::reader::BrokenRecord;
use super::record::{Element, Record};
use super::scan::Scanner;
use super::{RecordSyntaxError, ResourceType};

/// Collects records in a buffer that is used again, and hands them out as slices of one
/// allocation that fits.
#[derive(Debug, Default)]
pub(super) struct Batch {
    out: Vec<u8>,
    written: usize,
    elements: Vec<Element>,
    items: Vec<Result<Found, BrokenRecord>>,
}

/// A record in the buffer.
#[derive(Debug)]
struct Found {
    json: Range<usize>,
    elements: Range<usize>,
    resource_type: ResourceType,
}

/// Where a scan of [`Batch::scan`] stood in the end.
#[derive(Debug)]
pub(super) struct Scanned {
    /// How much of the source was read.
    pub(super) at: usize,
    /// The type of the record, where it was seen.
    pub(super) resource_type: Option<ResourceType>,
    /// Why the record is none, where that is so though its end was found.
    pub(super) flaw: Option<RecordSyntaxError>,
}

impl Batch {
    /// Whether nothing has been collected.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Reads what lies at the beginning of `source`. The range that `scan` returns, of what it
    /// wrote, becomes a record, unless there is a flaw.
    pub(super) fn scan<E>(
        &mut self,
        source: &[u8],
        scan: impl FnOnce(&mut Scanner<'_>, &mut Vec<Element>) -> Result<Option<Range<usize>>, E>,
    ) -> (Scanned, Result<(), E>) {
        let needed = self.written + source.len() + Scanner::SLACK;
        if self.out.len() < needed {
            self.out.resize(needed, 0);
        }
        let first = self.elements.len();
        let mut scanner = Scanner::new(source, &mut self.out[self.written..]);
        let read = scan(&mut scanner, &mut self.elements);
        let outcome = Scanned {
            at: scanner.at,
            resource_type: scanner.resource_type,
            flaw: scanner.flaw.map(Into::into),
        };
        let found = match (&read, outcome.resource_type, outcome.flaw) {
            (Ok(Some(json)), Some(resource_type), None) => Some((json.clone(), resource_type)),
            _ => None,
        };
        if let Some((json, resource_type)) = found {
            let json = self.written + json.start..self.written + json.end;
            self.written = json.end;
            self.items.push(Ok(Found {
                json,
                elements: first..self.elements.len(),
                resource_type,
            }));
        } else {
            self.elements.truncate(first);
        }
        (outcome, read.map(drop))
    }

    /// Adds something that could not be read.
    pub(super) fn broken(&mut self, record: BrokenRecord) {
        self.items.push(Err(record));
    }

    /// What has been collected, in order.
    pub(super) fn take(&mut self) -> Vec<Result<Record, BrokenRecord>> {
        let json = Bytes::copy_from_slice(&self.out[..self.written]);
        let elements = self.elements.as_slice().into();
        self.written = 0;
        self.elements.clear();
        (self.items.drain(..))
            .map(|item| {
                item.map(|found| {
                    let json = json.slice(found.json);
                    let elements = std::sync::Arc::clone(&elements);
                    Record::new(json, found.resource_type, elements, found.elements)
                })
            })
            .collect()
    }

    /// How many bytes it keeps to itself.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.out.capacity()
    }

    /// Gives back memory beyond `limit` bytes.
    pub(super) fn shrink(&mut self, limit: usize) {
        if self.out.capacity() > limit {
            self.out.truncate(limit);
            self.out.shrink_to_fit();
        }
    }
}
