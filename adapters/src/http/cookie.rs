//! The cookies of this server.

use std::time::Duration;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use ehi_core::auth::Secret;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::App;

/// One of the cookies: how it is named and guarded where this server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    name: &'static str,
    same_site: SameSite,
    transport: Transport,
}

/// Whether pages of other sites may make the browser send a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SameSite {
    /// Only by following a link.
    Lax,
    /// They may: an admin page on an origin that the configuration names.
    None,
}

/// How the cookie may travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// By TLS alone.
    Tls,
    /// As this server is reached: without TLS, on loopback.
    Any,
}

/// When the browser forgets a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forget {
    /// When it is closed.
    WithTheBrowser,
    /// At this instant.
    At(Timestamp),
    /// When so much time has passed.
    After(Duration),
}

impl Cookie {
    /// The cookie of a patient's browser. Over TLS its name makes browsers refuse one that another
    /// host or an unprotected page tries to plant (RFC 6265bis section 4.1.3.2).
    pub fn of_patient(app: &App) -> Self {
        Self::lax(app, "ehi_patient", "__Host-ehi_patient")
    }

    /// The cookie of a patient who is about to log in elsewhere.
    pub fn of_patient_attempt(app: &App) -> Self {
        Self::lax(app, "ehi_patient_login", "__Host-ehi_patient_login")
    }

    /// The cookie of a member of staff who is about to log in elsewhere.
    pub fn of_staff_attempt(app: &App) -> Self {
        Self::lax(app, "ehi_staff_login", "__Host-ehi_staff_login")
    }

    /// The cookie of a staff session.
    pub fn of_staff(app: &App) -> Self {
        let name = "sid";
        // Where other origins are named, their pages have to be able to use the cookie, and
        // browsers want such a cookie to be `Secure`.
        if app.settings.allowed_origins.is_empty() {
            Self::lax(app, name, name)
        } else {
            Self {
                name,
                same_site: SameSite::None,
                transport: Transport::Tls,
            }
        }
    }

    fn lax(app: &App, plain: &'static str, tls: &'static str) -> Self {
        Self::at(app.exports.links().base(), plain, tls)
    }

    /// The cookie of a server whose public URL is `base`.
    fn at(base: &str, plain: &'static str, tls: &'static str) -> Self {
        let (name, transport) = if base.starts_with("https:") {
            (tls, Transport::Tls)
        } else {
            (plain, Transport::Any)
        };
        Self {
            name,
            same_site: SameSite::Lax,
            transport,
        }
    }

    /// The one that the browser sent.
    pub fn read(self, headers: &HeaderMap) -> Option<Secret> {
        let sent = headers.get_all(COOKIE).into_iter();
        let cookies = sent
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'));
        let (_, value) = cookies
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find(|(key, _)| *key == self.name)?;
        Secret::presented(value)
    }

    /// A `Set-Cookie` that hands out a secret.
    pub fn set(self, secret: &Secret, forget: Forget) -> HeaderValue {
        let forget = match forget {
            Forget::WithTheBrowser => String::new(),
            Forget::At(at) => format!("; Expires={}", http_date(at)),
            Forget::After(time) => format!("; Max-Age={}", time.as_secs()),
        };
        self.header(secret.expose(), &forget)
    }

    /// A `Set-Cookie` that takes the cookie back; browsers want it to be as the cookie was.
    pub fn clear(self) -> HeaderValue {
        let past = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        self.header("", past)
    }

    fn header(self, value: &str, forget: &str) -> HeaderValue {
        let name = self.name;
        let site = match self.same_site {
            SameSite::None => "; SameSite=None",
            SameSite::Lax => "; SameSite=Lax",
        };
        let secure = match self.transport {
            Transport::Tls => "; Secure",
            Transport::Any => "",
        };
        let text = format!("{name}={value}; Path=/; HttpOnly{site}{secure}{forget}");
        // Secrets are base64url and dates are ASCII, so this is always a header.
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// An instant as HTTP headers write it (RFC 9110 section 5.6.7).
pub fn http_date(at: Timestamp) -> String {
    // Years beyond 9999 are the only ones that cannot be written.
    let printed = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at);
    printed.unwrap_or_else(|_| "Fri, 31 Dec 9999 23:59:59 GMT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(base: &str) -> Cookie {
        Cookie::at(base, "a", "__Host-a")
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("b=1; a=abc; ab=2"));
        headers.append(COOKIE, HeaderValue::from_static("c=2"));
        let found = at("http://127.0.0.1").read(&headers).unwrap();
        assert_eq!(found.expose(), "abc");
        // What could have been planted without TLS is not the cookie of a server with TLS.
        assert!(at("https://ehi.example").read(&headers).is_none());
    }

    #[test]
    fn scripts_and_other_sites_do_not_get_the_cookie() {
        let secret = Secret::presented("s").unwrap();
        let epoch = Forget::At(Timestamp::from_second(0).unwrap());
        let set = |cookie: Cookie| cookie.set(&secret, epoch).to_str().unwrap().to_owned();
        assert_eq!(
            set(at("http://127.0.0.1")),
            "a=s; Path=/; HttpOnly; SameSite=Lax; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
        assert_eq!(
            set(at("https://ehi.example")),
            "__Host-a=s; Path=/; HttpOnly; SameSite=Lax; Secure; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
        let cleared = at("https://ehi.example").clear();
        let cleared = cleared.to_str().unwrap();
        assert!(cleared.starts_with("__Host-a=; Path=/;") && cleared.contains("Max-Age=0"));
        assert!(cleared.contains("Secure"), "{cleared}");
        let brief = at("http://127.0.0.1").set(&secret, Forget::After(Duration::from_secs(9)));
        assert!(brief.to_str().unwrap().ends_with("; Max-Age=9"));
    }
}
