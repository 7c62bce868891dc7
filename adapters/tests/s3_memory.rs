//! Memory for files on S3 stays bounded: in a process of its own, so that nothing else counts.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]

use bytes::Bytes;
use ehi_adapters::s3::{S3Credentials, S3Files, S3Settings};
use ehi_adapters::testing::s3::{ACCESS_KEY, SECRET_KEY, Server};
use ehi_core::ports::{FilePath, FileStore};
use futures::TryStreamExt;

const MIB: usize = 1 << 20;

/// How much memory the process had at most, in MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: usize = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib / 1024
}

#[tokio::test]
async fn three_hundred_megabytes_go_through_less_than_64() {
    let server = Server::start().await;
    let mut settings: S3Settings = server.url("", "").parse().unwrap();
    settings.credentials = S3Credentials::Keys {
        access_key_id: ACCESS_KEY.into(),
        secret_access_key: SECRET_KEY.into(),
        session_token: None,
    };
    let files = S3Files::open(settings, server.clock.clone(), server.entropy.clone())
        .await
        .unwrap();
    let path = FilePath::parse("job/large").unwrap();
    let before = peak();

    let mut writer = files.writer(&path).await.unwrap();
    for number in 0..300_u16 {
        let chunk = vec![number.to_le_bytes()[0]; MIB];
        writer.write(Bytes::from(chunk)).await.unwrap();
    }
    writer.finish().await.unwrap();
    let size = files.size(&path).await.unwrap().unwrap();
    assert_eq!(size, 300 << 20);

    let mut stream = files.read(&path, 0..size).await.unwrap().unwrap();
    let mut at = 0;
    while let Some(bytes) = stream.try_next().await.unwrap() {
        for (offset, byte) in bytes.iter().enumerate() {
            assert!(*byte == ((at + offset) / MIB).to_le_bytes()[0]);
        }
        at += bytes.len();
    }
    assert_eq!(at, 300 * MIB);
    let grown = peak() - before;
    assert!(grown < 64, "{grown} MiB");
}
