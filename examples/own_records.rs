//! Plug in your own records: implement one trait, keep the rest.
//!
//! ```text
//! cargo run --example own_records
//! ```
//! Then open <http://127.0.0.1:8888/>.

use std::sync::Arc;

use async_trait::async_trait;
use ehi_core::export::Selection;
use ehi_core::fhir::{PatientId, Record};
use ehi_core::ports::{PatientSearch, PatientSummary, RecordSource, RecordStream, SourceError};
use futures::{StreamExt, stream};

/// Your system. Here it knows one patient by heart; yours asks a database or a web service.
#[derive(Debug)]
struct OwnRecords;

const RECORDS: [&str; 2] = [
    r#"{"resourceType": "Patient", "id": "grace", "name": [{"text": "Grace Quill"}]}"#,
    r#"{"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/grace"},
        "code": {"text": "Hay fever"}, "onsetDateTime": "1998"}"#,
];

#[async_trait]
impl RecordSource for OwnRecords {
    async fn patient(&self, id: &PatientId) -> Result<Option<PatientSummary>, SourceError> {
        Ok((id.as_str() == "grace").then(|| PatientSummary {
            id: id.clone(),
            name: "Grace Quill".to_owned(),
            birth_date: "1970-02-03".parse().ok(),
        }))
    }

    async fn search(&self, wanted: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError> {
        let grace =
            PatientId::parse("grace").map_err(|error| SourceError::Broken(error.to_string()))?;
        let known = self.patient(&grace).await?.into_iter();
        let found = known.filter(|patient| wanted.matches(patient));
        Ok(found.take(wanted.limit).collect())
    }

    async fn records(&self, id: &PatientId, _: &Selection) -> Result<RecordStream, SourceError> {
        self.patient(id).await?.ok_or(SourceError::NotFound)?;
        let parse = |json: &str| Record::parse(json.as_bytes());
        let records: Result<Vec<Record>, _> = RECORDS.into_iter().map(parse).collect();
        let records = records.map_err(|error| SourceError::Broken(error.to_string()))?;
        Ok(stream::iter(records.into_iter().map(Ok)).boxed())
    }
}

// Proved by the tests that every record source here passes: `cargo test --example own_records`
#[cfg(test)]
ehi_core::record_source_contract!(async { (OwnRecords, ()) });

#[tokio::main]
async fn main() -> Result<(), ehi_server::Failure> {
    ehi_server::demo::serve(Arc::new(OwnRecords), 8888).await
}
