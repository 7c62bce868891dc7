//! Browser sessions, and the tokens that guard their forms.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Secret, StaffHolder};
use crate::fhir::PatientId;
use crate::ports::{Cause, SessionStore, StoreError};

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
    Staff(StaffHolder),
}

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLifetimes {
    /// Without being used.
    pub idle: Duration,
    /// However much they are used.
    pub absolute: Duration,
}

impl SessionLifetimes {
    /// A session that begins now.
    pub(super) fn begin(&self, holder: SessionHolder, now: Timestamp) -> Session {
        let ends_at = after(now, self.absolute);
        Session {
            holder,
            expires_at: after(now, self.idle).min(ends_at),
            ends_at,
        }
    }

    /// The session of this cookie, if it still runs.
    pub(super) async fn live(
        &self,
        sessions: &dyn SessionStore,
        cookie: &Secret,
        now: Timestamp,
    ) -> Result<Session, SessionError> {
        let session = sessions.get(cookie.hash()).await?;
        let live = session.filter(|session| now < session.expires_at && now < session.ends_at);
        live.ok_or(SessionError::None)
    }

    /// Makes a session that is being used last. Returns when it ends now.
    pub(super) async fn slide(
        &self,
        sessions: &dyn SessionStore,
        cookie: &Secret,
        session: &Session,
        now: Timestamp,
    ) -> Result<Timestamp, SessionError> {
        let expires_at = after(now, self.idle).min(session.ends_at);
        sessions.extend(cookie.hash(), expires_at).await?;
        Ok(expires_at)
    }
}

fn after(now: Timestamp, span: Duration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

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
    /// It is proven who they are, and that is nobody we know. Another attempt will not help; the
    /// hospital may.
    #[error("the login is nobody's here")]
    Stranger,
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
