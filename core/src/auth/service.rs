//! The use cases of the authorization server: authorize, consent, trade, recognise.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use url::Url;
use uuid::Uuid;

use super::authorization::parameters;
use super::token::Claims;
use super::{
    Access, Audience, AuthorizationError, AuthorizationRequest, Client, ClientId, CodeGrant,
    GrantId, OAuthError, OAuthErrorCode, PatientSession, RefreshFamily, Scopes, Secret, TokenError,
    TokenRequest, TokenResponse,
};
use crate::fhir::PatientId;
use crate::ports::{
    Action, Actor, AuditEvent, AuditLog, By, ClientRegistry, Clock, CodeUse, Entropy, GrantStore,
    KeyError, Origin, RefreshUse, StoreError, TokenKeys, random_uuid,
};

/// The ports authorization needs.
#[derive(Debug, Clone)]
pub struct AuthPorts {
    /// Which apps may ask.
    pub clients: Arc<dyn ClientRegistry>,
    /// Codes and refresh families.
    pub grants: Arc<dyn GrantStore>,
    /// Signing keys.
    pub keys: Arc<dyn TokenKeys>,
    /// Who did what.
    pub audit: Arc<dyn AuditLog>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// What a deployment says of its authorization server.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// Who issues the tokens: the public base URL.
    pub issuer: String,
    /// Whom the tokens are for: the FHIR base.
    pub resource: String,
    /// What apps may name as `aud`.
    pub audience: Audience,
    /// How long an authorization code can be used.
    pub code_lifetime: Duration,
    /// How long an access token opens anything.
    pub access_lifetime: Duration,
    /// How long a patient's authorization can be refreshed.
    pub refresh_lifetime: Duration,
}

/// How far the clocks of two replicas may differ, in seconds.
const CLOCK_SKEW: i64 = 60;

/// The authorization server.
#[derive(Debug, Clone)]
pub struct AuthorizationServer {
    ports: AuthPorts,
    settings: AuthSettings,
}

impl AuthorizationServer {
    /// An authorization server over these ports.
    pub fn new(ports: AuthPorts, settings: AuthSettings) -> Self {
        Self { ports, settings }
    }

    /// Reads an authorization request.
    pub async fn read_request<'a>(
        &self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<AuthorizationRequest, AuthorizationError> {
        let direct = |code, text: String| AuthorizationError::Direct(OAuthError::new(code, text));
        let invalid = |text: String| direct(OAuthErrorCode::InvalidRequest, text);
        let form = parameters(pairs).map_err(|name| invalid(format!("'{name}' came twice")))?;
        let id = form
            .get("client_id")
            .ok_or_else(|| invalid("client_id is missing".into()))?;
        let client = match ClientId::parse(id) {
            Some(id) => self.ports.clients.client(&id).await.map_err(|error| {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "clients cannot be looked up"
                );
                AuthorizationError::Direct(unavailable())
            })?,
            None => None,
        };
        let client = client.ok_or_else(|| {
            let text = "client_id is not known here: register the app first";
            direct(OAuthErrorCode::InvalidClient, text.into())
        })?;
        let asked = form.get("redirect_uri");
        let asked = asked.ok_or_else(|| invalid("redirect_uri is missing".into()))?;
        let redirect_uri = client.redirect_uri(asked).ok_or_else(|| {
            invalid(
                "redirect_uri is not one the app registered; it has to match to the letter".into(),
            )
        })?;
        AuthorizationRequest::check(client, redirect_uri, &form, &self.settings.audience)
    }

    /// The patient says yes: the address that takes a new code to the app.
    pub async fn consent(
        &self,
        request: &AuthorizationRequest,
        session: &PatientSession,
    ) -> Result<Url, StoreError> {
        let patient = &session.patient.id;
        let code = self.secret();
        let grant = CodeGrant {
            grant: GrantId(self.uuid()),
            client: request.client.id.clone(),
            patient: patient.clone(),
            scopes: request.scopes.clone(),
            redirect_uri: request.redirect_uri_text.clone(),
            challenge: request.challenge.clone(),
            expires_at: self.after(self.settings.code_lifetime),
        };
        self.audit(session.by(), Action::Authorize, Some(patient))
            .await?;
        self.ports.grants.insert_code(code.hash(), &grant).await?;
        Ok(request.answered(code.expose()))
    }

    /// The patient says no: the address that tells the app.
    pub async fn refuse(
        &self,
        request: &AuthorizationRequest,
        session: &PatientSession,
    ) -> Result<Url, StoreError> {
        let patient = Some(&session.patient.id);
        self.audit(session.by(), Action::RefuseConsent, patient)
            .await?;
        Ok(request.denied())
    }

    /// Trades a code or a refresh token for tokens.
    pub async fn token(
        &self,
        request: TokenRequest,
        origin: &Origin,
    ) -> Result<TokenResponse, OAuthError> {
        match request {
            TokenRequest::AuthorizationCode {
                code,
                redirect_uri,
                client_id,
                code_verifier,
            } => {
                let client_id = client_id.ok_or_else(|| {
                    OAuthError::new(OAuthErrorCode::InvalidRequest, "client_id is missing")
                })?;
                self.known_client(&client_id).await?;
                self.trade_code(
                    &code,
                    &redirect_uri,
                    &client_id,
                    code_verifier.as_deref(),
                    origin,
                )
                .await
            }
            TokenRequest::RefreshToken {
                refresh_token,
                client_id,
                scope,
            } => {
                self.refresh(&refresh_token, client_id.as_ref(), scope.as_deref(), origin)
                    .await
            }
        }
    }

    async fn trade_code(
        &self,
        code: &Secret,
        redirect_uri: &str,
        client: &ClientId,
        verifier: Option<&str>,
        origin: &Origin,
    ) -> Result<TokenResponse, OAuthError> {
        let grant = match self
            .ports
            .grants
            .use_code(code.hash())
            .await
            .map_err(down)?
        {
            CodeUse::First(grant) => grant,
            CodeUse::Again(grant) => {
                self.revoke(grant, client, None, origin).await?;
                return Err(bad_grant(
                    "the code was used before; what it gave is revoked",
                ));
            }
            CodeUse::Unknown => return Err(bad_grant("the code is none of ours")),
        };
        if grant.expires_at <= self.ports.clock.now() {
            return Err(bad_grant("the code has expired"));
        }
        if grant.client != *client {
            return Err(bad_grant("the code was given to another client"));
        }
        if grant.redirect_uri != redirect_uri {
            return Err(bad_grant(
                "redirect_uri is not that of the authorization request",
            ));
        }
        if !verifier.is_some_and(|verifier| grant.challenge.is_answered_by(verifier)) {
            return Err(bad_grant(
                "code_verifier does not answer the code_challenge",
            ));
        }
        let family = RefreshFamily {
            grant: grant.grant,
            client: grant.client,
            patient: grant.patient,
            scopes: grant.scopes,
            expires_at: self.after(self.settings.refresh_lifetime),
        };
        let refresh_token = if family.scopes.allow_refresh() {
            let token = self.secret();
            self.ports
                .grants
                .insert_family(token.hash(), &family)
                .await
                .map_err(down)?;
            Some(token)
        } else {
            None
        };
        self.issue(&family, family.scopes.clone(), refresh_token, origin)
            .await
    }

    async fn refresh(
        &self,
        token: &Secret,
        client: Option<&ClientId>,
        scope: Option<&str>,
        origin: &Origin,
    ) -> Result<TokenResponse, OAuthError> {
        let next = self.secret();
        let family = match self
            .ports
            .grants
            .rotate(token.hash(), next.hash())
            .await
            .map_err(down)?
        {
            RefreshUse::Rotated(family) => family,
            RefreshUse::Replayed(family) => {
                self.revoke(family.grant, &family.client, Some(&family.patient), origin)
                    .await?;
                return Err(bad_grant(
                    "the refresh token was used before; the authorization is revoked",
                ));
            }
            RefreshUse::Unknown => return Err(bad_grant("the refresh token is none of ours")),
        };
        if family.expires_at <= self.ports.clock.now() {
            return Err(bad_grant(
                "the authorization has expired: ask the patient again",
            ));
        }
        if client.is_some_and(|client| family.client != *client) {
            self.revoke(family.grant, &family.client, Some(&family.patient), origin)
                .await?;
            return Err(bad_grant("the refresh token was given to another client"));
        }
        self.known_client(&family.client).await?;
        let scopes = match scope {
            Some(asked) => Scopes::requested(asked).intersection(&family.scopes),
            None => family.scopes.clone(),
        };
        self.issue(&family, scopes, Some(next), origin).await
    }

    /// What an access token opens.
    pub async fn recognise(&self, token: &str, origin: &Origin) -> Result<Access, TokenError> {
        let claims = match self.ports.keys.verify(token).await {
            Ok(claims) => claims,
            Err(KeyError::Invalid) => return Err(TokenError::Invalid),
            Err(error) => return Err(TokenError::Unavailable(error.into())),
        };
        let claims: Claims = serde_json::from_value(claims).map_err(|_| TokenError::Invalid)?;
        let now = self.ports.clock.now().as_second();
        let ours = claims.iss == self.settings.issuer && claims.aud == self.settings.resource;
        if !ours || claims.exp <= now || claims.iat > now + CLOCK_SKEW {
            return Err(TokenError::Invalid);
        }
        let revoked = self.ports.grants.is_revoked(claims.grant).await;
        if revoked.map_err(|error| TokenError::Unavailable(error.into()))? {
            return Err(TokenError::Invalid);
        }
        claims.access(origin).ok_or(TokenError::Scope)
    }

    /// The public keys, as a JWK Set.
    pub async fn jwks(&self) -> Result<serde_json::Value, KeyError> {
        self.ports.keys.jwks().await
    }

    /// Forgets what expired.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.ports.grants.sweep(self.ports.clock.now()).await
    }

    async fn issue(
        &self,
        family: &RefreshFamily,
        scopes: Scopes,
        refresh_token: Option<Secret>,
        origin: &Origin,
    ) -> Result<TokenResponse, OAuthError> {
        let now = self.ports.clock.now();
        let claims = Claims {
            iss: self.settings.issuer.clone(),
            aud: self.settings.resource.clone(),
            sub: family.patient.to_string(),
            client_id: family.client.clone(),
            scope: scopes.to_string(),
            patient: Some(family.patient.clone()),
            jti: self.uuid(),
            grant: family.grant,
            iat: now.as_second(),
            exp: self.after(self.settings.access_lifetime).as_second(),
        };
        let json = serde_json::to_value(&claims).map_err(|_| unavailable())?;
        let by = by(&family.client, origin);
        self.audit(by, Action::IssueToken, Some(&family.patient))
            .await
            .map_err(down)?;
        let access_token = self.ports.keys.sign(&json).await.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a token could not be signed"
            );
            unavailable()
        })?;
        Ok(TokenResponse {
            access_token,
            token_type: "Bearer",
            expires_in: self.settings.access_lifetime.as_secs(),
            scope: claims.scope,
            patient: family.patient.clone(),
            need_patient_banner: true,
            refresh_token: refresh_token.map(|token| token.expose().to_owned()),
        })
    }

    /// Ends a grant. That comes first: it protects the patient even when the audit log is down.
    async fn revoke(
        &self,
        grant: GrantId,
        client: &ClientId,
        patient: Option<&PatientId>,
        origin: &Origin,
    ) -> Result<(), OAuthError> {
        tracing::warn!(grant = %grant.0, "a code or refresh token was misused: its grant is revoked");
        // Nothing of the grant outlives both its refresh tokens and its access tokens.
        let longest = self.settings.refresh_lifetime + self.settings.access_lifetime;
        let revoked = self.ports.grants.revoke(grant, self.after(longest));
        revoked.await.map_err(down)?;
        self.audit(by(client, origin), Action::RevokeGrant, patient)
            .await
            .map_err(down)
    }

    async fn known_client(&self, id: &ClientId) -> Result<Client, OAuthError> {
        let client = self.ports.clients.client(id).await.map_err(down)?;
        client.ok_or_else(|| {
            OAuthError::new(OAuthErrorCode::InvalidClient, "client_id is not known here")
        })
    }

    async fn audit(
        &self,
        by: By,
        action: Action,
        patient: Option<&PatientId>,
    ) -> Result<(), StoreError> {
        let event = AuditEvent {
            patient: patient.cloned(),
            ..by.did(action, self.ports.clock.now())
        };
        self.ports.audit.append(&event).await
    }

    fn after(&self, span: Duration) -> Timestamp {
        self.ports
            .clock
            .now()
            .saturating_add(span)
            .unwrap_or(Timestamp::MAX)
    }

    fn secret(&self) -> Secret {
        Secret::from_random(self.ports.entropy.bytes())
    }

    fn uuid(&self) -> Uuid {
        random_uuid(self.ports.entropy.bytes())
    }
}

fn by(client: &ClientId, origin: &Origin) -> By {
    By {
        actor: Actor::Client(client.clone()),
        origin: origin.clone(),
    }
}

fn bad_grant(description: &str) -> OAuthError {
    OAuthError::new(OAuthErrorCode::InvalidGrant, description)
}

fn unavailable() -> OAuthError {
    OAuthError::new(
        OAuthErrorCode::TemporarilyUnavailable,
        "The server cannot answer right now: try again in a moment",
    )
}

/// A store that is down: told to the operator in full and to the app in general.
#[expect(clippy::needless_pass_by_value, reason = "reads as `map_err(down)`")]
fn down(error: StoreError) -> OAuthError {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "the grant store failed"
    );
    unavailable()
}

#[cfg(test)]
mod tests;
