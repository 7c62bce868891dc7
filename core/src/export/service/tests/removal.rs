//! Deleting, expiring, sweeping.

use std::sync::Arc;

use super::*;
use crate::export::DeploymentId;
use crate::ports::{FilePath, MockFileStore, MockJobStore, StoreError};
use crate::testkit::FixedClock;

/// One job of every state, with the second from which on it is gone.
fn jobs_and_their_ends() -> Vec<(ExportJob, Option<i64>)> {
    vec![
        (another(awaiting_input(), 1), Some(100)),
        (another(requested(), 2), None),
        (another(claimed(), 3), None),
        (another(retrieved(), 4), Some(10 + 200)),
        (another(approved(), 5), Some(15 + 300)),
        (another(rejected(), 6), Some(15 + 400)),
        (another(failed(), 7), Some(15 + 400)),
    ]
}

async fn keep_its_files(house: &House, job: &ExportJob) {
    house.keep(&job.attempt_folder(1).child("x"), "x").await;
    house.keep(&job.folder().child("y"), "y").await;
}

#[tokio::test]
async fn deleting_a_job_takes_its_files_along_whatever_its_state() {
    for (job, _) in jobs_and_their_ends() {
        let house = House::of([job.clone()]);
        let other = another(requested(), 99);
        keep_its_files(&house, &job).await;
        keep_its_files(&house, &other).await;
        let (shelf, memory, audit) = (
            house.shelf.clone(),
            house.memory.clone(),
            house.recorded.clone(),
        );
        let service = house.service();
        service.delete(&access(), job.id).await.unwrap();
        assert!(shelf.ids().is_empty());
        assert_eq!(memory.count(), 2, "another job's files stay");
        assert!(memory.list(&job.folder()).await.unwrap().is_empty());
        assert_eq!(audit.actions(), [Action::Remove]);
        let again = service.delete(&access(), job.id).await;
        assert!(matches!(again, Err(UseCaseError::NotFound)));
        let seen = service.job(&access(), job.id).await;
        assert!(matches!(seen, Err(UseCaseError::NotFound)));
    }
}

#[tokio::test]
async fn a_stranger_deletes_nothing() {
    let job = approved();
    let house = House::of([job.clone()]);
    keep_its_files(&house, &job).await;
    let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
    let refused = house
        .service()
        .delete(&with_patient(other_patient()), job.id)
        .await;
    assert!(matches!(refused, Err(UseCaseError::NotFound)));
    assert_eq!((shelf.job(), memory.count()), (job, 2));
}

#[tokio::test]
async fn without_an_audit_entry_nothing_is_deleted() {
    let job = approved();
    let house = House::of([job.clone()]).without_audit();
    keep_its_files(&house, &job).await;
    let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
    let refused = house.service().delete(&access(), job.id).await;
    assert!(matches!(refused, Err(UseCaseError::Unavailable(_))));
    assert_eq!((shelf.job(), memory.count()), (job, 2));
}

#[tokio::test]
async fn a_job_is_gone_even_when_its_files_cannot_be_deleted_right_now() {
    let mut files = MockFileStore::new();
    files
        .expect_delete_prefix()
        .returning(|_| Err(FileError::Unavailable("down".into())));
    let mut house = House::of([approved()]);
    house.files = Arc::new(files);
    let shelf = house.shelf.clone();
    house
        .service()
        .delete(&access(), approved().id)
        .await
        .unwrap();
    assert!(shelf.ids().is_empty());
}

#[tokio::test]
async fn an_expired_job_is_gone_even_before_the_sweep() {
    for (job, end) in jobs_and_their_ends() {
        let house = House::of([job.clone()]);
        let clock: Arc<FixedClock> = house.clock.clone();
        let service = house.service();
        let (own, staff) = (access(), grace());
        clock.set(at(end.unwrap_or(1_000_000_000) - 1));
        assert!(service.job(&own, job.id).await.is_ok());
        assert_eq!(
            service
                .jobs(&grace(), &JobFilter::default(), Page::default())
                .await
                .unwrap()
                .jobs
                .len(),
            1
        );
        let Some(end) = end else { continue };
        clock.set(at(end));
        for gone in [
            service.job(&own, job.id).await.unwrap_err(),
            service
                .patients_job(&at_browser_as(patient().id), job.id)
                .await
                .unwrap_err(),
            service
                .file(&own, job.id, "Patient.ndjson")
                .await
                .unwrap_err(),
            service.delete(&own, job.id).await.unwrap_err(),
            service.staff_job(job.id).await.unwrap_err(),
            service.approve(&staff, job.id).await.unwrap_err(),
            service.reject(&staff, job.id, None).await.unwrap_err(),
            service.begin_upload(job.id).await.unwrap_err(),
            service.remove(&staff, job.id).await.unwrap_err(),
        ] {
            assert!(
                matches!(gone, UseCaseError::NotFound),
                "{:?}: {gone:?}",
                job.status()
            );
        }
        let listed = service
            .jobs(&grace(), &JobFilter::default(), Page::default())
            .await;
        assert!(listed.unwrap().jobs.is_empty(), "{:?}", job.status());
    }
}

#[tokio::test]
async fn the_sweep_removes_exactly_what_expired() {
    for now in [0, 99, 100, 209, 210, 314, 315, 414, 415, 1_000_000] {
        let all = jobs_and_their_ends();
        let house = House::of(all.iter().map(|(job, _)| job.clone()));
        for (job, _) in &all {
            keep_its_files(&house, job).await;
        }
        house.clock.set(at(now));
        let (shelf, memory, audit) = (
            house.shelf.clone(),
            house.memory.clone(),
            house.recorded.clone(),
        );
        let removed = house.service().sweep().await.unwrap();
        let expired = |end: &Option<i64>| end.is_some_and(|end| end <= now);
        assert_eq!(
            removed,
            all.iter().filter(|(_, end)| expired(end)).count(),
            "at {now}"
        );
        for (job, end) in &all {
            let files = memory.list(&job.folder()).await.unwrap();
            assert_eq!(
                shelf.get(job.id).is_none(),
                expired(end),
                "{:?} at {now}",
                job.status()
            );
            let over = matches!(job.status(), Status::Rejected | Status::Failed);
            assert_eq!(
                files.is_empty(),
                expired(end) || over,
                "{:?} at {now}",
                job.status()
            );
        }
        assert_eq!(audit.actions(), vec![Action::Expire; removed]);
        assert!(
            audit
                .events()
                .iter()
                .all(|entry| entry.actor == Actor::Server)
        );
    }
}

#[tokio::test]
async fn a_sweep_goes_on_past_what_another_replica_swept() {
    let expired = [1, 2, 3].map(|number| another(approved(), number));
    let mut house = House::of(expired.clone());
    house.clock.set(at(1000));
    let (shelf, faster) = (house.shelf.clone(), house.shelf.clone());
    house.jobs = MockJobStore::new();
    house.jobs.expect_remove().times(1).returning(move |job| {
        faster.take(job.id);
        Err(StoreError::NotFound)
    });
    assert_eq!(house.service().sweep().await.unwrap(), 2);
    assert!(shelf.ids().is_empty());
}

#[tokio::test]
async fn without_an_audit_entry_nothing_expires() {
    let house = House::of([approved()]).without_audit();
    house.clock.set(at(1000));
    let shelf = house.shelf.clone();
    let refused = house.service().sweep().await;
    assert!(matches!(refused, Err(UseCaseError::Unavailable(_))));
    assert_eq!(shelf.job().state(), approved().state());
}

#[tokio::test]
async fn files_of_jobs_that_were_removed_are_swept_and_no_others() {
    let job = approved();
    let gone = another(approved(), 9);
    // It may be newer than a database that was restored.
    let unknown = another(approved(), 10);
    let house = House::of([job.clone(), gone.clone()]).joined().await;
    let [kept, forsaken, newer] =
        [&job, &gone, &unknown].map(|job| job.attempt_folder(1).child("Patient.ndjson"));
    let foreign = FilePath::parse("lost-and-found/x").unwrap();
    for path in [&kept, &forsaken, &newer, &foreign] {
        house.keep(path, "x").await;
    }
    house.shelf.remove(gone.id);
    let memory = house.memory.clone();
    let service = house.service();
    for _ in 0..2 {
        service.sweep().await.unwrap();
        let there = |path: &FilePath| !memory.text(path).is_empty();
        assert_eq!(
            [&kept, &forsaken, &newer, &foreign].map(there),
            [true, false, true, true]
        );
    }
}

#[tokio::test]
async fn whatever_is_written_behind_a_removed_job_goes_too_and_then_the_job_is_forgotten() {
    let (job, late) = (another(approved(), 1), another(approved(), 2));
    let house = House::of([job.clone(), late.clone()]).joined().await;
    keep_its_files(&house, &job).await;
    for job in [&job, &late] {
        house.shelf.remove(job.id);
    }
    let (shelf, memory, clock) = (
        house.shelf.clone(),
        house.memory.clone(),
        house.clock.clone(),
    );
    let written = late.attempt_folder(1).child("x");
    let service = house.service();
    service.sweep().await.unwrap();
    assert!(memory.list(&job.folder()).await.unwrap().is_empty());
    // Its worker was frozen for a while.
    clock.set(at(20 + 3_000));
    let writer = memory.writer(&written).await.unwrap();
    writer.finish().await.unwrap();
    service.sweep().await.unwrap();
    assert!(memory.list(&late.folder()).await.unwrap().is_empty());
    for (second, left) in [(3_060, 2), (6_590, 2), (6_630, 1), (6_700, 0)] {
        clock.set(at(20 + second));
        service.sweep().await.unwrap();
        assert_eq!(shelf.removed().len(), left, "at {second}");
    }
}

#[tokio::test]
async fn files_that_nobody_knows_are_asked_for_once_an_hour() {
    let mut house = House::of([]).joined().await;
    for number in 0..3 {
        house
            .keep(&another(approved(), number).folder().child("x"), "x")
            .await;
    }
    (house.jobs.expect_get()).times(6).returning(|_| Ok(None));
    let clock = house.clock.clone();
    let memory = house.memory.clone();
    let shelf = house.shelf.clone();
    let service = house.service();
    for second in [1_000, 1_060, 1_000 + 3_599, 1_000 + 3_600] {
        clock.set(at(second));
        service.sweep().await.unwrap();
    }
    // Whoever says that one may go is heard at once.
    shelf.remove(another(approved(), 1).id);
    service.sweep().await.unwrap();
    assert_eq!(memory.count(), 2 + 1);
}

/// Claimed for its third attempt; the two before ended without a word.
fn third_attempt() -> ExportJob {
    let mut job = claimed();
    for start in [60, 120] {
        job.claim(&WorkerId("w".into()), at(start), at(start + 60))
            .unwrap();
    }
    job
}

/// What its third attempt exported.
fn third_export() -> ExportJob {
    let mut job = third_attempt();
    job.retrieved(testkit::export(3), Vec::new(), at(130))
        .unwrap();
    job
}

#[tokio::test]
async fn attempts_that_neither_won_nor_run_are_swept_and_no_others() {
    let mut between = third_attempt();
    between.release(at(130)).unwrap();
    let mut approved = third_export();
    approved.approve(at(140)).unwrap();
    for (job, left) in [
        (third_attempt(), &["3", "4", "attachments"][..]),
        (between, &["4", "attachments"]),
        (third_export(), &["3", "4", "attachments"]),
        (approved, &["3", "4", "attachments"]),
        (awaiting_input(), &["1", "2", "3", "4", "attachments"]),
        (rejected(), &[]),
        (failed(), &[]),
    ] {
        let house = House::of([job.clone()]);
        for folder in ["1", "2", "3", "4", "attachments"] {
            house
                .keep(&job.folder().child(folder).child("x"), "x")
                .await;
        }
        let memory = house.memory.clone();
        house.service().sweep().await.unwrap();
        let mut found = memory.list(&job.folder()).await.unwrap();
        found.sort();
        let expected: Vec<_> = (left.iter())
            .map(|folder| job.folder().child(folder).child("x"))
            .collect();
        assert_eq!(found, expected, "{:?}", job.status());
    }
}

#[tokio::test]
async fn a_sweep_clears_half_written_files_and_goes_on_past_a_folder_that_stays() {
    let jobs = [another(rejected(), 1), another(rejected(), 2)];
    let folders = jobs.each_ref().map(ExportJob::folder);
    let (stuck, other) = (folders[0].clone(), folders[1].clone());
    let mut files = MockFileStore::new();
    let all = folders.to_vec();
    (files.expect_folders()).returning(move || Ok(all.clone()));
    (files.expect_delete_prefix())
        .withf(move |folder| *folder == stuck)
        .times(1)
        .returning(|_| Err(FileError::Unavailable("stuck".into())));
    (files.expect_delete_prefix())
        .withf(move |folder| *folder == other)
        .times(1)
        .returning(|_| Ok(()));
    (files.expect_sweep_unfinished())
        .times(1)
        .returning(|| Ok(2));
    let mut house = House::of(jobs);
    house.files = Arc::new(files);
    let refused = house.service().sweep().await;
    assert!(matches!(refused, Err(UseCaseError::Unavailable(_))));
}

#[tokio::test]
async fn files_of_a_job_that_cannot_be_read_stay_and_keep_no_others() {
    let jobs = [another(rejected(), 1), another(rejected(), 2)];
    let unreadable = jobs[0].id;
    let kept: Vec<_> = (jobs.iter())
        .map(|job| job.attempt_folder(1).child("Patient.ndjson"))
        .collect();
    let mut house = House::of(jobs);
    for file in &kept {
        house.keep(file, "x").await;
    }
    (house.jobs.expect_get())
        .withf(move |id| *id == unreadable)
        .returning(|_| Err(StoreError::unreadable("of a later version")));
    let memory = house.memory.clone();
    house.service().sweep().await.unwrap();
    assert_eq!(memory.text(&kept[0]), "x");
    assert_eq!(memory.count(), 1, "the other is swept");
}

#[tokio::test]
async fn files_that_are_not_those_of_the_jobs_are_never_swept() {
    let other = DeploymentId::from_random([1; 32]).to_string();
    for marker in [None, Some(other.as_str()), Some("?"), Some("")] {
        let house = House::of([approved()]);
        let orphan = approved().attempt_folder(1).child("Patient.ndjson");
        house.keep(&orphan, "x").await;
        house.shelf.remove(approved().id);
        if let Some(marker) = marker {
            let path = FilePath::parse("deployment/id").unwrap();
            let mut writer = house.memory.writer(&path).await.unwrap();
            writer.write(marker.to_owned().into()).await.unwrap();
            writer.finish().await.unwrap();
        }
        let memory = house.memory.clone();
        house.service().sweep().await.unwrap();
        assert_eq!(memory.text(&orphan), "x", "{marker:?}");
    }
}

#[tokio::test]
async fn of_replicas_that_sweep_at_once_one_tells_that_a_job_expired() {
    let house = House::of([approved()]);
    house.clock.set(at(1000));
    let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
    let mut slow = House::of([]);
    slow.clock.set(at(1000));
    slow.recorded = audit.clone();
    slow.audit = audit.clone();
    slow.shelf = shelf.clone();
    // It looked before the other one was through.
    let seen = approved();
    (slow.jobs.expect_overdue())
        .times(1)
        .returning(move |_, _, _| Ok(vec![seen.clone()]));
    assert_eq!(house.service().sweep().await.unwrap(), 1);
    slow.service().sweep().await.unwrap();
    assert!(shelf.ids().is_empty());
    assert_eq!(audit.actions(), [Action::Expire]);
}

#[tokio::test]
async fn an_export_that_was_just_released_does_not_expire_by_the_clock_of_another_replica() {
    let mut house = House::of([retrieved()]);
    keep_its_files(&house, &retrieved()).await;
    house.clock.set(at(10 + 200));
    let seen = retrieved();
    (house.jobs.expect_overdue())
        .withf(|status, _, _| *status == Status::Retrieved)
        .times(1)
        .returning(move |_, _, _| Ok(vec![seen.clone()]));
    let (shelf, memory, audit) = (
        house.shelf.clone(),
        house.memory.clone(),
        house.recorded.clone(),
    );
    // By a clock that is behind it is in time.
    shelf.overtake(|job| job.approve(at(10 + 199)).unwrap());
    assert_eq!(house.service().sweep().await.unwrap(), 0);
    assert_eq!(shelf.job().status(), Status::Approved);
    assert_eq!(memory.count(), 2);
    assert_eq!(audit.actions(), []);
}

#[tokio::test]
async fn deleting_a_job_is_not_undone_by_whatever_happens_meanwhile() {
    let mut house = House::of([retrieved()]);
    let shelf = house.shelf.clone();
    house.jobs.expect_remove().times(1).returning(move |_| {
        shelf.overtake(|job| job.approve(at(20)).unwrap());
        Err(StoreError::Conflict)
    });
    let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
    house
        .service()
        .delete(&access(), retrieved().id)
        .await
        .unwrap();
    assert!(shelf.ids().is_empty());
    assert_eq!(audit.actions(), [Action::Remove]);
}

#[tokio::test]
async fn a_folder_with_nothing_left_to_sweep_is_left_alone_for_an_hour() {
    let job = third_export();
    let mut house = House::of([]);
    let mut files = MockFileStore::new();
    let folder = job.folder();
    (files.expect_folders()).returning(move || Ok(vec![folder.clone()]));
    files.expect_sweep_unfinished().returning(|| Ok(0));
    files.expect_list().returning(|_| Ok(Vec::new()));
    // Two attempts came to nothing.
    (files.expect_delete_prefix())
        .times(4)
        .returning(|_| Ok(()));
    house.files = Arc::new(files);
    (house.jobs.expect_overdue()).returning(|_, _, _| Ok(Vec::new()));
    (house.jobs.expect_get())
        .times(2)
        .returning(move |_| Ok(Some(job.clone())));
    let clock = house.clock.clone();
    let service = house.service();
    for second in [1_000, 1_060, 1_000 + 3_599, 1_000 + 3_600] {
        clock.set(at(second));
        service.sweep().await.unwrap();
    }
}

#[tokio::test]
async fn while_jobs_wait_for_a_worker_their_folders_are_looked_into_each_time() {
    let mut house = House::of([third_attempt()]);
    let memory = house.memory.clone();
    house.jobs = MockJobStore::new();
    let shelf = house.shelf.clone();
    house
        .keep(&third_attempt().attempt_folder(3).child("x"), "x")
        .await;
    let service = house.service();
    service.sweep().await.unwrap();
    assert_eq!(memory.count(), 1);
    shelf.overtake(|job| {
        job.release(at(130)).unwrap();
    });
    service.sweep().await.unwrap();
    assert_eq!(memory.count(), 0);
}
