//! Records out of a Bundle or NDJSON, piece by piece, in memory that does not grow with it.

mod bundle;
mod lines;
mod link;

use std::fmt;
use std::ops::Range;

use super::ResourceType;
use super::batch::{Batch, Scanned};
use super::record::{Element, Record, RecordSyntaxError};
use super::scan::{Scanner, Stop};
use link::Link;

/// How much of the source is held at a time, unless a record is longer: fits a processor's cache.
const WINDOW: usize = 256 * 1024;

/// The byte order mark some editors put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How the records of a source are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One FHIR Bundle, of any type; the order of its elements does not matter.
    Bundle,
    /// One resource a line.
    Ndjson,
}

/// Where a record stands in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Entry of the Bundle, the first being 1.
    Entry(u64),
    /// Line of the NDJSON, the first being 1.
    Line(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(number) => write!(f, "entry {number}"),
            Self::Line(number) => write!(f, "line {number}"),
        }
    }
}

/// A part of the source that could not be read. Holds nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", if *.rest { "; nothing from here on was read" } else { "" })]
pub struct BrokenRecord {
    /// Where it is; `None` for the source as a whole.
    pub place: Option<Place>,
    /// What is wrong with it.
    pub reason: RecordSyntaxError,
    /// Its type, where that could be read.
    pub resource_type: Option<ResourceType>,
    /// Whether it could not be told where it ends, so that all the rest is lost.
    pub rest: bool,
}

/// Reads records from a source that somebody else fetches.
///
/// Put bytes into [`room`](Self::room), say how many with [`filled`](Self::filled), take the
/// records with [`read`](Self::read), and go on until it [`is_done`](Self::is_done). Holds a
/// window of 256 KiB and what it makes of it; for a longer record the window grows up to the
/// limit, and shrinks again behind it.
///
/// A record that cannot be read is reported in its place and reading goes on behind it, as long
/// as it is certain where it ends: in NDJSON always, in a Bundle unless the JSON itself is broken.
///
/// ```
/// use ehi_core::fhir::{Layout, RecordReader, ResourceType};
///
/// let mut source: &[u8] = br#"{ "resourceType": "Bundle", "type": "collection", "entry": [
///     { "resource": { "resourceType": "Patient", "id": "1" } } ] }"#;
/// let mut reader = RecordReader::new(Layout::Bundle, RecordReader::DEFAULT_LIMIT);
/// let mut records = Vec::new();
/// while !reader.is_done() {
///     let count = std::io::Read::read(&mut source, reader.room())?;
///     reader.filled(count);
///     records.extend(reader.read());
/// }
/// let patient = records[0].as_ref().expect("it is well-formed");
/// assert_eq!(patient.resource_type(), ResourceType::Patient);
/// assert_eq!(&patient.json()[..], br#"{"resourceType":"Patient","id":"1"}"#);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct RecordReader {
    layout: Layout,
    limit: usize,
    state: State,
    buffer: Vec<u8>,
    /// What of the buffer is still to be read.
    window: Range<usize>,
    /// How long the window must be for another look at what it holds. Doubles, so that a long
    /// record that comes in little pieces is not read again with each of them.
    worthwhile: usize,
    /// The source has no more bytes than the window.
    ended: bool,
    /// The number of the current entry or line.
    number: u64,
    /// The Bundle has said that it is one.
    is_bundle: bool,
    /// The Bundle has had its `entry`.
    has_entries: bool,
    /// Where the Bundle says that it goes on.
    link: Link,
    batch: Batch,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum State {
    Start,
    Bundle(bundle::State),
    Lines(lines::State),
    Done,
}

/// Why a step led nowhere.
enum Halt {
    /// It takes more of the source.
    More,
    /// This value cannot be taken, but its end can be found.
    Skip(RecordSyntaxError, Option<ResourceType>),
    /// All is lost from here on.
    Broken(RecordSyntaxError, Option<ResourceType>),
}

impl RecordReader {
    /// The longest record a reader takes where nothing else is asked for: 64 MiB. Scans and
    /// images inside a record run to some tens.
    pub const DEFAULT_LIMIT: usize = 64 * 1024 * 1024;

    /// A reader that takes records of up to `limit` bytes, counted as they stand in the source.
    pub fn new(layout: Layout, limit: usize) -> Self {
        Self {
            layout,
            limit: limit.min(Record::MAX_LENGTH),
            state: State::Start,
            buffer: Vec::new(),
            window: 0..0,
            worthwhile: 0,
            ended: false,
            number: 0,
            is_bundle: false,
            has_entries: false,
            link: Link::default(),
            batch: Batch::default(),
        }
    }

    /// Where the next bytes of the source go. Never empty.
    pub fn room(&mut self) -> &mut [u8] {
        let held = self.window.len();
        if self.buffer.len() > WINDOW && held <= WINDOW / 2 {
            // A long record lies behind.
            self.buffer = self.buffer[self.window.clone()].to_vec();
            self.buffer.resize(WINDOW, 0);
        } else {
            self.buffer.copy_within(self.window.clone(), 0);
        }
        self.window = 0..held;
        if held == self.buffer.len() {
            let doubled = (held * 2).min(self.limit);
            self.buffer.resize(doubled.max(held + 1).max(WINDOW), 0);
        }
        &mut self.buffer[held..]
    }

    /// Says how many bytes have been put into [`room`](Self::room); 0 when the source has ended.
    pub fn filled(&mut self, count: usize) {
        self.ended |= count == 0;
        self.window.end = (self.window.end + count).min(self.buffer.len());
    }

    /// Whether there is nothing more to read, be it because of an error.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The records that have come in whole, in the order of the source, and those that could not
    /// be read.
    pub fn read(&mut self) -> Vec<Result<Record, BrokenRecord>> {
        if self.window.len() < self.worthwhile && !self.ended {
            return Vec::new();
        }
        self.worthwhile = 0;
        while !self.is_done() {
            match self.step() {
                Ok(()) => {}
                Err(Halt::More) => break,
                Err(Halt::Skip(reason, resource_type)) => self.skip(reason, resource_type),
                Err(Halt::Broken(reason, resource_type)) => self.stop(reason, resource_type),
            }
        }
        if self.batch.is_empty() {
            return Vec::new();
        }
        let items = self.batch.take();
        self.batch.shrink(2 * WINDOW);
        items
    }

    /// Where the next page of the Bundle is, as the Bundle writes it; `None` where it is the last.
    /// Complete once the reader [is done](Self::is_done).
    ///
    /// An error tells that the Bundle's `link` cannot be understood: whether more follows is not
    /// known, and taking it for the last page would lose records.
    ///
    /// Source: FHIR R4, `Bundle.link` with the relation `next` (RFC 5988).
    pub fn next_link(&self) -> Result<Option<&str>, RecordSyntaxError> {
        self.link.next()
    }

    fn step(&mut self) -> Result<(), Halt> {
        match self.state {
            State::Start => self.start(),
            State::Bundle(_) => self.bundle_step(),
            State::Lines(_) => self.lines_step(),
            State::Done => Ok(()),
        }
    }

    fn start(&mut self) -> Result<(), Halt> {
        let window = &self.buffer[self.window.clone()];
        if window.starts_with(BYTE_ORDER_MARK) {
            self.window.start += BYTE_ORDER_MARK.len();
        } else if BYTE_ORDER_MARK.starts_with(window) && !self.ended {
            return Err(Halt::More);
        }
        self.state = match self.layout {
            Layout::Bundle => State::Bundle(bundle::State::Open),
            Layout::Ndjson => State::Lines(lines::State::Line { searched: 0 }),
        };
        Ok(())
    }

    /// What of the source is at hand.
    fn window(&self) -> &[u8] {
        &self.buffer[self.window.clone()]
    }

    /// Reads what stands at the beginning of the window. Consumes nothing unless it is there whole.
    fn scan(
        &mut self,
        scan: impl FnOnce(&mut Scanner<'_>, &mut Vec<Element>) -> Result<Option<Range<usize>>, Stop>,
    ) -> Result<Scanned, Halt> {
        let held = self.window.len();
        let source = &self.buffer[self.window.start..self.window.start + held.min(self.limit)];
        let (scanned, read) = self.batch.scan(source, scan);
        let limit = self.limit;
        match read {
            Ok(()) => {
                self.window.start += scanned.at;
                Ok(scanned)
            }
            Err(Stop::End) if source.len() < limit && !self.ended => {
                self.worthwhile = (held * 2).min(limit);
                Err(Halt::More)
            }
            Err(Stop::End) if held >= limit => {
                let reason = RecordSyntaxError::TooLong { limit };
                Err(Halt::Skip(reason, scanned.resource_type))
            }
            Err(Stop::Depth) => Err(Halt::Skip(
                RecordSyntaxError::TooDeep,
                scanned.resource_type,
            )),
            Err(stop) => Err(Halt::Broken(stop.into(), scanned.resource_type)),
        }
    }

    /// Nothing may follow: asks for more of the source to be sure.
    fn finish(&mut self) -> Result<(), Halt> {
        if !self.ended {
            return Err(Halt::More);
        }
        self.state = State::Done;
        Ok(())
    }

    /// Reports that all from here on is lost.
    fn stop(&mut self, reason: RecordSyntaxError, resource_type: Option<ResourceType>) {
        self.broken(reason, resource_type, true);
        self.state = State::Done;
    }

    fn broken(
        &mut self,
        reason: RecordSyntaxError,
        resource_type: Option<ResourceType>,
        rest: bool,
    ) {
        let place = match self.state {
            State::Bundle(state) => state.is_entry().then_some(Place::Entry(self.number)),
            State::Lines(_) => Some(Place::Line(self.number)),
            State::Start | State::Done => None,
        };
        self.batch.broken(BrokenRecord {
            place,
            reason,
            resource_type,
            rest,
        });
    }
}

#[cfg(test)]
mod tests;
