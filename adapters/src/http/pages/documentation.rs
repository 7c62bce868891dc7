//! The public page that explains what an export holds and in which formats: made from the tables
//! and the configuration that exports go by, so that the two cannot disagree.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use ehi_core::export::{AuthorizationKey, ParameterKey};
use ehi_core::ports::FormatDescription;

use super::super::Shared;
use super::render;

#[derive(Template)]
#[template(path = "documentation.html")]
struct DocumentationPage {
    record: Vec<&'static ParameterKey>,
    documents: Vec<&'static ParameterKey>,
    sensitive: &'static [AuthorizationKey],
    formats: Vec<FormatDescription>,
}

/// `GET /documentation`
pub async fn documentation(State(app): State<Shared>) -> Response {
    let (record, documents) = ParameterKey::ALL.iter().partition(|key| key.group() == 1);
    let page = DocumentationPage {
        record,
        documents,
        sensitive: AuthorizationKey::ALL,
        formats: app.exports.formats(),
    };
    render(&page, None)
}
