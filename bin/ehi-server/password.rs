//! `ehi-server hash-password`, and passwords that are typed for other commands.

use std::io::{self, BufRead};

use ehi_adapters::accounts::hash_password;

use crate::Failure;
use crate::log::say;

/// Reads a password and prints its hash.
pub fn run() -> Result<(), Failure> {
    say(&read_hash()?);
    Ok(())
}

/// Reads a password from standard input; its hash.
pub(crate) fn read_hash() -> Result<String, Failure> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::because("the password could not be read", error))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.chars().count() < 8 {
        return Err(Failure::new(
            "a password needs at least 8 characters; type it on one line of standard input",
        ));
    }
    hash_password(&password.to_owned().into())
        .map_err(|error| Failure::because("the password could not be hashed", error))
}
