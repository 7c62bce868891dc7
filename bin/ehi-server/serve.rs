//! `ehi-server serve`

use clap::Args;
use ehi_adapters::http::router;

use crate::Failure;
use crate::app::{Parts, wire};
use crate::database::{Configured, Storage};
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
}

/// Runs the server as the configuration says.
pub async fn run(arguments: ServeArguments) -> Result<(), Failure> {
    let config = arguments.server.read()?;
    let people = People::open(&config).await?;
    people.check(&config).await?;
    let logins = Logins::open(&config, &people)?;
    let source = sources::open(&config.records).await?;
    let parts = Parts {
        storage: Storage::Database(config.database()),
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
        workers: arguments.workers.unwrap_or(config.workers),
        requests: config.requests(),
    };
    let edge = config.edge()?;
    let wired = wire(parts, &config.data).await?;
    let listener = start::listen(config.listen).await?;
    tracing::info!(listen = %config.listen, public_url = %config.public_url, "ehi-server is ready");
    let router = router(wired.app.clone());
    start::run(listener, router, wired, edge).await
}
