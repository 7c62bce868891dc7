//! Staff at the browser.

use std::fmt;
use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::patient::not_in;
use super::{
    DestinationTooLong, LoginAttempt, LoginGuard, Secret, SessionError, SessionHolder,
    SessionLifetimes, Verdict,
};
use crate::ports::{
    Action, Actor, AuditEvent, AuditLog, By, Clock, Entropy, Origin, Proof, SessionStore,
    StaffAnswer, StaffLogin, StaffPrompt, Standing,
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

    /// Reads a name somebody is to have. `None` for what can be none: it has 1 to 128 characters,
    /// none of them a control character, and no space at its ends.
    pub fn parse(text: &str) -> Option<Self> {
        let sensible = (1..=128).contains(&text.chars().count())
            && text.trim() == text
            && !text.contains(char::is_control);
        sensible.then(|| Self(text.to_owned()))
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

/// What a member of staff may do. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StaffRole {
    /// Look at exports, complete, release, decline and remove them.
    Reviewer,
    /// Look at who did what, too.
    Admin,
}

/// A member of staff, as a login has proven.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StaffMember {
    /// Who.
    pub name: StaffName,
    /// What they may do.
    pub role: StaffRole,
}

/// Tells one password of an account from the next, and nothing else of it: a session does not
/// outlive the password it began with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credential(String);

impl Credential {
    /// That of the account whose password is kept by this hash.
    pub fn of_hash(hash: &str) -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(hash)))
    }
}

/// A member of staff as a session holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaffHolder {
    /// Who, and what they may do.
    #[serde(flatten)]
    pub member: StaffMember,
    /// By what they logged in here; `None` where they did so elsewhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<Credential>,
}

/// Logs staff in and recognises them.
#[derive(Debug, Clone)]
pub struct StaffSessions {
    /// Proves who they are.
    pub login: Arc<dyn StaffLogin>,
    /// Slows down who guesses passwords.
    pub guard: LoginGuard,
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

/// A member of staff who is logged in.
#[derive(Debug, Clone)]
pub struct StaffSession {
    /// Who.
    pub name: StaffName,
    /// What they may do.
    pub role: StaffRole,
    /// Ends at this instant, unless it is used before.
    pub expires_at: Timestamp,
    /// From where they work.
    pub origin: Origin,
}

/// An admin who is logged in: what only admins may do asks for one.
#[derive(Debug, Clone, Copy)]
pub struct AdminSession<'a>(&'a StaffSession);

/// Somebody is no admin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("only admins may do this")]
pub struct NotAdmin;

impl StaffSession {
    /// They, for the audit log.
    pub fn by(&self) -> By {
        By {
            actor: Actor::Staff(self.name.clone()),
            origin: self.origin.clone(),
        }
    }

    /// They as an admin, if they are one.
    pub fn admin(&self) -> Result<AdminSession<'_>, NotAdmin> {
        match self.role {
            StaffRole::Admin => Ok(AdminSession(self)),
            StaffRole::Reviewer => Err(NotAdmin),
        }
    }
}

impl AdminSession<'_> {
    /// They, for the audit log.
    pub fn by(&self) -> By {
        self.0.by()
    }
}

impl StaffSessions {
    /// Begins an attempt to log in.
    pub fn attempt(&self, destination: &str) -> Result<LoginAttempt, DestinationTooLong> {
        LoginAttempt::begin(Secret::from_random(self.entropy.bytes()), destination)
    }

    /// What the login asks for, or where to send the browser.
    pub async fn prompt(
        &self,
        attempt: &LoginAttempt,
        proof: Proof,
    ) -> Result<StaffPrompt, SessionError> {
        self.login.prompt(attempt, proof).await.map_err(not_in)
    }

    /// Logs a member of staff in. The new cookie is another one than any before, and the session
    /// of the cookie that the browser had `before` ends.
    pub async fn log_in(
        &self,
        answer: StaffAnswer,
        before: Option<&Secret>,
        origin: &Origin,
    ) -> Result<(Secret, StaffSession), SessionError> {
        // Before the password is checked: one that is changed meanwhile ends the session.
        let account = self.account(&answer).await?;
        let member = match self.prove(answer, origin).await {
            Ok(member) => member,
            Err(error @ SessionError::Unavailable(_)) => return Err(error),
            Err(error) => {
                let by = By::unknown(origin);
                let event = AuditEvent {
                    staff: account.map(|(name, _)| name),
                    ..by.was_refused(Action::StaffLogin, self.clock.now())
                };
                self.audit.append(&event).await?;
                return Err(error);
            }
        };
        let holder = StaffHolder {
            member: member.clone(),
            credential: account.map(|(_, credential)| credential),
        };
        let holder = SessionHolder::Staff(holder);
        let kept = self.lifetimes.begin(holder, self.clock.now());
        let session = StaffSession {
            name: member.name,
            role: member.role,
            expires_at: kept.expires_at,
            origin: origin.clone(),
        };
        self.record(session.by(), Action::StaffLogin).await?;
        if let Some(before) = before {
            self.sessions.remove(before.hash()).await?;
        }
        let cookie = Secret::from_random(self.entropy.bytes());
        self.sessions.insert(cookie.hash(), &kept).await?;
        Ok((cookie, session))
    }

    /// The name that was typed and its credential, where somebody has it here.
    async fn account(
        &self,
        answer: &StaffAnswer,
    ) -> Result<Option<(StaffName, Credential)>, SessionError> {
        let StaffAnswer::Password(typed) = answer else {
            return Ok(None);
        };
        let name = StaffName::proven(&typed.username);
        Ok(match self.login.standing(&name).await.map_err(not_in)? {
            Standing::Has(_, credential) => Some((name, credential)),
            Standing::Untold | Standing::Gone => None,
        })
    }

    async fn prove(
        &self,
        answer: StaffAnswer,
        origin: &Origin,
    ) -> Result<StaffMember, SessionError> {
        let now = self.clock.now();
        let attempt = match &answer {
            StaffAnswer::Password(typed) => {
                let begun = self.guard.begin(&typed.username, origin.address, now);
                Some(begun.await?)
            }
            StaffAnswer::Returned(_) => None,
        };
        let proven = self.login.verify(answer).await;
        if let Some(attempt) = attempt {
            self.guard.end(attempt, Verdict::of(&proven)).await?;
        }
        proven.map_err(not_in)
    }

    /// Who this cookie belongs to, and what they may do now. Being used makes a session last;
    /// that of somebody who is no member of staff any more, or has another password, ends.
    pub async fn recognise(
        &self,
        cookie: &Secret,
        origin: &Origin,
    ) -> Result<StaffSession, SessionError> {
        let now = self.clock.now();
        let sessions = &*self.sessions;
        let session = self.lifetimes.live(sessions, cookie, now).await?;
        let SessionHolder::Staff(holder) = session.holder.clone() else {
            return Err(SessionError::None);
        };
        let StaffMember { name, role } = holder.member;
        let role = match self.login.standing(&name).await.map_err(not_in)? {
            Standing::Untold => role,
            Standing::Has(now, credential) if holder.credential.as_ref() == Some(&credential) => {
                now
            }
            Standing::Has(..) | Standing::Gone => {
                sessions.remove(cookie.hash()).await?;
                return Err(SessionError::None);
            }
        };
        let expires_at = self
            .lifetimes
            .slide(sessions, cookie, &session, now)
            .await?;
        Ok(StaffSession {
            name,
            role,
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

    async fn record(&self, by: By, action: Action) -> Result<(), SessionError> {
        let event = by.did(action, self.clock.now());
        Ok(self.audit.append(&event).await?)
    }
}

#[cfg(test)]
mod tests;
