//! The names of the states of an export job.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "JobState tells what each means")]
pub enum Status {
    AwaitingInput,
    Requested,
    Retrieved,
    Approved,
    Rejected,
    Failed,
}

impl Status {
    /// Those of exports that are still to be worked on: by the patient, a worker, or staff.
    pub const OPEN: [Self; 3] = [Self::AwaitingInput, Self::Requested, Self::Retrieved];

    /// As it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingInput => "awaiting-input",
            Self::Requested => "requested",
            Self::Retrieved => "retrieved",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }

    /// Reads a status of the wire.
    pub fn parse(text: &str) -> Option<Self> {
        use Status::{Approved, AwaitingInput, Failed, Rejected, Requested, Retrieved};
        [
            AwaitingInput,
            Requested,
            Retrieved,
            Approved,
            Rejected,
            Failed,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
