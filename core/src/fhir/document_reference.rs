//! DocumentReference: how attachments are announced.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::PatientId;

/// One attached file, as its DocumentReference tells it.
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
    /// SHA-1 in base64.
    pub hash: &'a str,
    /// When it was added.
    pub created_at: Timestamp,
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
    id: &str,
    patient: &PatientId,
    description: &str,
    documentation: &str,
    files: &[AttachedFile<'_>],
) -> Value {
    let content: Vec<Value> = files
        .iter()
        .map(|file| {
            json!({
                "attachment": {
                    "url": file.url,
                    "contentType": file.content_type,
                    "size": file.size,
                    "title": file.title,
                    "hash": file.hash,
                    "creation": file.created_at.to_string(),
                },
                "format": {
                    "system": documentation,
                    "code": file.format_code,
                    "display": file.format_display,
                },
            })
        })
        .collect();
    json!({
        "resourceType": "DocumentReference",
        "id": id,
        "meta": {"tag": [{
            "system": "http://terminology.hl7.org/CodeSystem/ehi-export",
            "code": "ehi-export",
            "display": "Part of an EHI export",
        }]},
        "status": "current",
        "subject": {"reference": format!("Patient/{patient}")},
        "description": description,
        "content": content,
    })
}
