//! What a worker promises about the jobs it takes.

mod drain;
mod faults;

use futures::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::*;
use crate::export::fixture::*;
use crate::export::{ExportLimits, JobState, Progress, Review, Rules};
use crate::fhir::Record;
use crate::ports::{
    FileError, FileStore, MockFileStore, MockJobStore, MockRecordSource, RecordError, RecordStream,
    SourceError,
};
use crate::testkit::{FixedClock, MemoryFiles, RecordedAudit, SeededEntropy, at, record};

/// A worker and everything a test needs to watch it.
struct Bench {
    shelf: Shelf,
    jobs: MockJobStore,
    memory: Arc<MemoryFiles>,
    files: Arc<dyn FileStore>,
    source: MockRecordSource,
    clock: Arc<FixedClock>,
    audit: Arc<RecordedAudit>,
}

impl Bench {
    fn of(jobs: impl IntoIterator<Item = ExportJob>) -> Self {
        let memory = Arc::new(MemoryFiles::default());
        Self {
            shelf: Shelf::of(jobs),
            jobs: MockJobStore::new(),
            files: memory.clone(),
            memory,
            source: MockRecordSource::new(),
            clock: Arc::new(FixedClock::at(at(100))),
            audit: Arc::new(RecordedAudit::default()),
        }
    }

    fn worker(self) -> Worker {
        let mut source = self.source;
        source
            .expect_documents()
            .returning(|_, _| Ok(stream::empty().boxed()));
        Worker {
            id: WorkerId("worker-1".into()),
            jobs: Arc::new(self.shelf.behind(self.jobs)),
            audit: self.audit,
            exporter: Exporter {
                source: Arc::new(source),
                files: self.files,
                clock: self.clock,
                entropy: Arc::new(SeededEntropy::default()),
                links: links(),
                rules: Rules::standard(),
                limits: ExportLimits::default(),
            },
            settings: WorkerSettings {
                lease: Duration::from_secs(30),
                heartbeat: Duration::from_secs(5),
                stall: SignedDuration::from_mins(15),
                poll: Duration::from_secs(7),
                patience: Patience {
                    attempts: 3,
                    pause: Duration::from_secs(10),
                },
            },
        }
    }
}

/// One Patient.
fn patient_record() -> Record {
    record(&serde_json::json!({"resourceType": "Patient", "id": "p-1"}))
}

fn one_record() -> RecordStream {
    stream::iter([Ok(patient_record())]).boxed()
}

/// A record, and then nothing for ever. Tells `begun` when it is waited for.
fn endless(begun: mpsc::UnboundedSender<()>) -> RecordStream {
    let waiting = stream::once(async move {
        begun.send(()).unwrap();
        future::pending().await
    });
    stream::iter([Ok(patient_record())]).chain(waiting).boxed()
}

fn never_stops() -> (watch::Sender<Duty>, watch::Receiver<Duty>) {
    watch::channel(Duty::Work)
}

/// Waits for what the worker should do; on the paused clock of a test this takes no time, and a
/// worker that stands still fails the test instead of hanging it.
async fn soon<T>(condition: impl Future<Output = T>) -> T {
    (timeout(Duration::from_secs(5), condition).await).expect("the worker stands still")
}

/// Runs the worker beside `story` and stops it afterwards.
async fn beside(worker: Worker, story: impl Future<Output = ()>) {
    let (stop, stopped) = never_stops();
    let story = async {
        story.await;
        stop.send_replace(Duty::Stop);
    };
    soon(future::join(worker.run(stopped), story)).await;
}

/// Waits until the shelf holds a job like this.
async fn until(shelf: &Shelf, mut like: impl FnMut(&ExportJob) -> bool) -> ExportJob {
    let mut changes = shelf.watch();
    soon(async {
        loop {
            let job = shelf.job();
            if like(&job) {
                return job;
            }
            changes.changed().await.unwrap();
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_requested_export_is_retrieved_and_waits_for_review() {
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).returning(|_, _| Ok(one_record()));
    let (shelf, memory) = (bench.shelf.clone(), bench.memory.clone());
    let worker = bench.worker();
    let (_stop, mut stop) = never_stops();
    assert!(worker.work(&mut stop).await.unwrap());
    let job = shelf.job();
    assert_eq!(job.status(), Status::Retrieved);
    let export = job.export().unwrap();
    assert_eq!(
        (export.attempt, export.files.len(), export.files[0].count),
        (1, 1, 1)
    );
    let path = job.file_path(export, &export.files[0]);
    assert_eq!(memory.text(&path).lines().count(), 1);
    assert!(!worker.work(&mut stop).await.unwrap(), "the queue is empty");
}

#[tokio::test(start_paused = true)]
async fn an_export_without_review_is_released_at_once_and_that_is_remembered() {
    let mut job = requested();
    job.review = Review::Automatic;
    let mut bench = Bench::of([job]);
    (bench.source.expect_records()).returning(|_, _| Ok(one_record()));
    let (shelf, audit) = (bench.shelf.clone(), bench.audit.clone());
    let (_stop, mut stop) = never_stops();
    bench.worker().work(&mut stop).await.unwrap();
    assert_eq!(shelf.job().status(), Status::Approved);
    assert_eq!(audit.actions(), [Action::AutoApprove]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_export_is_tried_again_later_and_given_up_at_last() {
    let secret = "password=hunter2 at /var/ehr";
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).returning(move |_, _| {
        let down = RecordError::Source(SourceError::unavailable(secret));
        Ok(stream::iter([Ok(patient_record()), Err(down)]).boxed())
    });
    let (shelf, memory, clock) = (
        bench.shelf.clone(),
        bench.memory.clone(),
        bench.clock.clone(),
    );
    let worker = bench.worker();
    let (_stop, mut stop) = never_stops();
    let mut now = 100;
    for pause in [10, 20] {
        assert!(worker.work(&mut stop).await.unwrap());
        let job = shelf.job();
        assert_eq!(job.status(), Status::Requested);
        assert!(job.current_claim().is_none());
        assert_eq!(memory.count(), 0, "a failed attempt leaves no files");
        clock.set(at(now + pause - 1));
        assert!(
            !worker.work(&mut stop).await.unwrap(),
            "not before its time"
        );
        now += pause;
        clock.set(at(now));
    }
    assert!(worker.work(&mut stop).await.unwrap());
    let job = shelf.job();
    let JobState::Failed { reason, at: when } = job.state() else {
        panic!("{job:?}")
    };
    assert_eq!(*when, at(now));
    assert!(!reason.is_empty());
    for word in ["hunter2", "password", "/var/ehr", "unavailable"] {
        assert!(!reason.contains(word), "{reason}");
    }
    assert!(!worker.work(&mut stop).await.unwrap(), "that was the end");
}

#[tokio::test(start_paused = true)]
async fn what_a_broken_source_or_full_disk_says_stays_with_the_operator() {
    for error in [
        ExportError::Source(SourceError::Broken("patient Ada Crane: HIV".into())),
        ExportError::Source(SourceError::NotFound),
        ExportError::Files(FileError::Full("s3://bucket-17 quota".into())),
    ] {
        let told = reason(&error);
        assert!(!told.contains("Ada") && !told.contains("bucket") && !told.is_empty());
    }
    let full = reason(&ExportError::Files(FileError::Full("no space".into())));
    assert!(full.contains("no room left"), "{full}");
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_stored_fail_the_attempt() {
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).returning(|_, _| Ok(one_record()));
    let mut files = MockFileStore::new();
    files
        .expect_writer()
        .returning(|_| Err(FileError::Full("no space".into())));
    let mine = requested().attempt_folder(1);
    (files.expect_delete_prefix())
        .withf(move |folder| *folder == mine)
        .returning(|_| Ok(()));
    bench.files = Arc::new(files);
    let shelf = bench.shelf.clone();
    let (_stop, mut stop) = never_stops();
    bench.worker().work(&mut stop).await.unwrap();
    let job = shelf.job();
    assert_eq!(
        (job.status(), job.is_claimable(at(109))),
        (Status::Requested, false)
    );
    assert!(job.is_claimable(at(110)));
}

#[tokio::test(start_paused = true)]
async fn a_running_export_renews_its_lease_and_reports_its_progress() {
    let (begun, mut running) = mpsc::unbounded_channel();
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).returning(move |_, _| Ok(endless(begun.clone())));
    let (shelf, clock) = (bench.shelf.clone(), bench.clock.clone());
    beside(bench.worker(), async {
        running.recv().await.unwrap();
        for now in [105, 110] {
            clock.set(at(now));
            let renewed = until(&shelf, |job| {
                job.current_claim().unwrap().until == at(now + 30)
            });
            let JobState::Requested { progress, .. } = renewed.await.state().clone() else {
                panic!()
            };
            let Progress { resources, bytes } = progress;
            assert!(resources == 1 && bytes > 0);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lost_its_lease_stops_and_deletes_its_own_files_alone() {
    let (begun, mut running) = mpsc::unbounded_channel();
    let mut bench = Bench::of([requested()]);
    let first = begun.clone();
    (bench.source.expect_records()).returning(move |_, _| Ok(endless(first.clone())));
    let (shelf, memory, clock) = (
        bench.shelf.clone(),
        bench.memory.clone(),
        bench.clock.clone(),
    );
    let id = requested().id;
    let worker = bench.worker();
    let (_stop, mut stop) = never_stops();
    let story = async {
        running.recv().await.unwrap();
        keep(&memory, &requested().attempt_folder(1)).await;
        // The lease ran out while nobody could be told, and another worker took the job.
        let mut job = shelf.get(id).unwrap();
        job.claim(&WorkerId("worker-2".into()), at(130), at(160))
            .unwrap();
        shelf.put(job.next_version());
        keep(&memory, &requested().attempt_folder(2)).await;
        let theirs = shelf.job();
        clock.set(at(131));
        theirs
    };
    let (done, theirs) = soon(future::join(worker.work(&mut stop), story)).await;
    assert!(done.unwrap());
    assert_eq!(shelf.job(), theirs, "the other worker's claim stands");
    let left = memory.list(&requested().folder()).await.unwrap();
    assert_eq!(left, [requested().attempt_folder(2).child("x")]);
}

async fn keep(memory: &MemoryFiles, folder: &crate::ports::FilePath) {
    let mut writer = memory.writer(&folder.child("x")).await.unwrap();
    writer.write("x".into()).await.unwrap();
    writer.finish().await.unwrap();
}

/// What happens to a job behind a running worker's back.
type Meanwhile = fn(&Shelf);

#[tokio::test(start_paused = true)]
async fn an_export_whose_job_is_over_stops_and_leaves_nothing() {
    let cases: [Meanwhile; 2] = [
        |shelf| drop(shelf.take(requested().id)),
        |shelf| shelf.overtake(|job| job.reject(None, at(101)).unwrap()),
    ];
    for meanwhile in cases {
        let (begun, mut running) = mpsc::unbounded_channel();
        let mut bench = Bench::of([requested()]);
        (bench.source.expect_records()).returning(move |_, _| Ok(endless(begun.clone())));
        let (shelf, memory) = (bench.shelf.clone(), bench.memory.clone());
        let clock = bench.clock.clone();
        let worker = bench.worker();
        let (_stop, mut stop) = never_stops();
        let story = async {
            running.recv().await.unwrap();
            meanwhile(&shelf);
            let after = shelf.get(requested().id);
            // Finished just before the worker learns of it.
            keep(&memory, &requested().attempt_folder(1)).await;
            keep(&memory, &requested().folder().child("attachments")).await;
            clock.set(at(105));
            after
        };
        let (done, after) = soon(future::join(worker.work(&mut stop), story)).await;
        assert!(done.unwrap());
        assert_eq!(shelf.get(requested().id), after);
        assert_eq!(memory.count(), 0, "nobody else would ever delete these");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_removed_in_the_last_moment_leaves_nothing_either() {
    let mut bench = Bench::of([requested()]);
    let (shelf, memory) = (bench.shelf.clone(), bench.memory.clone());
    let removed = shelf.clone();
    (bench.source.expect_records()).returning(|_, _| Ok(one_record()));
    (bench.source.expect_documents()).returning(move |_, _| {
        removed.take(requested().id);
        let scan = crate::testkit::document("scan.pdf", &["abc"]);
        Ok(stream::iter([Ok(scan)]).boxed())
    });
    let (_stop, mut stop) = never_stops();
    bench.worker().work(&mut stop).await.unwrap();
    assert!(shelf.ids().is_empty(), "a removed job does not come back");
    assert_eq!(memory.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_result_is_refused_and_its_files_deleted() {
    let mut bench = Bench::of([requested()]);
    let (shelf, memory) = (bench.shelf.clone(), bench.memory.clone());
    let winner = shelf.clone();
    (bench.source.expect_records()).returning(move |_, _| {
        winner.overtake(|job| {
            (job.claim(&WorkerId("worker-2".into()), at(130), at(160))).unwrap();
        });
        Ok(one_record())
    });
    let (_stop, mut stop) = never_stops();
    bench.worker().work(&mut stop).await.unwrap();
    assert_eq!(
        shelf.job().current_claim().unwrap().worker,
        WorkerId("worker-2".into())
    );
    assert_eq!(memory.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_export_that_is_taken_back_stops_within_a_second() {
    let cases: [Meanwhile; 2] = [
        |shelf| drop(shelf.take(requested().id)),
        |shelf| shelf.overtake(|job| job.reject(None, at(100)).unwrap()),
    ];
    for taken_back in cases {
        let (begun, mut running) = mpsc::unbounded_channel();
        let mut bench = Bench::of([requested()]);
        (bench.source.expect_records()).returning(move |_, _| Ok(endless(begun.clone())));
        let (shelf, memory) = (bench.shelf.clone(), bench.memory.clone());
        let clock = bench.clock.clone();
        let worker = Worker {
            settings: WorkerSettings::default(),
            ..bench.worker()
        };
        let (_stop, mut stop) = never_stops();
        let story = async {
            running.recv().await.unwrap();
            keep(&memory, &requested().attempt_folder(1)).await;
            taken_back(&shelf);
            clock.set(at(101));
        };
        let (done, ()) = soon(future::join(worker.work(&mut stop), story)).await;
        assert!(done.unwrap());
        assert_eq!(memory.count(), 0, "what it wrote is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_stops_when_told_and_when_nobody_can_tell_it_any_more() {
    let (stop, stopped) = never_stops();
    let mut bench = Bench::of([]);
    let mut asked = 0;
    bench.jobs.expect_claim().returning(move |_, _, _| {
        asked += 1;
        assert!(asked < 9, "it asks without a pause");
        Ok(None)
    });
    let worker = bench.worker();
    let story = async {
        tokio::task::yield_now().await;
        drop(stop);
    };
    soon(future::join(worker.run(stopped), story)).await;

    let (_stop, stopped) = watch::channel(Duty::Stop);
    let mut bench = Bench::of([requested()]);
    bench.jobs.expect_claim().never();
    soon(bench.worker().run(stopped)).await;

    beside(Bench::of([]).worker(), tokio::task::yield_now()).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_wakes_up_when_a_job_is_announced() {
    let (idle, mut asked) = mpsc::unbounded_channel();
    let mut bench = Bench::of([]);
    (bench.source.expect_records()).returning(|_, _| Ok(one_record()));
    (bench.jobs.expect_claim())
        .times(1)
        .returning(move |_, _, _| {
            idle.send(()).unwrap();
            Ok(None)
        });
    let shelf = bench.shelf.clone();
    beside(bench.worker(), async {
        asked.recv().await.unwrap();
        // The clock stands still: polling does not find it.
        shelf.put(requested());
        until(&shelf, |job| job.status() == Status::Retrieved).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn work_that_nobody_announced_is_found_by_polling() {
    let (idle, mut asked) = mpsc::unbounded_channel();
    let mut bench = Bench::of([claimed()]);
    bench.clock = Arc::new(FixedClock::at(at(55)));
    (bench.source.expect_records()).returning(|_, _| Ok(one_record()));
    (bench.jobs.expect_claim())
        .times(1)
        .returning(move |_, _, _| {
            idle.send(()).unwrap();
            Ok(None)
        });
    let (shelf, clock) = (bench.shelf.clone(), bench.clock.clone());
    beside(bench.worker(), async {
        asked.recv().await.unwrap();
        // The lease of a worker that died runs out at 60.
        clock.set(at(62));
        let job = until(&shelf, |job| job.status() == Status::Retrieved).await;
        assert_eq!(job.export().unwrap().attempt, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_announces_nothing_is_polled_in_peace() {
    let (asked, mut claims) = mpsc::unbounded_channel();
    let mut asks = 0;
    let mut bench = Bench::of([]);
    bench
        .jobs
        .expect_subscribe()
        .returning(|| watch::channel(()).1);
    (bench.jobs.expect_claim()).returning(move |_, _, _| {
        asked.send(()).unwrap();
        asks += 1;
        assert!(asks < 9, "it asks without a pause");
        Ok(None)
    });
    let clock = bench.clock.clone();
    beside(bench.worker(), async {
        claims.recv().await.unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(claims.is_empty(), "it waits for its time");
        clock.set(at(107));
        claims.recv().await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_down_does_not_kill_the_worker() {
    let (asked, mut claims) = mpsc::unbounded_channel();
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).returning(|_, _| Ok(one_record()));
    (bench.jobs.expect_claim())
        .times(2)
        .returning(move |_, _, _| {
            asked.send(()).unwrap();
            Err(StoreError::unavailable("connection refused"))
        });
    let (shelf, clock) = (bench.shelf.clone(), bench.clock.clone());
    beside(bench.worker(), async {
        for now in [107, 114] {
            claims.recv().await.unwrap();
            assert!(claims.is_empty(), "it waits before it asks again");
            clock.set(at(now));
        }
        until(&shelf, |job| job.status() == Status::Retrieved).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_export_goes_on_while_its_progress_cannot_be_reported() {
    let (begun, mut running) = mpsc::unbounded_channel();
    let (finish, finished) = oneshot::channel::<()>();
    let mut bench = Bench::of([requested()]);
    (bench.source.expect_records()).return_once(move |_, _| {
        let rest = stream::once(async move {
            begun.send(()).unwrap();
            finished.await.unwrap();
            Ok(patient_record())
        });
        Ok(rest.boxed())
    });
    let (failed, mut renewals) = mpsc::unbounded_channel();
    (bench.jobs.expect_renew())
        .times(1)
        .returning(move |_, _, _| {
            failed.send(()).unwrap();
            Err(StoreError::unavailable("down"))
        });
    let (shelf, clock) = (bench.shelf.clone(), bench.clock.clone());
    beside(bench.worker(), async {
        running.recv().await.unwrap();
        clock.set(at(105));
        renewals.recv().await.unwrap();
        clock.set(at(110));
        until(&shelf, |job| job.current_claim().unwrap().until == at(140)).await;
        finish.send(()).unwrap();
        until(&shelf, |job| job.status() == Status::Retrieved).await;
    })
    .await;
}
