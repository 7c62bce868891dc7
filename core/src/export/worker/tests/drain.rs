//! Workers that have to end, and what becomes of the exports they run.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_stopped_gives_its_job_back() {
    let (begun, mut running) = mpsc::unbounded_channel();
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).returning(move |_, _| Ok(endless(begun.clone())));
    let (shelf, memory) = (bench.shelf.clone(), bench.memory.clone());
    beside(bench.worker(), async {
        running.recv().await.unwrap();
        keep(&memory, &requested().attempt_folder(1)).await;
    })
    .await;
    let job = shelf.job();
    assert_eq!(job.status(), Status::Requested);
    assert!(
        job.current_claim().is_none() && job.is_claimable(at(100)),
        "at once"
    );
    assert_eq!(memory.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_to_finish_brings_its_export_to_an_end_and_takes_no_other() {
    let (begun, mut running) = mpsc::unbounded_channel();
    let (finish, finished) = oneshot::channel::<()>();
    let mut bench = Bench::of([requested(), another(requested(), 9)]);
    (bench.source.expect_records()).return_once(move |_, _| {
        let rest = stream::once(async move {
            begun.send(()).unwrap();
            finished.await.unwrap();
            Ok(patient_record())
        });
        Ok(rest.boxed())
    });
    let shelf = bench.shelf.clone();
    let worker = bench.worker();
    let (duty, told) = never_stops();
    let story = async {
        running.recv().await.unwrap();
        duty.send_replace(Duty::Finish);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        finish.send(()).unwrap();
    };
    soon(future::join(worker.run(told), story)).await;
    let ids = shelf.ids().into_iter();
    let mut states: Vec<_> = ids.map(|id| shelf.get(id).unwrap().status()).collect();
    states.sort_by_key(|status| status.as_str());
    assert_eq!(states, [Status::Requested, Status::Retrieved]);
}

#[tokio::test(start_paused = true)]
async fn however_often_an_export_is_given_back_it_is_not_given_up() {
    let mut job = requested();
    for attempt in 1..=9 {
        job.claim(&WorkerId("stops".into()), at(0), at(60)).unwrap();
        assert_eq!(job.current_claim().unwrap().attempt, attempt);
        job.release(at(0)).unwrap();
    }
    let mut bench = Bench::of([job]);
    bench.source.expect_records().times(2).returning(|_, _| {
        let down = RecordError::Source(SourceError::unavailable("down"));
        Ok(stream::iter([Err(down)]).boxed())
    });
    let (shelf, clock) = (bench.shelf.clone(), bench.clock.clone());
    let worker = bench.worker();
    let (_stop, mut stop) = never_stops();
    for pause in [10, 20] {
        assert!(worker.work(&mut stop).await.unwrap());
        let now = clock.now();
        let (job, early) = (shelf.job(), now + SignedDuration::from_secs(pause - 1));
        assert_eq!(job.status(), Status::Requested);
        assert!(!job.is_claimable(early), "it waits longer from try to try");
        clock.set(now + SignedDuration::from_secs(pause));
    }
}
