//! What the jobs of a database and their files know each other by.

use ehi_core::export::DeploymentId;
use ehi_core::ports::StoreError;

use super::{Database, unavailable};

/// The id of this database, if it has one.
pub(super) async fn known(database: &Database) -> Result<Option<DeploymentId>, StoreError> {
    let id = sqlx::query_scalar::<_, String>("SELECT id FROM deployment WHERE one = 1")
        .fetch_optional(database.pool())
        .await
        .map_err(unavailable)?;
    let parsed = |id: String| {
        DeploymentId::parse(&id)
            .ok_or_else(|| unavailable("the deployment's id in the database cannot be read"))
    };
    id.map(parsed).transpose()
}

/// The id of this database: `new`, where it had none. Of two that come at once one stands.
pub(super) async fn named(
    database: &Database,
    new: DeploymentId,
) -> Result<DeploymentId, StoreError> {
    sqlx::query("INSERT INTO deployment (one, id) VALUES (1, $1) ON CONFLICT (one) DO NOTHING")
        .bind(new.to_string())
        .execute(database.pool())
        .await
        .map_err(unavailable)?;
    known(database)
        .await?
        .ok_or_else(|| unavailable("the deployment's id in the database is gone"))
}

/// Writes the id once more: a database that only reads, such as one that another took over from,
/// refuses that, and a full disk does not take it.
pub(super) async fn rehearse(database: &Database) -> Result<(), StoreError> {
    let written = sqlx::query("UPDATE deployment SET id = id WHERE one = 1")
        .execute(database.pool())
        .await;
    written.map(drop).map_err(unavailable)
}
