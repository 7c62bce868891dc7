//! Records out of a Bundle or NDJSON, piece by piece, in memory that does not grow with it.

use std::fmt;
use std::ops::Range;

use memchr::memchr;

use super::ResourceType;
use super::batch::{Batch, Scanned};
use super::record::{Element, Flaw, Record, RecordSyntaxError};
use super::scan::{Scanner, Stop};
use super::skip::Skipper;

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
    /// The source has no more bytes than the window.
    ended: bool,
    /// The number of the current entry or line.
    number: u64,
    /// `resourceType` said Bundle.
    is_bundle: bool,
    has_entries: bool,
    batch: Batch,
}

/// What comes next.
#[derive(Debug)]
enum State {
    Start,
    /// The Bundle's opening brace.
    Open,
    /// A member of the Bundle, or its end.
    Member {
        first: bool,
    },
    /// The value of a member that is not `entry`.
    Value {
        is_type: bool,
    },
    /// An entry, or the end of the array.
    Entry {
        first: bool,
    },
    EntryValue,
    /// The rest of a value that is passed over; behind it comes a member or an entry.
    Skip {
        skipper: Skipper,
        is_entry: bool,
    },
    /// Nothing but white space.
    Trailing,
    /// A line; so many bytes of the window are known to have no line break.
    Line {
        searched: usize,
    },
    /// The rest of a line that is too long.
    LongLine,
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
            ended: false,
            number: 0,
            is_bundle: false,
            has_entries: false,
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
        while !self.is_done() {
            match self.step() {
                Ok(()) => {}
                Err(Halt::More) => break,
                Err(Halt::Skip(reason, resource_type)) => {
                    let is_entry = matches!(self.state, State::EntryValue);
                    if is_entry {
                        self.broken(reason, resource_type, false);
                    }
                    let skipper = Skipper::default();
                    self.state = State::Skip { skipper, is_entry };
                }
                Err(Halt::Broken(reason, resource_type)) => {
                    self.broken(reason, resource_type, true);
                    self.state = State::Done;
                }
            }
        }
        if self.batch.is_empty() {
            return Vec::new();
        }
        let items = self.batch.take();
        self.batch.shrink(2 * WINDOW);
        items
    }

    fn step(&mut self) -> Result<(), Halt> {
        match &mut self.state {
            State::Start => self.start(),
            State::Open => {
                self.scan(|scanner, _| {
                    if scanner.peek()? != b'{' {
                        scanner.mar(Flaw::Bundle);
                        return Ok(None);
                    }
                    scanner.take(b'{');
                    Ok(None)
                })?;
                self.state = State::Member { first: true };
                Ok(())
            }
            State::Member { first } => {
                let first = *first;
                self.member(first)
            }
            State::Value { is_type } => {
                let is_type = *is_type;
                self.member_value(is_type)
            }
            State::Entry { first } => {
                let first = *first;
                self.entry(first)
            }
            State::EntryValue => self.entry_value(),
            State::Skip { skipper, is_entry } => {
                let window = &self.buffer[self.window.clone()];
                let Some(length) = skipper.skip(window) else {
                    self.window.start = self.window.end;
                    return self.more();
                };
                self.window.start += length;
                self.state = if *is_entry {
                    State::Entry { first: false }
                } else {
                    State::Member { first: false }
                };
                Ok(())
            }
            State::Trailing => self.trailing(),
            State::Line { searched } => {
                let searched = *searched;
                self.line(searched)
            }
            State::LongLine => {
                let window = &self.buffer[self.window.clone()];
                let Some(length) = memchr(b'\n', window) else {
                    self.window.start = self.window.end;
                    return self.more_or_done();
                };
                self.window.start += length + 1;
                self.state = State::Line { searched: 0 };
                Ok(())
            }
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
            Layout::Bundle => State::Open,
            Layout::Ndjson => State::Line { searched: 0 },
        };
        Ok(())
    }

    /// Reads up to where the value of the Bundle's next member begins.
    fn member(&mut self, first: bool) -> Result<(), Halt> {
        let mut next = State::Trailing;
        self.scan(|scanner, _| {
            if scanner.peek()? == b'}' {
                scanner.take(b'}');
                return Ok(None);
            }
            if !first {
                scanner.expect(b',')?;
            }
            scanner.peek()?;
            let start = scanner.written;
            scanner.name()?;
            let name = scanner.text(start..scanner.written);
            let is_type = name == b"\"resourceType\":";
            let is_entry = name == b"\"entry\":";
            if name.contains(&b'\\') {
                scanner.mar(Flaw::Name);
            }
            let value = scanner.peek()?;
            next = if is_entry {
                if value != b'[' {
                    scanner.mar(Flaw::Bundle);
                    return Ok(None);
                }
                scanner.take(b'[');
                State::Entry { first: true }
            } else {
                State::Value { is_type }
            };
            Ok(None)
        })?;
        if matches!(next, State::Entry { .. }) {
            if self.has_entries {
                return Err(Halt::Broken(RecordSyntaxError::Duplicate, None));
            }
            self.has_entries = true;
        }
        self.state = next;
        Ok(())
    }

    fn member_value(&mut self, is_type: bool) -> Result<(), Halt> {
        let mut is_bundle = self.is_bundle;
        self.scan(|scanner, _| {
            let flaw = scanner.flaw;
            scanner.value(0)?;
            if is_type {
                is_bundle = scanner.text(0..scanner.written) == b"\"Bundle\"";
                if !is_bundle {
                    scanner.mar(Flaw::Bundle);
                }
            } else {
                // Not part of a record.
                scanner.flaw = flaw;
            }
            Ok(None)
        })?;
        self.is_bundle = is_bundle;
        self.state = State::Member { first: false };
        Ok(())
    }

    /// Reads up to where the next entry begins.
    fn entry(&mut self, first: bool) -> Result<(), Halt> {
        let mut is_end = false;
        self.scan(|scanner, _| {
            is_end = scanner.peek()? == b']';
            if is_end {
                scanner.take(b']');
            } else {
                if !first {
                    scanner.expect(b',')?;
                }
                scanner.peek()?;
            }
            Ok(None)
        })?;
        self.state = if is_end {
            State::Member { first: false }
        } else {
            self.number += 1;
            State::EntryValue
        };
        Ok(())
    }

    fn entry_value(&mut self) -> Result<(), Halt> {
        let scanned = self.scan_any(resource_of_entry)?;
        if let Some(reason) = scanned.flaw {
            self.broken(reason, scanned.resource_type, false);
        }
        self.state = State::Entry { first: false };
        Ok(())
    }

    fn trailing(&mut self) -> Result<(), Halt> {
        if !self.buffer[self.window.clone()].trim_ascii().is_empty() {
            return Err(Halt::Broken(RecordSyntaxError::Json, None));
        }
        if self.ended && !self.is_bundle {
            return Err(Halt::Broken(RecordSyntaxError::Bundle, None));
        }
        self.window.start = self.window.end;
        self.more_or_done()
    }

    fn line(&mut self, searched: usize) -> Result<(), Halt> {
        let window = &self.buffer[self.window.clone()];
        let found = memchr(b'\n', &window[searched..]).map(|at| searched + at);
        let length = match found {
            Some(length) => length,
            None if window.len() <= self.limit && !self.ended => {
                self.state = State::Line {
                    searched: window.len(),
                };
                return Err(Halt::More);
            }
            None => window.len(),
        };
        self.number += 1;
        let line = &window[..length.min(self.limit)];
        if !line.trim_ascii().is_empty() {
            let (scanned, read) = self.batch.scan(line, |scanner, elements| {
                scanner.record(elements)?;
                let end = scanner.written;
                match scanner.peek() {
                    Err(Stop::End) => Ok(Some(0..end)),
                    Ok(_) | Err(_) => Err(Stop::Syntax),
                }
            });
            let cut = length > self.limit;
            let reason = match read {
                _ if cut => Some(RecordSyntaxError::TooLong { limit: self.limit }),
                Ok(()) => scanned.flaw,
                Err(stop) => Some(stop.into()),
            };
            if let Some(reason) = reason {
                // A last line that stops in the middle: somebody is still writing.
                let rest = reason == RecordSyntaxError::Truncated && found.is_none();
                self.broken(reason, scanned.resource_type, rest);
            }
        }
        if found.is_some() {
            self.window.start += length + 1;
            self.state = State::Line { searched: 0 };
            return Ok(());
        }
        self.window.start = self.window.end;
        self.state = State::LongLine;
        Ok(())
    }

    /// Reads something that may not have a flaw.
    fn scan(
        &mut self,
        scan: impl FnOnce(&mut Scanner<'_>, &mut Vec<Element>) -> Result<Option<Range<usize>>, Stop>,
    ) -> Result<(), Halt> {
        match self.scan_any(scan)?.flaw {
            Some(reason) => Err(Halt::Broken(reason, None)),
            None => Ok(()),
        }
    }

    /// Reads what stands at the beginning of the window. Consumes nothing unless it is there whole.
    fn scan_any(
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
            Err(Stop::End) if source.len() < limit && !self.ended => Err(Halt::More),
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

    fn more(&self) -> Result<(), Halt> {
        Err(if self.ended {
            Halt::Broken(RecordSyntaxError::Truncated, None)
        } else {
            Halt::More
        })
    }

    fn more_or_done(&mut self) -> Result<(), Halt> {
        if !self.ended {
            return Err(Halt::More);
        }
        self.state = State::Done;
        Ok(())
    }

    fn broken(
        &mut self,
        reason: RecordSyntaxError,
        resource_type: Option<ResourceType>,
        rest: bool,
    ) {
        let place = match (&self.state, self.layout) {
            (_, Layout::Ndjson) => Some(Place::Line(self.number)),
            (State::EntryValue | State::Entry { .. } | State::Skip { is_entry: true, .. }, _) => {
                Some(Place::Entry(self.number))
            }
            _ => None,
        };
        self.batch.broken(BrokenRecord {
            place,
            reason,
            resource_type,
            rest,
        });
    }
}

/// Reads an entry of a Bundle; where its resource was written, if it has one.
fn resource_of_entry(
    scanner: &mut Scanner<'_>,
    elements: &mut Vec<Element>,
) -> Result<Option<Range<usize>>, Stop> {
    if scanner.peek()? != b'{' {
        scanner.value(0)?;
        scanner.mar(Flaw::ResourceType);
        return Ok(None);
    }
    let mut resource = None;
    scanner.object(|scanner, name| {
        let before = scanner.flaw;
        if scanner.text(name) != b"\"resource\"" {
            scanner.value(1)?;
            // Not part of the record, so no reason to refuse it.
            scanner.flaw = before;
            return Ok(());
        }
        if resource.is_some() {
            scanner.mar(Flaw::Duplicate);
        }
        scanner.peek()?;
        let start = scanner.written;
        scanner.record(elements)?;
        resource = Some(start..scanner.written);
        Ok(())
    })?;
    Ok(resource)
}

#[cfg(test)]
mod tests;
