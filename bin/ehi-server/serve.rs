//! `ehi-server serve`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use ehi_adapters::directory::Directory;
use ehi_adapters::http::router;

use crate::Failure;
use crate::app::{Parts, wire};
use crate::config::Config;
use crate::logins::Logins;
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
    let config = Config::parse(&read(&arguments.config, "the configuration")?)?;
    let directory = Directory::parse(&read(&config.directory, "the directory")?)
        .map_err(|error| Failure::because(config.directory.display().to_string(), error))?;
    if !directory.has_clients() {
        let file = config.directory.display();
        let message = format!("{file} has no [[client]]: no app could ask for anything");
        return Err(Failure::new(message));
    }
    let directory = Arc::new(directory);
    let logins = Logins::open(&config, &directory)?;
    let source = sources::open(&config.records).await?;
    let parts = Parts {
        base: config.public_url.clone(),
        source,
        patient_login: logins.patients,
        staff_login: logins.staff,
        staff_home: logins.staff_home,
        directory,
        lifetimes: config.lifetimes.times(),
        test_kickoffs: config.test_kickoffs(),
        allowed_origins: config.origins()?,
        rules: config.rules()?,
        workers: config.workers.max(1),
        requests: config.requests(),
    };
    let edge = config.edge()?;
    let wired = wire(parts, &config.data).await?;
    let listener = start::listen(config.listen).await?;
    tracing::info!(listen = %config.listen, public_url = %config.public_url, "ehi-server is ready");
    let router = router(wired.app.clone());
    start::run(listener, router, wired, edge).await
}

fn read(file: &Path, what: &str) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::because(
            format!("{what} cannot be read from {}", file.display()),
            error,
        )
    })
}
