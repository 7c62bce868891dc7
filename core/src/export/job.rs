//! The export job and its states.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::attachment::named;
use super::{
    ATTACHMENTS_FILE, Attachment, AttachmentName, Choices, Export, ExportedFile, Interaction,
    Status,
};
use crate::auth::ClientId;
use crate::ports::{Cursor, FilePath, PatientSummary, random_uuid};

/// The id of an export job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// An id made of randomness.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(random_uuid(bytes))
    }

    /// Reads an id as this server writes it: 36 characters, lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::from_str(text).ok()?;
        (id.hyphenated().to_string() == text).then_some(Self(id))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Whose job it is, and who may therefore fetch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requester {
    /// The patient, through this app.
    Patient(ClientId),
    /// A hospital's own system.
    System(ClientId),
}

impl Requester {
    /// The app that asked.
    pub fn client(&self) -> &ClientId {
        match self {
            Self::Patient(client) | Self::System(client) => client,
        }
    }
}

/// Who looks at an export before it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Review {
    /// Staff.
    Staff,
    /// Nobody: it is released as soon as it is retrieved.
    Automatic,
}

/// Everything a kick-off fixes about a job.
#[derive(Debug, Clone)]
pub struct Kickoff {
    /// Whose record.
    pub patient: PatientSummary,
    /// Who asks.
    pub requester: Requester,
    /// The URL that was called.
    pub request: Url,
    /// Who reviews.
    pub review: Review,
    /// Whether a form comes first.
    pub interaction: Interaction,
    /// What is asked for, until a form says otherwise.
    pub choices: Choices,
}

/// One patient's export, from kick-off to removal.
///
/// `awaiting-input → requested → retrieved → approved`, or `rejected`, or `failed`. The methods
/// below are the only transitions; each returns [`NotApplicable`] where it does not apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportJob {
    /// Its id.
    pub id: JobId,
    /// Whose record it is.
    pub patient: PatientSummary,
    /// Who asked.
    pub requester: Requester,
    /// The kick-off URL.
    pub request: Url,
    /// Who reviews it.
    pub review: Review,
    /// Whether the patient fills in a form first.
    pub interaction: Interaction,
    /// When it was kicked off.
    pub created_at: Timestamp,
    choices: Choices,
    attachments: Vec<Attachment>,
    state: JobState,
    version: u64,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum JobState {
    /// Its form is open.
    AwaitingInput,
    /// Waiting for a worker, or running.
    Requested {
        /// How many attempts were begun.
        attempt: u32,
        /// No attempt before this.
        due: Timestamp,
        /// Who runs it.
        claim: Option<Claim>,
        /// How far the running attempt got.
        progress: Progress,
        /// How many attempts were given back by workers that stopped: they do not count.
        #[serde(default)]
        given_back: u32,
    },
    /// Staff review it.
    Retrieved {
        /// What was exported.
        export: Export,
        /// When that was done.
        at: Timestamp,
    },
    /// Its files can be fetched.
    Approved {
        /// What was exported.
        export: Export,
        /// When it was released.
        at: Timestamp,
    },
    /// Staff declined the release.
    Rejected {
        /// The reason staff gave to the patient.
        reason: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// It could not be done.
    Failed {
        /// Why, for the app.
        reason: String,
        /// When it was given up.
        at: Timestamp,
    },
}

/// Names a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub String);

/// A worker's hold on one attempt of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// Who holds it.
    pub worker: WorkerId,
    /// Which attempt.
    pub attempt: u32,
    /// When it can be claimed by somebody else.
    pub until: Timestamp,
}

/// How far an attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Resources written.
    pub resources: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// How long the pause between two attempts can become.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// How patient the server is with attempts that go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How many attempts at most.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with each, up to ten minutes.
    pub pause: Duration,
}

/// A transition that does not apply to the state a job is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job is {0}")]
pub struct NotApplicable(pub Status);

impl ExportJob {
    /// A new job.
    pub fn kick_off(id: JobId, kickoff: Kickoff, now: Timestamp) -> Self {
        Self {
            id,
            patient: kickoff.patient,
            requester: kickoff.requester,
            request: kickoff.request,
            review: kickoff.review,
            interaction: kickoff.interaction,
            created_at: now,
            choices: kickoff.choices,
            attachments: Vec::new(),
            state: match kickoff.interaction {
                Interaction::Form => JobState::AwaitingInput,
                Interaction::None => JobState::requested(0, 0, now),
            },
            version: 0,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> &JobState {
        &self.state
    }

    /// The name of the state it is in.
    pub fn status(&self) -> Status {
        match self.state {
            JobState::AwaitingInput => Status::AwaitingInput,
            JobState::Requested { .. } => Status::Requested,
            JobState::Retrieved { .. } => Status::Retrieved,
            JobState::Approved { .. } => Status::Approved,
            JobState::Rejected { .. } => Status::Rejected,
            JobState::Failed { .. } => Status::Failed,
        }
    }

    /// What was asked for.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Files that were added.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// What was exported, once it was.
    pub fn export(&self) -> Option<&Export> {
        match &self.state {
            JobState::Retrieved { export, .. } | JobState::Approved { export, .. } => Some(export),
            _ => None,
        }
    }

    /// When it came to its end: released, declined or given up.
    pub fn completed_at(&self) -> Option<Timestamp> {
        match self.state {
            JobState::Approved { at, .. }
            | JobState::Rejected { at, .. }
            | JobState::Failed { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Since when it waits for its patient or for staff, or is over, from which its lifetime
    /// counts; for one that waits for a worker or runs, its kick-off.
    pub fn since(&self) -> Timestamp {
        match self.state {
            JobState::AwaitingInput | JobState::Requested { .. } => self.created_at,
            JobState::Retrieved { at, .. }
            | JobState::Approved { at, .. }
            | JobState::Rejected { at, .. }
            | JobState::Failed { at, .. } => at,
        }
    }

    /// Since when a worker may take it, where no worker did yet.
    pub fn first_due(&self) -> Option<Timestamp> {
        match self.state {
            JobState::Requested {
                attempt: 0, due, ..
            } => Some(due),
            _ => None,
        }
    }

    /// Counts accepted writes. A store refuses a write made from an older version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The same job one version on: what a store keeps when it accepts a write.
    #[must_use]
    pub fn next_version(mut self) -> Self {
        self.version += 1;
        self
    }

    /// Its place in the list of jobs.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            created_at: self.created_at,
            id: self.id,
        }
    }

    /// The patient (or a system) said what goes in: the export is requested.
    pub fn customise(&mut self, choices: Choices, now: Timestamp) -> Result<(), NotApplicable> {
        self.require(matches!(self.state, JobState::AwaitingInput))?;
        self.choices = choices;
        self.state = JobState::requested(0, 0, now);
        Ok(())
    }

    /// Whether a worker may take it: requested, due, and not under a lease that still runs.
    pub fn is_claimable(&self, now: Timestamp) -> bool {
        match &self.state {
            JobState::Requested { due, claim, .. } => {
                *due <= now && claim.as_ref().is_none_or(|claim| claim.until <= now)
            }
            _ => false,
        }
    }

    /// A worker takes it for its next attempt, until `until`.
    pub fn claim(
        &mut self,
        worker: &WorkerId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claim, NotApplicable> {
        self.require(self.is_claimable(now))?;
        let JobState::Requested {
            attempt,
            due,
            given_back,
            ..
        } = self.state
        else {
            return Err(NotApplicable(self.status()));
        };
        let claim = Claim {
            job: self.id,
            worker: worker.clone(),
            attempt: attempt + 1,
            until,
        };
        self.state = JobState::Requested {
            attempt: attempt + 1,
            due,
            claim: Some(claim.clone()),
            progress: Progress::default(),
            given_back,
        };
        Ok(claim)
    }

    /// The claim it is under.
    pub fn current_claim(&self) -> Option<&Claim> {
        match &self.state {
            JobState::Requested { claim, .. } => claim.as_ref(),
            _ => None,
        }
    }

    /// The worker lives: its claim holds until `until`. Refused when `claim` is not the one the
    /// job is under.
    pub fn renew(
        &mut self,
        renewed: &Claim,
        until: Timestamp,
        now_at: Progress,
    ) -> Result<(), NotApplicable> {
        let status = self.status();
        match &mut self.state {
            JobState::Requested {
                claim: Some(claim),
                progress,
                ..
            } if claim.worker == renewed.worker && claim.attempt == renewed.attempt => {
                claim.until = until;
                *progress = now_at;
                Ok(())
            }
            _ => Err(NotApplicable(status)),
        }
    }

    /// The attempt succeeded.
    pub fn retrieved(
        &mut self,
        export: Export,
        documents: Vec<Attachment>,
        now: Timestamp,
    ) -> Result<(), NotApplicable> {
        self.require(
            self.current_claim()
                .is_some_and(|claim| claim.attempt == export.attempt),
        )?;
        self.add(documents);
        self.state = match self.review {
            Review::Staff => JobState::Retrieved { export, at: now },
            Review::Automatic => JobState::Approved { export, at: now },
        };
        Ok(())
    }

    /// The attempt went wrong: another one later, or the end.
    pub fn attempt_failed(
        &mut self,
        reason: &str,
        patience: Patience,
        now: Timestamp,
    ) -> Result<(), NotApplicable> {
        let JobState::Requested {
            attempt,
            given_back,
            ..
        } = self.state
        else {
            return Err(NotApplicable(self.status()));
        };
        let tries = self.tries();
        self.state = if tries < patience.attempts {
            let pause = patience
                .pause
                .saturating_mul(1 << tries.saturating_sub(1).min(16))
                .min(LONGEST_PAUSE);
            let due = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
            JobState::requested(attempt, given_back, due)
        } else {
            return self.give_up(reason, now);
        };
        Ok(())
    }

    /// The attempt went wrong in a way that another one cannot mend.
    pub fn give_up(&mut self, reason: &str, now: Timestamp) -> Result<(), NotApplicable> {
        self.require(matches!(self.state, JobState::Requested { .. }))?;
        self.state = JobState::Failed {
            reason: reason.to_owned(),
            at: now,
        };
        Ok(())
    }

    /// The worker stops and gives the job back to the queue. The attempt does not count.
    pub fn release(&mut self, now: Timestamp) -> Result<(), NotApplicable> {
        let JobState::Requested {
            attempt,
            given_back,
            claim: Some(_),
            ..
        } = self.state
        else {
            return Err(NotApplicable(self.status()));
        };
        self.state = JobState::requested(attempt, given_back.saturating_add(1), now);
        Ok(())
    }

    /// How many attempts were begun that count: all but those given back.
    pub fn tries(&self) -> u32 {
        match self.state {
            JobState::Requested {
                attempt,
                given_back,
                ..
            } => attempt.saturating_sub(given_back),
            _ => 0,
        }
    }

    /// Staff release it.
    pub fn approve(&mut self, now: Timestamp) -> Result<(), NotApplicable> {
        let JobState::Retrieved { export, .. } = &self.state else {
            return Err(NotApplicable(self.status()));
        };
        self.state = JobState::Approved {
            export: export.clone(),
            at: now,
        };
        Ok(())
    }

    /// Staff decline it. Its files have to go.
    pub fn reject(&mut self, reason: Option<String>, now: Timestamp) -> Result<(), NotApplicable> {
        let open = matches!(
            self.state,
            JobState::AwaitingInput | JobState::Requested { .. } | JobState::Retrieved { .. }
        );
        self.require(open)?;
        self.attachments.clear();
        self.state = JobState::Rejected { reason, at: now };
        Ok(())
    }

    /// Staff add files.
    pub fn attach(&mut self, files: Vec<Attachment>) -> Result<(), NotApplicable> {
        self.require(matches!(self.state, JobState::Retrieved { .. }))?;
        self.add(files);
        Ok(())
    }

    /// Staff take files away again, named by their titles or as their links name them; returns
    /// those that were there.
    pub fn detach(&mut self, names: &HashSet<&str>) -> Result<Vec<Attachment>, NotApplicable> {
        self.require(matches!(self.state, JobState::Retrieved { .. }))?;
        let titles = named(&self.attachments, names);
        let (gone, kept) = (self.attachments.drain(..))
            .partition(|attachment: &Attachment| titles.contains(&attachment.title));
        self.attachments = kept;
        Ok(gone)
    }

    /// The folder of everything this job keeps.
    pub fn folder(&self) -> FilePath {
        FilePath::of([&self.id.to_string()])
    }

    /// The folder of one attempt.
    pub fn attempt_folder(&self, attempt: u32) -> FilePath {
        FilePath::of([&self.id.to_string(), &attempt.to_string()])
    }

    /// Where an attachment is stored.
    pub fn attachment_path(&self, attachment: &Attachment) -> FilePath {
        (self.attachments_folder(attachment.attempt)).child(&attachment.key.to_string())
    }

    /// Where the attachments are stored that an attempt brought, or staff without any.
    pub(super) fn attachments_folder(&self, attempt: Option<u32>) -> FilePath {
        let folder = match attempt {
            Some(attempt) => self.attempt_folder(attempt),
            None => self.folder(),
        };
        folder.child("attachments")
    }

    /// Where the file that announces the attachments is stored, where it is fetched by a link.
    pub(super) fn announcement_path(&self) -> FilePath {
        self.folder().child(ATTACHMENTS_FILE)
    }

    /// Where an exported file is stored.
    pub fn file_path(&self, export: &Export, file: &ExportedFile) -> FilePath {
        let (job, attempt) = (self.id.to_string(), export.attempt.to_string());
        FilePath::of([job.as_str(), attempt.as_str(), file.name.as_str()])
    }

    fn add(&mut self, files: Vec<Attachment>) {
        let mut taken: HashSet<AttachmentName> = self
            .attachments
            .iter()
            .map(|one| one.title.clone())
            .collect();
        for mut file in files {
            file.title = file.title.unlike(&taken);
            taken.insert(file.title.clone());
            self.attachments.push(file);
        }
    }

    fn require(&self, applies: bool) -> Result<(), NotApplicable> {
        applies.then_some(()).ok_or(NotApplicable(self.status()))
    }
}

impl JobState {
    fn requested(attempt: u32, given_back: u32, due: Timestamp) -> Self {
        Self::Requested {
            attempt,
            due,
            claim: None,
            progress: Progress::default(),
            given_back,
        }
    }
}

#[cfg(test)]
mod tests;
