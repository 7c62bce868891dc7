//! The promises of every record source, kept with a server that searches as FHIR says.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::Value;
use url::Url;

use super::super::*;
use super::support::*;

const FAMILIES: [(&str, &str); 2] = [("one", "Crane Quill"), ("two", "Østergård")];

/// The answer of a server that knows two patients.
fn answer(target: &str) -> Option<String> {
    let url = Url::parse(&format!("http://server{target}")).ok()?;
    let segments: Vec<_> = url.path_segments()?.skip(1).collect();
    let known = |id: &str| FAMILIES.iter().find(|(known, _)| *known == id);
    match segments[..] {
        ["Patient"] => {
            let found = FAMILIES.iter().filter(|(_, family)| fits(&url, family));
            let found: Vec<Value> = found.map(|(id, family)| patient(id, family)).collect();
            Some(page(&found, None))
        }
        ["Patient", id] => known(id).map(|(id, family)| patient(id, family).to_string()),
        ["Patient", id, "$everything"] => known(id).map(|(id, family)| {
            let mut record = vec![patient(id, family)];
            record.extend((0..30).map(observation));
            page(&record, None)
        }),
        _ => None,
    }
}

fn fits(search: &Url, family: &str) -> bool {
    search.query_pairs().all(|(name, value)| match &*name {
        "name" => {
            (family.to_lowercase().split(' ')).any(|word| word.starts_with(&value.to_lowercase()))
        }
        "birthdate" => value == "1970-02-03",
        _ => true,
    })
}

async fn filled() -> (FhirServer, Server) {
    let server = Server::start(async |asked| match answer(&asked.target) {
        Some(json) => json_answer(json),
        None => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    (server.source().await, server)
}

ehi_core::record_source_contract!(filled());
