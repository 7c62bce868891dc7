//! The pages on which a patient logs in and lets an app in.

use askama::Template;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use ehi_core::auth::{
    AuthorizationError, AuthorizationRequest, Scope, Secret, SessionError, csrf_token,
};
use ehi_core::export::JobId;
use ehi_core::fhir::PatientId;
use ehi_core::ports::{Credentials, LoginPrompt, PatientAnswer, PatientSummary};

use super::super::cookie::{self, PATIENT_COOKIE, SameSite};
use super::super::error::{Page, Problem};
use super::super::extract::{PatientCookie, Payload, Query, field};
use super::super::smart::redirect;
use super::super::{App, Shared};
use super::{CSRF_FIELD, render};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    query: &'a str,
    csrf_field: &'static str,
    csrf: String,
    refused: bool,
    patients: Option<Vec<PatientSummary>>,
}

#[derive(Template)]
#[template(path = "welcome.html")]
struct WelcomePage {}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage<'a> {
    app: &'a str,
    patient: &'a PatientSummary,
    query: &'a str,
    csrf_field: &'static str,
    csrf: String,
    stays: bool,
}

/// Where a patient was going when the login came in between.
#[derive(Debug, PartialEq, Eq)]
enum Destination {
    /// To let an app in.
    Consent,
    /// To the form of a job.
    Form(JobId),
    /// Nowhere.
    Nowhere,
}

impl Destination {
    fn of(query: &Query) -> Self {
        match query.get("job").and_then(JobId::parse) {
            Some(job) => Self::Form(job),
            None if query.get("client_id").is_some() => Self::Consent,
            None => Self::Nowhere,
        }
    }

    fn url(&self, query: &str) -> String {
        match self {
            Self::Consent => format!("/authorize-app?{query}"),
            Self::Form(job) => format!("/jobs/{job}/customize?{query}"),
            Self::Nowhere => "/patient-login".to_owned(),
        }
    }
}

/// `GET /patient-login`
pub async fn login(
    State(app): State<Shared>,
    cookie: PatientCookie,
    query: Query,
    uri: Uri,
) -> Result<Response, Page> {
    if Destination::of(&query) == Destination::Nowhere && cookie.session(&app).await?.is_some() {
        return Ok(render(&WelcomePage {}, None));
    }
    login_page(&app, cookie, uri.query().unwrap_or_default(), None).await
}

/// The login page. `refused` is the status when an answer was wrong.
async fn login_page(
    app: &App,
    cookie: PatientCookie,
    query: &str,
    refused: Option<StatusCode>,
) -> Result<Response, Page> {
    // Before the login, the cookie only ties the form to this browser.
    let fresh = cookie.secret.is_none();
    let secret = cookie.secret.unwrap_or_else(|| app.patients.new_secret());
    let patients = match app.patients.prompt().await? {
        LoginPrompt::Pick(patients) => Some(patients),
        LoginPrompt::Password => None,
    };
    let page = LoginPage {
        query,
        csrf_field: CSRF_FIELD,
        csrf: csrf_token(&secret),
        refused: refused.is_some(),
        patients,
    };
    let mut response = render(&page, None);
    if let Some(status) = refused {
        *response.status_mut() = status;
    }
    if fresh {
        set_cookie(&mut response, app, &secret);
    }
    Ok(response)
}

/// `POST /patient-login`
pub async fn log_in(
    State(app): State<Shared>,
    cookie: PatientCookie,
    query: Query,
    uri: Uri,
    payload: Result<Payload, Problem>,
) -> Result<Response, Page> {
    let form = sent_form(payload?)?;
    let before = cookie.guarded(field(&form, CSRF_FIELD))?;
    let text = uri.query().unwrap_or_default();
    let logged_in = match answer(&form) {
        Some(answer) => app.patients.log_in(answer, &cookie.origin).await,
        None => Err(SessionError::Refused),
    };
    match logged_in {
        Ok(secret) => {
            // Whoever was logged in at this browser before is not any more.
            app.patients.log_out(before).await?;
            let mut response = redirect(&Destination::of(&query).url(text));
            set_cookie(&mut response, &app, &secret);
            Ok(response)
        }
        Err(SessionError::Refused) => {
            login_page(&app, cookie, text, Some(StatusCode::UNAUTHORIZED)).await
        }
        Err(error) => Err(error.into()),
    }
}

fn answer(form: &[(String, String)]) -> Option<PatientAnswer> {
    if let Some(picked) = field(form, "patient") {
        return PatientId::parse(picked).ok().map(PatientAnswer::Picked);
    }
    Some(PatientAnswer::Password(Credentials {
        username: field(form, "username")?.to_owned(),
        password: field(form, "password")?.to_owned().into(),
    }))
}

/// `GET /authorize-app`
pub async fn consent(
    State(app): State<Shared>,
    cookie: PatientCookie,
    query: Query,
    uri: Uri,
) -> Result<Response, Page> {
    let text = uri.query().unwrap_or_default();
    let request = match read_request(&app, &query).await? {
        Ok(request) => request,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let Some(session) = cookie.session(&app).await? else {
        return Ok(redirect(&format!("/patient-login?{text}")));
    };
    let secret = cookie.secret.as_ref().ok_or_else(Problem::not_found)?;
    let page = ConsentPage {
        app: &request.client.name,
        patient: &session.patient,
        query: text,
        csrf_field: CSRF_FIELD,
        csrf: csrf_token(secret),
        stays: request.scopes.contains(Scope::OfflineAccess),
    };
    Ok(render(&page, Some(&request.redirect_uri)))
}

/// `POST /authorize-app`
pub async fn decide(
    State(app): State<Shared>,
    cookie: PatientCookie,
    query: Query,
    uri: Uri,
    payload: Result<Payload, Problem>,
) -> Result<Response, Page> {
    let form = sent_form(payload?)?;
    cookie.guarded(field(&form, CSRF_FIELD))?;
    let request = match read_request(&app, &query).await? {
        Ok(request) => request,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let Some(session) = cookie.session(&app).await? else {
        let text = uri.query().unwrap_or_default();
        return Ok(redirect(&format!("/patient-login?{text}")));
    };
    let to = match field(&form, "decision") {
        Some("allow") => app.authorization.consent(&request, &session).await?,
        Some("deny") => app.authorization.refuse(&request, &session).await?,
        _ => return Err(Problem::invalid("Please choose one of the two buttons.").into()),
    };
    Ok(redirect(to.as_str()))
}

/// The authorization request in the query; what is wrong with it goes where it belongs.
async fn read_request(
    app: &App,
    query: &Query,
) -> Result<Result<AuthorizationRequest, Response>, Problem> {
    match app.authorization.read_request(query.pairs()).await {
        Ok(request) => Ok(Ok(request)),
        Err(AuthorizationError::Redirect(url, _)) => Ok(Err(redirect(url.as_str()))),
        Err(AuthorizationError::Direct(error)) => Err(Problem::invalid(format!(
            "The app asked in a way this server does not accept: {error}. Please tell its makers."
        ))),
    }
}

fn sent_form(payload: Payload) -> Result<Vec<(String, String)>, Problem> {
    match payload {
        Payload::Form(form) => Ok(form),
        Payload::Empty | Payload::Json(_) => {
            Err(Problem::invalid("Please send the form of the page."))
        }
    }
}

fn set_cookie(response: &mut Response, app: &App, secret: &Secret) {
    let base = app.exports.links().base();
    let cookie = cookie::set(PATIENT_COOKIE, secret, base, SameSite::Lax, None);
    response.headers_mut().insert(SET_COOKIE, cookie);
}
