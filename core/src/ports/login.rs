//! Who is at the browser.

use std::fmt::Debug;

use async_trait::async_trait;
use secrecy::SecretString;

use super::{Cause, PatientSummary};
use crate::auth::StaffName;
use crate::fhir::PatientId;

/// Proves which patient is at the browser.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait PatientLogin: Debug + Send + Sync + 'static {
    /// What to ask for on the login page.
    async fn prompt(&self) -> Result<LoginPrompt, LoginError>;

    /// Checks the answer. [`LoginError::Refused`] for every wrong answer alike.
    async fn verify(&self, answer: PatientAnswer) -> Result<PatientId, LoginError>;
}

/// What a patient login page asks for.
#[derive(Debug, Clone)]
pub enum LoginPrompt {
    /// Pick yourself from a list: demonstrations only.
    Pick(Vec<PatientSummary>),
    /// User name and password.
    Password,
}

/// What a patient answered.
#[derive(Debug, Clone)]
pub enum PatientAnswer {
    /// "This is me."
    Picked(PatientId),
    /// User name and password.
    Password(Credentials),
}

/// Proves which member of staff is at the browser.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait StaffLogin: Debug + Send + Sync + 'static {
    /// Checks name and password. [`LoginError::Refused`] for every wrong answer alike, taking the
    /// same time whether or not the name exists.
    async fn verify(&self, credentials: Credentials) -> Result<StaffName, LoginError>;
}

/// A user name and a password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The name as it was typed.
    pub username: String,
    /// The password; never shown in logs.
    pub password: SecretString,
}

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The answer is not right. Says no more, on purpose.
    #[error("the login was refused")]
    Refused,
    /// Nobody can log in right now. Retry later.
    #[error("the login is unavailable")]
    Unavailable(#[source] Cause),
}
