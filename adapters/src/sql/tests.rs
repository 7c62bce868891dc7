//! Every store on both databases, by the suites that all stores run.

mod listening;
mod older;
mod plans;

use tempfile::TempDir;

use super::*;
use crate::testing::TestDatabase;

/// An empty SQLite file.
async fn sqlite() -> (Database, TempDir) {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("ehi.db").display());
    let database = Database::open(&url, limits()).await.unwrap();
    (database, folder)
}

/// An empty PostgreSQL database.
async fn postgres() -> (Database, TestDatabase) {
    let kept = TestDatabase::create().await;
    let database = Database::open(&kept.url(), limits()).await.unwrap();
    (database, kept)
}

/// A crowd has to wait for its turn.
fn limits() -> DatabaseLimits {
    DatabaseLimits {
        patience: std::time::Duration::from_mins(2),
        ..DatabaseLimits::default()
    }
}

macro_rules! on {
    ($database:ident) => {
        mod $database {
            use super::*;

            async fn jobs() -> (SqlJobs, impl Sized) {
                let (database, kept) = super::$database().await;
                (SqlJobs::new(&database), (database, kept))
            }

            async fn grants() -> (SqlGrants, impl Sized) {
                let (database, kept) = super::$database().await;
                (SqlGrants::new(&database), (database, kept))
            }

            async fn sessions() -> (SqlSessions, impl Sized) {
                let (database, kept) = super::$database().await;
                (SqlSessions::new(&database), (database, kept))
            }

            async fn audit() -> (SqlAudit, impl Sized) {
                let (database, kept) = super::$database().await;
                (SqlAudit::new(&database), (database, kept))
            }

            ehi_core::job_store_contract!(jobs());
            ehi_core::grant_store_contract!(grants());
            ehi_core::session_store_contract!(sessions());
            ehi_core::audit_log_contract!(audit());
        }
    };
}

on!(sqlite);
on!(postgres);

#[tokio::test]
async fn a_schema_of_a_later_version_is_refused_by_its_number() {
    let (database, folder) = sqlite().await;
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (9999, 'later', CURRENT_TIMESTAMP, TRUE, x'00', 0)")
        .execute(database.pool())
        .await
        .unwrap();
    drop(database);
    let url = format!("sqlite:{}", folder.path().join("ehi.db").display());
    let refused = Database::open(&url, limits()).await.unwrap_err();
    assert!(matches!(refused, DatabaseError::Newer(9999)), "{refused:?}");
    assert!(refused.to_string().contains("newer"));
}

#[tokio::test]
async fn what_is_no_database_is_told_without_its_password() {
    let url = "mysql://admin:hunter2@host/db";
    let refused = Database::open(url, limits()).await.unwrap_err();
    assert!(matches!(refused, DatabaseError::Url(_)));
    assert!(!refused.to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_database_in_memory_is_refused_since_each_connection_would_have_its_own() {
    for url in ["sqlite::memory:", "sqlite:x?mode=memory"] {
        let refused = Database::open(url, limits()).await.unwrap_err();
        assert!(matches!(refused, DatabaseError::InMemory), "{refused:?}");
    }
}

#[tokio::test]
async fn looking_for_a_database_makes_none() {
    let (_database, folder) = sqlite().await;
    for (name, there) in [("ehi.db", true), ("other.db", false)] {
        let file = folder.path().join(name);
        let url = format!("sqlite:{}", file.display());
        assert_eq!(Database::is_there(&url).unwrap(), there);
        assert_eq!(file.exists(), there);
    }
}

#[tokio::test]
async fn a_tampered_entry_is_found() {
    use ehi_core::audit::ChainError;
    use ehi_core::ports::{Action, AuditLog};
    use ehi_core::testkit::{at, staff};
    for change in [
        "UPDATE audit SET event = replace(event, 'view', 'approve') WHERE number = 2",
        "DELETE FROM audit WHERE number = 2",
        "DELETE FROM audit WHERE number = 3",
    ] {
        let (database, _kept) = sqlite().await;
        let log = SqlAudit::new(&database);
        for second in 0..3 {
            let event = staff().by().did(Action::View, at(second));
            log.append(&event).await.unwrap();
        }
        sqlx::query(change).execute(database.pool()).await.unwrap();
        let found = log.verify(None).await;
        assert!(
            matches!(
                found,
                Err(ChainError::Changed(2) | ChainError::Missing { .. })
            ),
            "{change}: {found:?}"
        );
    }
}
