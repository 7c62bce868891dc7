//! The two cookies of this server.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use ehi_core::auth::Secret;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// The cookie of a patient's browser.
pub const PATIENT_COOKIE: &str = "ehi_patient";

/// The cookie of a staff session.
pub const STAFF_COOKIE: &str = "sid";

/// Whether pages of other sites may make the browser send a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Only by following a link.
    Lax,
    /// They may: an admin page on an origin that the configuration names. Browsers want such a
    /// cookie to be `Secure`.
    None,
}

/// The cookie of this name that the browser sent.
pub fn read(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let sent = headers.get_all(COOKIE).into_iter();
    let cookies = sent
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let (_, value) = cookies
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(key, _)| *key == name)?;
    Secret::presented(value)
}

/// A `Set-Cookie` that hands out a secret. `base` is the server's public URL: over TLS the cookie
/// stays on TLS.
pub fn set(
    name: &str,
    secret: &Secret,
    base: &str,
    same_site: SameSite,
    expires: Option<Timestamp>,
) -> HeaderValue {
    let expires = expires
        .map(|at| format!("; Expires={}", http_date(at)))
        .unwrap_or_default();
    let site = match same_site {
        SameSite::None => "; SameSite=None; Secure",
        SameSite::Lax if base.starts_with("https:") => "; SameSite=Lax; Secure",
        SameSite::Lax => "; SameSite=Lax",
    };
    value(&format!(
        "{name}={}; Path=/; HttpOnly{site}{expires}",
        secret.expose()
    ))
}

/// A `Set-Cookie` that takes a cookie back; browsers want it to be as the cookie was.
pub fn clear(name: &str, same_site: SameSite) -> HeaderValue {
    let site = match same_site {
        SameSite::None => "; SameSite=None; Secure",
        SameSite::Lax => "; SameSite=Lax",
    };
    value(&format!(
        "{name}=; Path=/; HttpOnly{site}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    ))
}

/// An instant as HTTP headers write it (RFC 9110 section 5.6.7).
pub fn http_date(at: Timestamp) -> String {
    // Years beyond 9999 are the only ones that cannot be written.
    let printed = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at);
    printed.unwrap_or_else(|_| "Fri, 31 Dec 9999 23:59:59 GMT".to_owned())
}

fn value(text: &str) -> HeaderValue {
    // Secrets are base64url and dates are ASCII, so this is always a header.
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; sid=abc; sidx=2"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        assert_eq!(read(&headers, "sid").unwrap().expose(), "abc");
        assert_eq!(read(&headers, "b").unwrap().expose(), "2");
        assert!(read(&headers, "c").is_none());
    }

    #[test]
    fn scripts_and_other_sites_do_not_get_the_cookie() {
        let secret = Secret::presented("s").unwrap();
        let at = Timestamp::from_second(0).unwrap();
        let over = |base, site| {
            set("sid", &secret, base, site, Some(at))
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            over("http://127.0.0.1", SameSite::Lax),
            "sid=s; Path=/; HttpOnly; SameSite=Lax; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
        assert!(over("https://ehi.example", SameSite::Lax).contains("; Secure"));
        assert!(over("http://127.0.0.1", SameSite::None).contains("SameSite=None; Secure"));
        assert!(
            clear("sid", SameSite::None)
                .to_str()
                .unwrap()
                .contains("Max-Age=0")
        );
    }
}
