//! How fast the queue is: kick-offs and claims a second, what a long queue costs, how exports
//! share several workers, and how much memory a large record takes.
//!
//! ```text
//! cargo bench --bench queue                 # everything
//! cargo bench --bench queue -- claims       # one part: claims, depth, workers or memory
//! ```
//!
//! A kick-off is what the server does for one: an entry of the audit log, then the job, both
//! durable. PostgreSQL is started for the occasion, or named in `EHI_TEST_DATABASE_URL`.

#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ehi_adapters::fs::FolderFiles;
use ehi_adapters::memory::{MemoryAudit, MemoryJobs};
use ehi_adapters::records::BundleFolder;
use ehi_adapters::sample::{SampleOptions, patients};
use ehi_adapters::sql::{Database, DatabaseLimits, SqlAudit, SqlJobs};
use ehi_adapters::system::{SystemClock, SystemEntropy};
use ehi_adapters::testing::TestDatabase;
use ehi_core::auth::ClientId;
use ehi_core::export::{
    Choices, Duty, ExportJob, ExportLimits, Exporter, Interaction, JobId, Kickoff, Links,
    Requester, Review, Rules, Selection, Status, Worker, WorkerId, WorkerSettings,
};
use ehi_core::fhir::PatientId;
use ehi_core::ports::{
    Action, AuditEvent, AuditLog, By, Clock, Entropy, JobFilter, JobStore, Page, PatientSearch,
    PatientSummary, RecordSource, RecordStream, SourceError,
};
use futures::future::try_join_all;
use jiff::civil::date;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use url::Url;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const LEASE: Duration = Duration::from_hours(1);

#[tokio::main]
async fn main() -> Outcome<()> {
    // Cargo adds `--bench`; what is no flag is a part.
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'));
    let part = words.next();
    match part.as_deref() {
        None => {
            claims().await?;
            depth().await?;
            workers().await?;
            memory()
        }
        Some("claims") => claims().await,
        Some("depth") => depth().await,
        Some("workers") => workers().await,
        Some("memory") => memory(),
        Some("one-record") => one_record(words.next().ok_or("no folder")?.as_ref()).await,
        Some(other) => Err(format!("there is no part '{other}'").into()),
    }
}

/// A database, and what has to live as long.
enum Kept {
    Folder(TempDir),
    Server(TestDatabase),
}

impl Kept {
    fn name(&self) -> &'static str {
        match self {
            Self::Folder(_) => "SQLite",
            Self::Server(_) => "PostgreSQL",
        }
    }

    async fn open(&self) -> Outcome<Database> {
        let url = match self {
            Self::Folder(folder) => format!("sqlite:{}", folder.path().join("ehi.db").display()),
            Self::Server(database) => database.url(),
        };
        Ok(Database::open(&url, DatabaseLimits::default()).await?)
    }
}

async fn both() -> Outcome<[Kept; 2]> {
    Ok([
        Kept::Folder(tempfile::tempdir()?),
        Kept::Server(TestDatabase::create().await),
    ])
}

/// How many at once.
const CROWD: usize = 8;

/// Kick-offs and claims a second.
async fn claims() -> Outcome<()> {
    const JOBS: usize = 4_000;
    for kept in both().await? {
        let database = kept.open().await?;
        let jobs: Arc<dyn JobStore> = Arc::new(SqlJobs::new(&database));
        let audit: Arc<dyn AuditLog> = Arc::new(SqlAudit::new(&database));
        let kick_offs = per_second(JOBS, async |number| {
            let job = waiting(number)?;
            let event = AuditEvent {
                patient: Some(job.patient.id.clone()),
                job: Some(job.id),
                ..By::server().did(Action::KickOff, SystemClock.now())
            };
            audit.append(&event).await?;
            Ok(jobs.insert(&job).await?)
        })
        .await?;
        let claims = per_second(JOBS, async |number| {
            let worker = WorkerId(format!("worker-{}", number % CROWD));
            let claimed = jobs.claim(&worker, SystemClock.now(), LEASE).await?;
            let mut job = claimed.ok_or("the queue is empty")?;
            // What was claimed comes to its end: no queue has thousands of running exports.
            job.give_up("for the bench", SystemClock.now())?;
            jobs.update(&job).await?;
            Ok(())
        })
        .await?;
        println!(
            "{}: {kick_offs:.0} kick-offs a second, {claims:.0} claims with their results a second, by {CROWD} at once",
            kept.name()
        );
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
async fn per_second(times: usize, run: impl AsyncFn(usize) -> Outcome<()>) -> Outcome<f64> {
    let begun = Instant::now();
    let run = &run;
    let one_of_the_crowd = |first: usize| async move {
        for number in (first..times).step_by(CROWD) {
            run(number).await?;
        }
        Outcome::Ok(())
    };
    try_join_all((0..CROWD).map(one_of_the_crowd)).await?;
    Ok(times as f64 / begun.elapsed().as_secs_f64())
}

/// What a claim takes when many wait, next to few.
async fn depth() -> Outcome<()> {
    const FEW: usize = 100;
    const MANY: usize = 100_000;
    const CLAIMS: usize = 50;
    for kept in both().await? {
        let database = kept.open().await?;
        let jobs: Arc<dyn JobStore> = Arc::new(SqlJobs::new(&database));
        let fill = async |from: usize, to: usize| {
            per_second(to - from, async |number| {
                Ok(jobs.insert(&waiting(from + number)?).await?)
            })
            .await
        };
        let mut medians = Vec::new();
        let mut filled = 0;
        for depth in [FEW, MANY] {
            fill(filled, depth).await?;
            filled = depth;
            let mut times = Vec::new();
            let worker = WorkerId("worker".to_owned());
            for _ in 0..CLAIMS {
                let begun = Instant::now();
                let job = jobs.claim(&worker, SystemClock.now(), LEASE).await?;
                times.push(begun.elapsed());
                // What was claimed goes back to where it was.
                let mut job = job.ok_or("the queue is empty")?;
                job.release(SystemClock.now())?;
                jobs.update(&job).await?;
            }
            times.sort();
            medians.push(times[CLAIMS / 2].as_secs_f64() * 1e3);
        }
        println!(
            "{}: a claim takes {:.2} ms with {FEW} waiting, {:.2} ms with {MANY}: {:.2} times as long",
            kept.name(),
            medians[0],
            medians[1],
            medians[1] / medians[0]
        );
    }
    Ok(())
}

/// Exports a second with one, two and four workers on one queue.
async fn workers() -> Outcome<()> {
    const PATIENTS: u32 = 120;
    let folder = tempfile::tempdir()?;
    let options = SampleOptions {
        patients: PATIENTS,
        seed: 1,
        today: date(2026, 6, 30),
    };
    for patient in patients(options) {
        let file = BufWriter::new(File::create(folder.path().join(&patient.file_name))?);
        serde_json::to_writer_pretty(file, &patient.bundle)?;
    }
    let source = Arc::new(BundleFolder::open(folder.path()).await?);
    let everybody = PatientSearch {
        name: String::new(),
        birth_date: None,
        limit: usize::MAX,
    };
    let everybody = source.search(&everybody).await?;
    let away: Arc<dyn RecordSource> = Arc::new(FarAway(source.clone()));
    for kept in both().await? {
        let database = kept.open().await?;
        let jobs: Arc<dyn JobStore> = Arc::new(SqlJobs::new(&database));
        for (source, whence) in [
            (source.clone() as Arc<dyn RecordSource>, "from a folder"),
            (away.clone(), "from a server that takes 0.2 s"),
        ] {
            let mut first = None;
            for count in [1, 2, 4] {
                for patient in &everybody {
                    jobs.insert(&job_of(patient.clone())?).await?;
                }
                let out = tempfile::tempdir()?;
                let begun = Instant::now();
                work(count, &jobs, &source, out.path()).await?;
                let rate = f64::from(PATIENTS) / begun.elapsed().as_secs_f64();
                let ratio = rate / *first.get_or_insert(rate);
                println!(
                    "{}: {count} workers export {rate:.1} records a second {whence}: {ratio:.2} times one",
                    kept.name()
                );
            }
        }
    }
    Ok(())
}

/// A source at the other end of a network: its first record takes a while.
#[derive(Debug)]
struct FarAway(Arc<BundleFolder>);

#[async_trait]
impl RecordSource for FarAway {
    async fn patient(&self, id: &PatientId) -> Result<Option<PatientSummary>, SourceError> {
        self.0.patient(id).await
    }

    async fn search(&self, wanted: &PatientSearch) -> Result<Vec<PatientSummary>, SourceError> {
        self.0.search(wanted).await
    }

    async fn records(
        &self,
        id: &PatientId,
        wanted: &Selection,
    ) -> Result<RecordStream, SourceError> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.0.records(id, wanted).await
    }
}

/// Lets so many workers empty the queue, each on a thread of its own as the server has them.
async fn work(
    count: usize,
    jobs: &Arc<dyn JobStore>,
    source: &Arc<dyn RecordSource>,
    out: &Path,
) -> Outcome<()> {
    let (stop, stopped) = watch::channel(Duty::Work);
    let files = Arc::new(FolderFiles::open(out)?);
    let handles: Vec<_> = (0..count)
        .map(|number| {
            let worker = Worker {
                id: WorkerId(format!("worker-{number}")),
                jobs: jobs.clone(),
                audit: Arc::new(MemoryAudit::default()),
                exporter: Exporter {
                    source: source.clone(),
                    files: files.clone(),
                    clock: Arc::new(SystemClock),
                    entropy: Arc::new(SystemEntropy),
                    links: Links::new(&Url::parse("https://ehi.example/")?),
                    rules: Rules::standard(),
                    limits: ExportLimits::default(),
                },
                settings: WorkerSettings::default(),
            };
            let stopped = stopped.clone();
            Ok(tokio::spawn(async move { worker.run(stopped).await }))
        })
        .collect::<Outcome<_>>()?;
    let waiting = JobFilter {
        status: Some(Status::Requested),
        ..JobFilter::default()
    };
    let one = Page {
        limit: Some(1),
        after: None,
    };
    while !jobs.list(&waiting, one).await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send_replace(Duty::Finish);
    for handle in handles {
        handle.await?;
    }
    Ok(())
}

/// The most memory that a process takes to export a record of 2 GB, next to one of 20 MB.
fn memory() -> Outcome<()> {
    const MB: u64 = 1_000_000;
    let mut most = Vec::new();
    for megabytes in [20, 2_000] {
        let folder = tempfile::tempdir()?;
        let lines = write_record(folder.path(), megabytes * MB)?;
        // A process of its own: nothing of ours is counted.
        let output = Command::new(std::env::current_exe()?)
            .args(["one-record".as_ref(), folder.path()])
            .output()?;
        let told = String::from_utf8(output.stdout)?;
        let kilobytes: u64 = told.trim().parse().map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("the export failed: {told}{said}")
        })?;
        let megabytes_taken = kilobytes / 1_000;
        println!(
            "a record of {megabytes} MB ({lines} resources) takes {megabytes_taken} MB at most"
        );
        most.push(kilobytes);
    }
    let more = most[1].saturating_sub(most[0]) / 1_000;
    println!("a hundred times the record takes {more} MB more");
    Ok(())
}

/// A patient with many results.
fn write_record(folder: &Path, bytes: u64) -> Outcome<u64> {
    let mut file = BufWriter::new(File::create(folder.join("large.ndjson"))?);
    let mut written = 0;
    let mut lines = 0;
    let patient = json!({"resourceType": "Patient", "id": "large", "name": [{"text": "A Large"}]});
    writeln!(file, "{patient}")?;
    while written < bytes {
        let line = json!({
            "resourceType": "Observation", "id": format!("o-{lines}"), "status": "final",
            "subject": {"reference": "Patient/large"}, "code": {"text": "a result"},
            "effectiveDateTime": "2020-01-01", "note": [{"text": "x".repeat(1_500)}],
        })
        .to_string();
        writeln!(file, "{line}")?;
        written += line.len() as u64 + 1;
        lines += 1;
    }
    file.flush()?;
    Ok(lines)
}

/// Exports the one record of a folder and prints the most memory it took, in kB.
async fn one_record(folder: &Path) -> Outcome<()> {
    let source: Arc<dyn RecordSource> = Arc::new(BundleFolder::open(folder).await?);
    let patient = PatientId::parse("large")?;
    let patient = source.patient(&patient).await?.ok_or("nobody is there")?;
    let jobs: Arc<dyn JobStore> = Arc::new(MemoryJobs::default());
    let job = job_of(patient)?;
    jobs.insert(&job).await?;
    let out = folder.join("out");
    fs::create_dir(&out)?;
    work(1, &jobs, &source, &out).await?;
    let done = jobs.get(job.id).await?.ok_or("the job is gone")?;
    if done.status() != Status::Approved {
        return Err(format!("the export is {}", done.status()).into());
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most = most.ok_or("the system does not tell")?;
    println!("{}", most.trim().trim_end_matches(" kB"));
    Ok(())
}

/// A job of one of many patients.
fn waiting(number: usize) -> Outcome<ExportJob> {
    job_of(PatientSummary {
        id: PatientId::parse(&format!("p-{number}"))?,
        name: format!("Patient {number}"),
        birth_date: None,
    })
}

fn job_of(patient: PatientSummary) -> Outcome<ExportJob> {
    let kickoff = Kickoff {
        patient,
        requester: Requester::System(ClientId::parse("bench").ok_or("no client id")?),
        request: Url::parse("http://127.0.0.1/")?,
        review: Review::Automatic,
        interaction: Interaction::None,
        choices: Choices::whole_record(),
    };
    let id = JobId::from_random(SystemEntropy.bytes());
    Ok(ExportJob::kick_off(id, kickoff, SystemClock.now()))
}
