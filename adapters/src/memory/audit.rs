//! An audit log that goes to the server's own log.

use async_trait::async_trait;
use ehi_core::ports::{AuditEvent, AuditLog, StoreError};

/// Writes each audit event as a line of the server's log, target `audit`, and keeps none.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogAudit;

#[async_trait]
impl AuditLog for LogAudit {
    async fn append(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let event = serde_json::to_string(event).map_err(StoreError::unavailable)?;
        tracing::info!(target: "audit", "{event}");
        Ok(())
    }
}
