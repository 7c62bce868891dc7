//! Bearer tokens, cookies, ids and bodies, read into types before a handler sees them.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::{self, FromRequest, FromRequestParts, RawQuery, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use ehi_core::auth::{Access, PatientSession, Secret, SessionError, TokenError, is_csrf_token};
use ehi_core::export::JobId;
use ehi_core::fhir::IssueCode;
use ehi_core::ports::{Origin, RequestId};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cookie::Cookie;
use super::error::{Fhir, Page, Problem, by_path};
use super::pages::CSRF_FIELD;
use super::refusals::Refused;
use super::{App, Shared};

/// The header by which the log names a request.
pub const X_REQUEST_ID: &str = "x-request-id";

/// What the bearer token of the request opens.
pub struct Bearer(pub Access);

impl FromRequestParts<Shared> for Bearer {
    type Rejection = Fhir;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Fhir> {
        let Ok(CameFrom(origin)) = CameFrom::from_request_parts(parts, app).await;
        let token = bearer_token(&parts.headers).ok_or_else(|| {
            Problem::unauthorized("Send an access token: Authorization: Bearer …")
        })?;
        match app.authorization.recognise(token, &origin).await {
            Ok(access) => Ok(Self(access)),
            Err(error @ TokenError::Unavailable(_)) => Err(error.into()),
            Err(error) => {
                let holder = app.authorization.holder(token).await;
                let refused = holder.map_or_else(Refused::unknown, Refused::with_token);
                Err(Problem::from(error).remembered(refused).into())
            }
        }
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let alone = values.next().is_none();
    (alone && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}

/// The parts of the path that the route names. Bytes that are no text name nothing that is there.
pub struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match extract::Path::from_request_parts(parts, state).await {
            Ok(extract::Path(named)) => Ok(Self(named)),
            Err(_) => Err(by_path(parts.uri.path(), Problem::not_found())),
        }
    }
}

/// The id of the job in the path. What can be no id is a job that is not there.
pub struct Job(pub JobId);

impl FromRequestParts<Shared> for Job {
    type Rejection = Fhir;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Fhir> {
        let segments = extract::Path::<Vec<(String, String)>>::from_request_parts(parts, app).await;
        let id = segments.ok().and_then(|extract::Path(segments)| {
            let (_, id) = segments.into_iter().find(|(name, _)| name == "job")?;
            JobId::parse(&id)
        });
        Ok(Self(id.ok_or_else(Problem::not_found)?))
    }
}

/// The query, decoded into pairs.
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// The pairs of a query as text.
    pub fn parse(text: &str) -> Self {
        Self(decode(text.as_bytes()).collect())
    }

    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        (self.0.iter())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The pairs.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(&self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let RawQuery(query) = RawQuery::from_request_parts(parts, state).await?;
        Ok(Self(decode(query.unwrap_or_default().as_bytes()).collect()))
    }
}

/// Fields of a form that is sent. Ours have some fifty.
const FIELDS: usize = 1_000;

fn decode(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    url::form_urlencoded::parse(text).into_owned()
}

/// Borrowed pairs.
pub fn pairs(pairs: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
}

/// The body of a request, by its content type.
pub enum Payload {
    /// Nothing.
    Empty,
    /// `application/json` or `application/fhir+json`.
    Json(Value),
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, String)>),
}

impl<S: Send + Sync> FromRequest<S> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = media_type(request.headers());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    let message = "The body is too large.";
                    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooLong, message)
                } else {
                    Problem::invalid("The body could not be read to its end.")
                }
            })?;
        if bytes.is_empty() {
            return Ok(Self::Empty);
        }
        match content_type.as_deref() {
            Some("application/json" | "application/fhir+json") => {
                Ok(Self::Json(read_json(&bytes)?))
            }
            Some("application/x-www-form-urlencoded") => {
                if decode(&bytes).nth(FIELDS).is_some() {
                    let message = format!("The form has more than {FIELDS} fields.");
                    return Err(Problem::invalid(message));
                }
                Ok(Self::Form(decode(&bytes).collect()))
            }
            _ => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                IssueCode::NotSupported,
                "Send the body as application/json or application/x-www-form-urlencoded, and say so in Content-Type.",
            )),
        }
    }
}

/// JSON, whether or not a byte order mark stands before it (RFC 8259 section 8.1).
fn read_json(bytes: &[u8]) -> Result<Value, Problem> {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = format!("The body is not valid JSON (line {line}, column {column}).");
        Problem::invalid(message)
    })
}

/// The media type of a body, without parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

/// From where a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// From where a request came, and how the log names it.
pub struct CameFrom(pub Origin);

impl<S: Sync> FromRequestParts<S> for CameFrom {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts.headers.get(X_REQUEST_ID);
        let id = id.and_then(|id| id.to_str().ok());
        let address = parts.extensions.get::<ClientAddress>();
        Ok(Self(Origin {
            address: address.map(|&ClientAddress(address)| address),
            request: id.and_then(RequestId::parse),
        }))
    }
}

/// The cookie of the patient's browser, whether or not somebody is logged in.
pub struct PatientCookie {
    /// The cookie.
    pub secret: Option<Secret>,
    /// From where it came.
    pub origin: Origin,
}

impl FromRequestParts<Shared> for PatientCookie {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Infallible> {
        let CameFrom(origin) = CameFrom::from_request_parts(parts, app).await?;
        Ok(Self {
            secret: Cookie::of_patient(app).read(&parts.headers),
            origin,
        })
    }
}

impl PatientCookie {
    /// The cookie, where the form carries its token.
    pub fn guarded(&self, token: Option<&str>) -> Result<&Secret, Problem> {
        let cookie = self.any()?;
        match token {
            Some(token) if is_csrf_token(cookie, token) => Ok(cookie),
            _ => Err(unguarded()),
        }
    }

    /// The cookie, where a form comes with one.
    pub fn any(&self) -> Result<&Secret, Problem> {
        self.secret.as_ref().ok_or_else(unguarded)
    }

    /// Who is logged in; `None` when nobody is.
    pub async fn session(&self, app: &App) -> Result<Option<PatientSession>, Problem> {
        let Some(cookie) = &self.secret else {
            return Ok(None);
        };
        match app.patients.recognise(cookie, &self.origin).await {
            Ok(session) => Ok(Some(session)),
            Err(SessionError::None) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn unguarded() -> Problem {
    Problem::forbidden(
        "This form is too old or was not made by this server. Please go back, load the page again and repeat. Cookies have to be allowed.",
    )
    .remembered(Refused::unknown())
}

/// A form of a patient's page, with the token of the cookie it was made for. From a browser
/// without a cookie, nothing of it is read.
pub struct PatientForm {
    /// The cookie that came with it.
    pub cookie: PatientCookie,
    /// The fields.
    pub fields: Vec<(String, String)>,
}

impl FromRequest<Shared> for PatientForm {
    type Rejection = Page;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Page> {
        let (mut parts, body) = request.into_parts();
        let Ok(cookie) = PatientCookie::from_request_parts(&mut parts, app).await;
        cookie.any()?;
        let payload = Payload::from_request(Request::from_parts(parts, body), app).await?;
        let Payload::Form(fields) = payload else {
            return Err(Problem::invalid("Please send the form of the page.").into());
        };
        cookie.guarded(field(&fields, CSRF_FIELD))?;
        Ok(Self { cookie, fields })
    }
}

/// The value of a form field.
pub fn field<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use serde_json::json;

    #[test]
    fn a_byte_order_mark_before_json_is_passed_over() {
        assert_eq!(read_json("\u{FEFF}{}".as_bytes()).unwrap(), json!({}));
        for wrong in ["\u{FEFF}", "\u{FEFF}\u{FEFF}{}", "{}\u{FEFF}"] {
            assert!(read_json(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_bearer_token_comes_alone_and_by_its_scheme() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer_token(&headers).map(str::to_owned)
        };
        assert_eq!(read(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(read(&["bearer  abc"]).as_deref(), Some("abc"));
        for none in [
            &[][..],
            &["Basic abc"],
            &["Bearer"],
            &["abc"],
            &["Bearer a", "Bearer b"],
        ] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }
}
