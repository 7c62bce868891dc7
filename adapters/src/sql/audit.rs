//! The audit log.

use async_trait::async_trait;
use ehi_core::audit::{ChainCheck, ChainError, Link};
use ehi_core::ports::{AuditEntry, AuditEvent, AuditFilter, AuditLog, AuditPage, StoreError};
use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;

use super::{Database, Dialect, nanoseconds, unavailable};

/// The audit log in a database. Give the server's role no right to change or delete its rows.
#[derive(Debug, Clone)]
pub struct SqlAudit(Database);

impl SqlAudit {
    /// The audit log of this database.
    pub fn new(database: &Database) -> Self {
        Self(database.clone())
    }

    /// Appends in a transaction: SQLite's one writer has the log for itself.
    async fn append_in_turn(&self, row: Row) -> Result<(), StoreError> {
        let mut transaction = self.0.begin().await?;
        let (last, hash) =
            sqlx::query_as::<_, (i64, String)>("SELECT number, hash FROM audit_head")
                .fetch_one(&mut *transaction)
                .await
                .map_err(unavailable)?;
        let last = link(last, hash).ok_or_else(|| unavailable("the head of the log is broken"))?;
        let next = last.next(&row.event);
        let insert = sqlx::query(
            "INSERT INTO audit (at, actor, action, outcome, patient, job, event, number, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        );
        row.bind(insert)
            .bind(number(next.number))
            .bind(next.hash.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        sqlx::query("UPDATE audit_head SET number = $1, hash = $2")
            .bind(number(next.number))
            .bind(next.hash.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)
    }

    /// Appends by a single statement: a process that freezes, or whose network does, never holds
    /// the head of the log, for which everybody else would wait.
    async fn append_at_once(&self, row: Row) -> Result<(), StoreError> {
        let appended = row
            .bind(sqlx::query(APPEND))
            .execute(self.0.pool())
            .await
            .map_err(unavailable)?;
        match appended.rows_affected() {
            1 => Ok(()),
            _ => Err(unavailable("the head of the log is missing")),
        }
    }

    async fn head(&self) -> Result<Option<Link>, ChainError> {
        let unreadable = |error: sqlx::Error| ChainError::Unavailable(error.into());
        let head = sqlx::query_as::<_, (i64, String)>("SELECT number, hash FROM audit_head")
            .fetch_optional(self.0.pool())
            .await
            .map_err(unreadable)?;
        Ok(head.and_then(|(number, hash)| link(number, hash)))
    }
}

/// Moves the head of the log on, which waits for whoever does so right now, and adds the entry
/// behind it. What it computes is [`Link::next`] as PostgreSQL says it.
const APPEND: &str = "WITH head AS (UPDATE audit_head SET number = number + 1, \
    hash = translate(rtrim(encode(sha256( \
        decode(translate(hash, '-_', '+/') || '=', 'base64') || int8send(number + 1) || convert_to($7, 'UTF8') \
    ), 'base64'), '='), '+/', '-_') \
    RETURNING number, hash) \
    INSERT INTO audit (at, actor, action, outcome, patient, job, event, number, hash) \
    SELECT $1, $2, $3, $4, $5, $6, $7, number, hash FROM head";

/// An entry as the table has it, without its place in the log.
struct Row {
    at: i64,
    actor: String,
    action: String,
    outcome: String,
    patient: String,
    job: String,
    event: String,
}

type Statement = Query<'static, Any, AnyArguments>;

impl Row {
    fn of(event: &AuditEvent) -> Result<Self, StoreError> {
        Ok(Self {
            at: nanoseconds(event.at),
            actor: event.actor.name().unwrap_or_default().to_owned(),
            action: name(&event.action)?,
            outcome: name(&event.outcome)?,
            patient: (event.patient.as_ref()).map_or_else(String::new, |id| id.as_str().to_owned()),
            job: event.job.map(|id| id.to_string()).unwrap_or_default(),
            event: serde_json::to_string(event).map_err(unavailable)?,
        })
    }

    fn bind(self, statement: Statement) -> Statement {
        (statement.bind(self.at).bind(self.actor).bind(self.action))
            .bind(self.outcome)
            .bind(self.patient)
            .bind(self.job)
            .bind(self.event)
    }
}

/// At most `$2` entries behind the one with number `$1`, in the order of the chain.
pub(super) const PAGE: &str =
    "SELECT number, hash, event FROM audit WHERE number > $1 ORDER BY number LIMIT $2";

/// How many entries are verified together.
const VERIFIED_AT_ONCE: i64 = 1_000;

fn link(number: i64, hash: String) -> Option<Link> {
    Some(Link {
        number: u64::try_from(number).ok()?,
        hash: hash.try_into().ok()?,
    })
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The name of a value in the log, such as an action's.
fn name(value: &impl serde::Serialize) -> Result<String, StoreError> {
    let json = serde_json::to_value(value).map_err(unavailable)?;
    Ok(json.as_str().unwrap_or_default().to_owned())
}

/// A statement with its parameters behind the first two.
pub(super) struct Listed {
    pub statement: String,
    pub texts: Vec<String>,
    pub instants: Vec<i64>,
}

/// At most `$2` entries before the one with number `$1`; then the parameters of the filter.
pub(super) fn listed(filter: &AuditFilter) -> Result<Listed, StoreError> {
    let mut conditions = String::from("number < $1");
    let mut texts = Vec::new();
    let mut instants = Vec::new();
    let mut place = 2;
    let mut and = |condition: &str| {
        place += 1;
        conditions.extend([" AND ", condition, " $", &place.to_string()]);
    };
    for (column, value) in [
        (
            "patient =",
            filter.patient.as_ref().map(|id| id.as_str().to_owned()),
        ),
        ("job =", filter.job.map(|id| id.to_string())),
        ("actor =", filter.actor.clone()),
        ("action =", filter.action.as_ref().map(name).transpose()?),
        ("outcome =", filter.outcome.as_ref().map(name).transpose()?),
    ] {
        if let Some(value) = value {
            and(column);
            texts.push(value);
        }
    }
    for (column, value) in [("at >=", filter.from), ("at <", filter.until)] {
        if let Some(value) = value {
            and(column);
            instants.push(nanoseconds(value));
        }
    }
    let statement =
        format!("SELECT number, event FROM audit WHERE {conditions} ORDER BY number DESC LIMIT $2");
    Ok(Listed {
        statement,
        texts,
        instants,
    })
}

#[async_trait]
impl AuditLog for SqlAudit {
    async fn append(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let row = Row::of(event)?;
        match self.0.dialect() {
            Dialect::Sqlite => self.append_in_turn(row).await,
            Dialect::Postgres => self.append_at_once(row).await,
        }
    }

    async fn list(
        &self,
        filter: &AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let Listed {
            statement,
            texts,
            instants,
        } = listed(filter)?;
        let mut query = sqlx::query_as::<_, (i64, String)>(sqlx::AssertSqlSafe(statement))
            .bind(page.before.map_or(i64::MAX, number))
            .bind(i64::try_from(page.limit).unwrap_or(i64::MAX));
        for value in texts {
            query = query.bind(value);
        }
        for value in instants {
            query = query.bind(value);
        }
        let rows = query.fetch_all(self.0.pool()).await.map_err(unavailable)?;
        let mut entries = Vec::with_capacity(rows.len());
        for (number, event) in rows {
            match serde_json::from_str(&event) {
                Ok(event) => entries.push(AuditEntry {
                    number: u64::try_from(number).unwrap_or_default(),
                    event,
                }),
                // One that was tampered with must not hide the others.
                Err(error) => tracing::error!(
                    number,
                    error = &error as &dyn std::error::Error,
                    "an audit entry cannot be read: verify the log"
                ),
            }
        }
        Ok(entries)
    }

    async fn verify(&self, known: Option<Link>) -> Result<Link, ChainError> {
        let unreadable = |error: sqlx::Error| ChainError::Unavailable(error.into());
        // What is written while we read is newer than this, so it does no harm.
        let head = self.head().await?;
        let mut check = ChainCheck::new(known);
        let mut last = i64::MIN;
        loop {
            // Page by page: a statement that takes too long is given up.
            let rows = sqlx::query_as::<_, (i64, String, String)>(PAGE)
                .bind(last)
                .bind(VERIFIED_AT_ONCE)
                .fetch_all(self.0.pool())
                .await
                .map_err(unreadable)?;
            for (number, hash, event) in &rows {
                last = *number;
                let changed = ChainError::Changed(u64::try_from(*number).unwrap_or_default());
                check.follow(link(*number, hash.clone()).ok_or(changed)?, event)?;
            }
            if rows.is_empty() {
                break;
            }
        }
        check.end(head)
    }
}
