//! `ehi-server worker`

use std::num::NonZeroUsize;

use clap::Args;

use crate::Failure;
use crate::app::{WorkerParts, wire_workers};
use crate::database::{Configured, Storage};
use crate::engine::{Engine, processors};
use crate::files::FilesArgument;
use crate::{sources, start};

/// How to run.
#[derive(Debug, Args)]
pub struct WorkerArguments {
    #[command(flatten)]
    server: Configured,
    /// How many exports run at a time, instead of what the file says; one for each processor
    /// where neither does
    #[arg(long, env = "EHI_WORKERS")]
    workers: Option<NonZeroUsize>,
    #[command(flatten)]
    files: FilesArgument,
}

/// Exports what is asked for at the servers on the same database. Answers no requests.
pub async fn run(arguments: WorkerArguments) -> Result<(), Failure> {
    let config = arguments.files.over(arguments.server.read()?);
    let configured = config.workers.filter(|workers| *workers > 0);
    let count = (arguments.workers.map(NonZeroUsize::get)).or(configured);
    let parts = WorkerParts {
        storage: Storage::Database(config.database()),
        files: config.files()?,
        base: config.public_url.clone(),
        source: sources::open(&config.records).await?,
        rules: config.rules()?,
        workers: count.unwrap_or_else(processors),
        working: config.working(),
    };
    let workers = wire_workers(parts, &config.data).await?;
    let ends = start::ends()?;
    tracing::info!(workers = workers.len(), "ehi-server worker is ready");
    let engine = Engine::start(workers, config.drain())?;
    engine.until(ends).await;
    tracing::info!("stopped");
    Ok(())
}
