//! Which database, how the commands find it, and `ehi-server migrate`.

use std::path::{Path, PathBuf};

use clap::Args;
use ehi_adapters::sql::{Database, DatabaseLimits, Opening};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::Failure;
use crate::config::Config;
use crate::log::say;

/// Where jobs, grants and sessions are kept.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In memory, and the audit log in a folder below the data: for demonstrations.
    Memory,
    /// In a database, the audit log too.
    Database(DatabaseUrl),
}

/// Where a database is: `sqlite:FILE` or `postgres://…`. Its password does not show, so what is
/// wrong with it is told when it is opened: before, the whole text would be told along.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(SecretString);

impl DatabaseUrl {
    /// The one file beside files and keys.
    pub fn below(data: &Path) -> Self {
        // What would end the path in a URL.
        let path = data.join(FILE).display().to_string();
        let path = path
            .replace('%', "%25")
            .replace('?', "%3F")
            .replace('#', "%23");
        Self(format!("sqlite:{path}").into())
    }

    /// Connects, and brings the tables up to this version.
    pub async fn open(&self) -> Result<Database, Failure> {
        self.open_for(Opening::Migrate).await
    }

    /// Connects, and does no more to the tables than this.
    pub async fn open_for(&self, opening: Opening) -> Result<Database, Failure> {
        let unusable = |error| Failure::because("the database cannot be used", error);
        let url = self.0.expose_secret();
        let makes = matches!(opening, Opening::Migrate | Opening::Make);
        if !makes && !Database::is_there(url).map_err(unusable)? {
            return Err(Failure::new(
                "the database is not there: no server has made it yet, or it is another file. 'ehi-server migrate' makes it",
            ));
        }
        let limits = DatabaseLimits::default();
        (Database::open_for(opening, url, limits).await).map_err(unusable)
    }
}

/// The name of the database below the data.
pub const FILE: &str = "ehi.db";

impl From<String> for DatabaseUrl {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// Which server.
#[derive(Debug, Clone, Args)]
pub struct Configured {
    /// The configuration file of the server (TOML); the README shows one
    #[arg(long, env = "EHI_CONFIG")]
    config: PathBuf,
    /// The database, instead of the one the file names; best told by the environment when it
    /// holds a password
    #[arg(long, env = "EHI_DATABASE", hide_env_values = true)]
    database: Option<DatabaseUrl>,
}

impl Configured {
    /// Reads the configuration, and what stands in for parts of it.
    pub fn read(&self) -> Result<Config, Failure> {
        let config = Config::read(&self.config)?;
        Ok(Config {
            database: self.database.clone().or(config.database),
            ..config
        })
    }
}

/// `ehi-server migrate`: brings the tables up to this version, as the server does when it starts.
pub async fn migrate(server: Configured) -> Result<(), Failure> {
    server.read()?.database().open().await?;
    say("The database is ready for this version of ehi-server.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_wrong_with_a_url_is_told_without_its_password() {
        for bad in [
            "",
            "ehi.db",
            "mysql://u:hunter2@db/x",
            "postgres://u:hunter2@db:x/y",
        ] {
            let url = DatabaseUrl::from(bad.to_owned());
            let told = url.open().await.unwrap_err();
            let told = format!("{told} {:?} {url:?}", told.cause);
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[tokio::test]
    async fn any_name_of_a_data_folder_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("90% of #1? ä");
        DatabaseUrl::below(&data).open().await.unwrap();
        assert!(data.join(FILE).is_file());
    }
}
