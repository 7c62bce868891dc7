//! `ehi-server directory`: from the directory file into the database.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::Failure;
use crate::database::Configured;
use crate::log::say;
use crate::people::import;

/// What to do with a directory file.
#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// Take its clients and staff into the database, all or nobody
    Import(ImportArguments),
}

/// Which file, and where to.
#[derive(Debug, Args)]
pub struct ImportArguments {
    #[command(flatten)]
    config: Configured,
    /// The directory file
    file: PathBuf,
}

/// Does what the command says.
pub async fn run(command: DirectoryCommand) -> Result<(), Failure> {
    let DirectoryCommand::Import(ImportArguments { config, file }) = command;
    let (clients, staff) = import(&config.read()?, &file).await?;
    say(&format!(
        "{clients} clients and {staff} members of staff are in the database now. Patients were not taken over: they log in at their identity provider."
    ));
    Ok(())
}
