//! A server that is busy, slow or breaking down.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ehi_core::testkit::{FixedClock, at};
use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::super::*;
use super::support::*;

fn busy(status: u16, retry_after: Option<&str>) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    match retry_after {
        Some(value) => (status, [("retry-after", value)]).into_response(),
        None => status.into_response(),
    }
}

/// A server that first gives these answers, then the patient.
async fn after(first: Vec<(u16, Option<&'static str>)>) -> Server {
    Server::start(move |asked| {
        let answer = match first.get(asked.number) {
            Some((status, retry_after)) => busy(*status, *retry_after),
            None => json_answer(patient("p", "Crane").to_string()),
        };
        async { answer }
    })
    .await
}

async fn waits(server: &Server) -> (Result<Option<PatientSummary>, SourceError>, Vec<Duration>) {
    let clock = Arc::new(QuickClock::default());
    let source = open(server.config(), clock.clone()).await;
    (source.patient(&id("p")).await, clock.slept())
}

#[tokio::test]
async fn a_busy_server_is_asked_again_later_and_later() {
    let (found, waits) =
        waits(&after(vec![(503, None), (502, None), (504, None), (429, None)]).await).await;
    assert!(found.unwrap().is_some());
    let full = [1, 2, 4, 8].map(Duration::from_secs);
    assert_eq!(waits.len(), full.len());
    for (wait, full) in waits.into_iter().zip(full) {
        assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
    }
}

#[tokio::test]
async fn the_server_says_when_to_come_back() {
    let server = after(vec![
        (429, Some("7")),
        (503, Some("Mon, 01 Jan 2024 00:00:27 GMT")),
        (429, Some("86400")),
    ]);
    let (found, waits) = waits(&server.await).await;
    assert!(found.unwrap().is_some());
    let second = Duration::from_secs(1);
    assert!(
        waits[0] >= 7 * second && waits[0] <= 8 * second,
        "{waits:?}"
    );
    let now = waits[0] + waits[1];
    assert!(now >= 27 * second && now <= 28 * second, "{waits:?}");
    assert_eq!(waits[2], 30 * second);
}

#[tokio::test]
async fn patience_ends_by_count_and_by_time() {
    let server = after(vec![(503, None); 99]).await;
    let (found, waits) = waits(&server).await;
    assert!(matches!(found.unwrap_err(), SourceError::Unavailable(_)));
    assert_eq!((server.targets().len(), waits.len()), (5, 4));

    let server = after(vec![(503, Some("20")); 99]).await;
    let mut config = server.config();
    config.retries.total = Duration::from_secs(50);
    let clock = Arc::new(QuickClock::default());
    let source = open(config, clock.clone()).await;
    assert!(source.patient(&id("p")).await.is_err());
    assert_eq!((server.targets().len(), clock.slept().len()), (3, 2));
}

#[tokio::test]
async fn other_refusals_are_not_repeated() {
    for (status, passing) in [
        (500, true),
        (400, false),
        (401, false),
        (403, false),
        (202, false),
    ] {
        let server = after(vec![(status, None)]).await;
        let (found, waits) = waits(&server).await;
        let error = found.unwrap_err();
        assert_eq!(
            matches!(error, SourceError::Unavailable(_)),
            passing,
            "{status}"
        );
        assert_eq!((server.targets().len(), waits.len()), (1, 0), "{status}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut config = FhirServerConfig::new(base.parse().unwrap());
    config.answer_timeout = Duration::from_hours(1);
    let clock = Arc::new(QuickClock::default());
    let source = open(config, clock.clone()).await;
    let error = source.patient(&id("p")).await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable(_)));
    assert_eq!(clock.slept().len(), 4);
}

#[tokio::test]
async fn a_page_that_breaks_off_ends_the_stream_for_another_try() {
    let body = page(
        &[patient("p", "Crane"), observation(1), observation(2)],
        None,
    );
    let (head, tail) = body.split_at(body.find("o2").unwrap());
    let (head, tail) = (head.to_owned(), tail.to_owned());
    let server = Server::start(move |_| {
        let body = pieces(&[&head, &tail[..10]], true);
        async { json_answer(body) }
    })
    .await;
    let (records, error) = drain(&server.source().await).await;
    assert!(is_unavailable(error.as_ref()), "{error:?}");
    assert_eq!(records, [patient("p", "Crane"), observation(1)]);
    assert_eq!(server.targets().len(), 1);
}

/// A source on a clock that stands, which takes no second attempt.
async fn standing(server: &Server) -> (FhirServer, Arc<FixedClock>) {
    let clock = Arc::new(FixedClock::at(at(0)));
    let mut config = server.config();
    config.retries.attempts = 1;
    config.answer_timeout = Duration::from_secs(20);
    config.read_timeout = Duration::from_secs(10);
    (open(config, clock.clone()).await, clock)
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_given_up() {
    let arrived = Arc::new(Notify::new());
    let told = Arc::clone(&arrived);
    let server = Server::start(move |_| {
        told.notify_one();
        std::future::pending()
    })
    .await;
    let (source, clock) = standing(&server).await;
    let asking = tokio::spawn(async move { source.patient(&id("p")).await });
    arrived.notified().await;
    clock.set(at(19));
    tokio::task::yield_now().await;
    assert!(!asking.is_finished());
    clock.set(at(20));
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, SourceError::Unavailable(_)));
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_is_given_up() {
    let server = Server::start(|_| async {
        let body = page(&[patient("p", "Crane"), observation(1)], None);
        let half = body[..body.len() - 200].to_owned();
        let endless = pieces(&[&half], false).into_data_stream();
        json_answer(axum::body::Body::from_stream(
            endless.chain(futures::stream::pending()),
        ))
    })
    .await;
    let (source, clock) = standing(&server).await;
    let mut records = stream_of(&source).await.unwrap();
    assert!(records.next().await.unwrap().is_ok());
    let mut next = records.next();
    assert!((&mut next).now_or_never().is_none(), "it waits");
    clock.set(at(10));
    let error = next.await.unwrap().unwrap_err();
    assert!(is_unavailable(Some(&error)), "{error}");
    assert!(records.next().await.is_none());
}

#[tokio::test]
async fn only_so_many_requests_are_under_way_at_once() {
    let crowd = Arc::new(Crowd::default());
    let counted = Arc::clone(&crowd);
    let server = Server::start(move |_| {
        let inside = counted.enter();
        async move {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            drop(inside);
            json_answer(patient("p", "Crane").to_string())
        }
    })
    .await;
    let mut config = server.config();
    config.concurrency = 3;
    let source = open(config, Arc::new(QuickClock::default())).await;
    let patient = id("p");
    let found = join_all((0..20).map(|_| source.patient(&patient))).await;
    assert!(found.iter().all(Result::is_ok));
    assert_eq!(crowd.most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn waiting_for_ones_turn_has_an_end_and_a_dropped_stream_makes_room() {
    let server = Server::start(|asked| async move {
        if asked.target.contains("everything") {
            let never = futures::stream::pending::<Result<&str, std::io::Error>>();
            return json_answer(axum::body::Body::from_stream(never));
        }
        json_answer(patient("p", "Crane").to_string())
    })
    .await;
    let clock = Arc::new(FixedClock::at(at(0)));
    let mut config = server.config();
    config.concurrency = 1;
    config.retries.total = Duration::from_mins(1);
    let source = open(config, clock.clone()).await;
    let stream = stream_of(&source).await.unwrap();
    let p = id("p");
    let mut turn = source.patient(&p);
    assert!((&mut turn).now_or_never().is_none());
    clock.set(at(60));
    assert!(matches!(turn.await, Err(SourceError::Unavailable(_))));
    assert_eq!(server.targets().len(), 1);
    drop(stream);
    assert!(source.patient(&p).await.unwrap().is_some());
}
