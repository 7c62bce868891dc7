//! Who makes and changes tables, when, and what rights that needs.

use std::time::Duration;

use ehi_core::export::{ExportJob, Interaction, JobId, WorkerId};
use ehi_core::ports::{Action, AuditLog, JobStore};
use ehi_core::testkit::{at, kickoff, staff};
use futures::future::join_all;
use tokio::time::timeout;

use super::*;

/// Back to the step before the one that made indexes of the audit log.
const EARLIER: &str = "DROP INDEX audit_of_actor; DROP INDEX audit_of_action; DELETE FROM _sqlx_migrations WHERE version = 5";

async fn execute(database: &Database, sql: &'static str) {
    sqlx::raw_sql(sql).execute(database.pool()).await.unwrap();
}

/// A URL of a file that is not there.
fn nothing() -> (String, TempDir) {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("new/ehi.db").display());
    (url, folder)
}

async fn opened(opening: Opening, url: &str) -> Result<Database, DatabaseError> {
    Database::open_for(opening, url, limits()).await
}

#[tokio::test]
async fn many_who_start_at_once_on_a_new_file_make_its_tables_once() {
    for _ in 0..5 {
        let (url, _folder) = nothing();
        let all = (0..12).map(|_| Database::open(&url, limits()));
        for one in join_all(all).await {
            one.unwrap();
        }
    }
}

async fn are_left_alone(url: &str) {
    let database = Database::open(url, limits()).await.unwrap();
    execute(&database, EARLIER).await;
    for opening in [Opening::Make, Opening::AsItIs] {
        let refused = opened(opening, url).await.unwrap_err();
        assert!(matches!(refused, DatabaseError::Older), "{refused:?}");
        assert!(refused.to_string().contains("ehi-server migrate"));
    }
    opened(Opening::Whatever, url).await.unwrap();
    let steps = "SELECT COUNT(*) FROM _sqlx_migrations WHERE version = 5";
    let steps = async || {
        sqlx::query_scalar::<_, i64>(steps)
            .fetch_one(database.pool())
            .await
    };
    assert_eq!(steps().await.unwrap(), 0, "somebody migrated");
    opened(Opening::Migrate, url).await.unwrap();
    assert_eq!(steps().await.unwrap(), 1);
    opened(Opening::AsItIs, url).await.unwrap();
}

#[tokio::test]
async fn tables_of_an_earlier_version_are_migrated_by_nobody_but_servers() {
    let (url, _folder) = nothing();
    are_left_alone(&url).await;
    are_left_alone(&TestDatabase::create().await.url()).await;
}

async fn can_be_made(url: &str) {
    let refused = opened(Opening::AsItIs, url).await.unwrap_err();
    assert!(matches!(refused, DatabaseError::Empty), "{refused:?}");
    assert!(refused.to_string().contains("ehi-server migrate"));
    let made = opened(Opening::Make, url).await.unwrap();
    assert!(SqlClients::new(&made).list().await.unwrap().is_empty());
    opened(Opening::AsItIs, url).await.unwrap();
}

#[tokio::test]
async fn a_database_without_tables_is_filled_before_a_server_starts_for_whoever_needs_it() {
    let (folder, postgres) = (TempDir::new().unwrap(), TestDatabase::create().await);
    let file = folder.path().join("ehi.db");
    std::fs::write(&file, "").unwrap();
    can_be_made(&format!("sqlite:{}", file.display())).await;
    can_be_made(&postgres.url()).await;
    let (url, _folder) = nothing();
    opened(Opening::Make, &url).await.unwrap();
}

#[tokio::test]
async fn a_migration_may_take_longer_than_a_statement_and_wait_for_others() {
    let (database, kept) = postgres().await;
    execute(&database, EARLIER).await;
    let mut holder = database.begin().await.unwrap();
    let lock = sqlx::raw_sql("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE");
    lock.execute(&mut *holder).await.unwrap();
    let bounds = DatabaseLimits {
        statement: Duration::from_millis(200),
        ..limits()
    };
    let url = kept.url();
    let all = join_all((0..2).map(|_| Database::open(&url, bounds)));
    // One makes an index, the other one waits for it: both for longer than a statement may take.
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > interval '1 s'";
    let waiting = async {
        let count = async || {
            sqlx::query_scalar::<_, i64>(waiting)
                .fetch_one(database.pool())
                .await
        };
        while count().await.unwrap() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let released = async {
        let waited = timeout(Duration::from_mins(1), waiting).await;
        holder.commit().await.unwrap();
        waited.unwrap();
    };
    for one in tokio::join!(all, released).0 {
        one.unwrap();
    }
}

/// What the README has a role granted that runs a server and owns no table.
const GRANTS: &str = "GRANT SELECT ON _sqlx_migrations TO server;
    GRANT SELECT, INSERT ON audit TO server;
    GRANT SELECT, UPDATE ON audit_head TO server;
    GRANT SELECT, INSERT, UPDATE ON deployment TO server;
    GRANT SELECT, INSERT, UPDATE, DELETE ON clients, codes, grants, guesses, jobs, jtis, refresh_tokens, removed_jobs, sessions, signing_keys, staff TO server";

#[tokio::test]
async fn a_server_needs_no_right_to_change_tables_nor_entries_of_the_audit_log() {
    let (owner, kept) = postgres().await;
    let role = format!("role_{}", kept.name());
    kept.run(&format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role}"))
        .await;
    kept.run(&GRANTS.replace("server", &role)).await;
    let mark = if kept.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{mark}options[role]={role}", kept.url());

    let served = Database::open(&url, limits()).await.unwrap();
    let log = SqlAudit::new(&served);
    log.append(&staff().by().did(Action::View, at(0)))
        .await
        .unwrap();
    log.verify(None).await.unwrap();
    let jobs = SqlJobs::new(&served);
    let id = JobId::from_random([1; 32]);
    let job = ExportJob::kick_off(id, kickoff(Interaction::None), at(0));
    jobs.insert(&job).await.unwrap();
    let worker = WorkerId("w".into());
    let claimed = jobs.claim(&worker, at(1), Duration::from_mins(1));
    let claimed = claimed.await.unwrap().unwrap();
    jobs.remove(&claimed).await.unwrap();
    jobs.disown(&[id]).await.unwrap();
    assert_eq!(jobs.removed(None, 10).await.unwrap(), [id]);
    jobs.forget(&[id]).await.unwrap();
    jobs.rehearse().await.unwrap();
    for forbidden in [
        "DELETE FROM audit",
        "UPDATE audit SET event = ''",
        "DELETE FROM audit_head",
        "DROP TABLE jobs",
    ] {
        let done = sqlx::raw_sql(forbidden).execute(served.pool()).await;
        assert!(done.is_err(), "{forbidden}");
    }

    // Only the owner migrates.
    execute(&owner, EARLIER).await;
    let refused = Database::open(&url, limits()).await.unwrap_err();
    assert!(
        matches!(refused, DatabaseError::Migration(_)),
        "{refused:?}"
    );
    Database::open(&kept.url(), limits()).await.unwrap();
    drop(served);
    kept.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}
