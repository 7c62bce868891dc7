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

mod belonging;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

pub use self::belonging::*;
use crate::auth::ClientId;
use crate::export::{
    Choices, ExportJob, Interaction, JobId, Kickoff, Patience, Progress, Requester, Status,
    WorkerId,
};
use crate::fhir::PatientId;
use crate::ports::{JobFilter, JobStore, OpenJobs, Page, StoreError};
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
            what_changed_meanwhile_is_not_removed
            the_newest_job_is_listed_first_page_by_page
            a_list_can_be_narrowed
            the_job_that_waits_longest_is_claimed_first
            a_flood_of_one_patient_keeps_nobody_waiting
            a_flood_of_one_client_keeps_nobody_waiting
            whoever_waits_is_not_kept_waiting_by_those_who_come_later
            another_attempt_keeps_its_turn
            a_form_takes_its_turn_when_it_is_filled_in
            open_jobs_are_counted_by_patient_and_by_client
            what_is_overdue_is_told_longest_first
            many_workers_get_each_job_exactly_once
            a_lease_that_ran_out_passes_on_and_the_late_worker_is_refused
            renewing_does_not_get_in_the_way_of_the_result
            a_released_job_waits_until_it_is_due
            a_new_job_wakes_whoever_waits
            every_state_is_kept
            a_deployment_is_named_once
            a_removed_job_is_remembered_until_its_files_are_gone
            what_nobody_knows_can_be_disowned_and_nothing_else
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
    assert_eq!(store.remove(&kept).await.unwrap(), kept);
    let again = store.remove(&kept).await;
    assert!(matches!(again, Err(StoreError::NotFound)), "{again:?}");
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

pub async fn what_changed_meanwhile_is_not_removed(store: Store) {
    let seen = job(Interaction::Form);
    store.insert(&seen).await.unwrap();
    let mut changed = seen.clone();
    changed.customise(Choices::whole_record(), at(1)).unwrap();
    let changed = store.update(&changed).await.unwrap();
    let refused = store.remove(&seen).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    assert_eq!(store.get(seen.id).await.unwrap(), Some(changed.clone()));
    assert_eq!(store.remove(&changed).await.unwrap(), changed);
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

/// A job of this patient through this client that waits for a worker, made at this second.
fn asked(patient: &str, client: &str, number: u16, second: i64) -> ExportJob {
    let mut job = waiting(number, second);
    job.patient.id = PatientId::parse(patient).unwrap();
    job.requester = Requester::System(ClientId::parse(client).unwrap());
    job
}

/// The next job for a worker at this second.
async fn next(store: &Store, second: i64) -> Option<ExportJob> {
    store.claim(&worker("w"), at(second), LEASE).await.unwrap()
}

/// The patients of the next so many jobs at this second.
async fn next_patients(store: &Store, second: i64, count: usize) -> Vec<String> {
    let mut patients = Vec::new();
    while patients.len() < count {
        let job = next(store, second).await.unwrap();
        patients.push(job.patient.id.to_string());
    }
    patients
}

pub async fn the_job_that_waits_longest_is_claimed_first(store: Store) {
    let form = job(Interaction::Form);
    store.insert(&form).await.unwrap();
    for (number, second) in [(1, 20), (2, 10), (3, 30)] {
        let job = asked(&format!("p{number}"), &format!("c{number}"), number, second);
        store.insert(&job).await.unwrap();
    }
    let mut order = Vec::new();
    while let Some(job) = next(&store, 40).await {
        let claim = job.current_claim().unwrap();
        assert_eq!((claim.attempt, &claim.worker), (1, &worker("w")));
        assert_eq!(store.get(job.id).await.unwrap().as_ref(), Some(&job));
        order.push(job.created_at);
    }
    assert_eq!(order, [at(10), at(20), at(30)]);
}

pub async fn a_flood_of_one_patient_keeps_nobody_waiting(store: Store) {
    for number in 0..50 {
        store
            .insert(&asked("flood", "app", number, 0))
            .await
            .unwrap();
    }
    for (patient, client, number) in [("same-app", "app", 100), ("other-app", "other", 101)] {
        let job = asked(patient, client, number, 1);
        store.insert(&job).await.unwrap();
    }
    let order = next_patients(&store, 60, 4).await;
    assert_eq!(order[..2], ["flood", "other-app"], "{order:?}");
    assert!(
        order.iter().any(|patient| patient == "same-app"),
        "{order:?}"
    );
    // And nothing is lost: nobody waits while a worker is free.
    assert_eq!(next_patients(&store, 60, 48).await, vec!["flood"; 48]);
    assert_eq!(next(&store, 60).await, None);
}

pub async fn a_flood_of_one_client_keeps_nobody_waiting(store: Store) {
    for number in 0..50 {
        let patient = format!("p{number}");
        store
            .insert(&asked(&patient, "flood", number, 0))
            .await
            .unwrap();
    }
    store.insert(&asked("late", "app", 100, 25)).await.unwrap();
    // The flood's turns are at 0, 10, 20, 30, ….
    assert_eq!(
        next_patients(&store, 60, 4).await,
        ["p0", "p1", "p2", "late"]
    );
    assert_eq!(next_patients(&store, 60, 47).await.len(), 47);
}

pub async fn whoever_waits_is_not_kept_waiting_by_those_who_come_later(store: Store) {
    for number in 0..3 {
        store
            .insert(&asked("first", "app", number, 0))
            .await
            .unwrap();
    }
    let mut claimed = Vec::new();
    // Each second one more comes than can be taken.
    for second in 0..40_i64 {
        for each in 0..2_u16 {
            let number = 100 + 2 * u16::try_from(second).unwrap() + each;
            let (patient, client) = (format!("p{number}"), format!("c{number}"));
            let job = asked(&patient, &client, number, second);
            store.insert(&job).await.unwrap();
        }
        let job = next(&store, second).await.unwrap();
        claimed.push(job.patient.id.to_string());
    }
    let theirs = claimed.iter().filter(|patient| *patient == "first");
    // By second 40 turns up to about 20 are reached; theirs are 0, 10 and 20.
    assert!(theirs.count() >= 2, "{claimed:?}");
}

pub async fn another_attempt_keeps_its_turn(store: Store) {
    let patience = Patience {
        attempts: 5,
        pause: Duration::from_secs(10),
    };
    store.insert(&asked("first", "app", 1, 0)).await.unwrap();
    store.insert(&asked("second", "other", 2, 5)).await.unwrap();
    let mut job = next(&store, 10).await.unwrap();
    job.attempt_failed("down", patience, at(10)).unwrap();
    store.update(&job).await.unwrap();
    // Others of the same patient and client came meanwhile.
    store.insert(&asked("first", "app", 3, 11)).await.unwrap();
    let mut again = next(&store, 20).await.unwrap();
    assert_eq!((again.id, again.tries()), (job.id, 2));
    again.release(at(21)).unwrap();
    store.update(&again).await.unwrap();
    let third = next(&store, 21).await.unwrap();
    assert_eq!(
        (third.id, third.tries()),
        (job.id, 2),
        "the attempt did not count"
    );
    assert_eq!(third.current_claim().unwrap().attempt, 3);
    assert_eq!(next_patients(&store, 21, 2).await, ["second", "first"]);
}

pub async fn a_form_takes_its_turn_when_it_is_filled_in(store: Store) {
    let kickoff = Kickoff {
        requester: Requester::Patient(ClientId::parse("app").unwrap()),
        ..kickoff(Interaction::Form)
    };
    let mut form = ExportJob::kick_off(JobId::from_random([9; 32]), kickoff, at(0));
    store.insert(&form).await.unwrap();
    store.insert(&asked("other", "other", 1, 10)).await.unwrap();
    form.customise(Choices::whole_record(), at(20)).unwrap();
    store.update(&form).await.unwrap();
    assert_eq!(next_patients(&store, 30, 1).await, ["other"]);
    assert_eq!(next(&store, 30).await.unwrap().id, form.id);
}

pub async fn open_jobs_are_counted_by_patient_and_by_client(store: Store) {
    let count = async |patient: &str, client: &str| {
        let patient = PatientId::parse(patient).unwrap();
        let client = ClientId::parse(client).unwrap();
        let open = store.open_jobs(&patient, &client);
        let OpenJobs {
            of_patient,
            of_client,
        } = open.await.unwrap();
        (of_patient, of_client)
    };
    assert_eq!(count("p-1", "test-app").await, (0, 0));
    let form = job(Interaction::Form);
    store.insert(&form).await.unwrap();
    for (number, patient, client) in [(1, "p-1", "app"), (2, "p-2", "app"), (3, "p-1", "app")] {
        let job = asked(patient, client, number, number.into());
        store.insert(&job).await.unwrap();
    }
    assert_eq!(count("p-1", "app").await, (2, 3));
    assert_eq!(count("p-1", "test-app").await, (1, 1));
    assert_eq!(count("p-2", "nobody").await, (0, 0));
    // Running and retrieved it is open; released it is not.
    let mut first = next(&store, 10).await.unwrap();
    assert_eq!(count("p-1", "app").await, (2, 3));
    first
        .retrieved(crate::testkit::export(1), Vec::new(), at(11))
        .unwrap();
    let mut first = store.update(&first).await.unwrap();
    assert_eq!(count("p-1", "app").await, (2, 3));
    first.approve(at(12)).unwrap();
    store.update(&first).await.unwrap();
    assert_eq!(count("p-1", "app").await, (1, 2));
    store.remove(&form).await.unwrap();
    assert_eq!(count("p-1", "test-app").await, (0, 0));
}

pub async fn what_is_overdue_is_told_longest_first(store: Store) {
    let ids = async |status, until, limit| {
        let found = store.overdue(status, at(until), limit).await.unwrap();
        found.iter().map(|job| job.id).collect::<Vec<_>>()
    };
    let mut forms = Vec::new();
    for (number, second) in [(1, 20), (2, 10), (3, 30)] {
        let id = JobId::from_random([number; 32]);
        let form = ExportJob::kick_off(id, kickoff(Interaction::Form), at(second));
        store.insert(&form).await.unwrap();
        forms.push(form);
    }
    let [first, second, third] = [1, 0, 2].map(|index: usize| forms[index].id);
    assert!(ids(Status::AwaitingInput, 9, 9).await.is_empty());
    assert_eq!(ids(Status::AwaitingInput, 10, 9).await, [first]);
    assert_eq!(
        ids(Status::AwaitingInput, 99, 9).await,
        [first, second, third]
    );
    assert_eq!(ids(Status::AwaitingInput, 99, 2).await, [first, second]);
    assert!(ids(Status::Rejected, 99, 9).await.is_empty());
    let mut declined = forms.swap_remove(1);
    declined.reject(None, at(50)).unwrap();
    store.update(&declined).await.unwrap();
    assert_eq!(ids(Status::AwaitingInput, 99, 9).await, [second, third]);
    assert!(ids(Status::Rejected, 49, 9).await.is_empty());
    assert_eq!(ids(Status::Rejected, 50, 9).await, [first]);
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
    store.remove(&next).await.unwrap();
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
    let patience = Patience {
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
