//! Whether database and files belong together, and `ehi-server adopt-files`.

use std::sync::Arc;

use clap::Args;
use ehi_adapters::sql::Opening;
use ehi_adapters::system::{SystemClock, SystemEntropy};
use ehi_core::export::{Deployment, DeploymentError};
use ehi_core::ports::{Clock, Entropy};

use crate::Failure;
use crate::app::Stores;
use crate::database::Configured;
use crate::files::{FilesArgument, FilesPlace};
use crate::log::say;

/// Whose files.
#[derive(Debug, Args)]
pub struct AdoptArguments {
    #[command(flatten)]
    server: Configured,
    #[command(flatten)]
    files: FilesArgument,
}

/// Makes sure that the files are those of the database, or tells what to do.
pub(crate) async fn join(deployment: &Deployment) -> Result<(), Failure> {
    deployment.join().await.map_err(|error| match error {
        DeploymentError::OfOthers | DeploymentError::Unknown => Failure::because(
            "database and files do not belong together, and were left as they are. Look at both: \
             the one that is not meant is named by mistake (database, EHI_DATABASE, --database; \
             files, EHI_FILES, --files), or not mounted or restored yet. Every server and worker \
             of a database needs the same place for files. Jobs in memory are gone when their \
             server ends, so they need an empty one. Where the two do belong together, \
             'ehi-server adopt-files --config FILE' says so: files of exports that the database \
             does not know are deleted then",
            error,
        ),
        DeploymentError::Jobs(_) | DeploymentError::Files(_) => cannot_tell(error),
    })
}

/// Makes a new place for files that of the jobs, whatever place they had before.
pub(crate) async fn begin_anew(stores: &Stores, files: &FilesPlace) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let deployment = stores.deployment(files, &clock, &entropy).await?;
    deployment.adopt().await.map(drop).map_err(cannot_tell)
}

/// Makes the files those of the database.
pub async fn adopt(arguments: AdoptArguments) -> Result<(), Failure> {
    let config = arguments.files.over(arguments.server.read()?);
    // A database that is made just now has nothing that files could belong to.
    let stores = Stores::of(config.database().open_for(Opening::AsItIs).await?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let files = config.files()?;
    let deployment = stores.deployment(&files, &clock, &entropy).await?;
    let unknown = deployment.adopt().await.map_err(cannot_tell)?;
    say("The files belong to the database now.");
    say(&match unknown {
        0 => "It knows every export that has files there: none is deleted.".to_owned(),
        1 => {
            "It does not know 1 export that has files there: the server's next sweep deletes them."
                .to_owned()
        }
        more => format!(
            "It does not know {more} exports that have files there: the server's next sweep deletes them."
        ),
    });
    Ok(())
}

fn cannot_tell(error: DeploymentError) -> Failure {
    Failure::because("whose the files are cannot be told", error)
}
