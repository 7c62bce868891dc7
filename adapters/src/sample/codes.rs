//! Codes and code systems, and how they are written in JSON.

use serde_json::{Value, json};

/// A `Coding` known at compile time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) system: &'static str,
    pub(super) value: &'static str,
    pub(super) display: &'static str,
}

const fn code(system: &'static str, value: &'static str, display: &'static str) -> Code {
    Code {
        system,
        value,
        display,
    }
}

pub(super) const fn snomed(value: &'static str, display: &'static str) -> Code {
    code("http://snomed.info/sct", value, display)
}

pub(super) const fn loinc(value: &'static str, display: &'static str) -> Code {
    code("http://loinc.org", value, display)
}

pub(super) const fn icd10(value: &'static str, display: &'static str) -> Code {
    code("http://hl7.org/fhir/sid/icd-10-cm", value, display)
}

pub(super) const fn rxnorm(value: &'static str, display: &'static str) -> Code {
    code(
        "http://www.nlm.nih.gov/research/umls/rxnorm",
        value,
        display,
    )
}

pub(super) const fn cvx(value: &'static str, display: &'static str) -> Code {
    code("http://hl7.org/fhir/sid/cvx", value, display)
}

pub(super) const fn act(value: &'static str, display: &'static str) -> Code {
    code(
        "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        value,
        display,
    )
}

pub(super) const fn confidentiality(value: &'static str, display: &'static str) -> Code {
    code(
        "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
        value,
        display,
    )
}

pub(super) const fn omb(value: &'static str, display: &'static str) -> Code {
    code("urn:oid:2.16.840.1.113883.6.238", value, display)
}

/// Diagnostic service section: what kind of report a `DiagnosticReport` is.
pub(super) const fn section(value: &'static str, display: &'static str) -> Code {
    code(
        "http://terminology.hl7.org/CodeSystem/v2-0074",
        value,
        display,
    )
}

impl Code {
    pub(super) fn coding(&self) -> Value {
        json!({ "system": self.system, "code": self.value, "display": self.display })
    }

    pub(super) fn concept(&self) -> Value {
        concept(&[*self])
    }
}

/// A `CodeableConcept` of several codes that mean the same; the first one names it.
pub(super) fn concept(codes: &[Code]) -> Value {
    json!({
        "coding": codes.iter().map(Code::coding).collect::<Vec<_>>(),
        "text": codes.first().map(|first| first.display),
    })
}

/// A `CodeableConcept` of a code of HL7's own terminology.
pub(super) fn hl7(system: &str, code: &str) -> Value {
    json!({ "coding": [{
        "system": format!("http://terminology.hl7.org/CodeSystem/{system}"),
        "code": code,
    }] })
}

/// A number of `units` of the last of `decimals` decimals: `number(725, 1)` is 72.5.
pub(super) fn number(units: i64, decimals: u32) -> Value {
    if decimals == 0 {
        return json!(units);
    }
    let units = i32::try_from(units).unwrap_or(i32::MAX);
    json!(f64::from(units) / f64::from(10_u32.pow(decimals)))
}

pub(super) fn quantity(units: i64, decimals: u32, unit: &str) -> Value {
    json!({
        "value": number(units, decimals),
        "unit": unit,
        "system": "http://unitsofmeasure.org",
        "code": unit,
    })
}

pub(super) fn dollars(cents: i64) -> Value {
    json!({ "value": number(cents, 2), "currency": "USD" })
}
