//! Sources and workers that break down in ways nobody planned.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_fails_its_attempt_and_not_the_worker() {
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).returning(|_, _| panic!("a bug in the integrator's source"));
    let shelf = bench.shelf.clone();
    let (_stop, mut stop) = never_stops();
    assert!(bench.worker().work(&mut stop).await.unwrap());
    let job = shelf.job();
    assert_eq!(job.status(), Status::Requested);
    assert!(job.current_claim().is_none() && job.is_claimable(at(110)));
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_workers_die_one_after_the_other_is_given_up() {
    let mut job = requested();
    for attempt in 0..3 {
        let since = attempt * 60;
        job.claim(&WorkerId("dies".into()), at(since), at(since + 60))
            .unwrap();
    }
    let mut bench = Bench::of([job]);
    bench.clock.set(at(1_000));
    bench.source.expect_records().never();
    let shelf = bench.shelf.clone();
    let (_stop, mut stop) = never_stops();
    assert!(bench.worker().work(&mut stop).await.unwrap());
    assert_eq!(shelf.job().status(), Status::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_fails_its_attempt() {
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).returning(|_, _| Ok(stream::pending().boxed()));
    let (shelf, clock) = (bench.shelf.clone(), bench.clock.clone());
    let (_stop, mut stop) = never_stops();
    let worker = bench.worker();
    let working = worker.work(&mut stop);
    let time = async {
        let mut now = 100;
        loop {
            now += 5;
            clock.set(at(now));
            tokio::task::yield_now().await;
        }
    };
    pin_mut!(working, time);
    soon(future::select(working, time)).await;
    let job = shelf.job();
    assert_eq!(job.status(), Status::Requested);
    assert!(job.current_claim().is_none(), "the attempt came to its end");
}

#[tokio::test(start_paused = true)]
async fn what_another_attempt_cannot_mend_is_given_up_at_once() {
    for error in [
        || SourceError::NotFound,
        || SourceError::Broken("nonsense".into()),
    ] {
        let mut bench = Bench::of([requested()]);
        (bench.source.expect_records()).returning(move |_, _| Err(error()));
        let shelf = bench.shelf.clone();
        let (_stop, mut stop) = never_stops();
        bench.worker().work(&mut stop).await.unwrap();
        assert_eq!(shelf.job().status(), Status::Failed);
    }
}
