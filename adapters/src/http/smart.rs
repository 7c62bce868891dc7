//! SMART App Launch: discovery, authorization and tokens.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, LOCATION, PRAGMA};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use ehi_core::auth::{
    AuthorizationError, ClientId, OAuthError, OAuthErrorCode, Scope, TokenRequest,
};
use serde_json::json;

use super::Shared;
use super::error::{Fhir, Problem};
use super::extract::{CameFrom, PatientCookie, Payload, Query, field, pairs};
use super::throttle::{Throttle, TooOften, token_refused};

/// `GET /fhir/.well-known/smart-configuration`
pub async fn configuration(State(app): State<Shared>) -> Response {
    let links = app.exports.links();
    let scopes: Vec<&str> = (Scope::ALL.iter())
        // Tokens for systems need Backend Services, which is not there.
        .filter(|&&scope| scope != Scope::SystemEhiExport)
        .map(|scope| scope.as_str())
        .collect();
    Json(json!({
        "issuer": links.base(),
        "jwks_uri": links.at("/auth/jwks.json"),
        "authorization_endpoint": links.at("/auth/authorize"),
        "token_endpoint": links.at("/auth/token"),
        "token_endpoint_auth_methods_supported": ["none"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "capabilities": [
            "launch-standalone", "client-public", "context-standalone-patient",
            "permission-offline", "permission-online", "permission-patient",
        ],
    }))
    .into_response()
}

/// `GET /auth/jwks.json`
pub async fn jwks(State(app): State<Shared>) -> Result<Response, Fhir> {
    let jwks = app.authorization.jwks().await;
    let jwks =
        jwks.map_err(|error| Problem::from(ehi_core::auth::TokenError::Unavailable(error.into())))?;
    let cache = [(CACHE_CONTROL, "public, max-age=300")];
    Ok((cache, Json(jwks)).into_response())
}

/// `GET /auth/authorize`: checks the request, then sends the browser to the login or, when a
/// patient is logged in already, to the consent.
pub async fn authorize(
    State(app): State<Shared>,
    cookie: PatientCookie,
    query: Query,
    uri: axum::http::Uri,
) -> Result<Response, Fhir> {
    match app.authorization.read_request(query.pairs()).await {
        Err(AuthorizationError::Direct(error)) => {
            let mut response = oauth_error(&error);
            if response.status() == StatusCode::UNAUTHORIZED {
                // Nobody tried to authenticate here; the request is what is wrong.
                *response.status_mut() = StatusCode::BAD_REQUEST;
            }
            Ok(response)
        }
        Err(AuthorizationError::Redirect(url, _)) => Ok(redirect(url.as_str())),
        Ok(_) => {
            let page = match cookie.session(&app).await? {
                Some(_) => "/authorize-app",
                None => "/patient-login",
            };
            Ok(redirect(&format!(
                "{page}?{}",
                uri.query().unwrap_or_default()
            )))
        }
    }
}

/// `POST /auth/token`
pub async fn token(
    State(app): State<Shared>,
    CameFrom(origin): CameFrom,
    Extension(throttle): Extension<Arc<Throttle>>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Response {
    let refuse = |code, text| oauth_error(&OAuthError::new(code, text));
    let Ok(Payload::Form(form)) = payload else {
        return refuse(
            OAuthErrorCode::InvalidRequest,
            "Send the parameters as application/x-www-form-urlencoded, at most 1 MiB",
        );
    };
    if let Some(client) = field(&form, "client_id").and_then(ClientId::parse)
        && let Err(TooOften(wait)) = throttle.clients.take(client, app.exports.now())
    {
        return token_refused(wait);
    }
    if headers.contains_key(AUTHORIZATION) {
        return refuse(
            OAuthErrorCode::InvalidClient,
            "This client is public: send client_id in the body and no Authorization header",
        );
    }
    let answer = match TokenRequest::from_pairs(pairs(&form)) {
        Ok(request) => app.authorization.token(request, &origin).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(tokens) => (not_stored(), Json(tokens)).into_response(),
        Err(error) => oauth_error(&error),
    }
}

/// An OAuth error, told to whoever called.
pub fn oauth_error(error: &OAuthError) -> Response {
    let status = match error.error {
        OAuthErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
        OAuthErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    (status, not_stored(), Json(error)).into_response()
}

/// A redirect by 302, as the contract has it.
pub fn redirect(to: &str) -> Response {
    (StatusCode::FOUND, [(LOCATION, to)]).into_response()
}

fn not_stored() -> [(HeaderName, &'static str); 2] {
    [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")]
}
