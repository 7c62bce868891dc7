//! Reading JSON in one pass: checked, compacted and indexed at once.
//!
//! The grammar is RFC 8259's, strictly. Like `serde_json`, containers nest at most 127 deep and
//! surrogate escapes come in pairs. White space between tokens is left out; every other byte is
//! copied as it is: `1.10` stays `1.10`, `\u00e4` stays `\u00e4`. As a raw line break cannot stand
//! in a string, what comes out is one line.

#![expect(
    clippy::inline_always,
    reason = "the compiler leaves some of them as calls otherwise, which costs a sixth of the speed"
)]

use std::ops::Range;

use super::ResourceType;
use super::block::{BLOCK, blank_marks, string_marks};
use super::record::{Element, Flaw};

/// How deep containers may nest, the resource itself being the first: what `serde_json` reads.
const MAX_DEPTH: u8 = 127;

/// More elements than any FHIR resource has at its top level. Bounds the search for duplicates.
const MAX_ELEMENTS: usize = 512;

/// Why a scan went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end before the value does.
    End,
    /// Not JSON. Where the value would end cannot be known.
    Syntax,
    /// Nested too deep.
    Depth,
}

/// A cursor over JSON that writes what it reads, compacted.
///
/// After a [`Stop`] only [`at`](Self::at), [`flaw`](Self::flaw) and
/// [`resource_type`](Self::resource_type) are of use.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    source: &'a [u8],
    out: &'a mut [u8],
    /// How far the source is read.
    pub(super) at: usize,
    /// How much has been written.
    pub(super) written: usize,
    /// The first thing that makes what was read unfit, though its end is known.
    pub(super) flaw: Option<Flaw>,
    /// The type of the record that is being read, as soon as it is known.
    pub(super) resource_type: Option<ResourceType>,
    /// How many escapes have been read, to tell whether there was one in a name.
    escapes: usize,
}

impl<'a> Scanner<'a> {
    /// How many bytes `out` needs to have more than the source.
    pub(super) const SLACK: usize = BLOCK;

    /// Starts at the beginning of both. `out` must be longer than the source by [`Self::SLACK`].
    pub(super) fn new(source: &'a [u8], out: &'a mut [u8]) -> Self {
        debug_assert!(out.len() >= source.len() + Self::SLACK);
        Self {
            source,
            out,
            at: 0,
            written: 0,
            flaw: None,
            resource_type: None,
            escapes: 0,
        }
    }

    /// What has been written in this range.
    pub(super) fn text(&self, range: Range<usize>) -> &[u8] {
        &self.out[range]
    }

    /// Skips white space; the byte behind it, which is not consumed.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Result<u8, Stop> {
        let mut spare = [0; BLOCK];
        loop {
            let byte = *self.source.get(self.at).ok_or(Stop::End)?;
            if byte > b' ' {
                return Ok(byte);
            }
            // The one space behind a colon.
            if byte == b' '
                && let Some(&next) = self.source.get(self.at + 1)
                && next > b' '
            {
                self.at += 1;
                return Ok(next);
            }
            let block = self.block(&mut spare);
            let blanks = (!blank_marks(block)).trailing_zeros() as usize;
            if blanks == 0 {
                return Err(Stop::Syntax);
            }
            self.at += blanks;
        }
    }

    /// Consumes and writes one byte that has been peeked at.
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) {
        self.out[self.written] = byte;
        self.written += 1;
        self.at += 1;
    }

    /// Consumes `byte`, behind white space.
    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.peek()? != byte {
            return Err(Stop::Syntax);
        }
        self.take(byte);
        Ok(())
    }

    /// Reads a resource and notes its top-level elements, with offsets from its own beginning.
    pub(super) fn record(&mut self, elements: &mut Vec<Element>) -> Result<(), Stop> {
        self.resource_type = None;
        if self.peek()? != b'{' {
            self.value(0)?;
            self.mar(Flaw::ResourceType);
            return Ok(());
        }
        let start = self.written;
        let first = elements.len();
        let mut seen = 0_u64;
        self.object(|this, name| {
            let value = this.written;
            this.value(1)?;
            let letters = &this.out[name.start + 1..name.end - 1];
            let bit = 1 << (fingerprint(letters) & 63);
            let is_type = letters == b"resourceType";
            if seen & bit != 0
                && this.flaw.is_none()
                && this.is_duplicate(start, &elements[first..], letters)
            {
                this.mar(Flaw::Duplicate);
            }
            seen |= bit;
            if is_type {
                let name = &this.out[value..this.written];
                this.resource_type = name
                    .strip_prefix(b"\"")
                    .and_then(|name| name.strip_suffix(b"\""))
                    .and_then(|name| std::str::from_utf8(name).ok())
                    .and_then(ResourceType::parse);
            }
            if elements.len() - first >= MAX_ELEMENTS {
                this.mar(Flaw::TooManyElements);
            } else {
                elements.push(Element::new(value - start, this.written - start));
            }
            Ok(())
        })?;
        if self.resource_type.is_none() {
            self.mar(Flaw::ResourceType);
        }
        Ok(())
    }

    fn is_duplicate(&self, start: usize, elements: &[Element], name: &[u8]) -> bool {
        let json = &self.out[start..self.written];
        Element::names(elements).any(|other| json.get(other) == Some(name))
    }

    /// Reads any value, `depth` containers deep.
    #[inline(always)]
    pub(super) fn value(&mut self, depth: u8) -> Result<(), Stop> {
        match self.peek()? {
            b'"' => self.string(),
            b'{' => self.nested_object(depth + 1),
            b'[' => self.nested_array(depth + 1),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => Err(Stop::Syntax),
        }
    }

    fn nested_object(&mut self, depth: u8) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::Depth);
        }
        self.plain_object(|this| this.value(depth))
    }

    fn nested_array(&mut self, depth: u8) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::Depth);
        }
        self.take(b'[');
        if self.peek()? == b']' {
            self.take(b']');
            return Ok(());
        }
        loop {
            self.value(depth)?;
            match self.peek()? {
                b',' => self.take(b','),
                b']' => {
                    self.take(b']');
                    return Ok(());
                }
                _ => return Err(Stop::Syntax),
            }
        }
    }

    /// Reads an object whose names matter: `value` is called in front of each value, with where
    /// the name has been written, quotes included. An escape in a name mars the object: no FHIR
    /// element needs one, and `"m\u0065ta"` must not slip past those who look for `meta`.
    pub(super) fn object(
        &mut self,
        mut value: impl FnMut(&mut Self, Range<usize>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut start = self.written + 1;
        let mut escapes = self.escapes;
        self.plain_object(|this| {
            if this.escapes != escapes {
                this.mar(Flaw::Name);
            }
            let end = this.written - 1;
            value(this, start..end)?;
            start = this.written + 1;
            escapes = this.escapes;
            Ok(())
        })
    }

    #[inline(always)]
    fn plain_object(
        &mut self,
        mut value: impl FnMut(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.take(b'{');
        if self.peek()? == b'}' {
            self.take(b'}');
            return Ok(());
        }
        loop {
            self.name()?;
            value(self)?;
            match self.peek()? {
                b',' => self.take(b','),
                b'}' => {
                    self.take(b'}');
                    return Ok(());
                }
                _ => return Err(Stop::Syntax),
            }
        }
    }

    /// Reads a name and the colon behind it.
    #[inline(always)]
    pub(super) fn name(&mut self) -> Result<(), Stop> {
        if self.peek()? != b'"' {
            return Err(Stop::Syntax);
        }
        self.string()?;
        self.expect(b':')
    }

    /// Reads a string, from its opening quote.
    #[inline(always)]
    fn string(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let mut spare = [0; BLOCK];
        let mut high = 0;
        // The opening quote is no end.
        let mut considered = !1_u32;
        loop {
            let block = self.block(&mut spare);
            self.write_block(block);
            let marks = string_marks(block);
            let stops = marks.stops & considered;
            considered = !0;
            if stops == 0 {
                high |= marks.high;
                self.at += BLOCK;
                self.written += BLOCK;
                continue;
            }
            let length = stops.trailing_zeros() as usize;
            high |= marks.high & ((1 << length) - 1);
            self.at += length;
            self.written += length;
            if block[length % BLOCK] == b'"' {
                self.at += 1;
                self.written += 1;
                if high != 0 && std::str::from_utf8(&self.source[start..self.at]).is_err() {
                    self.mar(Flaw::Text);
                }
                return Ok(());
            }
            self.escape_or_control()?;
        }
    }

    /// Copies an escape whole, so that its second character is not taken for the string's end.
    #[inline(never)]
    fn escape_or_control(&mut self) -> Result<(), Stop> {
        let rest = &self.source[self.at..];
        let length = match rest {
            [] | [b'\\'] => return Err(Stop::End),
            [
                b'\\',
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                ..,
            ] => 2,
            [b'\\', b'u', digits @ ..] => {
                if digits.len() < 4 {
                    return Err(Stop::End);
                }
                match code_unit(digits) {
                    Some(0xd800..=0xdbff) => match &digits[4..] {
                        low if low.len() < 6 => return Err(Stop::End),
                        [b'\\', b'u', low @ ..]
                            if matches!(code_unit(low), Some(0xdc00..=0xdfff)) =>
                        {
                            12
                        }
                        _ => 0,
                    },
                    None | Some(0xdc00..=0xdfff) => 0,
                    Some(_) => 6,
                }
            }
            _ => 0,
        };
        self.escapes += 1;
        if length == 0 {
            // The string's end can still be found: a backslash takes one character with it.
            self.mar(Flaw::Text);
        }
        let length = length.max(if rest[0] == b'\\' { 2 } else { 1 });
        let mut spare = [0; BLOCK];
        self.write_block(self.block(&mut spare));
        self.at += length;
        self.written += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stop> {
        let rest = &self.source[self.at..];
        let digits = |from: usize| {
            let rest = rest.get(from..).unwrap_or_default();
            let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            match (count, rest.len()) {
                (count, length) if count == length => Err(Stop::End),
                (0, _) => Err(Stop::Syntax),
                (count, _) => Ok(from + count),
            }
        };
        let mut end = usize::from(rest.first() == Some(&b'-'));
        end = match rest.get(end) {
            Some(b'0') => end + 1,
            _ => digits(end)?,
        };
        if rest.get(end) == Some(&b'.') {
            end = digits(end + 1)?;
        }
        if matches!(rest.get(end), Some(b'e' | b'E')) {
            let sign = matches!(rest.get(end + 1), Some(b'+' | b'-'));
            end = digits(end + 1 + usize::from(sign))?;
        }
        if end == rest.len() {
            return Err(Stop::End);
        }
        if end <= BLOCK {
            let mut spare = [0; BLOCK];
            self.write_block(self.block(&mut spare));
        } else {
            self.out[self.written..self.written + end].copy_from_slice(&rest[..end]);
        }
        self.at += end;
        self.written += end;
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Stop> {
        let rest = &self.source[self.at..];
        if !rest.starts_with(word) {
            let cut = word.starts_with(rest);
            return Err(if cut { Stop::End } else { Stop::Syntax });
        }
        self.out[self.written..self.written + word.len()].copy_from_slice(word);
        self.at += word.len();
        self.written += word.len();
        Ok(())
    }

    /// Remembers the first flaw; the rest is read to find the end.
    pub(super) fn mar(&mut self, flaw: Flaw) {
        self.flaw.get_or_insert(flaw);
    }

    /// The next bytes of the source; at its end a copy filled up with zeroes, which are neither
    /// blank nor part of a string. By reference, so that no block takes the way over the stack.
    #[inline(always)]
    fn block<'b>(&self, spare: &'b mut [u8; BLOCK]) -> &'b [u8; BLOCK]
    where
        'a: 'b,
    {
        let source: &'a [u8] = self.source;
        let rest = &source[self.at..];
        match rest.first_chunk() {
            Some(block) => block,
            None => padded(rest, spare),
        }
    }

    /// Writes a whole block, of which the caller counts as much as it needs.
    #[inline(always)]
    fn write_block(&mut self, block: &[u8; BLOCK]) {
        self.out[self.written..self.written + BLOCK].copy_from_slice(block);
    }
}

#[cold]
fn padded<'b>(rest: &[u8], spare: &'b mut [u8; BLOCK]) -> &'b [u8; BLOCK] {
    spare[..rest.len()].copy_from_slice(rest);
    spare[rest.len()..].fill(0);
    spare
}

/// The value of four hexadecimal digits.
fn code_unit(digits: &[u8]) -> Option<u32> {
    digits
        .first_chunk::<4>()?
        .iter()
        .try_fold(0, |unit, &byte| {
            Some(unit << 4 | char::from(byte).to_digit(16)?)
        })
}

/// Different for most names of one resource.
fn fingerprint(name: &[u8]) -> u8 {
    let [first, .., last] = name else {
        return name.first().copied().unwrap_or(0);
    };
    let length = name.len().to_le_bytes()[0];
    length
        .wrapping_mul(29)
        .wrapping_add(first.wrapping_mul(7))
        .wrapping_add(last.wrapping_mul(3))
}
