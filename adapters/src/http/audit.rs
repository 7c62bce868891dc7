//! The audit log, for staff: as JSON, as FHIR, and as a patient's accounting of disclosures.

use axum::Extension;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, LINK};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use ehi_core::audit::{Accounting, AuditTrail};
use ehi_core::auth::StaffSession;
use ehi_core::export::{JobId, UseCaseError};
use ehi_core::fhir::{PatientId, audit_event};
use ehi_core::ports::{AuditEntry, AuditFilter, AuditPage};
use futures::stream;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Shared;
use super::admin::{next_link, read};
use super::error::{Admin, Page, Problem};
use super::extract::{Path, Query};
use super::pages;

/// How many entries come at once unless the query says otherwise.
const PART: usize = 100;

/// How many entries are read together for an export.
const BATCH: usize = 1_000;

/// The media type of FHIR resources, one a line.
const FHIR_NDJSON: &str = "application/fhir+ndjson";

/// `GET /admin/audit`: a part of the log as JSON; by `Accept: application/fhir+ndjson` all that
/// matches, as AuditEvents. For admins alone.
pub async fn log(
    State(app): State<Shared>,
    Extension(staff): Extension<StaffSession>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Admin> {
    if let Err(refused) = staff.admin() {
        app.audit.note_refusal(&staff).await?;
        return Err(refused.into());
    }
    let filter = filter(&query)?;
    let limit = read(&query, "limit", |limit| {
        (limit.parse().ok()).filter(|limit| (1..=1_000).contains(limit))
    })?;
    let before = read(&query, "cursor", |cursor| cursor.parse().ok())?;
    app.audit.note_reading(&staff, &filter).await?;
    if accepts(&headers, FHIR_NDJSON) {
        let observer = app.exports.links().base().to_owned();
        return Ok(export(app.audit.clone(), filter, observer));
    }
    let page = AuditPage {
        limit: limit.unwrap_or(PART),
        before,
    };
    let part = app.audit.entries(&filter, page).await?;
    let entries: Vec<Value> = part.entries.iter().map(view).collect();
    let mut response = Json(entries).into_response();
    if let Some(next) = part.next {
        let url = app.exports.links().at("/admin/audit");
        if let Some(link) = next_link(&url, &query, &next.to_string()) {
            response.headers_mut().insert(LINK, link);
        }
    }
    Ok(response)
}

fn filter(query: &Query) -> Result<AuditFilter, Problem> {
    Ok(AuditFilter {
        patient: read(query, "patient", |id| PatientId::parse(id).ok())?,
        job: read(query, "job", JobId::parse)?,
        actor: read(query, "actor", |name| Some(name.to_owned()))?,
        action: read(query, "action", named)?,
        outcome: read(query, "outcome", named)?,
        from: read(query, "from", |at| at.parse::<Timestamp>().ok())?,
        until: read(query, "until", |at| at.parse::<Timestamp>().ok())?,
    })
}

/// A value by its name in the log.
fn named<T: DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(Value::from(name)).ok()
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let mut accepted = accepted.unwrap_or_default().split(',');
    accepted.any(|one| one.split(';').next().unwrap_or_default().trim() == media_type)
}

/// An entry as the log has it, with its number.
fn view(entry: &AuditEntry) -> Value {
    let mut view = json!(entry.event);
    view["number"] = json!(entry.number);
    view
}

/// Every entry that matches, newest first, read as fast as the client takes it.
fn export(trail: AuditTrail, filter: AuditFilter, observer: String) -> Response {
    let parts = stream::try_unfold(Some(None), move |at: Option<Option<u64>>| {
        let (trail, filter, observer) = (trail.clone(), filter.clone(), observer.clone());
        async move {
            let Some(before) = at else {
                return Ok::<_, UseCaseError>(None);
            };
            let page = AuditPage {
                limit: BATCH,
                before,
            };
            let part = trail.entries(&filter, page).await?;
            let mut lines = String::new();
            for entry in &part.entries {
                lines.push_str(&audit_event(entry, &observer).to_string());
                lines.push('\n');
            }
            Ok(Some((Bytes::from(lines), part.next.map(Some))))
        }
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(FHIR_NDJSON)),
        (
            CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"AuditEvent.ndjson\""),
        ),
    ];
    (headers, Body::from_stream(parts)).into_response()
}

/// `GET /admin/patients/:id/disclosures`: to whom the record went, as a page to print; by
/// `Accept: application/json` as JSON.
pub async fn disclosures(
    State(app): State<Shared>,
    Extension(staff): Extension<StaffSession>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = match PatientId::parse(&id) {
        Ok(patient) => app.audit.disclosures(&staff, &patient).await,
        Err(_) => Err(UseCaseError::NotFound),
    };
    if accepts(&headers, "application/json") {
        let told = found.map(|accounting| Json(told(&accounting)));
        return told.map_err(Admin::from).into_response();
    }
    let page = found.map(|accounting| pages::disclosures(&accounting));
    page.map_err(Page::from).into_response()
}

fn told(accounting: &Accounting) -> Value {
    let disclosures = accounting.disclosures.iter().map(|each| {
        json!({
            "first": each.first,
            "last": each.last,
            "client": {"id": each.client, "name": each.client_name},
            "job": each.job,
            "files": each.files,
        })
    });
    json!({
        "patient": {"id": accounting.patient.id, "name": accounting.patient.name},
        "from": accounting.from,
        "until": accounting.until,
        "disclosures": disclosures.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ehi_core::ports::{Action, Outcome};

    #[test]
    fn filters_go_by_the_names_the_log_has() {
        let query = |text: &str| {
            let pairs = url::form_urlencoded::parse(text.as_bytes());
            Query(pairs.into_owned().collect())
        };
        let found = filter(&query(
            "action=kick-off&outcome=refused&patient=p-1&from=2024-01-01T00:00:00Z",
        ))
        .unwrap();
        assert_eq!(found.action, Some(Action::KickOff));
        assert_eq!(found.outcome, Some(Outcome::Refused));
        assert_eq!(found.patient, PatientId::parse("p-1").ok());
        assert!(found.from.is_some() && found.until.is_none());
        for wrong in [
            "action=dance",
            "outcome=",
            "from=yesterday",
            "patient=..",
            "job=x",
        ] {
            assert!(filter(&query(wrong)).is_err(), "{wrong}");
        }
    }
}
