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
async fn a_source_that_gives_only_what_nobody_wants_is_no_silent_one() {
    let mut bench = Bench::of([requested()]);
    let (shelf, clock) = (bench.shelf.clone(), bench.clock.clone());
    let (_stop, mut stop) = never_stops();
    (bench.source.expect_records()).returning(move |_, _| {
        let clock = clock.clone();
        let slowly = stream::iter(1..=6).then(move |number| {
            let clock = clock.clone();
            async move {
                // Whoever watches has the time to look.
                clock.set(at(100 + number * 600));
                tokio::task::yield_now().await;
                Ok(record(&serde_json::json!({
                    "resourceType": "Observation", "id": number.to_string(),
                    "meta": {"security": [{
                        "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
                        "code": "PSYTHPN",
                    }]},
                })))
            }
        });
        Ok(slowly.boxed())
    });
    assert!(bench.worker().work(&mut stop).await.unwrap());
    let job = shelf.job();
    assert_eq!(job.status(), Status::Retrieved);
    assert_eq!(job.export().unwrap().psychotherapy_notes, 6);
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

fn away<T>() -> Result<T, StoreError> {
    Err(StoreError::unavailable("away"))
}

/// Works while time goes by, until the job is done with.
async fn works_while_time_goes_by(bench: Bench) -> Result<bool, StoreError> {
    let clock = bench.clock.clone();
    let (_stop, mut stop) = never_stops();
    let worker = bench.worker();
    let working = worker.work(&mut stop);
    let time = async {
        for second in 101.. {
            clock.set(at(second));
            tokio::task::yield_now().await;
        }
    };
    pin_mut!(working, time);
    match soon(future::select(working, time)).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => unreachable!("time does not end"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_finished_export_waits_for_a_store_that_is_away_as_long_as_its_claim_holds() {
    let mut job = requested();
    job.review = Review::Automatic;
    let mut bench = Bench::of([job]);
    (bench.source.expect_records())
        .times(1)
        .returning(|_, _| Ok(one_record()));
    // Longer than one lease: it is renewed.
    (bench.jobs.expect_update()).times(10).returning(|_| away());
    let (shelf, memory, audit) = (
        bench.shelf.clone(),
        bench.memory.clone(),
        bench.audit.clone(),
    );
    assert!(works_while_time_goes_by(bench).await.unwrap());
    let job = shelf.job();
    assert_eq!(job.status(), Status::Approved);
    assert_eq!(memory.count(), job.export().unwrap().files.len());
    assert_eq!(audit.actions(), [Action::AutoApprove]);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_may_have_been_kept_is_not_deleted_when_the_store_stays_away() {
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).returning(|_, _| Ok(one_record()));
    bench.jobs.expect_update().returning(|_| away());
    bench.jobs.expect_renew().returning(|_, _, _| away());
    let (clock, memory) = (bench.clock.clone(), bench.memory.clone());
    let given_up = works_while_time_goes_by(bench).await;
    assert!(matches!(given_up, Err(StoreError::Unavailable(_))));
    assert!(clock.now() >= at(130), "{}", clock.now());
    assert_eq!(memory.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_was_kept_without_an_answer_keeps_its_files() {
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).returning(|_, _| Ok(one_record()));
    let (shelf, memory) = (bench.shelf.clone(), bench.memory.clone());
    let kept = shelf.clone();
    bench.jobs.expect_update().times(1).returning(move |job| {
        kept.put(job.clone().next_version());
        away()
    });
    assert!(works_while_time_goes_by(bench).await.unwrap());
    let job = shelf.job();
    assert_eq!(job.status(), Status::Retrieved);
    let files = &job.export().unwrap().files;
    assert!(!files.is_empty());
    assert_eq!(memory.count(), files.len());
}
