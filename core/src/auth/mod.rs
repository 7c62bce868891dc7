//! Who may ask, and for whom: SMART App Launch for patients' apps, sessions for people.
//!
//! | file | what it holds |
//! |---|---|
//! | `client` | registered apps, what each may do and how each is special |
//! | `scope` | what a token opens |
//! | `secret` | tokens, codes and cookies, and the hashes they are kept by |
//! | `authorization` | the authorization request: parameters, PKCE, where errors go |
//! | `token` | the token request and the claims of an access token |
//! | `service` | the use cases of the authorization server |
//! | `session`, `patient`, `staff` | who is at the browser |
//! | `guard`, `network` | patience with wrong passwords, and where they come from |
//! | `attempt` | a login at another server, from leaving to coming back |
//!
//! Sources: SMART App Launch 2, RFC 6749 (OAuth 2.0), RFC 7636 (PKCE), RFC 9068 (JWT access
//! tokens), RFC 9700 (security best practice), OpenID Connect Core 1.0.

mod attempt;
mod authorization;
mod client;
mod guard;
mod network;
mod patient;
mod scope;
mod secret;
mod service;
mod session;
mod staff;
mod token;

pub use attempt::{DestinationTooLong, LoginAttempt};
pub use authorization::{
    Audience, AuthorizationError, AuthorizationRequest, OAuthError, OAuthErrorCode, PkceChallenge,
};
pub use client::{Client, ClientId, LoopbackRedirects, Quirk, RegisteredUrl};
pub use guard::{Attempt, LoginGuard, Patience, Verdict};
pub use network::Network;
pub use patient::{PatientSession, PatientSessions};
pub use scope::{Scope, Scopes};
pub use secret::{Secret, SecretHash};
pub use service::{AuthPorts, AuthSettings, AuthorizationServer};
pub use session::{
    Session, SessionError, SessionHolder, SessionLifetimes, csrf_token, is_csrf_token,
};
pub use staff::{
    AdminSession, NotAdmin, StaffMember, StaffName, StaffRole, StaffSession, StaffSessions,
};
pub use token::{
    Access, CodeGrant, GrantId, RefreshFamily, Subject, TokenError, TokenRequest, TokenResponse,
};
