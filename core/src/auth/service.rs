//! The use cases of the authorization server: authorize, consent, trade, recognise.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use url::Url;
use uuid::Uuid;

use super::authorization::AuthorizationQuery;
use super::token::{Claims, PatientContext, invalid};
use super::{
    Audience, AuthorizationError, AuthorizationRequest, Client, ClientAuthentication,
    ClientCredentials, ClientId, CodeGrant, GrantId, OAuthError, OAuthErrorCode, PatientSession,
    RefreshFamily, Scope, Scopes, Secret, TokenRequest, TokenResponse,
};
use crate::fhir::PatientId;
use crate::ports::{
    Action, Actor, AuditEvent, AuditLog, By, ClientAssertions, ClientRegistry, Clock, CodeUse,
    Entropy, GrantStore, KeyError, Origin, RefreshStanding, RefreshUse, StoreError, TokenKeys,
    random_uuid,
};

/// The ports authorization needs.
#[derive(Debug, Clone)]
pub struct AuthPorts {
    /// Which apps may ask.
    pub clients: Arc<dyn ClientRegistry>,
    /// What clients sign.
    pub assertions: Arc<dyn ClientAssertions>,
    /// Codes, refresh families and used assertions.
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
    /// Where tokens are asked for, and so whom the clients' assertions are for.
    pub token_url: String,
    /// How long an authorization code can be used.
    pub code_lifetime: Duration,
    /// How long an access token opens anything.
    pub access_lifetime: Duration,
    /// How long a patient's authorization can be refreshed.
    pub refresh_lifetime: Duration,
    /// How long it can be refreshed by an app that may go on only while the patient is there
    /// (`online_access`): no longer than the patient's session can last.
    pub online_lifetime: Duration,
}

/// The authorization server.
#[derive(Debug, Clone)]
pub struct AuthorizationServer {
    pub(super) ports: AuthPorts,
    pub(super) settings: AuthSettings,
}

/// What an access token is about to be made of.
pub(super) struct NewToken<'c> {
    pub client: &'c Client,
    pub grant: GrantId,
    /// `None` for a system.
    pub patient: Option<PatientId>,
    pub scopes: Scopes,
    pub lifetime: Duration,
}

impl AuthorizationServer {
    /// An authorization server over these ports.
    pub fn new(ports: AuthPorts, settings: AuthSettings) -> Self {
        Self { ports, settings }
    }

    /// Reads an authorization request: the query of the URL it came by.
    pub async fn read_request(
        &self,
        query: &str,
    ) -> Result<AuthorizationRequest, AuthorizationError> {
        let direct = |code, text: &str| AuthorizationError::Direct(OAuthError::new(code, text));
        let query = AuthorizationQuery::read(query);
        let id = query
            .certain("client_id")
            .map_err(AuthorizationError::Direct)?;
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
            direct(OAuthErrorCode::InvalidClient, text)
        })?;
        let asked = query
            .certain("redirect_uri")
            .map_err(AuthorizationError::Direct)?;
        let redirect_uri = client.redirect_uri(asked).ok_or_else(|| {
            direct(
                OAuthErrorCode::InvalidRequest,
                "redirect_uri is not one the app registered; it has to match to the letter",
            )
        })?;
        AuthorizationRequest::check(
            client,
            redirect_uri,
            &query,
            &self.settings.audience,
            &self.settings.issuer,
        )
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
            registration: request.client.registration,
            patient: patient.clone(),
            scopes: request.scopes.clone(),
            redirect_uri: request.redirect_uri_text.clone(),
            challenge: request.challenge.clone(),
            expires_at: self.after(self.settings.code_lifetime),
        };
        self.note(session, Action::Authorize, request).await?;
        self.ports.grants.insert_code(code.hash(), &grant).await?;
        Ok(request.answered(code.expose()))
    }

    /// The patient says no: the address that tells the app.
    pub async fn refuse(
        &self,
        request: &AuthorizationRequest,
        session: &PatientSession,
    ) -> Result<Url, StoreError> {
        self.note(session, Action::RefuseConsent, request).await?;
        Ok(request.denied())
    }

    /// Trades a code, a refresh token or the client's own word for tokens.
    pub async fn token(
        &self,
        request: TokenRequest,
        credentials: &ClientCredentials,
        origin: &Origin,
    ) -> Result<TokenResponse, OAuthError> {
        let client = self.client(credentials, Action::IssueToken, origin).await?;
        let asking = client.as_ref().map(|client| client.id.clone());
        let traded = self.trade(request, client, origin).await;
        if let Err(error) = &traded
            && error.error != OAuthErrorCode::TemporarilyUnavailable
        {
            let event = AuditEvent {
                client: asking,
                ..By::unknown(origin).was_refused(Action::IssueToken, self.ports.clock.now())
            };
            self.ports.audit.append(&event).await.map_err(down)?;
        }
        traded
    }

    async fn trade(
        &self,
        request: TokenRequest,
        client: Option<Client>,
        origin: &Origin,
    ) -> Result<TokenResponse, OAuthError> {
        match request {
            TokenRequest::AuthorizationCode {
                code,
                redirect_uri,
                code_verifier,
            } => {
                let client = client.ok_or_else(|| invalid("client_id is missing"))?;
                let verifier = code_verifier.as_deref();
                self.trade_code(&code, &redirect_uri, &client, verifier, origin)
                    .await
            }
            TokenRequest::RefreshToken {
                refresh_token,
                scope,
            } => {
                self.refresh(&refresh_token, client, scope.as_deref(), origin)
                    .await
            }
            TokenRequest::ClientCredentials { scope } => {
                self.token_for_system(client, &scope, origin).await
            }
        }
    }

    async fn trade_code(
        &self,
        code: &Secret,
        redirect_uri: &str,
        client: &Client,
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
                self.revoke_misused(grant, &client.id, None, origin).await?;
                return Err(bad_grant(
                    "the code was used before; what it gave is revoked",
                ));
            }
            CodeUse::Unknown => return Err(bad_grant("the code is none of ours")),
        };
        if grant.expires_at <= self.ports.clock.now() {
            return Err(bad_grant("the code has expired"));
        }
        if grant.client != client.id {
            return Err(bad_grant("the code was given to another client"));
        }
        if grant.registration != client.registration {
            return Err(bad_grant(EARLIER_REGISTRATION));
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
        let lifetime = shorter(self.settings.refresh_lifetime, client.lifetimes.refresh);
        let lifetime = if grant.scopes.contains(Scope::OfflineAccess) {
            lifetime
        } else {
            lifetime.min(self.settings.online_lifetime)
        };
        let family = RefreshFamily {
            grant: grant.grant,
            client: grant.client,
            registration: grant.registration,
            patient: grant.patient,
            scopes: grant.scopes,
            expires_at: self.after(lifetime),
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
        let scopes = family.scopes.clone();
        self.issue_to(client, family, scopes, refresh_token, origin)
            .await
    }

    /// The refresh token is replaced last of all, when nothing else can fail any more: an outage
    /// costs the app nothing.
    async fn refresh(
        &self,
        token: &Secret,
        client: Option<Client>,
        scope: Option<&str>,
        origin: &Origin,
    ) -> Result<TokenResponse, OAuthError> {
        let standing = self.ports.grants.refresh_token(token.hash()).await;
        let family = match standing.map_err(down)? {
            RefreshStanding::Newest(family) => family,
            RefreshStanding::Replaced(family) => return self.replayed(&family, origin).await,
            RefreshStanding::Unknown => return Err(bad_grant(NO_REFRESH_TOKEN)),
        };
        if family.expires_at <= self.ports.clock.now() {
            return Err(bad_grant(
                "the authorization has expired: ask the patient again",
            ));
        }
        let client = match client {
            Some(client) if client.id == family.client => client,
            Some(_) => {
                let patient = Some(&family.patient);
                self.revoke_misused(family.grant, &family.client, patient, origin)
                    .await?;
                return Err(bad_grant("the refresh token was given to another client"));
            }
            None => self.unnamed(&family).await?,
        };
        if family.registration != client.registration {
            return Err(bad_grant(EARLIER_REGISTRATION));
        }
        let scopes = match scope {
            Some(asked) => family.scopes.narrowed_to(asked).ok_or_else(|| {
                OAuthError::new(
                    OAuthErrorCode::InvalidScope,
                    "scope asks for more than the patient authorized: leave it out to get the same again",
                )
            })?,
            None => family.scopes.clone(),
        };
        let scopes = scopes.intersection(&client.scopes);
        if !scopes.contains(Scope::PatientEhiExport) {
            return Err(OAuthError::new(
                OAuthErrorCode::InvalidScope,
                "scope leaves nothing to open: it has to hold 'patient/$ehi-export', as the patient authorized it",
            ));
        }
        let next = self.secret();
        let response = self
            .issue_to(&client, family, scopes, Some(next.clone()), origin)
            .await?;
        let rotated = self.ports.grants.rotate(token.hash(), next.hash()).await;
        match rotated.map_err(down)? {
            RefreshUse::Rotated(_) => Ok(response),
            // Somebody else was faster with the same token.
            RefreshUse::Replayed(family) => self.replayed(&family, origin).await,
            RefreshUse::Unknown => Err(bad_grant(NO_REFRESH_TOKEN)),
        }
    }

    /// The client of a refresh token that comes without a word of who sends it: some apps do so,
    /// and those that have to prove themselves may not.
    async fn unnamed(&self, family: &RefreshFamily) -> Result<Client, OAuthError> {
        let client = self.ports.clients.client(&family.client).await;
        let client = client.map_err(down)?;
        let client = client.ok_or_else(|| bad_client("the client is no longer registered here"))?;
        match client.authentication {
            ClientAuthentication::Public => Ok(client),
            ClientAuthentication::Secret | ClientAuthentication::Key(_) => Err(bad_client(
                "the client has to authenticate, as it is registered",
            )),
        }
    }

    async fn replayed<T>(&self, family: &RefreshFamily, origin: &Origin) -> Result<T, OAuthError> {
        let patient = Some(&family.patient);
        self.revoke_misused(family.grant, &family.client, patient, origin)
            .await?;
        Err(bad_grant(
            "the refresh token was used before; the authorization is revoked",
        ))
    }

    /// The public keys, as a JWK Set.
    pub async fn jwks(&self) -> Result<serde_json::Value, KeyError> {
        self.ports.keys.jwks().await
    }

    /// Forgets what expired.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.ports.grants.sweep(self.ports.clock.now()).await
    }

    /// Tokens for what a patient authorized.
    async fn issue_to(
        &self,
        client: &Client,
        family: RefreshFamily,
        scopes: Scopes,
        refresh_token: Option<Secret>,
        origin: &Origin,
    ) -> Result<TokenResponse, OAuthError> {
        let token = NewToken {
            client,
            grant: family.grant,
            patient: Some(family.patient),
            scopes,
            lifetime: shorter(self.settings.access_lifetime, client.lifetimes.access),
        };
        let mut response = self.issue(token, origin).await?;
        response.refresh_token = refresh_token.map(|token| token.expose().to_owned());
        Ok(response)
    }

    /// An access token.
    pub(super) async fn issue(
        &self,
        token: NewToken<'_>,
        origin: &Origin,
    ) -> Result<TokenResponse, OAuthError> {
        let client = &token.client.id;
        let patient = token.patient;
        let claims = Claims {
            iss: self.settings.issuer.clone(),
            aud: self.settings.resource.clone(),
            sub: match &patient {
                Some(patient) => patient.to_string(),
                None => client.to_string(),
            },
            client_id: client.clone(),
            registration: token.client.registration,
            scope: token.scopes.to_string(),
            patient: patient.clone(),
            jti: self.uuid(),
            grant: token.grant,
            iat: self.ports.clock.now().as_second(),
            exp: self.after(token.lifetime).as_second(),
        };
        let json = serde_json::to_value(&claims).map_err(|_| unavailable())?;
        self.audit(by(client, origin), Action::IssueToken, patient.as_ref())
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
            expires_in: token.lifetime.as_secs(),
            scope: claims.scope,
            context: patient.map(|patient| PatientContext {
                patient,
                need_patient_banner: true,
            }),
            refresh_token: None,
        })
    }

    async fn revoke_misused(
        &self,
        grant: GrantId,
        client: &ClientId,
        patient: Option<&PatientId>,
        origin: &Origin,
    ) -> Result<(), OAuthError> {
        tracing::warn!(grant = %grant.0, "a code or refresh token was misused: its grant is revoked");
        // Who misused it is not known: only whose it was.
        self.revoke_grant(grant, By::unknown(origin), client, patient)
            .await
    }

    /// What the patient did with what an app asked for.
    async fn note(
        &self,
        session: &PatientSession,
        action: Action,
        request: &AuthorizationRequest,
    ) -> Result<(), StoreError> {
        let event = AuditEvent {
            patient: Some(session.patient.id.clone()),
            client: Some(request.client.id.clone()),
            ..session.by().did(action, self.ports.clock.now())
        };
        self.ports.audit.append(&event).await
    }

    /// Ends a grant. That comes first: it protects the patient even when the audit log is down.
    pub(super) async fn revoke_grant(
        &self,
        grant: GrantId,
        by: By,
        client: &ClientId,
        patient: Option<&PatientId>,
    ) -> Result<(), OAuthError> {
        // Nothing of the grant outlives both its refresh tokens and its access tokens.
        let longest = self.settings.refresh_lifetime + self.settings.access_lifetime;
        let revoked = self.ports.grants.revoke(grant, self.after(longest));
        revoked.await.map_err(down)?;
        let event = AuditEvent {
            patient: patient.cloned(),
            client: Some(client.clone()),
            ..by.did(Action::RevokeGrant, self.ports.clock.now())
        };
        self.ports.audit.append(&event).await.map_err(down)
    }

    pub(super) async fn audit(
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

    pub(super) fn after(&self, span: Duration) -> Timestamp {
        self.ports
            .clock
            .now()
            .saturating_add(span)
            .unwrap_or(Timestamp::MAX)
    }

    fn secret(&self) -> Secret {
        Secret::from_random(self.ports.entropy.bytes())
    }

    pub(super) fn uuid(&self) -> Uuid {
        random_uuid(self.ports.entropy.bytes())
    }
}

pub(super) fn by(client: &ClientId, origin: &Origin) -> By {
    By {
        actor: Actor::Client(client.clone()),
        origin: origin.clone(),
    }
}

const NO_REFRESH_TOKEN: &str = "the refresh token is none of ours";

const EARLIER_REGISTRATION: &str =
    "the app was registered anew since the patient authorized it: ask the patient again";

/// The server's lifetime, or the client's where that is shorter.
pub(super) fn shorter(ours: Duration, clients: Option<Duration>) -> Duration {
    clients.map_or(ours, |clients| clients.min(ours))
}

pub(super) fn bad_client(description: &str) -> OAuthError {
    OAuthError::new(OAuthErrorCode::InvalidClient, description)
}

pub(super) fn bad_grant(description: &str) -> OAuthError {
    OAuthError::new(OAuthErrorCode::InvalidGrant, description)
}

pub(super) fn unavailable() -> OAuthError {
    OAuthError::new(
        OAuthErrorCode::TemporarilyUnavailable,
        "The server cannot answer right now: try again in a moment",
    )
}

/// A store that is down: told to the operator in full and to the app in general.
#[expect(clippy::needless_pass_by_value, reason = "reads as `map_err(down)`")]
pub(super) fn down(error: StoreError) -> OAuthError {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "the grant store failed"
    );
    unavailable()
}

#[cfg(test)]
pub(super) mod tests;
