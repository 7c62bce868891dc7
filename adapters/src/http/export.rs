//! Kick-off, the patient's choices, status and download.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{FromRequest, RawQuery, Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CONTENT_LOCATION, EXPIRES, HeaderName, LINK, RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ehi_core::auth::{Client, Quirk, Subject};
use ehi_core::export::{Choices, ExportJob, Interaction, JobStatus, KickoffRequest, Review};
use ehi_core::fhir::{IssueCode, OperationOutcome, PatientId};
use ehi_core::ports::By;
use serde_json::Value;

use super::cookie::http_date;
use super::error::{Fhir, Page, Problem, bad_state, outcome_response};
use super::extract::{Bearer, Job, Path, PatientCookie, Payload, Query, field};
use super::pages::{self, Back, choices_from_form};
use super::refusals::Refused;
use super::throttle::Throttle;
use super::{App, Shared, range, smart, views};

/// Where a FHIR endpoint is mounted, and how its kick-offs differ.
#[derive(Debug, Clone, Copy)]
pub struct Mount {
    /// Its path, such as `/no-form/fhir`.
    pub path: &'static str,
    /// Who reviews.
    pub review: Review,
    /// Whether a form comes first.
    pub interaction: Interaction,
}

const X_PROGRESS: HeaderName = HeaderName::from_static("x-progress");

/// The header that carries the token of a form when JavaScript sends it.
const X_CSRF_TOKEN: &str = "x-csrf-token";

/// `POST /fhir/Patient/:id/$ehi-export`
pub async fn kick_off(
    State(app): State<Shared>,
    Extension(mount): Extension<Mount>,
    Extension(throttle): Extension<Arc<Throttle>>,
    Bearer(access): Bearer,
    Path((id, operation)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    payload: Result<Payload, Problem>,
) -> Result<Response, Fhir> {
    if operation != "$ehi-export" {
        return Err(Problem::not_found().into());
    }
    let patient = PatientId::parse(&id).map_err(|error| {
        Problem::invalid(format!(
            "The patient's id in the URL is not valid: {error}."
        ))
    })?;
    // By the token's own patient: nobody uses up what is another's.
    let whose = match &access.subject {
        Subject::Patient(own) => own,
        Subject::System => &patient,
    };
    (throttle.patients.take(whose.clone(), app.exports.now()))
        .map_err(|too_often| too_often.problem(Refused::with_access(&access)))?;
    let choices = asked_choices(&payload?)?;
    let path = format!("{}/Patient/{patient}/$ehi-export", mount.path);
    let query = query.unwrap_or_default();
    let request = request_url(app.exports.links().at(&path), &query)?;
    let asked = KickoffRequest {
        patient,
        request,
        review: mount.review,
        interaction: mount.interaction,
        choices,
    };
    let job = app.exports.kick_off(&access, asked).await?;
    let client = app.exports.client_of(&job).await?;
    let text = match job.interaction {
        Interaction::Form => {
            "The export is waiting for the patient's choices. Send the browser to the URL of the Link header, and ask for the status at that of Content-Location."
        }
        Interaction::None => {
            "The export has started. Ask for the status at the URL of Content-Location."
        }
    };
    let mut outcome = OperationOutcome::information(text);
    if let Some(ignored) = ignored(&Query::parse(&query)) {
        let definition = format!("{}/OperationDefinition/ehi-export", mount.path);
        let definition = app.exports.links().at(&definition);
        let form = match job.interaction {
            Interaction::Form => "in the form, or ",
            Interaction::None => "",
        };
        outcome = outcome.and(format!(
            "These parameters of the URL were not taken into account: {ignored}. What goes in is chosen {form}by a FHIR Parameters resource as the body of this request; {definition} says which it takes."
        ));
    }
    let mut response = outcome_response(StatusCode::ACCEPTED, &outcome);
    let headers = response.headers_mut();
    insert(
        headers,
        CONTENT_LOCATION,
        &app.exports.links().status(job.id),
    );
    if let JobStatus::InProgress {
        form: Some(form), ..
    } = app.exports.status(&job)
    {
        insert(headers, LINK, &form_link(&form, client.as_ref()));
    }
    Ok(response)
}

/// The longest query that a job keeps, in bytes.
const LONGEST_QUERY: usize = 2_000;

/// The URL of a kick-off as it was asked for.
fn request_url(path: String, query: &str) -> Result<url::Url, Problem> {
    if query.len() > LONGEST_QUERY {
        let message = format!(
            "The query of this URL is longer than {LONGEST_QUERY} bytes. Leave it out, and send a FHIR Parameters resource instead."
        );
        let status = StatusCode::URI_TOO_LONG;
        return Err(Problem::new(status, IssueCode::TooLong, message));
    }
    let url = match query {
        "" => path,
        query => format!("{path}?{query}"),
    };
    url::Url::parse(&url)
        .map_err(|_| Problem::invalid("The URL of this request cannot be written."))
}

/// The names of parameters, for a person; `None` where there are none.
fn ignored(query: &Query) -> Option<String> {
    let mut names: Vec<&str> = query.pairs().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(10);
    names.truncate(10);
    let shown = names.iter().map(|name| {
        let short: String = name.chars().take(40).collect();
        format!("'{short}'")
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match (shown.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown),
        (false, more) => Some(format!("{shown} and {more} more")),
    }
}

/// Anything else below a patient: another operation is not there, another method does not apply.
pub async fn other_operation(
    Path((_, operation)): Path<(String, String)>,
    method: Method,
    uri: Uri,
) -> Response {
    if operation != "$ehi-export" {
        return Fhir(Problem::not_found()).into_response();
    }
    let mut response = super::error::wrong_method(method, uri).await;
    insert(response.headers_mut(), ALLOW, "POST");
    response
}

/// The choices that came along, if any did.
fn asked_choices(payload: &Payload) -> Result<Option<Choices>, Problem> {
    match payload {
        Payload::Empty => Ok(None),
        Payload::Json(Value::Object(body)) if body.is_empty() => Ok(None),
        Payload::Json(body) => Ok(Choices::from_parameters(body)?),
        Payload::Form(_) => Err(Problem::invalid(
            "Send the body as a FHIR Parameters resource, or none.",
        )),
    }
}

/// The form's URL as a `Link` header. Some clients cannot read the angle brackets of RFC 8288.
fn form_link(form: &str, client: Option<&Client>) -> String {
    let bare = client.is_some_and(|client| client.has(Quirk::BareLinkHeader));
    let (open, close) = if bare { ("", "") } else { ("<", ">") };
    format!("{open}{form}{close}; rel=\"patient-interaction\"")
}

/// `GET /jobs/:id/status`
pub async fn status(
    State(app): State<Shared>,
    Extension(throttle): Extension<Arc<Throttle>>,
    Bearer(access): Bearer,
    Job(id): Job,
) -> Result<Response, Fhir> {
    let job = app.exports.job(&access, id).await?;
    (throttle.polls.take(id, app.exports.now()))
        .map_err(|too_often| too_often.problem(Refused::with_access(&access)))?;
    Ok(match app.exports.report(&access, &job).await? {
        JobStatus::InProgress {
            progress,
            retry_after,
            form,
        } => {
            let outcome = OperationOutcome::information(progress.as_str());
            let mut response = outcome_response(StatusCode::ACCEPTED, &outcome);
            let headers = response.headers_mut();
            insert(headers, X_PROGRESS, &progress);
            insert(headers, RETRY_AFTER, &retry_after.as_secs().to_string());
            if let Some(form) = form {
                let client = app.exports.client_of(&job).await?;
                insert(headers, LINK, &form_link(&form, client.as_ref()));
            }
            response
        }
        JobStatus::Complete { manifest, expires } => {
            let mut response = Json(manifest).into_response();
            insert(response.headers_mut(), EXPIRES, &http_date(expires));
            response
        }
        JobStatus::Failed { reason } => outcome_response(
            StatusCode::INTERNAL_SERVER_ERROR,
            &OperationOutcome::error(
                IssueCode::Exception,
                format!(
                    "The export failed: {reason} Please start another one, or ask the hospital."
                ),
            ),
        ),
        JobStatus::Rejected { reason } => {
            let reason = reason.map(|reason| format!(" The reason given: {reason}"));
            let text = format!(
                "The hospital declined to release this export.{} Please contact its health information department.",
                reason.unwrap_or_default()
            );
            let outcome = OperationOutcome::error(IssueCode::Suppressed, text);
            outcome_response(StatusCode::FORBIDDEN, &outcome)
        }
    })
}

/// `DELETE /jobs/:id/status`
pub async fn delete(
    State(app): State<Shared>,
    Bearer(access): Bearer,
    Job(id): Job,
) -> Result<Response, Fhir> {
    app.exports.delete(&access, id).await?;
    let outcome = OperationOutcome::information("The export and its files were deleted.");
    Ok(outcome_response(StatusCode::ACCEPTED, &outcome))
}

/// `GET /jobs/:id/download/:file`
pub async fn file(
    State(app): State<Shared>,
    Bearer(access): Bearer,
    Job(id): Job,
    Path((_, name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Fhir> {
    let download = app.exports.file(&access, id, &name).await?;
    Ok(range::send(&app.exports, &download, &method, &headers).await?)
}

/// `GET /jobs/:id/download/attachments/:file`
pub async fn attachment(
    State(app): State<Shared>,
    Bearer(access): Bearer,
    Job(id): Job,
    Path((_, title)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Fhir> {
    let download = app.exports.attachment(&access, id, &title).await?;
    Ok(range::send(&app.exports, &download, &method, &headers).await?)
}

/// `GET /jobs/:id/customize`: the form, or the page that says it was sent.
pub async fn form(
    State(app): State<Shared>,
    job: Result<Job, Fhir>,
    cookie: PatientCookie,
    query: Query,
    uri: Uri,
) -> Result<Response, Page> {
    let Job(id) = job.map_err(|Fhir(problem)| problem)?;
    let Some(session) = cookie.session(&app).await? else {
        let query = uri
            .query()
            .map(|query| format!("&{query}"))
            .unwrap_or_default();
        return Ok(smart::redirect(&format!("/patient-login?job={id}{query}")));
    };
    let job = app.exports.show_form(&session, id).await?;
    let client = app.exports.client_of(&job).await?;
    let back = Back::of(client.as_ref(), &query);
    let cookie = cookie.secret.as_ref().ok_or_else(Problem::not_found)?;
    if job.status() != ehi_core::export::Status::AwaitingInput {
        return Ok(pages::done(client.as_ref(), cookie, back.as_ref()));
    }
    Ok(pages::form(&job, client.as_ref(), cookie, back.as_ref()))
}

/// `POST /jobs/:id`: the choices, from an app by its token, or from the patient's browser as a
/// form or as JSON. Nothing of the body is read before it is known who sends it.
pub async fn customise(
    State(app): State<Shared>,
    headers: HeaderMap,
    job: Result<Job, Fhir>,
    bearer: Result<Bearer, Fhir>,
    cookie: PatientCookie,
    query: Query,
    request: Request,
) -> Response {
    let by_token = headers.contains_key(AUTHORIZATION);
    if by_token {
        let chosen = choose_as_app(&app, job, bearer, request).await;
        return shown(&app, chosen);
    }
    let sent = headers
        .get(X_CSRF_TOKEN)
        .and_then(|token| token.to_str().ok());
    let chosen = choose_as_patient(&app, job, &cookie, sent, request).await;
    if !is_html_form(&headers) {
        return shown(&app, chosen);
    }
    let back = match chosen {
        Ok(job) => back_to_app(&app, &job, &query).await,
        Err(problem) => Err(problem),
    };
    back.map_err(Page).into_response()
}

async fn choose_as_app(
    app: &App,
    job: Result<Job, Fhir>,
    bearer: Result<Bearer, Fhir>,
    request: Request,
) -> Result<ExportJob, Problem> {
    let Bearer(access) = bearer.map_err(|Fhir(problem)| problem)?;
    let Job(id) = job.map_err(|Fhir(problem)| problem)?;
    let job = app.exports.job(&access, id).await?;
    let payload = Payload::from_request(request, &()).await?;
    choose(app, &job, access.by(), &payload).await
}

async fn choose_as_patient(
    app: &App,
    job: Result<Job, Fhir>,
    cookie: &PatientCookie,
    sent_token: Option<&str>,
    request: Request,
) -> Result<ExportJob, Problem> {
    let session = cookie.session(app).await?;
    let session = session.ok_or_else(|| Problem::unauthorized("Please log in first."))?;
    let Job(id) = job.map_err(|Fhir(problem)| problem)?;
    let payload = Payload::from_request(request, &()).await?;
    let token = match &payload {
        Payload::Form(form) => field(form, pages::CSRF_FIELD),
        Payload::Empty | Payload::Json(_) => sent_token,
    };
    cookie.guarded(token)?;
    let job = app.exports.patients_job(&session, id).await?;
    choose(app, &job, session.by(), &payload).await
}

/// The job with its choices, for those who sent them as JSON.
fn shown(app: &App, chosen: Result<ExportJob, Problem>) -> Response {
    let job = chosen.map(|job| Json(views::job(&job, app.exports.links())));
    job.map_err(Fhir).into_response()
}

/// Where the browser goes once the form was sent.
async fn back_to_app(app: &App, job: &ExportJob, query: &Query) -> Result<Response, Problem> {
    let client = app.exports.client_of(job).await?;
    Ok(match Back::of(client.as_ref(), query) {
        Some(back) => smart::redirect(back.url.as_str()),
        None => smart::redirect(&format!("/jobs/{}/customize", job.id)),
    })
}

fn is_html_form(headers: &HeaderMap) -> bool {
    super::extract::media_type(headers).as_deref() == Some("application/x-www-form-urlencoded")
}

async fn choose(
    app: &App,
    job: &ExportJob,
    by: By,
    payload: &Payload,
) -> Result<ExportJob, Problem> {
    let choices = match payload {
        Payload::Empty => {
            return Err(Problem::invalid(
                "Send the choices as JSON: {\"parameters\": {…}, \"authorizations\": {…}}, or {} to leave them as the form starts.",
            ));
        }
        Payload::Json(body) => job.choices().clone().with_json(body)?,
        Payload::Form(form) => choices_from_form(form)?,
    };
    app.exports
        .customise(job, by, choices)
        .await
        .map_err(bad_state)
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_url_are_named_each_once_and_not_without_end() {
        let told = |query: &str| ignored(&Query::parse(query));
        assert_eq!(told(""), None);
        let query = "_type=Patient&_since=2020&_type=Observation";
        assert_eq!(told(query).as_deref(), Some("'_since', '_type'"));
        let many: Vec<String> = (10..30).map(|number| format!("p{number}=")).collect();
        assert!(
            told(&many.join("&"))
                .unwrap()
                .ends_with("'p19' and 10 more")
        );
        assert_eq!(told(&"x".repeat(2_000)).unwrap().len(), 42);
    }

    #[test]
    fn a_kick_off_is_remembered_as_it_was_asked_for_within_bounds() {
        let at = |query: &str| request_url("https://ehi.example/fhir/x".to_owned(), query);
        assert_eq!(at("").unwrap().as_str(), "https://ehi.example/fhir/x");
        let query = "_type=Patient%2CObservation&_since=2020";
        let url = at(query).unwrap();
        assert_eq!(url.query(), Some(query));
        assert!(at(&"x".repeat(LONGEST_QUERY)).is_ok());
        assert!(at(&"x".repeat(LONGEST_QUERY + 1)).is_err());
    }
}
