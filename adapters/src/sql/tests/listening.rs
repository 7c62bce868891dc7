//! Who waits for work hears of it from other processes.

use std::time::Duration;

use ehi_core::export::{ExportJob, Interaction, JobId, WorkerId};
use ehi_core::ports::JobStore;
use ehi_core::testkit::{at, kickoff};
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;

/// How many listen, as PostgreSQL knows them.
const LISTENERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";

fn waiting(number: u8) -> ExportJob {
    let id = JobId::from_random([number; 32]);
    ExportJob::kick_off(id, kickoff(Interaction::None), at(0))
}

/// Waits until so many listen.
async fn until_listening(database: &Database, count: i64) {
    let reached = async {
        loop {
            let now = sqlx::query_scalar::<_, i64>(LISTENERS).fetch_one(database.pool());
            if now.await.unwrap() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = timeout(Duration::from_mins(1), reached).await;
    assert!(reached.is_ok(), "there are not {count} who listen");
}

/// Whether something is heard within this time.
async fn heard(changes: &mut watch::Receiver<()>, within: Duration) -> bool {
    timeout(within, changes.changed()).await.is_ok()
}

#[tokio::test]
async fn another_process_is_heard_at_once_and_again_after_the_connection_was_lost() {
    let kept = TestDatabase::create().await;
    // Each goes on with the connection it has, when no new one is let in.
    let limits = DatabaseLimits {
        connections: 1,
        ..limits()
    };
    let here = Database::open(&kept.url(), limits).await.unwrap();
    let there = Database::open(&kept.url(), limits).await.unwrap();
    let (listening, telling) = (SqlJobs::new(&here), SqlJobs::new(&there));
    until_listening(&here, 2).await;
    let mut changes = listening.subscribe();
    changes.mark_unchanged();
    telling.insert(&waiting(1)).await.unwrap();
    // Nothing here polls: what is heard was told.
    assert!(heard(&mut changes, Duration::from_secs(30)).await);

    // The listeners are cut off, and no new connection is let in.
    let name = kept.name();
    kept.administer(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS FALSE"))
        .await;
    let cut = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND query LIKE 'LISTEN%'"
    );
    kept.administer(&cut).await;
    until_listening(&here, 0).await;
    changes.mark_unchanged();
    telling.insert(&waiting(2)).await.unwrap();
    assert!(!heard(&mut changes, Duration::from_millis(300)).await);
    // Looking finds it all the same: that is what workers do now and then.
    let worker = WorkerId("w".into());
    for _ in 0..2 {
        let found = listening.claim(&worker, at(1), Duration::from_mins(1));
        assert!(found.await.unwrap().is_some());
    }

    kept.administer(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS TRUE"))
        .await;
    until_listening(&here, 2).await;
    changes.mark_unchanged();
    telling.insert(&waiting(3)).await.unwrap();
    assert!(heard(&mut changes, Duration::from_secs(30)).await);
}
