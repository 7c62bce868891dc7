//! Where records come from: the integrator's port.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};

use super::Cause;
use crate::export::{AttachmentName, ParameterKey, Protection, Selection};
use crate::fhir::{
    DocumentType, PartialDate, PatientId, Period, Record, ResourceType, display_name,
};

/// A source of patients' records: an EHR, a data warehouse, a folder of files.
///
/// A source hands out records as they are. What leaves the hospital is decided by the exporter;
/// the selection passed to [`records`](Self::records) is a hint that lets a source skip work
/// (push-down), and ignoring it is always correct.
#[cfg_attr(any(test, feature = "testkit"), mockall::automock)]
#[async_trait]
pub trait RecordSource: Debug + Send + Sync + 'static {
    /// The patient with this id, or `None`.
    async fn patient(&self, id: &PatientId) -> Result<Option<PatientSummary>, SourceError>;

    /// Patients that match, ordered by name, at most `search.limit`.
    async fn search(&self, search: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError>;

    /// Every record of the patient, the Patient resource among them, in any order.
    ///
    /// A record that cannot be read is an [`RecordError::Unreadable`] item: the export goes on and
    /// reports it. [`RecordError::Source`] ends the stream: what is
    /// [unavailable](SourceError::Unavailable) is tried again later, anything else fails the
    /// export at once.
    ///
    /// An export calls this once more when it met a Binary: what may become of those is known only
    /// when all other records were seen.
    async fn records(
        &self,
        patient: &PatientId,
        wanted: &Selection,
    ) -> Result<RecordStream, SourceError>;

    /// The patient's documents that are not FHIR resources: scans, exports of legacy systems,
    /// images. None unless the source says otherwise.
    ///
    /// A ZIP archive without `document_reference.ndjson` is given one that lists its files. That
    /// takes a whole archive of a single part with plain paths and no name twice, whose directory
    /// fits in 4 MiB; others pass as they are, and staff are warned.
    async fn documents(
        &self,
        patient: &PatientId,
        wanted: &Selection,
    ) -> Result<DocumentStream, SourceError> {
        let _ = (patient, wanted);
        Ok(stream::empty().boxed())
    }

    /// The formats its documents come in, for the public format documentation. None unless the
    /// source says otherwise.
    fn formats(&self) -> Vec<FormatDescription> {
        Vec::new()
    }
}

/// A document format as the public documentation explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatDescription {
    /// The format; its code is what a DocumentReference names.
    pub format: DocumentFormat,
    /// The part of the record its documents go with.
    pub part: ParameterKey,
    /// What kind of document it is, where that is the same for all.
    pub document_type: Option<DocumentType>,
    /// What such a document holds, for patients and developers.
    pub description: String,
    /// Its columns, where it is a table.
    pub columns: Vec<ColumnDescription>,
}

/// A column of a table, as a data dictionary has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDescription {
    /// Its name in the header row.
    pub name: String,
    /// The type of its values, such as `date` or `numeric`.
    pub data_type: String,
    /// What its values mean.
    pub meaning: String,
}

/// The records of one patient.
pub type RecordStream = BoxStream<'static, Result<Record, RecordError>>;

/// The documents of one patient. Errors are told as in a [`RecordStream`].
pub type DocumentStream = BoxStream<'static, Result<Document, RecordError>>;

/// A document that is not a FHIR resource: any bytes, with what a decision about it needs.
pub struct Document {
    /// File name, such as `scan-2019.pdf`. A second one of the same name gets a number.
    pub name: AttachmentName,
    /// Media type, such as `application/pdf`.
    pub content_type: String,
    /// What it is, in a sentence a patient understands.
    pub description: String,
    /// How its bytes are to be read.
    pub format: DocumentFormat,
    /// The part of the record it goes with. The source's word is final: rules that would lead the
    /// type elsewhere are for records that say nothing but their codes.
    pub part: ParameterKey,
    /// What kind of document it is. A type that the sensitivity rules know protects the document,
    /// beside its [protections](Self::protections).
    pub document_type: Option<DocumentType>,
    /// When its matter happened; one without goes in whenever its part was asked for.
    pub period: Option<Period>,
    /// What it is protected by; empty for most.
    pub protections: Vec<Protection>,
    /// The bytes, in chunks, taken to their end or dropped before the next document is asked
    /// for: a source may read both through one connection. An error spoils this document alone
    /// or, as [`RecordError::Source`], ends the run.
    pub content: BoxStream<'static, Result<Bytes, RecordError>>,
}

impl Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document")
            .field("part", &self.part)
            .field("content_type", &self.content_type)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// How a document's bytes are to be read, as the format documentation explains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentFormat {
    /// The code within the documentation page, such as `billing-ledger`.
    pub code: String,
    /// The same for people.
    pub display: String,
}

impl DocumentFormat {
    /// The format of a file of which only the media type is known.
    pub fn of_type(content_type: &str) -> Self {
        Self {
            code: content_type.to_owned(),
            display: format!("File of type {content_type}"),
        }
    }
}

/// What a source knows of a patient without opening the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatientSummary {
    /// Logical id of the Patient resource.
    pub id: PatientId,
    /// Name as one would address an envelope.
    pub name: String,
    /// Date of birth, as precise as it is known.
    pub birth_date: Option<PartialDate>,
}

impl PatientSummary {
    /// What a Patient resource says of its patient; the id stands in for a missing name. `None`
    /// where it has no id that FHIR allows, or is another type of resource.
    pub fn of(patient: &Record) -> Option<Self> {
        if patient.resource_type() != ResourceType::Patient {
            return None;
        }
        let id = PatientId::parse(patient.id()?).ok()?;
        let birth_date = patient
            .field("birthDate")
            .and_then(|json| serde_json::from_str(json).ok());
        Some(Self {
            name: (patient.field("name").and_then(display_name)).unwrap_or_else(|| id.to_string()),
            birth_date,
            id,
        })
    }
}

/// Which patients to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientSearch {
    /// Words that must all occur in the name, upper and lower case alike; empty for everybody.
    pub name: String,
    /// Date of birth, where it must match.
    pub birth_date: Option<PartialDate>,
    /// How many to return at most.
    pub limit: usize,
}

impl PatientSearch {
    /// Whether a patient is among those looked for, for sources that have nothing of their own to
    /// look with.
    pub fn matches(&self, patient: &PatientSummary) -> bool {
        let name = patient.name.to_lowercase();
        let mut words = self.name.split_whitespace();
        words.all(|word| name.contains(&word.to_lowercase()))
            && (self.birth_date.is_none() || self.birth_date == patient.birth_date)
    }
}

/// Why a stream of records could not give the next one.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// This one record is broken. The stream goes on behind it.
    #[error("{0}")]
    Unreadable(Unreadable),
    /// The source broke down. Nothing follows.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// A record that could not be read, told so that staff find it in the source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Unreadable {
    /// Where it is in the source, without content of the record: `lemke.json, entry 17`.
    pub place: String,
    /// What is wrong with it, without content of the record.
    pub reason: String,
}

/// Why a source could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No such patient (any more).
    #[error("no such patient")]
    NotFound,
    /// The source cannot answer right now. Retry later.
    #[error("the record source is unavailable")]
    Unavailable(#[source] Cause),
    /// The source answered something that makes no sense. Retrying does not help.
    #[error("the record source is broken: {0}")]
    Broken(String),
}

impl SourceError {
    /// Wraps a passing failure of the technology below.
    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable(cause.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testkit::record;

    #[test]
    fn a_patient_resource_says_who_its_patient_is() {
        let of = |resource| PatientSummary::of(&record(&resource));
        let whole = of(
            json!({"resourceType": "Patient", "id": "p", "birthDate": "1970-02",
            "name": [{"family": "Crane"}]}),
        );
        let expected = PatientSummary {
            id: PatientId::parse("p").unwrap(),
            name: "Crane".to_owned(),
            birth_date: "1970-02".parse().ok(),
        };
        assert_eq!(whole, Some(expected));
        let bare = of(json!({"resourceType": "Patient", "id": "p", "birthDate": "soon"})).unwrap();
        assert_eq!((bare.name.as_str(), bare.birth_date), ("p", None));
        assert_eq!(of(json!({"resourceType": "Patient", "id": "no id"})), None);
        assert_eq!(of(json!({"resourceType": "Patient"})), None);
        assert_eq!(of(json!({"resourceType": "Person", "id": "p"})), None);
    }
}
