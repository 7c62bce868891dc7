//! When files are taken for those of the jobs.

use super::*;
use crate::export::fixture::*;
use crate::ports::MockJobStore;
use crate::testkit::MemoryFiles;

/// These jobs, known by this number, beside these files.
fn deployment_of(number: u8, shelf: &Shelf, files: &Arc<MemoryFiles>) -> Deployment {
    let mut jobs = MockJobStore::new();
    let id = DeploymentId::from_random([number; 32]);
    jobs.expect_deployment().returning(move |_| Ok(id));
    Deployment {
        jobs: Arc::new(shelf.behind(jobs)),
        files: files.clone(),
        new: id,
    }
}

async fn keep(files: &MemoryFiles, path: &FilePath) {
    let writer = files.writer(path).await.unwrap();
    writer.finish().await.unwrap();
}

#[tokio::test]
async fn a_new_place_for_files_belongs_to_whoever_comes_first() {
    let (shelf, files) = (Shelf::default(), Arc::new(MemoryFiles::default()));
    // What else lies there is no matter.
    keep(&files, &FilePath::parse("lost-and-found/x").unwrap()).await;
    let first = deployment_of(1, &shelf, &files);
    assert!(!first.is_whole().await.unwrap());
    first.join().await.unwrap();
    assert!(first.is_whole().await.unwrap());
    first.join().await.unwrap();
    let other = deployment_of(2, &shelf, &files);
    let refused = other.join().await;
    assert!(
        matches!(refused, Err(DeploymentError::OfOthers)),
        "{refused:?}"
    );
    assert!(first.is_whole().await.unwrap() && !other.is_whole().await.unwrap());
}

#[tokio::test]
async fn files_of_an_older_version_belong_to_the_jobs_that_have_one_of_them() {
    let files = Arc::new(MemoryFiles::default());
    for number in 0..5 {
        keep(&files, &another(approved(), number).folder().child("x")).await;
    }
    let stranger = deployment_of(1, &Shelf::of([another(approved(), 9)]), &files);
    let refused = stranger.join().await;
    assert!(
        matches!(refused, Err(DeploymentError::Unknown)),
        "{refused:?}"
    );
    let owner = deployment_of(2, &Shelf::of([another(approved(), 3)]), &files);
    owner.join().await.unwrap();
    assert!(owner.is_whole().await.unwrap());
}

#[tokio::test]
async fn whoever_adopts_files_has_them() {
    let (shelf, files) = (Shelf::default(), Arc::new(MemoryFiles::default()));
    keep(&files, &approved().folder().child("x")).await;
    deployment_of(1, &shelf, &files).adopt().await.unwrap();
    deployment_of(2, &shelf, &files).adopt().await.unwrap();
    deployment_of(2, &shelf, &files).join().await.unwrap();
    assert!(deployment_of(1, &shelf, &files).join().await.is_err());
}
