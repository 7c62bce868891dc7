//! Whatever is asked of the jobs and of the audit log goes by an index, however much there is.

use ehi_core::export::Status;
use ehi_core::fhir::PatientId;
use ehi_core::ports::{Action, AuditFilter, JobFilter};
use sqlx::Row;

use super::*;
use crate::sql::audit::{self, PAGE};
use crate::sql::jobs::{LAST_TURNS, OLDER_VERSION, OPEN, OVERDUE, listed, next};
use crate::sql::removed::REMOVED;

/// How many jobs there are.
const JOBS: u32 = 1_000_000;

/// A million jobs: a thousand of them wait, eleven thousand are open, the rest are over.
const COLUMNS: &str = "'job-' || number, 1, \
    CASE WHEN number % 1000 = 0 THEN 'requested' WHEN number % 200 = 1 THEN 'retrieved' WHEN number % 200 = 2 THEN 'awaiting-input' ELSE 'approved' END, \
    'p-' || (number % 100000), number * 1000, \
    CASE WHEN number % 1000 = 0 THEN number * 1000 END, \
    '{}', 'c-' || (number % 20), number * 1000, \
    CASE WHEN number % 1000 = 0 THEN number * 1000 END, \
    CASE WHEN number % 1000 = 0 THEN number * 1000 END";

/// How many removed jobs have files that may have to go.
const REMOVED_JOBS: u32 = 100_000;

const INTO_REMOVED: &str = "INSERT INTO removed_jobs (id)";

const INTO: &str = "INSERT INTO jobs (id, version, status, patient, created_at, runnable_at, job, client, since, turn, client_turn)";

/// How many entries the audit log has.
const ENTRIES: u32 = 100_000;

const ENTRY: &str = "number, '', number, 'a-' || (number % 5000), 'act-' || (number % 2000), 'done', \
    'p-' || (number % 1000), '', '{}'";

const INTO_AUDIT: &str =
    "INSERT INTO audit (number, hash, at, actor, action, outcome, patient, job, event)";

/// A parameter of a statement.
#[derive(Debug, Clone, Copy)]
enum Given {
    Number(i64),
    Text(&'static str),
}

use Given::{Number, Text};

/// A statement that may meet many jobs.
struct Asked {
    statement: String,
    /// From the middle of all.
    given: Vec<Given>,
    /// What it has to go by.
    indexes: Indexes,
}

/// Indexes by the ends of their names.
type Indexes = &'static [&'static str];

fn statements(dialect: Dialect) -> Vec<Asked> {
    let half = i64::from(JOBS) * 500;
    let listed = |status: Option<Status>, patient: Option<&'static str>, index: Indexes| {
        let filter = JobFilter {
            status,
            patient: patient.map(|id| PatientId::parse(id).unwrap()),
        };
        let mut given = vec![Number(half), Text("job-5"), Number(50)];
        given.extend(status.map(|status| Text(status.as_str())));
        given.extend(patient.map(Text));
        (listed(&filter), given, index)
    };
    let retrieved = Some(Status::Retrieved);
    let asked: Vec<(_, _, Indexes)> = vec![
        (next(dialect), vec![Number(half)], &["jobs_waiting"]),
        listed(None, None, &["jobs_by_age"]),
        listed(retrieved, None, &["jobs_of_status"]),
        listed(None, Some("p-7"), &["jobs_of_patient"]),
        // Either index of patients will do.
        listed(retrieved, Some("p-7"), &["of_patient"]),
        (
            OPEN,
            vec![Text("p-7"), Text("c-7")],
            &["jobs_open_of_patient", "jobs_open_of_client"],
        ),
        (
            LAST_TURNS,
            vec![Text("c-7"), Text("p-7")],
            &["jobs_waiting_of_client", "jobs_waiting_of_patient"],
        ),
        (
            OVERDUE,
            vec![
                Text("approved"),
                Number(half),
                Number(half / 2),
                Text("job-5"),
                Number(100),
            ],
            &["jobs_by_end"],
        ),
        (OLDER_VERSION, vec![Text("")], &["jobs_of_older_version"]),
        // By its primary key, which the two databases call differently.
        (REMOVED, vec![Text("job-5"), Number(1_000)], &[]),
    ];
    let of = |(statement, given, indexes): (&str, _, _)| Asked {
        statement: statement.to_owned(),
        given,
        indexes,
    };
    asked.into_iter().map(of).chain(of_audit()).collect()
}

/// What is asked of the audit log.
fn of_audit() -> impl Iterator<Item = Asked> {
    let half = i64::from(ENTRIES) / 2;
    let all = AuditFilter::default;
    let actor = AuditFilter {
        actor: Some("a-7".to_owned()),
        ..all()
    };
    let action = AuditFilter {
        action: Some(Action::Approve),
        ..all()
    };
    let listed = |filter: &AuditFilter, text: Option<&'static str>, indexes| {
        let mut given = vec![Number(half), Number(50)];
        given.extend(text.map(Text));
        let statement = audit::listed(filter).unwrap().statement;
        Asked {
            statement,
            given,
            indexes,
        }
    };
    let page = Asked {
        statement: PAGE.to_owned(),
        given: vec![Number(half), Number(1_000)],
        indexes: &[],
    };
    [
        listed(&all(), None, &[]),
        listed(&actor, Some("a-7"), &["audit_of_actor"]),
        listed(&action, Some("act-7"), &["audit_of_action"]),
        page,
    ]
    .into_iter()
}

/// The plan of a statement, as this column of `EXPLAIN` tells it.
async fn plan(database: &Database, explain: &str, column: &str, asked: &Asked) -> String {
    let text = sqlx::AssertSqlSafe(format!("{explain} {}", asked.statement));
    let mut query = sqlx::query(text);
    for parameter in &asked.given {
        query = match parameter {
            Number(number) => query.bind(*number),
            Text(text) => query.bind(*text),
        };
    }
    let rows = query.fetch_all(database.pool()).await.unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.get(column)).collect();
    lines.join("\n")
}

async fn run(database: &Database, sql: &str) {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(database.pool()).await.unwrap();
}

#[tokio::test]
async fn a_million_jobs_in_postgresql_and_a_long_audit_log_are_never_read_one_by_one() {
    let kept = TestDatabase::create().await;
    let limits = DatabaseLimits {
        statement: std::time::Duration::from_mins(5),
        // Settings of a session hold for all that is asked.
        connections: 1,
        ..limits()
    };
    let database = Database::open(&kept.url(), limits).await.unwrap();
    run(&database, "ALTER TABLE jobs SET UNLOGGED").await;
    let fill = format!("{INTO} SELECT {COLUMNS} FROM generate_series(1, {JOBS}) AS number");
    run(&database, &fill).await;
    let fill = format!("{INTO_AUDIT} SELECT {ENTRY} FROM generate_series(1, {ENTRIES}) AS number");
    run(&database, &fill).await;
    let fill = format!(
        "{INTO_REMOVED} SELECT 'job-' || number FROM generate_series(1, {REMOVED_JOBS}) AS number"
    );
    run(&database, &fill).await;
    run(&database, "VACUUM ANALYZE jobs, audit, removed_jobs").await;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        run(&database, &format!("SET plan_cache_mode = {mode}")).await;
        for asked in statements(Dialect::Postgres) {
            let plan = plan(&database, "EXPLAIN (COSTS OFF)", "QUERY PLAN", &asked).await;
            let told = format!("{mode}: {}\n{plan}", asked.statement);
            for index in asked.indexes {
                let mut words = plan.split_whitespace();
                assert!(words.any(|word| word.ends_with(index)), "{index}: {told}");
            }
            // What is of one patient, actor or action here is little: it may be sorted.
            let few = ["of_patient", "audit_of_actor", "audit_of_action"];
            let few = asked.indexes.iter().any(|index| few.contains(index));
            let all = plan.contains("Seq Scan") || (plan.contains("Sort") && !few);
            assert!(!all, "{told}");
            // The queue is as long as what waits: it is gone through from its beginning.
            let queue = asked.indexes == ["jobs_waiting"];
            assert!(plan.contains("Index Cond") || queue, "{told}");
        }
    }
}

#[tokio::test]
async fn a_million_jobs_in_sqlite_and_a_long_audit_log_are_never_read_one_by_one() {
    let (database, _kept) = sqlite().await;
    let fill = format!(
        "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {JOBS}) \
         {INTO} SELECT {COLUMNS} FROM numbers"
    );
    run(&database, &fill).await;
    let fill = format!(
        "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {ENTRIES}) \
         {INTO_AUDIT} SELECT {ENTRY} FROM numbers"
    );
    run(&database, &fill).await;
    let fill = format!(
        "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {REMOVED_JOBS}) \
         {INTO_REMOVED} SELECT 'job-' || number FROM numbers"
    );
    run(&database, &fill).await;
    for asked in statements(Dialect::Sqlite) {
        let plan = plan(&database, "EXPLAIN QUERY PLAN", "detail", &asked).await;
        let told = format!("{}\n{plan}", asked.statement);
        for index in asked.indexes {
            let mut words = plan.split_whitespace();
            assert!(words.any(|word| word.ends_with(index)), "{index}: {told}");
        }
        let queue = asked.indexes == ["jobs_waiting"];
        let all = plan.contains("TEMP B-TREE")
            || plan.contains("SCAN audit")
            || plan.contains("SCAN removed_jobs")
            || (plan.contains("SCAN jobs") && !queue);
        assert!(!all, "{told}");
    }
}
