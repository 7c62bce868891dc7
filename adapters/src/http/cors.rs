//! Which other origins may call.
//!
//! Every origin may call with a token; only those that the configuration names may use cookies.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowCredentials, AllowHeaders, AllowOrigin, CorsLayer};

use super::error::{Admin, Problem};
use super::{App, Shared};

/// What an app needs to read of an answer.
const EXPOSED: [HeaderName; 8] = [
    header::CONTENT_LOCATION,
    header::LINK,
    HeaderName::from_static("x-progress"),
    header::RETRY_AFTER,
    header::EXPIRES,
    header::ETAG,
    header::CONTENT_DISPOSITION,
    header::CONTENT_RANGE,
];

/// For routes that go by a token: any origin, and cookies for the named ones.
pub fn any_origin(app: &App) -> CorsLayer {
    let named = app.settings.allowed_origins.clone();
    shared()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_credentials(AllowCredentials::predicate(move |origin, _| {
            named.contains(origin)
        }))
}

/// For routes that go by a cookie: the named origins alone.
pub fn named_origins(app: &App) -> CorsLayer {
    shared()
        .allow_origin(AllowOrigin::list(app.settings.allowed_origins.clone()))
        .allow_credentials(true)
}

fn shared() -> CorsLayer {
    CorsLayer::new()
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(Duration::from_mins(10))
}

/// Refuses changes that another site's page makes the browser ask for.
pub async fn guard_changes(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let changes = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    // Logging out by GET changes something too.
    let changes = changes || request.uri().path().ends_with("/logout");
    if changes && is_foreign(request.headers(), &app) {
        let message = "This call came from a page of another site. Name its origin in the configuration if it may.";
        return Admin(Problem::forbidden(message)).into_response();
    }
    next.run(request).await
}

/// Whether a page that is neither this server's nor of a named origin made the browser send it.
fn is_foreign(headers: &HeaderMap, app: &App) -> bool {
    match headers.get(ORIGIN) {
        Some(origin) => {
            let named = app.settings.allowed_origins.contains(origin);
            !named && !is_own(origin, app.exports.links().base())
        }
        // Browsers that leave out Origin say this instead; other clients say neither.
        None => match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => false,
            Some(_) => true,
        },
    }
}

fn is_own(origin: &HeaderValue, base: &str) -> bool {
    let own = url::Url::parse(base).map(|base| base.origin().ascii_serialization());
    own.is_ok_and(|own| origin.as_bytes() == own.as_bytes())
}
