//! Where an export stands, as its app is told.

use std::time::Duration;

use jiff::Timestamp;

use super::{ExportJob, ExportService, JobState, Manifest};

/// Where an export stands, for its app.
#[derive(Debug, Clone)]
pub enum JobStatus {
    /// Not done yet.
    InProgress {
        /// The status word, then detail; at most 100 characters.
        progress: String,
        /// When it makes sense to ask again.
        retry_after: Duration,
        /// The form, while it is open.
        form: Option<String>,
    },
    /// Done and released.
    Complete {
        /// What there is to fetch.
        manifest: Box<Manifest>,
        /// When the files go.
        expires: Timestamp,
    },
    /// Given up.
    Failed {
        /// Why.
        reason: String,
    },
    /// Staff declined the release.
    Rejected {
        /// The reason they gave.
        reason: Option<String>,
    },
}

impl ExportService {
    /// Where a job stands.
    pub fn status(&self, job: &ExportJob) -> JobStatus {
        let links = &self.settings.links;
        match job.state() {
            JobState::Failed { reason, .. } => JobStatus::Failed {
                reason: reason.clone(),
            },
            JobState::Rejected { reason, .. } => JobStatus::Rejected {
                reason: reason.clone(),
            },
            JobState::Approved { .. } => match Manifest::of(job, links) {
                Some(manifest) => JobStatus::Complete {
                    manifest: Box::new(manifest),
                    expires: self
                        .settings
                        .lifetimes
                        .expiry(job)
                        .unwrap_or(Timestamp::MAX),
                },
                None => in_progress(job, "", 1, None),
            },
            JobState::AwaitingInput => {
                let form = links.form(job.id, &job.patient.id);
                in_progress(job, "waiting for the patient's choices", 5, Some(form))
            }
            JobState::Requested {
                progress, claim, ..
            } => {
                let detail = match claim {
                    Some(_) => format!(
                        "{} resources, {} written",
                        progress.resources,
                        size(progress.bytes)
                    ),
                    None => "waiting for its turn".to_owned(),
                };
                in_progress(job, &detail, 1, None)
            }
            JobState::Retrieved { .. } => {
                in_progress(job, "waiting for review by the hospital", 10, None)
            }
        }
    }
}

fn in_progress(job: &ExportJob, detail: &str, retry_after: u64, form: Option<String>) -> JobStatus {
    JobStatus::InProgress {
        progress: format!("{}, {detail}", job.status()),
        retry_after: Duration::from_secs(retry_after),
        form,
    }
}

/// A size as people read it, rounded down: `3.4 MB`.
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_000 => return format!("{bytes} bytes"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}
