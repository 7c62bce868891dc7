//! How fast the export engine is, next to a plain implementation of the same.
//!
//! ```text
//! cargo bench --bench engine            # over made-up patients
//! cargo bench --bench engine -- DIR     # over a folder of Bundles
//! ```
//!
//! Both read each patient's Bundle from disk and write its resources as NDJSON, one file a type,
//! into memory. The plain one does it as one would at first: the file as a `serde_json::Value`,
//! each resource by `serde_json::to_writer`. They run in turn, and what counts is the ratio of
//! their speeds in MB of source a second: machines are noisy, and both meet the same noise.
//!
//! A third figure is the engine writing to disk, each file forced there before it counts: how
//! much of that is the disk's is another matter, so it stands beside, not in the ratio.

#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ehi_adapters::fs::FolderFiles;
use ehi_adapters::memory::MemoryFiles;
use ehi_adapters::records::BundleFolder;
use ehi_adapters::sample::{SampleOptions, patients};
use ehi_adapters::system::{SystemClock, SystemEntropy};
use ehi_core::auth::ClientId;
use ehi_core::export::{
    Choices, Counter, ExportJob, ExportLimits, Exporter, Interaction, JobId, Kickoff, Requester,
    Review,
};
use ehi_core::ports::{Clock, Entropy, FileStore, PatientSearch, PatientSummary, RecordSource};
use jiff::civil::date;
use serde_json::Value;
use url::Url;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How often the two take turns.
const ROUNDS: usize = 7;

#[tokio::main]
async fn main() -> Outcome<()> {
    let made_up = tempfile::tempdir()?;
    // Cargo adds `--bench`; what is no flag is a folder.
    let folder = match std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
    {
        Some(folder) => PathBuf::from(folder),
        None => make_up(made_up.path())?,
    };
    let bytes = size(&folder)?;
    let source = Arc::new(BundleFolder::open(&folder).await?);
    let everybody = PatientSearch {
        name: String::new(),
        birth_date: None,
        limit: usize::MAX,
    };
    let everybody = source.search(&everybody).await?;
    println!(
        "{} patients, {:.1} MB of source, {ROUNDS} rounds in turn",
        everybody.len(),
        megabytes(bytes)
    );
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let plain = timed(bytes, async { plain(&folder) }).await?;
        let memory = Arc::new(MemoryFiles::default());
        let engine_to_memory = timed(bytes, engine(&source, memory, &everybody)).await?;
        let out = tempfile::tempdir()?;
        let disk = Arc::new(FolderFiles::open(out.path())?);
        let engine_to_disk = timed(bytes, engine(&source, disk, &everybody)).await?;
        let ratio = engine_to_memory / plain;
        ratios.push(ratio);
        println!(
            "round {round}: plain {plain:6.1} MB/s   engine {engine_to_memory:6.1} MB/s   ratio {ratio:4.1}   \
             engine, durable on disk {engine_to_disk:6.1} MB/s"
        );
    }
    ratios.sort_by(f64::total_cmp);
    let (least, median, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
    println!("ratio: median {median:.1}, from {least:.1} to {most:.1}");
    Ok(())
}

/// Sixty made-up patients.
fn make_up(folder: &Path) -> Outcome<PathBuf> {
    let options = SampleOptions {
        patients: 60,
        seed: 1,
        today: date(2026, 6, 30),
    };
    for patient in patients(options) {
        let file = BufWriter::new(File::create(folder.join(&patient.file_name))?);
        serde_json::to_writer_pretty(file, &patient.bundle)?;
    }
    Ok(folder.to_owned())
}

/// The engine: the whole record of every patient.
async fn engine(
    source: &Arc<BundleFolder>,
    files: Arc<dyn FileStore>,
    everybody: &[PatientSummary],
) -> Outcome<u64> {
    let exporter = Exporter {
        source: source.clone(),
        files,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        limits: ExportLimits::default(),
    };
    let mut resources = 0;
    for patient in everybody {
        let client = ClientId::parse("bench").ok_or("no client id")?;
        let kickoff = Kickoff {
            patient: patient.clone(),
            requester: Requester::System(client),
            request: Url::parse("http://127.0.0.1/")?,
            review: Review::Automatic,
            interaction: Interaction::None,
            choices: Choices::whole_record(),
        };
        let job = ExportJob::kick_off(
            JobId::from_random(SystemEntropy.bytes()),
            kickoff,
            SystemClock.now(),
        );
        let counter = Counter::default();
        exporter.run(&job, 1, &counter).await?;
        resources += counter.progress().resources;
    }
    Ok(resources)
}

/// The plain implementation.
fn plain(folder: &Path) -> Outcome<u64> {
    let mut resources = 0;
    // Kept to the end, as the engine's files are.
    let mut patients: Vec<BTreeMap<String, Vec<u8>>> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let bundle: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for entry in bundle["entry"].as_array().into_iter().flatten() {
            let resource = &entry["resource"];
            let name = resource["resourceType"]
                .as_str()
                .ok_or("no resource type")?;
            let file = files.entry(name.to_owned()).or_default();
            serde_json::to_writer(&mut *file, resource)?;
            file.push(b'\n');
            resources += 1;
        }
        patients.push(files);
    }
    std::hint::black_box(&patients);
    Ok(resources)
}

/// MB of source a second.
async fn timed(bytes: u64, run: impl Future<Output = Outcome<u64>>) -> Outcome<f64> {
    let begun = Instant::now();
    let resources = run.await?;
    let seconds = begun.elapsed().as_secs_f64();
    if resources == 0 {
        return Err("nothing was exported".into());
    }
    Ok(megabytes(bytes) / seconds)
}

fn size(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
