//! What an [`AuditLog`] promises.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]
#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the names are the promises"
)]

use std::sync::Arc;

use futures::future::join_all;

use crate::audit::{ChainError, Link};
use crate::export::JobId;
use crate::fhir::PatientId;
use crate::ports::{Action, AuditEvent, AuditFilter, AuditLog, AuditPage, Outcome};
use crate::testkit::{at, staff};

/// Makes the tests of an [`AuditLog`]: `audit_log_contract!(fresh())`, where `fresh()` is a future of an empty log and of
/// whatever has to live as long as it.
#[macro_export]
macro_rules! audit_log_contract {
    ($fresh:expr) => {
        $crate::contract_tests!(
            audit_log, $fresh,
            entries_are_numbered_without_gap_and_read_newest_first
            entries_are_found_by_every_filter
            entries_come_in_parts
            the_chain_holds_whoever_writes_at_once
            a_noted_link_is_looked_for
        );
    };
}

type Log = Arc<dyn AuditLog>;

fn event(second: i64) -> AuditEvent {
    AuditEvent {
        patient: PatientId::parse(&format!("p-{}", second % 3)).ok(),
        job: Some(JobId::from_random([7; 32])),
        ..staff().by().did(Action::View, at(second))
    }
}

async fn fill(log: &Log, entries: i64) {
    for second in 0..entries {
        log.append(&event(second)).await.unwrap();
    }
}

async fn numbers(log: &Log, filter: &AuditFilter) -> Vec<u64> {
    let page = AuditPage {
        limit: 10_000,
        before: None,
    };
    let entries = log.list(filter, page).await.unwrap();
    entries.iter().map(|entry| entry.number).collect()
}

pub async fn entries_are_numbered_without_gap_and_read_newest_first(log: Log) {
    fill(&log, 4).await;
    let page = AuditPage {
        limit: 10,
        before: None,
    };
    let entries = log.list(&AuditFilter::default(), page).await.unwrap();
    assert_eq!(entries[0].event, event(3));
    assert_eq!(numbers(&log, &AuditFilter::default()).await, [4, 3, 2, 1]);
}

pub async fn entries_are_found_by_every_filter(log: Log) {
    fill(&log, 6).await;
    let refused = staff().by().was_refused(Action::Approve, at(6));
    log.append(&refused).await.unwrap();
    let every = AuditFilter::default;
    for (filter, expected) in [
        (
            AuditFilter {
                patient: PatientId::parse("p-1").ok(),
                ..every()
            },
            vec![5, 2],
        ),
        (
            AuditFilter {
                job: Some(JobId::from_random([7; 32])),
                from: Some(at(4)),
                ..every()
            },
            vec![6, 5],
        ),
        (
            AuditFilter {
                actor: Some("grace".to_owned()),
                until: Some(at(1)),
                ..every()
            },
            vec![1],
        ),
        (
            AuditFilter {
                actor: Some("somebody else".to_owned()),
                ..every()
            },
            vec![],
        ),
        (
            AuditFilter {
                action: Some(Action::Approve),
                ..every()
            },
            vec![7],
        ),
        (
            AuditFilter {
                outcome: Some(Outcome::Refused),
                ..every()
            },
            vec![7],
        ),
    ] {
        assert_eq!(numbers(&log, &filter).await, expected, "{filter:?}");
    }
}

pub async fn entries_come_in_parts(log: Log) {
    fill(&log, 7).await;
    let mut before = None;
    let mut read = Vec::new();
    loop {
        let page = AuditPage { limit: 3, before };
        let part = log.list(&AuditFilter::default(), page).await.unwrap();
        let Some(last) = part.last() else { break };
        before = Some(last.number);
        read.extend(part.iter().map(|entry| entry.number));
    }
    assert_eq!(read, [7, 6, 5, 4, 3, 2, 1]);
}

pub async fn the_chain_holds_whoever_writes_at_once(log: Log) {
    let writes = (0..200).map(|second| {
        let log = log.clone();
        tokio::spawn(async move { log.append(&event(second)).await })
    });
    for write in join_all(writes).await {
        write.unwrap().unwrap();
    }
    assert_eq!(log.verify(None).await.unwrap().number, 200);
    let expected: Vec<u64> = (1..=200).rev().collect();
    assert_eq!(numbers(&log, &AuditFilter::default()).await, expected);
}

pub async fn a_noted_link_is_looked_for(log: Log) {
    assert_eq!(log.verify(None).await.unwrap(), Link::START);
    fill(&log, 2).await;
    let noted = log.verify(None).await.unwrap();
    fill(&log, 2).await;
    assert_eq!(log.verify(Some(noted)).await.unwrap().number, 4);
    let other = Link {
        number: 2,
        ..Link::START.next("something else")
    };
    let found = log.verify(Some(other)).await;
    assert!(matches!(found, Err(ChainError::Rewritten(2))), "{found:?}");
    let later = Link { number: 9, ..noted };
    let found = log.verify(Some(later)).await;
    assert!(
        matches!(found, Err(ChainError::Missing { .. })),
        "{found:?}"
    );
}
