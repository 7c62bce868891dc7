//! `ehi-server sample`: made-up records, one file a patient.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use ehi_adapters::sample::{SampleOptions, patients};
use ehi_adapters::system::SystemClock;
use ehi_core::ports::Clock;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::Failure;
use crate::log::say;

/// What to make.
#[derive(Debug, Args)]
pub struct SampleArguments {
    /// How many patients
    #[arg(long, default_value_t = 12)]
    patients: u32,
    /// Another seed makes other patients; the same seed always the same ones
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder to write to; made when it is not there
    #[arg(long)]
    out: PathBuf,
    /// The day on which the records end
    #[arg(long, default_value = "2026-06-30")]
    today: Date,
}

/// Writes the records.
pub fn run(arguments: &SampleArguments) -> Result<(), Failure> {
    let options = SampleOptions {
        patients: arguments.patients,
        seed: arguments.seed,
        today: arguments.today,
    };
    let bytes = write(options, &arguments.out)?;
    say(&format!(
        "{} patients in {} ({} MB)",
        arguments.patients,
        arguments.out.display(),
        bytes / 1_000_000
    ));
    Ok(())
}

/// Writes one Bundle a patient; one patient is in memory at a time. Returns the bytes written.
pub fn write(options: SampleOptions, folder: &Path) -> Result<u64, Failure> {
    let failed = |error| Failure::because(format!("{} cannot be written", folder.display()), error);
    fs::create_dir_all(folder).map_err(failed)?;
    let mut bytes = 0;
    for patient in patients(options) {
        // A file that is only half there must not look like a record.
        let unfinished = folder.join(format!(".{}.part", patient.file_name));
        let mut file = BufWriter::new(File::create(&unfinished).map_err(failed)?);
        serde_json::to_writer_pretty(&mut file, &patient.bundle)
            .map_err(|error| failed(error.into()))?;
        file.write_all(b"\n").map_err(failed)?;
        let file = file
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        bytes += file.metadata().map_err(failed)?.len();
        fs::rename(&unfinished, folder.join(&patient.file_name)).map_err(failed)?;
    }
    Ok(bytes)
}

/// Today, where the records of the demo end.
pub fn today() -> Date {
    SystemClock.now().to_zoned_datetime(TimeZone::UTC).date()
}
