//! The jobs whose files have to go: they were removed, or nobody knows them.

use ehi_core::export::JobId;
use ehi_core::ports::StoreError;

use super::pool::Transaction;
use super::{Database, unavailable};

/// Keeps an id; once is enough.
pub(super) async fn keep(transaction: &mut Transaction, id: JobId) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO removed_jobs (id) VALUES ($1) ON CONFLICT (id) DO NOTHING")
        .bind(id.to_string())
        .execute(&mut **transaction)
        .await
        .map_err(unavailable)?;
    Ok(())
}

/// At most `limit` ids behind this one.
pub(super) async fn page(
    database: &Database,
    after: Option<JobId>,
    limit: i64,
) -> Result<Vec<JobId>, StoreError> {
    let ids = sqlx::query_scalar::<_, String>(REMOVED)
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(limit)
        .fetch_all(database.pool())
        .await
        .map_err(unavailable)?;
    Ok(ids.iter().filter_map(|id| JobId::parse(id)).collect())
}

/// Strikes out these ids.
pub(super) async fn forget(database: &Database, ids: &[JobId]) -> Result<(), StoreError> {
    let mut transaction = database.begin().await?;
    for id in ids {
        sqlx::query("DELETE FROM removed_jobs WHERE id = $1")
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
    }
    transaction.commit().await.map_err(unavailable)
}

/// At most `$2` ids behind `$1`.
pub(super) const REMOVED: &str = "SELECT id FROM removed_jobs WHERE id > $1 ORDER BY id LIMIT $2";
