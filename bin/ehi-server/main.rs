//! The command line of `ehi-server`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ehi_server::{
    audit, backup, client, database, demo, deployment, directory, keys, log, password, sample,
    serve, staff, worker,
};

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
    /// Only make exports, for servers on the same database; answers no requests
    Worker(worker::WorkerArguments),
    /// Bring the tables of the database up to this version; `serve` does that too
    Migrate(database::Configured),
    /// Copy the database while the server runs: the first part of a backup
    Backup(backup::BackupArguments),
    /// Say that the files belong to the database, where the server does not believe it, and that
    /// those of exports it does not know may go
    AdoptFiles(deployment::AdoptArguments),
    /// Write made-up patients' records as FHIR Bundles
    Sample(sample::SampleArguments),
    /// Look after the audit log
    Audit(audit::AuditArguments),
    /// Register apps and systems, and take that back
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Say who reviews exports and who reads the audit log
    #[command(subcommand)]
    Staff(staff::StaffCommand),
    /// Move clients and staff from a directory file into the database
    #[command(subcommand)]
    Directory(directory::DirectoryCommand),
    /// Change the keys that sign access tokens
    #[command(subcommand)]
    Keys(keys::KeysCommand),
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
        Command::Worker(arguments) => worker::run(arguments).await,
        Command::Migrate(server) => database::migrate(server).await,
        Command::Backup(arguments) => backup::run(arguments).await,
        Command::AdoptFiles(arguments) => deployment::adopt(arguments).await,
        Command::Sample(arguments) => sample::run(&arguments),
        Command::Audit(arguments) => audit::run(arguments).await,
        Command::Client(command) => client::run(command).await,
        Command::Staff(command) => staff::run(command).await,
        Command::Directory(command) => directory::run(command).await,
        Command::Keys(command) => keys::run(command).await,
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
