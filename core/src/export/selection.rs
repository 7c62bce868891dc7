//! What goes into an export: which parts of the record were asked for, for which time, and what
//! is withheld.
//!
//! | file | what it holds |
//! |---|---|
//! | `place` | where each resource type belongs |
//! | `documents`, `kinds` | which part a document or report belongs to, and the rules for that |
//! | `dates` | when the matter of a record happened |
//!
//! A record without a date goes in whenever its part was asked for: a hospital that does not know
//! when something happened still has to hand it over.

mod dates;
mod documents;
mod kinds;
mod place;
#[cfg(test)]
mod tests;

use self::dates::period_of;
use self::documents::is_laboratory;
pub use self::kinds::{DocumentKind, DocumentRules};
use self::place::{Place, place};
use super::{AuthorizationKey, Choices, ParameterKey, Protection, Rules};
use crate::fhir::{Period, Record, ResourceType};
use crate::ports::Document;

/// Decides about records, one by one.
#[derive(Debug, Clone)]
pub struct Selection {
    choices: Choices,
    rules: Rules,
}

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes in.
    Included,
    /// Nobody asked for it.
    NotAsked,
    /// It was asked for, and stays because these were not authorised.
    Withheld(Vec<AuthorizationKey>),
    /// It was asked for, and is never part of an export.
    PsychotherapyNote,
}

impl Selection {
    /// The selection these choices make, by these rules.
    pub fn new(choices: Choices, rules: impl Into<Rules>) -> Self {
        let rules = rules.into();
        Self { choices, rules }
    }

    /// The choices behind it.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Whether some record of this type could go in: a hint for sources.
    pub fn may_include(&self, resource_type: ResourceType) -> bool {
        match place(resource_type) {
            Place::Always | Place::Observation | Place::Report => true,
            Place::Part(key) => self.choices.parameter(key).is_some(),
            Place::Document => self.asks_for_documents(),
            Place::Content => {
                self.asks_for_documents()
                    || self
                        .choices
                        .parameter(ParameterKey::MedicalRecord)
                        .is_some()
            }
        }
    }

    fn asks_for_documents(&self) -> bool {
        (ParameterKey::ALL.iter())
            .any(|key| key.group() == 2 && self.choices.parameter(*key).is_some())
    }

    /// What becomes of this record.
    pub fn judge(&self, record: &Record) -> Verdict {
        if self.asks_for(record) {
            self.release(&self.rules.sensitivity.protected_by(record))
        } else {
            Verdict::NotAsked
        }
    }

    /// What becomes of this record, where it is known to be asked for.
    pub(super) fn release_of(&self, record: &Record) -> Verdict {
        self.release(&self.rules.sensitivity.protected_by(record))
    }

    /// What becomes of this document.
    pub fn judge_document(&self, document: &Document) -> Verdict {
        if self.asks_for_part(document.part, || document.period) {
            let mut protections = document.protections.clone();
            if let Some(kind) = &document.document_type {
                let by_type =
                    (self.rules.sensitivity).protected_by_code(kind.system(), kind.code());
                protections.extend(by_type);
            }
            self.release(&protections)
        } else {
            Verdict::NotAsked
        }
    }

    /// What becomes of something that was asked for and is protected so.
    fn release(&self, protections: &[Protection]) -> Verdict {
        if protections.contains(&Protection::PsychotherapyNote) {
            return Verdict::PsychotherapyNote;
        }
        let mut missing = Vec::new();
        for protection in protections {
            match protection {
                Protection::Authorization(key)
                    if !self.choices.authorizes(*key) && !missing.contains(key) =>
                {
                    missing.push(*key);
                }
                _ => {}
            }
        }
        if missing.is_empty() {
            Verdict::Included
        } else {
            Verdict::Withheld(missing)
        }
    }

    fn asks_for(&self, record: &Record) -> bool {
        let asked = |key| self.asks_for_part(key, || period_of(record));
        match place(record.resource_type()) {
            Place::Always => true,
            Place::Part(key) => asked(key),
            Place::Observation => !is_laboratory(record) || asked(ParameterKey::Labs),
            Place::Report => match self.rules.documents.report_part(record) {
                Some(key) => asked(key),
                None => true,
            },
            Place::Document => asked(self.rules.documents.document_part(record)),
            Place::Content => (ParameterKey::ALL.iter())
                .any(|&key| (key.group() == 2 || key == ParameterKey::MedicalRecord) && asked(key)),
        }
    }

    /// Whether this part was asked for, for a time that meets `period`. Looks at the period only
    /// where a time was named.
    fn asks_for_part(&self, key: ParameterKey, period: impl FnOnce() -> Option<Period>) -> bool {
        self.choices.parameter(key).is_some_and(|parameter| {
            let wanted = parameter.period();
            wanted == Period::default() || period().is_none_or(|period| period.overlaps(&wanted))
        })
    }
}

/// Every resource type with where its records go, for the public documentation.
pub fn explained_types() -> Vec<(ResourceType, String)> {
    (ResourceType::ALL.iter())
        .map(|&each| (each, place::explained(each)))
        .collect()
}

/// System and code of every document type, for the test that no code is mistyped.
#[cfg(test)]
pub(super) fn document_codes() -> Vec<(String, String)> {
    let codes = kinds::tests::all_codes().into_iter();
    codes.map(|(_, _, system, code)| (system, code)).collect()
}
