//! A database that falls silent, as one does whose machine is gone: nobody waits for it for ever.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ehi_core::export::{ExportJob, Interaction, JobId, WorkerId};
use ehi_core::ports::{Action, AuditLog, By, JobStore};
use ehi_core::testkit::{at, kickoff};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;

use super::*;

/// Longer than anything here may take.
const LATE: Duration = Duration::from_secs(20);

/// Those of somebody in a hurry.
fn hasty() -> DatabaseLimits {
    DatabaseLimits {
        connections: 1,
        patience: Duration::from_secs(10),
        statement: Duration::from_millis(200),
        silence: Duration::from_millis(200),
    }
}

/// What gets lost first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    Question,
    Answer,
}

/// The way to a database, which can fall silent without anybody being told.
struct Way {
    port: u16,
    state: Arc<State>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// How many more questions and answers come through on the connections of now.
    left: [AtomicI64; 2],
    silent: Mutex<Arc<AtomicBool>>,
    struck: AtomicBool,
}

impl Way {
    async fn to(kept: &TestDatabase) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        state.calm();
        let options: PgConnectOptions = kept.url().parse().unwrap();
        let (shared, mut task) = (state.clone(), JoinSet::new());
        task.spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                ways.spawn(shared.clone().pass(near, options.clone()));
            }
        });
        Self {
            port,
            state,
            _task: task,
        }
    }

    fn url(&self, kept: &TestDatabase) -> String {
        let mut url: Url = kept.url().parse().unwrap();
        let more: Vec<_> = (url.query_pairs().into_owned())
            .filter(|(name, _)| name != "host")
            .collect();
        url.query_pairs_mut().clear().extend_pairs(more);
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.into()
    }
}

impl State {
    /// All connections of now fall silent when so many questions or answers came through; new ones
    /// do not.
    fn silence_after(&self, count: i64, lost: Lost) {
        self.left[lost as usize].store(count, Ordering::SeqCst);
    }

    /// All connections of now fall silent; new ones do not.
    fn silence(&self) {
        let before = std::mem::take(&mut *self.silent.lock().unwrap());
        before.store(true, Ordering::SeqCst);
        self.calm();
        self.struck.store(true, Ordering::SeqCst);
    }

    /// Nothing more falls silent. Whether anything has since the last time.
    fn calm(&self) -> bool {
        for left in &self.left {
            left.store(i64::MAX, Ordering::SeqCst);
        }
        self.struck.swap(false, Ordering::SeqCst)
    }

    async fn pass(self: Arc<Self>, near: TcpStream, options: PgConnectOptions) {
        let silent = self.silent.lock().unwrap().clone();
        let near = split(near);
        if let Some(folder) = options.get_socket() {
            let path = folder.join(format!(".s.PGSQL.{}", options.get_port()));
            let far = split(UnixStream::connect(path).await.unwrap());
            self.both(near, far, &silent).await;
        } else {
            let far = (options.get_host(), options.get_port());
            let far = split(TcpStream::connect(far).await.unwrap());
            self.both(near, far, &silent).await;
        }
    }

    async fn both(
        &self,
        (near, nearer): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
        (far, farther): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
        silent: &AtomicBool,
    ) {
        let questions = self.one_way(near, farther, Lost::Question, silent);
        let answers = self.one_way(far, nearer, Lost::Answer, silent);
        tokio::join!(questions, answers);
    }

    async fn one_way(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        what: Lost,
        silent: &AtomicBool,
    ) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if self.left[what as usize].fetch_sub(1, Ordering::SeqCst) <= 0 {
                self.silence();
            }
            if silent.load(Ordering::SeqCst) {
                // Not even that somebody hangs up is heard on the other side.
                std::future::pending::<()>().await;
            }
            if to.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
        drop(to.shutdown().await);
    }
}

/// Waits for what comes of something while the database is away for a moment.
async fn in_the_end<T>(what: impl AsyncFn() -> Option<T>) -> T {
    let done = async {
        loop {
            if let Some(done) = what().await {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, done).await.expect("it to work in the end")
}

#[tokio::test]
async fn wherever_a_database_falls_silent_in_a_claim_somebody_claims_the_job_afterwards() {
    let (database, kept) = postgres().await;
    let way = Way::to(&kept).await;
    let url = way.url(&kept);
    let through = SqlJobs::new(&Database::open(&url, hasty()).await.unwrap());
    let straight = SqlJobs::new(&database);
    let id = JobId::from_random([1; 32]);
    let job = ExportJob::kick_off(id, kickoff(Interaction::None), at(0));
    straight.insert(&job).await.unwrap();
    let (worker, lease) = (WorkerId("w".into()), Duration::from_secs(1));
    let mut second = 10;
    for lost in [Lost::Question, Lost::Answer] {
        for count in 0.. {
            second += 10;
            way.state.silence_after(count, lost);
            let begun = Instant::now();
            let claimed = through.claim(&worker, at(second), lease);
            let claimed = timeout(LATE, claimed).await.expect("an end");
            assert!(begun.elapsed() < LATE / 4, "{:?}", begun.elapsed());
            let silent = way.state.calm();
            match claimed {
                Ok(claimed) => assert_eq!(claimed.unwrap().id, id),
                Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}"),
            }
            // Whether or not the claim before came to be: nothing of it is in the way.
            second += 10;
            let again = async || {
                let claimed = through.claim(&worker, at(second), lease).await;
                claimed.unwrap_or_default()
            };
            assert_eq!(in_the_end(again).await.id, id);
            if !silent {
                assert!(count > 4, "a claim takes more than {count} of {lost:?}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn whoever_goes_away_while_a_transaction_begins_leaves_none_open() {
    let kept = TestDatabase::create().await;
    let alone = DatabaseLimits {
        connections: 1,
        ..DatabaseLimits::default()
    };
    let database = Database::open(&kept.url(), alone).await.unwrap();
    let others = Database::open(&kept.url(), alone).await.unwrap();
    let log = SqlAudit::new(&database);
    for steps in 1..=40 {
        {
            let mut begins = std::pin::pin!(database.begin());
            for _ in 0..steps {
                if futures::poll!(begins.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // In a transaction that was left open, nobody else would see it.
        let event = By::server().did(Action::View, at(steps));
        log.append(&event).await.unwrap();
        let seen = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM audit");
        let seen = seen.fetch_one(others.pool()).await.unwrap();
        assert_eq!(seen, steps, "after {steps} steps");
    }
}

#[tokio::test]
async fn connections_that_fell_silent_while_nobody_used_them_are_replaced_within_one_call() {
    let (_, kept) = postgres().await;
    let way = Way::to(&kept).await;
    let database = Database::open(&way.url(&kept), hasty()).await.unwrap();
    let log = SqlAudit::new(&database);
    let event = By::server().did(Action::View, at(0));
    for _ in 0..3 {
        log.append(&event).await.unwrap();
        way.state.silence();
        timeout(LATE, log.append(&event)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn other_processes_are_heard_again_after_the_way_to_them_fell_silent() {
    let (telling, kept) = postgres().await;
    let way = Way::to(&kept).await;
    let database = Database::open(&way.url(&kept), hasty()).await.unwrap();
    let mut changes = database.subscribe();
    let heard = async |changes: &mut tokio::sync::watch::Receiver<()>| {
        let heard = in_the_end(async || {
            telling.tell().await;
            let told = timeout(Duration::from_millis(50), changes.clone().changed()).await;
            told.ok()
        });
        heard.await.unwrap();
        changes.mark_unchanged();
    };
    heard(&mut changes).await;
    way.state.silence();
    heard(&mut changes).await;
}
