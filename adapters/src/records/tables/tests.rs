//! Tables against a real PostgreSQL.

mod config;
mod reading;
mod values;

use ehi_core::export::{Choices, Selection, SensitivityRules};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{Document, DocumentStream, RecordError, RecordSource};
use futures::StreamExt;
use serde_json::{Value, json};

use super::{TableDocuments, TableQueries, TablesError};
use crate::testing::TestDatabase;

/// A query called `t` of these columns, explained.
fn query(sql: &str, columns: &[&str]) -> String {
    let explained: Vec<String> = (columns.iter())
        .map(|name| format!("'{name}' = 'what {name} means'"))
        .collect();
    let explained = explained.join("\n");
    format!(
        "[[query]]\nname = 't'\ndescription = 'A table'\npart = 'billing'\n\
         format = {{ code = 'table', display = 'Table' }}\nsql = '''{sql}'''\n\
         [query.columns]\n{explained}"
    )
}

async fn open(database: &TestDatabase, file: &str) -> Result<TableDocuments, TablesError> {
    let queries = TableQueries::parse(file)?;
    TableDocuments::connect(&database.url().into(), &queries).await
}

fn asking(parameters: &Value) -> Selection {
    Selection::new(
        Choices::from_json(&json!({"parameters": parameters})).unwrap(),
        SensitivityRules::standard(),
    )
}

fn everything() -> Selection {
    ehi_core::testkit::everything()
}

fn id(text: &str) -> PatientId {
    PatientId::parse(text).unwrap()
}

async fn documents(source: &TableDocuments, patient: &str) -> DocumentStream {
    source.documents(&id(patient), &everything()).await.unwrap()
}

/// The next document.
async fn next(documents: &mut DocumentStream) -> Document {
    documents.next().await.unwrap().unwrap()
}

/// A document's bytes as text, or why there are none.
async fn text(mut document: Document) -> Result<String, RecordError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = document.content.next().await {
        bytes.extend(chunk?);
    }
    Ok(String::from_utf8(bytes).unwrap())
}

/// Every document of a patient: its name and text.
async fn all(source: &TableDocuments, patient: &str, wanted: &Selection) -> Vec<(String, String)> {
    let mut documents = source.documents(&id(patient), wanted).await.unwrap();
    let mut all = Vec::new();
    while let Some(document) = documents.next().await {
        let document = document.unwrap();
        all.push((document.name.to_string(), text(document).await.unwrap()));
    }
    all
}
