//! `ehi-server`: a patient takes their whole health record out of a hospital's systems.
//!
//! - `ehi-server demo` runs everything with made-up patients, no configuration needed.
//! - `ehi-server serve --config FILE` is the real one.
//! - `ehi-server sample` writes made-up records.
//! - `ehi-server hash-password` makes the hashes of the directory file.

mod app;
mod config;
mod demo;
mod log;
mod password;
mod sample;
mod serve;
mod start;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A patient takes their whole health record out of a hospital's systems.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine with made-up patients: to see and try it
    Demo(demo::DemoArguments),
    /// Run the server as a configuration file says
    Serve(serve::ServeArguments),
    /// Write made-up patients' records as FHIR Bundles
    Sample(sample::SampleArguments),
    /// Read a password from standard input and print its hash for the directory file
    HashPassword,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start();
    let done = match arguments.command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Sample(arguments) => sample::run(&arguments),
        Command::HashPassword => password::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::say_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, for whoever typed the command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Failure {
    message: String,
    #[source]
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause: None,
        }
    }

    /// A failure with what lies below it.
    fn because(
        message: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            message: message.into(),
            cause: Some(cause.into()),
        }
    }
}
