//! What the use cases of the authorization server promise.

mod anew;
mod recognise;
mod refresh;
mod request;
mod trade;

use serde_json::{Value, json};

use super::*;
use crate::auth::{Access, LoopbackRedirects, PkceChallenge, RegisteredUrl, Subject, TokenError};
use crate::ports::{
    MockAuditLog, MockClientAssertions, MockClientRegistry, MockEntropy, MockGrantStore,
    MockTokenKeys, Outcome,
};
use crate::testkit::{FixedClock, RecordedAudit, SeededEntropy, at, client, client_id, patient};

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// Whom assertions are for.
pub(in crate::auth) const TOKEN_URL: &str = "https://ehi.example/auth/token";
const CALLBACK: &str = "https://app.example/callback?from=ehi";

/// The authorization server over doubles that a test may replace before
/// [`server`](Self::server).
pub(in crate::auth) struct House {
    pub registered: Client,
    pub clients: MockClientRegistry,
    pub assertions: MockClientAssertions,
    pub grants: MockGrantStore,
    pub keys: MockTokenKeys,
    pub audit: Arc<dyn AuditLog>,
    pub recorded: Arc<RecordedAudit>,
    pub clock: Arc<FixedClock>,
}

impl House {
    pub fn new() -> Self {
        let recorded = Arc::new(RecordedAudit::default());
        Self {
            registered: Client {
                redirect_uris: vec![RegisteredUrl::parse(CALLBACK).unwrap()],
                loopback: LoopbackRedirects::Registered,
                ..client()
            },
            clients: MockClientRegistry::new(),
            assertions: MockClientAssertions::new(),
            grants: MockGrantStore::new(),
            keys: MockTokenKeys::new(),
            audit: recorded.clone(),
            recorded,
            clock: Arc::new(FixedClock::at(at(0))),
        }
    }

    /// Every entry of the audit log is refused.
    pub fn without_audit(mut self) -> Self {
        let mut audit = MockAuditLog::new();
        audit
            .expect_append()
            .returning(|_| Err(StoreError::unavailable("audit log full")));
        self.audit = Arc::new(audit);
        self
    }

    /// Keys whose tokens are the claims themselves.
    pub fn server(mut self) -> AuthorizationServer {
        let registered = self.registered;
        (self.clients.expect_client())
            .returning(move |id| Ok((*id == registered.id).then(|| registered.clone())));
        (self.keys.expect_sign()).returning(|claims| Ok(claims.to_string()));
        (self.keys.expect_verify())
            .returning(|token| serde_json::from_str(token).map_err(|_| KeyError::Invalid));
        let ports = AuthPorts {
            clients: Arc::new(self.clients),
            assertions: Arc::new(self.assertions),
            grants: Arc::new(self.grants),
            keys: Arc::new(self.keys),
            audit: self.audit,
            clock: self.clock,
            entropy: Arc::new(SeededEntropy::default()),
        };
        let settings = AuthSettings {
            issuer: "https://ehi.example".into(),
            resource: "https://ehi.example/fhir".into(),
            audience: Audience::new(["https://ehi.example/fhir"]),
            token_url: TOKEN_URL.into(),
            code_lifetime: Duration::from_mins(1),
            access_lifetime: Duration::from_mins(5),
            refresh_lifetime: Duration::from_hours(1),
            online_lifetime: Duration::from_mins(30),
        };
        AuthorizationServer::new(ports, settings)
    }
}

/// The patient at the browser.
fn session() -> PatientSession {
    PatientSession {
        patient: patient(),
        origin: Origin::default(),
    }
}

/// An app that says its name and no more.
fn named(id: &str) -> ClientCredentials {
    ClientCredentials::Unproven(ClientId::parse(id))
}

/// The app of these tests.
fn itself() -> ClientCredentials {
    named("test-app")
}

/// An app that does not say who it is.
fn nobody() -> ClientCredentials {
    ClientCredentials::Unproven(None)
}

pub(in crate::auth) fn grant_id() -> GrantId {
    GrantId(Uuid::from_bytes([7; 16]))
}

pub(in crate::auth) fn scopes(text: &str) -> Scopes {
    Scopes::requested(text)
}

/// A code that can be used until second 60.
fn code_grant() -> CodeGrant {
    CodeGrant {
        grant: grant_id(),
        client: client_id(),
        registration: None,
        patient: patient().id,
        scopes: scopes("patient/$ehi-export launch/patient offline_access"),
        redirect_uri: CALLBACK.into(),
        challenge: PkceChallenge::parse(CHALLENGE).unwrap(),
        expires_at: at(60),
    }
}

/// A family that can be refreshed until second 3600.
pub(in crate::auth) fn family() -> RefreshFamily {
    RefreshFamily {
        grant: grant_id(),
        client: client_id(),
        registration: None,
        patient: patient().id,
        scopes: scopes("patient/$ehi-export launch/patient offline_access"),
        expires_at: at(3600),
    }
}

pub(in crate::auth) fn secret(text: &str) -> Secret {
    Secret::presented(text).unwrap()
}

/// Expects the grant to be revoked for longer than any of its tokens lives.
pub(in crate::auth) fn expecting_revocation(mut house: House) -> House {
    (house.grants.expect_revoke())
        .withf(|grant, until| *grant == grant_id() && *until >= at(3600 + 300))
        .times(1)
        .returning(|_, _| Ok(()));
    house
}

pub(in crate::auth) fn claims(response: &TokenResponse) -> Value {
    serde_json::from_str(&response.access_token).unwrap()
}
