//! Exports: from what was asked to what is fetched.
//!
//! | file | what it holds |
//! |---|---|
//! | `job` | [`ExportJob`] and its states |
//! | `status`, `progress` | the names of its states, and what its app is told of them |
//! | `exported` | what one run left: its files |
//! | `request`, `parameters` | [`Choices`]: what was asked |
//! | `selection`, `sensitivity` | what goes in, what is withheld |
//! | `rules` | what both go by; `rules/` has the lists of codes |
//! | `exporter` | one run: source → selection → NDJSON → files |
//! | `worker` | takes jobs from the queue and runs them |
//! | `manifest`, `attachment`, `archive`, `links` | what the app is told |
//! | `turn` | whose turn it is in the queue |
//! | `lifetime` | when things expire |
//! | `room` | how many exports may be open |
//! | `service` | the use cases: kick off, customise, status, delete |
//! | `download` | the use cases of fetching: with the token, or by links |
//! | `sweep`, `stray` | remove what expired and what was left behind |
//! | `deployment` | which jobs and which files belong together |
//! | `readiness` | whether this server can do its work |
//! | `review` | the use cases of staff: approve, reject, attach, detach, remove |

mod archive;
mod attachment;
mod deployment;
mod download;
mod exported;
mod exporter;
#[cfg(test)]
mod fixture;
mod job;
mod lifetime;
mod links;
mod manifest;
mod parameters;
mod progress;
mod readiness;
mod request;
mod review;
mod room;
mod rules;
mod selection;
mod sensitivity;
mod service;
mod status;
mod stray;
mod sweep;
mod turn;
mod worker;

pub use archive::Archive;
pub use attachment::{Attachment, AttachmentName, InvalidName};
pub use deployment::{Deployment, DeploymentError, DeploymentId};
pub use download::{Download, Downloads};
pub use exported::{Export, ExportedFile, FileKind, FileName};
pub use exporter::{Counter, ExportError, ExportLimits, Exporter};
pub use job::{
    Claim, ExportJob, JobId, JobState, Kickoff, NotApplicable, Patience, Progress, Requester,
    Review, WorkerId,
};
pub use lifetime::Lifetimes;
pub use links::Links;
pub use manifest::{ATTACHMENTS_FILE, Manifest, ManifestEntry, ManifestExtension, attachment_json};
pub use progress::JobStatus;
pub use readiness::NotReady;
pub use request::{
    AuthorizationKey, Choices, Interaction, InvalidChoices, Parameter, ParameterKey,
};
pub use review::{AttachError, JobPage, Upload, UploadLimits};
pub use room::{Crowd, OpenLimits};
pub use rules::{Rules, RulesError};
pub use selection::{DocumentKind, DocumentRules, Selection, Verdict, explained_types};
pub use sensitivity::{Protection, RuleDescription, SensitivityRules};
pub use service::{ExportPorts, ExportService, ExportSettings, KickoffRequest, UseCaseError};
pub use status::Status;
pub use turn::{LastTurns, SLICE, Turn};
pub use worker::{Duty, Worker, WorkerSettings};
