//! Jobs as the admin API shows them.

use ehi_core::export::{
    AuthorizationKey, ExportJob, JobState, Links, Manifest, Review, attachment_json,
};
use serde_json::{Map, Value, json};

/// A job as JSON.
pub fn job(job: &ExportJob, links: &Links) -> Value {
    let completed = job
        .completed_at()
        .map_or(0, jiff::Timestamp::as_millisecond);
    let attachments: Vec<Value> = (job.attachments().iter())
        .map(|attachment| attachment_json(job, attachment, links))
        .collect();
    let mut view = json!({
        "id": job.id,
        "patient": {"id": job.patient.id, "name": job.patient.name},
        "manifest": Manifest::of(job, links),
        "status": job.status(),
        "createdAt": job.created_at.as_millisecond(),
        "completedAt": completed,
        "parameters": job.choices().parameters_json(),
        "authorizations": job.choices().authorizations_json(),
        "attachments": attachments,
        "autoApprove": job.review == Review::Automatic,
    });
    match job.state() {
        JobState::Requested { progress, .. } => view["progress"] = json!(progress),
        JobState::Rejected { reason, .. } => view["reason"] = json!(reason),
        JobState::Failed { reason, .. } => view["reason"] = json!(reason),
        _ => {}
    }
    if let Some(export) = job.export() {
        let count = |(key, count): (&AuthorizationKey, &u64)| (key.key().to_owned(), json!(count));
        view["withheld"] = Value::Object(export.withheld.iter().map(count).collect::<Map<_, _>>());
        view["withheldPsychotherapyNotes"] = json!(export.psychotherapy_notes);
    }
    view
}
