//! Patients at the browser.

use std::sync::Arc;

use super::{
    DestinationTooLong, LoginAttempt, LoginGuard, Secret, SessionError, SessionHolder,
    SessionLifetimes, Verdict,
};
use crate::fhir::PatientId;
use crate::ports::{
    Action, Actor, AuditEvent, AuditLog, By, Clock, Entropy, LoginError, Origin, PatientAnswer,
    PatientLogin, PatientPrompt, PatientSummary, Proof, RecordSource, SessionStore,
};

/// Logs patients in and recognises them.
#[derive(Debug, Clone)]
pub struct PatientSessions {
    /// Proves who they are.
    pub login: Arc<dyn PatientLogin>,
    /// Slows down who guesses passwords.
    pub guard: LoginGuard,
    /// Knows who they are.
    pub source: Arc<dyn RecordSource>,
    /// Where sessions live.
    pub sessions: Arc<dyn SessionStore>,
    /// Who did what.
    pub audit: Arc<dyn AuditLog>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// How long a session lasts.
    pub lifetimes: SessionLifetimes,
}

/// A patient who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientSession {
    /// Who.
    pub patient: PatientSummary,
    /// From where they look.
    pub origin: Origin,
}

impl PatientSession {
    /// They, for the audit log.
    pub fn by(&self) -> By {
        By {
            actor: Actor::Patient(self.patient.id.clone()),
            origin: self.origin.clone(),
        }
    }
}

impl PatientSessions {
    /// Begins an attempt to log in, on the way to `destination`.
    pub fn attempt(&self, destination: &str) -> Result<LoginAttempt, DestinationTooLong> {
        LoginAttempt::begin(self.new_secret(), destination)
    }

    /// What the login page asks for, or where to send the browser.
    pub async fn prompt(
        &self,
        attempt: &LoginAttempt,
        proof: Proof,
    ) -> Result<PatientPrompt, SessionError> {
        self.login.prompt(attempt, proof).await.map_err(not_in)
    }

    /// Logs a patient in. The new cookie is another one than any before, and the session of the
    /// cookie that the browser had `before` ends.
    pub async fn log_in(
        &self,
        answer: PatientAnswer,
        before: Option<&Secret>,
        origin: &Origin,
    ) -> Result<Secret, SessionError> {
        let patient = match self.prove(answer, origin).await {
            Ok(patient) => patient,
            Err(error @ SessionError::Unavailable(_)) => return Err(error),
            Err(error) => {
                let by = By::unknown(origin);
                let event = by.was_refused(Action::PatientLogin, self.clock.now());
                self.audit.append(&event).await?;
                return Err(error);
            }
        };
        let origin = origin.clone();
        let session = PatientSession { patient, origin };
        self.record(&session, Action::PatientLogin).await?;
        if let Some(before) = before {
            self.sessions.remove(before.hash()).await?;
        }
        let cookie = self.new_secret();
        let holder = SessionHolder::Patient(session.patient.id);
        let session = self.lifetimes.begin(holder, self.clock.now());
        self.sessions.insert(cookie.hash(), &session).await?;
        Ok(cookie)
    }

    async fn prove(
        &self,
        answer: PatientAnswer,
        origin: &Origin,
    ) -> Result<PatientSummary, SessionError> {
        // Whoever comes back from elsewhere has proven who they are and may know that there is
        // no record of them. Of everybody else's answers nothing is told.
        let without_record = match &answer {
            PatientAnswer::Returned(_) => SessionError::Stranger,
            PatientAnswer::Picked(_) | PatientAnswer::Password(_) => SessionError::Refused,
        };
        let now = self.clock.now();
        let attempt = match &answer {
            PatientAnswer::Password(typed) => {
                let begun = self.guard.begin(&typed.username, origin.address, now);
                Some(begun.await?)
            }
            PatientAnswer::Picked(_) | PatientAnswer::Returned(_) => None,
        };
        let proven = self.login.verify(answer).await;
        if let Some(attempt) = attempt {
            self.guard.end(attempt, Verdict::of(&proven)).await?;
        }
        let id = proven.map_err(not_in)?;
        self.find(&id).await?.ok_or(without_record)
    }

    /// A cookie for somebody who did not log in yet: it ties the forms to the browser.
    pub fn new_secret(&self) -> Secret {
        Secret::from_random(self.entropy.bytes())
    }

    /// Who this cookie belongs to. Being used makes a session last.
    pub async fn recognise(
        &self,
        cookie: &Secret,
        origin: &Origin,
    ) -> Result<PatientSession, SessionError> {
        let now = self.clock.now();
        let sessions = &*self.sessions;
        let session = self.lifetimes.live(sessions, cookie, now).await?;
        let SessionHolder::Patient(id) = &session.holder else {
            return Err(SessionError::None);
        };
        let patient = self.find(id).await?.ok_or(SessionError::None)?;
        self.lifetimes
            .slide(sessions, cookie, &session, now)
            .await?;
        let origin = origin.clone();
        Ok(PatientSession { patient, origin })
    }

    /// Ends the session of this cookie.
    pub async fn log_out(&self, cookie: &Secret, origin: &Origin) -> Result<(), SessionError> {
        let session = self.recognise(cookie, origin).await?;
        self.record(&session, Action::PatientLogout).await?;
        Ok(self.sessions.remove(cookie.hash()).await?)
    }

    async fn find(&self, id: &PatientId) -> Result<Option<PatientSummary>, SessionError> {
        let found = self.source.patient(id).await;
        found.map_err(|error| SessionError::Unavailable(error.into()))
    }

    async fn record(&self, session: &PatientSession, action: Action) -> Result<(), SessionError> {
        let event = AuditEvent {
            patient: Some(session.patient.id.clone()),
            ..session.by().did(action, self.clock.now())
        };
        Ok(self.audit.append(&event).await?)
    }
}

/// Why a login makes no session.
pub(super) fn not_in(error: LoginError) -> SessionError {
    match error {
        LoginError::Refused => SessionError::Refused,
        LoginError::Stranger => SessionError::Stranger,
        LoginError::Unavailable(cause) => SessionError::Unavailable(cause),
    }
}

#[cfg(test)]
mod tests;
