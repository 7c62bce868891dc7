//! The type of a document: a code, and what it means.

use serde::{Deserialize, Serialize};
use url::Url;

/// What kind of document something is: a discharge summary, a consent.
///
/// Source: FHIR R4, `DocumentReference.type` and Coding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedType")]
pub struct DocumentType {
    system: String,
    code: String,
    display: String,
}

/// Why something is no type of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidType {
    /// The code system is no absolute URI.
    #[error("its system is no URI: write it like http://loinc.org")]
    System,
    /// The code is none that FHIR allows.
    #[error("its code is empty, or has white space at an end or twice in a row")]
    Code,
    /// People would not know what it is.
    #[error("its display is empty: say in words what it is")]
    Display,
}

impl DocumentType {
    /// A code of a system, and what it means: `http://loinc.org`, `18842-5`, `Discharge summary`.
    pub fn new(system: &str, code: &str, display: &str) -> Result<Self, InvalidType> {
        Url::parse(system).map_err(|_| InvalidType::System)?;
        let words = code.split(char::is_whitespace);
        if words.into_iter().any(str::is_empty) {
            return Err(InvalidType::Code);
        }
        if display.trim().is_empty() {
            return Err(InvalidType::Display);
        }
        Ok(Self {
            system: system.to_owned(),
            code: code.to_owned(),
            display: display.to_owned(),
        })
    }

    /// The URI of the code system.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// The code within it.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What it means, for people.
    pub fn display(&self) -> &str {
        &self.display
    }
}

/// A type as it was written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedType {
    system: String,
    code: String,
    display: String,
}

impl TryFrom<UncheckedType> for DocumentType {
    type Error = InvalidType;

    fn try_from(written: UncheckedType) -> Result<Self, InvalidType> {
        Self::new(&written.system, &written.code, &written.display)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_type_of_a_document_is_a_coding_that_fhir_allows() {
        let coding = DocumentType::new("http://loinc.org", "18842-5", "Discharge summary").unwrap();
        assert_eq!(coding.system(), "http://loinc.org", "kept to the letter");
        let json = serde_json::to_value(&coding).unwrap();
        assert_eq!(
            serde_json::from_value::<DocumentType>(json).unwrap(),
            coding
        );
        assert!(DocumentType::new("urn:oid:2.16.840.1.113883.6.1", "a b", "x").is_ok());
        for (system, code, display, expected) in [
            ("loinc", "1", "x", InvalidType::System),
            ("", "1", "x", InvalidType::System),
            ("http://loinc.org", "", "x", InvalidType::Code),
            ("http://loinc.org", " 1", "x", InvalidType::Code),
            ("http://loinc.org", "1  2", "x", InvalidType::Code),
            ("http://loinc.org", "1", " ", InvalidType::Display),
        ] {
            let told = DocumentType::new(system, code, display);
            assert_eq!(told, Err(expected), "{system} {code} {display}");
            let json = json!({"system": system, "code": code, "display": display});
            assert!(serde_json::from_value::<DocumentType>(json).is_err());
        }
    }
}
