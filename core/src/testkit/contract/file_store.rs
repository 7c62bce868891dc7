//! What a [`FileStore`] promises.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]
#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the names are the promises"
)]

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;

use crate::ports::{FilePath, FileStore};

/// Makes the tests of a [`FileStore`]: `file_store_contract!(fresh())`, where `fresh()` is a future of an empty store and of
/// whatever has to live as long as it.
#[macro_export]
macro_rules! file_store_contract {
    ($fresh:expr) => {
        $crate::contract_tests!(
            file_store, $fresh,
            a_file_appears_whole_when_it_is_finished
            a_writer_that_is_dropped_leaves_nothing
            an_empty_file_is_a_file
            a_large_file_comes_back_byte_by_byte
            any_part_of_a_file_can_be_read
            a_file_that_is_not_there_is_none
            the_last_writer_of_a_name_stands
            deleting_a_folder_takes_its_files_and_no_others
            many_files_are_written_at_once
            a_sweep_takes_nothing_from_writers_that_live
        );
    };
}

type Store = Arc<dyn FileStore>;

fn path(text: &str) -> FilePath {
    FilePath::parse(text).unwrap()
}

async fn write(store: &Store, at: &str, content: &[u8]) {
    let mut writer = store.writer(&path(at)).await.unwrap();
    for chunk in content.chunks(100_003) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.finish().await.unwrap();
}

async fn read(store: &Store, at: &str, range: Range<u64>) -> Option<Vec<u8>> {
    let stream = store.read(&path(at), range).await.unwrap()?;
    let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
    Some(chunks.concat())
}

/// Bytes that repeat in no simple way.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

pub async fn a_file_appears_whole_when_it_is_finished(store: Store) {
    let mut writer = store.writer(&path("job/1/a")).await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    assert_eq!(read(&store, "job/1/a", 0..9).await, None);
    assert_eq!(store.size(&path("job/1/a")).await.unwrap(), None);
    assert!(store.list(&path("job")).await.unwrap().is_empty());
    writer.write(Bytes::from_static(b"whole")).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(read(&store, "job/1/a", 0..9).await.unwrap(), b"halfwhole");
    assert_eq!(store.size(&path("job/1/a")).await.unwrap(), Some(9));
    assert_eq!(store.list(&path("job")).await.unwrap(), [path("job/1/a")]);
}

pub async fn a_writer_that_is_dropped_leaves_nothing(store: Store) {
    let mut writer = store.writer(&path("job/a")).await.unwrap();
    let chunk = Bytes::from(content(1 << 20));
    for _ in 0..7 {
        writer.write(chunk.clone()).await.unwrap();
    }
    drop(writer);
    assert_eq!(read(&store, "job/a", 0..9).await, None);
    assert!(store.list(&path("job")).await.unwrap().is_empty());
}

pub async fn an_empty_file_is_a_file(store: Store) {
    let writer = store.writer(&path("job/empty")).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(store.size(&path("job/empty")).await.unwrap(), Some(0));
    assert_eq!(read(&store, "job/empty", 0..1).await.unwrap(), b"");
}

pub async fn a_large_file_comes_back_byte_by_byte(store: Store) {
    let content = content(21 << 20);
    write(&store, "job/large", &content).await;
    let size = content.len() as u64;
    assert_eq!(store.size(&path("job/large")).await.unwrap(), Some(size));
    assert!(read(&store, "job/large", 0..size).await.unwrap() == content);
}

pub async fn any_part_of_a_file_can_be_read(store: Store) {
    let content = content(300_000);
    write(&store, "job/a", &content).await;
    for (range, expected) in [
        (0..1, &content[..1]),
        (5..5, &[]),
        (299_999..300_000, &content[299_999..]),
        (131_000..200_000, &content[131_000..200_000]),
        (100..u64::MAX, &content[100..]),
        (300_000..400_000, &[]),
        (900_000..900_001, &[]),
    ] {
        assert!(
            read(&store, "job/a", range.clone()).await.unwrap() == expected,
            "{range:?}"
        );
    }
}

pub async fn a_file_that_is_not_there_is_none(store: Store) {
    write(&store, "job/a/b", b"x").await;
    for at in ["job", "job/a", "job/a/b/c", "job/a/c", "other"] {
        assert_eq!(store.size(&path(at)).await.unwrap(), None, "{at}");
        assert_eq!(read(&store, at, 0..1).await, None, "{at}");
    }
}

pub async fn the_last_writer_of_a_name_stands(store: Store) {
    write(&store, "job/a", b"first").await;
    write(&store, "job/a", b"second").await;
    assert_eq!(read(&store, "job/a", 0..9).await.unwrap(), b"second");
}

pub async fn deleting_a_folder_takes_its_files_and_no_others(store: Store) {
    for at in ["job/1/a", "job/2/a", "job/10/a", "job-2/a", "job2/a"] {
        write(&store, at, b"content").await;
    }
    store.delete_prefix(&path("job/1")).await.unwrap();
    let mut left = store.list(&path("job")).await.unwrap();
    left.sort();
    assert_eq!(left, [path("job/10/a"), path("job/2/a")]);
    store.delete_prefix(&path("job/2/a")).await.unwrap();
    store.delete_prefix(&path("job")).await.unwrap();
    store.delete_prefix(&path("job")).await.unwrap();
    assert!(store.list(&path("job")).await.unwrap().is_empty());
    let mut folders = store.folders().await.unwrap();
    folders.retain(|folder| folder.as_str() != "job");
    folders.sort();
    assert_eq!(folders, [path("job-2"), path("job2")]);
}

pub async fn many_files_are_written_at_once(store: Store) {
    let writes = (0..64).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let content = format!("file {number}");
            write(&store, &format!("job/{number}"), content.as_bytes()).await;
        })
    });
    for written in join_all(writes).await {
        written.unwrap();
    }
    assert_eq!(store.list(&path("job")).await.unwrap().len(), 64);
    let one = read(&store, "job/17", 0..99).await.unwrap();
    assert_eq!(one, b"file 17");
}

pub async fn a_sweep_takes_nothing_from_writers_that_live(store: Store) {
    write(&store, "job/done", b"whole").await;
    let mut writer = store.writer(&path("job/a")).await.unwrap();
    let chunk = Bytes::from(content(1 << 20));
    for _ in 0..9 {
        writer.write(chunk.clone()).await.unwrap();
    }
    assert_eq!(store.sweep_unfinished().await.unwrap(), 0);
    writer.write(chunk).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(store.sweep_unfinished().await.unwrap(), 0);
    let size = store.size(&path("job/a")).await.unwrap();
    assert_eq!(size, Some(10 << 20));
    assert_eq!(read(&store, "job/done", 0..9).await.unwrap(), b"whole");
}
