//! Codes to test with, taken from the rule file itself, so that no code is left untested.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::super::{Protection, SensitivityRules};
use super::keys;

pub const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
pub const CONFIDENTIALITY_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
pub const ICD: &str = "http://hl7.org/fhir/sid/icd-10-cm";
pub const SNOMED: &str = "http://snomed.info/sct";
pub const LOINC: &str = "http://loinc.org";

/// A code of a rule.
#[derive(Debug, Clone)]
pub struct Sample {
    pub label: bool,
    pub enabled: bool,
    pub protects: Vec<String>,
    pub system: String,
    pub code: String,
}

impl Sample {
    pub fn protections(&self) -> Vec<Protection> {
        let names: Vec<_> = self.protects.iter().map(String::as_str).collect();
        keys(&names)
    }
}

pub fn coding(system: &str, code: &str) -> Value {
    json!({"system": system, "code": code, "display": "d"})
}

/// Every code of the standard file under every name of its system; both ends of a range.
pub fn all() -> Vec<Sample> {
    let file: Value = toml::from_str(SensitivityRules::STANDARD).unwrap();
    let mut samples = Vec::new();
    for kind in ["label", "code"] {
        for rule in file[kind].as_array().unwrap() {
            let empty = serde_json::Map::new();
            let codes = |name: &str| rule[name].as_object().unwrap_or(&empty).clone();
            let below = codes("below");
            let ends = below.keys().flat_map(|range| range.split('-'));
            let exact = codes("exact");
            let protects = rule["protects"].as_array().unwrap().iter();
            let protects: Vec<_> = protects.map(|p| p.as_str().unwrap().to_owned()).collect();
            let uris = file["systems"][rule["system"].as_str().unwrap()].as_array();
            for code in exact.keys().map(String::as_str).chain(ends) {
                for uri in uris.unwrap() {
                    samples.push(Sample {
                        label: kind == "label",
                        enabled: rule["enabled"] != false,
                        protects: protects.clone(),
                        system: uri.as_str().unwrap().to_owned(),
                        code: code.to_owned(),
                    });
                }
            }
        }
    }
    samples
}

/// Those of rules that are on.
pub fn enabled() -> Vec<Sample> {
    static ENABLED: LazyLock<Vec<Sample>> =
        LazyLock::new(|| all().into_iter().filter(|sample| sample.enabled).collect());
    ENABLED.clone()
}
