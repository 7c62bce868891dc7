//! How staff log in and out.

use askama::Template;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ehi_core::auth::{Secret, SessionError, StaffRole};
use ehi_core::ports::{Credentials, Proof, StaffAnswer, StaffPrompt};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cookie::{Cookie, Forget};
use super::error::{Admin, Page, Problem};
use super::extract::{CameFrom, Payload, Query, field};
use super::pages::render;
use super::refusals::Refused;
use super::smart::redirect;
use super::{App, Shared, elsewhere};

/// Where staff begin to log in elsewhere.
const START: &str = "/admin/login/start";

/// `POST /admin/login`
pub async fn login(
    State(app): State<Shared>,
    CameFrom(origin): CameFrom,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Result<Response, Admin> {
    let refused = || Problem::unauthorized("The user name or the password is wrong.");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (username, password) = match &payload? {
        Payload::Empty => (None, None),
        Payload::Json(body) => (text(&body["username"]), text(&body["password"])),
        Payload::Form(form) => (
            field(form, "username").map(str::to_owned),
            field(form, "password").map(str::to_owned),
        ),
    };
    let answer = StaffAnswer::Password(Credentials {
        username: username.ok_or_else(refused)?,
        password: password.ok_or_else(refused)?.into(),
    });
    let before = Cookie::of_staff(&app).read(&headers);
    let (secret, session) = match app.staff.log_in(answer, before.as_ref(), &origin).await {
        Ok(logged_in) => logged_in,
        Err(SessionError::Refused) => return Err(refused().into()),
        Err(error) => return Err(error.into()),
    };
    let told = json!({"username": session.name, "role": session.role});
    let mut response = Json(told).into_response();
    let cookie = staff_cookie(&app, &secret, session.expires_at);
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// `GET /admin/login/start`: to where the hospital's staff log in.
pub async fn start(State(app): State<Shared>, uri: axum::http::Uri) -> Result<Response, Page> {
    let (proof, _) = elsewhere::wanted(uri.query().unwrap_or_default());
    let attempt = app.staff.attempt("")?;
    match app.staff.prompt(&attempt, proof).await {
        Ok(StaffPrompt::Elsewhere(url)) => Ok(elsewhere::leave(
            Cookie::of_staff_attempt(&app),
            &attempt,
            &url,
        )),
        Ok(StaffPrompt::Password) => Err(Problem::not_found().into()),
        Err(error) => Err(Problem::from(error).again(START).into()),
    }
}

#[derive(Template)]
#[template(path = "staff_welcome.html")]
struct StaffWelcomePage<'a> {
    name: &'a str,
    role: StaffRole,
}

/// Whether staff log in elsewhere. Nobody comes back to where nobody was sent away.
async fn sends_away(app: &App) -> Result<(), Problem> {
    let attempt = app.staff.attempt("")?;
    match app.staff.prompt(&attempt, Proof::Any).await {
        Ok(StaffPrompt::Password) => Err(Problem::not_found()),
        // What is wrong there, the login itself tells.
        Ok(StaffPrompt::Elsewhere(_)) | Err(_) => Ok(()),
    }
}

/// `GET /admin/login/callback`: back from there.
pub async fn returned(
    State(app): State<Shared>,
    CameFrom(origin): CameFrom,
    headers: HeaderMap,
    query: Query,
) -> Response {
    if let Err(problem) = sends_away(&app).await {
        return Page(problem).into_response();
    }
    let cookie = Cookie::of_staff_attempt(&app);
    let Some(back) = elsewhere::back(cookie, &headers, &query) else {
        return Page(Problem::lost_login().again(START)).into_response();
    };
    let answer = StaffAnswer::Returned(back);
    let before = Cookie::of_staff(&app).read(&headers);
    let response = match app.staff.log_in(answer, before.as_ref(), &origin).await {
        Ok((secret, session)) => {
            let mut response = match &app.settings.staff_home {
                Some(home) => redirect(home.as_str()),
                None => render(
                    &StaffWelcomePage {
                        name: session.name.as_str(),
                        role: session.role,
                    },
                    None,
                ),
            };
            let cookie = staff_cookie(&app, &secret, session.expires_at);
            response.headers_mut().append(SET_COOKIE, cookie);
            response
        }
        Err(error) => Page(refusal(error)).into_response(),
    };
    elsewhere::used_up(cookie, response)
}

fn refusal(error: SessionError) -> Problem {
    match error {
        SessionError::Refused => Problem::unauthorized(
            "The login did not work or was cancelled. You can try again.",
        )
        .again(START),
        SessionError::Stranger => Problem::forbidden(
            "Your login worked, but it gives you no role here. If you should have one, ask whoever manages the hospital’s logins; then try again.",
        )
        .again(format!("{START}?{}", elsewhere::FRESH)),
        error => Problem::from(error).again(START),
    }
}

/// `GET /admin/logout`
pub async fn logout(
    State(app): State<Shared>,
    CameFrom(origin): CameFrom,
    headers: HeaderMap,
) -> Result<Response, Admin> {
    let cookie = Cookie::of_staff(&app);
    if let Some(secret) = cookie.read(&headers) {
        app.staff.log_out(&secret, &origin).await?;
    }
    let mut response = Json(json!({"message": "You are logged out."})).into_response();
    response.headers_mut().insert(SET_COOKIE, cookie.clear());
    Ok(response)
}

/// Lets only staff pass, and makes the session of those who are at work last.
pub async fn staff_only(
    State(app): State<Shared>,
    CameFrom(origin): CameFrom,
    mut request: Request,
    next: Next,
) -> Result<Response, Admin> {
    let secret = Cookie::of_staff(&app).read(request.headers());
    let secret = secret.ok_or_else(|| Problem::unauthorized("Please log in first."))?;
    let session = match app.staff.recognise(&secret, &origin).await {
        Ok(session) => session,
        Err(error @ SessionError::None) => {
            return Err(Problem::from(error).remembered(Refused::unknown()).into());
        }
        Err(error) => return Err(error.into()),
    };
    let cookie = staff_cookie(&app, &secret, session.expires_at);
    request.extensions_mut().insert(session);
    let mut response = next.run(request).await;
    response.headers_mut().entry(SET_COOKIE).or_insert(cookie);
    Ok(response)
}

fn staff_cookie(app: &App, secret: &Secret, expires: Timestamp) -> HeaderValue {
    Cookie::of_staff(app).set(secret, Forget::At(expires))
}
