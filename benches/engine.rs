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
//! What the sensitivity rules cost is the engine with what a patient's form starts with, once with
//! the standard rules and once with none. It is measured in pairs, and told as the share of the
//! speed that the rules take.
//!
//! A last figure is the engine writing to disk, each file forced there before it counts: how
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
    Choices, Counter, ExportJob, ExportLimits, Exporter, Interaction, JobId, Kickoff, Links,
    Requester, Review, SensitivityRules,
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
    let whole = || (Choices::whole_record(), SensitivityRules::standard());
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let plain = timed(bytes, async { plain(&folder) }).await?;
        let memory = Arc::new(MemoryFiles::default());
        let engine_to_memory = timed(bytes, engine(&source, memory, &everybody, whole())).await?;
        let out = tempfile::tempdir()?;
        let disk = Arc::new(FolderFiles::open(out.path())?);
        let engine_to_disk = timed(bytes, engine(&source, disk, &everybody, whole())).await?;
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
    cost_of_rules(&source, &everybody, bytes).await
}

/// How many pairs of runs tell what the rules cost.
const PAIRS: usize = 31;

/// How often a run of a pair exports everybody: once is over too soon to be measured.
const EXPORTS: u64 = 10;

/// What share of the engine's speed the rules take, where nothing sensitive was authorised.
async fn cost_of_rules(
    source: &Arc<BundleFolder>,
    everybody: &[PatientSummary],
    bytes: u64,
) -> Outcome<()> {
    let run = async |rules: Arc<SensitivityRules>| {
        timed(bytes * EXPORTS, async {
            let mut resources = 0;
            for _ in 0..EXPORTS {
                let files = Arc::new(MemoryFiles::default());
                let asked = (Choices::form_default(), rules.clone());
                resources += engine(source, files, everybody, asked).await?;
            }
            Ok(resources)
        })
        .await
    };
    let mut costs = Vec::new();
    for pair in 0..PAIRS {
        // Neither is always the first, whose memory is cold.
        let (without, with) = if pair % 2 == 0 {
            let without = run(SensitivityRules::none()).await?;
            (without, run(SensitivityRules::standard()).await?)
        } else {
            let with = run(SensitivityRules::standard()).await?;
            (run(SensitivityRules::none()).await?, with)
        };
        costs.push(100.0 * (1.0 - with / without));
    }
    costs.sort_by(f64::total_cmp);
    let quarter = PAIRS / 4;
    println!(
        "sensitivity rules cost {:.1} % of the speed; half of {PAIRS} pairs from {:.1} to {:.1} %",
        costs[PAIRS / 2],
        costs[quarter],
        costs[PAIRS - 1 - quarter]
    );
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

/// The engine: what was asked of every patient's record.
async fn engine(
    source: &Arc<BundleFolder>,
    files: Arc<dyn FileStore>,
    everybody: &[PatientSummary],
    (choices, rules): (Choices, Arc<SensitivityRules>),
) -> Outcome<u64> {
    let exporter = Exporter {
        source: source.clone(),
        files,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        links: Links::new(&"https://ehi.example/".parse()?),
        rules: rules.into(),
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
            choices: choices.clone(),
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
