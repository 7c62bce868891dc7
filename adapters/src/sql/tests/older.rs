//! Databases of an older version.

use std::time::Duration;

use ehi_core::export::{ExportJob, Interaction, JobId, Status, WorkerId};
use ehi_core::ports::{JobStore, OpenJobs};
use ehi_core::testkit::{at, client_id, kickoff, patient};

use super::*;

/// What a version before the fair queue left: more rows than are filled in at once.
async fn left_behind(database: &Database) -> Vec<ExportJob> {
    let store = SqlJobs::new(database);
    let mut jobs = Vec::new();
    for number in 0..600_u16 {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        let interaction = if number < 3 {
            Interaction::None
        } else {
            Interaction::Form
        };
        let id = JobId::from_random(bytes);
        // The later ones are older.
        let job = ExportJob::kick_off(id, kickoff(interaction), at(1_000 - i64::from(number)));
        store.insert(&job).await.unwrap();
        jobs.push(job);
    }
    // As the migration leaves them.
    let older = "UPDATE jobs SET client = NULL, since = NULL, turn = CASE WHEN runnable_at IS NULL THEN NULL ELSE created_at END, client_turn = NULL";
    let done = sqlx::query(older).execute(database.pool()).await;
    done.unwrap();
    jobs
}

async fn is_brought_up(database: Database, url: String) {
    let jobs = left_behind(&database).await;
    drop(database);
    let store = SqlJobs::new(&Database::open(&url, limits()).await.unwrap());
    let open = store.open_jobs(&patient().id, &client_id()).await.unwrap();
    let all = OpenJobs {
        of_patient: 600,
        of_client: 600,
    };
    assert_eq!(open, all);
    let overdue = store.overdue(Status::AwaitingInput, at(2_000), 1).await;
    assert_eq!(overdue.unwrap()[0].id, jobs[599].id);
    let worker = WorkerId("w".into());
    for job in jobs[..3].iter().rev() {
        let claimed = store.claim(&worker, at(2_000), Duration::from_mins(1));
        assert_eq!(claimed.await.unwrap().unwrap().id, job.id);
    }
}

/// A job that an older server writes while one of this version runs.
async fn is_filled_in_meanwhile(database: &Database) {
    let store = SqlJobs::new(database);
    let id = JobId::from_random([9; 32]);
    let job = ExportJob::kick_off(id, kickoff(Interaction::Form), at(0));
    store.insert(&job).await.unwrap();
    let older = "UPDATE jobs SET client = NULL, since = NULL";
    (sqlx::query(older).execute(database.pool()).await).unwrap();
    let overdue = store.overdue(Status::AwaitingInput, at(1), 10).await;
    assert_eq!(overdue.unwrap(), [job]);
    let open = store.open_jobs(&patient().id, &client_id()).await.unwrap();
    assert_eq!((open.of_patient, open.of_client), (1, 1));
}

#[tokio::test]
async fn what_an_older_version_writes_meanwhile_expires_all_the_same_in_sqlite() {
    let (database, _kept) = sqlite().await;
    is_filled_in_meanwhile(&database).await;
}

#[tokio::test]
async fn what_an_older_version_writes_meanwhile_expires_all_the_same_in_postgresql() {
    let (database, _kept) = postgres().await;
    is_filled_in_meanwhile(&database).await;
}

#[tokio::test]
async fn jobs_of_an_older_version_keep_their_order_and_are_counted_in_sqlite() {
    let (database, folder) = sqlite().await;
    let url = format!("sqlite:{}", folder.path().join("ehi.db").display());
    is_brought_up(database, url).await;
}

#[tokio::test]
async fn jobs_of_an_older_version_keep_their_order_and_are_counted_in_postgresql() {
    let (database, kept) = postgres().await;
    is_brought_up(database, kept.url()).await;
}
