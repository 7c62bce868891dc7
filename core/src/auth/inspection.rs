//! Introspection and revocation: what a token is worth, and the end of it.
//!
//! Sources: RFC 7662 with the launch context of SMART App Launch 2, token introspection; RFC 7009.

use serde::Serialize;
use uuid::Uuid;

use super::authorization::parameters;
use super::service::{bad_client, bad_grant, by, down, unavailable};
use super::token::{Claims, required};
use super::{
    AuthorizationServer, Client, ClientAuthentication, ClientCredentials, ClientId, GrantId,
    Introspects, OAuthError, RefreshFamily, RegistrationId, Scope, Scopes, Secret, TokenError,
};
use crate::fhir::PatientId;
use crate::ports::{Action, AuditEvent, Origin, RefreshStanding};

/// A token that somebody asks about or wants to end. Which kind it is, it shows by itself: a
/// `token_type_hint` is not needed. Its `Debug` does not show it.
pub struct TokenToInspect(String);

impl std::fmt::Debug for TokenToInspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenToInspect(…)")
    }
}

impl TokenToInspect {
    /// Reads a form.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, OAuthError> {
        let form = parameters(pairs)?;
        Ok(Self(required(&form, "token")?.to_owned()))
    }
}

/// What a token is worth.
#[derive(Debug, Serialize)]
pub struct Introspection {
    /// Whether it is worth anything, and the client may know.
    pub active: bool,
    #[serde(flatten)]
    told: Option<Told>,
}

/// What is told of a token that is worth something.
#[derive(Debug, Serialize)]
struct Told {
    scope: String,
    client_id: ClientId,
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<PatientId>,
    exp: i64,
    iss: String,
    #[serde(flatten)]
    access: Option<AccessTold>,
}

/// What is told of access tokens alone.
#[derive(Debug, Serialize)]
struct AccessTold {
    token_type: &'static str,
    aud: String,
    iat: i64,
    jti: Uuid,
}

/// A token of ours.
enum Found {
    Access(Claims),
    Refresh(RefreshFamily),
    /// A refresh token that was replaced by a newer one.
    Replaced(RefreshFamily),
}

impl Found {
    fn client(&self) -> &ClientId {
        match self {
            Self::Access(claims) => &claims.client_id,
            Self::Refresh(family) | Self::Replaced(family) => &family.client,
        }
    }

    fn registration(&self) -> Option<RegistrationId> {
        match self {
            Self::Access(claims) => claims.registration,
            Self::Refresh(family) | Self::Replaced(family) => family.registration,
        }
    }

    fn grant(&self) -> GrantId {
        match self {
            Self::Access(claims) => claims.grant,
            Self::Refresh(family) | Self::Replaced(family) => family.grant,
        }
    }

    fn patient(&self) -> Option<&PatientId> {
        match self {
            Self::Access(claims) => claims.patient.as_ref(),
            Self::Refresh(family) | Self::Replaced(family) => Some(&family.patient),
        }
    }
}

impl AuthorizationServer {
    /// Tells what a token is worth. A client learns of its own tokens; one that is registered to
    /// [introspect all](Introspects::All) of every token.
    pub async fn introspect(
        &self,
        token: &TokenToInspect,
        credentials: &ClientCredentials,
        origin: &Origin,
    ) -> Result<Introspection, OAuthError> {
        let client = self.client(credentials, Action::IntrospectToken, origin);
        let client = client.await?.filter(is_confidential).ok_or_else(|| {
            bad_client("introspection is for clients that authenticate by a secret or a key")
        })?;
        let nothing = Introspection {
            active: false,
            told: None,
        };
        let Some(found) = self.find(token).await? else {
            return Ok(nothing);
        };
        let may_know = *found.client() == client.id || client.introspects == Introspects::All;
        let Some(scopes) = self.worth(&found).await?.filter(|_| may_know) else {
            return Ok(nothing);
        };
        let event = AuditEvent {
            patient: found.patient().cloned(),
            ..by(&client.id, origin).did(Action::IntrospectToken, self.ports.clock.now())
        };
        self.ports.audit.append(&event).await.map_err(down)?;
        Ok(Introspection {
            active: true,
            told: self.told(found, &scopes),
        })
    }

    /// Ends the grant a token belongs to: every token of it. One that is none of ours has ended
    /// already.
    pub async fn revoke(
        &self,
        token: &TokenToInspect,
        credentials: &ClientCredentials,
        origin: &Origin,
    ) -> Result<(), OAuthError> {
        let client = self.client(credentials, Action::RevokeGrant, origin);
        let client = client.await?.ok_or_else(|| {
            bad_client("say which client this is: client_id, or its authentication")
        })?;
        let Some(found) = self.find(token).await? else {
            return Ok(());
        };
        if *found.client() != client.id {
            return Err(bad_grant("the token was given to another client"));
        }
        let by = by(&client.id, origin);
        self.revoke_grant(found.grant(), by, &client.id, found.patient())
            .await
    }

    /// The token, where it is one of ours, whether or not it is worth anything still.
    async fn find(&self, token: &TokenToInspect) -> Result<Option<Found>, OAuthError> {
        match self.own_claims(&token.0).await {
            Ok(claims) => return Ok(Some(Found::Access(claims))),
            Err(TokenError::Invalid | TokenError::Scope) => {}
            Err(TokenError::Unavailable(cause)) => return Err(away(&cause)),
        }
        let Some(token) = Secret::presented(&token.0) else {
            return Ok(None);
        };
        let standing = self.ports.grants.refresh_token(token.hash()).await;
        Ok(match standing.map_err(down)? {
            RefreshStanding::Newest(family) => Some(Found::Refresh(family)),
            RefreshStanding::Replaced(family) => Some(Found::Replaced(family)),
            RefreshStanding::Unknown => None,
        })
    }

    /// What the token opens, as the places that take it would find it: its client is still
    /// registered, and for what the token needs.
    async fn worth(&self, found: &Found) -> Result<Option<Scopes>, OAuthError> {
        let live = match found {
            Found::Access(claims) => match self.is_live(claims).await {
                Ok(live) => live,
                Err(TokenError::Unavailable(cause)) => return Err(away(&cause)),
                Err(TokenError::Invalid | TokenError::Scope) => false,
            },
            Found::Refresh(family) => family.expires_at > self.ports.clock.now(),
            Found::Replaced(_) => false,
        };
        let client = self.ports.clients.client(found.client()).await;
        let client = client.map_err(down)?;
        // What was authorized under an earlier registration of the same id is worth nothing.
        let client = client.filter(|client| live && client.registration == found.registration());
        let Some(client) = client else {
            return Ok(None);
        };
        let granted = match found {
            Found::Access(claims) => Scopes::requested(&claims.scope),
            Found::Refresh(family) | Found::Replaced(family) => family.scopes.clone(),
        };
        let scopes = granted.intersection(&client.scopes);
        let opens = match found.patient() {
            Some(_) => Scope::PatientEhiExport,
            None => Scope::SystemEhiExport,
        };
        Ok(scopes.contains(opens).then_some(scopes))
    }

    fn told(&self, found: Found, scopes: &Scopes) -> Option<Told> {
        match found {
            Found::Access(claims) => Some(Told {
                scope: scopes.to_string(),
                client_id: claims.client_id,
                sub: claims.sub,
                patient: claims.patient,
                exp: claims.exp,
                iss: claims.iss,
                access: Some(AccessTold {
                    token_type: "Bearer",
                    aud: claims.aud,
                    iat: claims.iat,
                    jti: claims.jti,
                }),
            }),
            Found::Refresh(family) => Some(Told {
                scope: scopes.to_string(),
                client_id: family.client,
                sub: family.patient.to_string(),
                patient: Some(family.patient),
                exp: family.expires_at.as_second(),
                iss: self.settings.issuer.clone(),
                access: None,
            }),
            Found::Replaced(_) => None,
        }
    }
}

fn is_confidential(client: &Client) -> bool {
    client.authentication != ClientAuthentication::Public
}

fn away(cause: &crate::ports::Cause) -> OAuthError {
    tracing::error!(
        error = &**cause as &dyn std::error::Error,
        "a token cannot be looked at"
    );
    unavailable()
}

#[cfg(test)]
mod tests;
