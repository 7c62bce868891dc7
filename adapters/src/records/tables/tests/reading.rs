//! How tables are read: streamed, read-only, of one moment, and only as long as somebody takes them.

use std::fs;
use std::time::{Duration, Instant};

use ehi_core::export::{AuthorizationKey, ParameterKey, Protection, Verdict};
use ehi_core::fhir::DocumentType;
use ehi_core::ports::{PatientSearch, SourceError};

use super::*;

/// Two queries, `a` and `b`, over these.
fn two(a: &str, b: &str) -> String {
    let other = query(b, &["x"])
        .replace("'t'", "'b'")
        .replace("'table'", "'other'");
    format!("{}\n{other}", query(a, &["x"]).replace("'t'", "'a'"))
}

const GOOD: &str = "SELECT 1 AS x WHERE $patient <> ''";

/// Whether the query of this table still runs, as the server sees it.
async fn is_running(database: &TestDatabase) -> bool {
    use sqlx::{Connection, PgConnection};
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND (state = 'active' OR state LIKE 'idle in%')",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    count > 0
}

async fn stops_running(database: &TestDatabase) -> bool {
    let started = Instant::now();
    while is_running(database).await {
        if started.elapsed() > Duration::from_secs(8) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

#[tokio::test]
async fn a_patient_gets_their_own_rows_and_no_empty_tables() {
    let database = TestDatabase::create().await;
    database
        .run("CREATE TABLE notes (who text, x text); INSERT INTO notes VALUES ('a-b.c', 'one'), ('a-b.c', NULL), ('a-b-c', 'other'), ('aXbXc', 'wild')")
        .await;
    let notes = "SELECT x FROM notes WHERE who = $patient ORDER BY x";
    let source = open(&database, &two(notes, "SELECT 1 AS x WHERE $patient = 'z'"))
        .await
        .unwrap();
    let found = all(&source, "a-b.c", &everything()).await;
    assert_eq!(found, [("a.csv".to_owned(), "x\r\none\r\n\r\n".to_owned())]);
    assert_eq!(all(&source, "nobody", &everything()).await, []);
    assert_eq!(all(&source, "z", &everything()).await.len(), 1);
    assert_eq!(
        source
            .records(&id("z"), &everything())
            .await
            .unwrap()
            .count()
            .await,
        0
    );
}

#[tokio::test]
async fn a_document_says_what_decisions_about_it_need() {
    let database = TestDatabase::create().await;
    let told = "type = { system = 'http://loinc.org', code = '18842-5', display = 'Discharge summary' }\n\
        protected_by = ['hiv', 'other']\nsql =";
    let file = query(GOOD, &["x"]).replace("sql =", told);
    let source = open(&database, &file).await.unwrap();
    let mut stream = documents(&source, "p").await;
    let document = next(&mut stream).await;
    assert_eq!(document.part, ParameterKey::Billing);
    assert_eq!(document.content_type, "text/csv; charset=utf-8");
    assert_eq!(
        (document.format.code.as_str(), document.description.as_str()),
        ("table", "A table")
    );
    let summary = DocumentType::new("http://loinc.org", "18842-5", "Discharge summary").ok();
    assert_eq!(document.document_type, summary);
    assert_eq!(source.formats()[0].document_type, summary);
    let keys = [AuthorizationKey::Hiv, AuthorizationKey::Other];
    assert_eq!(document.protections, keys.map(Protection::Authorization));
    let billing = asking(&json!({"billing": {"enabled": true}}));
    assert_eq!(
        billing.judge_document(&document),
        Verdict::Withheld(keys.to_vec())
    );
}

#[tokio::test]
async fn what_nobody_asked_for_is_not_even_run() {
    let database = TestDatabase::create().await;
    let broken = two("SELECT 1 / (length($patient) - 1) AS x", GOOD);
    let source = open(&database, &broken).await.unwrap();
    let labs = asking(&json!({"labs": {"enabled": true}}));
    assert_eq!(all(&source, "p", &labs).await, []);
}

#[tokio::test]
async fn rows_of_other_times_stay_in_the_database() {
    let database = TestDatabase::create().await;
    database
        .run(
            "CREATE TABLE stays (x text, admitted date, discharged timestamptz);
             INSERT INTO stays VALUES ('before', '2018-01-01', '2018-12-31T23:59:59.999999Z'),
             ('across', '2018-12-30', '2019-01-02'), ('last', '2019-12-31', '2020-02-01'),
             ('after', '2020-01-01', '2020-01-02'), ('open', '2019-05-05', NULL), ('unknown', NULL, NULL),
             ('still open', '2015-01-01', NULL), ('not begun', '2021-01-01', NULL)",
        )
        .await;
    let file = |dates: &str| {
        query(
            "SELECT * FROM stays WHERE $patient <> '' ORDER BY admitted, x",
            &["x", "admitted", "discharged"],
        )
        .replace("sql =", &format!("dates = {dates}\nsql ="))
    };
    let wanted = |from: Value, to: Value| {
        asking(&json!({"billing": {"enabled": true, "from": from, "to": to}}))
    };
    let found = async |dates: &str, selection: Selection| {
        let source = open(&database, &file(dates)).await.unwrap();
        let documents = all(&source, "p", &selection).await;
        let rows: Vec<String> = documents
            .iter()
            .flat_map(|(_, text)| text.lines().skip(1))
            .map(|line| line.split(',').next().unwrap().to_owned())
            .collect();
        rows
    };
    let stay = "{ from = 'admitted', to = 'discharged' }";
    assert_eq!(
        found(stay, wanted("2019".into(), "2019".into())).await,
        ["still open", "across", "open", "last", "unknown"]
    );
    assert_eq!(
        found(stay, wanted(Value::Null, "2018".into())).await,
        ["still open", "before", "across", "unknown"]
    );
    assert_eq!(
        found(stay, wanted("2020-02".into(), Value::Null)).await,
        ["still open", "open", "last", "not begun", "unknown"]
    );
    assert_eq!(found(stay, wanted(Value::Null, Value::Null)).await.len(), 8);
    let day = "{ from = 'admitted' }";
    assert_eq!(
        found(
            day,
            wanted("2019-12-31T12:00:00Z".into(), "2019-12-31".into())
        )
        .await,
        ["last", "unknown"]
    );
}

#[tokio::test]
async fn a_million_rows_pass_through_little_memory() {
    let database = TestDatabase::create().await;
    let sql = "SELECT n AS x, md5(n::text) AS y, now() AS z, NULL::text AS e FROM generate_series(1, 1000000) AS n WHERE $patient <> ''";
    let source = open(&database, &query(sql, &["x", "y", "z", "e"]))
        .await
        .unwrap();
    let mut stream = documents(&source, "p").await;
    let mut document = next(&mut stream).await;
    let before = peak_kib();
    let (mut lines, mut bytes, mut longest) = (0, 0, 0);
    while let Some(chunk) = document.content.next().await {
        let chunk = chunk.unwrap();
        lines += chunk.split(|byte| *byte == b'\n').count() - 1;
        bytes += chunk.len();
        longest = longest.max(chunk.len());
    }
    assert!(stream.next().await.is_none());
    assert_eq!(lines, 1_000_001);
    assert!(bytes > 70_000_000 && longest < 70_000, "{bytes} {longest}");
    let grown = peak_kib() - before;
    assert!(grown < 16 * 1024, "{grown} KiB more for {bytes} bytes");
}

/// The most memory this process ever had.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_table_that_cannot_be_read_spoils_its_document_alone() {
    let database = TestDatabase::create().await;
    database
        .run("CREATE TABLE t (x text); INSERT INTO t SELECT n FROM generate_series(1, 9000) n; INSERT INTO t VALUES ('geheim')")
        .await;
    // At the first row, and long after the document has begun.
    for (bad, begins) in [
        ("SELECT ($patient)::int AS x", false),
        ("SELECT x::int AS x FROM t WHERE $patient <> ''", true),
    ] {
        let source = open(&database, &two(bad, GOOD)).await.unwrap();
        let mut stream = documents(&source, "p").await;
        let error = match stream.next().await.unwrap() {
            Ok(document) => {
                assert!(begins);
                text(document).await.unwrap_err()
            }
            Err(error) => {
                assert!(!begins);
                error
            }
        };
        let RecordError::Unreadable(what) = &error else {
            panic!("{error}")
        };
        assert_eq!(what.place, "table a");
        assert!(
            what.reason.contains("22P02") && !what.reason.contains("geheim"),
            "{error}"
        );
        assert_eq!(text(next(&mut stream).await).await.unwrap(), "x\r\n1\r\n");
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_query_that_writes_is_refused() {
    let database = TestDatabase::create().await;
    database
        .run("CREATE TABLE log (x int); CREATE FUNCTION note() RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (1) RETURNING x'")
        .await;
    let source = open(
        &database,
        &two("SELECT note() AS x WHERE $patient <> ''", GOOD),
    )
    .await
    .unwrap();
    let mut stream = documents(&source, "p").await;
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(
        matches!(error, RecordError::Source(SourceError::Broken(_)))
            && error.to_string().contains("'a' writes"),
        "{error}"
    );
    assert!(stream.next().await.is_none());
    // The pool is none the worse for it.
    assert!(documents(&source, "p").await.next().await.is_some());
}

#[tokio::test]
async fn all_documents_of_a_run_show_one_moment() {
    let database = TestDatabase::create().await;
    database
        .run("CREATE TABLE t (x int); INSERT INTO t VALUES (1)")
        .await;
    let sql = "SELECT x FROM t WHERE $patient <> ''";
    let source = open(&database, &two(sql, sql)).await.unwrap();
    let mut stream = documents(&source, "p").await;
    let first = text(next(&mut stream).await).await.unwrap();
    database.run("UPDATE t SET x = 2").await;
    assert_eq!(text(next(&mut stream).await).await.unwrap(), first);
    assert!(stream.next().await.is_none());
    assert_eq!(all(&source, "p", &everything()).await[0].1, "x\r\n2\r\n");
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_ended_and_may_be_tried_again() {
    let database = TestDatabase::create().await;
    let file = format!(
        "[limits]\nstatement_seconds = 1\n{}",
        query(
            "SELECT pg_sleep(30)::text AS x WHERE $patient <> ''",
            &["x"]
        )
    );
    let source = open(&database, &file).await.unwrap();
    let error = documents(&source, "p")
        .await
        .next()
        .await
        .unwrap()
        .unwrap_err();
    let RecordError::Source(SourceError::Unavailable(cause)) = error else {
        panic!("{error}")
    };
    assert!(cause.to_string().contains("'t' took too long"), "{cause}");
}

#[tokio::test]
async fn a_slow_taker_is_not_timed_out() {
    let database = TestDatabase::create().await;
    let file = format!(
        "[limits]\nstatement_seconds = 1\n{}",
        query(
            "SELECT repeat('x', 1000) AS x FROM generate_series(1, 5000) WHERE $patient <> ''",
            &["x"]
        )
    );
    let source = open(&database, &file).await.unwrap();
    let mut stream = documents(&source, "p").await;
    let mut document = next(&mut stream).await;
    assert!(document.content.next().await.is_some());
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(text(document).await.unwrap().len() > 4_900_000);
}

#[tokio::test]
async fn dropping_the_documents_ends_the_query() {
    let database = TestDatabase::create().await;
    let slow = "SELECT CASE WHEN n > 400 THEN pg_sleep(20)::text END AS x FROM generate_series(1, 1000) n WHERE $patient <> ''";
    let source = open(&database, &two(slow, GOOD)).await.unwrap();
    let mut stream = documents(&source, "p").await;
    let document = next(&mut stream).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is_running(&database).await, "the document is still held");
    drop(document);
    assert!(stops_running(&database).await);
    assert_eq!(
        next(&mut documents(&source, "p").await).await.name.as_str(),
        "a.csv"
    );
}

#[tokio::test]
async fn a_document_that_is_not_taken_costs_little() {
    let database = TestDatabase::create().await;
    let big = "SELECT generate_series(1, 100000000) AS x WHERE $patient <> ''";
    let source = open(&database, &two(big, GOOD)).await.unwrap();
    let mut stream = documents(&source, "p").await;
    let started = Instant::now();
    drop(next(&mut stream).await);
    assert_eq!(text(next(&mut stream).await).await.unwrap(), "x\r\n1\r\n");
    assert!(stream.next().await.is_none());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(stops_running(&database).await);
}

#[tokio::test]
async fn asking_for_the_next_document_too_early_spoils_the_one_before_and_hangs_nothing() {
    let database = TestDatabase::create().await;
    // Around as many rows as may wait, and far more.
    for rows in [1, 60, 70, 130, 140, 190, 200, 210, 5000] {
        let some = format!(
            "SELECT repeat('x', 1000) AS x FROM generate_series(1, {rows}) WHERE $patient <> ''"
        );
        let source = open(&database, &two(&some, GOOD)).await.unwrap();
        let mut stream = documents(&source, "p").await;
        let first = next(&mut stream).await;
        let second = next(&mut stream).await;
        assert_eq!(text(second).await.unwrap(), "x\r\n1\r\n");
        match text(first).await {
            Ok(whole) => assert_eq!(whole.lines().count(), rows + 1),
            Err(error) => assert!(rows > 60 && matches!(error, RecordError::Source(_))),
        }
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_database_that_goes_down_ends_the_run_for_another_try() {
    let database = TestDatabase::create().await;
    let big = "SELECT repeat('x', 1000) AS x FROM generate_series(1, 50000) WHERE $patient <> ''";
    let file = format!("[limits]\nconnect_seconds = 1\n{}", query(big, &["x"]));
    let source = open(&database, &file).await.unwrap();
    let mut stream = documents(&source, "p").await;
    let document = next(&mut stream).await;
    let name = database.name();
    database
        .administer(&format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS false; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ))
        .await;
    let error = text(document).await.unwrap_err();
    assert!(
        matches!(error, RecordError::Source(SourceError::Unavailable(_))),
        "{error:?}"
    );
    let error = source
        .documents(&id("p"), &everything())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, SourceError::Unavailable(_)), "{error:?}");
    database
        .administer(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        .await;
    assert!(documents(&source, "p").await.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn connections_are_limited_and_given_back() {
    let database = TestDatabase::create().await;
    let file = format!(
        "[limits]\nconnections = 1\nconnect_seconds = 1\n{}",
        query(GOOD, &["x"])
    );
    let source = open(&database, &file).await.unwrap();
    let held = documents(&source, "p").await;
    let refused = source.documents(&id("p"), &everything()).await;
    assert!(matches!(
        refused.err().unwrap(),
        SourceError::Unavailable(_)
    ));
    drop(held);
    for _ in 0..20 {
        assert_eq!(all(&source, "p", &everything()).await.len(), 1);
    }
}

#[tokio::test]
async fn patients_are_found_where_there_is_a_query_for_them() {
    let database = TestDatabase::create().await;
    database
        .run(
            "CREATE TABLE persons (mrn int, called text, born date);
             INSERT INTO persons VALUES (3, 'Ada B. Crane', '1970-02-03'), (2, 'bob crane', NULL), (1, '', '1980-01-01'), (NULL, 'Nobody', NULL)",
        )
        .await;
    let good = query(GOOD, &["x"]);
    let file = format!(
        "[patient]\nsql = 'SELECT mrn AS id, called AS name, born AS birth_date FROM persons;'\n{good}"
    );
    let source = open(&database, &file).await.unwrap();
    let ada = source.patient(&id("3")).await.unwrap().unwrap();
    assert_eq!(
        (ada.name.as_str(), ada.birth_date.unwrap().as_str()),
        ("Ada B. Crane", "1970-02-03")
    );
    assert!(source.patient(&id("a-b.c")).await.unwrap().is_none());
    let search = async |name: &str, born: Option<&str>, limit: usize| -> Vec<String> {
        let search = PatientSearch {
            name: name.to_owned(),
            birth_date: born.map(|born| born.parse().unwrap()),
            limit,
        };
        source
            .search(&search)
            .await
            .unwrap()
            .into_iter()
            .map(|patient| patient.name)
            .collect()
    };
    assert_eq!(
        search("CRANE", None, 9).await,
        ["Ada B. Crane", "bob crane"]
    );
    assert_eq!(search("crane", None, 1).await, ["Ada B. Crane"]);
    assert_eq!(search("crane ada'; --", None, 9).await, [""; 0]);
    assert_eq!(search("", Some("1970-02-03"), 9).await, ["Ada B. Crane"]);
    assert_eq!(
        search("", None, 9).await,
        ["1", "Ada B. Crane", "bob crane"]
    );
    let without = open(&database, &good).await.unwrap();
    assert!(without.patient(&id("3")).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_printed_for_a_log_tells_no_secret() {
    let database = TestDatabase::create().await;
    let printed = format!("{:?}", open(&database, &query(GOOD, &["x"])).await.unwrap());
    assert_eq!(printed, "TableDocuments { tables: 1, .. }");
}
