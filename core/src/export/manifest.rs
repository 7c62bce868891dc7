//! The manifest: what an app is told of a finished export.
//!
//! Source: FHIR Bulk Data Access, "Response - Complete Status"; Argonaut EHI Export API 0.1.0.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::links::Links;
use super::{Archive, Attachment, ExportJob, FileKind};
use crate::auth::Quirk;
use crate::fhir::{AttachedFile, Documented, document_reference};

/// The file that announces the attachments. It is made when it is fetched, or linked.
pub const ATTACHMENTS_FILE: &str = "attachments.DocumentReference.ndjson";

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The state of the source the export shows.
    pub transaction_time: Timestamp,
    /// The kick-off URL.
    pub request: String,
    /// Whether files are fetched with the access token: all of them, or none.
    pub requires_access_token: bool,
    /// The files with records and the announced attachments.
    pub output: Vec<ManifestEntry>,
    /// The files about records that could not be read.
    pub error: Vec<ManifestEntry>,
    /// Where the formats are documented.
    pub extension: ManifestExtension,
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManifestEntry {
    /// The resource type in the file.
    #[serde(rename = "type")]
    pub resource_type: &'static str,
    /// Where it is fetched.
    pub url: String,
    /// How many resources it holds.
    pub count: u64,
}

/// What EHI export adds to the bulk manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestExtension {
    /// Where the formats are documented.
    pub ehi_documentation_url: String,
}

/// How attachments are announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// One DocumentReference each.
    Each,
    /// One DocumentReference with all of them, for clients that read the file as one document.
    Grouped,
}

impl Announcement {
    /// How this client wants it.
    pub fn to(quirks: &[Quirk]) -> Self {
        if quirks.contains(&Quirk::GroupedAttachments) {
            Self::Grouped
        } else {
            Self::Each
        }
    }
}

impl Manifest {
    /// The manifest of a job, `None` before there is an export. Files are fetched with the token.
    pub fn of(job: &ExportJob, links: &Links) -> Option<Self> {
        let files: Vec<String> = (job.export()?.files.iter())
            .map(|file| links.file(job.id, file.name.as_str()))
            .collect();
        let announced = !job.attachments().is_empty();
        let announcement = announced.then(|| links.file(job.id, ATTACHMENTS_FILE));
        Self::at(job, links.documentation(), &files, announcement)
    }

    /// The same, of files that are fetched without a token: at these addresses, in the order of
    /// the export's files.
    pub(super) fn by_link(
        job: &ExportJob,
        documentation: String,
        files: &[String],
        announcement: Option<String>,
    ) -> Option<Self> {
        Some(Self {
            requires_access_token: false,
            ..Self::at(job, documentation, files, announcement)?
        })
    }

    fn at(
        job: &ExportJob,
        documentation: String,
        files: &[String],
        announcement: Option<String>,
    ) -> Option<Self> {
        let export = job.export()?;
        let entries = |kind: FileKind| {
            (export.files.iter().zip(files))
                .filter(move |(file, _)| file.kind == kind)
                .map(|(file, url)| ManifestEntry {
                    resource_type: file.resource_type.as_str(),
                    url: url.clone(),
                    count: file.count,
                })
        };
        let attachments = announcement.map(|url| ManifestEntry {
            resource_type: "DocumentReference",
            url,
            count: job.attachments().len() as u64,
        });
        Some(Self {
            transaction_time: export.transaction_time,
            request: job.request.to_string(),
            requires_access_token: true,
            output: entries(FileKind::Output).chain(attachments).collect(),
            error: entries(FileKind::Error).collect(),
            extension: ManifestExtension {
                ehi_documentation_url: documentation,
            },
        })
    }
}

/// The content of [`ATTACHMENTS_FILE`], of attachments at these addresses, in their order.
pub(super) fn announce(
    job: &ExportJob,
    documentation: &str,
    urls: &[String],
    announcement: Announcement,
) -> String {
    let told = |attachments: &[Attachment], urls: &[String], id: String, description: &str| {
        let files: Vec<AttachedFile<'_>> = (attachments.iter().zip(urls))
            .map(|(attachment, url)| AttachedFile {
                url,
                content_type: &attachment.content_type,
                size: attachment.size,
                title: attachment.title.as_str(),
                hash: Some(&attachment.hash),
                created_at: Some(attachment.created_at),
                format_code: &attachment.format.code,
                format_display: &attachment.format.display,
            })
            .collect();
        let document = Documented {
            id: &id,
            description,
            document_type: shared(attachments, |one| one.document_type.as_ref()),
            date: shared(attachments, |one| Some(one.created_at)),
            period: shared(attachments, |one| one.period),
            files: &files,
        };
        document_reference(&job.patient.id, documentation, &document)
    };
    match announcement {
        Announcement::Grouped => {
            let all = "Files added to this export by the hospital";
            format!(
                "{}\n",
                told(job.attachments(), urls, job.id.to_string(), all)
            )
        }
        Announcement::Each => {
            let mut text = String::new();
            for (one, url) in job.attachments().chunks(1).zip(urls.chunks(1)) {
                let (id, description) = (one[0].key.to_string(), &one[0].description);
                text += &told(one, url, id, description).to_string();
                text.push('\n');
            }
            text
        }
    }
}

/// What all of them have in common: only that can be told of a group.
fn shared<'a, T: PartialEq>(
    attachments: &'a [Attachment],
    told: impl Fn(&'a Attachment) -> Option<T>,
) -> Option<T> {
    let (first, rest) = attachments.split_first()?;
    let first = told(first);
    rest.iter().all(|one| told(one) == first).then_some(first)?
}

/// A FHIR Attachment as the job's JSON shows it.
pub fn attachment_json(job: &ExportJob, attachment: &Attachment, links: &Links) -> Value {
    let mut json = json!({
        "title": attachment.title.as_str(),
        "contentType": attachment.content_type,
        "size": attachment.size,
        "url": links.attachment(job.id, &attachment.title),
        "hash": attachment.hash,
        "creation": attachment.created_at.to_string(),
    });
    if attachment.archive == Archive::Undescribed {
        json["warning"] = "This archive holds no document_reference.ndjson, so the patient cannot \
            tell what is in it. Consider adding one."
            .into();
    }
    json
}

#[cfg(test)]
mod tests;
