//! `OperationOutcome`: how FHIR says what happened.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How bad an issue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The request failed.
    Error,
    /// Something to look at; the request went on.
    Warning,
    /// Good to know.
    Information,
}

/// What kind of issue. Source: FHIR R4, code system `issue-type`, as far as this server uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are FHIR's own")]
pub enum IssueCode {
    Conflict,
    Exception,
    Forbidden,
    Incomplete,
    Informational,
    Invalid,
    Login,
    NoStore,
    NotFound,
    NotSupported,
    Processing,
    Security,
    Suppressed,
    Throttled,
    TooLong,
    Transient,
}

/// An `OperationOutcome` with one issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationOutcome {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing it is.
    pub code: IssueCode,
    /// What happened and what to do next, for a person.
    pub diagnostics: String,
}

impl OperationOutcome {
    /// A failure.
    pub fn error(code: IssueCode, diagnostics: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            diagnostics: diagnostics.into(),
        }
    }

    /// Good news.
    pub fn information(diagnostics: impl Into<String>) -> Self {
        Self {
            severity: Severity::Information,
            code: IssueCode::Informational,
            diagnostics: diagnostics.into(),
        }
    }

    /// The resource.
    pub fn to_json(&self) -> Value {
        json!({
            "resourceType": "OperationOutcome",
            "issue": [{
                "severity": self.severity,
                "code": self.code,
                "diagnostics": self.diagnostics,
            }],
        })
    }
}
