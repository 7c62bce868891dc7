//! Which records are protected, and by what.
//!
//! The rules are data: a file of labels, codes and types, each with what it protects and where it
//! comes from ([`STANDARD`](SensitivityRules::STANDARD)), which a hospital can replace. A record
//! that is protected in several ways leaves only if every one of them was authorised.
//!
//! How a record is looked at:
//!
//! - **Labels** stand in `meta`, in the `securityLabel` of documents, and as the confidentiality
//!   of a Composition.
//! - **Codes** count where an element says what the record is about; `elements` has the table.
//!   A code without a system says nothing and protects nothing.
//! - **Contained resources**, and the entries of a Bundle, are looked at like records of their
//!   own; what protects one of them protects the whole.
//! - **References** are not followed. A report that refers to a protected observation is protected
//!   when its own labels or codes say so; otherwise it leaves, with a reference to something that
//!   does not. Records come one by one, in any order, and none is kept: whoever labels the result
//!   has to label the report that repeats it. The same holds for a Binary, which has no codes.
//!
//! Nearly all records hold no code of any rule. A pass over their bytes finds that out
//! (`table::Guess`), and only the others are looked at element by element.

mod elements;
mod rules;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use self::tests::samples;

use std::sync::{Arc, LazyLock};

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::elements::{Element, element};
pub use self::rules::RuleDescription;
use self::table::{CodeTable, Guess};
use super::{AuthorizationKey, RulesError};
use crate::fhir::{Record, ResourceType, codings};

/// What a record is protected by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Leaves only with this authorization.
    Authorization(AuthorizationKey),
    /// A psychotherapy note: never leaves.
    PsychotherapyNote,
}

/// What protects which records.
#[derive(Debug)]
pub struct SensitivityRules {
    labels: CodeTable,
    codes: CodeTable,
    types: Vec<(ResourceType, Vec<Protection>)>,
    /// `"resourceType":"…"` of each of the types.
    type_marks: Vec<memmem::Finder<'static>>,
    /// `None` when nothing is protected.
    guess: Option<Guess>,
    descriptions: Vec<RuleDescription>,
}

/// What the code of a Composition's confidentiality belongs to.
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

impl SensitivityRules {
    /// The text of the rules a server starts with.
    pub const STANDARD: &'static str = include_str!("rules/sensitivity.toml");

    /// Reads rules, written in TOML like [`STANDARD`](Self::STANDARD).
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        rules::parse(text)
    }

    /// The rules a server starts with.
    ///
    /// # Panics
    /// Never: a test reads them.
    pub fn standard() -> Arc<Self> {
        static RULES: LazyLock<Arc<SensitivityRules>> =
            LazyLock::new(
                || match SensitivityRules::parse(SensitivityRules::STANDARD) {
                    Ok(rules) => Arc::new(rules),
                    Err(error) => panic!("the standard rules are broken: {error}"),
                },
            );
        RULES.clone()
    }

    /// Protects nothing at all: for records that were gone through before, and to measure what
    /// rules cost.
    pub fn none() -> Arc<Self> {
        Arc::new(Self {
            labels: CodeTable::default(),
            codes: CodeTable::default(),
            types: Vec::new(),
            type_marks: Vec::new(),
            guess: None,
            descriptions: Vec::new(),
        })
    }

    fn new(
        labels: CodeTable,
        codes: CodeTable,
        types: Vec<(ResourceType, Vec<Protection>)>,
        guess: Guess,
        descriptions: Vec<RuleDescription>,
    ) -> Self {
        let mark = |each: ResourceType| format!("\"resourceType\":\"{each}\"");
        let type_marks = (types.iter())
            .map(|(each, _)| memmem::Finder::new(&mark(*each)).into_owned())
            .collect();
        Self {
            labels,
            codes,
            types,
            type_marks,
            guess: Some(guess),
            descriptions,
        }
    }

    /// The rules in force, for the public documentation.
    pub fn descriptions(&self) -> &[RuleDescription] {
        &self.descriptions
    }

    /// Everything that something of this code is protected by. Empty for most.
    pub fn protected_by_code(&self, system: &str, code: &str) -> Vec<Protection> {
        self.codes.protections(system, code).collect()
    }

    /// Everything a record is protected by. Empty for most.
    pub fn protected_by(&self, record: &Record) -> Vec<Protection> {
        let mut found = Vec::new();
        if self.may_protect(record) {
            self.look_at(record, &mut found);
        }
        found
    }

    /// Whether a closer look is worth it.
    fn may_protect(&self, record: &Record) -> bool {
        let Some(guess) = &self.guess else {
            return false;
        };
        let mark_inside = |resources: &str| {
            let mut marks = self.type_marks.iter();
            marks.any(|mark| mark.find(resources.as_bytes()).is_some())
        };
        let resource_type = record.resource_type();
        guess.may_hold(record.json())
            || self.types.iter().any(|(each, _)| *each == resource_type)
            || match resource_type {
                // Rare, and worth it: the confidentiality of a Composition is no `code`.
                ResourceType::Composition | ResourceType::Bundle | ResourceType::Parameters => true,
                _ => record.field("contained").is_some_and(|inside| {
                    mark_inside(inside) || inside.contains("\"confidentiality\"")
                }),
            }
    }

    fn look_at(&self, record: &Record, found: &mut Vec<Protection>) {
        let mut protect = |protection| {
            if !found.contains(&protection) {
                found.push(protection);
            }
        };
        for (resource_type, protections) in &self.types {
            if *resource_type == record.resource_type() {
                protections.iter().copied().for_each(&mut protect);
            }
        }
        let mut inside = Vec::new();
        for (name, raw) in record.fields() {
            let table = match element(name) {
                None => continue,
                Some(Element::Labels) => &self.labels,
                Some(Element::About) => &self.codes,
                Some(Element::Confidentiality) => {
                    let code = serde_json::from_str::<String>(raw).unwrap_or_default();
                    (self.labels.protections(CONFIDENTIALITY, &code)).for_each(&mut protect);
                    continue;
                }
                Some(Element::Resources) => {
                    inside.extend(resources(raw));
                    continue;
                }
                Some(Element::Entries) => {
                    inside.extend(entries(raw));
                    continue;
                }
            };
            for coding in codings(raw) {
                (table.protections(&coding.system, &coding.code)).for_each(&mut protect);
            }
        }
        // As deep as the record's JSON, which is read no deeper than 127.
        for resource in inside {
            if let Ok(resource) = Record::parse(resource.get().as_bytes()) {
                self.look_at(&resource, found);
            }
        }
    }
}

/// The resources of `contained`.
fn resources(raw: &str) -> Vec<&RawValue> {
    serde_json::from_str(raw).unwrap_or_default()
}

/// The resources of a Bundle's `entry` or a Parameters' `parameter`.
fn entries(raw: &str) -> Vec<&RawValue> {
    #[derive(Deserialize)]
    struct Entry<'a> {
        #[serde(borrow, default)]
        resource: Option<&'a RawValue>,
    }
    let entries: Vec<Entry<'_>> = serde_json::from_str(raw).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|entry| entry.resource)
        .collect()
}
