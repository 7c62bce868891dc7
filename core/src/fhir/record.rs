//! One record: a FHIR resource as the bytes it is.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::ResourceType;
use super::scan::{Scanner, Stop};

/// Why bytes are not a record. Says nothing of what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordSyntaxError {
    /// Not JSON as RFC 8259 has it.
    #[error("not valid JSON")]
    Json,
    /// The bytes end before the JSON does.
    #[error("ends too early")]
    Truncated,
    /// JSON in its structure, but a string in it is none.
    #[error(
        "a string in it holds a raw control character, an invalid escape or bytes that are not UTF-8"
    )]
    Text,
    /// More than 127 containers in each other: few JSON readers would take it.
    #[error("nested more than 127 levels deep")]
    TooDeep,
    /// Longer than the reader was told to take.
    #[error("longer than {limit} bytes")]
    TooLong {
        /// How many bytes would have been taken.
        limit: usize,
    },
    /// An element stands twice at the top level: readers would disagree on which one counts.
    #[error("an element stands in it twice")]
    Duplicate,
    /// The name of an element is written with escapes, which would hide it from a comparison.
    #[error("the name of an element in it is written with escapes")]
    Name,
    /// More than 512 top-level elements; no FHIR resource has nearly as many.
    #[error("more than 512 elements")]
    TooManyElements,
    /// No object, no `resourceType`, or one that FHIR R4 does not know.
    #[error("no resource type of FHIR R4")]
    ResourceType,
    /// A file or answer that should be a FHIR Bundle is something else.
    #[error("not a FHIR Bundle")]
    Bundle,
}

/// What makes a record unfit although it is clear where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    Text,
    Duplicate,
    Name,
    TooManyElements,
    ResourceType,
}

impl From<Flaw> for RecordSyntaxError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Text => Self::Text,
            Flaw::Duplicate => Self::Duplicate,
            Flaw::Name => Self::Name,
            Flaw::TooManyElements => Self::TooManyElements,
            Flaw::ResourceType => Self::ResourceType,
        }
    }
}

impl From<Stop> for RecordSyntaxError {
    /// For a source that has ended.
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::End => Self::Truncated,
            Stop::Syntax => Self::Json,
            Stop::Depth => Self::TooDeep,
        }
    }
}

/// Where a top-level element of a record stands. The name's opening quote is the second byte
/// behind the end of the element in front of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element {
    /// Behind the colon: where the value begins.
    value: u32,
    /// Behind the value.
    end: u32,
}

impl Element {
    /// From where the value begins and ends; records are shorter than 4 GiB.
    pub(super) fn new(value: usize, end: usize) -> Self {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            value: offset(value),
            end: offset(end),
        }
    }

    /// Where the value stands.
    fn range(self) -> Range<usize> {
        self.value as usize..self.end as usize
    }

    /// Where the letters of the names stand.
    pub(super) fn names(elements: &[Self]) -> impl Iterator<Item = Range<usize>> {
        elements.iter().scan(0, |before, element| {
            let name = *before + 2..element.value as usize - 2;
            *before = element.end as usize;
            Some(name)
        })
    }
}

/// A FHIR resource, kept as one line of JSON and looked at lazily.
///
/// Every number and every string is byte for byte what the source wrote; only white space between
/// tokens is gone. Cloning is cheap. Records that were read together share one allocation, which
/// lives as long as any of them.
#[derive(Debug, Clone)]
pub struct Record {
    json: Bytes,
    resource_type: ResourceType,
    /// The elements of this record and of those read with it.
    elements: Arc<[Element]>,
    own: Range<usize>,
}

impl Record {
    /// Longest record there can be, in bytes.
    pub const MAX_LENGTH: usize = u32::MAX as usize;

    /// Reads one resource, pretty-printed or not, with nothing but white space around it.
    pub fn parse(json: &[u8]) -> Result<Self, RecordSyntaxError> {
        if json.len() > Self::MAX_LENGTH {
            let limit = Self::MAX_LENGTH;
            return Err(RecordSyntaxError::TooLong { limit });
        }
        let mut out = vec![0; json.len() + Scanner::SLACK];
        let mut elements = Vec::new();
        let mut scanner = Scanner::new(json, &mut out);
        scanner.record(&mut elements)?;
        let end = scanner.written;
        if scanner.peek() != Err(Stop::End) {
            return Err(RecordSyntaxError::Json);
        }
        if let Some(flaw) = scanner.flaw {
            return Err(flaw.into());
        }
        let resource_type = (scanner.resource_type).ok_or(RecordSyntaxError::ResourceType)?;
        out.truncate(end);
        out.shrink_to_fit();
        let own = 0..elements.len();
        Ok(Self::new(out.into(), resource_type, elements.into(), own))
    }

    /// Of one line of JSON that has been read; `own` are its elements.
    pub(super) fn new(
        json: Bytes,
        resource_type: ResourceType,
        elements: Arc<[Element]>,
        own: Range<usize>,
    ) -> Self {
        Self {
            json,
            resource_type,
            elements,
            own,
        }
    }

    /// The resource as one line of JSON, without a line break.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// Its type.
    pub fn resource_type(&self) -> ResourceType {
        self.resource_type
    }

    /// Its logical id, where it has one and that is written without escapes.
    pub fn id(&self) -> Option<&str> {
        let id = self.field("id")?.strip_prefix('"')?.strip_suffix('"')?;
        (!id.is_empty() && !id.contains('\\')).then_some(id)
    }

    /// The raw JSON of a top-level element, compact.
    pub fn field(&self, name: &str) -> Option<&str> {
        let name = name.as_bytes();
        let elements = self.elements();
        let found = Element::names(elements).position(|at| self.json.get(at) == Some(name))?;
        self.text(elements.get(found)?.range())
    }

    /// Names and raw JSON of all top-level elements, in the order of the source.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let elements = self.elements();
        Element::names(elements)
            .zip(elements)
            .filter_map(|(name, element)| Some((self.text(name)?, self.text(element.range())?)))
    }

    fn elements(&self) -> &[Element] {
        self.elements.get(self.own.clone()).unwrap_or_default()
    }

    fn text(&self, at: Range<usize>) -> Option<&str> {
        std::str::from_utf8(self.json.get(at)?).ok()
    }
}

#[cfg(test)]
pub(super) mod tests;
