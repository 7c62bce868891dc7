//! Headers that every response carries.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::Response;

use super::{Shared, StrictTransport};

/// Nothing may be loaded, framed or run, unless a page says otherwise.
const CLOSED: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Who may keep a window that shows a page (HTML standard, section 7.1.3).
pub const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");

/// What every response says, unless it says something else itself.
const DEFAULTS: [(HeaderName, &str); 8] = [
    (CONTENT_SECURITY_POLICY, CLOSED),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
    // Apps of other origins ask by CORS, which this does not touch.
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Adds what is missing.
pub async fn complete(State(app): State<Shared>, mut response: Response) -> Response {
    let https = app.exports.links().base().starts_with("https:");
    let headers = response.headers_mut();
    for (name, value) in DEFAULTS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if https && app.settings.strict_transport == StrictTransport::On {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(STRICT_TRANSPORT_SECURITY, year);
    }
    response
}
