//! A folder of records as it is in life: files half written, broken entries, files that come later.

use serde_json::{Value, json};

use crate::app::{App, AuthorizeRequest, CALLBACK};
use crate::browser::{Answer, Browser};
use crate::export::{assert_same, at_once, lines, resources};
use crate::forms::Form;
use crate::patients::{ANNA, BEN, Records, anna, ben, bundle, patient, read_bundle};
use crate::server::Server;
use crate::staff::Staff;
use crate::wait::until;

/// Whom one can log in as.
async fn on_the_login_page(server: &Server) -> Vec<String> {
    let page = Browser::new()
        .open(&AuthorizeRequest::new(server).url(server))
        .await
        .expect(200);
    Form::all(&page).iter().flat_map(Form::choices).collect()
}

#[tokio::test]
async fn a_half_written_file_is_named_in_the_log_and_harms_no_other_patient() {
    let records = Records::small();
    let whole = bundle(&[patient("cleo-3", "Cleo", "Clark")]);
    records.write("half.json", &whole[..whole.len() / 2]);
    records.write("nothing.json", "");
    records.write("no-bundle.json", "[1, 2, 3]");
    let server = Server::demo(&records);
    for (id, source) in [(ANNA, anna()), (BEN, ben())] {
        let app = App::connect(&server, id).await;
        let (_, manifest) = at_once(&app).await;
        assert_same(&resources(&app, &manifest).await, &read_bundle(&source).1);
    }
    for file in ["half.json", "nothing.json", "no-bundle.json"] {
        until(&format!("a warning about {file}"), async || {
            let log = server.log();
            log.lines()
                .any(|line| line.contains(file) && line.contains("WARN"))
                .then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_broken_entry_is_reported_and_the_rest_arrives() {
    let records = Records::empty();
    let mut entries: Value = serde_json::from_str(&ben()).unwrap();
    let list = entries["entry"].as_array_mut().unwrap();
    let subject = json!({"reference": format!("Patient/{BEN}")});
    list.push(json!({"resource": {"id": "typeless", "subject": subject}}));
    list.push(
        json!({"resource": {"resourceType": "Nonsense", "id": "nonsense", "subject": subject}}),
    );
    list.push(json!({"resource": {"resourceType": 7, "id": "seven", "subject": subject}}));
    list.push(json!({"resource": {"resourceType": "Flag", "id": "flag", "subject": subject}}));
    records.write("ben.json", &entries.to_string());
    let server = Server::demo(&records);
    let app = App::connect(&server, BEN).await;
    let (_, manifest) = at_once(&app).await;

    let exported = resources(&app, &manifest).await;
    let mut source = read_bundle(&ben()).1;
    let flag = json!({"resourceType": "Flag", "id": "flag", "subject": subject});
    source.insert(("Flag".to_owned(), "flag".to_owned()), flag);
    assert_same(&exported, &source);

    let errors = manifest["error"].as_array().unwrap();
    assert!(!errors.is_empty(), "not reported: {manifest}");
    let mut issues = 0;
    for error in errors {
        assert_eq!(error["type"], "OperationOutcome");
        let file = app.get(error["url"].as_str().unwrap()).await.expect(200);
        assert_eq!(file.header("content-type"), "application/fhir+ndjson");
        for outcome in lines(&file) {
            assert_eq!(outcome["resourceType"], "OperationOutcome");
            issues += outcome["issue"].as_array().unwrap().len();
        }
    }
    assert!(issues >= 3, "three entries are broken, {issues} issues");
}

#[tokio::test]
async fn a_patient_who_comes_later_is_noticed() {
    let server_records = Records::small();
    let server = Server::demo(&server_records);
    assert!(
        !on_the_login_page(&server)
            .await
            .contains(&"cleo-3".to_owned())
    );
    let source = bundle(&[patient("cleo-3", "Cleo", "Clark")]);
    server_records.write("cleo.json", &source);
    until("Cleo", async || {
        on_the_login_page(&server)
            .await
            .contains(&"cleo-3".to_owned())
            .then_some(())
    })
    .await;
    let app = App::connect(&server, "cleo-3").await;
    let (_, manifest) = at_once(&app).await;
    assert_same(&resources(&app, &manifest).await, &read_bundle(&source).1);
}

#[tokio::test]
async fn a_record_that_changes_is_exported_as_it_is_now() {
    let records = Records::small();
    let server = Server::demo(&records);
    let app = App::connect(&server, BEN).await;
    at_once(&app).await;
    let flag = json!({"resourceType": "Flag", "id": "new", "subject": {"reference": format!("Patient/{BEN}")}});
    let changed = bundle(&[patient(BEN, "Benjamin", "Brook"), flag]);
    records.write("ben.json", &changed);
    let source = read_bundle(&changed).1;
    until("the changed record", async || {
        let (_, manifest) = at_once(&app).await;
        (resources(&app, &manifest).await == source).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_records_at_all_is_no_reason_to_fall_over() {
    let server = Server::demo(&Records::empty());
    let page = Browser::new()
        .open(&AuthorizeRequest::new(&server).url(&server))
        .await;
    assert_eq!(page.status, 200, "of {page}");
    assert!(page.is_page());
}

#[tokio::test]
async fn a_name_is_text_and_never_markup() {
    let records = Records::empty();
    let given = "<script>alert(1)</script>";
    records.write(
        "eve.json",
        &bundle(&[patient("eve-4", given, "\"><img src=x onerror=alert(2)>")]),
    );
    let server = Server::demo(&records);
    let browser = Browser::new();
    let request = AuthorizeRequest::new(&server).with("state", "\"><script>alert(3)</script>");
    let login = browser.open(&request.url(&server)).await.expect(200);
    let consent = crate::app::log_in(&browser, &request.url(&server), "eve-4").await;
    let app = App::connect(&server, "eve-4").await;
    let job = app.kick_off("").await;
    let form = app
        .browser
        .open(&format!(
            "{}&redirect={CALLBACK}%22%3E%3Cscript%3Ealert(4)",
            job.form()
        ))
        .await;
    for page in [login, consent, form] {
        let text = page.expect(200).text();
        for markup in ["<script>alert", "<img src=x"] {
            assert!(!text.contains(markup), "{markup} in {text}");
        }
    }
}

#[tokio::test]
async fn a_name_never_becomes_a_header() {
    let records = Records::empty();
    let given = "Eve\r\nX-Injected: 1\r\n\r\n<p>";
    records.write(
        "eve.json",
        &bundle(&[patient("eve-4", given, "\u{2028}Crane")]),
    );
    let server = Server::demo(&records);
    let app = App::connect(&server, "eve-4").await;
    let job = crate::export::in_review(&app).await;
    let staff = Staff::log_in(&server).await;
    let names = [
        "a\";filename=\"b.html",
        "a%0d%0aX-Injected: 1.txt",
        "a\u{2028}b;c=d.txt",
    ];
    let files = names.map(|name| (name, "text/plain; x=\"y\"", &b"text"[..]));
    // Quotes end the name where a browser would have written them otherwise.
    staff.add_files(&job, &files[1..]).await.expect(200);
    let seen = staff.get(&format!("/admin/jobs/{}", job.id)).await;
    staff.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await;
    let announced = manifest.json()["output"].clone();
    let mut answers = vec![seen, manifest];
    for output in announced.as_array().unwrap() {
        answers.push(app.get(output["url"].as_str().unwrap()).await.expect(200));
    }
    let announcement = |answer: &&Answer| answer.json()["resourceType"] == "DocumentReference";
    let documents = answers[2..].iter().find(announcement).unwrap().json();
    for content in documents["content"].as_array().unwrap() {
        let url = content["attachment"]["url"].as_str().unwrap();
        let file = app.get(url).await.expect(200);
        assert_eq!(file.body, b"text", "of {url}");
        assert!(
            file.header("content-disposition").starts_with("attachment"),
            "{file}"
        );
        answers.push(file);
    }
    assert!(answers.len() > 4);
    for answer in answers {
        assert!(answer.headers.get("x-injected").is_none(), "{answer}");
    }
}
