//! What an access token opens.
//!
//! Source: RFC 9068 section 4.

use super::token::Claims;
use super::{Access, AuthorizationServer, Scope, Subject, TokenError, TokenHolder};
use crate::ports::{KeyError, Origin};

/// How far the clocks of two replicas may differ, in seconds.
const CLOCK_SKEW: i64 = 60;

impl AuthorizationServer {
    /// What an access token opens.
    pub async fn recognise(&self, token: &str, origin: &Origin) -> Result<Access, TokenError> {
        let claims = self.own_claims(token).await?;
        if !self.is_live(&claims).await? {
            return Err(TokenError::Invalid);
        }
        let access = claims.access(origin).ok_or(TokenError::Scope)?;
        let client = self.ports.clients.client(&claims.client_id).await;
        let client = client.map_err(|error| TokenError::Unavailable(error.into()))?;
        let client = client.filter(|client| client.registration == claims.registration);
        let client = client.ok_or(TokenError::Invalid)?;
        let needed = match access.subject {
            Subject::Patient(_) => Scope::PatientEhiExport,
            Subject::System => Scope::SystemEhiExport,
        };
        // What was taken from the client's registration meanwhile is taken from its tokens too.
        let still_allowed = client.scopes.contains(needed);
        still_allowed.then_some(access).ok_or(TokenError::Scope)
    }

    /// Whom a token was made for, whatever it is worth now; `None` when this server did not make
    /// it. For the audit log: it opens nothing.
    pub async fn holder(&self, token: &str) -> Option<TokenHolder> {
        let claims = self.own_claims(token).await.ok()?;
        Some(TokenHolder {
            client: claims.client_id,
            patient: claims.patient,
        })
    }

    /// The claims of a token that this server signed for its own resource.
    pub(super) async fn own_claims(&self, token: &str) -> Result<Claims, TokenError> {
        let claims = match self.ports.keys.verify(token).await {
            Ok(claims) => claims,
            Err(KeyError::Invalid) => return Err(TokenError::Invalid),
            Err(error) => return Err(TokenError::Unavailable(error.into())),
        };
        let claims: Claims = serde_json::from_value(claims).map_err(|_| TokenError::Invalid)?;
        let ours = claims.iss == self.settings.issuer && claims.aud == self.settings.resource;
        ours.then_some(claims).ok_or(TokenError::Invalid)
    }

    /// Whether a token of ours has neither expired nor been revoked.
    pub(super) async fn is_live(&self, claims: &Claims) -> Result<bool, TokenError> {
        let now = self.ports.clock.now().as_second();
        if claims.exp <= now || claims.iat > now + CLOCK_SKEW {
            return Ok(false);
        }
        let revoked = self.ports.grants.is_revoked(claims.grant).await;
        let revoked = revoked.map_err(|error| TokenError::Unavailable(error.into()))?;
        Ok(!revoked)
    }
}
