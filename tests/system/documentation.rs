//! The public page that the manifest points at.

use crate::app::App;
use crate::browser::{http, send};
use crate::export::at_once;
use crate::patients::{ANNA, Records};
use crate::server::Server;

#[tokio::test]
async fn anybody_can_read_what_an_export_holds_and_what_is_protected() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (_, manifest) = at_once(&app).await;
    let url = manifest["extension"]["ehiDocumentationUrl"]
        .as_str()
        .unwrap();
    // Without a token and without a cookie.
    let page = send(http().get(url)).await.expect(200);
    let text = page.text();
    for told in [
        // Files and parts.
        "attachments.DocumentReference.ndjson",
        "dischargeSummary",
        "medicalRecord",
        // Where types go, and how documents are told apart.
        "ImagingStudy",
        "AllergyIntolerance",
        "18842-5",
        // The rules in force.
        "domesticViolence",
        "PSYTHPN",
        "B20",
        "45 CFR 164.501",
    ] {
        assert!(text.contains(told), "{told} is not explained");
    }
}
