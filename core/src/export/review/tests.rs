//! What the use cases of staff promise.

mod upload;

use std::sync::Arc;

use futures::TryStreamExt;

use super::*;
use crate::export::JobState;
use crate::export::fixture::*;
use crate::ports::{FileStore, MockFileStore, MockJobStore, StoreError};
use crate::testkit::at;

/// The status that stood in the way.
fn in_the_way<T>(outcome: &Result<T, UseCaseError>) -> Option<Status> {
    match outcome {
        Err(UseCaseError::NotApplicable(NotApplicable(status))) => Some(*status),
        _ => None,
    }
}

#[tokio::test]
async fn approving_releases_what_was_retrieved() {
    let house = House::of([retrieved_with(&["a.png"])]);
    let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
    let job = (house.service().approve(&grace(), retrieved().id).await).unwrap();
    assert_eq!(job, shelf.job());
    assert_eq!(
        (job.status(), job.completed_at()),
        (Status::Approved, Some(at(20)))
    );
    assert_eq!(job.export(), retrieved().export());
    assert_eq!(job.attachments().len(), 1);
    assert_eq!(audit.actions(), [Action::Approve]);
    let entry = &audit.events()[0];
    assert_eq!(
        (&entry.actor, entry.job),
        (&grace().by().actor, Some(job.id))
    );
}

#[tokio::test]
async fn only_what_was_retrieved_can_be_approved() {
    for job in [
        awaiting_input(),
        requested(),
        claimed(),
        approved(),
        rejected(),
        failed(),
    ] {
        let house = House::of([job.clone()]);
        let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
        let refused = house.service().approve(&grace(), job.id).await;
        assert_eq!(in_the_way(&refused), Some(job.status()));
        assert_eq!(shelf.job(), job);
        assert!(audit.events().is_empty(), "nothing was released");
    }
}

#[tokio::test]
async fn without_an_audit_entry_staff_change_nothing() {
    let job = retrieved_with(&["a.png"]);
    let house = House::of([job.clone()]).without_audit();
    house.keep(&job.folder().child("x"), "x").await;
    let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
    let service = house.service();
    let titles = HashSet::from(["a.png"]);
    for refused in [
        service.approve(&grace(), job.id).await,
        service.reject(&grace(), job.id, None).await,
        service.detach(&grace(), job.id, &titles).await,
        service.remove(&grace(), job.id).await,
    ] {
        assert!(matches!(refused, Err(UseCaseError::Unavailable(_))));
    }
    assert_eq!((shelf.job(), memory.count()), (job, 1));
}

#[tokio::test]
async fn declining_keeps_the_reason_and_deletes_the_files() {
    for job in [
        awaiting_input(),
        requested(),
        claimed(),
        retrieved_with(&["a.png"]),
    ] {
        let house = House::of([job.clone()]);
        house.keep(&job.attempt_folder(1).child("x"), "x").await;
        house.keep(&job.folder().child("y"), "y").await;
        let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
        let audit = house.recorded.clone();
        let reason = Some("not yours".to_owned());
        let declined = (house
            .service()
            .reject(&grace(), job.id, reason.clone())
            .await)
            .unwrap();
        assert_eq!(declined, shelf.job());
        assert_eq!(declined.state(), &JobState::Rejected { reason, at: at(20) });
        assert!(declined.attachments().is_empty() && declined.export().is_none());
        assert_eq!(memory.count(), 0);
        assert_eq!(audit.actions(), [Action::Reject]);
    }
}

#[tokio::test]
async fn what_came_to_its_end_cannot_be_declined() {
    for job in [approved(), rejected(), failed()] {
        let house = House::of([job.clone()]);
        house.keep(&job.folder().child("x"), "x").await;
        let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
        let refused = house.service().reject(&grace(), job.id, None).await;
        assert_eq!(in_the_way(&refused), Some(job.status()));
        assert_eq!((shelf.job(), memory.count()), (job, 1), "its files stay");
    }
}

#[tokio::test]
async fn a_declined_export_is_told_as_declined_though_its_files_still_lie_there() {
    let mut files = MockFileStore::new();
    files
        .expect_delete_prefix()
        .returning(|_| Err(FileError::Unavailable("down".into())));
    let mut house = House::of([retrieved()]);
    house.files = Arc::new(files);
    let declined = house.service().reject(&grace(), retrieved().id, None).await;
    assert_eq!(declined.unwrap().status(), Status::Rejected);
}

#[tokio::test]
async fn detaching_takes_the_named_files_away_and_ignores_others() {
    let job = retrieved_with(&["a.png", "b.png"]);
    let house = House::of([job.clone()]);
    for attachment in job.attachments() {
        house.keep(&job.attachment_path(attachment), "x").await;
    }
    let (memory, audit) = (house.memory.clone(), house.recorded.clone());
    let titles = HashSet::from(["a.png", "never.png"]);
    let left = (house.service().detach(&grace(), job.id, &titles).await).unwrap();
    assert_eq!(left.attachments(), &job.attachments()[1..]);
    let kept = job.attachment_path(&job.attachments()[1]);
    assert_eq!(memory.list(&job.folder()).await.unwrap(), [kept]);
    assert_eq!(audit.actions(), [Action::Detach]);
}

#[tokio::test]
async fn a_file_is_detached_as_its_link_names_it_unless_that_is_a_title() {
    let summary = "discharge summary (2).pdf";
    let titles = ["a b.pdf", "a%20b.pdf", summary];
    for (names, left) in [
        (&["discharge%20summary%20%282%29.pdf"][..], &titles[..2]),
        (&["a%20b.pdf"], &["a b.pdf", summary]),
        (&["a%2520b.pdf"], &["a b.pdf", summary]),
        (&["a%20b.pdf", "a b.pdf"], &[summary]),
        (&["discharge%2520summary%2520%25282%2529.pdf"], &titles),
    ] {
        let job = retrieved_with(&titles);
        let service = House::of([job.clone()]).service();
        let names: HashSet<&str> = names.iter().copied().collect();
        let job = service.detach(&grace(), job.id, &names).await.unwrap();
        let kept: Vec<&str> = (job.attachments().iter())
            .map(|attachment| attachment.title.as_str())
            .collect();
        assert_eq!(kept, left, "without {names:?}");
    }
}

#[tokio::test]
async fn nothing_is_detached_outside_review() {
    let titles = HashSet::from(["a.png"]);
    for job in [
        awaiting_input(),
        requested(),
        approved_with(&["a.png"]),
        rejected(),
        failed(),
    ] {
        let house = House::of([job.clone()]);
        let shelf = house.shelf.clone();
        let refused = house.service().detach(&grace(), job.id, &titles).await;
        assert_eq!(in_the_way(&refused), Some(job.status()));
        assert_eq!(shelf.job(), job);
    }
}

#[tokio::test]
async fn removing_returns_the_job_as_it_last_was() {
    for job in [
        awaiting_input(),
        claimed(),
        retrieved(),
        approved(),
        rejected(),
        failed(),
    ] {
        let house = House::of([job.clone()]);
        house.keep(&job.attempt_folder(1).child("x"), "x").await;
        let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
        let audit = house.recorded.clone();
        let service = house.service();
        assert_eq!(service.remove(&grace(), job.id).await.unwrap(), job);
        assert!(shelf.ids().is_empty());
        assert_eq!(memory.count(), 0);
        assert_eq!(audit.actions(), [Action::Remove]);
        assert_eq!(audit.events()[0].actor, grace().by().actor);
        let again = service.remove(&grace(), job.id).await;
        assert!(matches!(again, Err(UseCaseError::NotFound)));
    }
}

#[tokio::test]
async fn a_page_tells_where_the_next_one_begins_unless_it_is_the_last() {
    let all = [another(retrieved(), 1), another(retrieved(), 2)];
    let service = House::of(all).service();
    let staff = grace();
    let listed = |limit| {
        let page = Page {
            limit: Some(limit),
            after: None,
        };
        service.jobs(&staff, &EVERY, page)
    };
    let first = listed(1).await.unwrap();
    assert_eq!(first.jobs.len(), 1);
    assert_eq!(first.next, Some(first.jobs[0].cursor()));
    let both = listed(2).await.unwrap();
    assert_eq!((both.jobs.len(), both.next), (2, None));
}

#[tokio::test]
async fn whoever_asks_for_every_job_gets_them_some_at_a_time() {
    let every: Vec<_> = (0..=250)
        .map(|number| another(retrieved(), number))
        .collect();
    let mut house = House::of([]);
    house.jobs = MockJobStore::new();
    let all = every.clone();
    house.jobs.expect_list().returning(move |filter, page| {
        assert_eq!(*filter, EVERY);
        let limit = page.limit.unwrap();
        assert!(limit <= 201, "{limit} at a time");
        let begin = page.after.map_or(0, |after| {
            1 + all.iter().position(|job| job.cursor() == after).unwrap()
        });
        Ok(all[begin..].iter().take(limit).cloned().collect())
    });
    let audit = house.recorded.clone();
    let service = house.service();
    let staff = grace();
    let pages = service.every_job(&staff, EVERY, None).await.unwrap();
    let pages: Vec<_> = pages.try_collect().await.unwrap();
    assert_eq!(pages.len(), 2);
    assert_eq!(pages.concat(), every);
    let behind = service.every_job(&staff, EVERY, Some(every[248].cursor()));
    let pages: Vec<_> = behind.await.unwrap().try_collect().await.unwrap();
    assert_eq!(pages.concat(), every[249..]);
    assert_eq!(audit.actions(), [Action::ListExports, Action::ListExports]);
}

/// Every job.
const EVERY: JobFilter = JobFilter {
    status: None,
    patient: None,
};

#[tokio::test]
async fn staff_see_every_job_and_only_what_they_asked_for() {
    let jobs = [another(retrieved(), 1), another(approved(), 2)];
    let wanted = JobFilter {
        status: Some(Status::Retrieved),
        patient: None,
    };
    let page = Page {
        limit: Some(3),
        after: None,
    };
    let mut house = House::of(jobs.clone());
    let expected = wanted.clone();
    let first = jobs[0].clone();
    house.jobs = MockJobStore::new();
    (house.jobs.expect_list())
        .withf(move |filter, asked| *filter == expected && asked.after.is_none())
        .returning(move |_, _| Ok(vec![first.clone()]));
    let service = house.service();
    let listed = service.jobs(&grace(), &wanted, page).await.unwrap();
    assert_eq!((listed.jobs, listed.next), (vec![jobs[0].clone()], None));
    assert_eq!(service.staff_job(jobs[1].id).await.unwrap(), jobs[1]);
    let unknown = service.staff_job(JobId::from_random([9; 32])).await;
    assert!(matches!(unknown, Err(UseCaseError::NotFound)));
}
