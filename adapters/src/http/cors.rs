//! Which other origins may call.
//!
//! Every origin may call with a token; only those that the configuration names may use cookies.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{
    self, AUTHORIZATION, COOKIE, HeaderName, HeaderValue, ORIGIN, USER_AGENT,
};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower::{Layer, ServiceExt};
use tower_http::cors::{AllowCredentials, AllowHeaders, AllowOrigin, CorsLayer};

use super::error::{Admin, Problem, by_path, is_page};
use super::refusals::Refused;
use super::router::FHIR_MOUNTS;
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

/// What other origins may read goes by the path alone, and holds for whatever is answered there:
/// an app has to learn that it asked wrongly, too.
#[derive(Debug, Clone)]
pub struct Readers {
    any: CorsLayer,
    named: CorsLayer,
}

impl Readers {
    /// Those whom the configuration lets in.
    pub fn new(app: &App) -> Self {
        Self {
            any: any_origin(app),
            named: named_origins(app),
        }
    }

    fn of(&self, path: &str) -> Option<&CorsLayer> {
        let below = |prefix: &&str| {
            let rest = path.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if is_page(path) {
            None
        } else if FHIR_MOUNTS.iter().chain(&BY_TOKEN).any(below) {
            Some(&self.any)
        } else if below(&"/admin") {
            Some(&self.named)
        } else {
            None
        }
    }
}

/// Where apps go besides FHIR.
const BY_TOKEN: [&str; 4] = ["/auth/jwks.json", "/auth/revoke", "/auth/token", "/jobs"];

/// Lets the pages of other origins read the answer, where they may.
pub async fn answer(State(readers): State<Arc<Readers>>, request: Request, next: Next) -> Response {
    let Some(cors) = readers.of(request.uri().path()) else {
        return next.run(request).await;
    };
    let Ok(response) = cors.layer(next).oneshot(request).await;
    response
}

/// For routes that go by a token: any origin, and cookies for the named ones.
fn any_origin(app: &App) -> CorsLayer {
    let named = app.settings.allowed_origins.clone();
    shared()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_credentials(AllowCredentials::predicate(move |origin, _| {
            named.contains(origin)
        }))
}

/// For routes that go by a cookie: the named origins alone.
fn named_origins(app: &App) -> CorsLayer {
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

/// Refuses what another site's page makes the browser ask the admin API for: changes, and what
/// the page could not read anyway. A page of a named origin that may read asks in the mode `cors`.
pub async fn guard_changes(State(app): State<Shared>, request: Request, next: Next) -> Response {
    // Logging out by GET changes something too.
    let changes = is_change(request.method()) || request.uri().path().ends_with("/logout");
    let sender = Sender::of(request.headers(), &app);
    // A browser of today says from where it sends a cookie. What looks like one and does not is
    // too old to be protected; other clients, such as curl, have no pages that could mislead them.
    let unprotected = sender == Sender::Untold
        && (says_null(request.headers()) || is_silent_browser(request.headers()));
    let refused = changes && (sender == Sender::Foreign || unprotected);
    if refused || is_embedded(request.headers()) {
        let message = "This call came from a page of another site. Name its origin in the configuration if it may.";
        let problem = Problem::forbidden(message).remembered(Refused::unknown());
        return Admin(problem).into_response();
    }
    next.run(request).await
}

/// Refuses a form of a patient's page that another site's page sends. What comes with a token of
/// its own needs no cookie, so it may come from everywhere; and the forms carry a token of their
/// cookie besides, so a browser that does not say from where they come is not in the way.
pub async fn guard_forms(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let by_token = request.headers().contains_key(AUTHORIZATION);
    let foreign = Sender::of(request.headers(), &app) == Sender::Foreign;
    if is_change(request.method()) && !by_token && foreign {
        let message = "This form was sent by a page of another site. Please begin at the app or page you came from.";
        let problem = Problem::forbidden(message).remembered(Refused::unknown());
        return by_path(request.uri().path(), problem);
    }
    next.run(request).await
}

fn is_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whose page made the browser send a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// This server's, or one of a named origin; or the user did it by hand.
    Friend,
    /// Another site's.
    Foreign,
    /// Nothing is said: an old browser, or none.
    Untold,
}

impl Sender {
    fn of(headers: &HeaderMap, app: &App) -> Self {
        match headers.get(ORIGIN).filter(|_| !says_null(headers)) {
            Some(origin) => {
                let named = app.settings.allowed_origins.contains(origin);
                if named || is_own(origin, app.exports.links().base()) {
                    Self::Friend
                } else {
                    Self::Foreign
                }
            }
            // Our own pages say no origin: their policy is to tell nobody where they are. What
            // follows no page can make a browser say.
            None => match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
                Some(b"same-origin" | b"none") => Self::Friend,
                Some(_) => Self::Foreign,
                None => Self::Untold,
            },
        }
    }
}

/// Whether the sender hides its origin.
fn says_null(headers: &HeaderMap) -> bool {
    headers.get(ORIGIN).is_some_and(|origin| origin == "null")
}

/// Whether another site's page asks for it without being able to read it, as for a picture or a
/// script: the answer would be of use only to whoever measures it.
fn is_embedded(headers: &HeaderMap) -> bool {
    let says = |name, value| headers.get(name).is_some_and(|said| said == value);
    says("sec-fetch-site", "cross-site") && says("sec-fetch-mode", "no-cors")
}

/// Every browser's name begins so.
fn is_silent_browser(headers: &HeaderMap) -> bool {
    let name = headers.get(USER_AGENT).map(HeaderValue::as_bytes);
    headers.contains_key(COOKIE) && name.is_some_and(|name| name.starts_with(b"Mozilla/"))
}

fn is_own(origin: &HeaderValue, base: &str) -> bool {
    let own = url::Url::parse(base).map(|base| base.origin().ascii_serialization());
    own.is_ok_and(|own| origin.as_bytes() == own.as_bytes())
}
