//! Which part of the record a document or a report belongs to.
//!
//! The codes are data: the [rules](DocumentRules) a server goes by.

use serde::Deserialize;

use super::kinds::DocumentRules;
use crate::export::ParameterKey;
use crate::fhir::{Coding, Record, ResourceType, codings};

fn coded<'a>(record: &'a Record, element: &str) -> Vec<Coding<'a>> {
    record.field(element).map(codings).unwrap_or_default()
}

/// Whether an Observation is a laboratory result.
pub(super) fn is_laboratory(observation: &Record) -> bool {
    coded(observation, "category").iter().any(|coding| {
        coding.code == "laboratory"
            && matches!(
                coding.system.as_ref(),
                "http://terminology.hl7.org/CodeSystem/observation-category"
                    | "http://hl7.org/fhir/observation-category"
            )
    })
}

impl DocumentRules {
    /// The part of a report: by the section it is filed under, or by its code.
    pub(super) fn report_part(&self, report: &Record) -> Option<ParameterKey> {
        self.categories
            .find(&coded(report, "category"))
            .or_else(|| self.types.find(&coded(report, "code")))
    }

    /// The part of a document: one of group 2, always.
    ///
    /// Its type decides, then its category. A picture of no known type is a photograph, except a
    /// TIFF: that is how paper is scanned.
    pub(super) fn document_part(&self, document: &Record) -> ParameterKey {
        let types = coded(document, "type");
        match document.resource_type() {
            ResourceType::ImagingStudy => return ParameterKey::Radiology,
            ResourceType::Media
                if types.iter().any(|coding| coding.code == "image") || is_picture(document) =>
            {
                return ParameterKey::Photographs;
            }
            _ => {}
        }
        let categories = coded(document, "category");
        let by_code = self
            .types
            .find(&types)
            .or_else(|| self.categories.find(&categories))
            .or_else(|| self.types.find(&categories))
            .filter(|key| key.group() == 2);
        by_code.unwrap_or_else(|| {
            if types.is_empty() && is_picture(document) {
                ParameterKey::Photographs
            } else {
                ParameterKey::Other
            }
        })
    }
}

/// Whether an attachment of it is a picture: of a Media, or of a DocumentReference.
fn is_picture(document: &Record) -> bool {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Content {
        Many(Vec<Item>),
        One(Attachment),
    }
    #[derive(Deserialize)]
    struct Item {
        attachment: Attachment,
    }
    #[derive(Deserialize)]
    struct Attachment {
        #[serde(rename = "contentType", default)]
        content_type: String,
    }
    let picture = |attachment: &Attachment| {
        let media_type = attachment.content_type.to_ascii_lowercase();
        media_type.starts_with("image/") && !media_type.starts_with("image/tif")
    };
    let content = (document.field("content"))
        .and_then(|content| serde_json::from_str::<Content>(content).ok());
    match content {
        Some(Content::Many(items)) => items.iter().any(|item| picture(&item.attachment)),
        Some(Content::One(attachment)) => picture(&attachment),
        None => false,
    }
}
