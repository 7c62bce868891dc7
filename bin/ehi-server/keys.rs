//! The keys that sign access tokens: where they are, and `ehi-server keys`.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use ehi_adapters::keys::{KeyFolder, KeyState, OlderKeys, SigningKeys};
use ehi_adapters::sql::{Database, KeySecret, Opening, SqlKeys};
use ehi_adapters::system::{SystemClock, SystemEntropy};
use ehi_core::ports::{Action, Clock, Entropy, KeyError, KeyStore};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::Failure;
use crate::app::key_folder;
use crate::config::Config;
use crate::database::Configured;
use crate::log::say;
use crate::people::{operator, record};

/// Where the signing keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeysConfig {
    /// In a folder below the data.
    #[default]
    Folder,
    /// In the database, sealed by a secret that is not there.
    Database,
}

/// What to do with the keys. A running server goes by the new one a second later.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a new key: it signs from now on; the old one verifies as long as its tokens live
    Rotate(RotateArguments),
    /// Show the keys and what each is good for
    List(Configured),
    /// Print a new secret for `key_secret`, by which keys in the database are sealed
    NewSecret,
}

/// Which server, and what becomes of its older keys.
#[derive(Debug, Args)]
pub struct RotateArguments {
    #[command(flatten)]
    server: Configured,
    /// Older keys verify nothing from now on, and every app needs new access tokens: for a key
    /// that may be in the wrong hands
    #[arg(long)]
    revoke_old: bool,
}

/// Where a server's keys are.
#[derive(Debug, Clone)]
pub enum KeyPlace {
    /// In a folder below the data.
    Folder,
    /// In the database, sealed by the secret in this file.
    Database(Arc<Path>),
}

impl KeyPlace {
    /// The keys, for tokens that live at most `longest_token`. The database is only asked for
    /// where they are in it.
    pub async fn open(
        &self,
        data: &Path,
        longest_token: Duration,
        database: impl AsyncFnOnce() -> Result<Database, Failure>,
    ) -> Result<SigningKeys, Failure> {
        let store: Arc<dyn KeyStore> = match self {
            Self::Folder => Arc::new(KeyFolder::new(&key_folder(data))),
            Self::Database(file) => {
                let secret = secret(file)?;
                Arc::new(SqlKeys::new(&database().await?, secret))
            }
        };
        Ok(SigningKeys::new(store, longest_token))
    }
}

/// What to do about keys that cannot be used.
pub fn unusable(error: KeyError) -> Failure {
    Failure::because(
        "the signing keys cannot be used. If they were sealed by a secret that is lost, 'ehi-server keys rotate --revoke-old' makes new ones: every app then needs new tokens",
        error,
    )
}

/// Bytes of a file with a secret, at most.
const LONGEST: u64 = 1 << 10;

/// Reads the secret, and tells when others can read it too.
fn secret(file: &Path) -> Result<KeySecret, Failure> {
    let unread = |error: std::io::Error| {
        Failure::because(
            format!("key_secret: {} cannot be read", file.display()),
            error,
        )
    };
    let mode = fs::metadata(file).map_err(unread)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            file = %file.display(),
            mode = format!("{:03o}", mode & 0o777),
            "others on this machine can read the secret that the signing keys are sealed by: chmod 600 keeps them out"
        );
    }
    let mut text = String::new();
    let opened = File::open(file).map_err(unread)?;
    (opened.take(LONGEST).read_to_string(&mut text)).map_err(unread)?;
    KeySecret::parse(&SecretString::from(text)).map_err(|error| {
        Failure::because(format!("key_secret: {} holds none", file.display()), error)
    })
}

/// Does what the command says.
pub async fn run(command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Rotate(RotateArguments { server, revoke_old }) => {
            let older = if revoke_old {
                OlderKeys::Revoked
            } else {
                OlderKeys::Verify
            };
            rotate(&server.read()?, older).await
        }
        KeysCommand::List(server) => list(&server.read()?).await,
        KeysCommand::NewSecret => {
            say(KeySecret::write(SystemEntropy.bytes()).expose_secret());
            Ok(())
        }
    }
}

async fn open(config: &Config, opening: Opening) -> Result<SigningKeys, Failure> {
    let longest_token = config.lifetimes.times().access_token;
    let database = async || config.database().open_for(opening).await;
    let place = config.key_place()?;
    place.open(&config.data, longest_token, database).await
}

async fn rotate(config: &Config, older: OlderKeys) -> Result<(), Failure> {
    let keys = open(config, Opening::Make).await?;
    let mut events = vec![operator(Action::RotateKeys)];
    if older == OlderKeys::Revoked {
        events.push(operator(Action::RevokeKeys));
    }
    let now = SystemClock.now();
    if older == OlderKeys::Verify {
        // Where the older ones cannot be read nothing is going to happen.
        keys.list(now).await.map_err(unusable)?;
    }
    record(config, &events).await?;
    let rotated = keys.rotate(now, older).await;
    let kid = rotated.map_err(|error| Failure::because("not all was done", error))?;
    say(&format!("{kid} signs from now on."));
    if older == OlderKeys::Revoked {
        say("Tokens that older keys signed are worth nothing any more.");
    }
    Ok(())
}

async fn list(config: &Config) -> Result<(), Failure> {
    let keys = (open(config, Opening::AsItIs).await?)
        .list(SystemClock.now())
        .await
        .map_err(unusable)?;
    for key in keys {
        let made = key
            .made
            .map_or("at first".to_owned(), |made| made.to_string());
        let state = match key.state {
            KeyState::Signs => "signs".to_owned(),
            KeyState::VerifiesUntil(until) => format!("verifies until {until}"),
            KeyState::Retired => "retired".to_owned(),
        };
        say(&format!("{}\tmade {made}\t{state}", key.kid));
    }
    Ok(())
}
