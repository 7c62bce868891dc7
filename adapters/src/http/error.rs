//! How failures are told: as OperationOutcome, as JSON of OAuth or of the admin API, or as a page.

use std::time::Duration;

use axum::Json;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ehi_core::auth::{
    DestinationTooLong, NotAdmin, OAuthError, OAuthErrorCode, SessionError, TokenError,
};
use ehi_core::export::{AttachError, Crowd, InvalidChoices, Status, UseCaseError};
use ehi_core::fhir::{IssueCode, OperationOutcome};
use ehi_core::ports::StoreError;

use super::refusals::Refused;
use super::{pages, smart};

/// The media type of FHIR in JSON.
pub const FHIR_JSON: &str = "application/fhir+json";

/// A request that failed: what a client is told, whatever the shape.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: IssueCode,
    message: String,
    /// When it may be tried again.
    retry: Option<Duration>,
    /// Where a person can try again.
    again: Option<String>,
    /// What is wrong with the access token that came along.
    token: Option<BadToken>,
    /// Who was refused, where the audit log is to remember it.
    refused: Option<Box<Refused>>,
}

/// What is wrong with an access token (RFC 6750 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BadToken {
    /// It opens nothing (any more).
    Invalid,
    /// It opens something else.
    Scope,
}

impl BadToken {
    /// As it is told in `WWW-Authenticate`.
    fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Invalid => "Bearer error=\"invalid_token\"",
            Self::Scope => "Bearer error=\"insufficient_scope\"",
        })
    }
}

impl Problem {
    pub fn new(status: StatusCode, code: IssueCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry: None,
            again: None,
            token: None,
            refused: None,
        }
    }

    /// The same, to be remembered.
    pub fn remembered(self, refused: Refused) -> Self {
        let refused = Some(Box::new(refused));
        Self { refused, ..self }
    }

    /// The same, with a link for people who want to try again.
    pub fn again(self, href: impl Into<String>) -> Self {
        let again = Some(href.into());
        Self { again, ..self }
    }

    /// A browser came back from a login that this browser did not begin, or that is over.
    pub fn lost_login() -> Self {
        Self::invalid(
            "This login was begun in another browser or window, took too long, or was used already. Please start again. Cookies have to be allowed.",
        )
    }

    /// The request makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, IssueCode::Invalid, message)
    }

    /// There is no such thing, or it is somebody else's.
    pub fn not_found() -> Self {
        let message = "There is nothing here (any more). Check the address; exports are removed some time after they are done.";
        Self::new(StatusCode::NOT_FOUND, IssueCode::NotFound, message)
    }

    /// Nobody is logged in.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, IssueCode::Login, message)
    }

    /// Whoever asks may not.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, message)
    }

    /// Whoever asks came too often.
    pub fn too_often(wait: Duration) -> Self {
        let seconds = whole_seconds(wait);
        let message = format!("That was too often. Please wait {seconds} s and try again.");
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self {
            retry: Some(wait),
            ..Self::new(status, IssueCode::Throttled, message)
        }
    }

    /// There are as many open exports as there may be.
    fn too_many_open(whose: Crowd, limit: u64) -> Self {
        let whose = match whose {
            Crowd::Patient => "of this record by this app or system",
            Crowd::Client => "of this app or system",
        };
        let message = format!(
            "There are {limit} exports {whose} under way already, and no more are taken. \
             Fill in a form that is still open, delete an export that is not needed any more \
             (DELETE at its status URL), or wait until one is reviewed; then try again."
        );
        let status = StatusCode::TOO_MANY_REQUESTS;
        // It is people who fill in forms and review: there is no use in looking more often.
        Self {
            retry: Some(Duration::from_mins(10)),
            ..Self::new(status, IssueCode::Throttled, message)
        }
    }

    /// The header that says when to come again.
    pub fn retry_after(wait: Duration) -> (HeaderName, HeaderValue) {
        (RETRY_AFTER, HeaderValue::from(whole_seconds(wait)))
    }

    /// Something below does not answer. The operator reads the cause; the client does not.
    fn unavailable(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = cause, "a request failed");
        let message = "The server cannot answer right now. Please try again in a moment.";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self {
            retry: Some(Duration::from_secs(5)),
            ..Self::new(status, IssueCode::Transient, message)
        }
    }

    /// There is no room for files. The operator reads the cause; the client does not.
    fn full(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = cause, "there is no room left for files");
        let message = "The server has no room left for files, and stored nothing. Please ask whoever runs it to make some, then try again.";
        let status = StatusCode::INSUFFICIENT_STORAGE;
        Self::new(status, IssueCode::NoStore, message)
    }

    /// The state of a job stands in the way.
    fn state(status: StatusCode, job: Status) -> Self {
        let message = match job {
            Status::AwaitingInput => "The export waits for the patient's choices.",
            Status::Requested => "The export is being made. Wait until it is retrieved.",
            Status::Retrieved => "The export waits for review.",
            Status::Approved => "The export is released already.",
            Status::Rejected => "The release of the export was declined.",
            Status::Failed => "The export failed. Start another one.",
        };
        Self::new(status, IssueCode::Conflict, message)
    }

    fn outcome(&self) -> OperationOutcome {
        OperationOutcome::error(self.code, self.message.as_str())
    }

    fn with_headers(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        if let Some(wait) = self.retry {
            let (name, value) = Self::retry_after(wait);
            response.headers_mut().insert(name, value);
        }
        if let Some(refused) = &self.refused {
            response.extensions_mut().insert(Refused::clone(refused));
        }
        response
    }
}

impl From<UseCaseError> for Problem {
    fn from(error: UseCaseError) -> Self {
        match error {
            UseCaseError::NotFound => Self::not_found(),
            UseCaseError::Forbidden(message) => Self::forbidden(message),
            UseCaseError::NotApplicable(state) => Self::state(StatusCode::CONFLICT, state.0),
            UseCaseError::Full(cause) => Self::full(&*cause),
            UseCaseError::TooManyOpen { whose, limit } => Self::too_many_open(whose, limit),
            UseCaseError::Unavailable(cause) => Self::unavailable(&*cause),
        }
    }
}

/// The same failure, where the contract wants 400 rather than 409 for a job in another state.
pub fn bad_state(error: UseCaseError) -> Problem {
    match error {
        UseCaseError::NotApplicable(state) => Problem::state(StatusCode::BAD_REQUEST, state.0),
        other => other.into(),
    }
}

impl From<AttachError> for Problem {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::UseCase(error) => bad_state(error),
            AttachError::TooMany(_) | AttachError::TooLarge(_) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                IssueCode::TooLong,
                sentence(&error),
            ),
            AttachError::Name(_) | AttachError::Empty => Self::invalid(sentence(&error)),
        }
    }
}

impl From<InvalidChoices> for Problem {
    fn from(error: InvalidChoices) -> Self {
        let what = match error.pointer.as_str() {
            "" => "The body",
            pointer => pointer,
        };
        Self::invalid(format!("{what} {}.", error.message))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::unavailable(&error)
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::None => Self::unauthorized("Please log in first."),
            SessionError::Refused => Self::unauthorized("The login was refused."),
            SessionError::TooMany(wait) => Self::too_often(wait),
            SessionError::Stranger => {
                Self::forbidden("Your login worked, but nobody is known here by it.")
            }
            SessionError::Unavailable(cause) => Self::unavailable(&*cause),
        }
    }
}

impl From<NotAdmin> for Problem {
    fn from(error: NotAdmin) -> Self {
        Self::forbidden(sentence(&error))
    }
}

impl From<DestinationTooLong> for Problem {
    fn from(_: DestinationTooLong) -> Self {
        Self::invalid("This address is too long to log in by. Please go back and start again.")
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid => Self {
                token: Some(BadToken::Invalid),
                ..Self::unauthorized(sentence(&error))
            },
            TokenError::Scope => Self {
                token: Some(BadToken::Scope),
                ..Self::forbidden(sentence(&error))
            },
            TokenError::Unavailable(cause) => Self::unavailable(&*cause),
        }
    }
}

/// Seconds to wait, rounded up: who comes back then is not sent away again.
fn whole_seconds(wait: Duration) -> u64 {
    let more = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(more).max(1)
}

/// An error's message as a sentence.
fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    let dot = if text.ends_with('.') { "" } else { "." };
    first
        .into_iter()
        .flatten()
        .chain(chars)
        .chain(dot.chars())
        .collect()
}

/// Where nobody chose another shape, a failure is an OperationOutcome.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Fhir(self).into_response()
    }
}

/// A failure told as OperationOutcome.
#[derive(Debug)]
pub struct Fhir(pub Problem);

/// A failure told as `{"error": …}`, and beside it as OperationOutcome.
#[derive(Debug)]
pub struct Admin(pub Problem);

/// A failure told as `{"error": code, "error_description": …}` (RFC 6749 section 5.2).
#[derive(Debug)]
pub struct OAuth(pub Problem);

/// A failure told as a page.
#[derive(Debug)]
pub struct Page(pub Problem);

macro_rules! told_as {
    ($($shape:ident)*) => {$(
        impl<E: Into<Problem>> From<E> for $shape {
            fn from(error: E) -> Self {
                Self(error.into())
            }
        }
    )*};
}

told_as!(Fhir Admin OAuth Page);

impl IntoResponse for Fhir {
    fn into_response(self) -> Response {
        let mut response = outcome_response(self.0.status, &self.0.outcome());
        let challenge = match self.0.token {
            Some(bad) => Some(bad.challenge()),
            None => (self.0.status == StatusCode::UNAUTHORIZED)
                .then(|| HeaderValue::from_static("Bearer")),
        };
        if let Some(challenge) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        self.0.with_headers(response)
    }
}

impl IntoResponse for Admin {
    fn into_response(self) -> Response {
        let mut told = self.0.outcome().to_json();
        told["error"] = self.0.message.as_str().into();
        self.0.with_headers(Json(told).into_response())
    }
}

impl IntoResponse for OAuth {
    fn into_response(self) -> Response {
        let passes = self.0.status.is_server_error() || self.0.retry.is_some();
        let code = if passes {
            OAuthErrorCode::TemporarilyUnavailable
        } else {
            OAuthErrorCode::InvalidRequest
        };
        let error = OAuthError::new(code, self.0.message.as_str());
        self.0.with_headers(smart::oauth_error(&error))
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let page = pages::error_page(&self.0.message, self.0.again.as_deref());
        self.0.with_headers(page)
    }
}

/// An OperationOutcome as a response.
pub fn outcome_response(status: StatusCode, outcome: &OperationOutcome) -> Response {
    let content_type = [(CONTENT_TYPE, FHIR_JSON)];
    (status, content_type, outcome.to_json().to_string()).into_response()
}

/// Where people look.
const PAGES: [&str; 7] = [
    "/patient-login",
    "/patient-login/callback",
    "/patient-logout",
    "/authorize-app",
    "/documentation",
    "/admin/login/start",
    "/admin/login/callback",
];

/// Whether people look at what is there.
pub fn is_page(path: &str) -> bool {
    PAGES.contains(&path) || (path.starts_with("/jobs/") && path.ends_with("/customize"))
}

/// A failure in the shape that suits its path.
pub fn by_path(path: &str, problem: Problem) -> Response {
    if is_page(path) {
        Page(problem).into_response()
    } else if path.starts_with("/auth/") {
        OAuth(problem).into_response()
    } else if path.starts_with("/admin") {
        Admin(problem).into_response()
    } else {
        Fhir(problem).into_response()
    }
}

/// What is not there.
pub async fn unknown_route(uri: axum::http::Uri) -> Response {
    by_path(uri.path(), Problem::not_found())
}

/// What is there under another method.
pub async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Response {
    let message = format!("{method} does not apply here. See the Allow header for what does.");
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        IssueCode::NotSupported,
        message,
    );
    let mut response = by_path(uri.path(), problem);
    // axum adds the methods of the route to the empty value.
    response.headers_mut().remove(ALLOW);
    response
}

/// A handler that panicked. The panic is in the log; the client learns nothing of it.
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let message = "Something went wrong on our side. Please try again.";
    Fhir(Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        IssueCode::Exception,
        message,
    ))
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_no_admin_is_told_that_admins_may() {
        let response = Admin::from(NotAdmin).into_response();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(Problem::from(NotAdmin).message, "Only admins may do this.");
    }

    #[test]
    fn a_token_that_opens_nothing_is_told_apart_from_one_for_something_else_and_from_none() {
        let challenge = |problem: Problem| {
            let response = Fhir(problem).into_response();
            let status = response.status().as_u16();
            let told = response.headers().get(WWW_AUTHENTICATE);
            (status, told.map(|told| told.to_str().unwrap().to_owned()))
        };
        for (problem, status, told) in [
            (Problem::unauthorized("x"), 401, Some("Bearer")),
            (
                TokenError::Invalid.into(),
                401,
                Some("Bearer error=\"invalid_token\""),
            ),
            (
                TokenError::Scope.into(),
                403,
                Some("Bearer error=\"insufficient_scope\""),
            ),
            (Problem::forbidden("x"), 403, None),
        ] {
            assert_eq!(challenge(problem), (status, told.map(str::to_owned)));
        }
    }

    #[test]
    fn below_auth_a_failure_is_one_of_oauth_and_says_once_when_to_come_again() {
        let wait = Duration::from_secs(7);
        let response = by_path("/auth/revoke", Problem::too_often(wait));
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let told = response.headers().get_all(RETRY_AFTER).iter();
        assert_eq!(told.collect::<Vec<_>>(), ["7"]);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    }

    #[test]
    fn pages_that_staff_see_are_pages() {
        let shape = |path| {
            let response = by_path(path, Problem::not_found());
            response.headers()[CONTENT_TYPE]
                .to_str()
                .unwrap()
                .to_owned()
        };
        for path in ["/admin/login/start", "/admin/login/callback"] {
            assert!(shape(path).starts_with("text/html"), "{path}");
        }
        assert_eq!(shape("/admin/login"), "application/json");
    }
}
