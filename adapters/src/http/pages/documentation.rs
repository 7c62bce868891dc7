//! The public page that explains what an export holds and in which formats: made from the tables,
//! the rules and the configuration that exports go by, so that the two cannot disagree.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use ehi_core::export::{
    AuthorizationKey, DocumentKind, ParameterKey, RuleDescription, explained_types,
};
use ehi_core::fhir::ResourceType;
use ehi_core::ports::FormatDescription;

use super::super::Shared;
use super::render;

#[derive(Template)]
#[template(path = "documentation.html")]
struct DocumentationPage<'a> {
    parts: &'static [ParameterKey],
    types: Vec<(ResourceType, String)>,
    kinds: &'a [DocumentKind],
    sensitive: &'static [AuthorizationKey],
    rules: &'a [RuleDescription],
    formats: Vec<FormatDescription>,
}

/// `GET /documentation`
pub async fn documentation(State(app): State<Shared>) -> Response {
    let rules = app.exports.rules();
    let page = DocumentationPage {
        parts: ParameterKey::ALL,
        types: explained_types(),
        kinds: rules.documents.descriptions(),
        sensitive: AuthorizationKey::ALL,
        rules: rules.sensitivity.descriptions(),
        formats: app.exports.formats(),
    };
    render(&page, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ehi_core::fhir::DocumentType;
    use ehi_core::ports::{ColumnDescription, DocumentFormat};

    #[test]
    fn a_format_is_explained_column_by_column() {
        let ledger = FormatDescription {
            format: DocumentFormat {
                code: "ledger".to_owned(),
                display: "Billing <ledger>".to_owned(),
            },
            part: ParameterKey::Billing,
            document_type: DocumentType::new("urn:x", "42", "Ledger & kin").ok(),
            description: "What was charged.".to_owned(),
            columns: vec![ColumnDescription {
                name: "amount".to_owned(),
                data_type: "numeric".to_owned(),
                meaning: "US dollars".to_owned(),
            }],
        };
        let page = DocumentationPage {
            parts: ParameterKey::ALL,
            types: explained_types(),
            kinds: &[],
            sensitive: AuthorizationKey::ALL,
            rules: &[],
            formats: vec![ledger],
        };
        let html = page.render().unwrap();
        for told in [
            "id=\"format-ledger\"",
            "Billing &#60;ledger&#62;",
            "What was charged.",
            "Ledger &#38; kin (<code>42</code> of <code>urn:x</code>)",
            "<code>amount</code>",
            "numeric",
            "US dollars",
        ] {
            assert!(html.contains(told), "{told}");
        }
    }
}
