//! The pages people see: rendered here, readable without JavaScript, nothing loaded from
//! elsewhere.

mod disclosures;
mod documentation;
mod form;
mod login;

use askama::Template;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ehi_core::auth::{Client, Secret, csrf_token};
use url::{Host, Url};

use super::extract::Query;
use super::headers::CROSS_ORIGIN_OPENER_POLICY;

pub use disclosures::disclosures;
pub use documentation::documentation;
pub use form::{choices_from_form, form};
pub use login::{consent, decide, log_in, log_out, login, returned};

/// The form field that carries the token of the cookie.
pub const CSRF_FIELD: &str = "_csrf";

/// Renders a page. Its forms may be sent to this server, and from there on to `beyond`.
pub fn render(template: &impl Template, beyond: Option<&Url>) -> Response {
    let html = match template.render() {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a page could not be rendered"
            );
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    // Browsers check form-action against where a form's answer redirects to as well.
    let beyond = beyond.map(policy_source).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'{beyond}"
    );
    let mut response = ([(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, policy);
    }
    // An app may show these pages in a window that it opened, and wait there for the patient to
    // come back. They cannot be framed, and hold nothing that an opener could read.
    response.headers_mut().insert(
        CROSS_ORIGIN_OPENER_POLICY,
        HeaderValue::from_static("unsafe-none"),
    );
    response
}

/// How a policy names where this URL leads. It has no words for addresses of apps
/// (`com.example.app:`) and for IPv6, so for those their scheme has to do.
fn policy_source(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(_) | Host::Ipv4(_)) => {
            format!(" {}", url.origin().ascii_serialization())
        }
        Some(Host::Ipv6(_)) | None => format!(" {}:", url.scheme()),
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    message: &'a str,
    again: Option<&'a str>,
}

/// A page that says what went wrong, and where to try again. The caller sets the status.
pub fn error_page(message: &str, again: Option<&str>) -> Response {
    render(&ErrorPage { message, again }, None)
}

#[derive(Template)]
#[template(path = "done.html")]
struct DonePage<'a> {
    app: Option<&'a str>,
    return_url: Option<&'a str>,
    csrf_field: &'static str,
    csrf: String,
}

/// The way back to the app, once the form was sent.
pub struct Back<'q> {
    /// Where to.
    pub url: Url,
    /// The same as the app asked for it, if it did.
    pub asked: Option<&'q str>,
}

impl<'q> Back<'q> {
    /// What the app asks for, where that is one of its addresses; otherwise the one it registered
    /// for all of its patients, if it did. Nothing else that is asked for counts.
    pub fn of(client: Option<&Client>, query: &'q Query) -> Option<Self> {
        let client = client?;
        let asked = query.get("redirect").and_then(|asked| {
            let url = client.return_url(asked)?;
            let asked = Some(asked);
            Some(Self { url, asked })
        });
        asked.or_else(|| {
            let (url, asked) = (client.usual_return_url()?, None);
            Some(Self { url, asked })
        })
    }
}

/// The page that says the choices were sent.
pub fn done(client: Option<&Client>, cookie: &Secret, back: Option<&Back<'_>>) -> Response {
    let page = DonePage {
        csrf_field: CSRF_FIELD,
        csrf: csrf_token(cookie),
        app: client.map(|client| client.name.as_str()),
        return_url: back.map(|back| back.url.as_str()),
    };
    render(&page, None)
}

/// `GET /assets/ehi.css`
pub async fn stylesheet() -> Response {
    asset(
        "text/css; charset=utf-8",
        include_str!("../../../assets/ehi.css"),
    )
}

/// `GET /assets/icon.svg`
pub async fn icon() -> Response {
    asset("image/svg+xml", include_str!("../../../assets/icon.svg"))
}

fn asset(content_type: &'static str, content: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_lets_a_form_lead_to_every_kind_of_app() {
        for (url, source) in [
            ("https://app.example/cb?x=1", " https://app.example"),
            ("http://127.0.0.1:3000/cb", " http://127.0.0.1:3000"),
            ("http://[::1]:9/cb", " http:"),
            ("com.example.app:/cb", " com.example.app:"),
        ] {
            assert_eq!(policy_source(&Url::parse(url).unwrap()), source);
        }
    }
}
