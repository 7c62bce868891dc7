//! Two hundred exports while everything fails, and a record source that does: they take longer,
//! and that is all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ehi_adapters::testing::TestDatabase;
use ehi_adapters::testing::s3::{Ask, Fault, Server as S3};
use futures::future::join_all;
use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use crate::app::{App, Job};
use crate::browser::try_send;
use crate::clients::{Key, ask, claims, system};
use crate::dice::Dice;
use crate::export::{assert_same, resources};
use crate::faulty::{self, FaultySource};
use crate::hand::Hand;
use crate::patients::{bundle, of, patient, with};
use crate::s3::{KEYS, exports_in, s3};
use crate::server::{Log, Server, command};
use crate::site::Site;
use crate::staff::Staff;
use crate::wait::until;

const PATIENTS: usize = 20;
const EXPORTS: usize = 200;
const HANDS: usize = 3;
/// What a worker holds without a sign of life.
const LEASE: Duration = Duration::from_secs(2);
/// Behind so many kick-offs something may fail, and no more than [`OPEN`] exports wait.
const ROUND: usize = 4;
const OPEN: usize = 12;
/// How far away S3 is: an export takes long enough to be hit.
const DISTANCE: Duration = Duration::from_millis(50);
/// How many requests are under way when everything is looked at.
const AT_ONCE: usize = 8;

/// What is known of a file: lines, bytes, SHA-256.
type Print = (u64, usize, Vec<u8>);
/// The files of an export by their names.
type Prints = BTreeMap<String, Print>;

fn name(number: usize) -> String {
    format!("patient-{number}")
}

/// A record like no other.
fn record(number: usize) -> String {
    let id = name(number);
    let mut resources = vec![patient(&id, "Pat", &format!("Number{number}"))];
    for (kind, count) in [("Observation", 40), ("Condition", 8), ("Encounter", 4)] {
        resources.extend((0..count + number).map(|each| {
            with(
                of(&id, kind, &format!("{kind}-{each}"), "subject"),
                json!({"code": {"text": format!("{kind} {each} of {id}: {}", "x".repeat(each))}}),
            )
        }));
    }
    bundle(&resources)
}

/// The workers, and whoever starts them again.
struct Crew<'s> {
    server: &'s Server,
    hands: Vec<Hand>,
    stopped: BTreeMap<usize, Instant>,
    logs: Vec<Log>,
}

impl<'s> Crew<'s> {
    fn start(server: &'s Server) -> Self {
        let mut crew = Self {
            server,
            hands: Vec::new(),
            stopped: BTreeMap::new(),
            logs: Vec::new(),
        };
        crew.hands = (0..HANDS).map(|_| crew.hire()).collect();
        crew
    }

    fn hire(&mut self) -> Hand {
        let variables = [KEYS, &[("RUST_LOG", "info")]].concat();
        let hand = Hand::begin(self.server, &variables);
        self.logs.push(hand.log());
        hand
    }

    fn kill(&mut self, number: usize) {
        self.hands[number].kill();
        self.stopped.remove(&number);
    }

    /// Stops one so that its lease runs out before it goes on.
    fn stop(&mut self, number: usize) {
        if self.hands[number].is_there() && !self.stopped.contains_key(&number) {
            self.hands[number].signal("STOP");
            self.stopped.insert(number, Instant::now() + LEASE * 3 / 2);
        }
    }

    /// Lets those go on that were stopped for long enough, and starts those again that ended.
    fn mend(&mut self) {
        let now = Instant::now();
        for number in 0..HANDS {
            if self.stopped.get(&number).is_some_and(|until| *until < now) {
                self.stopped.remove(&number);
                self.hands[number].signal("CONT");
            }
            if !self.hands[number].is_there() {
                self.hands[number] = self.hire();
            }
        }
    }

    /// How often workers, all together, said something.
    fn said(&self, what: &str) -> usize {
        let logs = self.logs.iter();
        logs.map(|log| log.text().matches(what).count()).sum()
    }

    /// How many attempts have no end: their worker was killed.
    fn interrupted(&self) -> usize {
        let ends = ["export done", "attempt failed", "taken away", "given back"];
        let ended: usize = ends.iter().map(|end| self.said(end)).sum();
        self.said("export begins").saturating_sub(ended)
    }
}

/// A system that takes records out.
struct Etl<'s> {
    apps: Vec<App<'s>>,
    /// How many kick-offs were not accepted.
    refused: AtomicUsize,
}

impl<'s> Etl<'s> {
    /// With a fresh token.
    async fn connect(server: &'s Server, key: &Key) -> Self {
        let assertion = key.sign(&claims(server, "etl"));
        let tokens = ask(server, &assertion).await.expect(200).json();
        let app = |number| App::with_tokens(server, &name(number), tokens.clone());
        Self {
            apps: (0..PATIENTS).map(app).collect(),
            refused: AtomicUsize::new(0),
        }
    }

    /// Starts an export, however often it has to be asked for.
    async fn kick_off(&self, number: usize) -> Job {
        let app = &self.apps[number];
        let asked = async || {
            let request = app.request(Method::POST, &app.kick_off_url("/auto-approve"));
            let answer = try_send(request.header("Prefer", "respond-async")).await;
            match answer {
                Ok(answer) if !matches!(answer.status, 429 | 500 | 503) => {
                    Some(Job::read(&answer.expect(202)))
                }
                _ => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    None
                }
            }
        };
        until("a kick-off to be accepted", asked).await
    }

    /// What can be fetched of an export.
    async fn prints(&self, number: usize, job: &Job) -> Prints {
        let app = &self.apps[number];
        let manifest = app.status(job).await.expect(200).json();
        assert_eq!(manifest["error"], json!([]), "{manifest}");
        let mut prints = Prints::new();
        for output in manifest["output"].as_array().unwrap() {
            let url = output["url"].as_str().unwrap();
            let file = app.get(url).await.expect(200).body;
            let print = (
                output["count"].as_u64().unwrap(),
                file.len(),
                Sha256::digest(&file).to_vec(),
            );
            let (_, name) = url.rsplit_once('/').unwrap();
            assert!(prints.insert(name.to_owned(), print).is_none(), "{url}");
        }
        prints
    }
}

/// The jobs as staff are told, if they are: id, patient, status.
async fn jobs(staff: &Staff<'_>, query: &str) -> Option<Vec<Value>> {
    let answer = staff.get(&format!("/admin/jobs{query}")).await;
    (answer.status == 200).then(|| answer.json().as_array().unwrap().clone())
}

/// Waits until at most so many exports wait or run; `meanwhile` is done now and then.
async fn room(staff: &Staff<'_>, most: usize, mut meanwhile: impl FnMut()) {
    until("exports to end", async || {
        meanwhile();
        let open = jobs(staff, "?status=requested").await?;
        (open.len() <= most).then_some(())
    })
    .await;
}

/// What fails, by chance.
struct Storm<'a> {
    dice: Dice,
    s3: &'a S3,
    database: Arc<TestDatabase>,
    /// Behind which exports the database's server is restarted.
    restarts: [usize; 2],
    restarting: Vec<JoinHandle<()>>,
    kills: usize,
    stops: usize,
}

impl Storm<'_> {
    /// Something may fail behind so many exports.
    fn strike(&mut self, exports: usize, crew: &mut Crew<'_>) {
        if self.restarts.contains(&exports) {
            let database = Arc::clone(&self.database);
            let restart = move || database.restart_server();
            self.restarting.push(tokio::task::spawn_blocking(restart));
        }
        let hand = self.dice.below(HANDS);
        match self.dice.below(8) {
            0..2 => {
                self.kills += 1;
                crew.kill(hand);
            }
            2..4 => {
                self.stops += 1;
                crew.stop(hand);
            }
            4..7 => {
                let ask =
                    (self.dice).one_of(&[Ask::Put, Ask::Put, Ask::Head, Ask::List, Ask::Delete]);
                let fault = self.dice.one_of(&[
                    Fault::Status(500, "InternalError"),
                    Fault::Status(503, "SlowDown"),
                    Fault::Reset,
                    Fault::LostAnswer,
                    Fault::Stall,
                ]);
                self.s3.bucket.fail(ask, 1 + self.dice.below(10), fault);
            }
            _ => {}
        }
    }
}

/// The folders of jobs in the bucket: below each, the folders of attempts with the names in them.
fn in_bucket(s3: &S3) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let root = s3.folder();
    let mut found: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
    for path in exports_in(&root) {
        let path = path
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let [job, attempt, name] = path.splitn(3, '/').collect::<Vec<_>>()[..] else {
            panic!("{path} belongs to no attempt");
        };
        let names = found.entry(job.to_owned()).or_default();
        names
            .entry(attempt.to_owned())
            .or_default()
            .insert(name.to_owned());
    }
    found
}

/// Whether the bucket holds one attempt of each job with all its files, and nothing else.
fn holds_exactly(s3: &S3, jobs: &BTreeMap<String, usize>, quiet: &[Prints]) -> bool {
    let found = in_bucket(s3);
    found.len() == jobs.len()
        && jobs.iter().all(|(job, patient)| {
            let attempts = found.get(job).into_iter().flatten();
            let files: Vec<_> = attempts.map(|(_, names)| names).collect();
            files.len() == 1 && files[0].iter().eq(quiet[*patient].keys())
        })
}

/// What the operator is told of the audit log.
#[track_caller]
fn audit(server: &Server, what: &str) -> String {
    let mut audit = command();
    audit
        .args(["audit", "--config"])
        .arg(server.data().join("ehi.toml"))
        .arg(what);
    let output = audit.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server that only answers requests, on this S3 and this database.
fn front(s3: &S3, database: &TestDatabase, key: &Key) -> Server {
    let site = Site::new();
    for number in 0..PATIENTS {
        site.write(&format!("records/{number}.json"), &record(number));
    }
    site.append("directory.toml", &system("etl", &[key]));
    site.start_in(
        &format!(
            "workers = 0\nattempts = 8\nlease = '{} s'\ndatabase = '{}'\nfiles = '{}'\n\
             lifetimes = {{ sweep = '1s' }}\n[limits]\nkick_offs_per_address = 100000\n\
             kick_offs_per_patient = 100000\nopen_exports_per_patient = 1000\n",
            LEASE.as_secs(),
            database.url(),
            s3.url("", "&attempts=2&attempt_timeout=1s"),
        ),
        &[KEYS, &[("RUST_LOG", "info")]].concat(),
    )
}

/// One export of each patient while nothing fails: its files, and the jobs with their patients.
async fn quiet_run(etl: &Etl<'_>, staff: &Staff<'_>) -> (Vec<Prints>, BTreeMap<String, usize>) {
    let mut known = BTreeMap::new();
    let mut quiet = Vec::new();
    for number in 0..PATIENTS {
        let job = etl.kick_off(number).await;
        known.insert(job.id.clone(), number);
        quiet.push(job);
    }
    room(staff, 0, || ()).await;
    let quiet: Vec<Prints> = stream::iter(quiet.iter().enumerate())
        .map(|(number, job)| etl.prints(number, job))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let different: BTreeSet<_> = quiet.iter().collect();
    assert_eq!(different.len(), PATIENTS, "each has a record of its own");
    (quiet, known)
}

/// The audit log holds, and tells of the release of each job.
#[track_caller]
fn assert_written_down<'a>(server: &Server, jobs: impl Iterator<Item = &'a String>) {
    let said = audit(server, "verify");
    assert!(said.contains("none changed"), "{said}");
    let said = audit(server, "export");
    let released: Vec<_> = (said.lines())
        .filter(|line| line.contains("\"auto-approve\""))
        .collect();
    for id in jobs {
        let told = released.iter().any(|line| line.contains(id));
        assert!(told, "nobody wrote down that {id} was released");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "what failed is worth knowing")]
async fn every_export_is_done_exactly_once_whatever_fails() {
    let mut dice = Dice::new();
    let (s3, database) = (s3().await, Arc::new(TestDatabase::alone().await));
    let key = Key::p384("etl");
    let server = front(&s3, &database, &key);
    let mut crew = Crew::start(&server);
    let staff = Staff::log_in(&server).await;
    let etl = Etl::connect(&server, &key).await;

    let begun = Instant::now();
    let (quiet, mut known) = quiet_run(&etl, &staff).await;
    eprintln!("quiet: {:?}", begun.elapsed());

    let restarts = [0, 1].map(|half| (half * 24 + 5 + dice.below(12)) * ROUND);
    let mut storm = Storm {
        dice,
        s3: &s3,
        database,
        restarts,
        restarting: Vec::new(),
        kills: 0,
        stops: 0,
    };
    let mut accepted = Vec::new();
    s3.bucket.move_away(DISTANCE);
    while accepted.len() < EXPORTS {
        storm.strike(accepted.len(), &mut crew);
        let next = (accepted.len()..).take(ROUND);
        let asked = next.map(|number| etl.kick_off(number % PATIENTS));
        accepted.extend(join_all(asked).await);
        room(&staff, OPEN, || crew.mend()).await;
    }
    for restart in storm.restarting {
        restart.await.unwrap();
    }
    s3.bucket.heal();
    s3.bucket.move_away(Duration::ZERO);
    room(&staff, 0, || crew.mend()).await;
    eprintln!("storm: {:?}", begun.elapsed());

    let told = jobs(&staff, "").await.unwrap();
    for job in &told {
        assert_eq!(job["status"], "approved", "{job}");
        let patient = job["patient"]["id"].as_str().unwrap();
        let number = (0..PATIENTS).find(|number| name(*number) == patient);
        known.insert(job["id"].as_str().unwrap().to_owned(), number.unwrap());
    }
    assert_eq!(known.len(), told.len(), "a job of the quiet run is lost");
    for job in &accepted {
        assert!(known.contains_key(&job.id), "{} is lost", job.id);
    }
    until(
        "nothing but the files of the jobs to be in the bucket",
        async || holds_exactly(&s3, &known, &quiet).then_some(()),
    )
    .await;

    // Jobs whose kick-off was never answered are there, too, and as good as the others.
    let refused = etl.refused.into_inner();
    let etl = Etl::connect(&server, &key).await;
    let all: Vec<_> = known
        .iter()
        .map(|(id, number)| (*number, Job::of(&server, id)))
        .collect();
    stream::iter(&all)
        .for_each_concurrent(AT_ONCE, async |(number, job)| {
            assert_eq!(etl.prints(*number, job).await, quiet[*number], "{}", job.id);
        })
        .await;
    assert!(holds_exactly(&s3, &known, &quiet), "{:?}", in_bucket(&s3));
    eprintln!("looked at: {:?}", begun.elapsed());

    let again = in_bucket(&s3).into_values().flatten();
    let again = again.filter(|(attempt, _)| attempt != "1").count();
    let (interrupted, struck) = (crew.interrupted(), s3.bucket.struck());
    eprintln!(
        "{} kills, {} stops, {struck} faults of S3; {} kick-offs refused, {} done and not answered; \
         {interrupted} attempts interrupted, {} failed, {} taken away; {again} exports took more \
         than one",
        storm.kills,
        storm.stops,
        refused,
        known.len() - EXPORTS - PATIENTS,
        crew.said("export attempt failed"),
        crew.said("export was taken away"),
    );
    assert!(interrupted >= 2 && struck >= 20 && again >= 5, "too kind");
    assert!(refused > 0, "the database never was away");
    stream::iter(&all)
        .for_each_concurrent(AT_ONCE, async |(number, job)| {
            etl.apps[*number].delete(job).await.expect(202);
        })
        .await;
    until("the bucket to be empty", async || {
        in_bucket(&s3).is_empty().then_some(())
    })
    .await;
    assert_eq!(jobs(&staff, "").await.unwrap(), [] as [Value; 0]);
    assert_eq!(s3.bucket.uploads(), [""; 0]);
    assert_written_down(&server, known.keys());
    eprintln!("all: {:?}", begun.elapsed());
}

/// A server whose records come from there.
fn sourced(source: &FaultySource, key: &Key, more: &str) -> Server {
    let mut site = Site::new();
    site.records = source.config();
    site.append("directory.toml", &system("etl", &[key]));
    let limits = "[limits]\nkick_offs_per_address = 100000\nkick_offs_per_patient = 100000";
    site.start(&format!("{more}\n{limits}"))
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "what failed is worth knowing")]
async fn a_faulty_source_costs_time_and_nothing_else() {
    let (source, key) = (FaultySource::start(Dice::new()), Key::p384("etl"));
    let server = sourced(&source, &key, "");
    let etl = Etl::connect(&server, &key).await;
    let mut jobs = Vec::new();
    for number in 0..PATIENTS {
        jobs.push(etl.kick_off(number).await);
    }
    for (app, job) in etl.apps.iter().zip(&jobs) {
        let manifest = app.wait_for_manifest(job).await.json();
        assert_eq!(manifest["error"], json!([]), "{manifest}");
        assert_same(
            &resources(app, &manifest).await,
            &faulty::record(&app.patient),
        );
    }
    let again = server.log().matches("export attempt failed").count();
    eprintln!("{} faults, {again} attempts failed", source.struck());
    assert!(source.struck() >= PATIENTS && again > 0, "too kind");
}

#[tokio::test]
async fn a_source_that_is_down_for_good_is_told_and_leaves_no_files() {
    let (source, key) = (FaultySource::start(Dice::new()), Key::p384("etl"));
    let server = sourced(&source, &key, "attempts = 2");
    source.break_down();
    let etl = Etl::connect(&server, &key).await;
    let job = etl.kick_off(0).await;
    let told = until("the end", async || {
        let answer = etl.apps[0].status(&job).await;
        (answer.status != 202).then_some(answer)
    })
    .await
    .expect_outcome(500);
    let reason = "The hospital's record system could not deliver the record.";
    assert!(told.text().contains(reason), "{told}");
    let log = server.log();
    assert_eq!(log.matches("export attempt failed").count(), 2, "{log}");
    assert!(exports_in(&server.data().join("data/files")).is_empty());
}
