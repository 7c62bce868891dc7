//! `ehi-server serve`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use ehi_adapters::directory::DirectoryFile;
use ehi_adapters::http::router;
use ehi_adapters::system::SystemClock;

use crate::Failure;
use crate::app::{Parts, wire};
use crate::config::Config;
use crate::{sources, start};

/// How to run.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// The configuration file (TOML); the README shows one
    #[arg(long, env = "EHI_CONFIG")]
    config: PathBuf,
}

/// Runs the server as the configuration says.
pub async fn run(arguments: ServeArguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config)?;
    let file = DirectoryFile::open(&config.directory, Arc::new(SystemClock))
        .map_err(|error| Failure::because("the directory cannot be used", error))?;
    let directory = file.current();
    for (there, what) in [
        (
            directory.has_clients(),
            "[[client]]: no app could ask for anything",
        ),
        (
            directory.has_staff(),
            "[[staff]]: nobody could release an export",
        ),
        (
            directory.has_patients(),
            "[[patient]]: no patient could log in",
        ),
    ] {
        if !there {
            let file = config.directory.display();
            return Err(Failure::new(format!("{file} has no {what}")));
        }
    }
    let source = sources::open(&config.records).await?;
    let directory = Arc::new(file);
    let parts = Parts {
        base: config.public_url.clone(),
        source,
        clients: directory.clone(),
        staff_login: directory.clone(),
        patient_login: directory,
        lifetimes: config.lifetimes.times(),
        test_kickoffs: config.test_kickoffs(),
        allowed_origins: config.origins()?,
        rules: config.rules()?,
        workers: config.workers.max(1),
    };
    let wired = wire(parts, &config.data).await?;
    let listener = start::listen(config.listen).await?;
    tracing::info!(listen = %config.listen, public_url = %config.public_url, "ehi-server is ready");
    let router = router(wired.app.clone());
    start::run(listener, router, wired).await
}
