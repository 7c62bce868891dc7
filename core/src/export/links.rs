//! The URLs this server is known by.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::{AttachmentName, JobId};
use crate::fhir::PatientId;

/// What a file name keeps in a path; all else is percent-encoded.
pub(super) const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Makes the server's URLs from its public base, such as `https://ehi.example.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    base: String,
}

impl Links {
    /// Links below `base`; a slash at its end makes no difference.
    pub fn new(base: &Url) -> Self {
        Self {
            base: base.as_str().trim_end_matches('/').to_owned(),
        }
    }

    /// The public base, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `{base}{path}`.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The FHIR base.
    pub fn fhir(&self) -> String {
        self.at("/fhir")
    }

    /// Where a job's status is asked for.
    pub fn status(&self, job: JobId) -> String {
        self.at(&format!("/jobs/{job}/status"))
    }

    /// Where the patient makes their choices.
    pub fn form(&self, job: JobId, patient: &PatientId) -> String {
        self.at(&format!("/jobs/{job}/customize?_patient={patient}"))
    }

    /// Where an exported file is fetched.
    pub fn file(&self, job: JobId, name: &str) -> String {
        self.at(&format!(
            "/jobs/{job}/download/{}",
            utf8_percent_encode(name, PATH)
        ))
    }

    /// Where an attachment is fetched.
    pub fn attachment(&self, job: JobId, title: &AttachmentName) -> String {
        let title = title.in_link();
        self.at(&format!("/jobs/{job}/download/attachments/{title}"))
    }

    /// The public page that explains the export's formats.
    pub fn documentation(&self) -> String {
        self.at("/documentation")
    }
}
