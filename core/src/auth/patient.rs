//! Patients at the browser.

use std::sync::Arc;
use std::time::Duration;

use super::{LoginGuard, Secret, Session, SessionError, SessionHolder, Verdict};
use crate::fhir::PatientId;
use crate::ports::{
    Action, Actor, AuditEvent, AuditLog, By, Clock, Credentials, Entropy, LoginError, LoginPrompt,
    Origin, PatientAnswer, PatientLogin, PatientSummary, RecordSource, SessionStore,
};

/// Logs patients in and recognises them.
#[derive(Debug, Clone)]
pub struct PatientSessions {
    /// Proves who they are.
    pub login: Arc<dyn PatientLogin>,
    /// Slows down who guesses.
    pub guard: Arc<LoginGuard>,
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
    pub lifetime: Duration,
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
    /// What the login page asks for.
    pub async fn prompt(&self) -> Result<LoginPrompt, SessionError> {
        self.login.prompt().await.map_err(unavailable)
    }

    /// Logs a patient in; the new cookie is another one than any before.
    pub async fn log_in(
        &self,
        answer: PatientAnswer,
        origin: &Origin,
    ) -> Result<Secret, SessionError> {
        let attempt = match &answer {
            PatientAnswer::Password(Credentials { username, .. }) => {
                let now = self.clock.now();
                Some(self.guard.begin(username, origin.address, now))
            }
            PatientAnswer::Picked(_) => None,
        };
        let attempt = match attempt.transpose() {
            Ok(attempt) => attempt,
            Err(wait) => {
                self.refuse(origin).await?;
                return Err(SessionError::TooMany(wait));
            }
        };
        let proven = self.login.verify(answer).await;
        if let Some(attempt) = attempt {
            self.guard.end(attempt, Verdict::of(&proven));
        }
        let proven = match proven {
            Ok(id) => self.find(&id).await?,
            Err(LoginError::Refused) => None,
            Err(other) => return Err(unavailable(other)),
        };
        let Some(patient) = proven else {
            self.refuse(origin).await?;
            return Err(SessionError::Refused);
        };
        let origin = origin.clone();
        let session = PatientSession { patient, origin };
        self.record(&session, Action::PatientLogin).await?;
        let cookie = self.new_secret();
        let holder = SessionHolder::Patient(session.patient.id);
        let session = Session::begin(holder, self.clock.now(), self.lifetime);
        self.sessions.insert(cookie.hash(), &session).await?;
        Ok(cookie)
    }

    /// A cookie for somebody who did not log in yet: it ties the forms to the browser.
    pub fn new_secret(&self) -> Secret {
        Secret::from_random(self.entropy.bytes())
    }

    /// Who this cookie belongs to.
    pub async fn recognise(
        &self,
        cookie: &Secret,
        origin: &Origin,
    ) -> Result<PatientSession, SessionError> {
        let session = self
            .sessions
            .get(cookie.hash())
            .await?
            .ok_or(SessionError::None)?;
        let SessionHolder::Patient(id) = &session.holder else {
            return Err(SessionError::None);
        };
        if !session.is_live(self.clock.now()) {
            return Err(SessionError::None);
        }
        let patient = self.find(id).await?.ok_or(SessionError::None)?;
        let origin = origin.clone();
        Ok(PatientSession { patient, origin })
    }

    /// Ends a session.
    pub async fn log_out(&self, cookie: &Secret) -> Result<(), SessionError> {
        Ok(self.sessions.remove(cookie.hash()).await?)
    }

    async fn find(&self, id: &PatientId) -> Result<Option<PatientSummary>, SessionError> {
        let found = self.source.patient(id).await;
        found.map_err(|error| SessionError::Unavailable(error.into()))
    }

    async fn refuse(&self, origin: &Origin) -> Result<(), SessionError> {
        let event = By::unknown(origin).was_refused(Action::PatientLogin, self.clock.now());
        Ok(self.audit.append(&event).await?)
    }

    async fn record(&self, session: &PatientSession, action: Action) -> Result<(), SessionError> {
        let event = AuditEvent {
            patient: Some(session.patient.id.clone()),
            ..session.by().did(action, self.clock.now())
        };
        Ok(self.audit.append(&event).await?)
    }
}

fn unavailable(error: LoginError) -> SessionError {
    SessionError::Unavailable(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{MockPatientLogin, MockRecordSource, Outcome};
    use crate::testkit::{FixedClock, RecordedAudit, SeededEntropy, Sessions, at, patient};

    fn sessions(login: MockPatientLogin) -> (PatientSessions, Arc<FixedClock>, Arc<RecordedAudit>) {
        let clock = Arc::new(FixedClock::at(at(0)));
        let audit = Arc::new(RecordedAudit::default());
        let mut source = MockRecordSource::new();
        source
            .expect_patient()
            .returning(|id| Ok((*id == patient().id).then(patient)));
        let sessions = PatientSessions {
            login: Arc::new(login),
            guard: Arc::default(),
            source: Arc::new(source),
            sessions: Arc::new(Sessions::default()),
            audit: audit.clone(),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::default()),
            lifetime: Duration::from_mins(10),
        };
        (sessions, clock, audit)
    }

    #[tokio::test]
    async fn a_patient_is_recognised_until_the_session_ends() {
        let mut login = MockPatientLogin::new();
        login.expect_verify().returning(|_| Ok(patient().id));
        let (sessions, clock, audit) = sessions(login);
        let cookie = sessions
            .log_in(PatientAnswer::Picked(patient().id), &Origin::default())
            .await
            .unwrap();
        assert_eq!(
            sessions
                .recognise(&cookie, &Origin::default())
                .await
                .unwrap()
                .patient,
            patient()
        );
        assert_eq!(audit.actions(), [Action::PatientLogin]);
        clock.set(at(600));
        assert!(matches!(
            sessions.recognise(&cookie, &Origin::default()).await,
            Err(SessionError::None)
        ));
        clock.set(at(0));
        sessions.log_out(&cookie).await.unwrap();
        assert!(matches!(
            sessions.recognise(&cookie, &Origin::default()).await,
            Err(SessionError::None)
        ));
    }

    #[tokio::test]
    async fn a_patient_without_a_record_is_refused_like_a_wrong_answer() {
        let mut login = MockPatientLogin::new();
        login
            .expect_verify()
            .times(1)
            .returning(|_| Ok(PatientId::parse("nobody").unwrap()));
        login
            .expect_verify()
            .returning(|_| Err(LoginError::Refused));
        let (sessions, _, audit) = sessions(login);
        for _ in 0..2 {
            let refused = sessions
                .log_in(PatientAnswer::Picked(patient().id), &Origin::default())
                .await;
            assert!(matches!(refused, Err(SessionError::Refused)));
        }
        assert_eq!(
            audit.actions(),
            [Action::PatientLogin, Action::PatientLogin]
        );
        let refused = |event: &AuditEvent| event.outcome == Outcome::Refused;
        assert!(audit.events().iter().all(refused));
    }

    #[tokio::test]
    async fn guessing_is_slowed_down_for_known_and_unknown_names_alike() {
        let mut login = MockPatientLogin::new();
        login
            .expect_verify()
            .returning(|_| Err(LoginError::Refused));
        let (sessions, clock, _) = sessions(login);
        for username in ["grace", "nobody"] {
            let answer = || {
                PatientAnswer::Password(Credentials {
                    username: username.to_owned(),
                    password: "guess".to_owned().into(),
                })
            };
            for _ in 0..5 {
                let refused = sessions.log_in(answer(), &Origin::default()).await;
                assert!(matches!(refused, Err(SessionError::Refused)));
            }
            let waiting = sessions.log_in(answer(), &Origin::default()).await;
            assert!(matches!(waiting, Err(SessionError::TooMany(_))));
        }
        clock.set(at(1));
        let picked = PatientAnswer::Picked(patient().id);
        let refused = sessions.log_in(picked, &Origin::default()).await;
        assert!(matches!(refused, Err(SessionError::Refused)));
    }
}
