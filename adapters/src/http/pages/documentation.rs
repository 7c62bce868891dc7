//! The public page that explains what an export holds and in which formats.

use askama::Template;
use axum::response::Response;
use ehi_core::export::{AuthorizationKey, ParameterKey};

use super::render;

#[derive(Template)]
#[template(path = "documentation.html")]
struct DocumentationPage {
    record: Vec<&'static ParameterKey>,
    documents: Vec<&'static ParameterKey>,
    sensitive: &'static [AuthorizationKey],
}

/// `GET /documentation`
pub async fn documentation() -> Response {
    let (record, documents) = ParameterKey::ALL.iter().partition(|key| key.group() == 1);
    let page = DocumentationPage {
        record,
        documents,
        sensitive: AuthorizationKey::ALL,
    };
    render(&page, None)
}
