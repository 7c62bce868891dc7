//! The use cases of those who read the log.

use std::sync::Arc;
use std::time::Duration;

use super::disclosures::Disclosures;
use super::{Accounting, ChainError, Link};
use crate::auth::StaffSession;
use crate::export::UseCaseError;
use crate::fhir::PatientId;
use crate::ports::{
    Action, AuditEntry, AuditEvent, AuditFilter, AuditLog, AuditPage, ClientRegistry, Clock,
    Outcome, RecordSource,
};

/// How far back an accounting of disclosures reaches (45 CFR 164.528(a)(1)): six years.
const SIX_YEARS: Duration = Duration::from_hours(24 * (6 * 365 + 2));

/// How many entries are looked at together.
const BATCH: usize = 1_000;

/// The log, for those who may read it.
#[derive(Debug, Clone)]
pub struct AuditTrail {
    /// The log.
    pub log: Arc<dyn AuditLog>,
    /// Knows patients' names.
    pub source: Arc<dyn RecordSource>,
    /// Knows apps' names.
    pub clients: Arc<dyn ClientRegistry>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPart {
    /// The entries, newest first.
    pub entries: Vec<AuditEntry>,
    /// Where the next part begins; `None` when there is none.
    pub next: Option<u64>,
}

impl AuditTrail {
    /// Notes that somebody reads the log: that comes before reading it.
    pub async fn note_reading(
        &self,
        staff: &StaffSession,
        filter: &AuditFilter,
    ) -> Result<(), UseCaseError> {
        let event = AuditEvent {
            patient: filter.patient.clone(),
            job: filter.job,
            ..staff.by().did(Action::ReadAudit, self.clock.now())
        };
        Ok(self.log.append(&event).await?)
    }

    /// Notes that somebody who may not read the log tried to.
    pub async fn note_refusal(&self, staff: &StaffSession) -> Result<(), UseCaseError> {
        let event = (staff.by()).was_refused(Action::ReadAudit, self.clock.now());
        Ok(self.log.append(&event).await?)
    }

    /// Notes what was refused already. Where that fails, there is nothing left to prevent: the
    /// operator is told.
    pub async fn note(&self, refusal: &AuditEvent) {
        if let Err(error) = self.log.append(refusal).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a refusal could not be written into the audit log"
            );
        }
    }

    /// Entries that match, newest first. Reading has to be [noted](Self::note_reading).
    pub async fn entries(
        &self,
        filter: &AuditFilter,
        page: AuditPage,
    ) -> Result<AuditPart, UseCaseError> {
        // One more than asked for tells whether there is a next part.
        let one_more = AuditPage {
            limit: page.limit.saturating_add(1),
            ..page
        };
        let mut entries = self.log.list(filter, one_more).await?;
        let more = entries.len() > page.limit;
        entries.truncate(page.limit);
        let last = entries.last().map(|entry| entry.number);
        let next = last.filter(|_| more);
        Ok(AuditPart { entries, next })
    }

    /// To whom a patient's record went within six years.
    pub async fn disclosures(
        &self,
        staff: &StaffSession,
        patient: &PatientId,
    ) -> Result<Accounting, UseCaseError> {
        let summary = self.source.patient(patient).await?;
        let patient = summary.ok_or(UseCaseError::NotFound)?;
        let until = self.clock.now();
        let from = until.saturating_sub(SIX_YEARS).unwrap_or(until);
        let filter = AuditFilter {
            patient: Some(patient.id.clone()),
            action: Some(Action::Download),
            outcome: Some(Outcome::Done),
            from: Some(from),
            ..AuditFilter::default()
        };
        self.note_reading(staff, &filter).await?;
        let mut found = Disclosures::default();
        let mut before = None;
        loop {
            let page = AuditPage {
                limit: BATCH,
                before,
            };
            let part = self.entries(&filter, page).await?;
            part.entries
                .into_iter()
                .for_each(|entry| found.add(entry.event));
            before = part.next;
            if before.is_none() {
                break;
            }
        }
        let mut disclosures = found.finish();
        for disclosure in &mut disclosures {
            let client = self.clients.client(&disclosure.client).await?;
            disclosure.client_name = client.map(|client| client.name);
        }
        Ok(Accounting {
            patient,
            from,
            until,
            disclosures,
        })
    }

    /// Follows the chain from the first entry to the last.
    pub async fn verify(&self, known: Option<Link>) -> Result<Link, ChainError> {
        self.log.verify(known).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ClientId;
    use crate::export::{FileName, JobId};
    use crate::fhir::ResourceType;
    use crate::ports::{
        Actor, By, DisclosedFile, MockAuditLog, MockClientRegistry, MockRecordSource, Origin,
        StoreError,
    };
    use crate::testkit::{FixedClock, RecordedAudit, at, client, client_id, patient, staff};

    fn trail(log: Arc<dyn AuditLog>) -> AuditTrail {
        let mut source = MockRecordSource::new();
        (source.expect_patient()).returning(|id| Ok((*id == patient().id).then(patient)));
        let mut clients = MockClientRegistry::new();
        (clients.expect_client()).returning(|id| Ok((*id == client_id()).then(client)));
        AuditTrail {
            log,
            source: Arc::new(source),
            clients: Arc::new(clients),
            clock: Arc::new(FixedClock::at(at(1_000))),
        }
    }

    fn by(id: &ClientId) -> By {
        By {
            actor: Actor::Client(id.clone()),
            origin: Origin::default(),
        }
    }

    /// A download of a file of this job.
    fn download(id: &ClientId, job: u8, file: ResourceType, second: i64) -> AuditEvent {
        AuditEvent {
            patient: Some(patient().id),
            job: Some(JobId::from_random([job; 32])),
            file: Some(DisclosedFile::records(&FileName::output(file, 1))),
            ..by(id).did(Action::Download, at(second))
        }
    }

    #[tokio::test]
    async fn a_patient_is_told_once_for_each_export_what_went_to_whom() {
        let log = Arc::new(RecordedAudit::default());
        let gone = ClientId::parse("gone").unwrap();
        let another = AuditEvent {
            patient: PatientId::parse("p-2").ok(),
            ..download(&gone, 3, ResourceType::Patient, 30)
        };
        let refused = AuditEvent {
            outcome: Outcome::Refused,
            ..download(&gone, 4, ResourceType::Patient, 40)
        };
        let long_ago = download(&gone, 5, ResourceType::Patient, -7 * 365 * 24 * 3600);
        for event in [
            long_ago,
            download(&client_id(), 1, ResourceType::Patient, 10),
            download(&client_id(), 1, ResourceType::Observation, 12),
            download(&gone, 2, ResourceType::Patient, 20),
            another,
            refused,
        ] {
            log.append(&event).await.unwrap();
        }
        let accounting = (trail(log.clone())
            .disclosures(&staff(), &patient().id)
            .await)
            .unwrap();
        assert_eq!(accounting.patient, patient());
        let told: Vec<_> = (accounting.disclosures.iter())
            .map(|each| {
                (
                    each.client.as_str(),
                    each.client_name.as_deref(),
                    each.files.len(),
                )
            })
            .collect();
        assert_eq!(told, [("gone", None, 1), ("test-app", Some("Test app"), 2)]);
        assert_eq!(accounting.disclosures[1].first, at(10));
        assert_eq!(accounting.disclosures[1].last, at(12));
        assert_eq!(log.actions().last(), Some(&Action::ReadAudit));
        let unknown = PatientId::parse("p-9").unwrap();
        let refused = trail(log).disclosures(&staff(), &unknown).await;
        assert!(matches!(refused, Err(UseCaseError::NotFound)));
    }

    #[tokio::test]
    async fn nothing_is_read_that_cannot_be_remembered() {
        let mut log = MockAuditLog::new();
        (log.expect_append()).returning(|_| Err(StoreError::unavailable("disk full")));
        let read = trail(Arc::new(log))
            .disclosures(&staff(), &patient().id)
            .await;
        assert!(matches!(read, Err(UseCaseError::Unavailable(_))));
    }

    #[tokio::test]
    async fn parts_follow_one_another_without_gap_or_repetition() {
        let log = Arc::new(RecordedAudit::default());
        for second in 0..5 {
            let event = download(&client_id(), 1, ResourceType::Patient, second);
            log.append(&event).await.unwrap();
        }
        let trail = trail(log);
        let mut before = None;
        let mut numbers = Vec::new();
        loop {
            let page = AuditPage { limit: 2, before };
            let part = (trail.entries(&AuditFilter::default(), page).await).unwrap();
            numbers.extend(part.entries.iter().map(|entry| entry.number));
            before = part.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(numbers, [5, 4, 3, 2, 1]);
    }
}
