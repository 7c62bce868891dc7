//! DocumentReference: how attachments are announced, and how archives tell what is in them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{DocumentType, PatientId, Period};

/// What a DocumentReference tells of a document, beside whose it is.
#[derive(Debug, Clone)]
pub struct Documented<'a> {
    /// Its logical id.
    pub id: &'a str,
    /// What it is, in a sentence.
    pub description: &'a str,
    /// What kind of document it is, where that is known.
    pub document_type: Option<&'a DocumentType>,
    /// When the reference to it was made, where that is known.
    pub date: Option<Timestamp>,
    /// When its matter happened, where that is known.
    pub period: Option<Period>,
    /// Its files, one or more.
    pub files: &'a [AttachedFile<'a>],
}

/// One file, as a DocumentReference tells it.
#[derive(Debug, Clone)]
pub struct AttachedFile<'a> {
    /// Where it is fetched.
    pub url: &'a str,
    /// Media type.
    pub content_type: &'a str,
    /// Bytes.
    pub size: u64,
    /// Its name.
    pub title: &'a str,
    /// SHA-1 in base64, where it is known.
    pub hash: Option<&'a str>,
    /// When it was added, where that is known.
    pub created_at: Option<Timestamp>,
    /// The code of its format in the documentation.
    pub format_code: &'a str,
    /// The same for people.
    pub format_display: &'a str,
}

/// A DocumentReference in the shape of the IG's `EHIDocumentReference` profile: what it is, whose
/// it is, and one `content` for each file.
///
/// `documentation` is the public page that explains the formats.
///
/// Source: Argonaut EHI Export API 0.1.0, EHI Document Reference; FHIR R4, DocumentReference.
pub fn document_reference(
    patient: &PatientId,
    documentation: &str,
    document: &Documented<'_>,
) -> Value {
    let content: Vec<Value> = (document.files.iter())
        .map(|file| content(file, documentation))
        .collect();
    let mut reference = json!({
        "resourceType": "DocumentReference",
        "id": document.id,
        // Code and display are the profile's own; it names no system.
        "meta": {"tag": [{
            "code": "ehi-export",
            "display": "generated as part of an ehi-export request",
        }]},
        "status": "current",
        "subject": {"reference": format!("Patient/{patient}")},
        "description": document.description,
        "content": content,
    });
    if let Some(kind) = document.document_type {
        reference["type"] = json!({
            "coding": [{
                "system": kind.system(),
                "code": kind.code(),
                "display": kind.display(),
            }],
            "text": kind.display(),
        });
    }
    if let Some(date) = document.date {
        reference["date"] = date.to_string().into();
    }
    if let Some(period) = document.period {
        for (end, moment) in [("start", period.start), ("end", period.end)] {
            if let Some(moment) = moment {
                reference["context"]["period"][end] = moment.to_string().into();
            }
        }
    }
    reference
}

fn content(file: &AttachedFile<'_>, documentation: &str) -> Value {
    let mut attachment = json!({
        "url": file.url,
        "contentType": file.content_type,
        "size": file.size,
        "title": file.title,
    });
    if let Some(hash) = file.hash {
        attachment["hash"] = hash.into();
    }
    if let Some(created_at) = file.created_at {
        attachment["creation"] = created_at.to_string().into();
    }
    json!({
        "attachment": attachment,
        "format": {
            "system": documentation,
            "code": file.format_code,
            "display": file.format_display,
        },
    })
}
