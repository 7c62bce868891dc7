//! The pages on which a patient logs in and lets an app in.

use askama::Template;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ehi_core::auth::{
    AuthorizationError, AuthorizationRequest, Scope, Secret, SessionError, csrf_token,
};
use ehi_core::export::JobId;
use ehi_core::fhir::PatientId;
use ehi_core::ports::{Credentials, PatientAnswer, PatientPrompt, PatientSummary, Proof};

use super::super::cookie::{Cookie, Forget};
use super::super::elsewhere;
use super::super::error::{Page, Problem};
use super::super::extract::{PatientCookie, PatientForm, Query, field};
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
struct WelcomePage {
    csrf_field: &'static str,
    csrf: String,
}

#[derive(Template)]
#[template(path = "logged_out.html")]
struct LoggedOutPage {}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage<'a> {
    app: &'a str,
    patient: &'a PatientSummary,
    query: &'a str,
    csrf_field: &'static str,
    csrf: String,
    stays: bool,
    stays_online: bool,
    /// Asks for another person to log in.
    fresh: &'static str,
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
    /// Where a query leads. It names no address: whatever it says, it leads to a page of ours.
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
    let (proof, text) = elsewhere::wanted(uri.query().unwrap_or_default());
    let nowhere = Destination::of(&query) == Destination::Nowhere;
    if nowhere && proof == Proof::Any && cookie.session(&app).await?.is_some() {
        let csrf = cookie.secret.as_ref().map(csrf_token).unwrap_or_default();
        let csrf_field = CSRF_FIELD;
        return Ok(render(&WelcomePage { csrf_field, csrf }, None));
    }
    login_page(&app, cookie, text, proof, None).await
}

/// The login page, or the way to where patients log in. `refused` is the status when an answer was
/// wrong.
async fn login_page(
    app: &App,
    cookie: PatientCookie,
    query: &str,
    proof: Proof,
    refused: Option<StatusCode>,
) -> Result<Response, Page> {
    let attempt = app.patients.attempt(query)?;
    let patients = match app.patients.prompt(&attempt, proof).await {
        Ok(PatientPrompt::Pick(patients)) => Some(patients),
        Ok(PatientPrompt::Password) => None,
        Ok(PatientPrompt::Elsewhere(url)) => {
            let cookie = Cookie::of_patient_attempt(app);
            return Ok(elsewhere::leave(cookie, &attempt, &url));
        }
        Err(error) => return Err(Problem::from(error).again(login_url(query)).into()),
    };
    // Before the login, the cookie only ties the form to this browser.
    let fresh = cookie.secret.is_none();
    let secret = cookie.secret.unwrap_or_else(|| app.patients.new_secret());
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

fn login_url(query: &str) -> String {
    format!("/patient-login?{query}")
}

/// `POST /patient-login`
pub async fn log_in(
    State(app): State<Shared>,
    query: Query,
    uri: Uri,
    PatientForm { cookie, fields }: PatientForm,
) -> Result<Response, Page> {
    let text = uri.query().unwrap_or_default();
    let logged_in = match answer(&fields) {
        Some(answer) => {
            let (before, origin) = (cookie.secret.as_ref(), &cookie.origin);
            app.patients.log_in(answer, before, origin).await
        }
        None => Err(SessionError::Refused),
    };
    match logged_in {
        Ok(secret) => {
            let mut response = redirect(&Destination::of(&query).url(text));
            set_cookie(&mut response, &app, &secret);
            Ok(response)
        }
        Err(SessionError::Refused) => {
            let status = Some(StatusCode::UNAUTHORIZED);
            login_page(&app, cookie, text, Proof::Any, status).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether patients log in elsewhere. Nobody comes back to where nobody was sent away.
async fn sends_away(app: &App) -> Result<(), Problem> {
    let attempt = app.patients.attempt("")?;
    match app.patients.prompt(&attempt, Proof::Any).await {
        Ok(PatientPrompt::Pick(_) | PatientPrompt::Password) => Err(Problem::not_found()),
        // What is wrong there, the login itself tells.
        Ok(PatientPrompt::Elsewhere(_)) | Err(_) => Ok(()),
    }
}

/// `GET /patient-login/callback`: back from where patients log in.
pub async fn returned(
    State(app): State<Shared>,
    cookie: PatientCookie,
    headers: HeaderMap,
    query: Query,
) -> Response {
    if let Err(problem) = sends_away(&app).await {
        return Page(problem).into_response();
    }
    let attempt_cookie = Cookie::of_patient_attempt(&app);
    let Some(back) = elsewhere::back(attempt_cookie, &headers, &query) else {
        return Page(Problem::lost_login().again("/patient-login")).into_response();
    };
    let text = back.attempt.destination().to_owned();
    let answer = PatientAnswer::Returned(back);
    let before = cookie.secret.as_ref();
    let response = match app.patients.log_in(answer, before, &cookie.origin).await {
        Ok(secret) => {
            let destination = Destination::of(&Query::parse(&text));
            let mut response = redirect(&destination.url(&text));
            set_cookie(&mut response, &app, &secret);
            response
        }
        Err(error) => Page(refusal(error, &text)).into_response(),
    };
    elsewhere::used_up(attempt_cookie, response)
}

/// What a patient is told who was not let in, on the way to where this query leads.
fn refusal(error: SessionError, query: &str) -> Problem {
    match error {
        SessionError::Refused => {
            Problem::unauthorized("The login did not work or was cancelled. You can try again.")
                .again(login_url(query))
        }
        SessionError::Stranger => Problem::forbidden(
            "Your login worked, but no health record here belongs to it. Please ask the hospital to connect your login with your record, or try again with another login.",
        )
        .again(login_url(&format!("{}&{query}", elsewhere::FRESH))),
        error => Problem::from(error).again(login_url(query)),
    }
}

/// `POST /patient-logout`
pub async fn log_out(
    State(app): State<Shared>,
    PatientForm { cookie, .. }: PatientForm,
) -> Result<Response, Page> {
    let secret = cookie.any()?;
    match app.patients.log_out(secret, &cookie.origin).await {
        // Whoever was logged out before is logged out.
        Ok(()) | Err(SessionError::None) => {}
        Err(error) => return Err(error.into()),
    }
    let mut response = render(&LoggedOutPage {}, None);
    let cleared = Cookie::of_patient(&app).clear();
    response.headers_mut().insert(SET_COOKIE, cleared);
    Ok(response)
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
    uri: Uri,
) -> Result<Response, Page> {
    let text = uri.query().unwrap_or_default();
    let request = match read_request(&app, text).await? {
        Ok(request) => request,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let Some(session) = cookie.session(&app).await? else {
        return Ok(redirect(&login_url(text)));
    };
    let secret = cookie.secret.as_ref().ok_or_else(Problem::not_found)?;
    let page = ConsentPage {
        app: &request.client.name,
        patient: &session.patient,
        query: text,
        csrf_field: CSRF_FIELD,
        csrf: csrf_token(secret),
        stays: request.scopes.contains(Scope::OfflineAccess),
        stays_online: request.scopes.contains(Scope::OnlineAccess),
        fresh: elsewhere::FRESH,
    };
    Ok(render(&page, Some(&request.redirect_uri)))
}

/// `POST /authorize-app`
pub async fn decide(
    State(app): State<Shared>,
    uri: Uri,
    PatientForm { cookie, fields }: PatientForm,
) -> Result<Response, Page> {
    let query = uri.query().unwrap_or_default();
    let request = match read_request(&app, query).await? {
        Ok(request) => request,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let Some(session) = cookie.session(&app).await? else {
        // No redirect: browsers let a form's answer lead only where the page's policy says.
        let message = "You are not logged in any more. Please log in again.";
        let way = login_url(query);
        return Err(Problem::unauthorized(message).again(way).into());
    };
    let to = match field(&fields, "decision") {
        Some("allow") => app.authorization.consent(&request, &session).await?,
        Some("deny") => app.authorization.refuse(&request, &session).await?,
        _ => return Err(Problem::invalid("Please choose one of the two buttons.").into()),
    };
    Ok(redirect(to.as_str()))
}

/// The authorization request in the query; what is wrong with it goes where it belongs.
async fn read_request(
    app: &App,
    query: &str,
) -> Result<Result<AuthorizationRequest, Response>, Problem> {
    match app.authorization.read_request(query).await {
        Ok(request) => Ok(Ok(request)),
        Err(AuthorizationError::Redirect(url, _)) => Ok(Err(redirect(url.as_str()))),
        Err(AuthorizationError::Direct(error)) => Err(Problem::invalid(format!(
            "The app asked in a way this server does not accept: {error}. Please tell its makers."
        ))),
    }
}

fn set_cookie(response: &mut Response, app: &App, secret: &Secret) {
    let cookie = Cookie::of_patient(app).set(secret, Forget::WithTheBrowser);
    response.headers_mut().append(SET_COOKIE, cookie);
}
