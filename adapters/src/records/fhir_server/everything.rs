//! All records of one patient: the answer to `$everything`.

use ehi_core::fhir::{BrokenRecord, PatientId, Record, ResourceType};
use ehi_core::ports::{RecordError, RecordStream, SourceError, Unreadable};
use futures::{StreamExt, stream};
use serde::Deserialize;

use super::pages::Pages;

/// The answer as it comes in.
struct Everything {
    pages: Pages,
    patient: PatientId,
    /// The Patient resource itself was among the records, readable or not.
    has_patient: bool,
}

type Items = Vec<Result<Record, RecordError>>;

/// The records on these pages, checked to be this patient's.
pub(super) fn records(pages: Pages, patient: PatientId) -> RecordStream {
    let everything = Everything {
        pages,
        patient,
        has_patient: false,
    };
    stream::unfold(Some(everything), async |everything| {
        let mut everything = everything?;
        match everything.next().await {
            Ok(Some(items)) => Some((items, Some(everything))),
            Ok(None) => None,
            Err(error) => Some((vec![Err(error.into())], None)),
        }
    })
    .flat_map(stream::iter)
    .boxed()
}

impl Everything {
    async fn next(&mut self) -> Result<Option<Items>, SourceError> {
        let Some(items) = self.pages.next().await? else {
            if self.has_patient {
                return Ok(None);
            }
            return Err(SourceError::Broken(
                "the FHIR server's $everything holds no Patient resource, so it is surely not everything. Check what the server allows the configured login to read".to_owned(),
            ));
        };
        // Before any of them is handed out.
        for item in &items {
            self.check_patient(item)?;
        }
        let items = items.into_iter().filter_map(|item| self.judge(item));
        Ok(Some(items.collect()))
    }

    fn check_patient(&mut self, item: &Result<Record, BrokenRecord>) -> Result<(), SourceError> {
        let resource_type = match item {
            Ok(record) => Some(record.resource_type()),
            Err(broken) => broken.resource_type,
        };
        if resource_type != Some(ResourceType::Patient) {
            return Ok(());
        }
        self.has_patient = true;
        match item {
            Ok(record) if record.id() != Some(self.patient.as_str()) => {
                Err(SourceError::Broken(format!(
                    "page {} of the FHIR server's $everything holds another patient. Nothing of it can be released",
                    self.pages.number()
                )))
            }
            _ => Ok(()),
        }
    }

    /// What an entry means to the export; `None` for what is no part of the record.
    fn judge(&self, item: Result<Record, BrokenRecord>) -> Option<Result<Record, RecordError>> {
        let page = format!("page {}", self.pages.number());
        let (place, reason) = match item {
            Ok(record) if record.resource_type() == ResourceType::OperationOutcome => {
                let code = failure(&record)?;
                let reason = format!("the FHIR server reports a failure here ({code})");
                (page, reason)
            }
            Ok(record) => return Some(Ok(record)),
            Err(broken) => match broken.place {
                Some(place) => (format!("{page}, {place}"), broken.to_string()),
                None => (page, broken.to_string()),
            },
        };
        Some(Err(RecordError::Unreadable(Unreadable { place, reason })))
    }
}

/// One of `OperationOutcome.issue`, without the texts: they may speak of the patient.
#[derive(Deserialize)]
struct Issue {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    code: String,
}

/// The code of the failure that an `OperationOutcome` among the entries reports; `None` for a
/// warning or a hint.
///
/// Such an entry is the server speaking about its answer (`search.mode` is `outcome`), never a
/// part of the record: `OperationOutcome`s are not stored. A failure means that something is
/// missing, and that must not go unnoticed.
fn failure(outcome: &Record) -> Option<String> {
    let issues = outcome.field("issue").unwrap_or("[]");
    let Ok(issues) = serde_json::from_str::<Vec<Issue>>(issues) else {
        return Some("unknown".to_owned());
    };
    let failed = |issue: &Issue| matches!(issue.severity.as_str(), "error" | "fatal");
    let issue = issues.into_iter().find(failed)?;
    let is_code = |code: &String| {
        (1..=32).contains(&code.len())
            && code
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    Some(
        Some(issue.code)
            .filter(is_code)
            .unwrap_or_else(|| "unknown".to_owned()),
    )
}
