//! Who is at the browser.

use std::fmt::Debug;

use async_trait::async_trait;
use secrecy::SecretString;
use url::Url;

use super::{Cause, PatientSummary};
use crate::auth::{Credential, LoginAttempt, StaffMember, StaffName, StaffRole};
use crate::fhir::PatientId;

/// Proves which patient is at the browser.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait PatientLogin: Debug + Send + Sync + 'static {
    /// What to ask for on the login page, or where to send the browser.
    async fn prompt(
        &self,
        attempt: &LoginAttempt,
        proof: Proof,
    ) -> Result<PatientPrompt, LoginError>;

    /// Checks the answer. [`LoginError::Refused`] for every wrong answer alike.
    async fn verify(&self, answer: PatientAnswer) -> Result<PatientId, LoginError>;
}

/// What a patient login asks for.
#[derive(Debug, Clone)]
pub enum PatientPrompt {
    /// Pick yourself from a list: demonstrations only.
    Pick(Vec<PatientSummary>),
    /// User name and password.
    Password,
    /// Go there: the browser comes back with an answer.
    Elsewhere(Url),
}

/// What a patient answered.
#[derive(Debug, Clone)]
pub enum PatientAnswer {
    /// "This is me."
    Picked(PatientId),
    /// User name and password.
    Password(Credentials),
    /// Back from elsewhere.
    Returned(LoginReturn),
}

/// Proves which member of staff is at the browser.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait StaffLogin: Debug + Send + Sync + 'static {
    /// What to ask for, or where to send the browser.
    async fn prompt(&self, attempt: &LoginAttempt, proof: Proof)
    -> Result<StaffPrompt, LoginError>;

    /// Checks the answer. [`LoginError::Refused`] for every wrong answer alike, taking the same
    /// time whether or not the name exists.
    async fn verify(&self, answer: StaffAnswer) -> Result<StaffMember, LoginError>;

    /// What somebody who logged in before is now. Asked each time a session is used, so it has to
    /// be quick; a login that cannot tell says so.
    async fn standing(&self, name: &StaffName) -> Result<Standing, LoginError> {
        let _ = name;
        Ok(Standing::Untold)
    }
}

/// What a staff login asks for.
#[derive(Debug, Clone)]
pub enum StaffPrompt {
    /// User name and password.
    Password,
    /// Go there: the browser comes back with an answer.
    Elsewhere(Url),
}

/// What a member of staff answered.
#[derive(Debug, Clone)]
pub enum StaffAnswer {
    /// User name and password.
    Password(Credentials),
    /// Back from elsewhere.
    Returned(LoginReturn),
}

/// What a member of staff is since they logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// This login cannot tell: what they were when they logged in stands.
    Untold,
    /// They have this role, and log in by this credential.
    Has(StaffRole, Credential),
    /// They are no member of staff any more.
    Gone,
}

/// Whether a login that somebody did elsewhere before will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It will: nobody needs to type a password twice.
    Any,
    /// It will not: somebody asked to be another person than the one who is logged in.
    Fresh,
}

/// A user name and a password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The name as it was typed.
    pub username: String,
    /// The password; never shown in logs.
    pub password: SecretString,
}

/// How a browser came back from where it was sent to log in.
#[derive(Debug, Clone)]
pub struct LoginReturn {
    /// The attempt it comes back from, known to be this browser's.
    pub attempt: LoginAttempt,
    /// Who says it answers (`iss`, RFC 9207).
    pub issuer: Option<String>,
    /// What it brings.
    pub brings: Brings,
}

/// What a browser brings from where it was sent to log in (OpenID Connect Core sections 3.1.2.5
/// and 3.1.2.6).
#[derive(Debug, Clone)]
pub enum Brings {
    /// A code to be traded for the proof.
    Code(SecretString),
    /// The `error` there was.
    Error(String),
}

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The answer is not right. Says no more, on purpose.
    #[error("the login was refused")]
    Refused,
    /// It is proven who they are, and that is nobody who may come in.
    #[error("the login is nobody's here")]
    Stranger,
    /// Nobody can log in right now. Retry later.
    #[error("the login is unavailable")]
    Unavailable(#[source] Cause),
}
