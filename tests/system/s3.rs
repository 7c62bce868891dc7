//! Files on S3: the whole walk, faults of the network, and links that need no token.

use std::path::{Path, PathBuf};

use ehi_adapters::testing::s3::{ACCESS_KEY, Ask, Fault, SECRET_KEY, Server as S3};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::app::{App, Job};
use crate::browser::{Answer, http, send};
use crate::export::{at_once, in_review, lines, resources, url_of};
use crate::patients::{ANNA, Records};
use crate::server::{End, Server, command};
use crate::staff::{Staff, titles};
use crate::wait::until;

/// What the server is given to prove itself, and no look elsewhere.
pub const KEYS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
    ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];
/// Faults show at once.
const QUICK: &str = "&attempts=1&attempt_timeout=2s";

#[expect(
    clippy::disallowed_methods,
    reason = "the server's clock is the real one"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// An S3 that goes by the time of today.
pub async fn s3() -> S3 {
    let s3 = S3::start().await;
    s3.clock.set(now());
    s3
}

fn demo(s3: &S3, more: &str) -> Server {
    let files = s3.url("/exports", more);
    Server::demo_in(&Records::small(), &["--files", &files], KEYS)
}

/// The files of exports in a store: all but the one that says whose they are.
pub fn exports_in(root: &Path) -> Vec<PathBuf> {
    let mut files = files_below(root);
    files.retain(|path| *path != root.join("deployment/id"));
    files
}

/// The files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn files_of(s3: &S3, job: &Job) -> Vec<PathBuf> {
    files_below(&s3.folder().join("exports").join(&job.id))
}

const LETTER: (&str, &str, &[u8]) = ("letter.txt", "text/plain", b"Dear Anna");

/// What a demo says that ends instead of starting.
fn told_at_the_start(files: &str, variables: &[(&str, &str)]) -> String {
    let (data, records) = (TempDir::new().unwrap(), Records::small());
    let output = command()
        .args(["demo", "--port", "0", "--files", files, "--data"])
        .arg(data.path())
        .arg("--records")
        .arg(records.folder())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("the files on S3 cannot be used"), "{said}");
    let secret = said.contains(SECRET_KEY) || said.contains("panicked");
    assert!(!secret, "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_walk_keeps_its_files_on_s3_and_takes_them_from_there() {
    let s3 = s3().await;
    let server = demo(&s3, "");
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let large = vec![b'x'; 9 << 20];
    let scan = ("scan.bin", "application/octet-stream", large.as_slice());
    staff.add_files(&job, &[LETTER, scan]).await.expect(200);
    assert!(s3.bucket.count(Ask::Part) == 2, "a large one goes in parts");
    staff.remove_files(&job, &["letter.txt"]).await.expect(200);
    staff.add_files(&job, &[LETTER]).await.expect(200);
    staff.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    assert_eq!(manifest["requiresAccessToken"], true);
    let output = manifest["output"].as_array().unwrap().len();
    assert_eq!(files_of(&s3, &job).len(), output - 1 + 2);
    assert!(!server.data().join("files").exists(), "nothing is here");

    let url = url_of(&manifest, "Observation");
    let whole = app.get(url).await.expect(200).body;
    let part = send(app.request(Method::GET, url).header("Range", "bytes=3-9")).await;
    assert_eq!(part.expect(206).body, whole[3..10]);
    let attached =
        |name: &str| server.url(&format!("/jobs/{}/download/attachments/{name}", job.id));
    let letter = app.get(&attached("letter.txt")).await.expect(200);
    assert_eq!(letter.body, LETTER.2);
    assert!(app.get(&attached("scan.bin")).await.expect(200).body == large);
    let mut manifest = manifest;
    let outputs = manifest["output"].as_array_mut().unwrap();
    outputs.retain(|output| !output["url"].to_string().contains("attachments."));
    assert!(resources(&app, &manifest).await.len() > 5);

    app.delete(&job).await.expect(202);
    assert_eq!(files_of(&s3, &job), Vec::<PathBuf>::new());
    assert!(!server.log().contains(SECRET_KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_its_files_on_s3() {
    let s3 = s3().await;
    let files = format!("files = '{}'", s3.url("", ""));
    let mut server = Server::serve_with_in(&files, KEYS);
    let app = App::connect(&server, ANNA).await;
    let job = in_review(&app).await;
    let tokens = app.tokens.clone();
    server.restart(End::Killed);
    let app = App::with_tokens(&server, ANNA, tokens);
    Staff::log_in(&server).await.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    assert!(resources(&app, &manifest).await.len() > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_s3_is_waited_for_at_the_start_and_one_that_is_away_is_told() {
    let s3 = s3().await;
    s3.bucket.fail(Ask::List, 3, Fault::Status(503, "SlowDown"));
    drop(demo(&s3, ""));
    assert!(s3.bucket.count(Ask::List) > 3);
    let url = s3.url("", QUICK);
    let wrong = url.replace("ehi-files", "ehi-other");
    assert!(told_at_the_start(&wrong, KEYS).contains("check the bucket's name"));
    let stranger = [("AWS_SECRET_ACCESS_KEY", "another"), KEYS[0], KEYS[2]];
    assert!(told_at_the_start(&url, &stranger).contains("check the credentials"));
    let nobody = told_at_the_start(&url, &[KEYS[2], ("HOME", "/nonexistent")]);
    assert!(nobody.contains("set AWS_ACCESS_KEY_ID"), "{nobody}");
    assert!(told_at_the_start("s3://ehi-files", KEYS).contains("add region="));
    drop(s3);
    let away = told_at_the_start(&url, KEYS);
    assert!(away.contains("could not ask S3"), "{away}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_s3_fails_is_tried_again_and_leaves_one_attempt() {
    let s3 = s3().await;
    let server = demo(&s3, QUICK);
    let app = App::connect(&server, ANNA).await;
    s3.bucket
        .fail(Ask::Put, 1, Fault::Status(500, "InternalError"));
    let (job, manifest) = at_once(&app).await;
    assert!(resources(&app, &manifest).await.len() > 5);
    let files = files_of(&s3, &job);
    let second = format!("exports/{}/2/", job.id);
    let won = |path: &PathBuf| path.to_string_lossy().contains(&second);
    assert!(!files.is_empty() && files.iter().all(won), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_s3_is_away_everybody_is_told_and_nothing_is_half_done() {
    let s3 = s3().await;
    let server = demo(&s3, QUICK);
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let ready = async || send(http().get(server.url("/readyz"))).await;
    assert_eq!(ready().await.expect(200).text(), "ready\n");

    for ask in [Ask::List, Ask::Head, Ask::Put, Ask::Get] {
        s3.bucket.fail(ask, 1_000_000, Fault::Reset);
    }
    let told = until("it to notice", async || {
        Some(ready().await).filter(|answer| answer.status == 503)
    })
    .await;
    assert_eq!(told.text(), "files\n");
    let refused = staff.add_files(&job, &[LETTER]).await.expect(503);
    assert!(refused.text().contains("try again"), "{refused}");
    assert_eq!(titles(&staff.job(&job).await), [""; 0]);
    staff.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    let url = url_of(&manifest, "Patient");
    app.get(url).await.expect_outcome(503);

    s3.bucket.heal();
    until("it to be ready", async || {
        (ready().await.status == 200).then_some(())
    })
    .await;
    app.get(url).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_room_is_told_as_such() {
    let s3 = s3().await;
    let server = demo(&s3, QUICK);
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    s3.bucket
        .fail(Ask::Put, 1, Fault::Status(507, "XMinioStorageFull"));
    let refused = staff.add_files(&job, &[LETTER]).await.expect(507);
    assert!(refused.text().contains("no room left"), "{refused}");
    staff.add_files(&job, &[LETTER]).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_left_half_written_is_swept() {
    // Its uploads seem to have begun long ago.
    let s3 = S3::start().await;
    let files = format!("files = '{}'\n", s3.url("", ""));
    let mut server =
        Server::serve_with_in(&format!("{files}lifetimes = {{ sweep = '1 hour' }}"), KEYS);
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    s3.bucket.fail(Ask::Part, 1_000, Fault::Stall);
    let scan = vec![b'x'; 9 << 20];
    let file = [("scan.bin", "application/octet-stream", scan.as_slice())];
    let begun = until("the upload to begin", async || {
        (!s3.bucket.uploads().is_empty()).then_some(())
    });
    tokio::select! {
        answer = staff.add_files(&job, &file) => panic!("{answer}"),
        () = begun => {}
    }
    drop((app, staff));
    let config = server.data().join("ehi.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("1 hour", "1s")).unwrap();
    server.restart(End::Killed);
    assert_eq!(s3.bucket.uploads().len(), 1);
    until("the sweep", async || {
        s3.bucket.uploads().is_empty().then_some(())
    })
    .await;
}

/// A real server that hands out links of this life, and tells everything in its log.
fn linking(s3: &S3, life: &str) -> Server {
    let lines = format!(
        "files = '{}'\npresigned_downloads = '{life}'",
        s3.url("/exports", "")
    );
    let variables = [KEYS, &[("RUST_LOG", "trace")]].concat();
    Server::serve_with_in(&lines, &variables)
}

/// Fetches something without a token.
async fn follow(url: &str) -> Answer {
    send(http().get(url)).await
}

/// A released export with a letter, and the answer with its manifest.
async fn released(app: &App<'_>, staff: &Staff<'_>) -> (Job, Answer) {
    let job = in_review(app).await;
    staff.add_files(&job, &[LETTER]).await.expect(200);
    staff.approve(&job).await.expect(200);
    let answer = app.wait_for_manifest(&job).await;
    (job, answer)
}

fn urls(manifest: &Value) -> Vec<String> {
    let entries = manifest["output"].as_array().unwrap().iter();
    let url = |entry: &Value| entry["url"].as_str().unwrap().to_owned();
    entries.map(url).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn links_open_every_file_without_a_token_and_each_is_in_the_audit_log() {
    let s3 = s3().await;
    let server = linking(&s3, "1 min");
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let (job, answer) = released(&app, &staff).await;
    let manifest = answer.json();
    assert_eq!(manifest["requiresAccessToken"], false);
    let expires = rfc2822::parse(answer.header("expires")).unwrap();
    let left = expires.timestamp().duration_since(now()).as_secs();
    assert!((40..=60).contains(&left), "{left} s are left");

    let mut links = urls(&manifest);
    for (link, entry) in links.iter().zip(manifest["output"].as_array().unwrap()) {
        assert!(
            link.starts_with(&format!("http://127.0.0.1:{}/", s3.port)),
            "{link}"
        );
        let file = follow(link).await.expect(200);
        assert_eq!(file.header("content-type"), "application/fhir+ndjson");
        let disposition = file.header("content-disposition");
        assert!(disposition.starts_with("attachment"), "{disposition}");
        assert_eq!(lines(&file).len() as u64, entry["count"], "{link}");
    }
    let announcement = links.iter().find(|link| link.contains("attachments."));
    let announced = lines(&follow(announcement.unwrap()).await.expect(200));
    let letter = announced[0]["content"][0]["attachment"]["url"]
        .as_str()
        .unwrap();
    let fetched = follow(letter).await.expect(200);
    assert_eq!(
        (fetched.header("content-type"), &*fetched.body),
        ("text/plain", LETTER.2)
    );
    links.push(letter.to_owned());

    let downloads = format!("/admin/audit?job={}&action=download", job.id);
    let told = staff.get(&downloads).await.expect(200).json();
    let entries = told.as_array().unwrap();
    assert_eq!(entries.len(), links.len(), "{told}");
    for name in [
        "Patient.ndjson",
        "attachments.DocumentReference.ndjson",
        "text/plain ",
    ] {
        assert!(told.to_string().contains(name), "{name} in {told}");
    }
    // Asked again soon, it is the same.
    assert_eq!(app.status(&job).await.expect(200).json(), manifest);
    let again = staff.get(&downloads).await.expect(200).json();
    assert_eq!(again.as_array().unwrap().len(), entries.len());

    app.delete(&job).await.expect(202);
    for link in &links {
        follow(link).await.expect(404);
    }
    let log = server.log();
    assert!(!log.contains("X-Amz-Signature"), "a link is in the log");
    assert!(!log.contains(SECRET_KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_dead_after_its_time_and_who_asks_again_gets_new_ones() {
    let s3 = s3().await;
    let server = linking(&s3, "2s");
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let (job, answer) = released(&app, &staff).await;
    let old = urls(&answer.json());
    until("the link to die", async || {
        (follow(&old[0]).await.status == 403).then_some(())
    })
    .await;
    let manifest = app.status(&job).await.expect(200).json();
    let new = urls(&manifest);
    assert_eq!(new.len(), old.len());
    follow(&new[0]).await.expect(200);
    follow(&old[0]).await.expect(403);
}

#[test]
fn links_into_a_folder_are_refused_at_the_start() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("records")).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(
        folder.path().join("directory.toml"),
        "[[client]]\nid = 'a'\nname = 'A'\nloopback = 'any'\n",
    )
    .unwrap();
    let config = format!(
        "public_url = 'http://127.0.0.1:1'\nlisten = '127.0.0.1:0'\ndata = '{}'\ndirectory = '{}'\n\
         records = [{{ bundles = '{}' }}]\npresigned_downloads = '10 min'\n",
        at("data"),
        at("directory.toml"),
        at("records"),
    );
    std::fs::write(folder.path().join("ehi.toml"), config).unwrap();
    let mut serve = command();
    serve
        .args(["serve", "--config"])
        .arg(folder.path().join("ehi.toml"));
    let output = serve.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("presigned_downloads is for files on S3"),
        "{said}"
    );
}
