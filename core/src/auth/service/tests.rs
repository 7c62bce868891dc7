//! What the use cases of the authorization server promise.

mod recognise;
mod request;
mod trade;

use serde_json::{Value, json};

use super::*;
use crate::auth::{LoopbackRedirects, PkceChallenge, RegisteredUrl, Scope, Subject};
use crate::ports::{MockAuditLog, MockClientRegistry, MockEntropy, MockGrantStore, MockTokenKeys};
use crate::testkit::{FixedClock, RecordedAudit, SeededEntropy, at, client, client_id, patient};

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const CALLBACK: &str = "https://app.example/callback?from=ehi";

/// The authorization server over doubles that a test may replace before
/// [`server`](Self::server).
struct House {
    registered: Client,
    clients: MockClientRegistry,
    grants: MockGrantStore,
    keys: MockTokenKeys,
    audit: Arc<dyn AuditLog>,
    recorded: Arc<RecordedAudit>,
    clock: Arc<FixedClock>,
}

impl House {
    fn new() -> Self {
        let recorded = Arc::new(RecordedAudit::default());
        Self {
            registered: Client {
                redirect_uris: vec![RegisteredUrl::parse(CALLBACK).unwrap()],
                loopback: LoopbackRedirects::Registered,
                ..client()
            },
            clients: MockClientRegistry::new(),
            grants: MockGrantStore::new(),
            keys: MockTokenKeys::new(),
            audit: recorded.clone(),
            recorded,
            clock: Arc::new(FixedClock::at(at(0))),
        }
    }

    /// Every entry of the audit log is refused.
    fn without_audit(mut self) -> Self {
        let mut audit = MockAuditLog::new();
        audit
            .expect_append()
            .returning(|_| Err(StoreError::unavailable("audit log full")));
        self.audit = Arc::new(audit);
        self
    }

    /// Keys whose tokens are the claims themselves.
    fn server(mut self) -> AuthorizationServer {
        let registered = self.registered;
        (self.clients.expect_client())
            .returning(move |id| Ok((*id == registered.id).then(|| registered.clone())));
        (self.keys.expect_sign()).returning(|claims| Ok(claims.to_string()));
        (self.keys.expect_verify())
            .returning(|token| serde_json::from_str(token).map_err(|_| KeyError::Invalid));
        let ports = AuthPorts {
            clients: Arc::new(self.clients),
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
            code_lifetime: Duration::from_mins(1),
            access_lifetime: Duration::from_mins(5),
            refresh_lifetime: Duration::from_hours(1),
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

fn grant_id() -> GrantId {
    GrantId(Uuid::from_bytes([7; 16]))
}

fn scopes(text: &str) -> Scopes {
    Scopes::requested(text)
}

/// A code that can be used until second 60.
fn code_grant() -> CodeGrant {
    CodeGrant {
        grant: grant_id(),
        client: client_id(),
        patient: patient().id,
        scopes: scopes("patient/$ehi-export launch/patient offline_access"),
        redirect_uri: CALLBACK.into(),
        challenge: PkceChallenge::parse(CHALLENGE).unwrap(),
        expires_at: at(60),
    }
}

/// A family that can be refreshed until second 3600.
fn family() -> RefreshFamily {
    RefreshFamily {
        grant: grant_id(),
        client: client_id(),
        patient: patient().id,
        scopes: scopes("patient/$ehi-export launch/patient offline_access"),
        expires_at: at(3600),
    }
}

fn secret(text: &str) -> Secret {
    Secret::presented(text).unwrap()
}
