//! What the staff adds to an export, and how it reaches the patient.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;
use sha1::{Digest, Sha1};

use crate::app::{App, Job};
use crate::export::{at_once, in_review, resources};
use crate::patients::{ANNA, Records, anna, read_bundle};
use crate::raw::raw;
use crate::server::Server;
use crate::staff::{File, Staff, titles};

/// Files that tell whether bytes are changed on the way.
const FILES: [File<'static>; 3] = [
    ("a.png", "image/png", b"\x89PNG\r\n\x1a\n\x00\xff"),
    ("a.png", "image/png", b"another picture with the same name"),
    ("Bröt chen.txt", "text/plain", b"line\r\nline\n"),
];

#[tokio::test]
async fn attachments_are_kept_under_their_names_and_doubles_are_numbered() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    staff.add_files(&job, &FILES).await.expect(200);
    let told = staff.job(&job).await;
    assert_eq!(titles(&told), ["a.png", "1.a.png", "Bröt chen.txt"]);
    for (attachment, (_, content_type, bytes)) in attachments(&told).iter().zip(FILES) {
        assert_eq!(media_type(&attachment["contentType"]), content_type);
        assert_eq!(attachment["size"], bytes.len());
        assert!(attachment["url"].is_string(), "in {attachment}");
    }
}

#[tokio::test]
async fn staff_are_warned_of_an_archive_that_does_not_say_what_is_in_it() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    // The beginnings of archives are enough to tell.
    let bare: &[u8] = b"PK\x03\x04\x14\0\0\0\0\0scan.csv";
    let described: &[u8] = b"PK\x03\x04\x14\0\0\0\0\0document_reference.ndjson";
    let files = [
        ("bare.zip", "application/zip", bare),
        ("described.zip", "application/zip", described),
        ("plain.txt", "text/plain", b"no archive".as_slice()),
    ];
    staff.add_files(&job, &files).await.expect(200);
    let told = staff.job(&job).await;
    let warned: Vec<bool> = (attachments(&told).iter())
        .map(|attachment| attachment["warning"].is_string())
        .collect();
    assert_eq!(warned, [true, false, false]);
}

#[tokio::test]
async fn the_patient_gets_every_attachment_byte_by_byte() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    staff.add_files(&job, &FILES[..2]).await.expect(200);
    staff.add_files(&job, &FILES[2..]).await.expect(200);
    staff.approve(&job).await.expect(200);
    let mut manifest = app.wait_for_manifest(&job).await.json();
    let announced = take_attachments(&mut manifest).expect("the attachments are announced");
    assert_eq!(announced["type"], "DocumentReference");
    assert_eq!(
        announced["count"],
        FILES.len(),
        "for ehi-app: the number of attachments"
    );

    let file = app
        .get(announced["url"].as_str().unwrap())
        .await
        .expect(200);
    assert_eq!(file.header("content-type"), "application/fhir+ndjson");
    // ehi-app reads the file as one document.
    let document = file.json();
    assert_document_reference(&document);
    let contents = document["content"].as_array().unwrap();
    assert_eq!(contents.len(), FILES.len());
    let names = ["a.png", "1.a.png", "Bröt chen.txt"];
    for ((content, (_, content_type, bytes)), title) in contents.iter().zip(FILES).zip(names) {
        for member in ["system", "code", "display"] {
            assert!(
                content["format"][member].is_string(),
                "{member} of the format in {content}"
            );
        }
        let attachment = &content["attachment"];
        assert_eq!(attachment["title"], title);
        assert_eq!(media_type(&attachment["contentType"]), content_type);
        assert_eq!(attachment["size"], bytes.len());
        assert_eq!(
            attachment["hash"],
            BASE64_STANDARD.encode(Sha1::digest(bytes))
        );
        assert!(attachment["creation"].is_string(), "in {attachment}");

        let url = attachment["url"].as_str().unwrap();
        let folder = server.url(&format!("/jobs/{}/download/attachments/", job.id));
        assert!(url.starts_with(&folder), "elsewhere: {url}");
        let download = app.get(url).await.expect(200);
        assert_eq!(download.body, bytes, "of {title}");
        assert_eq!(
            media_type(&download.header("content-type").into()),
            content_type
        );
    }
    // The record itself is as complete as without.
    let exported = resources(&app, &manifest).await;
    crate::export::assert_same(&exported, &read_bundle(&anna()).1);
}

#[tokio::test]
async fn what_is_taken_away_again_does_not_reach_the_patient() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    staff.add_files(&job, &FILES).await.expect(200);
    let url = attachments(&staff.job(&job).await)[0]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    staff
        .remove_files(&job, &["a.png", "never-there.png"])
        .await
        .expect(200);
    assert_eq!(titles(&staff.job(&job).await), ["1.a.png", "Bröt chen.txt"]);
    staff
        .remove_files(&job, &["1.a.png", "Bröt chen.txt"])
        .await
        .expect(200);
    staff.approve(&job).await.expect(200);
    let mut manifest = app.wait_for_manifest(&job).await.json();
    assert_eq!(
        take_attachments(&mut manifest),
        None,
        "announced without any"
    );
    app.get(&url).await.expect_outcome(404);
}

#[tokio::test]
async fn a_file_is_taken_away_by_the_name_in_its_link() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let wrong = (
        "discharge summary (2).pdf",
        "application/pdf",
        b"%PDF".as_slice(),
    );
    staff.add_files(&job, &[wrong, FILES[0]]).await.expect(200);
    let told = staff.job(&job).await;
    let link = attachments(&told)[0]["url"].as_str().unwrap();
    let name = link.rsplit('/').next().unwrap();
    assert_ne!(name, wrong.0);
    let told = staff.remove_files(&job, &[name]).await.expect(200).json();
    assert_eq!(titles(&told), ["a.png"]);
}

#[tokio::test]
async fn a_job_not_in_review_takes_no_files_and_gives_none_back() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let open = app.kick_off("").await;
    let (done, _) = at_once(&app).await;
    for job in [&open, &done] {
        staff.add_files(job, &FILES).await.expect(400);
        staff.remove_files(job, &["a.png"]).await.expect(400);
        assert_eq!(titles(&staff.job(job).await), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_request_without_a_file_is_refused() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    staff.add_files(&job, &[]).await.expect(400);
    staff
        .add_files_as("pictures", &job, &FILES)
        .await
        .expect(400);
    staff
        .post(&format!("/admin/jobs/{}/add-files", job.id))
        .await
        .expect_refusal();
    assert_eq!(titles(&staff.job(&job).await), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_that_is_a_path_or_nothing_is_refused_with_all_that_came_along() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    for name in [
        "",
        "..",
        ".",
        "../up.txt",
        "/etc/passwd",
        "a/b.txt",
        "a\\b.txt",
        "C:\\x.txt",
        "tab\there.txt",
        "two%0D%0Alines.txt",
        "two%0Alines.txt",
    ] {
        let files = [FILES[0], (name, "text/plain", b"text")];
        staff.add_files(&job, &files).await.expect(400);
        assert_eq!(
            titles(&staff.job(&job).await),
            Vec::<String>::new(),
            "stored beside {name:?}"
        );
    }
}

#[tokio::test]
async fn a_quoted_name_is_kept_as_it_is_though_browsers_encode_it() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let sent = ("the %22good%22 100% scan.txt", "text/plain", &b"text"[..]);
    let told = staff.add_files(&job, &[sent]).await.expect(200).json();
    assert_eq!(titles(&told), ["the \"good\" 100% scan.txt"]);
}

#[tokio::test]
async fn a_flood_is_refused_before_it_is_read() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let answer = raw(
        &server,
        &format!(
            "POST /admin/jobs/{}/add-files HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: sid={}\r\n\
             Content-Type: multipart/form-data; boundary=x\r\n\
             Content-Length: 1000000000000000\r\n\r\n--x\r\n",
            job.id,
            staff.browser.cookie("sid").unwrap(),
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 413"), "of {answer}");
    assert_eq!(titles(&staff.job(&job).await), Vec::<String>::new());
}

#[tokio::test]
async fn remove_files_takes_a_list_of_names_and_nothing_else() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    staff.add_files(&job, &FILES[..1]).await.expect(200);
    let path = format!("/admin/jobs/{}/remove-files", job.id);
    for body in [
        serde_json::json!({"params": "a.png"}),
        serde_json::json!(["a.png"]),
        serde_json::json!({"params": [1]}),
    ] {
        staff.post_json(&path, &body).await.expect(400);
    }
    assert_eq!(titles(&staff.job(&job).await), ["a.png"]);
}

#[tokio::test]
async fn a_page_among_the_attachments_does_not_run_in_the_browser() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (job, url) = with_attachment(
        &server,
        &app,
        ("page.html", "text/html", b"<script>1</script>"),
    )
    .await;
    let download = app.get(&url).await.expect(200);
    assert!(
        download
            .header("content-disposition")
            .starts_with("attachment"),
        "of {job:?}: {download}"
    );
}

/// A released export with one attachment, and the attachment's URL.
async fn with_attachment(server: &Server, app: &App<'_>, file: File<'_>) -> (Job, String) {
    let staff = Staff::log_in(server).await;
    let job = in_review(app).await;
    staff.add_files(&job, &[file]).await.expect(200);
    staff.approve(&job).await.expect(200);
    app.wait_for_manifest(&job).await;
    let url = attachments(&staff.job(&job).await)[0]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    (job, url)
}

fn attachments(job: &Value) -> &Vec<Value> {
    job["attachments"].as_array().unwrap()
}

/// Takes the announcement of the attachments out of a manifest.
fn take_attachments(manifest: &mut Value) -> Option<Value> {
    let outputs = manifest["output"].as_array_mut().unwrap();
    let name = "attachments.DocumentReference.ndjson";
    let place = outputs
        .iter()
        .position(|output| output["url"].as_str().unwrap().ends_with(name))?;
    Some(outputs.remove(place))
}

fn assert_document_reference(document: &Value) {
    assert_eq!(document["resourceType"], "DocumentReference");
    assert_eq!(document["status"], "current");
    let subject = document["subject"]["reference"].as_str().unwrap();
    assert!(
        subject.ends_with(&format!("Patient/{ANNA}")),
        "about {subject}"
    );
    let tag = serde_json::json!({"code": "ehi-export", "display": "generated as part of an ehi-export request"});
    let tags = document["meta"]["tag"].as_array().unwrap();
    assert!(tags.contains(&tag), "untagged: {document}");
    assert!(
        document["description"].is_string(),
        "undescribed: {document}"
    );
}

/// A content type without its parameters.
fn media_type(content_type: &Value) -> String {
    content_type
        .as_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .trim()
        .to_owned()
}
