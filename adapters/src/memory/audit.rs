//! The audit log in memory, and one that also tells the server's own log.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ehi_core::audit::{ChainCheck, ChainError, Link};
use ehi_core::ports::{AuditEntry, AuditEvent, AuditFilter, AuditLog, AuditPage, StoreError};

use super::lock;

/// The audit log in memory: for tests, and servers that may forget.
#[derive(Debug, Default)]
pub struct MemoryAudit(Mutex<Vec<(Link, String, AuditEvent)>>);

#[async_trait]
impl AuditLog for MemoryAudit {
    async fn append(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let text = serde_json::to_string(event).map_err(StoreError::unavailable)?;
        let mut entries = lock(&self.0);
        let last = entries.last().map_or(Link::START, |(link, ..)| *link);
        entries.push((last.next(&text), text, event.clone()));
        Ok(())
    }

    async fn list(
        &self,
        filter: &AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let entries = lock(&self.0);
        let newest_first = entries.iter().rev().map(|(link, _, event)| AuditEntry {
            number: link.number,
            event: event.clone(),
        });
        Ok(newest_first
            .filter(|entry| page.before.is_none_or(|before| entry.number < before))
            .filter(|entry| filter.matches(&entry.event))
            .take(page.limit)
            .collect())
    }

    async fn verify(&self, known: Option<Link>) -> Result<Link, ChainError> {
        let mut check = ChainCheck::new(known);
        for (link, text, _) in &*lock(&self.0) {
            check.follow(*link, text)?;
        }
        check.end(None)
    }
}

/// Keeps entries in another log and tells each as a line of the server's own, target `audit`:
/// where those lines are shipped off, a log that was made anew cannot hide it.
#[derive(Debug)]
pub struct LoggedAudit(pub Arc<dyn AuditLog>);

#[async_trait]
impl AuditLog for LoggedAudit {
    async fn append(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let text = serde_json::to_string(event).map_err(StoreError::unavailable)?;
        self.0.append(event).await?;
        tracing::info!(target: "audit", "{text}");
        Ok(())
    }

    async fn list(
        &self,
        filter: &AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        self.0.list(filter, page).await
    }

    async fn verify(&self, known: Option<Link>) -> Result<Link, ChainError> {
        self.0.verify(known).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    ehi_core::audit_log_contract!(async { (MemoryAudit::default(), ()) });
}
