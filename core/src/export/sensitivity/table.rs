//! Codes and what they protect: looked up exactly, and guessed at fast.

use std::collections::HashMap;

use memchr::memmem::Finder;

use super::Protection;

/// Longest code a rule may name, in bytes.
pub(super) const LONGEST_CODE: usize = 32;

/// How many letters and digits a stem of an ICD code has.
pub(super) const STEM: std::ops::RangeInclusive<usize> = 3..=7;

/// Codes of any number of systems, with what they protect.
#[derive(Debug, Default)]
pub(super) struct CodeTable {
    systems: HashMap<String, SystemCodes>,
}

/// The codes of one system.
#[derive(Debug, Default, Clone)]
pub(super) struct SystemCodes {
    exact: HashMap<String, Vec<Protection>>,
    stems: HashMap<String, Vec<Protection>>,
}

impl CodeTable {
    /// The codes of the system of this name.
    pub(super) fn system(&mut self, uri: &str) -> &mut SystemCodes {
        self.systems.entry(uri.to_owned()).or_default()
    }

    /// What this code protects.
    pub(super) fn protections(
        &self,
        system: &str,
        code: &str,
    ) -> impl Iterator<Item = Protection> + '_ {
        let codes = self.systems.get(system);
        let exact = codes.and_then(|codes| codes.exact.get(code));
        let stems = codes.filter(|codes| !codes.stems.is_empty()).map(|codes| {
            let stem = stem(code);
            STEM.filter_map(move |length| codes.stems.get(stem.get(..length)?))
        });
        exact
            .into_iter()
            .chain(stems.into_iter().flatten())
            .flatten()
            .copied()
    }

    /// Every code and stem, for the guess.
    pub(super) fn guess(&self, into: &mut Guess) {
        for codes in self.systems.values() {
            codes.exact.keys().for_each(|code| into.exact.add(code));
            codes.stems.keys().for_each(|stem| into.stems.add(stem));
        }
    }
}

impl SystemCodes {
    /// This code protects so.
    pub(super) fn exact(&mut self, code: &str, protections: &[Protection]) {
        let known = self.exact.entry(code.to_owned()).or_default();
        known.extend_from_slice(protections);
    }

    /// All codes that begin so protect so.
    pub(super) fn below(&mut self, stem: &str, protections: &[Protection]) {
        let known = self.stems.entry(stem.to_owned()).or_default();
        known.extend_from_slice(protections);
    }
}

/// An ICD code as stems are compared: `f10.20` is `F1020`.
pub(super) fn stem(code: &str) -> String {
    code.chars()
        .filter(|&letter| letter != '.')
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

/// Tells in one pass over its bytes that a record holds no code of any rule: true for nearly all.
/// What it lets through is looked at properly.
#[derive(Debug)]
pub(super) struct Guess {
    exact: Filter,
    stems: Filter,
    code: Finder<'static>,
    escape: Finder<'static>,
}

impl Guess {
    pub(super) fn new() -> Self {
        Self {
            exact: Filter::new(),
            stems: Filter::new(),
            code: Finder::new(CODE),
            escape: Finder::new("\\u00"),
        }
    }

    /// Whether the JSON of a record may hold a code of a rule.
    pub(super) fn may_hold(&self, json: &[u8]) -> bool {
        let behind = |at: usize| json.get(at + CODE.len()..).unwrap_or_default();
        if self.code.find_iter(json).any(|at| self.may_be(behind(at))) {
            return true;
        }
        // An ASCII letter that is written as an escape may be part of a code or of its name.
        self.escape
            .find_iter(json)
            .any(|at| matches!(json.get(at + 4), Some(b'0'..=b'7')))
    }

    /// Whether the code that begins here may be one of a rule.
    fn may_be(&self, rest: &[u8]) -> bool {
        let (mut exact, mut stem) = (Hash::NEW, Hash::NEW);
        let (mut letters, mut stem_known) = (0, false);
        for (length, &byte) in rest.iter().take(LONGEST_CODE + 1).enumerate() {
            if byte == b'"' {
                let icd = stem_known && length <= *STEM.end() + 1;
                return icd || self.exact.holds(exact);
            }
            exact = exact.and(byte);
            if byte != b'.' && letters < *STEM.end() {
                stem = stem.and(byte.to_ascii_uppercase());
                letters += 1;
                stem_known |= letters >= *STEM.start() && self.stems.holds(stem);
            }
        }
        false
    }
}

/// What stands in front of a code in compact JSON.
const CODE: &str = "\"code\":\"";

/// FNV-1a.
#[derive(Debug, Clone, Copy)]
struct Hash(u32);

impl Hash {
    const NEW: Self = Self(0x811c_9dc5);

    fn and(self, byte: u8) -> Self {
        Self((self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// A set of texts that may say yes to one it does not hold, and never no to one it does.
#[derive(Debug)]
struct Filter {
    bits: Box<[u64; Self::WORDS]>,
}

impl Filter {
    const WORDS: usize = 512;

    fn new() -> Self {
        Self {
            bits: Box::new([0; Self::WORDS]),
        }
    }

    fn add(&mut self, text: &str) {
        let (word, bit) = Self::place(text.bytes().fold(Hash::NEW, Hash::and));
        self.bits[word] |= bit;
    }

    fn holds(&self, hash: Hash) -> bool {
        let (word, bit) = Self::place(hash);
        self.bits[word] & bit != 0
    }

    fn place(hash: Hash) -> (usize, u64) {
        let mixed = hash.0 ^ hash.0 >> 15;
        ((mixed as usize >> 6) % Self::WORDS, 1 << (mixed & 63))
    }
}
