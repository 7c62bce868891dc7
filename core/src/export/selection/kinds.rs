//! Reading the file that says which codes of documents and reports lead to which part.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use crate::export::{ParameterKey, RulesError};
use crate::fhir::Coding;

/// Which part of the record documents and reports belong to, by their codes.
#[derive(Debug)]
pub struct DocumentRules {
    pub(super) types: Parts,
    pub(super) categories: Parts,
    descriptions: Vec<DocumentKind>,
}

/// A list of codes by which documents are found, as the public documentation explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentKind {
    /// The part of the record its documents belong to.
    pub part: ParameterKey,
    /// Where the codes stand: types or categories.
    pub looks_at: &'static str,
    /// The name of the code system, as the rule file has it; empty where any will do.
    pub system: String,
    /// Where the list comes from.
    pub source: String,
    /// Each code and what it means.
    pub codes: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindFile {
    #[serde(default)]
    systems: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    kind: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    part: String,
    #[serde(rename = "in")]
    place: String,
    /// Without one, the codes count under any system.
    system: Option<String>,
    source: String,
    codes: BTreeMap<String, String>,
}

/// Codes of one place by system; the empty system stands for any.
#[derive(Debug, Default)]
pub(super) struct Parts(HashMap<String, HashMap<String, ParameterKey>>);

impl Parts {
    /// The part the first known coding belongs to.
    pub(super) fn find(&self, codings: &[Coding<'_>]) -> Option<ParameterKey> {
        codings.iter().find_map(|coding| {
            [coding.system.as_ref(), ""]
                .into_iter()
                .find_map(|system| self.0.get(system)?.get(coding.code.as_ref()).copied())
        })
    }

    fn add(&mut self, uri: &str, code: &str, part: ParameterKey) -> Result<(), Wrong> {
        let codes = self.0.entry(uri.to_owned()).or_default();
        match codes.insert(code.to_owned(), part) {
            Some(other) if other != part => Err(format!(
                "'{code}' leads to '{}' in a list above: take it out of one of the two",
                other.key()
            )),
            _ => Ok(()),
        }
    }
}

/// What is wrong with a list, before it is known which one it is.
type Wrong = String;

impl DocumentRules {
    /// The text of the rules a server starts with.
    pub const STANDARD: &'static str = include_str!("../rules/documents.toml");

    /// Reads rules, written in TOML like [`STANDARD`](Self::STANDARD).
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let file: KindFile =
            toml::from_str(text).map_err(|error| RulesError::Syntax(error.to_string()))?;
        let at = |rule: String| move |message| RulesError::Rule { rule, message };
        if file.kind.is_empty() {
            let wrong = "has no [[kind]]: every document would be among the other documents";
            return Err(at("the file".to_owned())(wrong.to_owned()));
        }
        for (name, uris) in &file.systems {
            if uris.is_empty() || uris.iter().any(|uri| uri.trim().is_empty()) {
                let wrong = "names no URI: write those by which records know it".to_owned();
                return Err(at(format!("[systems] {name}"))(wrong));
            }
        }
        let mut rules = Self {
            types: Parts::default(),
            categories: Parts::default(),
            descriptions: Vec::new(),
        };
        for (kind, number) in file.kind.into_iter().zip(1..) {
            (rules.add(kind, &file.systems)).map_err(at(format!("[[kind]] number {number}")))?;
        }
        Ok(rules)
    }

    /// The rules a server starts with.
    ///
    /// # Panics
    /// Never: a test reads them.
    pub fn standard() -> Arc<Self> {
        static RULES: LazyLock<Arc<DocumentRules>> =
            LazyLock::new(|| match DocumentRules::parse(DocumentRules::STANDARD) {
                Ok(rules) => Arc::new(rules),
                Err(error) => panic!("the standard rules for documents are broken: {error}"),
            });
        RULES.clone()
    }

    /// The rules in force, for the public documentation.
    pub fn descriptions(&self) -> &[DocumentKind] {
        &self.descriptions
    }

    fn add(&mut self, kind: Kind, systems: &BTreeMap<String, Vec<String>>) -> Result<(), Wrong> {
        let part = ParameterKey::parse(&kind.part).ok_or_else(|| {
            let known = ParameterKey::ALL.iter().map(|key| key.key());
            let (part, known) = (&kind.part, known.collect::<Vec<_>>().join(", "));
            format!("'{part}' is no part of the record: write one of {known}")
        })?;
        let (parts, looks_at) = match kind.place.as_str() {
            "type" => (&mut self.types, "Types"),
            "category" => (&mut self.categories, "Categories"),
            other => {
                let wrong = "is nowhere to look: write `in = \"type\"` or `in = \"category\"`";
                return Err(format!("'{other}' {wrong}"));
            }
        };
        if kind.source.trim().is_empty() {
            return Err("`source` is empty: say where the list comes from".to_owned());
        }
        if kind.codes.is_empty() {
            let wrong =
                "names no code: write them as `CODE = \"what it means\"` below [kind.codes]";
            return Err(wrong.to_owned());
        }
        if kind.codes.keys().any(|code| code.trim().is_empty()) {
            return Err("one of its codes is empty: take it out".to_owned());
        }
        let any = [String::new()];
        let uris = match &kind.system {
            None => &any[..],
            Some(name) => systems.get(name).ok_or_else(|| {
                let known: Vec<_> = systems.keys().map(String::as_str).collect();
                let known = known.join(", ");
                format!("the system '{name}' is not in [systems]: add it, or write one of {known}")
            })?,
        };
        for uri in uris {
            for code in kind.codes.keys() {
                parts.add(uri, code, part)?;
            }
        }
        self.descriptions.push(DocumentKind {
            part,
            looks_at,
            system: kind.system.unwrap_or_default(),
            source: kind.source,
            codes: kind.codes.into_iter().collect(),
        });
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: &str = "[systems]\nlocal = ['http://h.example/kinds']\n\
        [[kind]]\npart = 'radiology'\nin = 'type'\nsystem = 'local'\nsource = 'ours'\n\
        codes = { XR = 'Picture of bones' }\n";

    /// Every code of the standard file: its part, whether it is a type, its system and itself.
    pub(in super::super) fn all_codes() -> Vec<(ParameterKey, bool, String, String)> {
        let file: KindFile = toml::from_str(DocumentRules::STANDARD).unwrap();
        let mut all = Vec::new();
        for kind in &file.kind {
            let system = (kind.system.as_ref())
                .map_or_else(|| "urn:x".to_owned(), |name| file.systems[name][0].clone());
            for code in kind.codes.keys() {
                let part = ParameterKey::parse(&kind.part).unwrap();
                all.push((part, kind.place == "type", system.clone(), code.clone()));
            }
        }
        all
    }

    fn part(rules: &DocumentRules, system: &str, code: &str) -> Option<ParameterKey> {
        rules.types.find(&[Coding {
            system: system.into(),
            code: code.into(),
        }])
    }

    #[test]
    fn own_rules_replace_the_standard_ones() {
        let (own, standard) = (
            DocumentRules::parse(RULE).unwrap(),
            DocumentRules::standard(),
        );
        let local = "http://h.example/kinds";
        assert_eq!(part(&own, local, "XR"), Some(ParameterKey::Radiology));
        assert_eq!(part(&standard, local, "XR"), None);
        assert_eq!(part(&own, "http://loinc.org", "18842-5"), None);
        let summary = part(&standard, "http://loinc.org", "18842-5");
        assert_eq!(summary, Some(ParameterKey::DischargeSummary));
        let told = &own.descriptions()[0];
        assert_eq!((told.looks_at, told.system.as_str()), ("Types", "local"));
        assert_eq!(
            told.codes,
            [("XR".to_owned(), "Picture of bones".to_owned())]
        );
    }

    #[test]
    fn a_malformed_file_is_refused_with_what_to_do() {
        let rule = |from: &str, to: &str| {
            assert!(RULE.contains(from), "{from}");
            RULE.replace(from, to)
        };
        let again = RULE.split_once("[[kind]]").unwrap().1;
        let twice = |from: &str, to: &str| format!("{RULE}[[kind]]{}", again.replace(from, to));
        assert!(DocumentRules::parse(&twice("", "")).is_ok());
        assert!(DocumentRules::parse(&twice("'type'", "'category'")).is_ok());
        for (text, parts) in [
            (String::new(), &["no [[kind]]"][..]),
            ("not toml".to_owned(), &["line 1"]),
            (
                rule("'radiology'", "'xrays'"),
                &["[[kind]] number 1", "'xrays'", "radiology"],
            ),
            (rule("'type'", "'title'"), &["'title'", "category"]),
            (rule("= 'local'", "= 'loinc'"), &["'loinc'", "local"]),
            (
                rule("['http://h.example/kinds']", "[' ']"),
                &["[systems] local", "URI"],
            ),
            (rule("'ours'", "' '"), &["`source`"]),
            (rule("XR = 'Picture of bones'", ""), &["names no code"]),
            (rule("XR", "''"), &["empty"]),
            (rule("codes", "cods"), &["cods", "codes"]),
            (
                twice("radiology", "pathology"),
                &["[[kind]] number 2", "'XR'", "'radiology'"],
            ),
        ] {
            let told = DocumentRules::parse(&text).unwrap_err().to_string();
            for part in parts {
                assert!(told.contains(part), "{part:?} is not in: {told}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String, tail: String) {
            let _ = DocumentRules::parse(&text);
            let _ = DocumentRules::parse(&format!("{RULE}{tail}"));
        }
    }
}
