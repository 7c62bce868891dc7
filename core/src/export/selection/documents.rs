//! Which part of the record a document or a report belongs to.
//!
//! The codes are data, in `rules/documents.toml`, each list with its source.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;

use crate::export::ParameterKey;
use crate::fhir::{Coding, Record, ResourceType, codings};

/// Where the codes of documents and reports come from.
const KINDS: &str = include_str!("../rules/documents.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindFile {
    systems: BTreeMap<String, Vec<String>>,
    kind: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    part: ParameterKey,
    #[serde(rename = "in")]
    place: Place,
    /// Without one, the codes count under any system.
    system: Option<String>,
    source: String,
    codes: BTreeMap<String, String>,
}

/// A list of codes by which documents are found, as the public documentation explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentKind {
    /// The part of the record its documents belong to.
    pub part: ParameterKey,
    /// Where the list comes from.
    pub source: String,
    /// Each code and what it means.
    pub codes: Vec<(String, String)>,
}

/// The lists of codes by which documents are found.
pub fn document_kinds() -> Vec<DocumentKind> {
    let kinds = toml::from_str::<KindFile>(KINDS).map(|file| file.kind);
    (kinds.unwrap_or_default().into_iter())
        .map(|kind| DocumentKind {
            part: kind.part,
            source: kind.source,
            codes: kind.codes.into_iter().collect(),
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Type,
    Category,
}

/// Codes of one place by system; the empty system stands for any.
type Parts = HashMap<String, HashMap<String, ParameterKey>>;

#[derive(Debug, Default)]
struct Kinds {
    types: Parts,
    categories: Parts,
}

static STANDARD: LazyLock<Kinds> = LazyLock::new(|| match read(KINDS) {
    Ok(kinds) => kinds,
    // A test reads them.
    Err(error) => panic!("the standard kinds of documents are broken: {error}"),
});

fn read(text: &str) -> Result<Kinds, String> {
    let file: KindFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let any = vec![String::new()];
    let mut kinds = Kinds::default();
    for kind in file.kind {
        let uris = match &kind.system {
            None => &any,
            Some(name) => (file.systems.get(name)).ok_or_else(|| format!("no system {name}"))?,
        };
        let parts = match kind.place {
            Place::Type => &mut kinds.types,
            Place::Category => &mut kinds.categories,
        };
        for uri in uris {
            let codes = parts.entry(uri.clone()).or_default();
            codes.extend((kind.codes.keys()).map(|code| (code.clone(), kind.part)));
        }
    }
    Ok(kinds)
}

/// The part the first known coding belongs to.
fn part_of(parts: &Parts, codings: &[Coding<'_>]) -> Option<ParameterKey> {
    codings.iter().find_map(|coding| {
        [coding.system.as_ref(), ""]
            .into_iter()
            .find_map(|system| parts.get(system)?.get(coding.code.as_ref()).copied())
    })
}

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

/// The part of a report: by the section it is filed under, or by its code.
pub(super) fn report_part(report: &Record) -> Option<ParameterKey> {
    part_of(&STANDARD.categories, &coded(report, "category"))
        .or_else(|| part_of(&STANDARD.types, &coded(report, "code")))
}

/// The part of a document: one of group 2, always.
///
/// Its type decides, then its category. A picture of no known type is a photograph, except a
/// TIFF: that is how paper is scanned.
pub(super) fn document_part(document: &Record) -> ParameterKey {
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
    let by_code = part_of(&STANDARD.types, &types)
        .or_else(|| part_of(&STANDARD.categories, &categories))
        .or_else(|| part_of(&STANDARD.types, &categories))
        .filter(|key| key.group() == 2);
    by_code.unwrap_or_else(|| {
        if types.is_empty() && is_picture(document) {
            ParameterKey::Photographs
        } else {
            ParameterKey::Other
        }
    })
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every code of the file: its part, whether it is a type, its system and itself.
    pub(in super::super) fn all_codes() -> Vec<(ParameterKey, bool, String, String)> {
        let file: KindFile = toml::from_str(KINDS).unwrap();
        let mut all = Vec::new();
        for kind in &file.kind {
            let system = (kind.system.as_ref())
                .map_or_else(|| "urn:x".to_owned(), |name| file.systems[name][0].clone());
            for code in kind.codes.keys() {
                let is_type = kind.place == Place::Type;
                all.push((kind.part, is_type, system.clone(), code.clone()));
            }
        }
        all
    }

    #[test]
    fn the_standard_kinds_can_be_read() {
        let kinds = read(KINDS).unwrap();
        assert!(kinds.types.contains_key("http://loinc.org"));
        assert!(kinds.categories.contains_key(""));
        assert!(read("systems = {}\n[[kind]]\npart = 'labs'").is_err());
    }
}
