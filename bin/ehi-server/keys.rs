//! `ehi-server keys`: the keys that sign access tokens.

use clap::Subcommand;
use ehi_adapters::keys::{KeyFolder, KeyState};
use ehi_adapters::system::SystemClock;
use ehi_core::ports::{Action, Clock};

use crate::Failure;
use crate::app::key_folder;
use crate::client::record;
use crate::database::Configured;
use crate::log::say;

/// What to do with the keys. A running server goes by the new one a second later.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a new key: it signs from now on; the old one verifies as long as its tokens live
    Rotate(Configured),
    /// Show the keys and what each is good for
    List(Configured),
}

/// Does what the command says.
pub async fn run(command: KeysCommand) -> Result<(), Failure> {
    let (KeysCommand::Rotate(server) | KeysCommand::List(server)) = &command;
    let config = server.read()?;
    let longest_token = config.lifetimes.times().access_token;
    let folder = KeyFolder::new(&key_folder(&config.data), longest_token);
    let now = SystemClock.now();
    match command {
        KeysCommand::Rotate(_) => {
            record(&config, Action::RotateKeys, None).await?;
            let kid = folder
                .rotate(now)
                .map_err(|error| Failure::because("no new key could be made", error))?;
            say(&format!("{kid} signs from now on."));
        }
        KeysCommand::List(_) => {
            let keys = folder
                .list(now)
                .map_err(|error| Failure::because("the keys cannot be read", error))?;
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
        }
    }
    Ok(())
}
