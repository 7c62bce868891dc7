//! Tokens: what is asked for, what is given, and what an access token says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::authorization::{Parameters, parameters};
use super::{
    ClientId, OAuthError, OAuthErrorCode, PkceChallenge, RegistrationId, Scope, Scopes, Secret,
};
use crate::fhir::PatientId;
use crate::ports::{Actor, By, Origin};

/// What a patient authorized once: every token that goes back to one authorization has its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub Uuid);

/// What an authorization code stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeGrant {
    /// The grant its tokens will belong to.
    pub grant: GrantId,
    /// Who may use it.
    pub client: ClientId,
    /// The client's registration when it was authorized: under another one it is worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationId>,
    /// Who authorized it.
    pub patient: PatientId,
    /// What was authorized.
    pub scopes: Scopes,
    /// The redirect URI of the authorization request.
    pub redirect_uri: String,
    /// What the app has to prove itself by.
    pub challenge: PkceChallenge,
    /// Not to be used from this instant on.
    pub expires_at: Timestamp,
}

/// A line of refresh tokens, each of which replaced the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshFamily {
    /// The grant it belongs to.
    pub grant: GrantId,
    /// Who may use it.
    pub client: ClientId,
    /// The client's registration when it was authorized: under another one it is worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationId>,
    /// Who authorized it.
    pub patient: PatientId,
    /// What was authorized.
    pub scopes: Scopes,
    /// Not to be used from this instant on.
    pub expires_at: Timestamp,
}

/// A request to the token endpoint.
#[derive(Debug)]
pub enum TokenRequest {
    /// Trades an authorization code.
    AuthorizationCode {
        /// The code.
        code: Secret,
        /// Has to be that of the authorization request.
        redirect_uri: String,
        /// Answers the PKCE challenge.
        code_verifier: Option<String>,
    },
    /// Trades a refresh token.
    RefreshToken {
        /// The token.
        refresh_token: Secret,
        /// What it is asked for now; no more than was granted.
        scope: Option<String>,
    },
    /// Asks for a token for the client itself (SMART Backend Services).
    ClientCredentials {
        /// What it is asked for.
        scope: String,
    },
}

impl TokenRequest {
    /// Reads a form.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, OAuthError> {
        let form = parameters(pairs)?;
        match form.get("grant_type").map(String::as_str) {
            None => Err(invalid("grant_type is missing")),
            Some("authorization_code") => Ok(Self::AuthorizationCode {
                code: presented(&form, "code")?,
                redirect_uri: required(&form, "redirect_uri")?.to_owned(),
                code_verifier: form.get("code_verifier").cloned(),
            }),
            Some("refresh_token") => Ok(Self::RefreshToken {
                refresh_token: presented(&form, "refresh_token")?,
                scope: form.get("scope").cloned(),
            }),
            Some("client_credentials") => Ok(Self::ClientCredentials {
                scope: required(&form, "scope")?.to_owned(),
            }),
            Some(_) => Err(OAuthError::new(
                OAuthErrorCode::UnsupportedGrantType,
                "grant_type has to be 'authorization_code', 'refresh_token' or 'client_credentials'",
            )),
        }
    }
}

pub(super) fn invalid(description: impl Into<String>) -> OAuthError {
    OAuthError::new(OAuthErrorCode::InvalidRequest, description)
}

pub(super) fn required<'a>(form: &'a Parameters, name: &str) -> Result<&'a str, OAuthError> {
    let value = form.get(name).map(String::as_str);
    value.ok_or_else(|| invalid(format!("{name} is missing")))
}

fn presented(form: &Parameters, name: &str) -> Result<Secret, OAuthError> {
    let text = required(form, name)?;
    Secret::presented(text).ok_or_else(|| {
        OAuthError::new(
            OAuthErrorCode::InvalidGrant,
            format!("{name} is none of ours"),
        )
    })
}

/// Who asks, where they say.
pub(super) fn client_id(form: &Parameters) -> Result<Option<ClientId>, OAuthError> {
    let unknown = || OAuthError::new(OAuthErrorCode::InvalidClient, "client_id is not known here");
    (form
        .get("client_id")
        .map(|id| ClientId::parse(id).ok_or_else(unknown)))
    .transpose()
}

/// The answer of the token endpoint. Source: RFC 6749 section 5.1; SMART App Launch 2.
#[derive(Debug, Serialize)]
pub struct TokenResponse {
    /// A signed JWT.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: u64,
    /// What was granted.
    pub scope: String,
    /// Whose record it opens; not told to systems.
    #[serde(flatten)]
    pub context: Option<PatientContext>,
    /// For the next access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

/// The patient a token goes with. Source: SMART App Launch 2, launch context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PatientContext {
    /// Whose record it opens.
    pub patient: PatientId,
    /// The app has to show whose record it is.
    pub need_patient_banner: bool,
}

/// The claims of an access token. Source: RFC 9068.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: String,
    pub client_id: ClientId,
    /// The client's registration when the token was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationId>,
    pub scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<PatientId>,
    pub jti: Uuid,
    pub grant: GrantId,
    /// Seconds since the epoch.
    pub iat: i64,
    /// Seconds since the epoch.
    pub exp: i64,
}

/// What a valid access token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The app.
    pub client: ClientId,
    /// Whose records.
    pub subject: Subject,
    /// From where it came.
    pub origin: Origin,
}

impl Access {
    /// The app, for the audit log.
    pub fn by(&self) -> By {
        By {
            actor: Actor::Client(self.client.clone()),
            origin: self.origin.clone(),
        }
    }
}

/// Whom a token was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHolder {
    /// The app.
    pub client: ClientId,
    /// Whose record it was for; `None` for a system's.
    pub patient: Option<PatientId>,
}

/// Whose records a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// This patient's.
    Patient(PatientId),
    /// Those of any patient the client may ask for.
    System,
}

impl Claims {
    /// What these claims open; `None` when their scopes open nothing.
    pub(super) fn access(&self, origin: &Origin) -> Option<Access> {
        let scopes = Scopes::requested(&self.scope);
        let subject = match &self.patient {
            Some(patient) if scopes.contains(Scope::PatientEhiExport) => {
                Subject::Patient(patient.clone())
            }
            None if scopes.contains(Scope::SystemEhiExport) => Subject::System,
            _ => return None,
        };
        Some(Access {
            client: self.client_id.clone(),
            subject,
            origin: origin.clone(),
        })
    }
}

/// Why an access token opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not ours, expired, revoked, or not for this server: told alike.
    #[error("the access token is not valid (any more): ask for a new one")]
    Invalid,
    /// It is valid and opens no export.
    #[error("the access token has no scope for EHI export")]
    Scope,
    /// It cannot be checked right now. Retry later.
    #[error("the access token cannot be checked right now")]
    Unavailable(#[source] crate::ports::Cause),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_request_tells_what_is_missing() {
        use OAuthErrorCode::{InvalidGrant, InvalidRequest, UnsupportedGrantType};
        for (form, expected) in [
            (vec![], InvalidRequest),
            (vec![("grant_type", "password")], UnsupportedGrantType),
            (vec![("grant_type", "client_credentials")], InvalidRequest),
            (
                vec![("grant_type", "authorization_code"), ("redirect_uri", "x")],
                InvalidRequest,
            ),
            (
                vec![("grant_type", "authorization_code"), ("code", "x")],
                InvalidRequest,
            ),
            (vec![("grant_type", "refresh_token")], InvalidRequest),
            (
                vec![
                    ("grant_type", "refresh_token"),
                    ("refresh_token", "a"),
                    ("refresh_token", "a"),
                ],
                InvalidRequest,
            ),
        ] {
            assert_eq!(
                TokenRequest::from_pairs(form.clone()).unwrap_err().error,
                expected,
                "{form:?}"
            );
        }
        let long = "x".repeat(10_000);
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", long.as_str()),
        ];
        assert_eq!(
            TokenRequest::from_pairs(form).unwrap_err().error,
            InvalidGrant
        );
    }
}
