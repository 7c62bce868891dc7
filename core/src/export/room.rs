//! How many exports may be open at a time.

use std::fmt;

use super::{ExportService, UseCaseError};
use crate::auth::Access;
use crate::fhir::PatientId;
use crate::ports::{Action, AuditEvent};

/// How many exports may be [open](super::Status::OPEN) at a time. Requests that come at the same moment
/// do not see each other, so there may be as many more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenLimits {
    /// Of one patient's record that one app or system asked for: nobody is kept out by what others
    /// asked for.
    pub per_patient: u64,
    /// Of one app or system, whomever they are about.
    pub per_client: u64,
}

impl OpenLimits {
    /// As many as anybody likes.
    pub const NONE: Self = Self {
        per_patient: u64::MAX,
        per_client: u64::MAX,
    };
}

impl Default for OpenLimits {
    fn default() -> Self {
        Self {
            per_patient: 10,
            per_client: 10_000,
        }
    }
}

/// Whose open exports are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowd {
    /// The patient's, through the same app or system.
    Patient,
    /// The app's or system's.
    Client,
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patient => "patient through this client",
            Self::Client => "client",
        })
    }
}

impl ExportService {
    /// Whether one more export of this patient and through this app may be open.
    pub(super) async fn require_room(
        &self,
        access: &Access,
        patient: &PatientId,
    ) -> Result<(), UseCaseError> {
        let open = self.ports.jobs.open_jobs(patient, &access.client).await?;
        let limits = self.settings.open;
        let (whose, limit) = if open.of_patient >= limits.per_patient {
            (Crowd::Patient, limits.per_patient)
        } else if open.of_client >= limits.per_client {
            (Crowd::Client, limits.per_client)
        } else {
            return Ok(());
        };
        let refused = AuditEvent {
            patient: Some(patient.clone()),
            ..access
                .by()
                .was_refused(Action::KickOff, self.ports.clock.now())
        };
        self.ports.audit.append(&refused).await?;
        Err(UseCaseError::TooManyOpen { whose, limit })
    }
}
