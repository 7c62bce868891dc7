//! The page that tells a patient to whom their record went.

use askama::Template;
use axum::response::Response;
use ehi_core::audit::{Accounting, Disclosure};
use jiff::Timestamp;

use super::render;

#[derive(Template)]
#[template(path = "disclosures.html")]
struct DisclosuresPage<'a> {
    accounting: &'a Accounting,
}

impl DisclosuresPage<'_> {
    fn day(at: &Timestamp) -> String {
        at.strftime("%Y-%m-%d").to_string()
    }

    fn recipient(each: &Disclosure) -> &str {
        each.client_name
            .as_deref()
            .unwrap_or_else(|| each.client.as_str())
    }
}

/// The page, ready to print.
pub fn disclosures(accounting: &Accounting) -> Response {
    render(&DisclosuresPage { accounting }, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ehi_core::export::{FileName, JobId};
    use ehi_core::fhir::ResourceType;
    use ehi_core::ports::DisclosedFile;
    use ehi_core::testkit::{at, client_id, patient};

    #[test]
    fn the_page_tells_when_what_went_to_whom_and_why() {
        let mut accounting = Accounting {
            patient: patient(),
            from: at(0),
            until: at(100_000),
            disclosures: Vec::new(),
        };
        accounting.patient.name = "Ada <b>Crane</b>".to_owned();
        let empty = (DisclosuresPage {
            accounting: &accounting,
        })
        .render()
        .unwrap();
        assert!(empty.contains("no disclosures") && !empty.contains("<b>"));
        accounting.disclosures.push(Disclosure {
            first: at(10),
            last: at(90_000),
            client: client_id(),
            client_name: Some("App & Co".to_owned()),
            job: JobId::from_random([7; 32]),
            files: [DisclosedFile::records(&FileName::output(
                ResourceType::Patient,
                1,
            ))]
            .into(),
        });
        let page = (DisclosuresPage {
            accounting: &accounting,
        })
        .render()
        .unwrap();
        for told in ["2024-01-01", "2024-01-02", "App &#38; Co", "Patient.ndjson"] {
            assert!(page.contains(told), "{told} in {page}");
        }
    }
}
