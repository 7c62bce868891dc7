//! What the server says of itself in FHIR.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
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
    let accepted: Vec<Accepted> = match query.get("_format") {
        Some(format) => Accepted::list(format).collect(),
        // Several lines are one list (RFC 9110 section 5.3). One that is no text asks for nothing.
        None => (headers.get_all(ACCEPT).iter())
            .filter_map(|line| line.to_str().ok())
            .flat_map(Accepted::list)
            .collect(),
    };
    if accepted.is_empty() || takes_json(&accepted) {
        Ok(())
    } else {
        Err(Problem::invalid(
            "This server speaks JSON: ask for application/fhir+json.",
        ))
    }
}

/// Other names of what is sent. A '+' in a query that was not encoded arrives as a space.
const ALSO_JSON: [&str; 4] = [
    "json",
    "text/json",
    "application/json",
    "application/fhir json",
];

/// Whether FHIR in JSON is taken by such a list: the most specific that it says of it counts
/// (RFC 9110 section 12.5.1).
fn takes_json(accepted: &[Accepted]) -> bool {
    let says = |range: &str| {
        let said = accepted.iter().filter(|each| each.range == range);
        said.map(|each| each.wanted)
            .reduce(|one, other| one || other)
    };
    let also = ALSO_JSON.iter().any(|name| says(name) == Some(true));
    let general = ["application/*", "*/*"].into_iter().find_map(says);
    says(FHIR_JSON).unwrap_or(also || general == Some(true))
}

/// One entry of `Accept`, or of `_format`.
struct Accepted {
    /// In lower case: media types have no case (RFC 9110 section 8.3.1).
    range: String,
    /// Not so with the weight 0 (RFC 9110 section 12.4.2).
    wanted: bool,
}

impl Accepted {
    fn list(text: &str) -> impl Iterator<Item = Self> {
        let entries = text.split(',').map(str::trim);
        entries.filter(|entry| !entry.is_empty()).map(Self::read)
    }

    fn read(entry: &str) -> Self {
        let mut parts = entry.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case("q"));
        let weight = weight.and_then(|(_, weight)| weight.parse::<f32>().ok());
        Self {
            range,
            wanted: weight.is_none_or(|weight| weight > 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn is_sent(query: &str, lines: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, HeaderValue::from_static(line));
        }
        wants_json(&Query::parse(query), &headers).is_ok()
    }

    #[test]
    fn json_is_sent_to_whoever_takes_it_however_that_is_written() {
        for lines in [
            &[][..],
            &[""],
            &["*/*"],
            &["APPLICATION/FHIR+JSON"],
            &["Application/*;q=0.2"],
            &["text/html, application/xml;q=0.9, */*;q=0.8"],
            &["text/html", "application/json ; charset=utf-8"],
            &["application/json;q=0, application/fhir+json"],
            &["application/xml;q=0,*/*"],
            &["text/json;q=0, */*"],
        ] {
            assert!(is_sent("", lines), "{lines:?}");
        }
        for query in ["_format=JSON", "_format=application/fhir+json", "_format="] {
            assert!(is_sent(query, &["*/*"]), "{query}");
        }
        assert!(is_sent("_format=json", &["application/xml"]));
    }

    #[test]
    fn json_is_not_sent_to_whoever_refuses_it() {
        for lines in [
            &["text/html"][..],
            &["application/fhir+xml", "text/turtle"],
            &["application/fhir+json;q=0"],
            &["application/fhir+json; Q=0.000, text/html"],
            &["application/fhir+json;q=0, application/*, */*"],
            &["application/*;q=0, */*"],
            &["*/*;q=0"],
        ] {
            assert!(!is_sent("", lines), "{lines:?}");
        }
        assert!(!is_sent("_format=xml", &["*/*"]));
        assert!(!is_sent("_format=XML", &["application/json"]));
    }
}
