//! SMART App Launch and Backend Services: discovery, authorization, tokens, and what becomes of
//! tokens.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, LOCATION, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ehi_core::auth::{
    AuthorizationError, ClientAuthentication, ClientCredentials, OAuthError, OAuthErrorCode, Scope,
    SigningAlgorithm, TokenRequest, TokenToInspect,
};
use ehi_core::ports::Origin;
use serde::Serialize;
use serde_json::json;

use super::Shared;
use super::error::{OAuth, Problem};
use super::extract::{CameFrom, PatientCookie, Payload, pairs};
use super::refusals::Refused;
use super::throttle::Throttle;

/// `GET /fhir/.well-known/smart-configuration`
pub async fn configuration(State(app): State<Shared>) -> Response {
    let links = app.exports.links();
    let scopes: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let algorithms = SigningAlgorithm::ALL.iter();
    let algorithms: Vec<&str> = algorithms.map(|algorithm| algorithm.as_str()).collect();
    let methods = ClientAuthentication::METHODS;
    let proofs = ClientAuthentication::PROOFS;
    Json(json!({
        "issuer": links.base(),
        "jwks_uri": links.at("/auth/jwks.json"),
        "authorization_endpoint": links.at("/auth/authorize"),
        "token_endpoint": links.at("/auth/token"),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": links.at("/auth/revoke"),
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint": links.at("/auth/introspect"),
        "introspection_endpoint_auth_methods_supported": proofs,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "authorization_response_iss_parameter_supported": true,
        "code_challenge_methods_supported": ["S256"],
        "capabilities": [
            "launch-standalone", "client-public", "client-confidential-symmetric",
            "client-confidential-asymmetric", "context-standalone-patient", "permission-offline",
            "permission-online", "permission-patient",
        ],
    }))
    .into_response()
}

/// `GET /auth/jwks.json`
pub async fn jwks(State(app): State<Shared>) -> Result<Response, OAuth> {
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
    uri: axum::http::Uri,
) -> Result<Response, OAuth> {
    let query = uri.query().unwrap_or_default();
    match app.authorization.read_request(query).await {
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
            Ok(redirect(&format!("{page}?{query}")))
        }
    }
}

/// A form that a client sends, with how the client proves itself.
pub struct ClientForm {
    form: Vec<(String, String)>,
    credentials: ClientCredentials,
    origin: Origin,
    sent: Sent,
}

/// Where the client tried to prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// In the `Authorization` header.
    InHeader,
    /// In the form, or not at all.
    Otherwise,
}

impl Sent {
    fn by(headers: &HeaderMap) -> Self {
        if headers.contains_key(AUTHORIZATION) {
            Self::InHeader
        } else {
            Self::Otherwise
        }
    }

    /// The answer to the client; not to be stored, whatever it is.
    fn answer(self, outcome: Result<impl Serialize, OAuthError>) -> Response {
        match outcome {
            Ok(answer) => (not_stored(), Json(answer)).into_response(),
            Err(error) => self.refuse(&error),
        }
    }

    fn refuse(self, error: &OAuthError) -> Response {
        let mut response = oauth_error(error);
        if response.status() == StatusCode::UNAUTHORIZED && self == Self::InHeader {
            let challenge = HeaderValue::from_static("Basic realm=\"ehi-server\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl FromRequest<Shared> for ClientForm {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Ok(CameFrom(origin)) = CameFrom::from_request_parts(&mut parts, app).await;
        let sent = Sent::by(&parts.headers);
        let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
        // What is no text, or comes twice, is read as what it is not: an empty header.
        let authorization = match (headers.next(), headers.next()) {
            (None, _) => None,
            (Some(header), None) => Some(header.to_str().unwrap_or_default().to_owned()),
            (Some(_), Some(_)) => Some(String::new()),
        };
        let payload = Payload::from_request(Request::from_parts(parts, body), app).await;
        let Ok(Payload::Form(form)) = payload else {
            return Err(sent.refuse(&OAuthError::new(
                OAuthErrorCode::InvalidRequest,
                "Send the parameters as application/x-www-form-urlencoded, at most 64 KiB",
            )));
        };
        match ClientCredentials::read(authorization.as_deref(), pairs(&form)) {
            Ok(credentials) => Ok(Self {
                form,
                credentials,
                origin,
                sent,
            }),
            Err(error) => Err(sent.refuse(&error)),
        }
    }
}

/// `POST /auth/token`
pub async fn token(
    State(app): State<Shared>,
    Extension(throttle): Extension<Arc<Throttle>>,
    asked: ClientForm,
) -> Response {
    let client = asked.credentials.client();
    if let Some(client) = client
        && let Err(too_often) = throttle.clients.check(client, app.exports.now())
    {
        return OAuth(too_often.problem(Refused::naming(client.clone()))).into_response();
    }
    let tokens = match TokenRequest::from_pairs(pairs(&asked.form)) {
        Ok(request) => {
            let tokens = app
                .authorization
                .token(request, &asked.credentials, &asked.origin);
            tokens.await
        }
        Err(error) => Err(error),
    };
    // Only what was proven counts: anybody can name a client, and nobody uses up what is
    // another's. Where the last one is taken in between, this one is still answered.
    if let (Some(client), Ok(_)) = (client, &tokens) {
        let _ = throttle.clients.take(client.clone(), app.exports.now());
    }
    asked.sent.answer(tokens)
}

/// `POST /auth/introspect`
pub async fn introspect(State(app): State<Shared>, asked: ClientForm) -> Response {
    let told = match TokenToInspect::from_pairs(pairs(&asked.form)) {
        Ok(token) => {
            let told = app
                .authorization
                .introspect(&token, &asked.credentials, &asked.origin);
            told.await
        }
        Err(error) => Err(error),
    };
    asked.sent.answer(told)
}

/// `POST /auth/revoke`
pub async fn revoke(State(app): State<Shared>, asked: ClientForm) -> Response {
    let revoked = match TokenToInspect::from_pairs(pairs(&asked.form)) {
        Ok(token) => {
            let revoked = app
                .authorization
                .revoke(&token, &asked.credentials, &asked.origin);
            revoked.await
        }
        Err(error) => Err(error),
    };
    match revoked {
        Ok(()) => (StatusCode::OK, not_stored()).into_response(),
        Err(error) => asked.sent.refuse(&error),
    }
}

/// An OAuth error, told to whoever called.
pub fn oauth_error(error: &OAuthError) -> Response {
    let status = match error.error {
        OAuthErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
        OAuthErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    let mut response = (status, not_stored(), Json(error)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let soon = HeaderValue::from_static("5");
        response.headers_mut().insert(RETRY_AFTER, soon);
    }
    response
}

/// A redirect by 302, as the contract has it.
pub fn redirect(to: &str) -> Response {
    (StatusCode::FOUND, [(LOCATION, to)]).into_response()
}

fn not_stored() -> [(HeaderName, &'static str); 2] {
    [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")]
}
