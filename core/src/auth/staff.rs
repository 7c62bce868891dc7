//! Staff at the browser.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LoginGuard, Secret, Session, SessionError, SessionHolder, Verdict};
use crate::ports::{
    Action, Actor, AuditLog, By, Clock, Credentials, Entropy, LoginError, Origin, SessionStore,
    StaffLogin,
};

/// The user name of a member of staff.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StaffName(String);

impl StaffName {
    /// A name that a login has proven.
    pub fn proven(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StaffName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Logs staff in and recognises them.
#[derive(Debug, Clone)]
pub struct StaffSessions {
    /// Proves who they are.
    pub login: Arc<dyn StaffLogin>,
    /// Slows down who guesses.
    pub guard: Arc<LoginGuard>,
    /// Where sessions live.
    pub sessions: Arc<dyn SessionStore>,
    /// Who did what.
    pub audit: Arc<dyn AuditLog>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// How long a session lasts without being used.
    pub lifetime: Duration,
}

/// A member of staff who is logged in.
#[derive(Debug, Clone)]
pub struct StaffSession {
    /// Who.
    pub name: StaffName,
    /// Ends at this instant, unless it is used before.
    pub expires_at: Timestamp,
    /// From where they work.
    pub origin: Origin,
}

impl StaffSession {
    /// They, for the audit log.
    pub fn by(&self) -> By {
        By {
            actor: Actor::Staff(self.name.clone()),
            origin: self.origin.clone(),
        }
    }
}

impl StaffSessions {
    /// Logs a member of staff in; the new cookie is another one than any before.
    pub async fn log_in(
        &self,
        credentials: Credentials,
        origin: &Origin,
    ) -> Result<(Secret, StaffSession), SessionError> {
        let now = self.clock.now();
        let attempt = self.guard.begin(&credentials.username, origin.address, now);
        let proven = match attempt {
            Ok(attempt) => {
                let proven = self.login.verify(credentials).await;
                self.guard.end(attempt, Verdict::of(&proven));
                proven
            }
            Err(wait) => {
                self.refuse(origin).await?;
                return Err(SessionError::TooMany(wait));
            }
        };
        let name = match proven {
            Ok(name) => name,
            Err(LoginError::Refused) => {
                self.refuse(origin).await?;
                return Err(SessionError::Refused);
            }
            Err(other) => return Err(SessionError::Unavailable(other.into())),
        };
        let holder = SessionHolder::Staff(name.clone());
        let kept = Session::begin(holder, self.clock.now(), self.lifetime);
        let session = StaffSession {
            name,
            expires_at: kept.expires_at,
            origin: origin.clone(),
        };
        self.record(session.by(), Action::StaffLogin).await?;
        let cookie = Secret::from_random(self.entropy.bytes());
        self.sessions.insert(cookie.hash(), &kept).await?;
        Ok((cookie, session))
    }

    /// Who this cookie belongs to. Being used makes a session last.
    pub async fn recognise(
        &self,
        cookie: &Secret,
        origin: &Origin,
    ) -> Result<StaffSession, SessionError> {
        let session = self
            .sessions
            .get(cookie.hash())
            .await?
            .ok_or(SessionError::None)?;
        let SessionHolder::Staff(name) = session.holder.clone() else {
            return Err(SessionError::None);
        };
        let now = self.clock.now();
        if !session.is_live(now) {
            return Err(SessionError::None);
        }
        let slid = now.saturating_add(self.lifetime).unwrap_or(Timestamp::MAX);
        let expires_at = slid.min(session.ends_at);
        self.sessions.extend(cookie.hash(), expires_at).await?;
        Ok(StaffSession {
            name,
            expires_at,
            origin: origin.clone(),
        })
    }

    /// Ends the session of this cookie.
    pub async fn log_out(&self, cookie: &Secret, origin: &Origin) -> Result<(), SessionError> {
        let session = self.recognise(cookie, origin).await?;
        self.record(session.by(), Action::StaffLogout).await?;
        Ok(self.sessions.remove(cookie.hash()).await?)
    }

    async fn refuse(&self, origin: &Origin) -> Result<(), SessionError> {
        let event = By::unknown(origin).was_refused(Action::StaffLogin, self.clock.now());
        Ok(self.audit.append(&event).await?)
    }

    async fn record(&self, by: By, action: Action) -> Result<(), SessionError> {
        let event = by.did(action, self.clock.now());
        Ok(self.audit.append(&event).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{MockStaffLogin, Outcome};
    use crate::testkit::{FixedClock, RecordedAudit, SeededEntropy, Sessions, at};

    fn sessions(accepts: bool) -> (StaffSessions, Arc<FixedClock>, Arc<RecordedAudit>) {
        let mut login = MockStaffLogin::new();
        login.expect_verify().returning(move |who| {
            accepts
                .then(|| StaffName::proven(who.username))
                .ok_or(LoginError::Refused)
        });
        let clock = Arc::new(FixedClock::at(at(0)));
        let audit = Arc::new(RecordedAudit::default());
        let sessions = StaffSessions {
            login: Arc::new(login),
            guard: Arc::default(),
            sessions: Arc::new(Sessions::default()),
            audit: audit.clone(),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::default()),
            lifetime: Duration::from_mins(10),
        };
        (sessions, clock, audit)
    }

    fn ada() -> Credentials {
        Credentials {
            username: "ada".into(),
            password: "secret".to_owned().into(),
        }
    }

    #[tokio::test]
    async fn a_used_session_lasts_and_an_unused_one_ends() {
        let (sessions, clock, _) = sessions(true);
        let (cookie, _) = sessions.log_in(ada(), &Origin::default()).await.unwrap();
        for minute in [9, 18, 27] {
            clock.set(at(minute * 60));
            assert_eq!(
                sessions
                    .recognise(&cookie, &Origin::default())
                    .await
                    .unwrap()
                    .name
                    .as_str(),
                "ada"
            );
        }
        clock.set(at(38 * 60));
        assert!(matches!(
            sessions.recognise(&cookie, &Origin::default()).await,
            Err(SessionError::None)
        ));
    }

    #[tokio::test]
    async fn no_session_outlives_its_day_however_much_it_is_used() {
        let (sessions, clock, _) = sessions(true);
        let (cookie, _) = sessions.log_in(ada(), &Origin::default()).await.unwrap();
        let mut last = 0;
        for now in (1..=200).map(|step| step * 300) {
            clock.set(at(now));
            if sessions
                .recognise(&cookie, &Origin::default())
                .await
                .is_ok()
            {
                last = now;
            }
        }
        assert_eq!(last, 12 * 3600 - 300);
    }

    #[tokio::test]
    async fn a_logged_out_cookie_is_worth_nothing() {
        let (sessions, _, audit) = sessions(true);
        let (cookie, _) = sessions.log_in(ada(), &Origin::default()).await.unwrap();
        sessions.log_out(&cookie, &Origin::default()).await.unwrap();
        assert!(matches!(
            sessions.recognise(&cookie, &Origin::default()).await,
            Err(SessionError::None)
        ));
        assert!(matches!(
            sessions.log_out(&cookie, &Origin::default()).await,
            Err(SessionError::None)
        ));
        assert_eq!(audit.actions(), [Action::StaffLogin, Action::StaffLogout]);
    }

    #[tokio::test]
    async fn a_refused_login_is_remembered_and_makes_no_session() {
        let (sessions, _, audit) = sessions(false);
        assert!(matches!(
            sessions.log_in(ada(), &Origin::default()).await,
            Err(SessionError::Refused)
        ));
        assert_eq!(audit.actions(), [Action::StaffLogin]);
        assert_eq!(audit.events()[0].outcome, Outcome::Refused);
    }

    #[tokio::test]
    async fn guessing_is_slowed_down_and_the_right_password_then_works() {
        let mut login = MockStaffLogin::new();
        login
            .expect_verify()
            .times(5)
            .returning(|_| Err(LoginError::Refused));
        login
            .expect_verify()
            .returning(|who| Ok(StaffName::proven(who.username)));
        let (mut sessions, clock, audit) = sessions(true);
        sessions.login = Arc::new(login);
        for _ in 0..5 {
            let refused = sessions.log_in(ada(), &Origin::default()).await;
            assert!(matches!(refused, Err(SessionError::Refused)));
        }
        let waiting = sessions.log_in(ada(), &Origin::default()).await;
        let Err(SessionError::TooMany(wait)) = waiting else {
            panic!("{waiting:?}");
        };
        assert_eq!(wait, Duration::from_secs(1));
        assert_eq!(audit.actions(), [Action::StaffLogin; 6]);
        clock.set(at(1));
        sessions.log_in(ada(), &Origin::default()).await.unwrap();
    }
}
