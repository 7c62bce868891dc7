//! To whom a patient's record went: the accounting of disclosures of 45 CFR 164.528.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::auth::ClientId;
use crate::export::JobId;
use crate::ports::{Actor, AuditEvent, DisclosedFile, PatientSummary};

/// What went out of one patient's record within six years, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounting {
    /// Whose record.
    pub patient: PatientSummary,
    /// Disclosures at this instant or later are told.
    pub from: Timestamp,
    /// Disclosures up to this instant are told.
    pub until: Timestamp,
    /// What went out.
    pub disclosures: Vec<Disclosure>,
}

/// One export that an app fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosure {
    /// When its first file was fetched.
    pub first: Timestamp,
    /// When its last file was fetched.
    pub last: Timestamp,
    /// Who fetched it.
    pub client: ClientId,
    /// What patients know the client by; `None` when it is not registered any more.
    pub client_name: Option<String>,
    /// The export.
    pub job: JobId,
    /// What was fetched.
    pub files: BTreeSet<DisclosedFile>,
}

/// Gathers downloads, export by export.
#[derive(Debug, Default)]
pub(super) struct Disclosures(BTreeMap<(JobId, ClientId), Disclosure>);

impl Disclosures {
    /// One download. Anything else is none.
    pub(super) fn add(&mut self, event: AuditEvent) {
        let (Actor::Client(client), Some(job)) = (event.actor, event.job) else {
            return;
        };
        let disclosure = (self.0)
            .entry((job, client.clone()))
            .or_insert_with(|| Disclosure {
                first: event.at,
                last: event.at,
                client,
                client_name: None,
                job,
                files: BTreeSet::new(),
            });
        disclosure.first = disclosure.first.min(event.at);
        disclosure.last = disclosure.last.max(event.at);
        disclosure.files.extend(event.file);
    }

    /// Newest first.
    pub(super) fn finish(self) -> Vec<Disclosure> {
        let mut disclosures: Vec<_> = self.0.into_values().collect();
        disclosures.sort_by_key(|disclosure| std::cmp::Reverse((disclosure.first, disclosure.job)));
        disclosures
    }
}
