//! Every store on both databases, by the suites that all stores run.

mod backup;
mod frozen;
mod listening;
mod older;
mod plans;
mod schema;
mod silent;
mod unreadable;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ehi_core::auth::{StaffMember, StaffName, StaffRole};
use tempfile::TempDir;

use super::*;
use crate::accounts::{AuthMethod, Refusal, Registration, hash_password};
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

/// What a full disk does to a transaction of SQLite.
#[tokio::test]
async fn a_transaction_that_the_database_took_back_is_in_nobodys_way() {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("ehi.db").display());
    let limits = DatabaseLimits {
        connections: 1,
        ..limits()
    };
    let database = Database::open(&url, limits).await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    (sqlx::raw_sql("ROLLBACK").execute(&mut *transaction).await).unwrap();
    assert!(transaction.commit().await.is_err());
    let next = database.begin().await.unwrap();
    next.commit().await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_durable_whatever_the_database_has_for_its_own() {
    let kept = TestDatabase::create().await;
    let name = kept.name();
    kept.run(&format!(
        "ALTER DATABASE {name} SET synchronous_commit = off"
    ))
    .await;
    let postgres = Database::open(&kept.url(), limits()).await.unwrap();
    let set = sqlx::query_scalar::<_, String>("SHOW synchronous_commit");
    let set = set.fetch_one(postgres.pool()).await.unwrap();
    assert_eq!(set, "on");

    let (sqlite, _folder) = sqlite().await;
    let journal = sqlx::query_scalar::<_, String>("PRAGMA journal_mode");
    let journal = journal.fetch_one(sqlite.pool()).await.unwrap();
    assert_eq!(journal, "wal");
    // 2 is FULL.
    for (pragma, value) in [("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1)] {
        let set = sqlx::query_scalar::<_, i64>(pragma);
        assert_eq!(set.fetch_one(sqlite.pool()).await.unwrap(), value);
    }
}

#[tokio::test]
async fn a_database_that_only_reads_fails_the_rehearsal() {
    use ehi_core::ports::JobStore;
    let kept = TestDatabase::create().await;
    let opened = async || SqlJobs::new(&Database::open(&kept.url(), limits()).await.unwrap());
    opened().await.rehearse().await.unwrap();
    let name = kept.name();
    kept.run(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ))
    .await;
    let rehearsed = opened().await.rehearse().await;
    assert!(matches!(rehearsed, Err(StoreError::Unavailable(_))));
    let (sqlite, _folder) = sqlite().await;
    SqlJobs::new(&sqlite).rehearse().await.unwrap();
}

fn secret(byte: u8) -> KeySecret {
    KeySecret::parse(&KeySecret::write([byte; 32])).unwrap()
}

async fn sealed(database: &Database) {
    use ehi_core::ports::{KeyAge, KeyStore, KeyStoreError, StoredKey};
    let keys = SqlKeys::new(database, secret(1));
    for made in [0, 7] {
        let key = StoredKey {
            made: KeyAge(made),
            pem: format!("the private key {made}").into(),
        };
        keys.keep(&key).await.unwrap();
    }
    let rows = sqlx::query_scalar::<_, String>("SELECT wrapped FROM signing_keys ORDER BY made");
    let rows = rows.fetch_all(database.pool()).await.unwrap();
    for row in &rows {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(row).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("private key"));
    }
    let damaged = async |keys: &SqlKeys| {
        let read = keys.all().await;
        assert!(matches!(read, Err(KeyStoreError::Damaged(_))), "{read:?}");
    };
    damaged(&SqlKeys::new(database, secret(2))).await;
    // A sealed key in the place of another is none.
    let moved = sqlx::query("UPDATE signing_keys SET wrapped = $1 WHERE made = 7");
    moved
        .bind(rows[0].clone())
        .execute(database.pool())
        .await
        .unwrap();
    damaged(&keys).await;
    for bad in ["", "AAAA", "not base64"] {
        assert!(KeySecret::parse(&bad.to_owned().into()).is_err(), "{bad}");
    }
}

/// The clients that the contract suites ask for.
fn registrations() -> [Registration; 2] {
    use ehi_core::auth::{Introspects, LoopbackRedirects};
    use ehi_core::testkit::contract::client_registry::{SECRET, client, client_with_secret};
    let hash = hash_password(&SECRET.to_owned().into()).unwrap();
    [(client(), None), (client_with_secret(), Some(hash))].map(|(client, hash)| Registration {
        id: client.id,
        registration: None,
        name: client.name,
        token_endpoint_auth_method: match hash {
            None => AuthMethod::None,
            Some(_) => AuthMethod::ClientSecretBasic,
        },
        secret_hash: hash,
        jwks: None,
        jwks_uri: None,
        redirect_uris: Vec::new(),
        return_urls: Vec::new(),
        loopback: LoopbackRedirects::Any,
        scopes: client.scopes,
        access_token_lifetime: None,
        refresh_token_lifetime: None,
        introspects: Introspects::Own,
        quirks: Vec::new(),
    })
}

/// The staff that the contract suites ask for.
fn members() -> [(StaffMember, String); 2] {
    use ehi_core::testkit::contract::logins::PASSWORD;
    [("ada", StaffRole::Admin), ("bob", StaffRole::Reviewer)].map(|(name, role)| {
        let hash = hash_password(&format!("{PASSWORD} {name}").into()).unwrap();
        let name = StaffName::proven(name);
        (StaffMember { name, role }, hash)
    })
}

async fn changes(database: &Database) {
    use std::slice::from_ref;

    use ehi_core::ports::{ClientRegistry, StaffLogin, Standing};
    let [first, second] = registrations();
    let [(ada, hash), (bob, _)] = members();
    let (clients, staff) = (SqlClients::new(database), SqlStaff::new(database));
    take_over(database, from_ref(&first), &[(&ada, &hash)])
        .await
        .unwrap();
    // One that is there already, and nobody of the others is taken.
    let again = take_over(database, from_ref(&second), &[(&bob, &hash), (&ada, &hash)]).await;
    assert!(matches!(
        again,
        Err(RegistryError::Refused(Refusal::StaffTaken(_)))
    ));
    assert_eq!(clients.list().await.unwrap().len(), 1);
    assert_eq!(staff.list().await.unwrap(), from_ref(&ada));
    let taken = clients.add(&first).await;
    assert!(matches!(
        taken,
        Err(RegistryError::Refused(Refusal::ClientTaken(_)))
    ));
    let none = clients.replace_secret(&first.id, &hash).await;
    assert!(matches!(
        none,
        Err(RegistryError::Refused(Refusal::NoSecret(_)))
    ));
    let unhashed = staff.add(&bob, "plain").await;
    assert!(matches!(unhashed, Err(RegistryError::PasswordHash(_))));
    let mistaken = Registration {
        secret_hash: None,
        ..second.clone()
    };
    let mistaken = clients.add(&mistaken).await;
    assert!(matches!(mistaken, Err(RegistryError::Client { .. })));

    clients.add(&second).await.unwrap();
    let fresh = hash_password(&"fresh".to_owned().into()).unwrap();
    clients.replace_secret(&second.id, &fresh).await.unwrap();
    let secret = "fresh".to_owned().into();
    let verified = clients.verify_secret(&second.id, &secret).await;
    assert!(verified.unwrap());
    clients.remove(&second.id).await.unwrap();
    assert!(clients.client(&second.id).await.unwrap().is_none());
    assert!(clients.remove(&second.id).await.is_err());
    staff.remove(&ada.name).await.unwrap();
    assert_eq!(staff.standing(&ada.name).await.unwrap(), Standing::Gone);
    assert!(staff.replace_password(&ada.name, &fresh).await.is_err());
}

async fn bounded(database: &Database) {
    use ehi_core::auth::{Account, Attempt, Door, Patience, Turn, Verdict};
    use ehi_core::ports::GuessStore;
    use ehi_core::testkit::at;
    let store = SqlGuesses::of_at_most(database, 20);
    let attempt = |name: &str| Attempt {
        account: Account::of(Door::Staff, name),
        place: None,
    };
    let begin = async |name: &str| {
        let attempt = attempt(name);
        let begun = store.begin(&attempt, Patience::default(), at(0));
        begun.await.unwrap()
    };
    begin("ada").await;
    store.end(attempt("ada"), Verdict::Right).await.unwrap();
    for _ in 0..5 {
        begin("guessed").await;
    }
    for number in 0..50 {
        begin(&format!("nobody {number}")).await;
    }
    store.sweep(at(1)).await.unwrap();
    let count = |of: &'static str| sqlx::query_scalar::<_, i64>(of).fetch_one(database.pool());
    let rows = count("SELECT count(*) FROM guesses").await.unwrap();
    assert_eq!(rows, 20);
    let owners = count("SELECT count(*) FROM guesses WHERE owners = 1");
    assert_eq!(owners.await.unwrap(), 1, "it is what is worth keeping");
    assert!(matches!(begin("guessed").await, Turn::Wait(_)));
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

            async fn guesses() -> (SqlGuesses, impl Sized) {
                let (database, kept) = super::$database().await;
                (SqlGuesses::new(&database), (database, kept))
            }

            #[tokio::test]
            async fn guesses_are_bounded_whatever_is_typed() {
                let (database, _kept) = super::$database().await;
                bounded(&database).await;
            }

            async fn keys() -> (SqlKeys, impl Sized) {
                let (database, kept) = super::$database().await;
                (SqlKeys::new(&database, secret(1)), (database, kept))
            }

            async fn clients() -> (SqlClients, impl Sized) {
                let (database, kept) = super::$database().await;
                let clients = SqlClients::new(&database);
                for client in registrations() {
                    clients.add(&client).await.unwrap();
                }
                (clients, (database, kept))
            }

            async fn staff() -> (SqlStaff, impl Sized) {
                let (database, kept) = super::$database().await;
                let staff = SqlStaff::new(&database);
                for (member, hash) in members() {
                    staff.add(&member, &hash).await.unwrap();
                }
                (staff, (database, kept))
            }

            #[tokio::test]
            async fn keys_are_sealed_by_a_secret_that_the_database_does_not_hold() {
                let (database, _kept) = super::$database().await;
                sealed(&database).await;
            }

            #[tokio::test]
            async fn clients_and_staff_change_for_everybody_at_once_or_not_at_all() {
                let (database, _kept) = super::$database().await;
                changes(&database).await;
            }

            ehi_core::key_store_contract!(keys());
            ehi_core::client_registry_contract!(clients());
            ehi_core::client_secret_contract!(clients());
            ehi_core::staff_password_contract!(staff());
            ehi_core::guess_store_contract!(guesses());
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

/// However long the log is: each statement has but so much time.
#[tokio::test]
async fn a_long_audit_log_is_verified_a_few_entries_at_a_time() {
    use ehi_core::audit::Link;
    use ehi_core::ports::AuditLog;
    use std::fmt::Write;
    let (_, kept) = postgres().await;
    let mut last = Link::START;
    let mut rows = Vec::new();
    for _ in 0..2_500 {
        last = last.next("{}");
        let mut row = String::new();
        write!(
            row,
            "({}, '{}', 0, '', '', '', '', '', '{{}}')",
            last.number, last.hash
        )
        .unwrap();
        rows.push(row);
    }
    kept.run(&format!("INSERT INTO audit VALUES {}", rows.join(",")))
        .await;
    kept.run(&format!(
        "UPDATE audit_head SET number = 2500, hash = '{}'",
        last.hash
    ))
    .await;
    // A table of which one statement may read but so much.
    kept.run("ALTER TABLE audit RENAME TO audit_rows").await;
    kept.run(
        "CREATE FUNCTION few() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
         DECLARE now text := statement_timestamp()::text;
         BEGIN
             IF current_setting('test.now', true) IS DISTINCT FROM now THEN
                 PERFORM set_config('test.now', now, false), set_config('test.rows', '0', false);
             END IF;
             PERFORM set_config('test.rows', (current_setting('test.rows')::int + 1)::text, false);
             IF current_setting('test.rows')::int > 1000 THEN RAISE 'too much'; END IF;
             RETURN true;
         END $$",
    )
    .await;
    kept.run("CREATE VIEW audit AS SELECT * FROM audit_rows WHERE few()")
        .await;
    // As with many more entries.
    let name = kept.name();
    for plan in ["seqscan", "bitmapscan", "sort"] {
        kept.run(&format!("ALTER DATABASE {name} SET enable_{plan} = off"))
            .await;
    }
    let database = Database::open(&kept.url(), limits()).await.unwrap();
    let verified = SqlAudit::new(&database).verify(None).await;
    assert_eq!(verified.unwrap(), last);
}
