//! `ehi-server serve`

use clap::Args;
use ehi_adapters::http::router;

use crate::Failure;
use crate::app::{Parts, Stores, wire};
use crate::database::{Configured, Storage};
use crate::files::FilesArgument;
use crate::logins::Logins;
use crate::people::People;
use crate::{sources, start};

/// How to run.
#[derive(Debug, Args)]
pub struct ServeArguments {
    #[command(flatten)]
    server: Configured,
    /// How many exports run at a time, instead of what the file says; with 0 it only answers
    /// requests, and other processes on the same database export
    #[arg(long, env = "EHI_WORKERS")]
    workers: Option<usize>,
    #[command(flatten)]
    files: FilesArgument,
}

/// How many exports run at a time in a process that answers requests as well, unless told.
const WORKERS: usize = 2;

/// Runs the server as the configuration says.
pub async fn run(arguments: ServeArguments) -> Result<(), Failure> {
    let config = arguments.server.read()?;
    let config = arguments.files.over(config);
    let files = config.files()?;
    let downloads = config.downloads(&files)?;
    let stores = Stores::open(&Storage::Database(config.database()), &config.data).await?;
    let people = People::open(&config, &stores)?;
    people.check(&config).await?;
    let logins = Logins::open(&config, &people).await?;
    let source = sources::open(&config.records).await?;
    let parts = Parts {
        stores,
        downloads,
        files,
        keys: config.key_place()?,
        base: config.public_url.clone(),
        source,
        clients: people.clients(),
        patient_login: logins.patients,
        staff_login: logins.staff,
        staff_home: logins.staff_home,
        lifetimes: config.lifetimes.times(),
        test_kickoffs: config.test_kickoffs(),
        allowed_origins: config.origins()?,
        rules: config.rules()?,
        workers: (arguments.workers.or(config.workers)).unwrap_or(WORKERS),
        requests: config.requests(),
        open: config.limits.open(),
        drain: config.drain(),
        working: config.working(),
    };
    let edge = config.edge()?;
    let wired = wire(parts, &config.data).await?;
    let listener = start::listen(config.listen).await?;
    tracing::info!(listen = %config.listen, public_url = %config.public_url, "ehi-server is ready");
    let router = router(wired.app.clone());
    start::run(listener, router, wired, edge).await
}
