//! Whatever the server said it did is done, at whichever instant it is killed.

use std::time::{Duration, Instant};

use ehi_adapters::testing::TestDatabase;
use serde_json::{Value, json};

use crate::app::{App, Job};
use crate::browser::Browser;
use crate::choices::everything;
use crate::export::{assert_same, resources};
use crate::patients::{ANNA, ByKey, bundle, of, patient, read_bundle, with};
use crate::server::{End, Server};
use crate::site::Site;
use crate::staff::Staff;
use crate::wait::until;

/// From the kick-off to the last byte, evenly.
const POINTS: u32 = 20;

const LETTER: &[u8] = b"Dear Anna";

/// What the server said.
#[derive(Debug, Default)]
struct Acknowledged {
    job: Option<Job>,
    chosen: bool,
    attached: bool,
    approved: bool,
}

/// A record that takes a moment.
fn record() -> String {
    let mut resources = vec![patient(ANNA, "Anna", "Åström")];
    resources.extend((0..3_000).map(|number| {
        with(
            of(ANNA, "Observation", &format!("o-{number}"), "subject"),
            json!({
                "status": "final", "code": {"text": format!("value {number}")},
                "effectiveDateTime": "2020-01-01", "valueInteger": number,
            }),
        )
    }));
    bundle(&resources)
}

/// Goes on from wherever the export is, to the last byte of it.
async fn go_on(app: &App<'_>, staff: &Staff<'_>, said: &mut Acknowledged, record: &ByKey) {
    let job = match &said.job {
        Some(job) => job.clone(),
        None => said.job.insert(app.kick_off("").await).clone(),
    };
    loop {
        let told = staff.job(&job).await;
        match told["status"].as_str().unwrap() {
            "awaiting-input" => {
                assert!(!said.chosen, "the choices are forgotten: {told}");
                app.customise(&job, &everything()).await.expect(200);
                said.chosen = true;
            }
            "requested" => {
                until("the export", async || {
                    (staff.job(&job).await["status"] != "requested").then_some(())
                })
                .await;
            }
            "retrieved" => {
                assert!(!said.approved, "the release is forgotten: {told}");
                let titles = crate::staff::titles(&told);
                if titles.is_empty() {
                    assert!(!said.attached, "the letter is forgotten: {told}");
                    let letter = ("letter.txt", "text/plain", LETTER);
                    staff.add_files(&job, &[letter]).await.expect(200);
                    said.attached = true;
                }
                staff.approve(&job).await.expect(200);
                said.approved = true;
            }
            "approved" => {
                let manifest = app.status(&job).await.expect(200).json();
                download(app, &job, &manifest, record).await;
                return;
            }
            other => panic!("the export is {other}: {told}"),
        }
    }
}

async fn download(app: &App<'_>, job: &Job, manifest: &Value, record: &ByKey) {
    let mut exported = resources(app, manifest).await;
    exported.retain(|(kind, _), _| kind != "DocumentReference");
    assert_same(&exported, record);
    let letter = format!("/jobs/{}/download/attachments/letter.txt", job.id);
    let letter = app.get(&app.server.url(&letter)).await.expect(200);
    assert_eq!(letter.body, LETTER);
}

async fn nothing_acknowledged_is_lost(site: Site, more: &str) {
    site.write("records/anna.json", &record());
    let (_, record) = read_bundle(&record());
    // Whoever takes over does not wait long for the one that was killed.
    let mut server = site.start(&format!("lease = '2 s'\n{more}"));
    let tokens = App::connect(&server, ANNA).await.tokens;
    let mut browser = Staff::log_in(&server).await.browser;
    let begun = Instant::now();
    let mut said = Acknowledged::default();
    browser = go_on_until(Duration::MAX, &server, &tokens, browser, &mut said, &record).await;
    let quiet = begun.elapsed();
    for point in 1..=POINTS {
        let mut said = Acknowledged::default();
        let instant = quiet * point / (POINTS + 1);
        browser = go_on_until(instant, &server, &tokens, browser, &mut said, &record).await;
        server.restart(End::Killed);
        browser = go_on_until(Duration::MAX, &server, &tokens, browser, &mut said, &record).await;
        let app = App::with_tokens(&server, ANNA, tokens.clone());
        app.delete(&said.job.unwrap()).await.expect(202);
    }
}

/// Goes on until there is nothing left to do, or the time is over: then whatever is under way is
/// left where it is.
async fn go_on_until(
    time: Duration,
    server: &Server,
    tokens: &Value,
    browser: Browser,
    said: &mut Acknowledged,
    record: &ByKey,
) -> Browser {
    let app = App::with_tokens(server, ANNA, tokens.clone());
    let staff = Staff::at(server, browser.reconnected());
    let _ = tokio::time::timeout(time, go_on(&app, &staff, said, record)).await;
    staff.browser
}

#[tokio::test]
async fn a_server_on_sqlite_keeps_its_word_wherever_it_is_killed() {
    nothing_acknowledged_is_lost(Site::new(), "").await;
}

#[tokio::test]
async fn a_server_on_postgresql_keeps_its_word_wherever_it_is_killed() {
    let database = TestDatabase::create().await;
    let more = format!("database = '{}'", database.url());
    nothing_acknowledged_is_lost(Site::new(), &more).await;
}
