//! The way through a Bundle, entry by entry.

use std::ops::Range;

use super::super::record::{Element, Flaw};
use super::super::scan::Scanner;
use super::super::skip::Skipper;
use super::link::next_link;
use super::{Halt, RecordReader, RecordSyntaxError, ResourceType, Stop};

/// Where in the Bundle reading stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// In front of its opening brace.
    Open,
    /// In front of the name of a member, or of its end.
    Member { first: bool },
    /// In front of the value of a member.
    Value(Member),
    /// Behind a member.
    MemberEnd,
    /// Behind the bracket that opens `entry`.
    Entries,
    /// In front of an entry.
    Entry,
    /// Behind an entry.
    EntryEnd,
    /// In a value that is passed over.
    Skip { skipper: Skipper, is_entry: bool },
    /// Behind its closing brace.
    Trailing,
}

/// Which member of a Bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    ResourceType,
    Entry,
    Link,
    Other,
}

impl State {
    /// Whether reading stands at an entry.
    pub(super) fn is_entry(self) -> bool {
        match self {
            Self::Entry | Self::EntryEnd => true,
            Self::Skip { is_entry, .. } => is_entry,
            _ => false,
        }
    }
}

impl RecordReader {
    pub(super) fn bundle_step(&mut self) -> Result<(), Halt> {
        let super::State::Bundle(state) = self.state else {
            return Ok(());
        };
        let next = match state {
            State::Open => {
                if self.peek()? != b'{' {
                    return Err(Halt::Broken(RecordSyntaxError::Bundle, None));
                }
                self.window.start += 1;
                State::Member { first: true }
            }
            State::Member { first: true } if self.peek()? == b'}' => self.closed(),
            State::Member { .. } => State::Value(self.member()?),
            State::Value(member) => self.value(member)?,
            State::MemberEnd => match self.peek()? {
                b',' => {
                    self.window.start += 1;
                    State::Member { first: false }
                }
                b'}' => self.closed(),
                _ => return Err(Halt::Broken(RecordSyntaxError::Json, None)),
            },
            State::Entries if self.peek()? == b']' => {
                self.window.start += 1;
                State::MemberEnd
            }
            State::Entries => self.next_entry(),
            State::Entry => {
                self.peek()?;
                let outcome = self.scan(resource_of_entry)?;
                if let Some(reason) = outcome.flaw {
                    self.broken(reason, outcome.resource_type, false);
                }
                State::EntryEnd
            }
            State::EntryEnd => {
                let byte = self.peek()?;
                self.window.start += 1;
                match byte {
                    b',' => self.next_entry(),
                    b']' => State::MemberEnd,
                    _ => return Err(Halt::Broken(RecordSyntaxError::Json, None)),
                }
            }
            State::Skip {
                mut skipper,
                is_entry,
            } => {
                let Some(length) = skipper.skip(self.window()) else {
                    self.window.start = self.window.end;
                    self.state = super::State::Bundle(State::Skip { skipper, is_entry });
                    return Err(self.more());
                };
                self.window.start += length;
                if is_entry {
                    State::EntryEnd
                } else {
                    State::MemberEnd
                }
            }
            State::Trailing => {
                self.skip_blanks();
                if !self.window.is_empty() {
                    return Err(Halt::Broken(RecordSyntaxError::Json, None));
                }
                if self.ended && !self.is_bundle {
                    return Err(Halt::Broken(RecordSyntaxError::Bundle, None));
                }
                return self.finish();
            }
        };
        self.state = super::State::Bundle(next);
        Ok(())
    }

    /// Passes over a value that cannot be taken.
    pub(super) fn skip(&mut self, reason: RecordSyntaxError, resource_type: Option<ResourceType>) {
        let super::State::Bundle(state) = self.state else {
            return self.stop(reason, resource_type);
        };
        let is_entry = match state {
            State::Entry => true,
            State::Value(member) => {
                if member == Member::Link {
                    self.link.refuse(reason);
                }
                false
            }
            _ => return self.stop(reason, resource_type),
        };
        if is_entry {
            self.broken(reason, resource_type, false);
        }
        let skipper = Skipper::default();
        self.state = super::State::Bundle(State::Skip { skipper, is_entry });
    }

    fn closed(&mut self) -> State {
        self.window.start += 1;
        State::Trailing
    }

    fn next_entry(&mut self) -> State {
        self.number += 1;
        State::Entry
    }

    /// Reads the name of a member.
    fn member(&mut self) -> Result<Member, Halt> {
        self.peek()?;
        let mut member = Member::Other;
        let outcome = self.scan(|scanner, _| {
            scanner.name()?;
            let name = scanner.text(0..scanner.written);
            if name.contains(&b'\\') {
                scanner.mar(Flaw::Name);
            } else if name == b"\"resourceType\":" {
                member = Member::ResourceType;
            } else if name == b"\"entry\":" {
                member = Member::Entry;
            } else if name == b"\"link\":" {
                member = Member::Link;
            }
            Ok(None)
        })?;
        match outcome.flaw {
            Some(reason) => Err(Halt::Broken(reason, None)),
            None => Ok(member),
        }
    }

    /// Reads the value of a member, of `entry` no more than its beginning.
    fn value(&mut self, member: Member) -> Result<State, Halt> {
        let byte = self.peek()?;
        if member == Member::Entry {
            let reason = match byte {
                _ if self.has_entries => RecordSyntaxError::Duplicate,
                b'[' => {
                    self.has_entries = true;
                    self.window.start += 1;
                    return Ok(State::Entries);
                }
                _ => RecordSyntaxError::Bundle,
            };
            return Err(Halt::Broken(reason, None));
        }
        let mut is_bundle = false;
        let mut next = Ok(None);
        // A flaw in it is not one of the records.
        let outcome = self.scan(|scanner, _| {
            scanner.value(0)?;
            let value = scanner.text(0..scanner.written);
            is_bundle = value == b"\"Bundle\"";
            if member == Member::Link {
                next = next_link(value);
            }
            Ok(None)
        })?;
        if member == Member::Link {
            self.link.found(outcome.flaw.map_or(next, Err));
        }
        if member == Member::ResourceType {
            if !is_bundle {
                return Err(Halt::Broken(RecordSyntaxError::Bundle, None));
            }
            self.is_bundle = true;
        }
        Ok(State::MemberEnd)
    }

    /// The next byte that is not blank. White space between values counts towards no limit.
    fn peek(&mut self) -> Result<u8, Halt> {
        self.skip_blanks();
        self.window().first().copied().ok_or_else(|| self.more())
    }

    fn skip_blanks(&mut self) {
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.window.start += self.window().iter().take_while(is_blank).count();
    }

    fn more(&self) -> Halt {
        if self.ended {
            Halt::Broken(RecordSyntaxError::Truncated, None)
        } else {
            Halt::More
        }
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
