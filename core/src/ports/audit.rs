//! The memory of who saw or released what.

use std::fmt::{self, Debug};
use std::net::IpAddr;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::audit::{ChainError, Link};
use crate::auth::{ClientId, StaffName};
use crate::export::{ATTACHMENTS_FILE, Attachment, FileName, JobId};
use crate::fhir::PatientId;

/// Remembers, append-only, who saw or released what. Entries hold no record content and no
/// secret.
///
/// Every entry is chained to the one before it (see [`Link`]), so that a changed or missing one
/// is found.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait AuditLog: Debug + Send + Sync + 'static {
    /// Appends an entry. An action whose entry cannot be written must not happen: callers write
    /// it first, and it is durable when this returns.
    async fn append(&self, event: &AuditEvent) -> Result<(), StoreError>;

    /// Entries that match, newest first, at most `page.limit`.
    async fn list(
        &self,
        filter: &AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditEntry>, StoreError>;

    /// Follows the chain from the first entry to the last; the last one's link. One who noted an
    /// earlier link elsewhere can pass it as `known`: it has to be in the chain.
    async fn verify(&self, known: Option<Link>) -> Result<Link, ChainError>;
}

/// One entry of the audit log, where it stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number; the first entry is 1, and there are no gaps.
    pub number: u64,
    /// What happened.
    pub event: AuditEvent,
}

/// Which entries to look for; all that is given has to match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// About this patient.
    pub patient: Option<PatientId>,
    /// About this export.
    pub job: Option<JobId>,
    /// By whoever has this name: a patient's id, a client's id, or the user name of staff.
    pub actor: Option<String>,
    /// What was done.
    pub action: Option<Action>,
    /// What became of it.
    pub outcome: Option<Outcome>,
    /// At this instant or later.
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
}

impl AuditFilter {
    /// Whether an entry is among those looked for.
    pub fn matches(&self, event: &AuditEvent) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none() || wanted == found
        }
        is(self.patient.as_ref(), event.patient.as_ref())
            && is(self.job.as_ref(), event.job.as_ref())
            && is(self.action.as_ref(), Some(&event.action))
            && is(self.outcome.as_ref(), Some(&event.outcome))
            && (self.actor.as_deref()).is_none_or(|name| event.actor.name() == Some(name))
            && self.from.is_none_or(|from| event.at >= from)
            && self.until.is_none_or(|until| event.at < until)
    }
}

/// A part of the log, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPage {
    /// How many entries at most.
    pub limit: usize,
    /// Only entries with a smaller number: where the page before ended.
    pub before: Option<u64>,
}

/// What happened, as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// From where.
    #[serde(flatten)]
    pub origin: Origin,
    /// What was done.
    pub action: Action,
    /// What became of it.
    pub outcome: Outcome,
    /// For which patient.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub patient: Option<PatientId>,
    /// In which export.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<JobId>,
    /// About which client.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client: Option<ClientId>,
    /// About which member of staff; of a login in vain only where there is somebody of that name,
    /// for what else is typed there may be a password.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub staff: Option<StaffName>,
    /// Which file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<DisclosedFile>,
}

/// A file that was handed out, attached or taken away, named without telling what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DisclosedFile(String);

impl DisclosedFile {
    /// A file of records, such as `Observation.ndjson`.
    pub fn records(name: &FileName) -> Self {
        Self(name.as_str().to_owned())
    }

    /// The file that announces the attachments.
    pub fn announcement() -> Self {
        Self(ATTACHMENTS_FILE.to_owned())
    }

    /// An attachment: by its media type and key, for a title may hold a patient's name.
    pub fn attachment(attachment: &Attachment) -> Self {
        let Attachment {
            content_type, key, ..
        } = attachment;
        Self(format!("{content_type} {key}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// A patient at the browser.
    Patient(PatientId),
    /// An app with a token.
    Client(ClientId),
    /// A member of staff.
    Staff(StaffName),
    /// Somebody at the server's own command line.
    Operator,
    /// Somebody who was not recognised.
    Unknown,
    /// The server by itself, when something expires.
    Server,
}

impl Actor {
    /// A patient's id, a client's id, or the user name of staff.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Patient(id) => Some(id.as_str()),
            Self::Client(id) => Some(id.as_str()),
            Self::Staff(name) => Some(name.as_str()),
            Self::Operator | Self::Unknown | Self::Server => None,
        }
    }
}

/// From where something was done, as far as the edge can tell. Nothing where the server acts by
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The address of the browser or app.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<IpAddr>,
    /// The request, as the server's log names it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<RequestId>,
}

/// The id of a request: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

impl RequestId {
    /// Reads an id. `None` for what can be none.
    pub fn parse(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        ((1..=128).contains(&text.len()) && visible).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RequestId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a request id has 1 to 128 visible ASCII characters")
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

/// Who did something, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// From where.
    pub origin: Origin,
}

impl By {
    /// The server by itself.
    pub fn server() -> Self {
        Self {
            actor: Actor::Server,
            origin: Origin::default(),
        }
    }

    /// Somebody there who was not recognised.
    pub fn unknown(origin: &Origin) -> Self {
        Self {
            actor: Actor::Unknown,
            origin: origin.clone(),
        }
    }

    /// The entry for what they did now.
    pub fn did(self, action: Action, at: Timestamp) -> AuditEvent {
        AuditEvent {
            at,
            actor: self.actor,
            origin: self.origin,
            action,
            outcome: Outcome::Done,
            patient: None,
            job: None,
            client: None,
            staff: None,
            file: None,
        }
    }

    /// The entry for what they tried and were refused.
    pub fn was_refused(self, action: Action, at: Timestamp) -> AuditEvent {
        AuditEvent {
            outcome: Outcome::Refused,
            ..self.did(action, at)
        }
    }
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done; at least it was allowed and begun.
    Done,
    /// It was refused.
    Refused,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Action {
    PatientLogin,
    PatientLogout,
    StaffLogin,
    StaffLogout,
    Authorize,
    RefuseConsent,
    IssueToken,
    RevokeGrant,
    IntrospectToken,
    KickOff,
    Customise,
    ListExports,
    View,
    Download,
    Approve,
    AutoApprove,
    Reject,
    Attach,
    Detach,
    Remove,
    Expire,
    ReadAudit,
    AddClient,
    RemoveClient,
    RotateClientSecret,
    ChangeDirectory,
    AddStaff,
    RemoveStaff,
    ChangeStaffPassword,
    RotateKeys,
    RevokeKeys,
}
