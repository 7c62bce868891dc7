//! The staff's JSON API.

use std::collections::HashSet;

use axum::Extension;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::multipart::{Multipart, MultipartError, MultipartRejection};
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ehi_core::auth::StaffSession;
use ehi_core::export::{AttachError, ExportJob, JobId, Links, Status, Upload, UseCaseError};
use ehi_core::fhir::{IssueCode, PatientId};
use ehi_core::ports::{Cursor, JobFilter, Page};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde_json::Value;

use super::error::{Admin, Problem, bad_state};
use super::extract::{Path, Payload, Query, field};
use super::{App, Shared, views};

/// `GET /admin/jobs`
pub async fn jobs(
    State(app): State<Shared>,
    Extension(staff): Extension<StaffSession>,
    query: Query,
) -> Result<Response, Admin> {
    let filter = JobFilter {
        status: read(&query, "status", Status::parse)?,
        patient: read(&query, "patient", |id| PatientId::parse(id).ok())?,
    };
    let limit = read(&query, "limit", |limit| {
        limit
            .parse::<usize>()
            .ok()
            .filter(|limit| (1..=1_000).contains(limit))
    })?;
    let after = read(&query, "cursor", read_cursor)?;
    let links = app.exports.links();
    if limit.is_none() {
        let jobs = app.exports.every_job(&staff, filter, after).await?;
        return Ok(array(jobs, links.clone()));
    }
    let page = app
        .exports
        .jobs(&staff, &filter, Page { limit, after })
        .await?;
    let views: Vec<Value> = page.jobs.iter().map(|job| views::job(job, links)).collect();
    let mut response = Json(views).into_response();
    if let Some(cursor) = page.next {
        let url = links.at("/admin/jobs");
        if let Some(link) = next_link(&url, &query, &write_cursor(cursor)) {
            response.headers_mut().insert(LINK, link);
        }
    }
    Ok(response)
}

/// All jobs as one array, written as they are read. What cannot be read any more breaks the answer
/// off: half a list is never taken for a whole one.
fn array(jobs: BoxStream<'static, Result<Vec<ExportJob>, UseCaseError>>, links: Links) -> Response {
    let mut separator = "";
    let views = jobs.map_ok(move |jobs| {
        let mut text = String::new();
        for job in &jobs {
            text.push_str(std::mem::replace(&mut separator, ","));
            text.push_str(&views::job(job, &links).to_string());
        }
        Bytes::from(text)
    });
    let views = views.inspect_err(|error| {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a list of exports was broken off"
        );
    });
    let bracket = |text: &'static str| stream::iter([Ok(Bytes::from_static(text.as_bytes()))]);
    let body = bracket("[").chain(views).chain(bracket("]"));
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], Body::from_stream(body)).into_response()
}

/// Where the next part of a list is: the same query from the cursor on (RFC 8288).
pub fn next_link(url: &str, query: &Query, cursor: &str) -> Option<HeaderValue> {
    let mut next = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in query.pairs().filter(|(name, _)| *name != "cursor") {
        next.append_pair(name, value);
    }
    next.append_pair("cursor", cursor);
    HeaderValue::from_str(&format!("<{url}?{}>; rel=\"next\"", next.finish())).ok()
}

/// A parameter of the query, where it is there.
pub fn read<T>(
    query: &Query,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    let parsed = parse(text);
    parsed
        .map(Some)
        .ok_or_else(|| Problem::invalid(format!("The parameter '{name}' makes no sense.")))
}

fn write_cursor(cursor: Cursor) -> String {
    format!("{}.{}", cursor.created_at.as_nanosecond(), cursor.id)
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let (at, id) = text.split_once('.')?;
    Some(Cursor {
        created_at: Timestamp::from_nanosecond(at.parse().ok()?).ok()?,
        id: JobId::parse(id)?,
    })
}

/// The id of the job in the path.
fn job_id(text: &str) -> Result<JobId, Problem> {
    JobId::parse(text).ok_or_else(Problem::not_found)
}

fn view(app: &App, job: &ExportJob) -> Response {
    Json(views::job(job, app.exports.links())).into_response()
}

/// `GET /admin/jobs/:id`
pub async fn job(
    State(app): State<Shared>,
    Extension(staff): Extension<StaffSession>,
    Path(id): Path<String>,
) -> Result<Response, Admin> {
    let job = app.exports.view(&staff, job_id(&id)?).await?;
    Ok(view(&app, &job))
}

/// `POST /admin/jobs/:id/approve`
pub async fn approve(
    State(app): State<Shared>,
    Extension(staff): Extension<StaffSession>,
    Path(id): Path<String>,
) -> Result<Response, Admin> {
    let job = app.exports.approve(&staff, job_id(&id)?).await?;
    Ok(view(&app, &job))
}

/// `POST /admin/jobs/:id/reject`
pub async fn reject(
    State(app): State<Shared>,
    Extension(staff): Extension<StaffSession>,
    Path(id): Path<String>,
    payload: Result<Payload, Problem>,
) -> Result<Response, Admin> {
    let id = job_id(&id)?;
    app.exports.staff_job(id).await?;
    let reason = reason(&payload?)?;
    if reason.as_ref().is_some_and(|reason| reason.len() > 2_000) {
        return Err(Problem::invalid("/reason is longer than 2000 bytes.").into());
    }
    let job = app.exports.reject(&staff, id, reason).await?;
    Ok(view(&app, &job))
}

/// The reason that was given, if one was. A body that says anything else is no wish to decline:
/// that cannot be taken back.
fn reason(payload: &Payload) -> Result<Option<String>, Problem> {
    let reason = match payload {
        Payload::Empty => None,
        Payload::Form(form) => field(form, "reason"),
        Payload::Json(Value::Object(body)) => match body.get("reason") {
            None | Some(Value::Null) => None,
            Some(Value::String(reason)) => Some(reason.as_str()),
            Some(_) => {
                let message = "/reason is not a text. Leave it out to give none.";
                return Err(Problem::invalid(message));
            }
        },
        Payload::Json(_) => {
            let message = "Send JSON: {\"reason\": \"text for the patient\"}, or nothing.";
            return Err(Problem::invalid(message));
        }
    };
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    Ok(reason.map(str::to_owned))
}

/// `POST /admin/jobs/:id/add-files`
pub async fn add_files(
    State(app): State<Shared>,
    Extension(staff): Extension<StaffSession>,
    Path(id): Path<String>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Response, Admin> {
    let mut upload = app
        .exports
        .begin_upload(job_id(&id)?)
        .await
        .map_err(bad_state)?;
    let mut form = form.map_err(|_| {
        Problem::invalid("Send the files as multipart/form-data, each in a field 'attachments'.")
    })?;
    receive(&app, &mut upload, &mut form).await?;
    let job = app.exports.attach(&staff, upload).await?;
    Ok(view(&app, &job))
}

/// Takes the files in. When they cannot be kept, the rest is read all the same: a browser that is
/// still sending hears no answer. How much that is, is bounded as ever.
async fn receive(app: &App, upload: &mut Upload, form: &mut Multipart) -> Result<(), Problem> {
    let mut not_kept = None;
    while let Some(mut part) = form.next_field().await.map_err(|error| broken(&error))? {
        if part.name() != Some("attachments") {
            continue;
        }
        let name = file_name(part.file_name().unwrap_or_default());
        let content_type = part
            .content_type()
            .unwrap_or("application/octet-stream")
            .to_owned();
        let mut chunk = part.chunk().await.map_err(|error| broken(&error))?;
        if name.is_empty() && chunk.is_none() {
            // What a browser sends when nobody chose a file.
            continue;
        }
        if not_kept.is_none() {
            let begun = app.exports.upload_file(upload, &name, &content_type);
            not_kept = unless_kept(begun.await)?;
        }
        while let Some(bytes) = chunk {
            if not_kept.is_none() {
                not_kept = unless_kept(app.exports.upload_bytes(upload, bytes).await)?;
            }
            chunk = part.chunk().await.map_err(|error| broken(&error))?;
        }
    }
    not_kept.map_or(Ok(()), |error| Err(bad_state(error)))
}

/// The name of a file as it was before a browser put it into a form: there `%` stands for itself,
/// but for these three. Source: WHATWG HTML, multipart/form-data encoding algorithm.
fn file_name(sent: &str) -> String {
    (sent.replace("%22", "\""))
        .replace("%0D", "\r")
        .replace("%0A", "\n")
}

/// Why the store does not take it. Whatever else is wrong ends the upload at once.
fn unless_kept(taken: Result<(), AttachError>) -> Result<Option<UseCaseError>, AttachError> {
    match taken {
        Ok(()) => Ok(None),
        Err(AttachError::UseCase(error)) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

fn broken(error: &MultipartError) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message = "The files are too large to be attached at once.";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooLong, message)
    } else {
        Problem::invalid(
            "The upload is broken or ended too early. Nothing was kept; please send it again.",
        )
    }
}

/// `POST /admin/jobs/:id/remove-files`
pub async fn remove_files(
    State(app): State<Shared>,
    Extension(staff): Extension<StaffSession>,
    Path(id): Path<String>,
    payload: Result<Payload, Problem>,
) -> Result<Response, Admin> {
    let id = job_id(&id)?;
    app.exports.staff_job(id).await?;
    let Payload::Json(body) = payload? else {
        return Err(Problem::invalid("Send JSON: {\"params\": [\"title\", …]}.").into());
    };
    let titles: Option<HashSet<&str>> =
        (body["params"].as_array()).and_then(|params| params.iter().map(Value::as_str).collect());
    let titles = titles.ok_or_else(|| Problem::invalid("/params is not a list of titles."))?;
    let job = app
        .exports
        .detach(&staff, id, &titles)
        .await
        .map_err(bad_state)?;
    Ok(view(&app, &job))
}

/// `DELETE /admin/jobs/:id`
pub async fn remove(
    State(app): State<Shared>,
    Extension(staff): Extension<StaffSession>,
    Path(id): Path<String>,
) -> Result<Response, Admin> {
    let job = app.exports.remove(&staff, job_id(&id)?).await?;
    Ok(view(&app, &job))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_what_it_was_before_the_browser_wrote_it_into_a_form() {
        for (sent, name) in [
            ("a %22quoted%22 scan.pdf", "a \"quoted\" scan.pdf"),
            ("two%0D%0Alines.txt", "two\r\nlines.txt"),
            ("100%.pdf", "100%.pdf"),
            ("a%20b%2522.pdf", "a%20b%2522.pdf"),
            ("", ""),
        ] {
            assert_eq!(file_name(sent), name);
        }
    }
}
