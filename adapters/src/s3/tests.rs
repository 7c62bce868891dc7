//! What files on S3 promise, against a server that speaks its protocol.

mod faults;
mod settings;

use std::time::Duration;

use bytes::Bytes;
use ehi_core::testkit::{FixedClock, SeededEntropy, at};
use futures::TryStreamExt;

use super::*;
use crate::testing::s3::{ACCESS_KEY, Ask, Fault, SECRET_KEY, Server};

async fn fresh() -> (S3Files, Server) {
    let server = Server::start().await;
    (open(&server, "/exports", "").await.unwrap(), server)
}

fn settings(url: &str, secret: &str) -> S3Settings {
    let mut settings: S3Settings = url.parse().unwrap();
    settings.credentials = S3Credentials::Keys {
        access_key_id: ACCESS_KEY.into(),
        secret_access_key: secret.into(),
        session_token: None,
    };
    settings
}

async fn open(server: &Server, folder: &str, more: &str) -> Result<S3Files, FileError> {
    let settings = settings(&server.url(folder, more), SECRET_KEY);
    S3Files::open(settings, server.clock.clone(), server.entropy.clone()).await
}

fn path(text: &str) -> FilePath {
    FilePath::parse(text).unwrap()
}

/// Bytes that show when they are out of place.
fn content(length: usize) -> Bytes {
    (0..length)
        .map(|at| (at / 7 + at / 65_521).to_le_bytes()[0])
        .collect()
}

async fn write(files: &S3Files, at: &str, content: Bytes) -> Result<(), FileError> {
    let mut writer = files.writer(&path(at)).await?;
    writer.write(content).await?;
    writer.finish().await
}

async fn read(files: &S3Files, at: &str, range: Range<u64>) -> Result<Bytes, FileError> {
    let stream = files.read(&path(at), range).await?.unwrap();
    let chunks: Vec<Bytes> = stream.try_collect().await?;
    Ok(chunks.concat().into())
}

/// Waits until the condition holds; the test's own time-out is the end of it.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn unavailable(error: &FileError) -> String {
    assert!(matches!(error, FileError::Unavailable(_)), "{error:?}");
    words(error)
}

ehi_core::file_store_contract!(fresh());

#[tokio::test]
async fn small_files_take_one_request_and_large_ones_parts() {
    let (files, server) = fresh().await;
    write(&files, "job/small", content(writer::PART))
        .await
        .unwrap();
    assert_eq!(
        (
            server.bucket.count(Ask::Put),
            server.bucket.count(Ask::Begin)
        ),
        (1, 0)
    );
    write(&files, "job/large", content(2 * writer::PART + 1))
        .await
        .unwrap();
    assert_eq!(
        (
            server.bucket.count(Ask::Put),
            server.bucket.count(Ask::Part)
        ),
        (1, 3)
    );
    assert!(server.bucket.uploads().is_empty() && server.leftovers().is_empty());
}

#[tokio::test]
async fn a_large_file_is_visible_only_when_it_is_finished() {
    let (files, server) = fresh().await;
    let mut writer = files.writer(&path("job/a")).await.unwrap();
    let bytes = content(3 * writer::PART);
    writer.write(bytes.clone()).await.unwrap();
    until(|| server.bucket.count(Ask::Part) == 2).await;
    assert_eq!(files.size(&path("job/a")).await.unwrap(), None);
    writer.finish().await.unwrap();
    assert!(read(&files, "job/a", 0..u64::MAX).await.unwrap() == bytes);
}

#[tokio::test]
async fn many_large_files_at_once_share_one_budget_and_come_to_their_end() {
    let (files, server) = fresh().await;
    let bytes = content(2 * writer::PART + 1);
    server.bucket.fail(Ask::Begin, usize::MAX, Fault::Stall);
    let names: Vec<_> = (0..20).map(|number| format!("job/{number}")).collect();
    let mut writers = Vec::new();
    for name in &names {
        writers.push(files.writer(&path(name)).await.unwrap());
    }
    // Each writer hands over its first part when it begins the second.
    let written = futures::future::join_all(
        (writers.iter_mut()).map(|writer| writer.write(content(writer::PART + 1))),
    );
    tokio::select! {
        _ = written => unreachable!("there is no room for so many"),
        () = until(|| server.bucket.count(Ask::Begin) == 8) => {}
    }
    assert_eq!(files.0.budget.available_permits(), 0);
    // Those that are dropped leave their shares to others.
    drop(writers);
    server.bucket.heal();
    let (files, server) = (open(&server, "/others", "").await.unwrap(), server);
    let written = names.iter().map(|name| write(&files, name, bytes.clone()));
    for one in futures::future::join_all(written).await {
        one.unwrap();
    }
    for name in &names {
        assert!(read(&files, name, 0..u64::MAX).await.unwrap() == bytes);
    }
    assert_eq!(files.0.budget.available_permits(), 8);
    assert_eq!(server.bucket.count(Ask::Complete), 20);
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_no_upload_behind() {
    let (files, server) = fresh().await;
    let mut writer = files.writer(&path("job/a")).await.unwrap();
    writer.write(content(3 * writer::PART)).await.unwrap();
    until(|| !server.bucket.uploads().is_empty()).await;
    drop(writer);
    until(|| server.bucket.uploads().is_empty() && server.leftovers().is_empty()).await;
    assert_eq!(server.bucket.count(Ask::Complete), 0);
}

#[tokio::test]
async fn a_write_whose_future_is_dropped_breaks_the_file() {
    let (files, server) = fresh().await;
    server.bucket.fail(Ask::Begin, 1, Fault::Stall);
    let mut writer = files.writer(&path("job/a")).await.unwrap();
    tokio::select! {
        _ = writer.write(content(9 * writer::PART)) => unreachable!("it cannot begin"),
        () = until(|| server.bucket.count(Ask::Begin) == 1) => {}
    }
    let error = writer.finish().await.unwrap_err();
    assert!(unavailable(&error).contains("did not finish"), "{error:?}");
}

#[tokio::test]
async fn uploads_that_began_more_than_a_day_ago_are_swept() {
    let (files, server) = fresh().await;
    let elsewhere = open(&server, "/exports-2", "").await.unwrap();
    let begin = async |files: &S3Files, at| {
        (files.object(&path(at)).begin_upload()).await.unwrap();
    };
    for at in ["job/1", "job/1", "job/2", "job/3", "job/4"] {
        begin(&files, at).await;
    }
    begin(&elsewhere, "job/1").await;
    let start = server.clock.now();
    server.clock.set(start + SignedDuration::from_hours(23));
    begin(&files, "job/young").await;
    assert_eq!(files.sweep_unfinished().await.unwrap(), 0);
    server.clock.set(start + SignedDuration::from_hours(25));
    assert_eq!(files.sweep_unfinished().await.unwrap(), 5);
    assert_eq!(
        server.bucket.uploads(),
        ["exports-2/job/1", "exports/job/young"]
    );
    assert_eq!(files.sweep_unfinished().await.unwrap(), 0);
}

#[tokio::test]
async fn a_folder_of_more_than_a_thousand_files_is_listed_and_deleted_whole() {
    let (files, server) = fresh().await;
    let folder = server.folder().join("exports/job/1");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..2_345 {
        std::fs::write(folder.join(format!("{number}.ndjson")), "x").unwrap();
    }
    write(&files, "job/10/a", content(1)).await.unwrap();
    assert_eq!(files.list(&path("job/1")).await.unwrap().len(), 2_345);
    files.delete_prefix(&path("job/1")).await.unwrap();
    assert_eq!(server.bucket.count(Ask::Delete), 3);
    assert_eq!(files.list(&path("job")).await.unwrap(), [path("job/10/a")]);
}

#[tokio::test]
async fn a_file_that_stays_is_told() {
    let (files, server) = fresh().await;
    for at in ["job/a", "job/b", "job/c"] {
        write(&files, at, content(1)).await.unwrap();
    }
    server.bucket.lock("exports/job/b");
    let error = files.delete_prefix(&path("job")).await.unwrap_err();
    let told = unavailable(&error);
    assert!(
        told.contains("1 files") && told.contains("AccessDenied"),
        "{told}"
    );
    assert_eq!(files.list(&path("job")).await.unwrap(), [path("job/b")]);
}

/// In a process of its own, whose environment has the keys.
#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_the_environment() {
    const URL: &str = "EHI_TEST_S3_URL";
    if let Ok(url) = std::env::var(URL) {
        let (clock, entropy) = (FixedClock::at(at(0)), SeededEntropy::default());
        let files = S3Files::open(url.parse().unwrap(), Arc::new(clock), Arc::new(entropy)).await;
        return write(&files.unwrap(), "job/a", content(3)).await.unwrap();
    }
    let (files, server) = fresh().await;
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "s3::tests::keys_come_from_the_environment"])
        .env(URL, server.url("/exports", ""))
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    let run = tokio::task::spawn_blocking(move || test.output().unwrap());
    let output = run.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(files.size(&path("job/a")).await.unwrap(), Some(3));
}

#[tokio::test]
async fn stores_in_different_folders_of_a_bucket_do_not_meet() {
    let (files, server) = fresh().await;
    let whole = open(&server, "", "").await.unwrap();
    write(&files, "job/a", content(3)).await.unwrap();
    assert_eq!(whole.folders().await.unwrap(), [path("exports")]);
    assert_eq!(files.folders().await.unwrap(), [path("job")]);
    assert_eq!(whole.size(&path("exports/job/a")).await.unwrap(), Some(3));
    let other = open(&server, "/export", "").await.unwrap();
    assert!(other.folders().await.unwrap().is_empty());
    assert_eq!(other.size(&path("job/a")).await.unwrap(), None);
}

#[tokio::test]
async fn encryption_is_asked_for_where_it_is_set() {
    let (plain, server) = fresh().await;
    let (sse, key) = (
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
    );
    write(&plain, "job/a", content(1)).await.unwrap();
    let aes = open(&server, "", "&sse=AES256").await.unwrap();
    write(&aes, "job/a", content(1)).await.unwrap();
    let kms = open(&server, "", "&sse=aws:kms&kms_key=key-7")
        .await
        .unwrap();
    write(&kms, "job/a", content(1)).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    let asked = server.bucket.headers(Ask::Put, sse);
    assert_eq!(asked, [None, some("AES256"), some("aws:kms")]);
    assert_eq!(
        server.bucket.headers(Ask::Put, key),
        [None, None, some("key-7")]
    );
    write(&kms, "job/large", content(writer::PART + 1))
        .await
        .unwrap();
    assert_eq!(server.bucket.headers(Ask::Begin, sse), [some("aws:kms")]);
    assert_eq!(server.bucket.headers(Ask::Begin, key), [some("key-7")]);
}

#[tokio::test]
async fn a_signed_url_opens_one_file_for_a_time() {
    let (files, server) = fresh().await;
    write(&files, "job/a", content(100)).await.unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "the server's clock is the real one"
    )]
    let now = Timestamp::now();
    server.clock.set(now);
    let file = path("job/a");
    let sign = async || {
        let lifetime = Duration::from_mins(1);
        let shown_as = ShownAs {
            name: "Ä \"1\".txt".to_owned(),
            content_type: "text/plain".to_owned(),
        };
        let link = files.direct_link(&file, &shown_as, lifetime);
        link.await.unwrap().unwrap()
    };
    let link = sign().await;
    let told = link.until.duration_since(now).as_millis();
    assert!((59_000..=60_000).contains(&told), "{told} ms");
    assert!(!format!("{link:?}").contains("127.0.0.1"), "{link:?}");
    let url = link.url;
    assert!(
        !url.as_str().contains("secret"),
        "the key itself is not in it"
    );
    let answer = reqwest::get(url.clone()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain");
    assert_eq!(
        answer.headers()["content-disposition"],
        "attachment; filename*=UTF-8''%C3%84%20%221%22%2Etxt"
    );
    assert!(answer.bytes().await.unwrap() == content(100));
    let mut other = url;
    other.set_path(&other.path().replace("job/a", "job/b"));
    assert_eq!(reqwest::get(other).await.unwrap().status(), 403);
    server.clock.set(now - SignedDuration::from_secs(120));
    let over = sign().await;
    assert_eq!(reqwest::get(over.url).await.unwrap().status(), 403);
}
