//! What happens when the server, the network or the credentials are at fault.

use super::*;

/// Short enough that a stall shows soon.
const QUICK: &str = "&attempt_timeout=500ms&attempts=4";

#[tokio::test]
async fn wrong_credentials_are_told_as_such_and_not_repeated() {
    let server = Server::start().await;
    let wrong = settings(&server.url("", ""), "another secret");
    let error = S3Files::open(wrong, server.clock.clone(), server.entropy.clone())
        .await
        .unwrap_err();
    let told = unavailable(&error);
    assert!(
        told.contains("SignatureDoesNotMatch") && told.contains("check the credentials"),
        "{told}"
    );
    assert!(!format!("{error:?} {told}").contains("another secret"));
    assert_eq!(server.bucket.count(Ask::List), 1);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_as_such() {
    let server = Server::start().await;
    let url = server.url("", "").replace("ehi-files", "ehi-other");
    let error = S3Files::open(
        settings(&url, SECRET_KEY),
        server.clock.clone(),
        server.entropy.clone(),
    )
    .await;
    let told = unavailable(&error.unwrap_err());
    assert!(
        told.contains("NoSuchBucket") && told.contains("check the bucket's name"),
        "{told}"
    );
}

#[tokio::test]
async fn settings_do_not_show_keys() {
    let (files, _server) = fresh().await;
    let shown = format!("{files:?}");
    assert!(shown.contains("ehi-files"), "{shown}");
    assert!(
        !shown.contains(SECRET_KEY) && !shown.contains("\"access\""),
        "{shown}"
    );
}

#[tokio::test]
async fn passing_faults_do_not_show_in_small_files() {
    for fault in [
        Fault::Status(500, "InternalError"),
        Fault::Status(503, "SlowDown"),
        Fault::Reset,
        Fault::LostAnswer,
        Fault::Stall,
    ] {
        let server = Server::start().await;
        let files = open(&server, "", QUICK).await.unwrap();
        for ask in [Ask::Put, Ask::Head, Ask::Get, Ask::List, Ask::Delete] {
            server.bucket.fail(ask, 2, fault);
        }
        let bytes = content(10_000);
        write(&files, "job/a", bytes.clone()).await.unwrap();
        assert_eq!(server.bucket.count(Ask::Put), 3, "{fault:?}");
        assert_eq!(files.size(&path("job/a")).await.unwrap(), Some(10_000));
        assert!(
            read(&files, "job/a", 0..10_000).await.unwrap() == bytes,
            "{fault:?}"
        );
        assert_eq!(files.list(&path("job")).await.unwrap(), [path("job/a")]);
        files.delete_prefix(&path("job")).await.unwrap();
        assert_eq!(files.size(&path("job/a")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn passing_faults_do_not_show_in_large_files() {
    for fault in [
        Fault::Status(500, "InternalError"),
        Fault::Status(503, "SlowDown"),
        Fault::Reset,
        Fault::LostAnswer,
    ] {
        let server = Server::start().await;
        let files = open(&server, "", "").await.unwrap();
        for ask in [Ask::Begin, Ask::Part, Ask::Complete] {
            server.bucket.fail(ask, 1, fault);
        }
        let bytes = content(2 * writer::PART + 5);
        write(&files, "job/a", bytes.clone()).await.unwrap();
        assert!(
            read(&files, "job/a", 0..u64::MAX).await.unwrap() == bytes,
            "{fault:?}"
        );
        // An upload whose id never came back is for the sweep.
        let left = usize::from(matches!(fault, Fault::LostAnswer));
        assert_eq!(server.bucket.uploads().len(), left, "{fault:?}");
    }
}

#[tokio::test]
async fn a_part_that_stands_still_is_sent_again() {
    let server = Server::start().await;
    let files = open(&server, "", "&attempt_timeout=2s").await.unwrap();
    server.bucket.fail(Ask::Part, 1, Fault::Stall);
    let bytes = content(2 * writer::PART + 5);
    write(&files, "job/a", bytes.clone()).await.unwrap();
    assert_eq!(server.bucket.count(Ask::Part), 4);
    assert!(read(&files, "job/a", 0..u64::MAX).await.unwrap() == bytes);
}

#[tokio::test]
async fn reading_goes_on_where_the_connection_broke_or_stood_still() {
    let server = Server::start().await;
    let files = open(&server, "", QUICK).await.unwrap();
    let bytes = content(5_000_000);
    write(&files, "job/a", bytes.clone()).await.unwrap();
    for fault in [Fault::CutBehind(1_000_000), Fault::StallBehind(1_000_000)] {
        // More often than there are attempts: what brings something is no failure in a row.
        server.bucket.fail(Ask::Get, 4, fault);
        let got = read(&files, "job/a", 17..4_999_999).await.unwrap();
        assert!(got == bytes.slice(17..4_999_999), "{fault:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_read_is_not_mixed() {
    let server = Server::start().await;
    let files = open(&server, "", QUICK).await.unwrap();
    write(&files, "job/a", content(5_000_000)).await.unwrap();
    server.bucket.fail(Ask::Get, 1, Fault::CutBehind(1_000_000));
    let mut stream = files
        .read(&path("job/a"), 0..5_000_000)
        .await
        .unwrap()
        .unwrap();
    stream.try_next().await.unwrap().unwrap();
    write(&files, "job/a", vec![7; 5_000_000].into())
        .await
        .unwrap();
    let rest: Result<Vec<Bytes>, _> = stream.try_collect().await;
    let told = unavailable(&rest.unwrap_err());
    assert!(told.contains("412"), "{told}");
}

#[tokio::test]
async fn a_fault_that_stays_is_an_error_in_bounded_time() {
    for fault in [
        Fault::Status(500, "InternalError"),
        Fault::Status(503, "SlowDown"),
        Fault::Reset,
        Fault::Stall,
    ] {
        let server = Server::start().await;
        let files = open(&server, "", "&attempt_timeout=200ms&attempts=3")
            .await
            .unwrap();
        write(&files, "job/a", content(10)).await.unwrap();
        for ask in [Ask::Put, Ask::Get, Ask::Head, Ask::List] {
            server.bucket.fail(ask, usize::MAX, fault);
        }
        let all = async {
            unavailable(&write(&files, "job/b", content(10)).await.unwrap_err());
            unavailable(&read(&files, "job/a", 0..10).await.unwrap_err());
            unavailable(&files.size(&path("job/a")).await.unwrap_err());
            unavailable(&files.list(&path("job")).await.unwrap_err());
            unavailable(&files.folders().await.unwrap_err());
            unavailable(&files.delete_prefix(&path("job")).await.unwrap_err());
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), all).await;
        assert!(in_time.is_ok(), "{fault:?}");
        assert_eq!(server.bucket.count(Ask::Put), 1 + 3, "{fault:?}");
    }
}

#[tokio::test]
async fn content_that_never_comes_is_an_error_in_bounded_time() {
    let server = Server::start().await;
    let files = open(&server, "", "&attempt_timeout=200ms&attempts=3")
        .await
        .unwrap();
    write(&files, "job/a", content(10_000)).await.unwrap();
    for fault in [Fault::CutBehind(0), Fault::StallBehind(0)] {
        server.bucket.fail(Ask::Get, 3, fault);
        let error = read(&files, "job/a", 0..10_000).await.unwrap_err();
        unavailable(&error);
    }
    assert!(read(&files, "job/a", 0..10_000).await.unwrap() == content(10_000));
}

#[tokio::test]
async fn a_part_that_fails_for_good_leaves_no_upload_behind() {
    let server = Server::start().await;
    let files = open(&server, "", "&attempts=2").await.unwrap();
    server
        .bucket
        .fail(Ask::Part, usize::MAX, Fault::Status(500, "InternalError"));
    let mut writer = files.writer(&path("job/a")).await.unwrap();
    let error = loop {
        if let Err(error) = writer.write(content(writer::PART)).await {
            break error;
        }
    };
    unavailable(&error);
    assert_eq!(server.bucket.count(Ask::Begin), 1);
    assert!(server.bucket.uploads().is_empty() && server.leftovers().is_empty());
    assert!(unavailable(&writer.finish().await.unwrap_err()).contains("did not finish"));
    assert_eq!(files.size(&path("job/a")).await.unwrap(), None);
}

#[tokio::test]
async fn an_end_that_fails_for_good_leaves_no_upload_behind() {
    let server = Server::start().await;
    let files = open(&server, "", "&attempts=2").await.unwrap();
    server.bucket.fail(
        Ask::Complete,
        usize::MAX,
        Fault::Status(500, "InternalError"),
    );
    let error = write(&files, "job/a", content(2 * writer::PART)).await;
    unavailable(&error.unwrap_err());
    assert!(server.bucket.uploads().is_empty() && server.leftovers().is_empty());
    assert_eq!(files.size(&path("job/a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_stands_still_holds_the_writer_back() {
    let server = Server::start().await;
    let files = open(&server, "", "").await.unwrap();
    server.bucket.fail(Ask::Part, usize::MAX, Fault::Stall);
    let mut writer = files.writer(&path("job/a")).await.unwrap();
    let part = content(writer::PART);
    let mut taken = 0;
    loop {
        tokio::select! {
            biased;
            written = writer.write(part.clone()) => {
                written.unwrap();
                taken += 1;
            }
            // Two are under way and the writer waits: this is all it takes.
            () = until(|| server.bucket.count(Ask::Part) == 2) => break,
        }
    }
    assert_eq!(taken, 4, "parts in memory");
}

#[tokio::test]
async fn a_large_file_whose_last_answer_is_lost_is_there() {
    let (files, server) = fresh().await;
    write(&files, "job/a", content(writer::PART + 2))
        .await
        .unwrap();
    server.bucket.fail(Ask::Complete, 1, Fault::LostAnswer);
    let bytes = content(2 * writer::PART).slice(writer::PART / 2..);
    write(&files, "job/a", bytes.clone()).await.unwrap();
    assert_eq!(server.bucket.count(Ask::Complete), 1 + 2);
    assert!(read(&files, "job/a", 0..u64::MAX).await.unwrap() == bytes);
}

#[tokio::test]
async fn an_upload_that_somebody_else_ended_is_no_file() {
    let (files, server) = fresh().await;
    write(&files, "job/a", content(writer::PART + 2))
        .await
        .unwrap();
    for at in ["job/a", "job/b"] {
        let gone = Fault::Status(404, "NoSuchUpload");
        server.bucket.fail(Ask::Complete, 1, gone);
        let error = write(&files, at, content(writer::PART + 2)).await;
        assert!(unavailable(&error.unwrap_err()).contains("NoSuchUpload"));
    }
}

#[tokio::test]
async fn no_space_left_is_told_as_such() {
    let (files, server) = fresh().await;
    for (status, code) in [(507, "XMinioStorageFull"), (403, "QuotaExceeded")] {
        server.bucket.fail(Ask::Put, 1, Fault::Status(status, code));
        let error = write(&files, "job/a", content(1)).await.unwrap_err();
        assert!(matches!(error, FileError::Full(_)), "{error:?}");
    }
}
