//! The memory of who saw or released what.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::StoreError;
use crate::auth::{ClientId, StaffName};
use crate::export::JobId;
use crate::fhir::PatientId;

/// Remembers, append-only, who saw or released what. Entries hold no record content and no
/// secret.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait AuditLog: Debug + Send + Sync + 'static {
    /// Appends an entry. An action whose entry cannot be written must not happen: callers write
    /// it first.
    async fn append(&self, event: &AuditEvent) -> Result<(), StoreError>;
}

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEvent {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// For which patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<PatientId>,
    /// In which export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// A patient at the browser.
    Patient(PatientId),
    /// An app with a token.
    Client(ClientId),
    /// A member of staff.
    Staff(StaffName),
    /// Somebody who was not recognised.
    Unknown,
    /// The server by itself, when something expires.
    Server,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Action {
    PatientLogin,
    PatientLoginRefused,
    StaffLogin,
    StaffLoginRefused,
    StaffLogout,
    Authorize,
    RefuseConsent,
    IssueToken,
    RevokeGrant,
    KickOff,
    Customise,
    Download,
    Approve,
    Reject,
    Attach,
    Detach,
    Remove,
    Expire,
}
