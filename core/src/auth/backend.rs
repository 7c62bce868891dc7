//! Tokens for systems, without a patient at a browser.
//!
//! Source: SMART App Launch 2, Backend Services; RFC 6749 section 4.4.

use std::time::Duration;

use super::service::{NewToken, bad_client, shorter};
use super::{
    AuthorizationServer, Client, ClientAuthentication, GrantId, OAuthError, OAuthErrorCode, Scope,
    Scopes, TokenResponse,
};
use crate::ports::Origin;

/// A system can ask for a new token at any time, so none lives longer (SMART Backend Services,
/// access tokens).
const LONGEST: Duration = Duration::from_mins(5);

impl AuthorizationServer {
    /// A token for the client itself: only for clients that prove themselves by a key, as a token
    /// that opens every record is worth more than a secret can guard.
    pub(super) async fn token_for_system(
        &self,
        client: Option<Client>,
        scope: &str,
        origin: &Origin,
    ) -> Result<TokenResponse, OAuthError> {
        let client = client.ok_or_else(|| {
            bad_client("client_credentials needs a client_assertion (private_key_jwt)")
        })?;
        match client.authentication {
            ClientAuthentication::Key(_) => {}
            ClientAuthentication::Public | ClientAuthentication::Secret => {
                return Err(OAuthError::new(
                    OAuthErrorCode::UnauthorizedClient,
                    "client_credentials is for clients that are registered with a key (private_key_jwt)",
                ));
            }
        }
        let invalid = |text| Err(OAuthError::new(OAuthErrorCode::InvalidScope, text));
        if Scopes::asks_for(scope, "patient/") {
            return invalid("without a patient nothing in 'patient/' can be given");
        }
        let scopes = Scopes::requested(scope).intersection(&client.scopes);
        if !scopes.contains(Scope::SystemEhiExport) {
            return invalid(
                "scope has to hold 'system/$ehi-export', and the client has to be registered for it",
            );
        }
        let token = NewToken {
            client: &client,
            // Of its own, so that it can be revoked.
            grant: GrantId(self.uuid()),
            patient: None,
            scopes: Scopes::from_iter([Scope::SystemEhiExport]),
            lifetime: shorter(
                LONGEST.min(self.settings.access_lifetime),
                client.lifetimes.access,
            ),
        };
        self.issue(token, origin).await
    }
}
