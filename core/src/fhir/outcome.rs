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

/// An `OperationOutcome`: one issue, and what else is good to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationOutcome {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing it is.
    pub code: IssueCode,
    /// What happened and what to do next, for a person.
    pub diagnostics: String,
    /// What else is good to know: an informational issue each.
    pub further: Vec<String>,
}

impl OperationOutcome {
    /// A failure.
    pub fn error(code: IssueCode, diagnostics: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            diagnostics: diagnostics.into(),
            further: Vec::new(),
        }
    }

    /// Good news.
    pub fn information(diagnostics: impl Into<String>) -> Self {
        Self {
            severity: Severity::Information,
            code: IssueCode::Informational,
            diagnostics: diagnostics.into(),
            further: Vec::new(),
        }
    }

    /// The same, and this is good to know as well.
    #[must_use]
    pub fn and(mut self, diagnostics: impl Into<String>) -> Self {
        self.further.push(diagnostics.into());
        self
    }

    /// The resource.
    pub fn to_json(&self) -> Value {
        let issue = |severity: Severity, code: IssueCode, diagnostics: &str| json!({"severity": severity, "code": code, "diagnostics": diagnostics});
        let first = issue(self.severity, self.code, &self.diagnostics);
        let further = (self.further.iter())
            .map(|text| issue(Severity::Information, IssueCode::Informational, text));
        let issues: Vec<Value> = std::iter::once(first).chain(further).collect();
        json!({"resourceType": "OperationOutcome", "issue": issues})
    }
}
