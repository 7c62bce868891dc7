//! When files are taken for those of the jobs.

use std::sync::Mutex;

use super::*;
use crate::export::ExportJob;
use crate::export::fixture::*;
use crate::ports::MockJobStore;
use crate::testkit::MemoryFiles;

/// Jobs, and the name they have or will have.
#[derive(Default, Clone)]
struct Database {
    shelf: Shelf,
    name: Arc<Mutex<Option<DeploymentId>>>,
}

impl Database {
    fn of(jobs: impl IntoIterator<Item = ExportJob>) -> Self {
        Self {
            shelf: Shelf::of(jobs),
            ..Self::default()
        }
    }

    fn named(self, number: u8) -> Self {
        *self.name.lock().unwrap() = Some(id(number));
        self
    }

    fn mock(&self) -> MockJobStore {
        let mut jobs = MockJobStore::new();
        let name = self.name.clone();
        (jobs.expect_deployment()).returning(move || Ok(*name.lock().unwrap()));
        let name = self.name.clone();
        (jobs.expect_name_deployment())
            .returning(move |new| Ok(*name.lock().unwrap().get_or_insert(new)));
        jobs
    }

    /// Beside these files; it is named by this number where it has no name.
    fn beside(&self, files: &Arc<MemoryFiles>, number: u8) -> Deployment {
        self.with(self.mock(), files, number)
    }

    fn with(&self, jobs: MockJobStore, files: &Arc<MemoryFiles>, number: u8) -> Deployment {
        Deployment {
            jobs: Arc::new(self.shelf.behind(jobs)),
            files: files.clone(),
            new: id(number),
        }
    }
}

fn id(number: u8) -> DeploymentId {
    DeploymentId::from_random([number; 32])
}

fn files() -> Arc<MemoryFiles> {
    Arc::default()
}

/// A place with files of these.
async fn files_of(jobs: &[ExportJob]) -> Arc<MemoryFiles> {
    let files = files();
    for job in jobs {
        keep(&files, &job.folder().child("x")).await;
    }
    files
}

async fn keep(files: &MemoryFiles, path: &FilePath) {
    let writer = files.writer(path).await.unwrap();
    writer.finish().await.unwrap();
}

async fn is_whole(deployment: &Deployment) -> bool {
    let (jobs, files) = (&*deployment.jobs, &*deployment.files);
    belong_together(jobs, files).await.unwrap()
}

#[track_caller]
fn assert_unknown(refused: &Result<(), DeploymentError>) {
    assert!(
        matches!(refused, Err(DeploymentError::Unknown)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_new_place_for_files_belongs_to_whoever_comes_first() {
    let files = files();
    // What else lies there is no matter.
    keep(&files, &FilePath::parse("lost-and-found/x").unwrap()).await;
    let first = Database::default().beside(&files, 1);
    assert!(!is_whole(&first).await);
    first.join().await.unwrap();
    assert!(is_whole(&first).await);
    first.join().await.unwrap();
    let other = Database::default().beside(&files, 2);
    let refused = other.join().await;
    assert!(
        matches!(refused, Err(DeploymentError::OfOthers)),
        "{refused:?}"
    );
    assert!(is_whole(&first).await && !is_whole(&other).await);
    assert_eq!(files.count(), 2, "nothing is left of the claim");
}

#[tokio::test]
async fn an_empty_place_is_not_that_of_a_database_that_has_one() {
    let (database, here) = (Database::default(), files());
    database.beside(&here, 1).join().await.unwrap();
    // A disk that is not mounted, or a worker with a folder of its own: before the first export
    // too, and whatever it would call itself.
    let elsewhere = files();
    for _ in 0..2 {
        assert_unknown(&database.beside(&elsewhere, 2).join().await);
        assert_eq!(elsewhere.count(), 0);
    }
    database.beside(&here, 2).join().await.unwrap();
    // Its operator knows better.
    database.beside(&elsewhere, 2).adopt().await.unwrap();
    database.beside(&elsewhere, 2).join().await.unwrap();
}

#[tokio::test]
async fn an_empty_place_is_not_that_of_an_older_version_that_has_exports() {
    for (job, refused) in [
        (retrieved(), true),
        (approved(), true),
        (requested(), false),
        (rejected(), false),
    ] {
        let files = files();
        let database = Database::of([job.clone()]);
        // A shelf does not look at the filter.
        let mut jobs = database.mock();
        (jobs.expect_list()).returning(move |filter, page| {
            assert_eq!(page.limit, Some(1));
            let matches = filter.status == Some(job.status());
            Ok(matches.then(|| job.clone()).into_iter().collect())
        });
        let joined = database.with(jobs, &files, 1).join().await;
        if refused {
            assert_unknown(&joined);
        } else {
            joined.unwrap();
        }
    }
}

#[tokio::test]
async fn of_two_that_begin_at_once_both_stay_where_they_share_a_place_and_one_where_they_do_not() {
    for shared in [true, false] {
        let (database, here) = (Database::default(), files());
        let there = if shared { here.clone() } else { files() };
        // The other one looks and is named before the first one gets to it.
        let other = Arc::new(database.beside(&there, 2));
        let mut jobs = MockJobStore::new();
        jobs.expect_deployment().returning(|| Ok(None));
        let name = database.name.clone();
        (jobs.expect_name_deployment())
            .returning(move |new| Ok(*name.lock().unwrap().get_or_insert(new)));
        let first = database.with(jobs, &here, 1);
        other.join().await.unwrap();
        if shared {
            // It looked before the other one wrote anything.
            here.delete_prefix(&FilePath::parse("deployment/id").unwrap())
                .await
                .unwrap();
            keep(&here, &claim(id(2)).child("claim")).await;
            first.join().await.unwrap();
        } else {
            assert_unknown(&first.join().await);
            assert_eq!(here.count(), 0, "it takes its claim back");
        }
        other.join().await.unwrap();
    }
}

#[tokio::test]
async fn a_first_start_that_was_killed_is_made_up_for_by_the_next() {
    // Before the jobs were named.
    let (database, here) = (Database::default(), files());
    keep(&here, &claim(id(1)).child("claim")).await;
    database.beside(&here, 2).join().await.unwrap();
    assert!(is_whole(&database.beside(&here, 3)).await);
    // Between that and the file.
    let (database, here) = (Database::default().named(1), files());
    keep(&here, &claim(id(1)).child("claim")).await;
    database.beside(&here, 2).join().await.unwrap();
    assert!(is_whole(&database.beside(&here, 3)).await);
}

#[tokio::test]
async fn files_of_an_older_version_belong_to_the_jobs_that_have_one_of_them() {
    let there = [0, 1, 2, 3, 4].map(|number| another(approved(), number));
    let files = files_of(&there).await;
    let stranger = Database::of([another(approved(), 9)]);
    assert_unknown(&stranger.beside(&files, 1).join().await);
    assert_unknown(&stranger.named(1).beside(&files, 1).join().await);
    let owner = Database::of([another(approved(), 3)]);
    owner.beside(&files, 2).join().await.unwrap();
    assert!(is_whole(&owner.beside(&files, 2)).await);
}

#[tokio::test]
async fn a_job_that_cannot_be_read_keeps_nobody_from_starting() {
    let files = files_of(&[approved()]).await;
    let database = Database::of([approved()]);
    let mut jobs = database.mock();
    (jobs.expect_get()).returning(|_| Err(StoreError::unreadable("of a later version")));
    database.with(jobs, &files, 1).join().await.unwrap();
}

#[tokio::test]
async fn whoever_adopts_files_has_them_and_those_that_nobody_knows_go() {
    let (known, unknown) = (approved(), [1, 2].map(|number| another(approved(), number)));
    let files = files_of(&[&unknown[..], std::slice::from_ref(&known)].concat()).await;
    let (first, second) = (Database::default(), Database::of([known]));
    assert_eq!(first.beside(&files, 1).adopt().await.unwrap(), 3);
    assert_eq!(second.beside(&files, 2).adopt().await.unwrap(), 2);
    let mut ids = unknown.map(|job| job.id);
    ids.sort();
    assert_eq!(second.shelf.removed(), ids);
    second.beside(&files, 3).join().await.unwrap();
    assert!(first.beside(&files, 1).join().await.is_err());
}

#[tokio::test]
async fn what_jobs_in_memory_left_goes_when_others_begin_in_their_place() {
    let files = files();
    let begin = async |database: &Database| {
        let deployment = Deployment {
            new: DeploymentId::IN_MEMORY,
            ..database.beside(&files, 1)
        };
        deployment.join().await
    };
    begin(&Database::default()).await.unwrap();
    keep(&files, &approved().folder().child("x")).await;
    let next = Database::default();
    begin(&next).await.unwrap();
    assert_eq!(next.shelf.removed(), [approved().id]);
}
