//! A patient's records: pages, what is in them, and where they may come from.

use std::path::Path;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use ehi_core::fhir::{Layout, RecordReader};
use ehi_core::ports::RecordError;
use ehi_core::testkit::everything;
use futures::StreamExt;
use serde_json::json;

use super::super::*;
use super::support::*;

/// A server that gives these pages in order, whatever is asked; the next links are its own.
async fn paged(pages: Vec<String>) -> Server {
    Server::start(move |asked| {
        let next = format!("{}?_getpages=abc&page={}", asked.base, asked.number + 1);
        let body = pages[asked.number].replace("NEXT", &next);
        async { json_answer(body) }
    })
    .await
}

/// A server with one page for everything that is asked.
async fn single(body: impl Into<String>) -> Server {
    let body = body.into();
    Server::start(move |_| {
        let body = body.clone();
        async { json_answer(body) }
    })
    .await
}

#[tokio::test]
async fn every_record_is_delivered_page_by_page_as_it_was_served() {
    let mut pages = vec![vec![patient("p", "Crane")]];
    pages.extend((0..5).map(|page| {
        (0..300)
            .map(|each| observation(page * 300 + each))
            .collect()
    }));
    pages.insert(2, Vec::new());
    pages.push(vec![json!({"resourceType": "Organization", "id": "h"})]);
    let last = pages.len() - 1;
    let bodies = pages.iter().enumerate();
    let bodies = bodies.map(|(at, each)| page(each, (at < last).then_some("NEXT")));
    let server = paged(bodies.collect()).await;
    let (records, error) = drain(&server.source().await).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(records, pages.concat());
    let targets = server.targets();
    assert_eq!(targets.len(), pages.len());
    assert_eq!(targets[0], "/Patient/p/$everything?_count=200");
    assert_eq!(targets[1], "?_getpages=abc&page=1");
}

#[tokio::test]
async fn relative_links_are_followed_within_the_base() {
    let server = Server::start(|asked| async move {
        match asked.number {
            0 => json_answer(page(&[patient("p", "Crane")], Some("$everything?page=2#x"))),
            _ => json_answer(page(&[observation(1)], None)),
        }
    })
    .await;
    let (records, error) = drain(&server.source().await).await;
    assert!(error.is_none() && records.len() == 2);
    assert_eq!(server.targets()[1], "/Patient/p/$everything?page=2");
}

#[tokio::test]
async fn a_link_to_elsewhere_is_never_followed() {
    let elsewhere = single(page(&[], None)).await;
    for link in [
        "ELSEWHERE?page=2",
        "BASE/../admin",
        "BASEevil/x",
        "//user:secret@HOST/fhir/x",
        "https://HOST/fhir/x",
        "file:///fhir/x",
        "http://[",
        "",
    ] {
        let foreign = elsewhere.base.clone();
        let server = Server::start(move |asked| {
            let host = asked
                .base
                .trim_start_matches("http://")
                .trim_end_matches("/fhir");
            let link = (link.replace("ELSEWHERE", &foreign))
                .replace("BASE", &asked.base)
                .replace("HOST", host);
            let body = page(&[patient("p", "Crane")], Some(&link));
            async { json_answer(body) }
        })
        .await;
        let (records, error) = drain(&server.source().await).await;
        let message = broken(error);
        assert_eq!(records.len(), 1, "{link}");
        assert_eq!(server.targets().len(), 1, "{link}");
        assert!(
            !message.contains("secret") && !message.contains("Patient/p"),
            "{message}"
        );
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = single(page(&[], None)).await;
    let target = elsewhere.base.clone();
    let server = Server::start(move |_| {
        let answer = Redirect::temporary(&target).into_response();
        async { answer }
    })
    .await;
    let (_, error) = drain(&server.source().await).await;
    assert!(broken(error).contains("Redirects are not followed"));
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn pages_that_go_in_a_circle_are_noticed() {
    for back in ["?page=2", "?page=1", "Patient/p/$everything?_count=200"] {
        let server = Server::start(move |asked| async move {
            let next = match asked.number {
                0 => format!("{}/?page=1", asked.base),
                1 => format!("{}/?page=2", asked.base),
                _ => format!("{}/{back}", asked.base),
            };
            json_answer(page(&[patient("p", "Crane")], Some(&next)))
        })
        .await;
        let (_, error) = drain(&server.source().await).await;
        assert!(broken(error).contains("circle"), "{back}");
        assert_eq!(server.targets().len(), 3, "{back}");
    }
}

#[tokio::test]
async fn a_link_that_cannot_be_understood_is_not_taken_for_the_end() {
    let body = page(&[patient("p", "Crane")], None).replace("\"self\"", "7");
    let (records, error) = drain(&single(body).await.source().await).await;
    assert_eq!(records.len(), 1);
    assert!(broken(error).contains("not known whether more follows"));
}

#[tokio::test]
async fn another_patient_in_the_answer_is_never_delivered() {
    let stranger = page(&[observation(1), patient("q", "Stranger")], None);
    for pages in [
        vec![page(&[patient("p", "Crane")], Some("NEXT")), stranger],
        vec![page(
            &[patient("p", "Crane"), patient("q", "Stranger")],
            None,
        )],
    ] {
        let single = pages.len() == 1;
        let (records, error) = drain(&paged(pages).await.source().await).await;
        let message = broken(error);
        assert!(message.contains("another patient") && !message.contains("Stranger"));
        let expected = if single {
            vec![]
        } else {
            vec![patient("p", "Crane")]
        };
        assert_eq!(records, expected);
    }
}

#[tokio::test]
async fn an_answer_without_the_patient_is_not_taken_for_the_record() {
    let server = single(page(&[observation(1)], None)).await;
    let (records, error) = drain(&server.source().await).await;
    assert_eq!(records.len(), 1);
    assert!(broken(error).contains("no Patient"));
}

#[tokio::test]
async fn what_the_server_says_about_its_answer_is_no_record() {
    let outcome = |severity: &str| {
        json!({"resourceType": "OperationOutcome",
            "issue": [{"severity": severity, "code": "too-costly", "diagnostics": "Ada has measles"}]})
    };
    let server = single(page(
        &[patient("p", "Crane"), outcome("warning"), observation(1)],
        None,
    ));
    let (records, error) = drain(&server.await.source().await).await;
    assert!(error.is_none());
    assert_eq!(records, [patient("p", "Crane"), observation(1)]);

    let server = single(page(
        &[patient("p", "Crane"), outcome("error"), observation(1)],
        None,
    ));
    let source = server.await.source().await;
    let items: Vec<_> = stream_of(&source).await.unwrap().collect().await;
    let Err(RecordError::Unreadable(told)) = &items[1] else {
        panic!("{:?}", items[1])
    };
    let told = told.to_string();
    assert!(
        told.contains("too-costly") && !told.contains("measles"),
        "{told}"
    );
    assert!(items[2].is_ok() && items.len() == 3);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_told_by_its_place() {
    let second = page(&[observation(1), observation(7), observation(2)], None);
    let second = second.replace("\"o7\"", "\"o\t7\"");
    let server = paged(vec![page(&[patient("p", "Crane")], Some("NEXT")), second]).await;
    let source = server.source().await;
    let items: Vec<_> = stream_of(&source).await.unwrap().collect().await;
    let told = items[2].as_ref().unwrap_err();
    assert!(matches!(told, RecordError::Unreadable(_)));
    assert!(told.to_string().starts_with("page 2, entry 2: "), "{told}");
    assert!(items[3].is_ok() && items.len() == 4);
}

#[tokio::test]
async fn a_huge_record_is_delivered_and_one_over_the_limit_told() {
    let scan = json!({"resourceType": "Binary", "data": "x".repeat(9 << 20)});
    let server = single(page(
        &[patient("p", "Crane"), scan.clone(), observation(1)],
        None,
    ))
    .await;
    let (records, error) = drain(&server.source().await).await;
    assert!(error.is_none() && records[1] == scan && records.len() == 3);

    let mut config = server.config();
    config.record_limit = 8 << 20;
    let source = open(config, Arc::new(QuickClock::default())).await;
    let items: Vec<_> = stream_of(&source).await.unwrap().collect().await;
    let told = items[1].as_ref().unwrap_err().to_string();
    assert!(told.contains("longer than 8388608 bytes"), "{told}");
    assert!(items[2].is_ok() && items.len() == 3);
}

#[tokio::test]
async fn json_that_ends_too_early_is_for_another_try() {
    let whole = page(&[patient("p", "Crane"), observation(1)], None);
    let cut = &whole[..whole.len() - 40];
    for body in [cut, "", "{"] {
        let (_, error) = drain(&single(body).await.source().await).await;
        assert!(is_unavailable(error.as_ref()), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_no_bundle_is_broken() {
    for body in ["nope", "[]", "{}", &patient("p", "Crane").to_string()] {
        let (records, error) = drain(&single(body).await.source().await).await;
        broken(error);
        assert!(records.is_empty(), "{body}");
    }
    let html = Server::start(|_| async { axum::response::Html("<p>Sorry, Ada").into_response() });
    let (_, error) = drain(&html.await.source().await).await;
    let message = broken(error);
    assert!(
        message.contains("else than JSON") && !message.contains("Ada"),
        "{message}"
    );
}

#[tokio::test]
async fn a_patient_who_is_not_there_has_no_records() {
    for status in [StatusCode::NOT_FOUND, StatusCode::GONE] {
        let server = Server::start(move |_| async move { status.into_response() }).await;
        let error = stream_of(&server.source().await).await.err().unwrap();
        assert!(matches!(error, SourceError::NotFound));
    }
    // A page that is gone is something else than a patient who is.
    let server = Server::start(|asked| async move {
        match asked.number {
            0 => json_answer(page(
                &[patient("p", "Crane")],
                Some(&format!("{}?2", asked.base)),
            )),
            _ => StatusCode::GONE.into_response(),
        }
    })
    .await;
    let (records, error) = drain(&server.source().await).await;
    assert!(records.len() == 1 && is_unavailable(error.as_ref()));
}

/// What is in a Bundle, as bytes.
fn read_all(bundle: &[u8]) -> Vec<Bytes> {
    let mut source = bundle;
    let mut reader = RecordReader::new(Layout::Bundle, RecordReader::DEFAULT_LIMIT);
    let mut records = Vec::new();
    while !reader.is_done() {
        let count = std::io::Read::read(&mut source, reader.room()).unwrap();
        reader.filled(count);
        records.extend((reader.read().into_iter()).map(|item| item.unwrap().json().clone()));
    }
    records
}

/// Whole synthetic records, where a checkout has them beside it.
#[tokio::test]
async fn whole_records_arrive_byte_for_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fhir");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let records = read_all(&std::fs::read(&path).unwrap());
        let own = |json: &Bytes| PatientSummary::of(&Record::parse(json).unwrap());
        let patient = records.iter().find_map(own).unwrap();
        let pages: Vec<Vec<Bytes>> = records.chunks(100).map(<[Bytes]>::to_vec).collect();
        let server = Server::start(move |asked| {
            let entries: Vec<String> = (pages[asked.number].iter())
                .map(|json| format!("{{\"resource\":{}}}", std::str::from_utf8(json).unwrap()))
                .collect();
            let link = if asked.number + 1 < pages.len() {
                format!(
                    r#"{{"relation":"next","url":"{}?{}"}}"#,
                    asked.base, asked.number
                )
            } else {
                String::new()
            };
            let body = format!(
                r#"{{"resourceType":"Bundle","type":"searchset","link":[{link}],"entry":[{}]}}"#,
                entries.join(",\n")
            );
            async { json_answer(body) }
        })
        .await;
        let source = server.source().await;
        let stream = source.records(&patient.id, &everything()).await.unwrap();
        let delivered: Vec<Bytes> = stream
            .map(|item| item.unwrap().json().clone())
            .collect()
            .await;
        assert!(delivered == records, "{}", path.display());
        assert!(records.len() > 100);
    }
}
