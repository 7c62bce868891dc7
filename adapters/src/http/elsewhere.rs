//! Sending a browser elsewhere to log in, and taking it back.

use std::time::Duration;

use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use ehi_core::auth::LoginAttempt;
use ehi_core::ports::{Brings, LoginReturn, Proof};
use url::Url;

use super::cookie::{Cookie, Forget};
use super::extract::Query;
use super::smart::redirect;

/// Within this time people have to come back: time to find a forgotten password.
const PATIENCE: Duration = Duration::from_mins(30);

/// The parameter by which a link asks for another person than the one who is logged in there.
pub const FRESH: &str = "login=fresh";

/// What a query asks for, and what is left of it.
pub fn wanted(query: &str) -> (Proof, &str) {
    match query.strip_prefix(FRESH) {
        Some("") => (Proof::Fresh, ""),
        Some(rest) => match rest.strip_prefix('&') {
            Some(rest) => (Proof::Fresh, rest),
            None => (Proof::Any, query),
        },
        None => (Proof::Any, query),
    }
}

/// Sends the browser there. The cookie ties what comes back to this browser and this attempt.
pub fn leave(cookie: Cookie, attempt: &LoginAttempt, to: &Url) -> Response {
    let mut response = redirect(to.as_str());
    let keep = cookie.set(attempt.cookie(), Forget::After(PATIENCE));
    response.headers_mut().append(SET_COOKIE, keep);
    response
}

/// What a browser comes back with. `None` when it is not the one that left, when it was back
/// before, or when it brings nothing.
pub fn back(cookie: Cookie, headers: &HeaderMap, query: &Query) -> Option<LoginReturn> {
    let attempt = LoginAttempt::resume(cookie.read(headers)?, query.get("state")?)?;
    let brings = match (query.get("code"), query.get("error")) {
        (Some(code), None) => Brings::Code(code.to_owned().into()),
        (None, Some(error)) => Brings::Error(error.to_owned()),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    Some(LoginReturn {
        attempt,
        issuer: query.get("iss").map(str::to_owned),
        brings,
    })
}

/// Takes the cookie of an attempt back: nobody comes back twice.
pub fn used_up(cookie: Cookie, mut response: Response) -> Response {
    let cleared: HeaderValue = cookie.clear();
    response.headers_mut().append(SET_COOKIE, cleared);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_another_person_is_told_apart_from_the_destination() {
        for (query, proof, rest) in [
            ("", Proof::Any, ""),
            ("login=fresh", Proof::Fresh, ""),
            ("login=fresh&job=1", Proof::Fresh, "job=1"),
            ("job=1&login=fresh", Proof::Any, "job=1&login=fresh"),
            ("login=freshly", Proof::Any, "login=freshly"),
        ] {
            assert_eq!(wanted(query), (proof, rest), "{query}");
        }
    }
}
