//! Logical ids of FHIR resources.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not a FHIR id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a FHIR id has 1 to 64 characters, each a letter, a digit, '-' or '.'")]
pub struct InvalidId;

/// The logical id of a Patient resource: 1 to 64 characters of `[A-Za-z0-9\-.]`.
///
/// Source: FHIR R4, datatype `id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PatientId(String);

impl PatientId {
    /// Reads an id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        // "." and ".." are legal FHIR ids that no URL can carry: every client would resolve them away.
        let dots = matches!(text, "." | "..");
        ((1..=64).contains(&text.len()) && text.bytes().all(allowed) && !dots)
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidId)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PatientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PatientId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text)
    }
}

impl From<PatientId> for String {
    fn from(id: PatientId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fhir_ids_are_patient_ids() {
        for good in [
            "1",
            "a.b-c",
            "6c5d9ca9-54d7-42f5-bfae-a7c19cd217f2",
            &"x".repeat(64),
        ] {
            assert_eq!(PatientId::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "../etc",
            "a/b",
            "a b",
            "a\n",
            "ä",
            "%2e",
            &"x".repeat(65),
        ] {
            assert_eq!(PatientId::parse(bad), Err(InvalidId), "{bad:?}");
        }
    }
}
