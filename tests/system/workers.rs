//! Workers in processes of their own: what they take over, take back, and leave behind.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ehi_adapters::testing::TestDatabase;

use crate::app::{App, Job};
use crate::gated::GatedSource;
use crate::hand::Hand;
use crate::patients::ANNA;
use crate::server::{Server, command};
use crate::site::Site;
use crate::staff::Staff;
use crate::wait::until;

/// A server that only answers requests, on PostgreSQL, with the records of this source.
fn front(database: &TestDatabase, source: &GatedSource, more: &str) -> Server {
    let url = database.url();
    let mut site = Site::new();
    site.records = format!("fhir_server = {{ base_url = '{}' }}", source.url());
    site.start(&format!("workers = 0\ndatabase = '{url}'\n{more}"))
}

/// The folder of what was written for a job.
fn files(server: &Server, job: &Job) -> PathBuf {
    server.data().join("data/files").join(&job.id)
}

/// How many files are being written.
fn begun_files(server: &Server) -> usize {
    let incoming = server.data().join("data/files/.incoming");
    fs::read_dir(incoming).unwrap().count()
}

#[tokio::test]
async fn an_export_that_is_taken_back_stops_in_the_other_process_within_a_second() {
    let (database, source) = (TestDatabase::create().await, GatedSource::start());
    let server = front(&database, &source, "");
    let _hand = Hand::of(&server).await;
    let (app, staff) = (
        App::connect(&server, ANNA).await,
        Staff::log_in(&server).await,
    );
    for round in 1..=2 {
        let job = app.kick_off("/no-form").await;
        source.came(round).await;
        let told = until("progress", async || {
            let status = app.status(&job).await;
            let progress = status.header("x-progress").to_owned();
            let moves = progress.contains(" kB written") && !progress.contains(" 0 resources");
            moves.then_some(progress)
        })
        .await;
        assert!(told.starts_with("requested, "), "{told}");
        assert!(told.contains(" resources, ") && told.len() <= 100, "{told}");
        let seen = staff.job(&job).await;
        let (resources, bytes) = (&seen["progress"]["resources"], &seen["progress"]["bytes"]);
        assert!(
            resources.as_u64() > Some(0) && bytes.as_u64() > Some(1_000),
            "{seen}"
        );
        assert!(begun_files(&server) > 0);
        match round {
            1 => drop(app.delete(&job).await.expect(202)),
            _ => drop(staff.reject(&job, "not now").await.expect(200)),
        }
        let took = source.left(round).await;
        // The lease would be half a minute; on a machine that is busy a second is not exact.
        assert!(took < Duration::from_secs(3), "{took:?}");
        let gone = async || {
            let none = !files(&server, &job).exists() && begun_files(&server) == 0;
            none.then_some(())
        };
        until("its files to go", gone).await;
    }
}

#[tokio::test]
async fn a_worker_that_has_to_end_brings_its_export_to_the_end_and_takes_no_other() {
    let (database, source) = (TestDatabase::create().await, GatedSource::start());
    let server = front(&database, &source, "drain = '10 min'");
    let hand = Hand::of(&server).await;
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("/no-form").await;
    source.came(1).await;
    hand.signal("TERM");
    hand.says("no further export is begun").await;
    let waiting = app.kick_off("/no-form").await;
    source.open();
    assert!(hand.ended().await.success());
    app.wait_for(&job, "retrieved").await;
    let status = app.status(&waiting).await;
    assert_eq!(
        status.header("x-progress"),
        "requested, waiting for its turn"
    );
}

/// An export that its worker gave back is another's at once.
async fn is_taken_over(
    server: &Server,
    source: &GatedSource,
    app: &App<'_>,
    hand: Hand,
    job: &Job,
) {
    let other = Hand::of(server).await;
    assert!(hand.ended().await.success());
    source.came(2).await;
    source.open();
    app.wait_for(job, "retrieved").await;
    let attempts = fs::read_dir(files(server, job)).unwrap();
    let attempts: Vec<_> = attempts.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(attempts, ["2"], "what the first one wrote is gone");
    drop(other);
}

#[tokio::test]
async fn an_export_that_takes_longer_than_the_drain_is_given_back_and_taken_over_at_once() {
    let (database, source) = (TestDatabase::create().await, GatedSource::start());
    let server = front(&database, &source, "drain = '1s'");
    let hand = Hand::of(&server).await;
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("/no-form").await;
    source.came(1).await;
    hand.signal("TERM");
    is_taken_over(&server, &source, &app, hand, &job).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (database, source) = (TestDatabase::create().await, GatedSource::start());
    let server = front(&database, &source, "drain = '10 min'");
    let hand = Hand::of(&server).await;
    let app = App::connect(&server, ANNA).await;
    let job = app.kick_off("/no-form").await;
    source.came(1).await;
    hand.signal("TERM");
    hand.says("no further export is begun").await;
    hand.signal("TERM");
    hand.says("given back").await;
    is_taken_over(&server, &source, &app, hand, &job).await;
}

#[tokio::test]
async fn the_server_itself_drains_as_its_workers_do() {
    let source = GatedSource::start();
    let mut site = Site::new();
    site.records = format!("fhir_server = {{ base_url = '{}' }}", source.url());
    let server = site.start("drain = '10 min'");
    let app = App::connect(&server, ANNA).await;
    app.kick_off("/no-form").await;
    source.came(1).await;
    drop(app);
    server.signal("TERM");
    until("it to drain", async || {
        server
            .log()
            .contains("no further export is begun")
            .then_some(())
    })
    .await;
    source.open();
    until("it to end", async || {
        server.log().contains("stopped").then_some(())
    })
    .await;
    assert!(server.log().contains("export done"), "{}", server.log());
}

#[tokio::test]
async fn a_worker_on_a_database_in_memory_is_told_that_nobody_else_sees_it() {
    let source = GatedSource::start();
    let server = front(&TestDatabase::create().await, &source, "");
    let output = command()
        .args(["worker", "--database", "sqlite::memory:", "--config"])
        .arg(server.data().join("ehi.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("in memory"),
        "{said}"
    );
    let none = command()
        .args(["worker", "--workers", "0", "--config", "x.toml"])
        .output()
        .unwrap();
    assert!(!none.status.success(), "a worker that does nothing");
}

#[tokio::test]
async fn a_patient_is_told_what_to_do_about_too_many_open_exports() {
    let server = Server::serve_with("limits = { open_exports_per_patient = 2 }");
    let app = App::connect(&server, ANNA).await;
    let first = app.kick_off("").await;
    app.kick_off("").await;
    let refused = app.try_kick_off("").await.expect_outcome(429);
    // Nobody knows when people review.
    assert_eq!(refused.header("retry-after"), "600");
    let text = refused.text();
    for word in ["2 exports", "by this app", "throttled", "delete", "wait"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let staff = Staff::log_in(&server).await;
    let log = staff
        .get("/admin/audit?action=kick-off&outcome=refused")
        .await;
    assert!(log.expect(200).text().contains(ANNA));
    app.delete(&first).await.expect(202);
    app.kick_off("").await;
}
