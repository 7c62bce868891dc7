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
    Database(DatabasePlace),
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
}

/// How many connections to the database a process holds at most, besides the one that listens for
/// changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct PoolSize(u32);

impl Default for PoolSize {
    fn default() -> Self {
        Self(DatabaseLimits::default().connections)
    }
}

/// With one connection everything waits for everything else; more than the most are no use to
/// anybody, and PostgreSQL gives out a hundred unless told otherwise.
#[derive(Debug, thiserror::Error)]
#[error("database_connections has to be from 2 to 1000")]
pub struct BadPoolSize;

impl TryFrom<u32> for PoolSize {
    type Error = BadPoolSize;

    fn try_from(connections: u32) -> Result<Self, BadPoolSize> {
        let sensible = (2..=1_000).contains(&connections);
        sensible.then_some(Self(connections)).ok_or(BadPoolSize)
    }
}

/// Which database, and how much of it one process may take.
#[derive(Debug, Clone)]
pub struct DatabasePlace {
    /// Where it is.
    pub url: DatabaseUrl,
    /// Connections at a time.
    pub connections: PoolSize,
}

impl From<DatabaseUrl> for DatabasePlace {
    fn from(url: DatabaseUrl) -> Self {
        Self {
            url,
            connections: PoolSize::default(),
        }
    }
}

impl DatabasePlace {
    /// Connects, and brings the tables up to this version.
    pub async fn open(&self) -> Result<Database, Failure> {
        self.open_for(Opening::Migrate).await
    }

    /// Connects, and does no more to the tables than this.
    pub async fn open_for(&self, opening: Opening) -> Result<Database, Failure> {
        let unusable = |error| Failure::because("the database cannot be used", error);
        let url = self.url.0.expose_secret();
        let makes = matches!(opening, Opening::Migrate | Opening::Make);
        if !makes && !Database::is_there(url).map_err(unusable)? {
            return Err(Failure::new(
                "the database is not there: no server has made it yet, or it is another file. 'ehi-server migrate' makes it",
            ));
        }
        (Database::open_for(opening, url, self.limits()).await).map_err(unusable)
    }

    fn limits(&self) -> DatabaseLimits {
        DatabaseLimits {
            connections: self.connections.0,
            ..DatabaseLimits::default()
        }
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
            let told = DatabasePlace::from(url.clone()).open().await.unwrap_err();
            let told = format!("{told} {:?} {url:?}", told.cause);
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_process_holds_as_many_connections_as_it_is_told_and_two_at_least() {
        let place = DatabasePlace::from(DatabaseUrl::from("sqlite:ehi.db".to_owned()));
        assert_eq!(place.limits(), DatabaseLimits::default());
        for connections in [2, 1_000] {
            let told = DatabasePlace {
                connections: connections.try_into().unwrap(),
                ..place.clone()
            };
            assert_eq!(told.limits().connections, connections);
        }
        for wrong in [0, 1, 1_001] {
            assert!(PoolSize::try_from(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn any_name_of_a_data_folder_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("90% of #1? ä");
        let place = DatabasePlace::from(DatabaseUrl::below(&data));
        place.open().await.unwrap();
        assert!(data.join(FILE).is_file());
    }
}
