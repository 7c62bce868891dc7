//! Who may ask, and for whom: SMART App Launch for patients' apps, sessions for people.
//!
//! | file | what it holds |
//! |---|---|
//! | `client` | registered apps, what each may do and how each is special |
//! | `jwk` | the public keys of clients |
//! | `authentication` | how a client proves itself: secret or signed assertion |
//! | `scope` | what a token opens |
//! | `secret` | tokens, codes and cookies, and the hashes they are kept by |
//! | `authorization` | the authorization request: parameters, PKCE, where errors go |
//! | `token` | the token request and the claims of an access token |
//! | `service` | the use cases of the authorization server: authorize, trade |
//! | `recognition` | what an access token opens |
//! | `backend` | tokens for systems: SMART Backend Services |
//! | `inspection` | introspection and revocation |
//! | `session`, `patient`, `staff` | who is at the browser |
//! | `guard`, `network` | patience with wrong passwords, and where they come from |
//! | `attempt` | a login at another server, from leaving to coming back |
//!
//! Sources: SMART App Launch 2 with Backend Services, RFC 6749 (OAuth 2.0), RFC 7009 (revocation),
//! RFC 7523 (JWT assertions), RFC 7636 (PKCE), RFC 7662 (introspection), RFC 8252 (native apps),
//! RFC 9068 (JWT access tokens), RFC 9700 (security best practice), OpenID Connect Core 1.0.

mod attempt;
mod authentication;
mod authorization;
mod backend;
mod client;
mod guard;
mod inspection;
mod jwk;
mod network;
mod patient;
mod recognition;
mod scope;
mod secret;
mod service;
mod session;
mod staff;
mod token;

pub use attempt::{DestinationTooLong, LoginAttempt};
pub use authentication::ClientCredentials;
pub use authorization::{
    Audience, AuthorizationError, AuthorizationRequest, OAuthError, OAuthErrorCode, PkceChallenge,
};
pub use client::{
    Client, ClientAuthentication, ClientId, ClientKeys, Introspects, JwksUri, LoopbackRedirects,
    Quirk, RegisteredUrl, RegistrationId, TokenLifetimes,
};
pub use guard::{
    Account, Attempt, Door, Guesses, LoginGuard, Patience, REMEMBER_GUESSES, REMEMBER_OWNERS,
    Tally, Turn, Verdict,
};
pub use inspection::{Introspection, TokenToInspect};
pub use jwk::{ClientKey, ClientKeySet, JwkError, PublicKey, SigningAlgorithm};
pub use network::Network;
pub use patient::{PatientSession, PatientSessions};
pub use scope::{Scope, Scopes};
pub use secret::{Secret, SecretHash};
pub use service::{AuthPorts, AuthSettings, AuthorizationServer};
pub use session::{
    Session, SessionError, SessionHolder, SessionLifetimes, csrf_token, is_csrf_token,
};
pub use staff::{
    AdminSession, Credential, NotAdmin, StaffHolder, StaffMember, StaffName, StaffRole,
    StaffSession, StaffSessions,
};
pub use token::{
    Access, CodeGrant, GrantId, PatientContext, RefreshFamily, Subject, TokenError, TokenHolder,
    TokenRequest, TokenResponse,
};
