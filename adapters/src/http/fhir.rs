//! What the server says of itself in FHIR.

use axum::Extension;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use ehi_core::export::{AuthorizationKey, ParameterKey};
use ehi_core::fhir::{Endpoint, capability_statement, operation_definition};
use serde_json::Value;

use super::error::{FHIR_JSON, Fhir, Problem};
use super::export::Mount;
use super::extract::Query;
use super::{App, Shared};

/// `GET /fhir/metadata`
pub async fn metadata(
    State(app): State<Shared>,
    Extension(mount): Extension<Mount>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Fhir> {
    wants_json(&query, &headers)?;
    let settings = &app.settings;
    let statement =
        capability_statement(&endpoint(&app, mount), settings.version, settings.started);
    Ok(resource(&statement))
}

/// `GET /fhir/OperationDefinition/ehi-export`
pub async fn operation(
    State(app): State<Shared>,
    Extension(mount): Extension<Mount>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Fhir> {
    wants_json(&query, &headers)?;
    let categories: Vec<&str> = ParameterKey::ALL.iter().map(|key| key.key()).collect();
    let authorizations: Vec<&str> = AuthorizationKey::ALL.iter().map(|key| key.key()).collect();
    let endpoint = endpoint(&app, mount);
    Ok(resource(&operation_definition(
        &endpoint,
        &categories,
        &authorizations,
    )))
}

fn endpoint(app: &App, mount: Mount) -> Endpoint {
    let links = app.exports.links();
    Endpoint {
        fhir: links.at(mount.path),
        authorize: links.at("/auth/authorize"),
        token: links.at("/auth/token"),
        introspect: links.at("/auth/introspect"),
        revoke: links.at("/auth/revoke"),
    }
}

fn resource(value: &Value) -> Response {
    ([(CONTENT_TYPE, FHIR_JSON)], value.to_string()).into_response()
}

/// JSON is all there is. `_format` wins over `Accept` (FHIR R4, "Content Types and encodings").
fn wants_json(query: &Query, headers: &HeaderMap) -> Result<(), Problem> {
    let accepted = match query.get("_format") {
        Some(format) => format,
        None => (headers.get(ACCEPT).map(HeaderValue::to_str))
            .and_then(Result::ok)
            .unwrap_or("*/*"),
    };
    let json = |format: &str| {
        let format = format.split(';').next().unwrap_or_default().trim();
        let known = [
            "*/*",
            "application/*",
            "json",
            "text/json",
            "application/json",
            FHIR_JSON,
        ];
        // A '+' in a query that was not encoded arrives as a space.
        known.contains(&format) || format == "application/fhir json"
    };
    if accepted.is_empty() || accepted.split(',').any(json) {
        Ok(())
    } else {
        Err(Problem::invalid(
            "This server speaks JSON: ask for application/fhir+json.",
        ))
    }
}
