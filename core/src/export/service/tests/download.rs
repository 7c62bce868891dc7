//! What may be fetched, by whom, and what is told of it.

use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt;

use super::*;
use crate::auth::{Client, Quirk};
use crate::export::{ATTACHMENTS_FILE, Download, attachment_json};
use crate::ports::{MockClientRegistry, Outcome};
use crate::testkit::client;

async fn text(service: &ExportService, download: &Download, range: Range<u64>) -> String {
    let chunks = service.read(download, range).await.unwrap();
    let chunks: Vec<Bytes> = chunks.try_collect().await.unwrap();
    String::from_utf8(chunks.concat()).unwrap()
}

#[tokio::test]
async fn an_approved_file_can_be_fetched_whole_and_in_parts() {
    let job = approved();
    let house = House::of([job.clone()]);
    let export = job.export().unwrap();
    let path = job.file_path(export, &export.files[0]);
    house.keep(&path, "abc").await;
    let audit = house.recorded.clone();
    let service = house.service();
    let download = (service.file(&access(), job.id, "Patient.ndjson").await).unwrap();
    assert_eq!(download.name, "Patient.ndjson");
    assert_eq!(download.content_type, "application/fhir+ndjson");
    assert_eq!(download.size, 3);
    assert_eq!(text(&service, &download, 0..3).await, "abc");
    assert_eq!(text(&service, &download, 1..2).await, "b");
    assert_eq!(audit.actions(), [Action::Download, Action::Download]);
    assert_eq!(audit.events()[0].actor, Actor::Client(client_id()));
}

#[tokio::test]
async fn nothing_can_be_fetched_before_release_or_after_its_end() {
    for job in [
        awaiting_input(),
        requested(),
        retrieved_with(&["a.png"]),
        rejected(),
        failed(),
    ] {
        let house = House::of([job.clone()]);
        let audit = house.recorded.clone();
        let service = house.service();
        for name in ["Patient.ndjson", ATTACHMENTS_FILE] {
            let refused = service.file(&access(), job.id, name).await;
            assert!(
                matches!(refused, Err(UseCaseError::NotFound)),
                "{:?}",
                job.status()
            );
        }
        let refused = service.attachment(&access(), job.id, "a.png").await;
        assert!(
            matches!(refused, Err(UseCaseError::NotFound)),
            "{:?}",
            job.status()
        );
        let remembered = audit.events();
        let refused = |event: &AuditEvent| {
            (event.action, event.outcome) == (Action::Download, Outcome::Refused)
        };
        assert!(remembered.len() == 3 && remembered.iter().all(refused));
    }
}

#[tokio::test]
async fn only_the_apps_own_files_under_their_own_names_can_be_fetched() {
    let job = approved_with(&["a.png"]);
    let service = House::of([job.clone()]).service();
    for name in [
        "",
        "Condition.ndjson",
        "patient.ndjson",
        "../1/Patient.ndjson",
        "a.png",
    ] {
        let refused = service.file(&access(), job.id, name).await;
        assert!(matches!(refused, Err(UseCaseError::NotFound)), "{name}");
    }
    for title in ["", "b.png", "Patient.ndjson", "../attachments/a.png"] {
        let refused = service.attachment(&access(), job.id, title).await;
        assert!(matches!(refused, Err(UseCaseError::NotFound)), "{title}");
    }
    for stranger in [
        with_patient(other_patient()),
        with_client(access(), "x"),
        system(),
    ] {
        let refused = service.file(&stranger, job.id, "Patient.ndjson").await;
        assert!(
            matches!(refused, Err(UseCaseError::NotFound)),
            "{stranger:?}"
        );
        let refused = service.attachment(&stranger, job.id, "a.png").await;
        assert!(
            matches!(refused, Err(UseCaseError::NotFound)),
            "{stranger:?}"
        );
    }
}

#[tokio::test]
async fn an_attachment_keeps_its_name_and_type() {
    let job = approved_with(&["Röntgen 1.png"]);
    let house = House::of([job.clone()]);
    house
        .keep(&job.attachment_path(&job.attachments()[0]), "\u{1F9B4}")
        .await;
    let audit = house.recorded.clone();
    let service = house.service();
    let download = (service.attachment(&access(), job.id, "Röntgen 1.png").await).unwrap();
    assert_eq!(download.name, "Röntgen 1.png");
    assert_eq!(
        (download.content_type.as_str(), download.size),
        ("image/png", 4)
    );
    assert_eq!(text(&service, &download, 0..4).await, "\u{1F9B4}");
    assert_eq!(audit.actions(), [Action::Download]);
}

#[tokio::test]
async fn without_an_audit_entry_nothing_is_fetched() {
    let job = approved_with(&["a.png"]);
    let house = House::of([job.clone()]).without_audit();
    let export = job.export().unwrap();
    let path = job.file_path(export, &export.files[0]);
    house.keep(&path, "abc").await;
    let path = job.attachment_path(&job.attachments()[0]);
    house.keep(&path, "abcd").await;
    let service = house.service();
    for download in [
        service.file(&access(), job.id, "Patient.ndjson").await,
        service.file(&access(), job.id, ATTACHMENTS_FILE).await,
        service.attachment(&access(), job.id, "a.png").await,
    ] {
        let download = download.unwrap();
        for range in [0..1, 0..0] {
            let refused = service.read(&download, range).await.map(drop);
            assert!(
                matches!(refused, Err(UseCaseError::Unavailable(_))),
                "{download:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_file_is_downloaded_when_its_bytes_are_asked_for_and_not_before() {
    let job = approved_with(&["a.png"]);
    let house = House::of([job.clone()]);
    let path = job.attachment_path(&job.attachments()[0]);
    house.keep(&path, "abcd").await;
    let audit = house.recorded.clone();
    let service = house.service();
    for name in ["Patient.ndjson", ATTACHMENTS_FILE] {
        service.file(&access(), job.id, name).await.unwrap();
    }
    let download = service.attachment(&access(), job.id, "a.png").await;
    assert_eq!(audit.actions(), []);
    assert_eq!(text(&service, &download.unwrap(), 0..4).await, "abcd");
    assert_eq!(audit.actions(), [Action::Download]);
    let entry = &audit.events()[0];
    assert_eq!(
        (entry.job, entry.patient.as_ref()),
        (Some(job.id), Some(&job.patient.id))
    );
    assert!(entry.file.is_some());
}

async fn announced(quirks: Vec<Quirk>) -> String {
    let mut house = House::of([approved_with(&["a.png", "b.png"])]);
    house.clients = MockClientRegistry::new();
    let registered = Client { quirks, ..client() };
    house
        .clients
        .expect_client()
        .returning(move |_| Ok(Some(registered.clone())));
    let service = house.service();
    let download = (service
        .file(&access(), approved().id, ATTACHMENTS_FILE)
        .await)
        .unwrap();
    let all = text(&service, &download, 0..u64::MAX).await;
    assert_eq!(download.size, all.len() as u64);
    assert_eq!(download.content_type, "application/fhir+ndjson");
    all
}

#[tokio::test]
async fn attachments_are_announced_one_by_one_or_together_as_the_app_needs_it() {
    let standard = announced(vec![]).await;
    assert_eq!(standard.lines().count(), 2);
    let grouped = announced(vec![Quirk::GroupedAttachments]).await;
    let whole: serde_json::Value = serde_json::from_str(&grouped).unwrap();
    assert_eq!(whole["content"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn without_attachments_there_is_no_file_that_announces_them() {
    let service = House::of([approved()]).service();
    let refused = service
        .file(&access(), approved().id, ATTACHMENTS_FILE)
        .await;
    assert!(matches!(refused, Err(UseCaseError::NotFound)));
}

#[tokio::test]
async fn a_made_file_is_cut_to_any_range() {
    let service = House::of([approved_with(&["a.png"])]).service();
    let download = (service
        .file(&access(), approved().id, ATTACHMENTS_FILE)
        .await)
        .unwrap();
    let size = download.size;
    let whole = text(&service, &download, 0..size).await;
    assert_eq!(text(&service, &download, 2..5).await, whole[2..5]);
    assert_eq!(
        text(&service, &download, size - 2..size + 9).await,
        whole[whole.len() - 2..]
    );
    assert_eq!(text(&service, &download, size + 5..u64::MAX).await, "");
    let (start, end) = (5, 2);
    assert_eq!(
        text(&service, &download, start..end).await,
        "",
        "no range, no bytes"
    );
}

#[tokio::test]
async fn an_entity_tag_changes_with_the_content() {
    let one = House::of([approved_with(&["a.png"])]).service();
    let two = House::of([approved_with(&["a.png", "b.png"])]).service();
    let mut tags = Vec::new();
    for service in [&one, &two, &one] {
        for name in [ATTACHMENTS_FILE, "Patient.ndjson"] {
            tags.push(
                (service.file(&access(), approved().id, name).await)
                    .unwrap()
                    .etag,
            );
        }
    }
    assert_ne!(tags[0], tags[2], "another file was added");
    assert_eq!(tags[0], tags[4]);
    assert_eq!(tags[1], tags[3], "the exported file is the same");
    assert_ne!(tags[0], tags[1]);
    for tag in tags {
        let inner = tag.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        assert!(
            inner.len() >= 20 && inner.bytes().all(|byte| byte.is_ascii_graphic()),
            "{tag}"
        );
    }
}

#[tokio::test]
async fn a_file_that_vanished_is_not_found_only_where_its_job_went_too() {
    let house = House::of([approved()]);
    let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
    let service = house.service();
    let download = (service
        .file(&access(), approved().id, "Patient.ndjson")
        .await)
        .unwrap();
    // Its disk may be away, and come back.
    let read = service.read(&download, 0..3).await;
    assert!(matches!(read.map(drop), Err(UseCaseError::Unavailable(_))));
    shelf.take(approved().id);
    let read = service.read(&download, 0..3).await;
    assert!(matches!(read.map(drop), Err(UseCaseError::NotFound)));
    assert_eq!(audit.actions(), [], "nothing left");
}

#[test]
fn staff_are_shown_the_address_the_app_will_use() {
    let job = approved_with(&["a b.png"]);
    let shown = attachment_json(&job, &job.attachments()[0], &links());
    let url = format!(
        "https://ehi.example/jobs/{}/download/attachments/a%20b.png",
        job.id
    );
    assert_eq!(shown["url"], url);
    assert_eq!(shown["title"], "a b.png");
    assert_eq!(
        (&shown["contentType"], &shown["size"]),
        (&"image/png".into(), &4.into())
    );
}
