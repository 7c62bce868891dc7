//! Copies of a database that is in use.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

/// How much there is to copy.
const BYTES: i64 = 40_000_000;

/// The sizes of the files in a folder.
fn sizes(folder: &Path) -> Vec<u64> {
    let files = std::fs::read_dir(folder).unwrap();
    (files.map(|file| file.unwrap().metadata().unwrap().len())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_its_name_when_it_is_whole_and_an_interrupted_one_is_in_nobodys_way() {
    let (database, _kept) = sqlite().await;
    sqlx::raw_sql("CREATE TABLE much (bytes BLOB)")
        .execute(database.pool())
        .await
        .unwrap();
    sqlx::query("INSERT INTO much VALUES (randomblob($1))")
        .bind(BYTES)
        .execute(database.pool())
        .await
        .unwrap();
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("copy.db");
    let copying = {
        let (database, to) = (database.clone(), to.clone());
        tokio::spawn(async move { database.copy_to(&to).await })
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    while sizes(folder.path()).iter().all(|size| *size == 0) {
        assert!(Instant::now() < deadline, "it does not begin");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!to.exists(), "half a copy has the name of a whole one");
    copying.abort();
    assert!(copying.await.unwrap_err().is_cancelled());
    assert!(!to.exists());
    // As a process leaves it that was killed.
    std::fs::write(folder.path().join("copy.db.abc.part"), "half").unwrap();

    database.copy_to(&to).await.unwrap();
    let again = database.copy_to(&to).await;
    let Err(CopyError::File(_, error)) = again else {
        panic!("{again:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    let url = format!("sqlite:{}", to.display());
    let copy = Database::open_for(Opening::AsItIs, &url, limits());
    let length = sqlx::query_scalar::<_, i64>("SELECT length(bytes) FROM much");
    let length = length.fetch_one(copy.await.unwrap().pool()).await;
    assert_eq!(length.unwrap(), BYTES);
}
