//! `ehi-server backup`: a copy of the database while the server runs.

use std::path::PathBuf;

use clap::Args;
use ehi_adapters::sql::Opening;

use crate::Failure;
use crate::database::Configured;
use crate::log::say;

/// What to copy, and where to.
#[derive(Debug, Args)]
pub struct BackupArguments {
    #[command(flatten)]
    server: Configured,
    /// The file that the copy becomes; it must not be there yet
    to: PathBuf,
}

/// Copies the database.
pub async fn run(arguments: BackupArguments) -> Result<(), Failure> {
    let BackupArguments { server, to } = arguments;
    let database = server.read()?.database();
    let database = database.open_for(Opening::Whatever).await?;
    (database.copy_to(&to).await)
        .map_err(|error| Failure::because("the database was not copied", error))?;
    say(&format!(
        "The database is in {}. Files and keys come next: copy them after the database, never before.",
        to.display()
    ));
    Ok(())
}
