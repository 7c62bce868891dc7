//! Binary resources: content that goes where the documents go that it belongs to.
//!
//! A Binary says nothing of itself. What it may do follows from the records that refer to it, and
//! those come in any order, so Binaries wait until all others were judged: only then are they
//! read, in a second pass over the source, and only where the first one met any.
//!
//! - One that a withheld record refers to, or that names a withheld record as its security
//!   context, is withheld with it.
//! - One that a record in the export refers to goes with it.
//! - One that only records refer to that nobody asked for was not asked for either.
//! - One that nobody refers to is judged by itself.

use std::collections::{HashMap, HashSet};

use memchr::memmem;

use crate::export::{Selection, Verdict};
use crate::fhir::{Record, ResourceType};

/// Who refers to which Binary, as far as it matters. Holds ids, no records.
#[derive(Debug, Default)]
pub(super) struct ContentLinks {
    /// Whether the source has any Binary.
    pub(super) met: bool,
    withheld: HashMap<String, Verdict>,
    released: HashSet<String>,
    unasked: HashSet<String>,
    /// Records that are withheld, as `Type/id`: a Binary may name one as its security context.
    contexts: HashMap<String, Verdict>,
}

impl ContentLinks {
    /// Whether this record waits for the second pass.
    pub(super) fn waits(&mut self, record: &Record) -> bool {
        let binary = record.resource_type() == ResourceType::Binary;
        self.met |= binary;
        binary
    }

    /// Notes what a record refers to, and what became of it. What nobody asked for and would have
    /// been withheld counts as withheld: its content must not leave on another ticket.
    pub(super) fn note(&mut self, record: &Record, verdict: &Verdict, selection: &Selection) {
        let protection = (*verdict == Verdict::NotAsked)
            .then(|| selection.release_of(record))
            .filter(|release| *release != Verdict::Included);
        let verdict = protection.as_ref().unwrap_or(verdict);
        let held = matches!(verdict, Verdict::Withheld(_) | Verdict::PsychotherapyNote);
        if held && let Some(id) = record.id() {
            let reference = format!("{}/{id}", record.resource_type());
            self.contexts.insert(reference, verdict.clone());
        }
        for id in references(record) {
            match verdict {
                Verdict::Included => {
                    self.released.insert(id.to_owned());
                }
                Verdict::NotAsked => {
                    self.unasked.insert(id.to_owned());
                }
                Verdict::Withheld(_) | Verdict::PsychotherapyNote => {
                    self.withheld.insert(id.to_owned(), verdict.clone());
                }
            }
        }
    }

    /// What becomes of a Binary, now that all others were judged.
    pub(super) fn judge(&self, binary: &Record, selection: &Selection) -> Verdict {
        let id = binary.id().unwrap_or_default();
        let context = binary.field("securityContext").unwrap_or_default();
        let held = self.withheld.get(id).or_else(|| {
            (self.contexts.iter())
                .find(|(reference, _)| names(context, reference))
                .map(|(_, verdict)| verdict)
        });
        if let Some(held) = held {
            held.clone()
        } else if self.released.contains(id) {
            // Somebody asked for what it belongs to; its own labels still count.
            selection.release_of(binary)
        } else if self.unasked.contains(id) {
            Verdict::NotAsked
        } else {
            selection.judge(binary)
        }
    }
}

/// Whether the raw JSON of a reference names this `Type/id`, alone or at the end of a URL.
fn names(raw: &str, reference: &str) -> bool {
    raw.match_indices(reference).any(|(at, _)| {
        let before = raw[..at].bytes().next_back();
        let after = raw[at + reference.len()..].bytes().next();
        matches!(before, Some(b'"' | b'/')) && matches!(after, Some(b'"' | b'/'))
    })
}

/// The ids of Binaries that a record may refer to: what stands behind `Binary/` and `urn:uuid:`.
/// The latter may name anything; ids of other resources do no harm.
fn references(record: &Record) -> impl Iterator<Item = &str> {
    let json = std::str::from_utf8(record.json()).unwrap_or_default();
    ["Binary/", "urn:uuid:"]
        .into_iter()
        .flat_map(move |before| {
            memmem::find_iter(json.as_bytes(), before).filter_map(move |at| {
                let id = &json[at + before.len()..];
                let end = id.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'));
                let id = &id[..end.unwrap_or(id.len())];
                (1..=64).contains(&id.len()).then_some(id)
            })
        })
}
