//! Logins of patients and staff at the hospital's identity provider, by OpenID Connect.
//!
//! The browser goes to the provider and comes back with a code; the code is traded for an ID
//! token, and claims of that say who somebody is. Nothing is stored on the way.
//!
//! Sources: OpenID Connect Core 1.0 (section 3.1, authorization code flow) and Discovery 1.0, RFC
//! 7636 (PKCE), RFC 9207 (issuer identification), RFC 9700 (security best practice), RFC 8725
//! (JSON Web Tokens).

mod config;
mod http;
mod id_token;
mod kept;
mod provider;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use ehi_core::auth::{LoginAttempt, StaffMember, StaffName, StaffRole};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    Cause, Clock, LoginError, PatientAnswer, PatientLogin, PatientPrompt, Proof, StaffAnswer,
    StaffLogin, StaffPrompt,
};
use serde_json::Value;
use url::Url;

pub use config::{ClaimName, Issuer, OidcConfigError, PatientLoginConfig, StaffLoginConfig};
use provider::Provider;

/// Patients who log in at an identity provider. A claim names the patient.
#[derive(Debug)]
pub struct OidcPatients {
    provider: Provider,
    patient_claim: ClaimName,
}

/// Staff who log in at an identity provider. One claim is their name, another one holds what
/// gives them a role.
#[derive(Debug)]
pub struct OidcStaff {
    provider: Provider,
    config: StaffLoginConfig,
}

/// Why the provider proved nothing.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// It does not answer, or answers that it cannot. Retry later.
    #[error("the identity provider does not answer")]
    Away(#[source] Cause),
    /// It answers what it must not, or does not know this server. Its or this server's
    /// configuration has to change.
    #[error("the identity provider {0}")]
    Broken(String),
    /// What came back proves nobody.
    #[error("{0}")]
    Refused(&'static str),
}

impl From<Fault> for LoginError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(reason) => {
                tracing::warn!(reason, "a login at the identity provider was refused");
                Self::Refused
            }
            fault @ (Fault::Away(_) | Fault::Broken(_)) => Self::Unavailable(fault.into()),
        }
    }
}

impl OidcPatients {
    /// A login at this provider. `callback` is the URL of this server to which browsers come
    /// back; it has to be registered there.
    pub fn open(
        config: PatientLoginConfig,
        callback: Url,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OidcConfigError> {
        Ok(Self {
            provider: Provider::open(config.client(callback)?, clock)?,
            patient_claim: config.patient_claim,
        })
    }
}

#[async_trait]
impl PatientLogin for OidcPatients {
    async fn prompt(
        &self,
        attempt: &LoginAttempt,
        proof: Proof,
    ) -> Result<PatientPrompt, LoginError> {
        let url = self.provider.authorization_url(attempt, proof).await?;
        Ok(PatientPrompt::Elsewhere(url))
    }

    async fn verify(&self, answer: PatientAnswer) -> Result<PatientId, LoginError> {
        let PatientAnswer::Returned(back) = answer else {
            return Err(LoginError::Refused);
        };
        let claims = self.provider.prove(&back).await?;
        let id = match self.patient_claim.find(&claims) {
            Some(Value::String(id)) => PatientId::parse(id).ok(),
            Some(Value::Number(id)) => PatientId::parse(&id.to_string()).ok(),
            _ => None,
        };
        id.ok_or_else(|| {
            tracing::warn!(claim = %self.patient_claim, "somebody's ID token has no patient's id in this claim");
            LoginError::Stranger
        })
    }
}

impl OidcStaff {
    /// A login at this provider. `callback` is the URL of this server to which browsers come
    /// back; it has to be registered there.
    pub fn open(
        config: StaffLoginConfig,
        callback: Url,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OidcConfigError> {
        Ok(Self {
            provider: Provider::open(config.client(callback)?, clock)?,
            config,
        })
    }

    /// The highest role that the claim's values give.
    fn role(&self, claims: &Value) -> Option<StaffRole> {
        let values = match self.config.role_claim.find(claims)? {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        let roles = values.iter().filter_map(Value::as_str);
        roles
            .filter_map(|value| self.config.roles.get(value))
            .copied()
            .max()
    }
}

/// Characters of a user name, at most.
const LONGEST_NAME: usize = 200;

#[async_trait]
impl StaffLogin for OidcStaff {
    async fn prompt(
        &self,
        attempt: &LoginAttempt,
        proof: Proof,
    ) -> Result<StaffPrompt, LoginError> {
        let url = self.provider.authorization_url(attempt, proof).await?;
        Ok(StaffPrompt::Elsewhere(url))
    }

    async fn verify(&self, answer: StaffAnswer) -> Result<StaffMember, LoginError> {
        let StaffAnswer::Returned(back) = answer else {
            return Err(LoginError::Refused);
        };
        let claims = self.provider.prove(&back).await?;
        let role = self.role(&claims).ok_or(LoginError::Stranger)?;
        let name = self.config.name_claim.find(&claims).and_then(Value::as_str);
        let name = name.filter(|name| {
            let plain = !name.chars().any(char::is_control) && name.trim() == *name;
            plain && (1..=LONGEST_NAME).contains(&name.chars().count())
        });
        let name = name.ok_or_else(|| {
            tracing::warn!(claim = %self.config.name_claim, "somebody's ID token has no name in this claim");
            LoginError::Stranger
        })?;
        let name = StaffName::proven(name);
        Ok(StaffMember { name, role })
    }
}
