//! Rows that a later version wrote, or that are damaged, are in nobody's way.

use std::time::Duration;

use ehi_core::auth::ClientId;
use ehi_core::export::{ExportJob, Interaction, JobId, Status, WorkerId};
use ehi_core::ports::{Cursor, JobFilter, JobStore, Page, StoreError};
use ehi_core::testkit::{at, kickoff};

use super::*;

fn id(number: u8) -> JobId {
    JobId::from_random([number; 32])
}

async fn insert(store: &SqlJobs, number: u8, interaction: Interaction) -> ExportJob {
    let job = ExportJob::kick_off(id(number), kickoff(interaction), at(number.into()));
    store.insert(&job).await.unwrap();
    job
}

/// Makes a row unreadable, as a later version would write it.
async fn write_later(database: &Database, id: JobId) {
    let changed = sqlx::query("UPDATE jobs SET job = '{\"shape\": 2}' WHERE id = $1")
        .bind(id.to_string())
        .execute(database.pool());
    assert_eq!(changed.await.unwrap().rows_affected(), 1);
}

async fn are_passed_over_in_the_queue(database: &Database) {
    let store = SqlJobs::new(database);
    for number in 1..=5 {
        insert(&store, number, Interaction::None).await;
    }
    write_later(database, id(1)).await;
    write_later(database, id(2)).await;
    // Of these only the rows say that they can be claimed.
    let form = insert(&store, 6, Interaction::Form).await;
    let moved = sqlx::query("UPDATE jobs SET job = $2 WHERE id = $1")
        .bind(id(3).to_string())
        .bind(serde_json::to_string(&form).unwrap());
    moved.execute(database.pool()).await.unwrap();
    let other = "UPDATE jobs SET version = 7 WHERE id = $1";
    let other = sqlx::query(other).bind(id(4).to_string());
    other.execute(database.pool()).await.unwrap();

    let worker = WorkerId("w".into());
    let hour = Duration::from_hours(1);
    let claimed = store.claim(&worker, at(1_000), hour).await.unwrap();
    assert_eq!(claimed.unwrap().id, id(5));
    assert_eq!(store.claim(&worker, at(1_000), hour).await.unwrap(), None);
    let unread = store.get(id(1)).await;
    assert!(matches!(unread, Err(StoreError::Unreadable(_))));

    // A later version has its turn with them, and gets it.
    let readable = ExportJob::kick_off(id(2), kickoff(Interaction::None), at(2));
    let mended = sqlx::query("UPDATE jobs SET job = $2 WHERE id = $1")
        .bind(id(2).to_string())
        .bind(serde_json::to_string(&readable).unwrap());
    mended.execute(database.pool()).await.unwrap();
    let claimed = store.claim(&worker, at(1_100), hour).await.unwrap();
    assert_eq!(claimed.unwrap().id, id(2));
}

async fn are_left_out_of_lists(database: &Database) {
    let store = SqlJobs::new(database);
    let mut expected = Vec::new();
    for number in 1..=20 {
        let job = insert(&store, number, Interaction::Form).await;
        if number % 5 == 0 {
            expected.push(job);
        } else {
            write_later(database, job.id).await;
        }
    }
    let overdue = store.overdue(Status::AwaitingInput, at(1_000), 3).await;
    assert_eq!(overdue.unwrap(), expected[..3], "a whole page");
    let overdue = store.overdue(Status::AwaitingInput, at(1_000), 5).await;
    assert_eq!(overdue.unwrap(), expected);

    expected.reverse();
    let all = store.list(&JobFilter::default(), Page::default()).await;
    assert_eq!(all.unwrap(), expected);
    let mut after = None;
    for expected in expected.chunks(3) {
        let page = Page {
            limit: Some(3),
            after,
        };
        let jobs = store.list(&JobFilter::default(), page).await.unwrap();
        assert_eq!(jobs, expected, "a whole page, or the last");
        after = jobs.last().map(|job| Cursor {
            created_at: job.created_at,
            id: job.id,
        });
    }
}

/// What a later version, or damage, makes of the clients and staff there are.
async fn is_alone(database: &Database) {
    use ehi_core::ports::{ClientRegistry, StaffLogin};
    let [first, second] = registrations();
    let (clients, staff) = (SqlClients::new(database), SqlStaff::new(database));
    let write = async |sql: &'static str| {
        let done = sqlx::raw_sql(sql).execute(database.pool()).await;
        done.unwrap();
    };
    write("INSERT INTO clients VALUES ('strange', '{\"id\": 7}')").await;
    write("INSERT INTO staff VALUES ('zoe', 'auditor', 'x')").await;
    assert!(clients.any().await.unwrap() && staff.any().await.unwrap());
    let [(ada, hash), _] = members();
    staff.add(&ada, &hash).await.unwrap();
    for client in [&first, &second] {
        clients.add(client).await.unwrap();
    }
    assert_eq!(staff.list().await.unwrap(), [ada]);
    assert_eq!(clients.list().await.unwrap().len(), 2);
    let strange = ClientId::parse("strange").unwrap();
    assert!(clients.client(&strange).await.is_err());
    let zoe = StaffName::proven("zoe");
    assert!(staff.standing(&zoe).await.is_err());

    // More than this version knows, in a client that it can read otherwise.
    write("UPDATE clients SET registration = replace(registration, '{\"id\"', '{\"later\":[1],\"id\"')").await;
    assert!(clients.client(&first.id).await.unwrap().is_some());
    let fresh = hash_password(&"fresh".to_owned().into()).unwrap();
    clients.replace_secret(&second.id, &fresh).await.unwrap();
    let secret = "fresh".to_owned().into();
    assert!(clients.verify_secret(&second.id, &secret).await.unwrap());
    let kept = "SELECT COUNT(*) FROM clients WHERE registration LIKE '%\"later\":[1]%'";
    let kept = sqlx::query_scalar::<_, i64>(kept).fetch_one(database.pool());
    assert_eq!(kept.await.unwrap(), 3, "something got lost");

    assert!(clients.is_there(&strange).await.unwrap());
    clients.remove(&strange).await.unwrap();
    assert!(!clients.is_there(&strange).await.unwrap());
    assert!(staff.is_there(&zoe).await.unwrap());
    staff.remove(&zoe).await.unwrap();
    assert!(!staff.is_there(&zoe).await.unwrap());
}

macro_rules! on {
    ($database:ident) => {
        mod $database {
            #[tokio::test]
            async fn exports_that_no_worker_can_claim_keep_no_others_waiting() {
                let (database, _kept) = super::$database().await;
                super::are_passed_over_in_the_queue(&database).await;
            }

            #[tokio::test]
            async fn exports_that_cannot_be_read_do_not_hide_others_in_lists() {
                let (database, _kept) = super::$database().await;
                super::are_left_out_of_lists(&database).await;
            }

            #[tokio::test]
            async fn clients_and_staff_that_cannot_be_read_are_in_nobodys_way_and_go() {
                let (database, _kept) = super::$database().await;
                super::is_alone(&database).await;
            }
        }
    };
}

on!(sqlite);
on!(postgres);
