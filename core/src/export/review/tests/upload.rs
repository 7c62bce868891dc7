//! Attaching files: all of them or none.

use super::*;
use crate::ports::{DisclosedFile, FilePath, MockFileWriter};

type Outcome = Result<ExportJob, AttachError>;

/// Uploads files as staff do: all of them, then attach.
async fn upload(service: &ExportService, files: &[(&str, &[&'static str])]) -> Outcome {
    let mut upload = service.begin_upload(retrieved().id).await?;
    for (name, chunks) in files {
        service.upload_file(&mut upload, name, "image/png").await?;
        for chunk in *chunks {
            service.upload_bytes(&mut upload, (*chunk).into()).await?;
        }
    }
    service.attach(&grace(), upload).await
}

fn titles(job: &ExportJob) -> Vec<&str> {
    (job.attachments().iter())
        .map(|attachment| attachment.title.as_str())
        .collect()
}

/// Nothing was attached and nothing stored.
fn nothing_kept(shelf: &Shelf, house_files: &crate::testkit::MemoryFiles, before: &ExportJob) {
    assert_eq!(&shelf.job(), before);
    assert_eq!(house_files.count(), 0);
}

#[tokio::test]
async fn attached_files_are_stored_and_described() {
    let house = House::of([retrieved()]);
    let (shelf, memory, audit) = (
        house.shelf.clone(),
        house.memory.clone(),
        house.recorded.clone(),
    );
    let files: [(&str, &[&str]); 2] = [("a.png", &["ab", "c"]), ("empty.txt", &[])];
    let job = upload(&house.service(), &files).await.unwrap();
    assert_eq!(job, shelf.job());
    assert_eq!(titles(&job), ["a.png", "empty.txt"]);
    let [first, second] = job.attachments() else {
        panic!("two files")
    };
    assert_eq!(
        (first.size, first.hash.as_str()),
        (3, "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")
    );
    assert_eq!(
        (first.content_type.as_str(), first.created_at),
        ("image/png", at(20))
    );
    assert_eq!(memory.text(&job.attachment_path(first)), "abc");
    assert_eq!(
        (second.size, second.hash.as_str()),
        (0, "2jmj7l5rSw0yVb/vlWAYkK/YBwk=")
    );
    assert_eq!(memory.count(), 2);
    assert_eq!(audit.actions(), [Action::Attach, Action::Attach]);
    let named: Vec<_> = (audit.events().into_iter())
        .map(|event| event.file.unwrap())
        .collect();
    let expected: Vec<_> = (job.attachments().iter())
        .map(DisclosedFile::attachment)
        .collect();
    assert_eq!(named, expected);
    assert_eq!(audit.events()[0].actor, grace().by().actor);
}

#[tokio::test]
async fn files_of_the_same_name_are_numbered_and_both_kept() {
    let house = House::of([retrieved_with(&["a.png"])]);
    let memory = house.memory.clone();
    let service = house.service();
    let job = (upload(&service, &[("a.png", &["1"]), ("a.png", &["2"])]).await).unwrap();
    assert_eq!(titles(&job), ["a.png", "1.a.png", "2.a.png"]);
    let contents = job.attachments()[1..]
        .iter()
        .map(|attachment| memory.text(&job.attachment_path(attachment)));
    assert_eq!(contents.collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test]
async fn an_upload_without_files_is_refused() {
    let house = House::of([retrieved()]);
    let audit = house.recorded.clone();
    let refused = upload(&house.service(), &[]).await;
    assert!(matches!(refused, Err(AttachError::Empty)));
    assert!(audit.events().is_empty());
}

#[tokio::test]
async fn as_many_files_and_bytes_as_allowed_are_taken() {
    let service = House::of([retrieved()]).service();
    let job = upload(&service, &[("a", &["12345"]), ("b", &["67", "890"])]).await;
    assert_eq!(job.unwrap().attachments().len(), 2);
}

#[tokio::test]
async fn too_much_is_refused_and_nothing_of_it_stored() {
    let many: &[(&str, &[&str])] = &[("a", &["1"]), ("b", &["2"]), ("c", &["3"])];
    let large: &[(&str, &[&str])] = &[("a", &["12345"]), ("b", &["67890", "1"])];
    for (files, too_many) in [(many, true), (large, false)] {
        let house = House::of([retrieved()]);
        let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
        let audit = house.recorded.clone();
        let refused = upload(&house.service(), files).await.unwrap_err();
        match refused {
            AttachError::TooMany(limit) => assert!(too_many && limit == 2),
            AttachError::TooLarge(limit) => assert!(!too_many && limit == 10),
            other => panic!("{other:?}"),
        }
        nothing_kept(&shelf, &memory, &retrieved());
        assert!(audit.events().is_empty());
    }
}

#[tokio::test]
async fn bytes_beyond_the_limit_never_reach_the_store() {
    let mut files = MockFileStore::new();
    files.expect_writer().times(1).returning(|_| {
        let mut writer = MockFileWriter::new();
        writer.expect_write().never();
        writer.expect_finish().never();
        Ok(Box::new(writer))
    });
    let mut house = House::of([retrieved()]);
    house.files = Arc::new(files);
    let refused = upload(&house.service(), &[("a", &["12345678901"])]).await;
    assert!(matches!(refused, Err(AttachError::TooLarge(10))));
}

#[tokio::test]
async fn a_name_that_is_none_is_refused() {
    for name in ["", "..", "a/b.png", "a\r\nSet-Cookie: x"] {
        let house = House::of([retrieved()]);
        let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
        let refused = upload(&house.service(), &[("good.png", &["1"]), (name, &["2"])]).await;
        assert!(matches!(refused, Err(AttachError::Name(_))), "{name}");
        nothing_kept(&shelf, &memory, &retrieved());
    }
}

#[tokio::test]
async fn nothing_is_uploaded_outside_review() {
    for job in [
        awaiting_input(),
        requested(),
        approved(),
        rejected(),
        failed(),
    ] {
        let refused = (House::of([job.clone()]).service().begin_upload(job.id)).await;
        assert_eq!(in_the_way(&refused), Some(job.status()));
    }
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_nothing() {
    let house = House::of([retrieved()]);
    let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
    let service = house.service();
    let mut half = service.begin_upload(retrieved().id).await.unwrap();
    (service.upload_file(&mut half, "a", "x/y").await).unwrap();
    (service.upload_bytes(&mut half, "abc".into()).await).unwrap();
    drop(half);
    nothing_kept(&shelf, &memory, &retrieved());
}

/// A file store that takes `good` files and fails to finish the next, and asserts that what it
/// finished is deleted again.
fn failing_after(good: usize) -> (MockFileStore, Arc<std::sync::Mutex<Vec<FilePath>>>) {
    let mut files = MockFileStore::new();
    let finished: Arc<std::sync::Mutex<Vec<FilePath>>> = Arc::default();
    let mut begun = 0;
    let keep = finished.clone();
    files.expect_writer().returning(move |path| {
        let (path, works, keep) = (path.clone(), begun < good, keep.clone());
        begun += 1;
        let mut writer = MockFileWriter::new();
        writer.expect_write().returning(|_| Ok(()));
        writer.expect_finish().returning(move || {
            if works {
                keep.lock().unwrap().push(path.clone());
                Ok(())
            } else {
                Err(FileError::Full("no space".into()))
            }
        });
        Ok(Box::new(writer))
    });
    let gone = finished.clone();
    files.expect_delete_prefix().returning(move |folder| {
        gone.lock().unwrap().retain(|path| !path.is_below(folder));
        Ok(())
    });
    (files, finished)
}

#[tokio::test]
async fn a_file_that_cannot_be_finished_takes_the_others_back() {
    let (files, finished) = failing_after(1);
    let mut house = House::of([retrieved()]);
    house.files = Arc::new(files);
    let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
    let refused = upload(&house.service(), &[("a", &["1"]), ("b", &["2"])]).await;
    let Err(AttachError::UseCase(UseCaseError::Full(_))) = refused else {
        panic!("{refused:?}")
    };
    assert!(finished.lock().unwrap().is_empty());
    assert_eq!(shelf.job(), retrieved());
    assert!(audit.events().is_empty());
}

#[tokio::test]
async fn files_for_a_job_that_moved_on_meanwhile_are_deleted_again() {
    type Meanwhile = fn(&Shelf);
    let cases: [(Meanwhile, Option<Status>); 2] = [
        (|shelf| drop(shelf.take(retrieved().id)), None),
        (
            |shelf| shelf.overtake(|job| job.approve(at(19)).unwrap()),
            Some(Status::Approved),
        ),
    ];
    for (meanwhile, in_the_way_then) in cases {
        let house = House::of([retrieved()]);
        let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
        let service = house.service();
        let mut begun = service.begin_upload(retrieved().id).await.unwrap();
        (service.upload_file(&mut begun, "a", "x/y").await).unwrap();
        (service.upload_bytes(&mut begun, "abc".into()).await).unwrap();
        meanwhile(&shelf);
        let refused = service.attach(&grace(), begun).await.unwrap_err();
        let AttachError::UseCase(error) = refused else {
            panic!("{refused:?}")
        };
        match in_the_way_then {
            None => assert!(matches!(error, UseCaseError::NotFound)),
            some => assert_eq!(in_the_way::<()>(&Err(error)), some),
        }
        assert_eq!(memory.count(), 0);
    }
}

#[tokio::test]
async fn without_an_audit_entry_nothing_is_attached() {
    let house = House::of([retrieved()]).without_audit();
    let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
    let refused = upload(&house.service(), &[("a", &["1"])]).await;
    assert!(matches!(
        refused,
        Err(AttachError::UseCase(UseCaseError::Unavailable(_)))
    ));
    nothing_kept(&shelf, &memory, &retrieved());
}

#[tokio::test]
async fn files_that_may_be_attached_are_not_deleted_when_the_store_does_not_say() {
    for attached in [true, false] {
        let mut house = House::of([retrieved()]);
        let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
        let behind = shelf.clone();
        house.jobs.expect_update().times(1).returning(move |job| {
            if attached {
                behind.put(job.clone().next_version());
            }
            Err(StoreError::unavailable("the answer was lost"))
        });
        let service = house.service();
        let refused = upload(&service, &[("a", &["1"])]).await;
        assert!(matches!(
            refused,
            Err(AttachError::UseCase(UseCaseError::Unavailable(_)))
        ));
        assert_eq!(memory.count(), 1);

        // Whether the job has them, the sweep finds out when nobody can be about to say so.
        let job = shelf.job();
        for (second, left) in [(20, 1), (3_619, 1), (3_620, usize::from(attached))] {
            let waiting = service.sweep_strays(&job, at(second)).await.unwrap();
            assert_eq!(memory.count(), left, "after {second} s");
            assert_eq!(waiting, usize::from(!attached && left == 1));
        }
    }
}

#[tokio::test]
async fn two_uploads_at_once_both_arrive() {
    let mut house = House::of([retrieved()]);
    let (shelf, memory) = (house.shelf.clone(), house.memory.clone());
    let overtaken = shelf.clone();
    house.jobs.expect_update().times(1).returning(move |_| {
        overtaken.overtake(|job| job.attach(vec![attachment("a", 1)]).unwrap());
        Err(StoreError::Conflict)
    });
    let job = (upload(&house.service(), &[("a", &["1"])]).await).unwrap();
    assert_eq!(titles(&job), ["a", "1.a"]);
    assert_eq!(memory.count(), 1, "and its file stays");
}
