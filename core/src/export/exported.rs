//! What a run of an export left: its files and what is told of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::AuthorizationKey;
use crate::fhir::ResourceType;

/// What one attempt exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// The attempt whose files these are.
    pub attempt: u32,
    /// The state of the source it shows: when the attempt began.
    pub transaction_time: Timestamp,
    /// Its files.
    pub files: Vec<ExportedFile>,
    /// How many records stayed in the hospital, by what would have authorised them.
    pub withheld: BTreeMap<AuthorizationKey, u64>,
    /// How many psychotherapy notes stayed in the hospital: those are never part of an export.
    pub psychotherapy_notes: u64,
}

/// One exported file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFile {
    /// Its name, one of a kind within the export.
    pub name: FileName,
    /// What it is for.
    pub kind: FileKind,
    /// What it holds.
    pub resource_type: ResourceType,
    /// How many resources, one a line.
    pub count: u64,
    /// Bytes.
    pub size: u64,
}

/// What an exported file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// Records.
    Output,
    /// `OperationOutcomes` about records that could not be read.
    Error,
}

/// The name of an exported file: `Observation.ndjson`, `Observation.2.ndjson`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileName(String);

impl FileName {
    /// The `part`th file of a type, from 1.
    pub fn output(resource_type: ResourceType, part: u32) -> Self {
        Self(match part {
            0 | 1 => format!("{resource_type}.ndjson"),
            _ => format!("{resource_type}.{part}.ndjson"),
        })
    }

    /// The `part`th file about records that could not be read, from 1.
    pub fn errors(part: u32) -> Self {
        Self(format!(
            "errors.{}",
            Self::output(ResourceType::OperationOutcome, part).0
        ))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
