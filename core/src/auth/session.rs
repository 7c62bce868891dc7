//! Browser sessions, and the tokens that guard their forms.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Secret, StaffName};
use crate::fhir::PatientId;
use crate::ports::{Cause, StoreError};

/// Somebody who logged in at a browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Who.
    pub holder: SessionHolder,
    /// Ends at this instant, unless it is used before.
    pub expires_at: Timestamp,
    /// Ends at this instant, however much it is used.
    pub ends_at: Timestamp,
}

/// Who logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionHolder {
    /// A patient.
    Patient(PatientId),
    /// A member of staff.
    Staff(StaffName),
}

impl Session {
    /// A session that begins now.
    pub(super) fn begin(holder: SessionHolder, now: Timestamp, sliding: Duration) -> Self {
        let after = |span| now.saturating_add(span).unwrap_or(Timestamp::MAX);
        Self {
            holder,
            expires_at: after(sliding),
            ends_at: after(LONGEST.max(sliding)),
        }
    }

    /// Whether it still runs.
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at && now < self.ends_at
    }
}

/// No session lasts longer than a working day.
const LONGEST: Duration = Duration::from_hours(12);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody is logged in (any more).
    #[error("nobody is logged in")]
    None,
    /// The login was refused.
    #[error("the login was refused")]
    Refused,
    /// There were too many wrong passwords. Retry after this time.
    #[error("too many wrong passwords")]
    TooMany(Duration),
    /// Sessions cannot be looked up right now. Retry later.
    #[error("sessions are unavailable")]
    Unavailable(#[source] Cause),
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// The token that a form carries to prove it was made for this cookie: another site can make a
/// browser send the cookie, and cannot know this.
pub fn csrf_token(cookie: &Secret) -> String {
    let digest = Sha256::new()
        .chain_update(b"ehi-server form\0")
        .chain_update(cookie.expose())
        .finalize();
    BASE64_URL_SAFE_NO_PAD.encode(digest)
}

/// Whether a form carries the token of this cookie.
pub fn is_csrf_token(cookie: &Secret, token: &str) -> bool {
    csrf_token(cookie).as_bytes().ct_eq(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_bound_to_its_cookie() {
        let (mine, other) = (Secret::from_random([1; 32]), Secret::from_random([2; 32]));
        assert!(is_csrf_token(&mine, &csrf_token(&mine)));
        assert!(!is_csrf_token(&mine, &csrf_token(&other)));
        assert!(!is_csrf_token(&mine, "") && !is_csrf_token(&mine, mine.expose()));
    }
}
