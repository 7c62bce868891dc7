//! What a [`JobStore`] promises.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]
#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the names are the promises"
)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use crate::export::{Choices, ExportJob, Interaction, JobId, Progress, Status, WorkerId};
use crate::fhir::PatientId;
use crate::ports::{JobFilter, JobStore, Page, StoreError};
use crate::testkit::{at, job, kickoff};

/// Makes the tests of a [`JobStore`]: `job_store_contract!(fresh())`, where `fresh()` is a future of an empty store and of
/// whatever has to live as long as it.
#[macro_export]
macro_rules! job_store_contract {
    ($fresh:expr) => {
        $crate::contract_tests!(
            job_store, $fresh,
            a_job_is_found_as_it_was_kept
            an_id_is_taken_once
            a_lost_update_is_refused
            of_many_updates_at_once_one_is_kept
            a_removed_job_is_gone_for_everybody
            the_newest_job_is_listed_first_page_by_page
            a_list_can_be_narrowed
            the_oldest_runnable_job_is_claimed_first
            many_workers_get_each_job_exactly_once
            a_lease_that_ran_out_passes_on_and_the_late_worker_is_refused
            renewing_does_not_get_in_the_way_of_the_result
            a_released_job_waits_until_it_is_due
            a_new_job_wakes_whoever_waits
            every_state_is_kept
        );
    };
}

type Store = Arc<dyn JobStore>;

const LEASE: Duration = Duration::from_mins(1);

const EVERY: JobFilter = JobFilter {
    status: None,
    patient: None,
};

/// A job that waits for a worker, made at this second.
fn waiting(number: u16, second: i64) -> ExportJob {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    ExportJob::kick_off(
        JobId::from_random(bytes),
        kickoff(Interaction::None),
        at(second),
    )
}

fn worker(name: &str) -> WorkerId {
    WorkerId(name.to_owned())
}

pub async fn a_job_is_found_as_it_was_kept(store: Store) {
    let kept = job(Interaction::Form);
    store.insert(&kept).await.unwrap();
    assert_eq!(store.get(kept.id).await.unwrap(), Some(kept));
    assert_eq!(store.get(waiting(1, 0).id).await.unwrap(), None);
}

pub async fn an_id_is_taken_once(store: Store) {
    let kept = job(Interaction::Form);
    store.insert(&kept).await.unwrap();
    let again = store.insert(&job(Interaction::None)).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
    assert_eq!(store.get(kept.id).await.unwrap(), Some(kept));
}

pub async fn a_lost_update_is_refused(store: Store) {
    let first = job(Interaction::Form);
    store.insert(&first).await.unwrap();
    let mut second = first.clone();
    second.customise(Choices::whole_record(), at(1)).unwrap();
    let stored = store.update(&second).await.unwrap();
    assert_eq!(store.get(first.id).await.unwrap().as_ref(), Some(&stored));
    for old in [&first, &second] {
        let lost = store.update(old).await;
        assert!(matches!(lost, Err(StoreError::Conflict)), "{lost:?}");
    }
    assert_eq!(store.get(first.id).await.unwrap().as_ref(), Some(&stored));
    store.update(&stored).await.unwrap();
    let nobody = store.update(&waiting(1, 0)).await;
    assert!(matches!(nobody, Err(StoreError::NotFound)), "{nobody:?}");
}

pub async fn of_many_updates_at_once_one_is_kept(store: Store) {
    let first = job(Interaction::Form);
    store.insert(&first).await.unwrap();
    let updates = (0..32).map(|second| {
        let (store, mut changed) = (store.clone(), first.clone());
        changed
            .customise(Choices::whole_record(), at(second))
            .unwrap();
        tokio::spawn(async move { store.update(&changed).await })
    });
    let mut kept = Vec::new();
    for update in join_all(updates).await {
        match update.unwrap() {
            Ok(job) => kept.push(job),
            Err(error) => assert!(matches!(error, StoreError::Conflict), "{error:?}"),
        }
    }
    assert_eq!(kept.len(), 1);
    assert_eq!(store.get(first.id).await.unwrap(), kept.pop());
}

pub async fn a_removed_job_is_gone_for_everybody(store: Store) {
    let kept = waiting(1, 0);
    store.insert(&kept).await.unwrap();
    assert_eq!(store.remove(kept.id).await.unwrap(), Some(kept.clone()));
    assert_eq!(store.remove(kept.id).await.unwrap(), None);
    assert_eq!(store.get(kept.id).await.unwrap(), None);
    assert!(
        store
            .list(&EVERY, Page::default())
            .await
            .unwrap()
            .is_empty()
    );
    let claimed = store.claim(&worker("w"), at(10), LEASE).await.unwrap();
    assert_eq!(claimed, None);
    let late = store.update(&kept).await;
    assert!(matches!(late, Err(StoreError::NotFound)), "{late:?}");
}

pub async fn the_newest_job_is_listed_first_page_by_page(store: Store) {
    // Two of the same instant: they are told apart by their ids.
    for (number, second) in [(1, 20), (2, 10), (3, 30), (4, 10), (5, 10)] {
        store.insert(&waiting(number, second)).await.unwrap();
    }
    let all = store.list(&EVERY, Page::default()).await.unwrap();
    let mut expected = all.clone();
    expected.sort_by_key(|job| std::cmp::Reverse(job.cursor()));
    assert_eq!(all, expected);
    assert_eq!(all[0].created_at, at(30));
    let mut turned = Vec::new();
    let mut after = None;
    loop {
        let page = Page {
            limit: Some(2),
            after,
        };
        let part = store.list(&EVERY, page).await.unwrap();
        assert!(part.len() <= 2);
        let Some(last) = part.last() else { break };
        after = Some(last.cursor());
        turned.extend(part);
    }
    assert_eq!(turned, all);
}

pub async fn a_list_can_be_narrowed(store: Store) {
    let (form, none) = (job(Interaction::Form), waiting(1, 5));
    let mut other = waiting(2, 6);
    other.patient.id = PatientId::parse("p-2").unwrap();
    for each in [&form, &none, &other] {
        store.insert(each).await.unwrap();
    }
    let ids = async |status, patient: Option<&ExportJob>| {
        let filter = JobFilter {
            status,
            patient: patient.map(|job| job.patient.id.clone()),
        };
        let found = store.list(&filter, Page::default()).await.unwrap();
        found.iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(Some(Status::AwaitingInput), None).await, [form.id]);
    assert_eq!(
        ids(Some(Status::Requested), None).await,
        [other.id, none.id]
    );
    assert_eq!(ids(None, Some(&other)).await, [other.id]);
    assert_eq!(ids(Some(Status::Requested), Some(&none)).await, [none.id]);
    assert!(ids(Some(Status::Failed), None).await.is_empty());
}

pub async fn the_oldest_runnable_job_is_claimed_first(store: Store) {
    let form = job(Interaction::Form);
    store.insert(&form).await.unwrap();
    for (number, second) in [(1, 20), (2, 10), (3, 30)] {
        store.insert(&waiting(number, second)).await.unwrap();
    }
    let mut order = Vec::new();
    while let Some(job) = store.claim(&worker("w"), at(40), LEASE).await.unwrap() {
        let claim = job.current_claim().unwrap();
        assert_eq!((claim.attempt, &claim.worker), (1, &worker("w")));
        assert_eq!(store.get(job.id).await.unwrap().as_ref(), Some(&job));
        order.push(job.created_at);
    }
    assert_eq!(order, [at(10), at(20), at(30)]);
}

pub async fn many_workers_get_each_job_exactly_once(store: Store) {
    const JOBS: usize = 1_000;
    for number in 0..JOBS {
        let number = u16::try_from(number).unwrap();
        store.insert(&waiting(number, number.into())).await.unwrap();
    }
    let workers = (0..64).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut got = Vec::new();
            let name = worker(&format!("w{number}"));
            while let Some(job) = store.claim(&name, at(5_000), LEASE).await.unwrap() {
                assert_eq!(job.current_claim().unwrap().worker, name);
                got.push(job.id);
            }
            got
        })
    });
    let mut got = Vec::new();
    for worker in join_all(workers).await {
        got.extend(worker.unwrap());
    }
    let different: HashSet<_> = got.iter().collect();
    assert_eq!((got.len(), different.len()), (JOBS, JOBS));
}

pub async fn a_lease_that_ran_out_passes_on_and_the_late_worker_is_refused(store: Store) {
    store.insert(&waiting(1, 0)).await.unwrap();
    let (slow, fast) = (worker("slow"), worker("fast"));
    let late = store.claim(&slow, at(0), LEASE).await.unwrap().unwrap();
    assert_eq!(store.claim(&fast, at(59), LEASE).await.unwrap(), None);
    let claim = late.current_claim().unwrap();
    let progress = Progress {
        resources: 5,
        bytes: 50,
    };
    store.renew(claim, at(90), progress).await.unwrap();
    assert_eq!(store.claim(&fast, at(89), LEASE).await.unwrap(), None);
    let next = store.claim(&fast, at(90), LEASE).await.unwrap().unwrap();
    assert_eq!(next.current_claim().unwrap().attempt, 2);
    let renewed = store.renew(claim, at(200), Progress::default()).await;
    assert!(matches!(renewed, Err(StoreError::Conflict)), "{renewed:?}");
    let written = store.update(&late).await;
    assert!(matches!(written, Err(StoreError::Conflict)), "{written:?}");
    assert_eq!(store.get(next.id).await.unwrap().as_ref(), Some(&next));
    store.remove(next.id).await.unwrap();
    let claim = next.current_claim().unwrap();
    let gone = store.renew(claim, at(200), Progress::default()).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
}

pub async fn renewing_does_not_get_in_the_way_of_the_result(store: Store) {
    store.insert(&waiting(1, 0)).await.unwrap();
    let claimed = store.claim(&worker("w"), at(0), LEASE).await.unwrap();
    let claimed = claimed.unwrap();
    let claim = claimed.current_claim().unwrap();
    let progress = Progress {
        resources: 7,
        bytes: 70,
    };
    store.renew(claim, at(100), progress).await.unwrap();
    let seen = store.get(claimed.id).await.unwrap().unwrap();
    assert_eq!(seen.current_claim().unwrap().until, at(100));
    store.update(&claimed).await.unwrap();
}

pub async fn a_released_job_waits_until_it_is_due(store: Store) {
    store.insert(&waiting(1, 0)).await.unwrap();
    let claimed = store.claim(&worker("w"), at(0), LEASE).await.unwrap();
    let mut claimed = claimed.unwrap();
    let patience = crate::export::Patience {
        attempts: 5,
        pause: Duration::from_secs(10),
    };
    claimed.attempt_failed("down", patience, at(1)).unwrap();
    store.update(&claimed).await.unwrap();
    assert_eq!(
        store.claim(&worker("w"), at(10), LEASE).await.unwrap(),
        None
    );
    let again = store.claim(&worker("w"), at(11), LEASE).await.unwrap();
    assert_eq!(again.unwrap().current_claim().unwrap().attempt, 2);
}

pub async fn a_new_job_wakes_whoever_waits(store: Store) {
    let mut changes = store.subscribe();
    changes.mark_unchanged();
    store.insert(&waiting(1, 0)).await.unwrap();
    let woken = tokio::time::timeout(Duration::from_secs(30), changes.changed()).await;
    woken.unwrap().unwrap();
}

pub async fn every_state_is_kept(store: Store) {
    let mut number = 0;
    let mut keep = async |change: &dyn Fn(&mut ExportJob)| {
        number += 1;
        let fresh = waiting(number, 0);
        store.insert(&fresh).await.unwrap();
        let mut claimed = store
            .claim(&worker("w"), at(0), LEASE)
            .await
            .unwrap()
            .unwrap();
        change(&mut claimed);
        let stored = store.update(&claimed).await.unwrap();
        assert_eq!(store.get(fresh.id).await.unwrap(), Some(stored.clone()));
        assert_eq!(
            store
                .claim(&worker("x"), at(1_000_000), LEASE)
                .await
                .unwrap(),
            None
        );
        stored.status()
    };
    let retrieved = |job: &mut ExportJob| {
        let export = crate::testkit::export(1);
        job.retrieved(export, Vec::new(), at(1)).unwrap();
    };
    assert_eq!(keep(&retrieved).await, Status::Retrieved);
    let approved = |job: &mut ExportJob| {
        retrieved(job);
        job.approve(at(2)).unwrap();
    };
    assert_eq!(keep(&approved).await, Status::Approved);
    let rejected = |job: &mut ExportJob| {
        retrieved(job);
        job.reject(Some("not \"yours\" – \u{1f642}".to_owned()), at(2))
            .unwrap();
    };
    assert_eq!(keep(&rejected).await, Status::Rejected);
    let failed = |job: &mut ExportJob| job.give_up("no", at(2)).unwrap();
    assert_eq!(keep(&failed).await, Status::Failed);
}
