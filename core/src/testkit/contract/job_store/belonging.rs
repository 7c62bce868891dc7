//! Which files belong to the jobs, and which have to go.

use std::collections::HashSet;

use futures::future::join_all;

use super::{Store, waiting};
use crate::export::{DeploymentId, JobId};
use crate::ports::StoreError;
use crate::testkit::at;

pub async fn a_deployment_is_named_once(store: Store) {
    assert_eq!(store.deployment().await.unwrap(), None);
    let names = (0..8).map(|number| {
        let store = store.clone();
        let new = DeploymentId::from_random([number; 32]);
        tokio::spawn(async move { store.name_deployment(new).await.unwrap() })
    });
    let names: Vec<_> = join_all(names)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let first = names[0];
    assert!(names.iter().all(|name| *name == first), "{names:?}");
    let later = DeploymentId::from_random([9; 32]);
    assert_eq!(store.name_deployment(later).await.unwrap(), first);
    assert_eq!(store.deployment().await.unwrap(), Some(first));
}

/// Every removed job, a few at a time.
async fn removed(store: &Store) -> HashSet<JobId> {
    let mut all = Vec::new();
    loop {
        let page = store.removed(all.last().copied(), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let found: HashSet<JobId> = all.iter().copied().collect();
    assert_eq!(found.len(), all.len(), "one came twice: {all:?}");
    found
}

pub async fn a_removed_job_is_remembered_until_its_files_are_gone(store: Store) {
    let mut jobs = Vec::new();
    for number in 0..5 {
        let job = waiting(number, 0);
        store.insert(&job).await.unwrap();
        jobs.push(job);
    }
    assert!(removed(&store).await.is_empty());
    let (stays, go) = jobs.split_first().unwrap();
    for job in go {
        store.remove(job).await.unwrap();
    }
    let ids: HashSet<JobId> = go.iter().map(|job| job.id).collect();
    assert_eq!(removed(&store).await, ids);
    // Whoever does not get to remove it has nothing go.
    let mut newer = stays.clone();
    newer.give_up("no", at(1)).unwrap();
    store.update(&newer).await.unwrap();
    let late = store.remove(stays).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    assert_eq!(removed(&store).await, ids);

    store.forget(&[go[0].id, go[1].id, stays.id]).await.unwrap();
    let left: HashSet<JobId> = go[2..].iter().map(|job| job.id).collect();
    assert_eq!(removed(&store).await, left);
    assert!(store.get(stays.id).await.unwrap().is_some());
}

pub async fn what_nobody_knows_can_be_disowned_and_nothing_else(store: Store) {
    let (known, gone) = (waiting(1, 0), waiting(2, 0));
    for job in [&known, &gone] {
        store.insert(job).await.unwrap();
    }
    store.remove(&gone).await.unwrap();
    let unknown = waiting(3, 0).id;
    let all = [known.id, gone.id, unknown];
    assert_eq!(store.disown(&all).await.unwrap(), 2);
    assert_eq!(removed(&store).await, HashSet::from([gone.id, unknown]));
    assert_eq!(store.disown(&all).await.unwrap(), 2, "they are still here");
    store.forget(&all).await.unwrap();
    assert!(removed(&store).await.is_empty());
    assert_eq!(store.disown(&[]).await.unwrap(), 0);
}
