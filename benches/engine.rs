//! How fast the export engine is, next to a plain implementation of the same.
//!
//! ```text
//! cargo bench --bench engine            # over made-up patients
//! cargo bench --bench engine -- DIR     # over a folder of Bundles
//! ```
//!
//! Both read each patient's Bundle from disk and write its resources as NDJSON, one file a type.
//! The plain one does it as one would at first: the file as a `serde_json::Value`, each resource
//! by `serde_json::to_writer`. They run in turn, and what counts is the ratio of their speeds in
//! MB of source a second: machines are noisy, and both meet the same noise.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ehi_adapters::fs::FolderFiles;
use ehi_adapters::records::BundleFolder;
use ehi_adapters::sample::{SampleOptions, patients};
use ehi_adapters::system::{SystemClock, SystemEntropy};
use ehi_core::auth::ClientId;
use ehi_core::export::{
    Choices, Counter, ExportJob, ExportLimits, Exporter, Interaction, JobId, Kickoff, Requester,
    Review,
};
use ehi_core::ports::{Clock, Entropy, PatientSearch, PatientSummary, RecordSource};
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
    let folder = match std::env::args().skip(1).find(|argument| !argument.starts_with('-')) {
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
    println!("{} patients, {:.1} MB of source, {ROUNDS} rounds in turn", everybody.len(), megabytes(bytes));
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let plain = timed(bytes, async { plain(&folder) }).await?;
        let engine = timed(bytes, engine(&source, &everybody)).await?;
        ratios.push(engine / plain);
        println!("round {round}: plain {plain:6.1} MB/s   engine {engine:6.1} MB/s   ratio {:.1}", engine / plain);
    }
    ratios.sort_by(f64::total_cmp);
    println!("ratio: median {:.1}, from {:.1} to {:.1}", ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
    println!("peak memory of both together: {}", peak_memory()?);
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

/// The engine: the whole record of every patient, from folder to folder.
async fn engine(source: &Arc<BundleFolder>, everybody: &[PatientSummary]) -> Outcome<u64> {
    let out = tempfile::tempdir()?;
    let exporter = Exporter {
        source: source.clone(),
        files: Arc::new(FolderFiles::open(out.path())?),
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
        let job = ExportJob::kick_off(JobId::from_random(SystemEntropy.bytes()), kickoff, SystemClock.now());
        let counter = Counter::default();
        exporter.run(&job, 1, &counter).await?;
        resources += counter.progress().resources;
    }
    Ok(resources)
}

/// The plain implementation.
fn plain(folder: &Path) -> Outcome<u64> {
    let out = tempfile::tempdir()?;
    let mut resources = 0;
    for (number, entry) in std::fs::read_dir(folder)?.enumerate() {
        let bundle: Value = serde_json::from_reader(BufReader::new(File::open(entry?.path())?))?;
        let place = out.path().join(number.to_string());
        std::fs::create_dir(&place)?;
        let mut files: BTreeMap<String, BufWriter<File>> = BTreeMap::new();
        for entry in bundle["entry"].as_array().into_iter().flatten() {
            let resource = &entry["resource"];
            let name = resource["resourceType"].as_str().ok_or("no resource type")?;
            if !files.contains_key(name) {
                let file = File::create(place.join(format!("{name}.ndjson")))?;
                files.insert(name.to_owned(), BufWriter::new(file));
            }
            let Some(file) = files.get_mut(name) else { continue };
            serde_json::to_writer(&mut *file, resource)?;
            file.write_all(b"\n")?;
            resources += 1;
        }
        for (_, mut file) in files {
            file.flush()?;
            // The engine's files outlive a power cut; so have these.
            file.get_ref().sync_all()?;
        }
    }
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

/// The most memory this process had, as the kernel tells it.
fn peak_memory() -> Outcome<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.unwrap_or(" unknown").trim().to_owned())
}
