//! Files that apps fetch by links into the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::export::{ATTACHMENTS_FILE, Downloads};
use crate::export::{JobStatus, Manifest};

const LIFE: Duration = Duration::from_mins(1);

/// A released export whose files are linked.
fn linked(job: &ExportJob) -> House {
    let mut house = House::of([job.clone()]);
    house.files = Arc::new(LinkingFiles {
        files: house.memory.clone(),
        clock: house.clock.clone(),
    });
    house.downloads = Downloads::ByLink(LIFE);
    house
}

async fn asked(service: &ExportService, job: &ExportJob) -> (Manifest, Timestamp) {
    match service.report(&access(), job).await.unwrap() {
        JobStatus::Complete { manifest, expires } => (*manifest, expires),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_manifest_of_links_needs_no_token_for_anything() {
    let job = approved_with(&["a.png", "b.png"]);
    let house = linked(&job);
    let (memory, audit) = (house.memory.clone(), house.recorded.clone());
    let (manifest, expires) = asked(&house.service(), &job).await;
    assert!(!manifest.requires_access_token);
    assert_eq!(expires, at(20 + 60), "when the links are dead");
    let urls: Vec<_> = (manifest.output.iter().chain(&manifest.error))
        .map(|entry| entry.url.as_str())
        .collect();
    assert_eq!(urls.len(), 3);
    let stored = |url: &str| url.starts_with("https://store.example/");
    assert!(urls.iter().all(|url| stored(url)), "{urls:?}");
    let announced = memory.text(&job.folder().child(ATTACHMENTS_FILE));
    assert_eq!(announced.lines().count(), 2);
    for line in announced.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let url = line["content"][0]["attachment"]["url"].as_str().unwrap();
        assert!(stored(url), "{url}");
    }
    // Handing them out is the disclosure.
    let events = audit.events();
    assert!(events.iter().all(|event| {
        event.action == Action::Download && event.actor == Actor::Client(client_id())
    }));
    let files: BTreeSet<_> = events
        .into_iter()
        .map(|event| event.file.unwrap())
        .collect();
    assert_eq!(files.len(), 2 + 1 + 2, "{files:?}");
}

#[tokio::test]
async fn without_an_audit_entry_no_link_is_given() {
    let job = approved();
    let service = linked(&job).without_audit().service();
    for _ in 0..2 {
        let refused = service.report(&access(), &job).await;
        assert!(matches!(refused, Err(UseCaseError::Unavailable(_))));
    }
}

#[tokio::test]
async fn an_app_that_asks_again_soon_gets_the_same_links_and_later_new_ones() {
    let job = approved();
    let house = linked(&job);
    let (clock, audit) = (house.clock.clone(), house.recorded.clone());
    let service = house.service();
    let first = asked(&service, &job).await;
    clock.set(at(20 + 29));
    assert_eq!(asked(&service, &job).await, first);
    assert_eq!(audit.actions(), [Action::Download; 2], "told once");
    clock.set(at(20 + 30));
    let (manifest, expires) = asked(&service, &job).await;
    assert_ne!(manifest, first.0);
    assert_eq!(expires, at(20 + 30 + 60));
    assert_eq!(audit.actions(), [Action::Download; 4]);
}

#[tokio::test]
async fn no_link_outlives_its_export() {
    let job = approved();
    let house = linked(&job);
    house.clock.set(at(15 + 300 - 7));
    let (manifest, expires) = asked(&house.service(), &job).await;
    assert_eq!(expires, at(15 + 300));
    assert!(manifest.output[0].url.ends_with(&at(15 + 300).to_string()));
}

#[tokio::test]
async fn what_is_not_released_is_not_linked() {
    for job in [retrieved_with(&["a.png"]), rejected(), failed(), claimed()] {
        let house = linked(&job);
        let (memory, audit) = (house.memory.clone(), house.recorded.clone());
        let status = house.service().report(&access(), &job).await.unwrap();
        assert!(!matches!(status, JobStatus::Complete { .. }), "{status:?}");
        assert_eq!((memory.count(), audit.actions().len()), (0, 0));
    }
}

#[tokio::test]
async fn where_the_store_has_no_links_or_none_are_wanted_the_token_is_needed() {
    let job = approved_with(&["a.png"]);
    let mut no_links = linked(&job);
    no_links.files = no_links.memory.clone();
    let mut unwanted = linked(&job);
    unwanted.downloads = Downloads::ByToken;
    for house in [no_links, unwanted] {
        let audit = house.recorded.clone();
        let (manifest, expires) = asked(&house.service(), &job).await;
        assert_eq!(manifest, Manifest::of(&job, &links()).unwrap());
        assert_eq!(expires, at(15 + 300));
        assert!(manifest.requires_access_token && audit.actions().is_empty());
    }
}

#[tokio::test]
async fn only_so_many_manifests_are_remembered_the_newest_of_them() {
    let jobs: Vec<_> = (0..=1_000_u16)
        .map(|number| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&number.to_be_bytes());
            let mut job = approved();
            job.id = JobId::from_random(bytes);
            job
        })
        .collect();
    let house = linked(&jobs[0]);
    let (clock, audit) = (house.clock.clone(), house.recorded.clone());
    let service = house.service();
    for job in &jobs {
        clock.set(clock.now() + Duration::from_millis(1));
        asked(&service, job).await;
    }
    let handed_out = audit.events().len();
    for job in &jobs[1..] {
        asked(&service, job).await;
    }
    assert_eq!(audit.events().len(), handed_out);
    asked(&service, &jobs[0]).await;
    assert!(
        audit.events().len() > handed_out,
        "the oldest was forgotten"
    );
}
