//! Reading the rule file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::table::{CodeTable, Guess, LONGEST_CODE, STEM, stem};
use super::{Protection, SensitivityRules};
use crate::export::{AuthorizationKey, RulesError};
use crate::fhir::ResourceType;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    psychotherapy_notes: String,
    #[serde(default)]
    systems: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    label: Vec<CodeRule>,
    #[serde(default)]
    code: Vec<CodeRule>,
    #[serde(default, rename = "type")]
    types: Vec<TypeRule>,
}

/// Codes of one system. What each means stands in the file for its readers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeRule {
    #[serde(default = "yes")]
    enabled: bool,
    protects: Vec<String>,
    system: String,
    source: String,
    #[serde(default)]
    exact: BTreeMap<String, String>,
    #[serde(default)]
    below: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeRule {
    #[serde(default = "yes")]
    enabled: bool,
    protects: Vec<String>,
    source: String,
    types: BTreeMap<ResourceType, String>,
}

fn yes() -> bool {
    true
}

/// A rule in force, as the public documentation explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDescription {
    /// What protects the records it finds: the keys of the form, or `psychotherapyNotes`.
    pub protects: Vec<String>,
    /// What it looks at: security labels, codes or resource types.
    pub looks_at: &'static str,
    /// The name of the code system, as the rule file has it; empty for resource types.
    pub system: String,
    /// Where the list comes from.
    pub source: String,
    /// Each code and what it means. One that stands for all below it ends in `…`.
    pub codes: Vec<(String, String)>,
}

impl RuleFile {
    /// Its rules that are in force.
    fn describe(&self) -> Vec<RuleDescription> {
        let of_codes = |looks_at: &'static str, rules: &[CodeRule]| -> Vec<RuleDescription> {
            (rules.iter().filter(|rule| rule.enabled))
                .map(|rule| RuleDescription {
                    protects: rule.protects.clone(),
                    looks_at,
                    system: rule.system.clone(),
                    source: rule.source.clone(),
                    codes: (rule.exact.clone().into_iter())
                        .chain(
                            (rule.below.iter())
                                .map(|(code, means)| (format!("{code}…"), means.clone())),
                        )
                        .collect(),
                })
                .collect()
        };
        let types = (self.types.iter().filter(|rule| rule.enabled)).map(|rule| RuleDescription {
            protects: rule.protects.clone(),
            looks_at: "Resource types",
            system: String::new(),
            source: rule.source.clone(),
            codes: (rule.types.iter())
                .map(|(each, means)| (each.to_string(), means.clone()))
                .collect(),
        });
        let mut all = of_codes("Security labels", &self.label);
        all.extend(of_codes("Codes", &self.code));
        all.extend(types);
        all
    }
}

/// What is wrong with a rule, before it is known which one it is.
type Wrong = String;

/// Reads a rule file. See the standard one for what can stand in it.
pub(super) fn parse(text: &str) -> Result<SensitivityRules, RulesError> {
    let file: RuleFile =
        toml::from_str(text).map_err(|error| RulesError::Syntax(error.to_string()))?;
    let at = |rule: &str| {
        let rule = rule.to_owned();
        move |message| RulesError::Rule { rule, message }
    };
    let notes = psychotherapy(&file.psychotherapy_notes).map_err(at("psychotherapy_notes"))?;
    for (name, uris) in &file.systems {
        if uris.is_empty() || uris.iter().any(|uri| uri.trim().is_empty()) {
            let wrong = "names no URI: write those by which records know it".to_owned();
            return Err(at(&format!("[systems] {name}"))(wrong));
        }
    }
    let (mut labels, mut codes, mut types) =
        (CodeTable::default(), CodeTable::default(), Vec::new());
    let mut enabled = 0;
    for (kind, rules, table) in [
        ("label", &file.label, &mut labels),
        ("code", &file.code, &mut codes),
    ] {
        for (number, rule) in rules.iter().enumerate() {
            let place = format!("[[{kind}]] number {}", number + 1);
            add_codes(rule, &file.systems, notes, table).map_err(at(&place))?;
            enabled += usize::from(rule.enabled);
        }
    }
    for (number, rule) in file.types.iter().enumerate() {
        let place = format!("[[type]] number {}", number + 1);
        let protections = protections(&rule.protects, notes).map_err(at(&place))?;
        check_source(&rule.source).map_err(at(&place))?;
        if rule.types.is_empty() {
            let wrong = "names no type: write them as `Type = \"what it is\"` below [type.types]";
            return Err(at(&place)(wrong.to_owned()));
        }
        if rule.enabled {
            types.extend((rule.types.keys()).map(|&each| (each, protections.clone())));
            enabled += 1;
        }
    }
    if enabled == 0 {
        let wrong =
            "has no [[label]], [[code]] or [[type]] that is enabled: nothing would be protected";
        return Err(at("the file")(wrong.to_owned()));
    }
    let mut guess = Guess::new();
    labels.guess(&mut guess);
    codes.guess(&mut guess);
    Ok(SensitivityRules::new(
        labels,
        codes,
        types,
        guess,
        file.describe(),
    ))
}

/// What becomes of psychotherapy notes.
fn psychotherapy(answer: &str) -> Result<Protection, Wrong> {
    if answer == "withhold" {
        return Ok(Protection::PsychotherapyNote);
    }
    AuthorizationKey::parse(answer)
        .map(Protection::Authorization)
        .ok_or_else(|| {
            format!(
                "'{answer}' is unknown: write 'withhold' or one of {}",
                keys()
            )
        })
}

fn protections(names: &[String], notes: Protection) -> Result<Vec<Protection>, Wrong> {
    if names.is_empty() {
        return Err(format!("`protects` is empty: name one of {}", keys()));
    }
    (names.iter())
        .map(|name| match AuthorizationKey::parse(name) {
            Some(key) => Ok(Protection::Authorization(key)),
            None if name == "psychotherapyNotes" => Ok(notes),
            None => Err(format!(
                "'{name}' is no authorization: write 'psychotherapyNotes' or one of {}",
                keys()
            )),
        })
        .collect()
}

fn keys() -> String {
    let names: Vec<_> = AuthorizationKey::ALL
        .iter()
        .map(|key| format!("'{}'", key.key()))
        .collect();
    names.join(", ")
}

fn check_source(source: &str) -> Result<(), Wrong> {
    if source.trim().is_empty() {
        return Err("`source` is empty: say where the list comes from".to_owned());
    }
    Ok(())
}

/// Adds the codes of a rule. One that is not enabled is checked all the same.
fn add_codes(
    rule: &CodeRule,
    systems: &BTreeMap<String, Vec<String>>,
    notes: Protection,
    table: &mut CodeTable,
) -> Result<(), Wrong> {
    let protections = protections(&rule.protects, notes)?;
    check_source(&rule.source)?;
    let uris = systems.get(&rule.system).ok_or_else(|| {
        let known: Vec<_> = systems.keys().map(String::as_str).collect();
        let (system, known) = (&rule.system, known.join(", "));
        format!("the system '{system}' is not in [systems]: add it, or write one of {known}")
    })?;
    if rule.exact.is_empty() && rule.below.is_empty() {
        return Err(
            "names no code: write them as `CODE = \"what it means\"` below `exact` or `below`"
                .to_owned(),
        );
    }
    for code in rule.exact.keys() {
        check_code(code)?;
    }
    let stems: Vec<Vec<String>> = (rule.below.keys())
        .map(|range| stems(range))
        .collect::<Result<_, _>>()?;
    if rule.enabled {
        for uri in uris {
            let codes = table.system(uri);
            for code in rule.exact.keys() {
                codes.exact(code, &protections);
            }
            for stem in stems.iter().flatten() {
                codes.below(stem, &protections);
            }
        }
    }
    Ok(())
}

/// A code that is compared as it is must stand in JSON as it is.
fn check_code(code: &str) -> Result<(), Wrong> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'/');
    if code.is_empty() || code.len() > LONGEST_CODE || !code.bytes().all(plain) {
        return Err(format!(
            "'{code}' is no code: it has 1 to {LONGEST_CODE} letters, digits and signs of ASCII"
        ));
    }
    Ok(())
}

/// The stems a code or a range stands for: `F10-F12` is F10, F11 and F12.
fn stems(range: &str) -> Result<Vec<String>, Wrong> {
    let Some((first, last)) = range.split_once('-') else {
        return Ok(vec![check_stem(range)?]);
    };
    let (first, last) = (check_stem(first)?, check_stem(last)?);
    let wrong = || {
        format!(
            "'{range}' is no range: both ends have as many letters and differ in their last digits alone, as in 'F10-F19'"
        )
    };
    if first.len() != last.len() {
        return Err(wrong());
    }
    let same = (first.bytes().zip(last.bytes()))
        .take_while(|(a, b)| a == b)
        .count();
    let (Some((head, low)), Some((_, high))) =
        (first.split_at_checked(same), last.split_at_checked(same))
    else {
        return Err(wrong());
    };
    let number = |digits: &str| {
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        all.then(|| digits.parse::<u32>().ok()).flatten()
    };
    match (number(low), number(high)) {
        (Some(first), Some(last)) if first < last => Ok((first..=last)
            .map(|number| format!("{head}{number:0width$}", width = low.len()))
            .collect()),
        _ => Err(wrong()),
    }
}

fn check_stem(code: &str) -> Result<String, Wrong> {
    let stem = stem(code.trim());
    if STEM.contains(&stem.len()) && stem.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(stem);
    }
    Err(format!(
        "'{code}' is no code of ICD: it has {} to {} letters and digits, and dots that do not count",
        STEM.start(),
        STEM.end()
    ))
}
